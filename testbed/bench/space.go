package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is one network namespace. A sleeping process keeps it alive and makes
// it visible in /proc, as a pod's pause container does; the kernel kills that
// process when the spawner's thread ends, and then removes the namespace.
type space struct {
	name string
	cmd  *exec.Cmd
	ns   netns.NsHandle
	nl   *netlink.Handle
}

// spawner starts processes from one thread that lives as long as this process,
// because the parent-death signal comes when the thread ends that forked.
type spawner struct{ jobs chan func() }

// Its processes see tracefs, which perf and bpftrace need, wherever this
// machine has mounted it: in a mount namespace of their own that ends with them.
func newSpawner() (*spawner, error) {
	s := &spawner{jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		ready <- mountTracefs()
		for f := range s.jobs {
			f()
		}
	}()
	return s, <-ready
}

// mountTracefs puts this thread into a mount namespace that has tracefs. A
// kernel without it is no error here: the tools that need it say so.
func mountTracefs() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts in their namespace: %w", err)
	}
	err := unix.Mount("tracefs", "/sys/kernel/tracing", "tracefs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("mount tracefs: %w", err)
	}
	return nil
}

// start starts a process, inside a namespace if one is given.
func (s *spawner) start(cmd *exec.Cmd, in *space) error {
	res := make(chan error, 1)
	s.jobs <- func() { res <- startIn(cmd, in) }
	return <-res
}

// startIn runs on the spawner's thread, which goes back afterwards.
func startIn(cmd *exec.Cmd, in *space) error {
	if in == nil {
		return cmd.Start()
	}
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(in.ns); err != nil {
		return fmt.Errorf("enter namespace %s: %w", in.name, err)
	}
	return errors.Join(cmd.Start(), netns.Set(home))
}

func newSpace(sp *spawner, name string) (*space, error) {
	sleep, err := find("sleep")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(sleep, "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL, Setpgid: true}
	if err := sp.start(cmd, nil); err != nil {
		return nil, fmt.Errorf("start namespace %s: %w", name, err)
	}
	s := &space{name: name, cmd: cmd, ns: netns.None()}
	if err := s.open(); err != nil {
		s.close()
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	return s, nil
}

func (s *space) open() error {
	var err error
	if s.ns, err = netns.GetFromPath(fmt.Sprintf("/proc/%d/ns/net", s.cmd.Process.Pid)); err != nil {
		return err
	}
	if s.nl, err = netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE); err != nil {
		return err
	}
	// Nothing may send by itself: every packet that is counted is ours.
	return s.sysctl(map[string]string{
		"net/ipv6/conf/all/disable_ipv6":     "1",
		"net/ipv6/conf/default/disable_ipv6": "1",
		"net/ipv4/conf/all/rp_filter":        "0",
		"net/ipv4/conf/default/rp_filter":    "0",
	})
}

func (s *space) close() {
	if s.nl != nil {
		s.nl.Close()
	}
	if s.ns.IsOpen() {
		_ = s.ns.Close()
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// inside runs f on a thread that is in the namespace, and ends with f.
func (s *space) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(s.ns); err != nil {
			done <- fmt.Errorf("enter namespace %s: %w", s.name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// sysctl writes keys of the namespace: /proc/sys/net is the writing thread's.
func (s *space) sysctl(values map[string]string) error {
	return s.inside(func() error {
		for key, value := range values {
			if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0); err != nil {
				return fmt.Errorf("set sysctl in %s: %w", s.name, err)
			}
		}
		return nil
	})
}

// command runs a program inside the namespace and returns what it prints.
func (s *space) command(ctx context.Context, sp *spawner, stdin string, argv ...string) (string, error) {
	path, err := find(argv[0])
	if err != nil {
		return "", err
	}
	var out, complaint strings.Builder
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	if err := sp.start(cmd, s); err != nil {
		return "", fmt.Errorf("start %s in %s: %w", argv[0], s.name, err)
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s in %s: %w: %s", strings.Join(argv, " "), s.name, err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

// find looks where root's programs are, which sudo and cron may leave out of
// the path.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find program %s: %w", name, exec.ErrNotFound)
}
