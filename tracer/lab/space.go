package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// stopGrace is how long a child may take to end by itself.
const stopGrace = 2 * time.Second

// space is one network namespace with the child that keeps it alive.
type space struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	ns   netns.NsHandle
	nl   *netlink.Handle

	mu      sync.Mutex // guards in, next, waiting and dead
	next    uint64
	waiting map[uint64]chan response
	dead    error
	hello   chan struct{}
	done    chan struct{} // closed when the child's stdout ended

	listeners []uint64 // of the application, in a pod
}

// spawner starts children from one operating system thread that lives as long
// as it does. The kernel sends a parent-death signal when the *thread* that
// forked ends, and Go ends threads at will (a goroutine that returns while
// locked takes its thread along).
type spawner struct {
	jobs chan func()
	end  chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func()), end: make(chan struct{})}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for {
			select {
			case f := <-s.jobs:
				f()
			case <-s.end:
				return
			}
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	res := make(chan error, 1)
	s.jobs <- func() { res <- cmd.Start() }
	return <-res
}

func (s *spawner) stop() { close(s.end) }

// newSpace starts a child in a namespace of its own.
func newSpace(ctx context.Context, sp *spawner, name string) (*space, error) {
	cmd := &exec.Cmd{
		// Not os.Executable: the file may have been replaced or removed since.
		Path: "/proc/self/exe",
		Args: []string{"podpath-lab: " + name},
		Env:  []string{childEnv + "=" + name},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNET,
			Pdeathsig:  unix.SIGKILL,
			// Ctrl-C is for the parent, which then ends the children in order.
			Setpgid: true,
		},
	}
	if dir, ok := os.LookupEnv("GOCOVERDIR"); ok {
		cmd.Env = append(cmd.Env, "GOCOVERDIR="+dir)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start namespace %s: %w", name, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start namespace %s: %w", name, err)
	}
	if err := sp.start(cmd); err != nil {
		return nil, fmt.Errorf("start namespace %s: %w", name, err)
	}
	s := &space{
		name: name, cmd: cmd, in: in, ns: -1, waiting: map[uint64]chan response{},
		hello: make(chan struct{}), done: make(chan struct{}),
	}
	go s.read(out)
	if err := s.open(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	return s, nil
}

func (s *space) open(ctx context.Context) error {
	select {
	case <-s.hello:
	case <-s.done:
		return errors.New("child ended at once: does its main call ServeIfChild first?")
	case <-ctx.Done():
		return ctx.Err()
	}
	var err error
	if s.ns, err = netns.GetFromPath(s.path()); err != nil {
		return err
	}
	s.nl, err = netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE)
	return err
}

func (s *space) path() string { return fmt.Sprintf("/proc/%d/ns/net", s.cmd.Process.Pid) }

func (s *space) read(out io.Reader) {
	r := bufio.NewReader(out)
	greeted := false
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			break
		}
		var res response
		if json.Unmarshal(line, &res) != nil {
			continue
		}
		if res.Hello && !greeted {
			greeted = true
			close(s.hello)
			continue
		}
		s.deliver(res)
	}
	s.mu.Lock()
	s.dead = fmt.Errorf("namespace %s: child ended", s.name)
	for _, c := range s.waiting {
		close(c)
	}
	s.waiting = nil
	s.mu.Unlock()
	close(s.done)
}

func (s *space) deliver(res response) {
	s.mu.Lock()
	c, ok := s.waiting[res.ID]
	delete(s.waiting, res.ID)
	s.mu.Unlock()
	if ok {
		c <- res
	}
}

// call sends one request and waits for its response.
func (s *space) call(ctx context.Context, req request) (response, error) {
	c := make(chan response, 1)
	if err := s.send(req, c); err != nil {
		return response{}, err
	}
	select {
	case res, ok := <-c:
		if !ok {
			return response{}, fmt.Errorf("namespace %s: child ended", s.name)
		}
		if res.Err != "" {
			return res, fmt.Errorf("namespace %s: %s", s.name, res.Err)
		}
		return res, nil
	case <-ctx.Done():
		return response{}, ctx.Err()
	}
}

func (s *space) send(req request, c chan response) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead != nil {
		return s.dead
	}
	s.next++
	req.ID = s.next
	s.waiting[req.ID] = c
	line, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	_, err = s.in.Write(append(line, '\n'))
	return err
}

func (s *space) sysctl(ctx context.Context, key, value string) (old string, err error) {
	res, err := s.call(ctx, request{Sysctl: &sysctlArgs{Key: key, Value: value}})
	return res.Old, err
}

func (s *space) sysctls(ctx context.Context, kv [][2]string) error {
	for _, x := range kv {
		if _, err := s.sysctl(ctx, x[0], x[1]); err != nil {
			return err
		}
	}
	return nil
}

func (s *space) listen(ctx context.Context, a listenArgs) (uint64, error) {
	res, err := s.call(ctx, request{Listen: &a})
	return res.Listener, err
}

// stop ends the child and waits for it. The kernel removes the namespace, and
// all that is in it, soon after.
func (s *space) stop() {
	if s.nl != nil {
		s.nl.Close()
		s.nl = nil
	}
	if s.ns.IsOpen() {
		_ = s.ns.Close()
	}
	_ = s.in.Close()
	select {
	case <-s.done:
	case <-time.After(stopGrace):
		_ = s.cmd.Process.Kill()
	}
	_ = s.cmd.Wait()
}
