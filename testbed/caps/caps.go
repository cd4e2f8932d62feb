// Package caps starts programs that have exactly the capabilities that a test
// allows, however privileged the test itself is, so that what the manifests and
// the documentation ask for can be shown to be enough.
package caps

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

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
	// User runs it as that user instead of as root. It then has the capabilities
	// as ambient ones, unless OnFile is set: then a capability that the file does
	// not bring is not there.
	User   int
	OnFile bool
	// NoNewPrivs sets no_new_privs, as allowPrivilegeEscalation: false does.
	NoNewPrivs bool
	// NetNS is a path to the network namespace to start in; "" is the caller's.
	NetNS string
}

// Start starts cmd with nothing but the named capabilities in its bounding set,
// and therefore, as root, in its permitted and effective sets. The caller must
// be root, waits for cmd as usual, and does not set SysProcAttr.Pdeathsig,
// because the thread that forks ends at once.
func (l Limits) Start(cmd *exec.Cmd) error {
	keep, err := bits(l.Capabilities)
	if err != nil {
		return err
	}
	if l.User != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(l.User), Gid: uint32(l.User)}}
		for c := range keep {
			if !l.OnFile {
				cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, uintptr(c))
			}
		}
	}
	started := make(chan error)
	go func() {
		// Namespace, bounding set and no_new_privs belong to the thread, and the
		// latter two cannot be undone: this thread forks, and ends with its
		// goroutine, which never unlocks it.
		runtime.LockOSThread()
		if err := enter(l.NetNS); err != nil {
			started <- err
			return
		}
		if l.NoNewPrivs {
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				started <- fmt.Errorf("set no_new_privs: %w", err)
				return
			}
		}
		started <- startHere(cmd, keep)
	}()
	return <-started
}

func bits(names []string) (map[int]bool, error) {
	out := make(map[int]bool)
	for _, name := range names {
		n, ok := numbers()[strings.TrimPrefix(name, "CAP_")]
		if !ok {
			return nil, fmt.Errorf("unknown capability %q", name)
		}
		out[n] = true
	}
	return out, nil
}

// OnFile puts capabilities on a program: permitted and effective, as
// setcap cap_bpf,...=ep does (struct vfs_cap_data, linux/capability.h).
func OnFile(path string, names []string) error {
	keep, err := bits(names)
	if err != nil {
		return err
	}
	var mask uint64
	for c := range keep {
		mask |= 1 << c
	}
	var data [20]byte
	binary.LittleEndian.PutUint32(data[0:], 0x02000000|1) // VFS_CAP_REVISION_2, effective
	binary.LittleEndian.PutUint32(data[4:], uint32(mask))
	binary.LittleEndian.PutUint32(data[12:], uint32(mask>>32))
	if err := unix.Setxattr(path, "security.capability", data[:], 0); err != nil {
		return fmt.Errorf("put capabilities on %s: %w", path, err)
	}
	return nil
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
