package probe

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Without capabilities the error says what is missing.
func TestNoPrivilege(t *testing.T) {
	var err error
	onThread(func() {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err = unix.Capset(&hdr, &none[0]); err != nil {
			return
		}
		var p *Probe
		if p, err = Open(Config{}); err == nil {
			_ = p.Close()
		}
	})
	if !errors.Is(err, ErrNoPrivilege) {
		t.Fatalf("got %v", err)
	}
}

// as opens a probe on a thread with no other effective capabilities, which ends
// with it.
func as(c Config, capabilities ...uint) (err error) {
	onThread(func() {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var had [2]unix.CapUserData
		if err = unix.Capget(&hdr, &had[0]); err != nil {
			return
		}
		now := [2]unix.CapUserData{{Permitted: had[0].Permitted}, {Permitted: had[1].Permitted}}
		for _, c := range capabilities {
			now[c/32].Effective |= had[c/32].Permitted & (1 << (c % 32))
		}
		if err = unix.Capset(&hdr, &now[0]); err != nil {
			return
		}
		var p *Probe
		if p, err = Open(c); err == nil {
			err = p.Close()
		}
	})
	return err
}

// Loading needs neither root nor CAP_SYS_ADMIN, on any kernel, and types of the
// kernel's modules are read all the same.
func TestOpenWithTheLeast(t *testing.T) {
	needPrivilege(t)
	// Before 5.11 the limit on locked memory is raised, which is not the least.
	least := []uint{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_RESOURCE}
	if err := as(Config{Tier: TierTracepoint}, least...); err != nil {
		t.Errorf("tracepoints: %v", err)
	}
	if err := as(Config{}, append(least, unix.CAP_NET_ADMIN)...); err != nil {
		t.Errorf("any: %v", err)
	}
	for name, missing := range map[string]uint{"CAP_BPF is missing": unix.CAP_BPF, "CAP_PERFMON is missing": unix.CAP_PERFMON} {
		some := slices.DeleteFunc(slices.Clone(least), func(c uint) bool { return c == missing })
		if err := as(Config{Tier: TierTracepoint}, some...); !errors.Is(err, ErrNoPrivilege) || !strings.Contains(err.Error(), name) {
			t.Errorf("without it: %v", err)
		}
	}
}

func TestProgramsFor(t *testing.T) {
	for name, c := range map[string]struct {
		tier  Tier
		drops bool
		want  int
	}{
		"tcx": {TierTCX, false, 3}, "tracepoint": {TierTracepoint, false, 3}, "drops": {TierTCX, true, 1},
	} {
		if got := len(programsFor(c.tier, c.drops)); got != c.want {
			t.Errorf("%s: %d programs", name, got)
		}
	}
}

func TestRingSize(t *testing.T) {
	for in, want := range map[int]uint32{0: 8 << 20, 1: 4096, 4096: 4096, 4097: 8192, 5 << 20: 8 << 20} {
		if got := ringSize(in); got != want && got != uint32(unix.Getpagesize()) {
			t.Errorf("%d: got %d, want %d", in, got, want)
		}
	}
}
