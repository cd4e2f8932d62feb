package probe

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// frame6 is Ethernet, IPv6 and what follows, next being its protocol.
func frame6(src, dst string, next uint8, rest []byte) []byte {
	b := make([]byte, 14, 128)
	binary.BigEndian.PutUint16(b[12:], 0x86dd)
	return append(b, ip6(src, dst, next, rest)...)
}

func ip6(src, dst string, next uint8, rest []byte) []byte {
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	b := []byte{0x60, 0, 0, 0, 0, 0, next, 64}
	binary.BigEndian.PutUint16(b[4:], uint16(len(rest)))
	b = append(b, s[:]...)
	b = append(b, d[:]...)
	return append(b, rest...)
}

func tcpHeader(sport, dport uint16, seq uint32, flags uint8, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 1, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	return append(b, payload...)
}

func icmpHeader(kind, code uint8, rest uint32, payload []byte) []byte {
	b := []byte{kind, code, 0, 0}
	b = binary.BigEndian.AppendUint32(b, rest)
	return append(b, payload...)
}

// inject sends frames as they are, by a packet socket, from one CPU: they then
// stay in order, and so do their events.
func (s *space) inject(device string, to *space, toDevice string, frames ...[]byte) {
	s.t.Helper()
	mac := to.link(toDevice).Attrs().HardwareAddr
	own := s.link(device).Attrs().HardwareAddr
	index := s.link(device).Attrs().Index
	s.do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := stayOnOneCPU(); err != nil {
			return err
		}
		for _, f := range frames {
			copy(f[0:], mac)
			copy(f[6:], own)
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
				return err
			}
		}
		return nil
	})
}

// stayOnOneCPU keeps the calling thread on the first CPU that it may use.
func stayOnOneCPU() error {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	for cpu := range 64 * len(all) {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	return unix.SchedSetaffinity(0, &one)
}

func concat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// Every shape of packet, injected on the wire, as the node's device sees it.
func TestParsing(t *testing.T) {
	const src, dst = client4, server4
	inner4 := frame4("10.244.1.7", "10.244.2.9", 6, tcpHeader(40000, 80, 7, tracer.TCPSyn, nil))
	inner6 := frame6("fd10::7", "fd20::9", 17, udpHeader(5, 6, nil))
	vxlan := []byte{8, 0, 0, 0, 0, 0, 42, 0}
	geneve := []byte{1, 0, 0x65, 0x58, 0, 0, 43, 0, 1, 2, 3, 4}
	hop := []byte{0, 0, 0, 0, 0, 0, 0, 0}
	ext := func(next uint8) []byte { b := append([]byte(nil), hop...); b[0] = next; return b }
	fragHdr := func(next uint8, offset uint16) []byte {
		return []byte{next, 0, byte(offset >> 8), byte(offset), 0, 0, 0x56, 0x78}
	}
	laterFragment := frame4(src, dst, 17, make([]byte, 32))
	binary.BigEndian.PutUint16(laterFragment[20:], 100)
	firstFragment := frame4(src, dst, 17, udpHeader(1, 2, make([]byte, 32)))
	binary.BigEndian.PutUint16(firstFragment[20:], 0x2000)
	options := frame4(src, dst, 6, concat([]byte{1, 1, 1, 0}, tcpHeader(9, 10, 3, tracer.TCPAck, []byte("xyz"))))
	options[14] = 0x46
	padded := append(frame4(src, dst, 6, tcpHeader(9, 10, 3, tracer.TCPAck, nil)), make([]byte, 6)...)
	mtu := concat([]byte{0, 0}, []byte{5, 0x14})

	tuple := func(s, d string, sp, dp uint16, proto uint8) tracer.Tuple {
		return tracer.Tuple{
			Src:   netip.AddrPortFrom(netip.MustParseAddr(s), sp),
			Dst:   netip.AddrPortFrom(netip.MustParseAddr(d), dp),
			Proto: proto,
		}
	}
	cases := []struct {
		name  string
		frame []byte
		want  tracer.Tuple
		check func(e tracer.Event) bool
	}{
		{"tcp", frame4(src, dst, 6, tcpHeader(1, 2, 77, tracer.TCPSyn, nil)), tuple(src, dst, 1, 2, 6),
			func(e tracer.Event) bool {
				return e.TCPFlags == tracer.TCPSyn && e.TCPSeq == 77 && e.TCPAck == 1 && e.TTL == 64 && e.IPID == 0x1234 && e.Len == 54
			}},
		{"padding is no payload", padded, tuple(src, dst, 9, 10, 6), func(e tracer.Event) bool { return e.Payload == 0 }},
		{"ip options", options, tuple(src, dst, 9, 10, 6), func(e tracer.Event) bool { return e.Payload == 3 && e.TCPSeq == 3 }},
		{"udp", frame4(src, dst, 17, udpHeader(3, 4, []byte("abc"))), tuple(src, dst, 3, 4, 17), func(e tracer.Event) bool { return e.Payload == 3 }},
		{"sctp", frame4(src, dst, 132, concat([]byte{0, 5, 0, 6}, make([]byte, 8))), tuple(src, dst, 5, 6, 132), nil},
		{"echo", frame4(src, dst, 1, icmpHeader(8, 0, 0x11220001, []byte("abcd"))), tuple(src, dst, 0x1122, 0x1122, 1),
			func(e tracer.Event) bool { return e.ICMPType == 8 && !e.IsICMPError() }},
		{"fragment needed", frame4(src, dst, 1, concat([]byte{3, 4, 0, 0}, mtu, frame4("10.9.9.1", "10.9.9.2", 6, []byte{0, 80, 0, 90, 0, 0, 0, 0})[14:])),
			tuple(src, dst, 0, 0, 1),
			func(e tracer.Event) bool {
				return e.ICMPMTU == 1300 && e.Quoted != nil && *e.Quoted == tuple("10.9.9.1", "10.9.9.2", 80, 90, 6) && e.IsICMPError()
			}},
		{"later fragment", laterFragment, tuple(src, dst, 0, 0, 17), func(e tracer.Event) bool { return e.Frag }},
		{"first fragment", firstFragment, tuple(src, dst, 1, 2, 17), func(e tracer.Event) bool { return e.Frag }},
		{"unknown protocol", frame4(src, dst, 200, make([]byte, 8)), tuple(src, dst, 0, 0, 200), nil},
		{"vxlan", frame4(src, dst, 17, udpHeader(555, 4789, concat(vxlan, inner4))), tuple(src, dst, 555, 4789, 17),
			func(e tracer.Event) bool {
				i := e.Inner
				return i != nil && i.Tunnel == "vxlan" && i.VNI == 42 && i.TCPFlags == tracer.TCPSyn &&
					i.Tuple == tuple("10.244.1.7", "10.244.2.9", 40000, 80, 6)
			}},
		{"vxlan, other port, v6 inside", frame4(src, dst, 17, udpHeader(556, 8472, concat(vxlan, inner6))), tuple(src, dst, 556, 8472, 17),
			func(e tracer.Event) bool {
				return e.Inner != nil && e.Inner.Tuple == tuple("fd10::7", "fd20::9", 5, 6, 17)
			}},
		{"geneve with options", func() []byte {
			return frame4(src, dst, 17, udpHeader(557, 6081, concat(geneve, inner4)))
		}(), tuple(src, dst, 557, 6081, 17),
			func(e tracer.Event) bool {
				return e.Inner != nil && e.Inner.Tunnel == "geneve" && e.Inner.VNI == 43 && e.Inner.Tuple.Dst.Port() == 80
			}},
		{"ipip", frame4(src, dst, 4, inner4[14:]), tuple(src, dst, 0, 0, 4),
			func(e tracer.Event) bool { return e.Inner != nil && e.Inner.Tunnel == "ipip" && e.Inner.TCPFlags == 2 }},
		{"v6 tcp", frame6(client6, server6, 6, tcpHeader(1, 2, 5, tracer.TCPAck, []byte("hi"))), tuple(client6, server6, 1, 2, 6),
			func(e tracer.Event) bool { return e.Payload == 2 && e.TTL == 64 && e.Len == 76 }},
		{"v6 extension headers", frame6(client6, server6, 0, concat(ext(60), ext(17), udpHeader(7, 8, []byte("a")))),
			tuple(client6, server6, 7, 8, 17), func(e tracer.Event) bool { return e.Payload == 1 }},
		{"v6 first fragment", frame6(client6, server6, 44, concat(fragHdr(17, 1), udpHeader(7, 9, []byte("a")))),
			tuple(client6, server6, 7, 9, 17), func(e tracer.Event) bool { return e.Frag && e.IPID == 0x5678 }},
		{"v6 later fragment", frame6(client6, server6, 44, concat(fragHdr(17, 8), make([]byte, 16))),
			tuple(client6, server6, 0, 0, 17), func(e tracer.Event) bool { return e.Frag }},
		{"v6 echo", frame6(client6, server6, 58, icmpHeader(128, 0, 0x00990001, nil)), tuple(client6, server6, 0x99, 0x99, 58), nil},
		{"v6 packet too big", frame6(client6, server6, 58, icmpHeader(2, 0, 1280, ip6("fd09::1", "fd09::2", 17, udpHeader(11, 12, nil)))),
			tuple(client6, server6, 0, 0, 58),
			func(e tracer.Event) bool {
				return e.ICMPMTU == 1280 && e.Quoted != nil && *e.Quoted == tuple("fd09::1", "fd09::2", 11, 12, 17)
			}},
		{"truncated tcp", frame4(src, dst, 6, []byte{0, 21, 0, 22, 0, 0}), tuple(src, dst, 21, 22, 6), nil},
		{"bad tcp offset", frame4(src, dst, 6, func() []byte { b := tcpHeader(23, 24, 1, 16, nil); b[12] = 0xf0; return b }()), tuple(src, dst, 23, 24, 6), nil},
		{"truncated icmp", frame4(src, dst, 1, []byte{3, 1}), tuple(src, dst, 0, 0, 1), nil},
		{"truncated vxlan", frame4(src, dst, 17, udpHeader(558, 4789, []byte{8, 0, 0})), tuple(src, dst, 558, 4789, 17), func(e tracer.Event) bool { return e.Inner == nil }},
		{"v6 endless extension headers", frame6(client6, server6, 0, concat(ext(60), ext(60), ext(60), ext(60), ext(60), ext(60), ext(60), ext(60), ext(17))),
			tuple(client6, server6, 0, 0, 60), nil},
	}
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier}, selectPair(), n.all()...)
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				mark := len(r.all())
				n.client.inject("eth0", n.node, "toc", c.frame)
				r.t = t
				e := r.wait(c.name, func(e tracer.Event) bool {
					return e.Seq > uint64(mark) && at(tracer.EventRX, n.node.key("toc"))(e) && e.Tuple == c.want
				})
				if c.check != nil && !c.check(e) {
					t.Errorf("%s\n%+v", describe(e), e)
				}
			})
		}
		st := steadyStats(t, r.probe)
		if rx := st.Hooks[tracer.EventRX]; rx["truncated"] < 3 || rx["malformed"] < 1 || rx["beyond"] < 1 {
			t.Errorf("bad packets are not counted: %v", rx)
		}
	})
}

// Packets without usable headers are counted, never an event, never a crash.
func TestMalformed(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier, DropsAll: true}, Selection{AnyA: true, AnyB: true}, n.all()...)
		good := frame4(client4, server4, 17, udpHeader(1, 2, []byte("abcdefgh")))
		good6 := frame6(client6, server6, 44, concat([]byte{17, 0, 0, 1, 0, 0, 0, 1}, udpHeader(1, 2, []byte("abcdefgh"))))
		var frames [][]byte
		for _, g := range [][]byte{good, good6} {
			for cut := 15; cut < len(g); cut++ {
				frames = append(frames, append([]byte(nil), g[:cut]...))
			}
			for i := 14; i < len(g); i++ {
				for _, v := range []byte{0x00, 0x0f, 0xf0, 0xff} {
					f := append([]byte(nil), g...)
					f[i] = v
					frames = append(frames, f)
				}
			}
		}
		n.client.inject("eth0", n.node, "toc", frames...)
		end := frame4(client4, server4, 17, udpHeader(60000, 60001, nil))
		n.client.inject("eth0", n.node, "toc", end)
		r.wait("the packet after the bad ones", func(e tracer.Event) bool { return e.Tuple.Dst.Port() == 60001 })
		st := steadyStats(t, r.probe)
		rx := st.Hooks[tracer.EventRX]
		if rx["packets"] < uint64(len(frames)) || rx["truncated"] == 0 || rx["malformed"] == 0 {
			t.Errorf("%d frames: %v", len(frames), rx)
		}
	})
}
