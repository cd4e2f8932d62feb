package path

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// The node of these tests: host namespace 1 with an uplink, a bridge, two pods'
// veths and a VXLAN device; pod a in namespace 10, pod b in 11.
const (
	hostNS, podANS, podBNS uint32 = 1, 10, 11

	lo, uplink, bridge, vethA, vethB, tunnel, wg uint32 = 1, 2, 3, 4, 5, 6, 7
	eth0                                         uint32 = 2
)

const (
	podA, podB, nodeIP, bridgeIP = "10.1.0.10", "10.1.0.11", "192.0.2.1", "10.1.0.1"
	clusterIP, far, world        = "10.9.0.5", "10.2.0.7", "203.0.113.9"
)

func dev(ns, index uint32) tracer.DeviceKey { return tracer.DeviceKey{NetNS: ns, IfIndex: index} }

func inventory() tracer.Inventory {
	d := func(ns, index uint32, name, kind string, role tracer.DeviceRole, addrs ...string) tracer.Device {
		out := tracer.Device{DeviceKey: dev(ns, index), Name: name, Kind: kind, Role: role, Up: true, Carrier: true, MTU: 1500}
		for _, a := range addrs {
			out.Addrs = append(out.Addrs, netip.PrefixFrom(netip.MustParseAddr(a), 24))
		}
		return out
	}
	a := d(hostNS, vethA, "vetha", "veth", tracer.RolePodHost)
	a.Peer, a.Master = dev(podANS, eth0), bridge
	b := d(hostNS, vethB, "vethb", "veth", tracer.RolePodHost)
	b.Peer, b.Master = dev(podBNS, eth0), bridge
	pa := d(podANS, eth0, "eth0", "veth", tracer.RolePod, podA, "fd00::a")
	pa.Peer = a.DeviceKey
	pb := d(podBNS, eth0, "eth0", "veth", tracer.RolePod, podB, "fd00::b")
	pb.Peer = b.DeviceKey
	return tracer.Inventory{HostNetNS: hostNS, Devices: []tracer.Device{
		d(hostNS, lo, "lo", "", tracer.RoleLoopback, "127.0.0.1"),
		d(hostNS, uplink, "eth0", "", tracer.RoleUplink, nodeIP),
		d(hostNS, bridge, "br0", "bridge", tracer.RoleBridge, bridgeIP),
		a, b, pa, pb,
		d(hostNS, tunnel, "vxlan0", "vxlan", tracer.RoleTunnel, "10.1.0.0"),
		d(hostNS, wg, "wg0", "wireguard", tracer.RoleTunnel),
	}}
}

func ap(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

func tuple(proto uint8, src string, sport uint16, dst string, dport uint16) tracer.Tuple {
	return tracer.Tuple{Src: ap(src, sport), Dst: ap(dst, dport), Proto: proto}
}

func tcp(src string, sport uint16, dst string, dport uint16) tracer.Tuple {
	return tuple(tracer.ProtoTCP, src, sport, dst, dport)
}

func udp(src string, sport uint16, dst string, dport uint16) tracer.Tuple {
	return tuple(tracer.ProtoUDP, src, sport, dst, dport)
}

// wire makes events in order, a microsecond apart.
type wire struct {
	t    *testing.T
	jn   *Joiner
	seq  uint64
	mono uint64
	isn  uint32
	ids  []uint64 // what Add returned
}

func newWire(t *testing.T, want Want) *wire {
	jn := New(want)
	jn.SetInventory(inventory())
	return &wire{t: t, jn: jn, mono: 1_000_000_000, isn: 100}
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type change func(*tracer.Event)

func (w *wire) make(kind tracer.EventKind, at tracer.DeviceKey, t tracer.Tuple, with ...change) *tracer.Event {
	w.seq++
	w.mono += 1000
	ev := &tracer.Event{Seq: w.seq, Kind: kind, NetNS: at.NetNS, IfIndex: at.IfIndex, Tuple: t, Len: 60}
	ev.TCPSeq = w.isn
	for _, c := range with {
		c(ev)
	}
	if ev.MonoNS == 0 {
		ev.MonoNS = w.mono
	}
	ev.Time = epoch.Add(time.Duration(ev.MonoNS))
	return ev
}

func (w *wire) add(ev *tracer.Event) uint64 {
	id := w.jn.Add(ev)
	w.ids = append(w.ids, id)
	return id
}

func (w *wire) tx(at tracer.DeviceKey, t tracer.Tuple, with ...change) uint64 {
	return w.add(w.make(tracer.EventTX, at, t, with...))
}

func (w *wire) rx(at tracer.DeviceKey, t tracer.Tuple, with ...change) uint64 {
	return w.add(w.make(tracer.EventRX, at, t, with...))
}

func (w *wire) drop(at tracer.DeviceKey, t tracer.Tuple, reason, location string, with ...change) uint64 {
	return w.add(w.make(tracer.EventDrop, at, t, append([]change{func(ev *tracer.Event) {
		ev.Drop = &tracer.Drop{Reason: reason, Location: location}
	}}, with...)...))
}

func (w *wire) pass(d time.Duration) { w.mono += uint64(d) }

// only is the journey of the one wanted flow.
func (w *wire) only() *tracer.Journey {
	w.t.Helper()
	ids := w.jn.IDs()
	if len(ids) != 1 {
		w.t.Fatalf("%d flows, want 1: %s", len(ids), w.describe())
	}
	return w.journey(ids[0])
}

func (w *wire) journey(id uint64) *tracer.Journey {
	w.t.Helper()
	j, ok := w.jn.Journey(id)
	if !ok {
		w.t.Fatalf("flow %d is gone", id)
	}
	return j
}

func (w *wire) describe() string {
	s := ""
	for _, id := range w.jn.IDs() {
		j, _ := w.jn.Journey(id)
		s += fmt.Sprintf("\n%d %s -> %s mid=%t hops=%d", id, j.Flow, j.Translated, j.Mid, len(j.Hops))
	}
	return s
}

func flags(f uint8) change          { return func(ev *tracer.Event) { ev.TCPFlags = f } }
func seqNo(n uint32) change         { return func(ev *tracer.Event) { ev.TCPSeq = n } }
func acks(n uint32) change          { return func(ev *tracer.Event) { ev.TCPAck = n } }
func bytes(n uint32) change         { return func(ev *tracer.Event) { ev.Payload, ev.Len = n, n+60 } }
func mono(n uint64) change          { return func(ev *tracer.Event) { ev.MonoNS = n } }
func retransmitted() change         { return func(ev *tracer.Event) { ev.Retransmit = true } }
func quoting(t tracer.Tuple) change { return func(ev *tracer.Event) { ev.Quoted = &t } }

func icmp(typ, code uint8) change {
	return func(ev *tracer.Event) { ev.ICMPType, ev.ICMPCode = typ, code }
}

// ct is a conntrack entry: the original direction, what it is translated to,
// and whether the packet is an answer.
func ct(orig, translated tracer.Tuple, reply bool) change {
	info := uint8(0)
	if reply {
		info = 3
	}
	return func(ev *tracer.Event) { ev.CT = &tracer.CT{Orig: orig, Reply: translated.Reverse(), Info: info} }
}

func inner(t tracer.Tuple, f uint8) change {
	return func(ev *tracer.Event) { ev.Inner = &tracer.Inner{Tunnel: "vxlan", VNI: 1, Tuple: t, TCPFlags: f} }
}

const (
	syn    = tracer.TCPSyn
	synAck = tracer.TCPSyn | tracer.TCPAck
	ack    = tracer.TCPAck
	psh    = tracer.TCPPsh | tracer.TCPAck
	fin    = tracer.TCPFin | tracer.TCPAck
	rst    = tracer.TCPRst | tracer.TCPAck
)

func has(j *tracer.Journey, k tracer.AnswerKind) *tracer.Answer {
	for i := range j.Answers {
		if j.Answers[i].Kind == k {
			return &j.Answers[i]
		}
	}
	return nil
}
