package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/session"
)

// refusal is a SYN and the RST that answers it.
func refusal(at time.Time) []tracer.Event {
	there := tracer.Tuple{Src: netip.MustParseAddrPort("10.0.0.1:4000"), Dst: netip.MustParseAddrPort("10.0.0.2:80"), Proto: tracer.ProtoTCP}
	return []tracer.Event{
		{Seq: 1, Time: at, MonoNS: 1, Kind: tracer.EventTX, NetNS: 1, IfIndex: 2, Tuple: there, TCPFlags: tracer.TCPSyn, TCPSeq: 7},
		{Seq: 2, Time: at, MonoNS: 2, Kind: tracer.EventRX, NetNS: 1, IfIndex: 2, Tuple: there.Reverse(), TCPFlags: tracer.TCPRst | tracer.TCPAck, TCPAck: 8},
	}
}

// A verdict knows of the losses before it, also of those since the counters were
// read last.
func TestVerdictKnowsOfLoss(t *testing.T) {
	began := time.Now()
	a := newAnalyser("n", nil)
	a.recount = func() session.Stats { return session.Stats{Seen: 9, Lost: 5} }
	var got *tracer.Verdict
	a.emit = func(v *tracer.Verdict) bool { got = v; return true }
	a.stats(began, session.Stats{Seen: 2})
	for _, ev := range refusal(began) {
		a.event(&ev)
	}
	a.tick(began.Add(time.Second), false)
	if got == nil || got.Outcome != tracer.OutcomeRefused || got.LostEvents != 5 {
		t.Fatalf("got %+v", got)
	}
}
