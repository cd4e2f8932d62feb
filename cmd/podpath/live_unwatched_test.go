package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

// mprogMax is how many programs the kernel lets one TCX hook have (BPF_MPROG_MAX in
// include/linux/bpf_mprog.h, less the one that it keeps for itself).
const mprogMax = 63

// TestLiveUnwatched: one device takes no program, because others have attached as
// many as the kernel allows. The trace starts all the same, says so, and judges by
// what the other devices show; what rests on silence is not claimed.
func TestLiveUnwatched(t *testing.T) {
	t.Parallel()
	s := newScene(t, 65)
	dev := s.portOf(s.to)
	for i := range uint16(mprogMax) {
		l := s.tcx(dev, gate(t, "their_own", 6000+i, goOn), nil)
		t.Cleanup(func() { _ = l.Close() })
	}
	tr := s.trace(ref(s.client), ref(s.server), "--hook", "tcx")
	refused := netip.AddrPortFrom(s.ip(s.server), 9).String()
	if err := s.from.ask("tcp", refused, 2*time.Second); err == nil {
		t.Error("the traffic itself: nobody refused")
	}
	v := tr.verdict("a verdict", func(v *render.Verdict) bool { return v.Flow.Destination.Port == 9 })
	tr.stop()
	if v.Code != "app-no-listener" {
		t.Errorf("got %s (%s): %s", v.Code, v.Component, v.Summary)
	}
	if !slices.ContainsFunc(v.Blind, func(b tracer.Blind) bool { return strings.Contains(b.What, "no program can be attached to") }) {
		t.Errorf("does not say that a device is not watched: %+v", v.Blind)
	}
}
