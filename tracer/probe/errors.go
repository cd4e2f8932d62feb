package probe

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrNoPrivilege means that the process may not load programs.
var ErrNoPrivilege = errors.New("not allowed to load BPF programs")

// ErrNoBTF means that the kernel does not describe its types.
var ErrNoBTF = errors.New("the kernel has no type information at /sys/kernel/btf/vmlinux: use a kernel built with CONFIG_DEBUG_INFO_BTF=y (5.10 or later), and mount /sys if this is a container")

// ErrTier means that the hooks asked for do not exist on this kernel.
var ErrTier = errors.New("this kernel has no TCX (6.6 and later): use the tracepoint tier")

// ErrTooMany means that a selection does not fit the kernel's tables.
var ErrTooMany = errors.New("more than the kernel table holds")

// loadError says what a failed load means for the user.
func loadError(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		// One line here; the whole log is in the wrapped error (%+v).
		return fmt.Errorf("load programs: verifier: %w", err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.EPERM):
		// The library's own text sends people after locked memory.
		return noPrivilege()
	}
	return fmt.Errorf("load programs: %w", err)
}
