package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Flows that fail alike share what was read, but not conntrack's entry: that is one
// flow's.
func TestAnswersShared(t *testing.T) {
	flow := func(from string) tracer.Query {
		return tracer.Query{Flow: tracer.Tuple{Src: netip.MustParseAddrPort(from), Dst: netip.MustParseAddrPort("10.96.0.10:53"), Proto: tracer.ProtoUDP}}
	}
	reads, retracks, age := 0, 0, time.Duration(0)
	entry := func(q tracer.Query) []tracer.TrackedFact { return []tracer.TrackedFact{{Orig: q.Flow}} }
	s := answers{
		read: func(q tracer.Query) *tracer.NodeFacts {
			reads++
			return &tracer.NodeFacts{At: time.Now().Add(-age), Tracked: entry(q), TrackedRead: true}
		},
		retrack: func(q tracer.Query, f *tracer.NodeFacts) *tracer.NodeFacts {
			retracks++
			out := *f
			out.Tracked = entry(q)
			return &out
		},
	}
	for _, tt := range []struct {
		what, key, from string
		age             time.Duration
		reads, retracks int
	}{
		{"the first", "k", "10.244.1.7:40000", 0, 1, 0},
		{"the same flow", "k", "10.244.1.7:40000", 0, 1, 0},
		{"from another port", "k", "10.244.1.7:40001", 0, 1, 1},
		{"the first again", "k", "10.244.1.7:40000", 0, 1, 1},
		{"of other ends", "l", "10.244.1.8:40000", factsAge, 2, 1},
		{"later", "l", "10.244.1.8:40001", 0, 3, 1},
	} {
		age = tt.age
		q := flow(tt.from)
		f := s.ask(tt.key, q)
		if len(f.Tracked) != 1 || f.Tracked[0].Orig != q.Flow {
			t.Errorf("%s: the entry of %+v", tt.what, f.Tracked)
		}
		if reads != tt.reads || retracks != tt.retracks {
			t.Errorf("%s: %d read, %d entries asked for; want %d, %d", tt.what, reads, retracks, tt.reads, tt.retracks)
		}
	}
}
