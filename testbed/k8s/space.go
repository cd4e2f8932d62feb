package k8s

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Space is a network namespace with a name, as ip netns makes it.
type Space struct {
	name  string
	file  *os.File
	inode uint32
}

func lockThread() { runtime.LockOSThread() }

// newSpace makes a namespace with its loopback device up.
func newSpace(name string) (*Space, error) {
	s := &Space{name: name}
	done := make(chan error)
	go func() {
		// Not unlocked: the thread is in the new namespace, and ends with it.
		lockThread()
		done <- s.make()
	}()
	if err := <-done; err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	return s, s.Run("ip", "link", "set", "lo", "up")
}

func (s *Space) make() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	f, err := os.OpenFile(s.Path(), os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	own := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	if err := unix.Mount(own, s.Path(), "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return s.open(s.Path())
}

// openSpace is a namespace that somebody else made.
func openSpace(name, path string) (*Space, error) {
	s := &Space{name: name}
	return s, s.open(path)
}

func (s *Space) open(path string) error {
	var err error
	if s.file, err = os.Open(path); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(s.file.Fd()), &st); err != nil {
		return err
	}
	s.inode = uint32(st.Ino)
	return nil
}

// Path is where a namespace that newSpace made can be opened.
func (s *Space) Path() string { return "/run/netns/" + s.name }

// Inode is the namespace's, as lsns shows it.
func (s *Space) Inode() uint32 { return s.inode }

func (s *Space) remove() error {
	if err := s.file.Close(); err != nil {
		return err
	}
	if err := unix.Unmount(s.Path(), unix.MNT_DETACH); err != nil {
		return fmt.Errorf("remove network namespace %s: %w", s.name, err)
	}
	return os.Remove(s.Path())
}

// Do calls f in the namespace, on a thread that nobody else uses meanwhile.
// Processes that f starts are born there.
func (s *Space) Do(f func() error) error {
	runtime.LockOSThread()
	back, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer back.Close()
	if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s: %w", s.name, err)
	}
	err = f()
	if back := unix.Setns(int(back.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, and ends with its goroutine.
		return fmt.Errorf("leave %s: %w", s.name, back)
	}
	runtime.UnlockOSThread()
	return err
}

// Run runs a command in the namespace; an error carries what it printed.
func (s *Space) Run(name string, args ...string) error {
	_, err := s.Output(name, args...)
	return err
}

// Output is Run that gives what the command printed.
func (s *Space) Output(name string, args ...string) (string, error) {
	var out []byte
	err := s.Do(func() error {
		var err error
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		return string(out), fmt.Errorf("in %s: %s %v: %w: %s", s.name, name, args, err, out)
	}
	return string(out), nil
}

// Start starts the command in the namespace.
func (s *Space) Start(cmd *exec.Cmd) error {
	if err := s.Do(cmd.Start); err != nil {
		return fmt.Errorf("in %s: start %s: %w", s.name, cmd.Path, err)
	}
	return nil
}

// Dial connects from within the namespace.
func (s *Space) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var conn net.Conn
	err := s.Do(func() error {
		// Happy Eyeballs would dial on threads of other namespaces.
		d := net.Dialer{FallbackDelay: -1}
		var err error
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}
