package probe

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// capabilities that loading needs (bpf_prog_load in kernel/bpf/syscall.c, 5.8
// to 6.18). CAP_SYS_ADMIN includes both.
var loadingNeeds = []struct {
	name string
	bit  uint
}{{"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}}

// noPrivilege says which capability is missing.
func noPrivilege() error {
	var missing []string
	have := effective()
	for _, c := range loadingNeeds {
		if have&(1<<c.bit|1<<unix.CAP_SYS_ADMIN) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) == 0 && have&(1<<unix.CAP_NET_ADMIN|1<<unix.CAP_SYS_ADMIN) == 0 {
		missing = []string{"CAP_NET_ADMIN"} // for programs at devices
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s missing: run as root, or with the capabilities that docs/requirements.md lists", ErrNoPrivilege, areOrIs(missing))
	}
	return fmt.Errorf("%w, although CAP_BPF and CAP_PERFMON are there: a seccomp profile, a security module or kernel lockdown forbids it", ErrNoPrivilege)
}

func areOrIs(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, " and ") + " are"
}

// effective are the calling thread's effective capabilities (capget(2)).
func effective() uint64 {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) != nil {
		return 0
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
}

// mayNot says why programs cannot be attached to single devices: they are of the
// kind that CAP_NET_ADMIN is for, and those inside of pods are reached by
// entering. "" if they can.
func mayNot(forbidden error) string {
	switch {
	case effective()&(1<<unix.CAP_NET_ADMIN|1<<unix.CAP_SYS_ADMIN) == 0:
		return "CAP_NET_ADMIN is missing"
	case forbidden != nil:
		return "CAP_SYS_ADMIN is missing"
	}
	return ""
}
