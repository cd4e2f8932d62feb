package path

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// decode turns bytes into events, eight bytes each, over few addresses, ports
// and devices, so that they meet.
func decode(b []byte) []tracer.Event {
	addrs := []string{podA, podB, clusterIP, nodeIP, world, far, bridgeIP, "fd00::a"}
	ports := []uint16{0, 53, 80, 8080, 40000, 61000}
	kinds := []tracer.EventKind{tracer.EventRX, tracer.EventTX, tracer.EventDrop}
	protos := []uint8{tracer.ProtoTCP, tracer.ProtoUDP, tracer.ProtoICMP, tracer.ProtoICMPv6, tracer.ProtoSCTP, 0}
	devs := inventory().Devices
	at := func(x byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(addrs[int(x)%len(addrs)]), ports[int(x>>3)%len(ports)])
	}
	var out []tracer.Event
	for len(b) >= 8 {
		x := b[:8]
		b = b[8:]
		d := devs[int(x[1])%len(devs)].DeviceKey
		t := tracer.Tuple{Src: at(x[2]), Dst: at(x[3]), Proto: protos[int(x[4])%len(protos)]}
		other := tracer.Tuple{Src: at(x[3] + 1), Dst: at(x[2] + x[5]), Proto: t.Proto}
		mono := uint64(1+len(out))*1000 + uint64(x[7])*700
		ev := tracer.Event{
			Seq: uint64(len(out) + 1), MonoNS: mono, Time: epoch.Add(time.Duration(mono)), Kind: kinds[int(x[0])%len(kinds)],
			NetNS: d.NetNS, IfIndex: d.IfIndex, Tuple: t, TCPFlags: x[5] & 31, TCPSeq: uint32(x[6] & 3), TCPAck: uint32(x[7] & 3),
			Payload: uint32(x[6]), ICMPType: x[6] % 14, ICMPCode: x[7] % 14, ARP: x[0]&0x40 != 0, Retransmit: x[0]&0x20 != 0,
		}
		switch x[4] >> 5 {
		case 1:
			ev.CT = &tracer.CT{Orig: t, Reply: other, Info: x[7] % 8}
		case 2:
			ev.CT = &tracer.CT{Orig: other, Reply: t, Info: x[7] % 8}
		case 3:
			ev.Quoted = &other
		case 4:
			ev.Inner = &tracer.Inner{Tunnel: "vxlan", Tuple: other, TCPFlags: x[6] & 31}
		case 7:
			ev.DNS = &tracer.DNS{ID: uint16(x[6] & 3), Response: x[7]&1 != 0, RCode: x[5] & 15, Truncated: x[7]&2 != 0, Questions: uint16(x[7] >> 2 & 1), Answers: uint16(x[7] >> 3)}
		case 5:
			ev.CT = &tracer.CT{}
		case 6:
			ev.Tuple = tracer.Tuple{}
		}
		if ev.Kind == tracer.EventDrop {
			ev.Drop = &tracer.Drop{Reason: "R" + string(rune('a'+x[5]%5)), Location: "l"}
			if x[5]&0x80 != 0 {
				ev.Drop.Noise = "multicast"
			}
		}
		out = append(out, ev)
	}
	return out
}

func FuzzJoiner(f *testing.F) {
	f.Add([]byte{1, 5, 0x20, 0x12, 0, 2, 1, 0, 0, 3, 0x20, 0x12, 0, 2, 1, 0, 1, 4, 0x21, 0x19, 0x40, 2, 1, 3})
	f.Add([]byte{2, 1, 0x20, 0x12, 0x60, 2, 3, 3, 2, 3, 0x20, 0x12, 0x42, 2, 1, 9, 0x42, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte{1, 5, 0x22, 0x13, 0x80, 18, 1, 0, 0, 3, 0x20, 0x12, 0x20, 2, 1, 4, 1, 6, 0x21, 0x19, 0x40, 20, 1, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 8*400 {
			return
		}
		jn := New(func(t tracer.Tuple) bool { return t.Dst.Port()%2 == 0 })
		jn.max = 16
		jn.SetInventory(inventory())
		events := decode(b)
		wanted := map[uint64]uint64{} // events that Add accounted, by flow
		for i := range events {
			before := len(jn.flows)
			id := jn.Add(&events[i])
			if id != 0 {
				wanted[id]++
				if f := jn.flows[id]; f == nil || !f.wanted {
					t.Fatalf("event %d was given to flow %d, which is not wanted or not there", i, id)
				}
			}
			if len(jn.flows) > before+1 || len(jn.flows) > jn.max {
				t.Fatalf("%d flows after %d", len(jn.flows), before)
			}
			jn.Count(&tracer.FlowCount{Kind: events[i].Kind, Device: key(&events[i]), Tuple: events[i].Tuple, Packets: 3, TCPFlags: events[i].TCPFlags, Last: events[i].Time})
		}
		check(t, jn)
		for _, id := range jn.IDs() {
			if wanted[id] == 0 {
				t.Errorf("flow %d has no event", id)
			}
			jn.Forget(id)
		}
	})
}

// check holds the joiner to what it promises of its insides.
func check(t *testing.T, jn *Joiner) {
	t.Helper()
	if len(jn.order) != len(jn.flows) {
		t.Errorf("%d flows, %d in order", len(jn.flows), len(jn.order))
	}
	for tuple, r := range jn.index {
		if jn.flows[r.id] == nil {
			t.Errorf("%s leads to flow %d, which is gone", tuple, r.id)
		}
	}
	seen := map[uint64]uint64{} // the first event of a hop is no other hop's
	for id := range jn.flows {
		j, ok := jn.Journey(id)
		if !ok || j.ID != id || !j.Flow.IsValid() || !j.Translated.IsValid() {
			t.Errorf("flow %d: %+v", id, j)
			continue
		}
		if len(j.Hops) > maxHops || len(j.Drops) > maxDrops+maxARP || len(j.Answers) > maxAnswers {
			t.Errorf("flow %d is too large", id)
		}
		for i, h := range j.Hops {
			if other, ok := seen[h.Event]; ok {
				t.Errorf("event %d is in flows %d and %d", h.Event, other, id)
			}
			seen[h.Event] = id
			if i > 0 && h.FirstMonoNS < j.Hops[i-1].FirstMonoNS {
				t.Errorf("flow %d: hops not in the order of time", id)
			}
		}
		jn.Query(j)
	}
}
