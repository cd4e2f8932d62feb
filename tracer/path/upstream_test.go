package path

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podpath/podpath/tracer"
)

// The client 10.1.0.10 asks the DNS pod 10.1.0.53, which asks others.
var (
	dnsPod    = netip.MustParseAddr("10.1.0.53")
	dnsPod6   = netip.MustParseAddr("fd00::53")
	resolver1 = netip.MustParseAddrPort("192.0.2.53:53")
	resolver2 = netip.MustParseAddrPort("[2001:db8::53]:53")
)

// at is an event of the DNS pod's own traffic.
func upstreamEvent(after time.Duration, from netip.AddrPort, to netip.AddrPort, with func(*tracer.Event)) *tracer.Event {
	e := &tracer.Event{
		Time: time.Unix(1000, 0).Add(after), MonoNS: uint64(after) + 1, Kind: tracer.EventTX, NetNS: 8, IfIndex: 2,
		Tuple: tracer.Tuple{Src: from, Dst: to, Proto: tracer.ProtoUDP}, Payload: 40, Len: 68, DNS: &tracer.DNS{ID: from.Port(), Questions: 1},
	}
	if with != nil {
		with(e)
	}
	return e
}

func answersWith(rcode uint8) func(*tracer.Event) {
	return func(e *tracer.Event) {
		e.Kind, e.Tuple = tracer.EventRX, e.Tuple.Reverse()
		e.DNS.Response, e.DNS.RCode = true, rcode
	}
}

func refuses(e *tracer.Event) {
	quoted := e.Tuple
	e.Kind, e.DNS, e.Quoted = tracer.EventRX, nil, &quoted
	e.Tuple = tracer.Tuple{Src: netip.AddrPortFrom(e.Tuple.Dst.Addr(), 0), Dst: netip.AddrPortFrom(e.Tuple.Src.Addr(), 0), Proto: tracer.ProtoICMP}
	e.ICMPType, e.ICMPCode = 3, 3
}

func bySYN(flags uint8) func(*tracer.Event) {
	return func(e *tracer.Event) {
		e.Tuple.Proto, e.DNS, e.TCPFlags, e.TCPSeq = tracer.ProtoTCP, nil, flags, 7
		if flags&tracer.TCPAck != 0 {
			e.Kind, e.Tuple, e.TCPAck = tracer.EventRX, e.Tuple.Reverse(), 8
		}
	}
}

func TestUpstream(t *testing.T) {
	const ms = time.Millisecond
	own := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(dnsPod, port) }
	up := func(after time.Duration, port uint16, with func(*tracer.Event)) *tracer.Event {
		return upstreamEvent(after, own(port), resolver1, with)
	}
	first := func(after time.Duration) time.Time { return time.Unix(1000, 0).Add(after) }
	one := tracer.Upstream{Resolver: resolver1, Proto: tracer.ProtoUDP, Asked: 1, First: first(1 * ms)}
	with := func(f func(*tracer.Upstream)) []tracer.Upstream { u := one; f(&u); return []tracer.Upstream{u} }
	same := func(*tracer.Upstream) {}
	servfail := answersWith(tracer.RCodeServFail)
	tests := map[string]struct {
		events []*tracer.Event // between the client's question at 0 and its answer at 4 s
		rcode  uint8
		want   []tracer.Upstream
	}{
		"silent":         {[]*tracer.Event{up(1*ms, 5001, nil)}, 2, with(same)},
		"silent, twice":  {[]*tracer.Event{up(1*ms, 5001, nil), up(2000*ms, 5002, nil)}, 2, with(func(u *tracer.Upstream) { u.Asked = 2 })},
		"refused":        {[]*tracer.Event{up(1*ms, 5001, nil), up(2*ms, 5001, refuses)}, 2, with(func(u *tracer.Upstream) { u.Refused = true })},
		"fails itself":   {[]*tracer.Event{up(1*ms, 5001, nil), up(9*ms, 5001, servfail)}, 2, with(func(u *tracer.Upstream) { u.Answered, u.RCode, u.Slowest = 1, 2, 8*ms })},
		"no such name":   {[]*tracer.Event{up(1*ms, 5001, nil), up(9*ms, 5001, answersWith(3))}, 3, with(func(u *tracer.Upstream) { u.Answered, u.RCode, u.Slowest = 1, 3, 8*ms })},
		"over IPv6":      {[]*tracer.Event{upstreamEvent(1*ms, netip.AddrPortFrom(dnsPod6, 5001), resolver2, nil)}, 2, with(func(u *tracer.Upstream) { u.Resolver = resolver2 })},
		"over TCP":       {[]*tracer.Event{up(1*ms, 5001, bySYN(tracer.TCPSyn))}, 2, with(func(u *tracer.Upstream) { u.Proto = tracer.ProtoTCP })},
		"TCP is set up":  {[]*tracer.Event{up(1*ms, 5001, bySYN(tracer.TCPSyn)), up(2*ms, 5001, bySYN(tracer.TCPSyn|tracer.TCPAck))}, 2, with(func(u *tracer.Upstream) { u.Proto, u.Answered = tracer.ProtoTCP, 1 })},
		"too late":       {[]*tracer.Event{up(5000*ms, 5001, nil)}, 2, nil},
		"too early":      {[]*tracer.Event{up(-9*ms, 5001, nil)}, 2, nil},
		"answered later": {[]*tracer.Event{up(-9*ms, 5001, nil), up(3*ms, 5001, servfail)}, 2, nil},
		"an old socket goes on": {[]*tracer.Event{up(-9*ms, 5001, nil), up(3*ms, 5001, func(e *tracer.Event) { e.DNS = nil })}, 2,
			[]tracer.Upstream{{Resolver: resolver1, Proto: tracer.ProtoUDP, Unshown: true, First: first(0)}}},
		"another pod's":      {[]*tracer.Event{upstreamEvent(1*ms, netip.MustParseAddrPort("10.1.0.99:5001"), resolver1, nil)}, 2, nil},
		"the client is well": {[]*tracer.Event{up(1*ms, 5001, nil)}, 0, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			jn := New(func(f tracer.Tuple) bool { return f.Dst.Addr() == dnsPod })
			jn.SetInventory(tracer.Inventory{HostNetNS: 1, Devices: []tracer.Device{{
				DeviceKey: tracer.DeviceKey{NetNS: 8, IfIndex: 2}, Role: tracer.RolePod,
				Addrs: []netip.Prefix{netip.PrefixFrom(dnsPod, 24), netip.PrefixFrom(dnsPod6, 64)},
			}}})
			slow := 4000 * ms
			if tt.rcode == 0 {
				slow = 5 * ms
			}
			ask, answer := message{port: 4000, id: 9}.event(1), message{after: slow, port: 4000, id: 9, answer: true, rcode: tt.rcode}.event(2)
			ask.Tuple.Dst = netip.AddrPortFrom(dnsPod, 53)
			answer.Tuple = ask.Tuple.Reverse()
			var early []*tracer.Event
			for _, e := range tt.events {
				if e.Time.Before(ask.Time) {
					early = append(early, e)
				}
			}
			for _, e := range early {
				jn.Add(e)
			}
			id := jn.Add(ask)
			for _, e := range tt.events[len(early):] {
				if jn.Add(e) != 0 {
					t.Error("the DNS pod's own flows are not what was asked for")
				}
			}
			jn.Add(answer)
			j, _ := jn.Journey(id)
			for i := range j.Upstream {
				if j.Upstream[i].Flow == 0 {
					t.Error("no flow is named")
				}
				j.Upstream[i].Flow = 0
			}
			if d := cmp.Diff(tt.want, j.Upstream, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTruncatedThenTCP(t *testing.T) {
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		cut   bool
		after time.Duration
		want  bool
	}{"at once": {true, 5 * ms, true}, "not truncated": {false, 5 * ms, true}, "much later": {true, 9000 * ms, false}} {
		t.Run(name, func(t *testing.T) {
			jn := New(nil)
			cut := message{after: ms, port: 4000, id: 1, answer: true, cut: tt.cut}
			jn.Add(message{port: 4000, id: 1}.event(1))
			jn.Add(cut.event(2))
			syn := message{after: tt.after, port: 4001}.event(3)
			syn.Tuple.Proto, syn.DNS, syn.TCPFlags = tracer.ProtoTCP, nil, tracer.TCPSyn
			j, _ := jn.Journey(jn.Add(syn))
			if (j.OverUDP != nil) != tt.want || tt.want && j.OverUDP.Truncated != tt.cut {
				t.Errorf("%+v", j.OverUDP)
			}
		})
	}
}

// What moved in a stretch of time is found without a look at what came before, and
// an old socket that goes on is not missed, in whatever order packets are read.
func TestMovedSince(t *testing.T) {
	const ms = time.Millisecond
	jn := New(func(tracer.Tuple) bool { return false })
	own := func(port int) netip.AddrPort { return netip.AddrPortFrom(dnsPod, uint16(port)) }
	seed, n := uint32(5), 0
	begun := func(at time.Duration) time.Time { return time.Unix(1000, 0).Add(at) }
	for i := range 20000 {
		seed = seed*1664525 + 1013904223
		late := time.Duration(seed>>16) * time.Microsecond // up to 65 ms of disorder
		port := 10000 + i
		if seed>>8&7 == 0 {
			port = 10000 + i/2 // a socket that was used before
		}
		jn.Add(upstreamEvent(time.Duration(i)*ms-late, own(port), resolver1, nil))
	}
	counted := tracer.Tuple{Src: own(10003), Dst: resolver1, Proto: tracer.ProtoUDP}
	jn.Count(&tracer.FlowCount{Kind: tracer.EventTX, Device: tracer.DeviceKey{NetNS: 8, IfIndex: 2}, Tuple: counted, Packets: 99, Last: begun(19990 * ms)})
	for _, from := range []time.Duration{0, 5000 * ms, 19000 * ms, 19995 * ms, 30000 * ms} {
		got := jn.movedSince(dnsPod, begun(from))
		if !slices.IsSortedFunc(got, func(a, b *flow) int { return int(a.j.ID) - int(b.j.ID) }) {
			t.Error("not in the order in which they began")
		}
		var want int
		for _, f := range jn.flows {
			if f.j.Last.Before(begun(from)) {
				continue
			}
			want++
			if !slices.Contains(got, f) {
				t.Errorf("since %s: flow %d is missed", from, f.j.ID)
			}
		}
		if n = len(got); n > want+100 {
			t.Errorf("since %s: %d flows, of which %d moved", from, n, want)
		}
	}
}

// BenchmarkUpstream: a DNS pod that has asked much, of which little matters.
func BenchmarkUpstream(b *testing.B) {
	jn := New(nil)
	for i := range 60000 {
		jn.Add(upstreamEvent(time.Duration(i)*time.Millisecond, netip.AddrPortFrom(dnsPod, uint16(5000+i)), resolver1, nil))
	}
	ask := message{after: time.Minute - 20*time.Millisecond, port: 4000, id: 9}.event(1)
	ask.Tuple.Dst = netip.AddrPortFrom(dnsPod, 53)
	id := jn.Add(ask)
	for b.Loop() {
		if j, _ := jn.Journey(id); len(j.Upstream) != 1 {
			b.Fatalf("%+v", j.Upstream)
		}
	}
}

// Who asks DNS is forgotten with the flows.
func TestAskersBounds(t *testing.T) {
	jn := New(nil)
	for i := range 10 {
		id := jn.Add(message{port: uint16(4000 + i), id: 1}.event(uint64(i + 1)))
		if i%2 == 0 {
			jn.Forget(id)
		}
	}
	for _, id := range jn.IDs() {
		jn.Forget(id)
	}
	if len(jn.askers) != 0 {
		t.Errorf("%v are remembered", jn.askers)
	}
}
