// Package netns runs code inside a network namespace and comes back. It is the
// only place that enters one. It opens none: a descriptor keeps a namespace, and
// with it the veth pair of a deleted pod, alive, so that whoever opens it decides
// for how long.
package netns

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrForbidden: the process may not enter other network namespaces. That takes
// CAP_SYS_ADMIN both in its own user namespace and in the one that owns the
// network namespace (netns_install in net/core/net_namespace.c, 3.0 to 6.18).
var ErrForbidden = errors.New("entering a network namespace needs CAP_SYS_ADMIN")

// ErrOther: a descriptor is of something else than a network namespace.
var ErrOther = errors.New("not a network namespace")

// Allowed is nil, or ErrForbidden. It tries it with the process's own namespace.
func Allowed() error {
	return onThread(func(home int) error { return enter(home) })
}

// Inode identifies an open network namespace on this kernel (ioctl_ns(2)).
func Inode(fd int) (uint32, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, err
	}
	if fs.Type != unix.NSFS_MAGIC {
		return 0, ErrOther
	}
	if typ, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || typ != unix.CLONE_NEWNET {
		return 0, ErrOther
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return uint32(st.Ino), nil
}

// Do runs f on a thread inside the namespace that fd is open on. Sockets that f
// makes stay in there; files below /proc/thread-self/net and /proc/sys/net are
// its own. Nothing is entered, and no capability needed, for the namespace that
// the process is in anyway.
func Do(fd int, f func() error) error {
	inode, err := Inode(fd)
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return onThread(func(home int) error {
		if here, err := Inode(home); err == nil && here == inode {
			return f()
		}
		if err := enter(fd); err != nil {
			return err
		}
		return f()
	})
}

func enter(fd int) error {
	err := unix.Setns(fd, unix.CLONE_NEWNET)
	if errors.Is(err, unix.EPERM) {
		return ErrForbidden
	}
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// onThread runs f on a thread of its own and brings that home. It does not rest
// on a locked thread ending with its goroutine: the process's first thread is
// parked instead (runtime.mexit), and would hold the namespace, and show it as
// the process's own in /proc/PID/ns/net. A thread that cannot come home stays
// locked, so that no other code runs in there.
func onThread(f func(home int) error) error {
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
		err = f(home)
		// Without CAP_SYS_ADMIN it cannot be set, but has not left either.
		if unix.Setns(home, unix.CLONE_NEWNET) == nil || isHome(home) {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func isHome(home int) bool {
	here, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(here)
	a, err := Inode(here)
	b, err2 := Inode(home)
	return err == nil && err2 == nil && a == b
}
