package probe

import (
	"errors"
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
