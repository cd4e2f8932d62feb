// Package caps starts programs that have exactly the capabilities that a test
// allows, however privileged the test itself is, so that what the manifests and
// the documentation ask for can be shown to be enough.
package caps

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// numbers are those of linux/capability.h; they are ABI.
func numbers() map[string]int {
	return map[string]int{
		"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
		"NET_ADMIN": unix.CAP_NET_ADMIN, "NET_RAW": unix.CAP_NET_RAW, "IPC_LOCK": unix.CAP_IPC_LOCK,
		"SYS_PTRACE": unix.CAP_SYS_PTRACE, "SYS_ADMIN": unix.CAP_SYS_ADMIN, "SYS_RESOURCE": unix.CAP_SYS_RESOURCE,
		"SYSLOG": unix.CAP_SYSLOG, "PERFMON": unix.CAP_PERFMON, "BPF": unix.CAP_BPF,
	}
}

// Limits is what a program may have.
type Limits struct {
	// Capabilities are names as Kubernetes ("BPF") or capabilities(7)
	// ("CAP_BPF") write them.
	Capabilities []string
	// NetNS is a path to the network namespace to start in; "" is the caller's.
	NetNS string
}

// Start starts cmd with nothing but the named capabilities in its bounding set,
// and therefore, as root, in its permitted and effective sets. The caller must
// be root, waits for cmd as usual, and does not set SysProcAttr.Pdeathsig,
// because the thread that forks ends at once.
func (l Limits) Start(cmd *exec.Cmd) error {
	keep := make(map[int]bool)
	for _, name := range l.Capabilities {
		n, ok := numbers()[strings.TrimPrefix(name, "CAP_")]
		if !ok {
			return fmt.Errorf("unknown capability %q", name)
		}
		keep[n] = true
	}
	started := make(chan error)
	go func() {
		// Namespace and bounding set belong to the thread, and the latter cannot
		// grow again: this thread forks, and ends with its goroutine, which never
		// unlocks it.
		runtime.LockOSThread()
		if err := enter(l.NetNS); err != nil {
			started <- err
			return
		}
		started <- startHere(cmd, keep)
	}()
	return <-started
}

func enter(path string) error {
	if path == "" {
		return nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	err = unix.Setns(fd, unix.CLONE_NEWNET)
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}

func startHere(cmd *exec.Cmd, keep map[int]bool) error {
	for c := 0; ; c++ {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err != nil {
			break // past the last that this kernel knows
		}
		if keep[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return cmd.Start()
}
