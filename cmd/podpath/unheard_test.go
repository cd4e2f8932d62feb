package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/probe"
)

// Silence proves nothing where an answer would pass no hook, and neither the client's
// own packets nor a drop tells whether one came.
func TestUnheard(t *testing.T) {
	node, far := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("203.0.113.9")
	out := tracer.Tuple{Src: netip.AddrPortFrom(node, 40000), Dst: netip.AddrPortFrom(far, 9000), Proto: tracer.ProtoUDP}
	in := tracer.Tuple{Src: out.Dst, Dst: netip.AddrPortFrom(node, 9000), Proto: tracer.ProtoTCP}
	tcp := out
	tcp.Proto = tracer.ProtoTCP
	blind := []tracer.Blind{probe.BlindTakenOver}
	for _, tt := range []struct {
		name  string
		kind  string
		flow  tracer.Tuple
		blind []tracer.Blind
		with  func(j *tracer.Journey)
		want  bool
	}{
		{"datagrams of a macvlan device", "macvlan", out, blind, nil, true},
		{"of an ipvlan device", "ipvlan", out, blind, nil, true},
		{"a connection to it that was seen to arrive nowhere", "macvlan", in, blind, nil, true},
		// Look-alikes.
		{"a connection from it tells by its packets", "macvlan", tcp, blind, nil, false},
		{"another device", "veth", out, blind, nil, false},
		{"TCX, which sees both", "macvlan", out, nil, nil, false},
		{"an answer was seen", "macvlan", out, blind, func(j *tracer.Journey) { j.Answers = []tracer.Answer{{Kind: tracer.AnswerReply}} }, false},
		{"a drop was seen", "macvlan", in, blind, func(j *tracer.Journey) { j.Drops = []tracer.DropSeen{{Count: 1}} }, false},
		{"it arrived", "macvlan", in, blind, func(j *tracer.Journey) { j.ReachedTarget = true }, false},
	} {
		a := newAnalyser("n", nil)
		a.blind = tt.blind
		a.inv = tracer.Inventory{HostNetNS: 1, Devices: []tracer.Device{{
			DeviceKey: tracer.DeviceKey{NetNS: 1, IfIndex: 2}, Name: "eth0", Kind: tt.kind, Role: tracer.RoleUplink, Addrs: []netip.Prefix{netip.PrefixFrom(node, 24)},
		}}}
		j := &tracer.Journey{Flow: tt.flow, Translated: tt.flow, First: time.Now()}
		if tt.with != nil {
			tt.with(j)
		}
		if got := a.input(j, tracer.OutcomeDelivered, time.Now()).Unheard; got != tt.want || j.Partial != tt.want {
			t.Errorf("%s: %t, partial %t", tt.name, got, j.Partial)
		}
	}
}
