package main

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// told feeds an analyser and gives its verdicts, in their order.
type told struct {
	*analyser
	seq  uint64
	list []*tracer.Verdict
}

func newTold() *told {
	s := &told{analyser: newAnalyser("n", nil)}
	s.emit = func(v *tracer.Verdict) bool { s.list = append(s.list, v); return true }
	return s
}

func (s *told) packet(at time.Time, kind tracer.EventKind, ns uint32, tuple tracer.Tuple, flags uint8, size uint32) {
	s.seq++
	s.event(&tracer.Event{Seq: s.seq, Time: at, MonoNS: s.seq, Kind: kind, NetNS: ns, IfIndex: 2, Tuple: tuple, TCPFlags: flags, Payload: size, TCPSeq: 100})
}

// hangs is a request that reaches a server, which does not answer it.
func (s *told) hangs(at time.Time, there tracer.Tuple) {
	both := func(tuple tracer.Tuple, from, to uint32, flags uint8, size uint32) {
		s.packet(at, tracer.EventTX, from, tuple, flags, size)
		s.packet(at, tracer.EventRX, to, tuple, flags, size)
	}
	both(there, 1, 2, tracer.TCPSyn, 0)
	both(there.Reverse(), 2, 1, tracer.TCPSyn|tracer.TCPAck, 0)
	both(there, 1, 2, tracer.TCPAck, 0)
	both(there, 1, 2, tracer.TCPAck|tracer.TCPPsh, 80)
}

func flow(src, dst string) tracer.Tuple {
	return tracer.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Proto: tracer.ProtoTCP}
}

// A server that hangs because nobody answers it is judged after its own
// connection, whichever was due first, and a server that does not is not kept
// waiting.
func TestCausesAreJudgedFirst(t *testing.T) {
	ask, own := flow("10.0.0.1:4000", "10.0.0.2:80"), flow("10.0.0.2:5000", "10.0.0.3:5432")
	for name, c := range map[string]struct {
		own    tracer.Tuple
		until  time.Duration
		first  tracer.Tuple
		second tracer.Tuple
	}{
		"its own connection is not due yet": {own, 20 * time.Second, own, ask},
		"the end of the trace":              {own, 2 * time.Second, own, ask},
		"another's connection":              {flow("10.0.0.9:5000", "10.0.0.3:5432"), 20 * time.Second, ask, flow("10.0.0.9:5000", "10.0.0.3:5432")},
		"another's at the end of the trace": {flow("10.0.0.9:5000", "10.0.0.3:5432"), 2 * time.Second, ask, flow("10.0.0.9:5000", "10.0.0.3:5432")},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTold()
			began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			s.hangs(began, ask)
			for at := time.Duration(0); at < c.until; at += 25 * time.Millisecond {
				switch at { // a SYN and what is sent again
				case 900 * time.Millisecond, 2900 * time.Millisecond, 5900 * time.Millisecond:
					s.packet(began.Add(at), tracer.EventTX, 2, c.own, tracer.TCPSyn, 0)
				}
				s.tick(began.Add(at), false)
			}
			s.end(began.Add(c.until))
			if len(s.list) != 2 || s.list[0].Journey.Flow != c.first || s.list[1].Journey.Flow != c.second {
				for _, v := range s.list {
					t.Logf("%s %s %s after %s", v.Journey.Flow, v.Code, v.Outcome, v.Time.Sub(began))
				}
				t.Error("the order is another")
			}
		})
	}
}

// Whatever the order in which they fall due, and however many servers stand behind
// each other, nobody is judged before what it waits for.
func TestCausesOfCauses(t *testing.T) {
	at := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
	flows := func(outcome tracer.Outcome, ends ...[2]int) []due {
		var list []due
		for i, e := range ends {
			list = append(list, due{id: uint64(i + 1), source: at(e[0]), target: at(e[1]), outcome: outcome})
		}
		return list
	}
	hangs, well := tracer.OutcomeNoAnswer, tracer.OutcomeDelivered
	for _, c := range []struct {
		name string
		list []due
		want string
	}{
		{"nothing", nil, "[]"},
		{"one behind another", flows(hangs, [2]int{1, 2}, [2]int{2, 3}), "[2 1]"},
		{"three stages", flows(hangs, [2]int{1, 2}, [2]int{2, 3}, [2]int{3, 4}), "[3 2 1]"},
		{"three stages, mixed up", flows(hangs, [2]int{2, 3}, [2]int{1, 2}, [2]int{3, 4}), "[3 1 2]"},
		{"five stages", flows(hangs, [2]int{3, 4}, [2]int{1, 2}, [2]int{5, 6}, [2]int{2, 3}, [2]int{4, 5}), "[3 5 1 4 2]"},
		{"two that a server waits for", flows(hangs, [2]int{1, 2}, [2]int{2, 3}, [2]int{2, 4}, [2]int{4, 5}), "[2 4 3 1]"},
		{"strangers", flows(hangs, [2]int{1, 2}, [2]int{3, 4}), "[1 2]"},
		{"all are well", flows(well, [2]int{1, 2}, [2]int{2, 3}, [2]int{3, 4}), "[1 2 3]"},
		{"a pod that asks itself", flows(hangs, [2]int{1, 1}, [2]int{1, 2}), "[1 2]"},
		{"in a circle", flows(hangs, [2]int{1, 2}, [2]int{2, 1}, [2]int{3, 4}), "[3 1 2]"},
	} {
		for range 2 { // it keeps the order that it makes
			c.list = causesFirst(c.list)
			ids := []uint64{}
			for _, d := range c.list {
				ids = append(ids, d.id)
			}
			if got := fmt.Sprint(ids); got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
		}
		slices.Reverse(c.list)
		place := map[netip.Addr]int{}
		again := causesFirst(c.list)
		for i, d := range again {
			place[d.source] = max(place[d.source], i)
		}
		for i, d := range again {
			if p, ok := place[d.target]; ok && d.outcome == hangs && c.name != "in a circle" && d.source != d.target && p > i {
				t.Errorf("%s the other way round: %d is judged before what it waits for", c.name, d.id)
			}
		}
	}
}
