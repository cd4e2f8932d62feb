package probe

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
)

// decoded is what gopacket makes of a packet: how far it came tells which of it
// can be compared.
type decoded struct {
	src, dst netip.Addr
	ttl      uint8
	v6       bool
	proto    uint8 // of payload
	payload  []byte
	exact    bool // payload ends where the IP header says
	frag     bool // and later than the first
	tcp      *layers.TCP
}

// network reads the first IP header of a packet and what follows it.
func network(p gopacket.Packet) (decoded, bool) {
	d := decoded{exact: true}
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			if d.src.IsValid() {
				return d, true
			}
			if l.Version != 4 || len(l.Payload) == 0 && len(l.Contents) < 20 {
				return d, false
			}
			d.src, _ = netip.AddrFromSlice(l.SrcIP)
			d.dst, _ = netip.AddrFromSlice(l.DstIP)
			d.ttl, d.proto, d.payload, d.frag = l.TTL, uint8(l.Protocol), l.Payload, l.FragOffset != 0
			if l.Flags&layers.IPv4MoreFragments != 0 || d.frag {
				return d, true
			}
		case *layers.IPv6:
			if d.src.IsValid() {
				return d, true
			}
			if l.Version != 6 || len(l.SrcIP) != 16 {
				return d, false
			}
			d.src, _ = netip.AddrFromSlice(l.SrcIP)
			d.dst, _ = netip.AddrFromSlice(l.DstIP)
			d.v6, d.ttl, d.proto, d.payload = true, l.HopLimit, uint8(l.NextHeader), l.Payload
		case *layers.IPv6HopByHop:
			// gopacket ends such a packet too late, by this header's length.
			d.exact = false
			d.proto, d.payload = uint8(l.NextHeader), l.Payload
		case *layers.IPv6Routing:
			d.proto, d.payload = uint8(l.NextHeader), l.Payload
		case *layers.IPv6Destination:
			d.proto, d.payload = uint8(l.NextHeader), l.Payload
		case *layers.IPSecAH:
			d.proto, d.payload = uint8(l.NextHeader), l.Payload
		case *layers.IPv6Fragment:
			d.proto, d.payload, d.frag = uint8(l.NextHeader), l.Payload, l.FragmentOffset != 0
			return d, true
		case *layers.TCP:
			if len(l.Contents) >= 20 && p.ErrorLayer() == nil {
				d.tcp = l
			}
			return d, true
		}
	}
	return d, d.src.IsValid()
}

func decodeLazily(data []byte, first gopacket.Decoder) gopacket.Packet {
	return gopacket.NewPacket(data, first, gopacket.DecodeOptions{NoCopy: true, Lazy: false})
}

// sameEnds compares the addresses of a tuple, and its ports as far as gopacket
// came to them.
func (d *decoded) sameEnds(t testing.TB, what string, got *bpf.TraceTuple) {
	t.Helper()
	src, dst := address(&got.Saddr), address(&got.Daddr)
	// A neighbour's question has the address asked for in place of its own.
	if src != d.src.Unmap() || dst != d.dst.Unmap() {
		t.Fatalf("%s: %s to %s, gopacket has %s to %s", what, src, dst, d.src, d.dst)
	}
	if d.tcp != nil && d.exact && (got.Proto != 6 || got.Sport != uint16(d.tcp.SrcPort) || got.Dport != uint16(d.tcp.DstPort)) {
		t.Fatalf("%s: %+v, gopacket has TCP %s %s", what, got, d.tcp.SrcPort, d.tcp.DstPort)
	}
	if d.frag && (got.Sport != 0 || got.Dport != 0) {
		t.Fatalf("%s: ports of a later fragment: %+v", what, got)
	}
	if got.Sport == 0 && got.Dport == 0 {
		return
	}
	if len(d.payload) < 4 && d.exact {
		t.Fatalf("%s: ports of a packet that has none: %+v", what, got)
	}
}

// agree holds an event to what gopacket decodes of the same bytes, where both
// decode.
func agree(t testing.TB, frame []byte, e *bpf.TraceEvent) {
	t.Helper()
	if e.Flags&bpf.TraceEventFlagEVENT_ARP != 0 {
		return // the reference knows; gopacket says nothing of who asks
	}
	p := decodeLazily(frame, layers.LayerTypeEthernet)
	d, ok := network(p)
	if !ok {
		return
	}
	d.sameEnds(t, "outer", &e.Tuple)
	if e.Ttl != d.ttl {
		t.Fatalf("TTL %d, gopacket has %d", e.Ttl, d.ttl)
	}
	if d.tcp != nil && d.exact && e.Flags&(bpf.TraceEventFlagEVENT_BEYOND|bpf.TraceEventFlagEVENT_MALFORMED) == 0 {
		if e.Seq != d.tcp.Seq || e.Ack != d.tcp.Ack || int(e.Payload) != len(d.tcp.Payload) {
			t.Fatalf("%d %d %d, gopacket has %d %d %d", e.Seq, e.Ack, e.Payload, d.tcp.Seq, d.tcp.Ack, len(d.tcp.Payload))
		}
	}
	agreeDNS(t, &d, e)
	agreeInside(t, &d, e)
}

// agreeDNS does so with the header of a DNS message.
func agreeDNS(t testing.TB, d *decoded, e *bpf.TraceEvent) {
	t.Helper()
	if e.Flags&bpf.TraceEventFlagEVENT_DNS == 0 || !d.exact || len(d.payload) < 8 {
		return
	}
	// gopacket 1.1.19 panics over some records; a packet turns that into an error.
	p := decodeLazily(d.payload[8:], layers.LayerTypeDNS)
	m, ok := p.Layer(layers.LayerTypeDNS).(*layers.DNS)
	if !ok || p.ErrorLayer() != nil {
		return // what follows the header is not what it says
	}
	got := dnsOf(e)
	want := tracer.DNS{ID: m.ID, Response: m.QR, RCode: uint8(m.ResponseCode), Truncated: m.TC, Questions: m.QDCount, Answers: m.ANCount}
	if *got != want {
		t.Fatalf("DNS %+v, gopacket has %+v", *got, want)
	}
}

// agreeInside does so with what a tunnel carries or an ICMP error quotes.
func agreeInside(t testing.TB, outer *decoded, e *bpf.TraceEvent) {
	t.Helper()
	if e.Flags&(bpf.TraceEventFlagEVENT_INNER|bpf.TraceEventFlagEVENT_QUOTED) == 0 || outer.frag {
		return
	}
	data, first := outer.payload, gopacket.Decoder(nil)
	switch {
	case e.Flags&bpf.TraceEventFlagEVENT_QUOTED != 0 || e.Tunnel == bpf.TraceTunnelTUNNEL_IPIP:
		if e.Flags&bpf.TraceEventFlagEVENT_QUOTED != 0 {
			data = data[min(8, len(data)):]
		}
		first = layers.LayerTypeIPv4
		if e.Aux.Family == 6 {
			first = layers.LayerTypeIPv6
		}
	case e.Tunnel == bpf.TraceTunnelTUNNEL_VXLAN:
		data, first = datagram(data), layers.LayerTypeVXLAN
	default:
		data, first = datagram(data), layers.LayerTypeGeneve
	}
	p := decodeLazily(data, first)
	// gopacket goes by the options' own lengths where they exceed the header's
	// (RFC 8926 §3.4: the payload begins where the header's length says).
	if g, ok := p.Layer(layers.LayerTypeGeneve).(*layers.Geneve); ok && len(g.Contents) != 8+int(g.OptionsLength) {
		return
	}
	if in, ok := network(p); ok && in.v6 == (e.Aux.Family == 6) {
		// A quotation is as long as it is, whatever its header says.
		in.sameEnds(t, "inner", &e.Aux)
	}
}

// datagram is what a UDP packet carries by its own length, which may be less than
// the IP header's.
func datagram(packet []byte) []byte {
	var udp layers.UDP
	if udp.DecodeFromBytes(packet, gopacket.NilDecodeFeedback) != nil {
		return nil
	}
	return udp.Payload
}

// agreeUnreadable: of a frame without addresses gopacket has none either.
func agreeUnreadable(t testing.TB, frame []byte) {
	t.Helper()
	p := decodeLazily(frame, layers.LayerTypeEthernet)
	if p.ErrorLayer() != nil {
		return
	}
	for i, l := range p.Layers() {
		if i > refTags+1 {
			return // behind more tags than are looked at
		}
		switch l := l.(type) {
		case *layers.Ethernet, *layers.Dot1Q:
		case *layers.IPv4:
			if l.Version == 4 && i <= refTags+1 {
				t.Fatalf("%x\noverlooked: %s to %s", frame, l.SrcIP, l.DstIP)
			}
			return
		case *layers.IPv6:
			if l.Version == 6 {
				t.Fatalf("%x\noverlooked: %s to %s", frame, l.SrcIP, l.DstIP)
			}
			return
		default:
			return
		}
	}
}
