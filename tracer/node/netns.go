package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// errNotNetNS: a path is no network namespace (an unmounted /run/netns file).
var errNotNetNS = errors.New("not a network namespace")

// ErrNetNSGone is returned when a namespace cannot be found any more.
var ErrNetNSGone = errors.New("network namespace is gone")

// netNSInode is the inode of an open namespace file (ioctl_ns(2)).
func netNSInode(f *os.File) (uint32, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return 0, err
	}
	if fs.Type != unix.NSFS_MAGIC {
		return 0, errNotNetNS
	}
	if typ, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || typ != unix.CLONE_NEWNET {
		return 0, errNotNetNS
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	return uint32(st.Ino), nil
}

// OpenNetNS opens a namespace of this kernel by inode. The caller closes it
// soon: an open descriptor keeps the namespace alive. The error is ErrNetNSGone
// if no process and no mount leads to it.
func (n *Node) OpenNetNS(inode uint32) (*os.File, error) {
	if inode == n.hostInode {
		fd, err := unix.FcntlInt(n.host.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("duplicate the node's namespace: %w", err)
		}
		return os.NewFile(uintptr(fd), "netns"), nil
	}
	n.mu.Lock()
	path := n.paths[inode]
	n.mu.Unlock()
	if f := openAs(path, inode); f != nil {
		return f, nil
	}
	// The process it was found by may have gone while the namespace lives on.
	if f := openAs(n.scan()[inode], inode); f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("open netns %d: %w", inode, ErrNetNSGone)
}

func openAs(path string, inode uint32) *os.File {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	if got, err := netNSInode(f); err != nil || got != inode {
		_ = f.Close()
		return nil
	}
	return f
}

// scan finds every namespace that a mount or a process leads to. It costs one
// readlink a process and opens nothing. Threads that left their process's
// namespace are not looked at.
func (n *Node) scan() map[uint32]string {
	found := map[uint32]string{}
	// Mounts first: they outlive the process that a pod began with.
	for _, dir := range n.mountDirs() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if f, err := os.Open(path); err == nil {
				if inode, err := netNSInode(f); err == nil && found[inode] == "" {
					found[inode] = path
				}
				_ = f.Close()
			}
		}
	}
	for _, pid := range pids(n.proc) {
		path := n.proc + "/" + strconv.Itoa(pid) + "/ns/net"
		inode, ok := linkInode(path)
		if ok && found[inode] == "" {
			found[inode] = path
		}
	}
	n.mu.Lock()
	n.paths = found
	n.mu.Unlock()
	return found
}

// mountDirs are where runtimes mount namespaces. From inside a debug pod the
// node's are reached through its init process; on the node itself that is the
// same directory, and looked at once.
func (n *Node) mountDirs() []string {
	var out []string
	var seen []os.FileInfo
	for _, root := range []string{"", n.proc + "/1/root"} {
		for _, d := range []string{"/run/netns", "/var/run/docker/netns"} {
			st, err := os.Stat(root + d)
			if err != nil || slices.ContainsFunc(seen, func(x os.FileInfo) bool { return os.SameFile(x, st) }) {
				continue
			}
			seen, out = append(seen, st), append(out, root+d)
		}
	}
	return out
}

func pids(proc string) []int {
	d, err := os.Open(proc)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	out := make([]int, 0, len(names))
	for _, s := range names {
		if pid, err := strconv.Atoi(s); err == nil {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

// linkInode reads "net:[4026531840]"; false if the process is gone.
func linkInode(path string) (uint32, bool) {
	s, err := os.Readlink(path)
	if err != nil {
		return 0, false
	}
	return parseNSLink(s)
}

func parseNSLink(s string) (uint32, bool) {
	s, ok := strings.CutPrefix(s, "net:[")
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, "]")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 10, 32)
	return uint32(v), err == nil
}

// within runs fn on a thread of its own inside a namespace and brings the thread
// home. It does not rest on a locked thread ending with its goroutine: the
// process's first thread is parked instead (runtime.mexit), and would hold the
// namespace, and show it as the process's own in /proc/PID/ns/net. A thread that
// cannot come home stays locked, so that no other code runs in there.
func within(fd int, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open this thread's network namespace: %w", err)
			return
		}
		defer unix.Close(home)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = fn()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
