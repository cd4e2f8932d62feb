package probe

import (
	"encoding/binary"
	"net/netip"

	"github.com/podpath/podpath/bpf"
)

// reference is what a frame says, read again in Go from the RFCs, with none of
// the kernel side's tricks: what the programs report must be exactly this.
// The layout is the event's, but only the members that headers fill are set.
type reference struct {
	e     bpf.TraceEvent
	data  []byte // from the network header on, as much as may be read
	cut   bool   // data ends where the packet goes on: the rest is not looked at
	l3Len int
}

// The programs look at this much of a packet, and at this many headers.
const (
	refSnap       = 256
	refExtensions = 5
	refTags       = 3
)

// readFrame reads an Ethernet frame. False: no addresses to be had.
func readFrame(frame []byte, vxlan []uint16, geneve uint16) (reference, bool) {
	r := reference{}
	kind, rest := binary.BigEndian.Uint16(frame[12:]), frame[14:]
	for i := 0; i < refTags && (kind == 0x8100 || kind == 0x88a8) && len(rest) >= 4; i++ {
		kind, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	r.l3Len = len(rest)
	r.data, r.cut = rest, len(rest) > refSnap
	if r.cut {
		r.data = rest[:refSnap]
	}
	switch kind {
	case 0x0806:
		return r, r.arp()
	case 0x0800, 0x86dd:
	default:
		return r, false
	}
	ip, ok := r.ip(0, len(rest), &r.e.Tuple)
	if !ok {
		return r, false
	}
	r.e.Ttl, r.e.IpId = ip.ttl, ip.id
	r.e.Flags |= ip.flags
	if ip.l4 > 0 {
		r.transport(ip, vxlan, geneve)
	}
	return r, true
}

// take gives n bytes at off, or notes why they are not there.
func (r *reference) take(off, n int) []byte {
	if off < refSnap && off+n <= len(r.data) {
		return r.data[off : off+n]
	}
	if r.cut {
		r.e.Flags |= bpf.TraceEventFlagEVENT_BEYOND
	} else {
		r.e.Flags |= bpf.TraceEventFlagEVENT_TRUNCATED
	}
	return nil
}

// until: a header says that the packet ends here.
func (r *reference) until(end int) {
	if end <= len(r.data) {
		r.data, r.cut = r.data[:end], false
	}
}

type refIP struct {
	l4, l4Len int // l4 0: no transport header
	id        uint16
	flags     bpf.TraceEventFlag
	ttl       uint8
	proto     uint8
}

func (r *reference) malformed() { r.e.Flags |= bpf.TraceEventFlagEVENT_MALFORMED }

func (r *reference) ip(off, avail int, t *bpf.TraceTuple) (refIP, bool) {
	first := r.take(off, 4)
	if first == nil {
		return refIP{}, false
	}
	switch first[0] >> 4 {
	case 4:
		return r.ip4(off, avail, t)
	case 6:
		return r.ip6(off, avail, t)
	}
	r.malformed()
	return refIP{}, false
}

// RFC 791.
func (r *reference) ip4(off, avail int, t *bpf.TraceTuple) (refIP, bool) {
	h := r.take(off, 20)
	if h == nil {
		return refIP{}, false
	}
	hdr, total := int(h[0]&15)*4, int(binary.BigEndian.Uint16(h[2:]))
	if total == 0 {
		total = avail
	}
	if hdr < 20 || total < hdr {
		r.malformed()
		return refIP{}, false
	}
	total = min(total, avail)
	r.until(off + total)
	frag := binary.BigEndian.Uint16(h[6:])
	t.Saddr, t.Daddr = rawAddress(netip.AddrFrom4([4]byte(h[12:]))), rawAddress(netip.AddrFrom4([4]byte(h[16:])))
	t.Proto, t.Family = h[9], 4
	ip := refIP{id: binary.BigEndian.Uint16(h[4:]), ttl: h[8], proto: h[9], l4Len: max(0, total-hdr)}
	if frag&0x4000 != 0 {
		ip.flags |= bpf.TraceEventFlagEVENT_DF
	}
	if frag&0x3fff != 0 {
		ip.flags |= bpf.TraceEventFlagEVENT_FRAG
	}
	if frag&0x1fff == 0 {
		ip.l4 = off + hdr
	}
	return ip, true
}

// RFC 8200; RFC 4302 for the authentication header.
func (r *reference) ip6(off, avail int, t *bpf.TraceTuple) (refIP, bool) {
	h := r.take(off, 40)
	if h == nil {
		return refIP{}, false
	}
	if avail < 40 {
		r.malformed()
		return refIP{}, false
	}
	t.Saddr, t.Daddr = rawAddress(netip.AddrFrom16([16]byte(h[8:]))), rawAddress(netip.AddrFrom16([16]byte(h[24:])))
	t.Family = 6
	end := off + avail
	if n := int(binary.BigEndian.Uint16(h[4:])); n > 0 && n+40 <= avail {
		end = off + 40 + n
	}
	r.until(end)
	ip := refIP{ttl: h[7], proto: h[6]}
	cur := off + 40
	for range refExtensions + 1 {
		t.Proto = ip.proto
		switch ip.proto {
		case 0, 43, 44, 51, 60: // hop-by-hop, routing, fragment, authentication, destination
		default:
			ip.l4, ip.l4Len = cur, max(0, end-cur)
			return ip, true
		}
		x := r.take(cur, 8)
		if x == nil {
			return ip, true
		}
		size := 8
		switch ip.proto {
		case 44:
			ip.flags |= bpf.TraceEventFlagEVENT_FRAG
			ip.id = binary.BigEndian.Uint16(x[6:])
			if binary.BigEndian.Uint16(x[2:])&^7 != 0 {
				ip.proto, t.Proto = x[0], x[0]
				return ip, true
			}
		case 51:
			size = (int(x[1]) + 2) * 4
		default:
			size = (int(x[1]) + 1) * 8
		}
		cur += size
		ip.proto = x[0]
		if cur > end {
			r.malformed()
			return ip, true
		}
	}
	r.e.Flags |= bpf.TraceEventFlagEVENT_BEYOND
	return ip, true
}

func refEcho(proto, kind uint8) bool {
	if proto == 1 {
		return kind == 0 || kind == 8 || kind >= 13 && kind <= 18
	}
	return kind == 128 || kind == 129
}

// ports reads what stands for ports in an inner or quoted packet.
func (r *reference) ports(ip refIP, t *bpf.TraceTuple, flags *uint8) {
	switch ip.proto {
	case 6, 17, 33, 132, 136:
		h := r.take(ip.l4, 4)
		if h == nil {
			return
		}
		t.Sport, t.Dport = binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
		if ip.proto == 6 && flags != nil && ip.l4+16 <= len(r.data) {
			*flags = r.data[ip.l4+13]
		}
	case 1, 58:
		if h := r.take(ip.l4, 8); h != nil && refEcho(ip.proto, h[0]) {
			t.Sport = binary.BigEndian.Uint16(h[4:])
			t.Dport = t.Sport
		}
	}
}

func (r *reference) transport(ip refIP, vxlan []uint16, geneve uint16) {
	switch ip.proto {
	case 6, 17, 33, 132, 136:
		r.ports(ip, &r.e.Tuple, nil)
		switch {
		case ip.proto == 6:
			r.tcp(ip)
		case ip.proto == 17:
			r.udp(ip, vxlan, geneve)
		case ip.l4Len >= 12:
			r.e.Payload = uint32(ip.l4Len - 12)
		}
	case 1, 58:
		r.icmp(ip)
	case 4, 41:
		r.e.Tunnel = bpf.TraceTunnelTUNNEL_IPIP
		r.inside(ip, ip.l4, bpf.TraceEventFlagEVENT_INNER)
	}
}

// RFC 9293.
func (r *reference) tcp(ip refIP) {
	h := r.take(ip.l4, 20)
	if h == nil {
		return
	}
	r.e.Seq, r.e.Ack, r.e.TcpFlags = binary.BigEndian.Uint32(h[4:]), binary.BigEndian.Uint32(h[8:]), h[13]
	hdr := int(h[12]>>4) * 4
	if hdr < 20 || hdr > ip.l4Len {
		r.malformed()
		return
	}
	r.e.Payload = uint32(ip.l4Len - hdr)
}

// RFC 1035 §4.1.1.
func (r *reference) dns(ip refIP) {
	if r.e.Tuple.Sport != 53 && r.e.Tuple.Dport != 53 || ip.l4Len < 8+12 || ip.l4+8+12 > min(len(r.data), refSnap) {
		return
	}
	h := r.take(ip.l4+8, 8)
	r.e.Seq, r.e.Ack = binary.BigEndian.Uint32(h), binary.BigEndian.Uint32(h[4:])
	r.e.Flags |= bpf.TraceEventFlagEVENT_DNS
}

// RFC 768, RFC 7348, RFC 8926.
func (r *reference) udp(ip refIP, vxlan []uint16, geneve uint16) {
	h := r.take(ip.l4, 8)
	if h == nil {
		return
	}
	n := int(binary.BigEndian.Uint16(h[4:]))
	if n > 0 && n < 8 {
		r.malformed()
		return
	}
	if n > 0 && n < ip.l4Len && ip.l4Len <= 0xffff {
		ip.l4Len = n
		r.until(ip.l4 + n)
	}
	r.e.Payload = uint32(ip.l4Len - 8)
	dst := r.e.Tuple.Dport
	isVXLAN := false
	for _, p := range vxlan {
		isVXLAN = isVXLAN || p != 0 && p == dst
	}
	if !isVXLAN && (geneve == 0 || dst != geneve) {
		r.dns(ip)
		return
	}
	off := ip.l4 + 8
	t := r.take(off, 8)
	if t == nil {
		return
	}
	kind := uint16(0x6558) // Ethernet
	switch {
	case isVXLAN && t[0]&8 == 0, !isVXLAN && t[0]>>6 != 0:
		return
	case isVXLAN:
		r.e.Tunnel = bpf.TraceTunnelTUNNEL_VXLAN
		off += 8
	default:
		r.e.Tunnel = bpf.TraceTunnelTUNNEL_GENEVE
		off += 8 + int(t[0]&63)*4
		kind = binary.BigEndian.Uint16(t[2:])
	}
	r.e.Vni = binary.BigEndian.Uint32(t[4:]) >> 8
	if kind == 0x6558 {
		eth := r.take(off+10, 4)
		if eth == nil {
			return
		}
		kind = binary.BigEndian.Uint16(eth[2:])
		off += 14
	}
	if kind == 0x0800 || kind == 0x86dd {
		r.inside(ip, off, bpf.TraceEventFlagEVENT_INNER)
	}
}

// RFC 792, RFC 4443, RFC 4861.
func (r *reference) icmp(ip refIP) {
	h := r.take(ip.l4, 8)
	if h == nil {
		return
	}
	kind, code := h[0], h[1]
	r.e.IcmpType, r.e.IcmpCode = kind, code
	r.e.Payload = uint32(max(0, ip.l4Len-8))
	v6 := ip.proto == 58
	switch {
	case refEcho(ip.proto, kind):
		r.e.Tuple.Sport = binary.BigEndian.Uint16(h[4:])
		r.e.Tuple.Dport = r.e.Tuple.Sport
	case v6 && kind >= 1 && kind <= 4, !v6 && (kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12):
		if v6 && kind == 2 {
			r.e.IcmpMtu = binary.BigEndian.Uint32(h[4:])
		} else if !v6 && kind == 3 && code == 4 {
			r.e.IcmpMtu = uint32(binary.BigEndian.Uint16(h[6:]))
		}
		r.inside(ip, ip.l4+8, bpf.TraceEventFlagEVENT_QUOTED)
	case v6 && (kind == 135 || kind == 136):
		target := r.take(ip.l4+8, 16)
		if target == nil {
			return
		}
		r.e.Flags |= bpf.TraceEventFlagEVENT_ARP
		if a := rawAddress(netip.AddrFrom16([16]byte(target))); kind == 135 {
			r.e.Tuple.Daddr = a
		} else {
			r.e.Tuple.Saddr = a
		}
	}
}

// inside reads the packet within, at off.
func (r *reference) inside(ip refIP, off int, what bpf.TraceEventFlag) {
	end := ip.l4 + ip.l4Len
	if off >= end {
		return
	}
	in, ok := r.ip(off, end-off, &r.e.Aux)
	if !ok {
		return
	}
	r.e.Flags |= what
	if in.l4 > 0 {
		r.ports(in, &r.e.Aux, &r.e.InnerTcpFlags)
	}
}

// RFC 826.
func (r *reference) arp() bool {
	h := r.take(0, 28)
	if h == nil || binary.BigEndian.Uint16(h[2:]) != 0x0800 || h[4] != 6 || h[5] != 4 {
		return false
	}
	t := &r.e.Tuple
	t.Saddr, t.Daddr = rawAddress(netip.AddrFrom4([4]byte(h[14:]))), rawAddress(netip.AddrFrom4([4]byte(h[24:])))
	t.Family = 4
	r.e.IcmpType = h[7] // the low byte of the operation
	r.e.Flags |= bpf.TraceEventFlagEVENT_ARP
	return true
}
