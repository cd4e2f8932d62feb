package main

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

// setClock moves the wall clock of the whole machine.
func setClock(t *testing.T, by time.Duration) {
	t.Helper()
	ts, err := unix.TimeToTimespec(time.Now().Round(0).Add(by))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		t.Fatal(err)
	}
}

// TestLiveClockSet: somebody sets the clock of the node while podpath traces. It
// says so, flows are neither old nor young for it, and the times go on from the
// start of the trace.
func TestLiveClockSet(t *testing.T) {
	if os.Getenv("PODPATH_OWN_MACHINE") == "" {
		t.Skip("sets the clock: runs only in a machine of its own (make test-kernels)")
	}
	s := newScene(t, 67)
	tr := s.trace(ref(s.client), ref(s.server))
	began := time.Now()
	for i, c := range []struct {
		by   time.Duration
		says string
	}{
		{time.Hour, "set forward by"},
		{-3 * time.Hour, "set back by"},
		{2 * time.Hour, "again as it was"},
	} {
		setClock(t, c.by)
		tr.await("a note of the clock: "+c.says, func() bool { return strings.Contains(tr.err.String(), c.says) })
		port := uint16(9 + i)
		if err := s.from.ask("tcp", netip.AddrPortFrom(s.ip(s.server), port).String(), 2*time.Second); err == nil {
			t.Error("the traffic itself: nobody refused")
		}
		v := tr.verdict("a verdict", func(v *render.Verdict) bool { return v.Flow.Destination.Port == port })
		if v.Code != "app-no-listener" || v.Confidence != tracer.Confirmed {
			t.Errorf("after %v: %s, %s: %s", c.by, v.Code, v.Confidence, v.Summary)
		}
		// time.Since is by the monotonic clock, as began has one.
		latest := began.Round(0).Add(time.Since(began))
		for _, h := range v.Hops {
			if h.Time != nil && (h.Time.Before(began.Round(0)) || h.Time.After(latest)) {
				t.Errorf("after %v: %s is of %s, not between %s and %s", c.by, h.Where, h.Time, began, latest)
			}
		}
	}
	tr.stop()
}
