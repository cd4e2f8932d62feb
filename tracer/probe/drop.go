package probe

import (
	"sync"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
)

// drop names reason, place and stack and classifies them.
func (p *Probe) drop(raw *bpf.TraceDropEvent) *tracer.Drop {
	n := min(int(raw.StackLen), len(raw.Stack))
	stack := make([]string, 0, n)
	for _, addr := range raw.Stack[:n] {
		stack = append(stack, p.symbols.name(addr))
	}
	place := p.place(raw.Reason, raw.Location, &raw.Event.Tuple)
	place.Stack = callers(stack, place.Location)
	place.Redirect = raw.Event.Tuple.Proto == tracer.ProtoICMP && raw.Event.IcmpType == icmpRedirect
	d := Classify(place)
	return &d
}

const icmpRedirect = 5

// place is without stack.
func (p *Probe) place(reason uint32, location uint64, t *bpf.TraceTuple) Place {
	out := Place{Reason: p.reasons.name(reason), Location: p.symbols.name(location), SharedHook: p.reasons.sharedHook()}
	if t.Family != 0 {
		out.IP = true
		out.Multicast = address(&t.Daddr).IsMulticast()
	}
	return out
}

// samples remembers one event for every line of the drop report, for what the
// kernel's table does not hold: stack and example tuple.
type samples struct {
	mu    *sync.Mutex
	byKey map[bpf.TraceDropKey]sample
}

type sample struct {
	drop  tracer.Drop
	tuple tracer.Tuple
}

// maxSamples is more than the kernel's table has lines.
const maxSamples = 65536

func newSamples() samples {
	return samples{mu: &sync.Mutex{}, byKey: map[bpf.TraceDropKey]sample{}}
}

func (s *samples) add(raw *bpf.TraceDropEvent, e tracer.Event) {
	k := dropKey(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byKey[k]; !ok && len(s.byKey) < maxSamples {
		s.byKey[k] = sample{drop: *e.Drop, tuple: e.Tuple}
	}
}

func (s *samples) get(k bpf.TraceDropKey) (sample, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.byKey[k]
	return v, ok
}

// dropKey is the kernel's key of the line that an event belongs to
// (drop_detail in bpf/include/drops.h).
func dropKey(raw *bpf.TraceDropEvent) bpf.TraceDropKey {
	t := &raw.Event.Tuple
	k := bpf.TraceDropKey{
		Location: raw.Location,
		Saddr:    t.Saddr,
		Daddr:    t.Daddr,
		Reason:   raw.Reason,
		Netns:    raw.Event.Netns,
		Ifindex:  raw.Event.Ifindex,
		Proto:    t.Proto,
		Family:   t.Family,
	}
	if t.Proto != tracer.ProtoICMP && t.Proto != tracer.ProtoICMPv6 {
		k.Dport = t.Dport
	}
	return k
}
