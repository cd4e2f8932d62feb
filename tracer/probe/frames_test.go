package probe

import (
	"encoding/binary"
	"fmt"

	"github.com/podpath/podpath/tracer"
)

// oddFrame is a frame that is made to break whoever reads it.
type oddFrame struct {
	name  string
	frame []byte
}

// set16 overwrites two bytes.
func set16(b []byte, at int, v uint16) []byte {
	out := append([]byte(nil), b...)
	binary.BigEndian.PutUint16(out[at:], v)
	return out
}

func set8(b []byte, at int, v uint8) []byte {
	out := append([]byte(nil), b...)
	out[at] = v
	return out
}

// tagged puts VLAN tags, the outermost first, in front of a frame's type.
func tagged(frame []byte, tags ...uint32) []byte {
	out := append([]byte(nil), frame[:12]...)
	for _, t := range tags {
		out = binary.BigEndian.AppendUint32(out, t)
	}
	return append(out, frame[12:]...)
}

// extHeader is an IPv6 extension header of 8+8*extra bytes.
func extHeader(next uint8, extra int) []byte {
	b := make([]byte, 8+8*extra)
	b[0], b[1] = next, uint8(extra)
	b[2], b[3] = 1, uint8(len(b)-4) // PadN
	return b
}

// authHeader is RFC 4302's, of 12+4*extra bytes.
func authHeader(next uint8, extra int) []byte {
	b := make([]byte, 12+4*extra)
	b[0], b[1] = next, uint8(1+extra)
	return b
}

func fragHeader(next uint8, offset, id uint16, more bool) []byte {
	b := []byte{next, 0, byte(offset >> 5), byte(offset << 3), 0, 0, byte(id >> 8), byte(id)}
	if more {
		b[3] |= 1
	}
	return b
}

// vxlanFrame carries payload as VXLAN; geneveFrame with options before it.
func vxlanFrame(port uint16, payload []byte) []byte {
	return frame4(client4, server4, 17, udpHeader(50000, port, concat([]byte{8, 0, 0, 0, 0, 0, 42, 0}, payload)))
}

func geneveFrame(words int, kind uint16, payload []byte) []byte {
	h := []byte{uint8(words), 0, byte(kind >> 8), byte(kind), 0, 0, 43, 0}
	return frame4(client4, server4, 17, udpHeader(50001, 6081, concat(h, make([]byte, 4*words), payload)))
}

// oddFrames are frames of every kind that parsers are known to stumble over.
func oddFrames() []oddFrame {
	var all []oddFrame
	for _, group := range [][]oddFrame{oddIPv4(), oddIPv6(), oddTransport(), oddLinks(), oddTunnels(), oddErrors(), oddNeighbours()} {
		all = append(all, group...)
	}
	return all
}

func goodTCP4() []byte {
	return frame4(client4, server4, 6, tcpHeader(40001, 81, 100, tracer.TCPAck, []byte("payload!")))
}
func goodUDP4() []byte {
	return frame4(client4, server4, 17, udpHeader(40002, 82, []byte("payload!")))
}
func goodTCP6() []byte {
	return frame6(client6, server6, 6, tcpHeader(40003, 83, 100, tracer.TCPAck, []byte("payload!")))
}
func goodUDP6() []byte {
	return frame6(client6, server6, 17, udpHeader(40004, 84, []byte("payload!")))
}

func oddIPv4() []oddFrame {
	tcp, udp := goodTCP4(), goodUDP4()
	padding := concat([]byte{0xde, 0xad, 0xbe, 0xef, 0, 16, 0, 0}, make([]byte, 18)) // looks like ports
	big := frame4(client4, server4, 17, udpHeader(40002, 82, make([]byte, 1400)))
	out := []oddFrame{
		{"ethernet header alone", tcp[:14]},
		{"first byte alone", tcp[:15]},
		{"header cut in the middle", tcp[:14+13]},
		{"header without its last byte", tcp[:14+19]},
		{"header and nothing else", tcp[:14+20]},
		{"half a port", tcp[:14+21]},
		{"ports alone", tcp[:14+24]},
		{"IHL 0", set8(tcp, 14, 0x40)},
		{"IHL 4", set8(tcp, 14, 0x44)},
		{"IHL 15, no room", set8(tcp[:14+40], 14, 0x4f)},
		{"IHL beyond the total length", set8(set16(tcp, 16, 30), 14, 0x4f)},
		{"version 0", set8(tcp, 14, 0x05)},
		{"version 15", set8(tcp, 14, 0xf5)},
		{"version 6 in an IPv4 frame", set8(tcp, 14, 0x65)},
		{"total length 0", set16(tcp, 16, 0)},
		{"total length 1", set16(tcp, 16, 1)},
		{"total length 19", set16(tcp, 16, 19)},
		{"total length 20: the ports are padding", set16(tcp, 16, 20)},
		{"total length 22: half of the ports are padding", set16(udp, 16, 22)},
		{"padding that looks like TCP", concat(frame4(client4, server4, 6, nil), padding)},
		{"padding that looks like UDP", concat(frame4(client4, server4, 17, nil), padding)},
		{"total length 65535", set16(tcp, 16, 0xffff)},
		{"all options", concat(set16(set8(frame4(client4, server4, 6, nil), 14, 0x4f), 16, 80), make([]byte, 40), tcpHeader(9, 10, 3, tracer.TCPAck, nil))},
		{"option of length 0", set16(concat(set8(tcp[:34], 14, 0x46), []byte{7, 0, 0, 0}, tcp[34:]), 16, 52)},
		{"first fragment", set16(big, 20, 0x2000)},
		{"tiny first fragment", set16(frame4(client4, server4, 6, tcpHeader(40001, 81, 9, tracer.TCPSyn, nil)[:8]), 20, 0x2000)},
		{"the smallest first fragment: half a port", set16(frame4(client4, server4, 17, udpHeader(40002, 82, nil)[:2]), 20, 0x2000)},
		{"ports in the second fragment", set16(tcp, 20, 0x2001)},
		{"fragment that overlaps the TCP header", set16(frame4(client4, server4, 6, tcpHeader(40001, 4444, 9, tracer.TCPRst, nil)), 20, 1)},
		{"last fragment at the far end", set16(tcp, 20, 0x1fff)},
		{"fragment beyond 64 KiB", set16(big, 20, 0x1ff0)},
		{"DF and MF", set16(tcp, 20, 0x6000)},
		{"the evil bit", set16(tcp, 20, 0x8000)},
		{"checksum wrong", set16(tcp, 24, 0xbad0)},
		{"TTL 0", set8(tcp, 22, 0)},
		{"source of all ones", set16(set16(tcp, 26, 0xffff), 28, 0xffff)},
		{"source and destination the same", frame4(client4, client4, 6, tcpHeader(7, 7, 1, tracer.TCPSyn, nil))},
		{"addresses of zero", frame4("0.0.0.0", "0.0.0.0", 17, udpHeader(0, 0, nil))},
		{"multicast", frame4(client4, "224.0.0.251", 17, udpHeader(5353, 5353, []byte("\x00\x00\x84\x00")))},
	}
	for _, proto := range []uint8{0, 2, 47, 50, 51, 89, 112, 132, 33, 136, 255} {
		out = append(out, oddFrame{fmt.Sprintf("protocol %d", proto), frame4(client4, server4, proto, make([]byte, 16))})
	}
	return out
}

func oddIPv6() []oddFrame {
	tcp := goodTCP6()
	udp := udpHeader(40004, 84, []byte("payload!"))
	v6 := func(next uint8, parts ...[]byte) []byte { return frame6(client6, server6, next, concat(parts...)) }
	jumbo := []byte{17, 0, 0xc2, 4, 0, 1, 0, 0}
	out := []oddFrame{
		{"v6: first byte alone", tcp[:15]},
		{"v6: header cut in the middle", tcp[:14+23]},
		{"v6: header alone", tcp[:14+40]},
		{"v6: ports alone", tcp[:14+44]},
		{"v6: version 4", set8(tcp, 14, 0x40)},
		{"v6: payload length 0", set16(tcp, 18, 0)},
		{"v6: payload length 3: the ports are padding", set16(tcp, 18, 3)},
		{"v6: payload length 65535", set16(tcp, 18, 0xffff)},
		{"v6: no next header", v6(59, udp)},
		{"v6: hop-by-hop", v6(0, extHeader(17, 0), udp)},
		{"v6: every kind", v6(0, extHeader(60, 0), extHeader(43, 0), extHeader(44, 1)[:16], fragHeader(51, 0, 5, false), authHeader(17, 1), udp)},
		{"v6: routing", v6(43, []byte{17, 2, 0, 1}, make([]byte, 20), udp)},
		{"v6: routing of type 255", v6(43, []byte{17, 0, 255, 255, 0, 0, 0, 0}, udp)},
		{"v6: authentication of length 0", v6(51, []byte{17, 0, 0, 0, 0, 0, 0, 0}, udp)},
		{"v6: authentication of length 255", v6(51, []byte{17, 255}, make([]byte, 30))},
		{"v6: extension of length 255", v6(0, []byte{17, 255}, make([]byte, 60))},
		{"v6: extension that ends with the packet", v6(0, extHeader(17, 0))},
		{"v6: extension cut after its kind", v6(0, []byte{60})},
		{"v6: hop-by-hop that leads to itself", v6(0, extHeader(0, 0), extHeader(0, 0), udp)},
		{"v6: jumbogram", set16(v6(0, jumbo, udp), 18, 0)},
		{"v6: jumbogram with a length", v6(0, jumbo, udp)},
		{"v6: first fragment", v6(44, fragHeader(17, 0, 6, true), udp)},
		{"v6: atomic fragment", v6(44, fragHeader(17, 0, 6, false), udp)},
		{"v6: later fragment", v6(44, fragHeader(17, 1, 6, false), udp)},
		{"v6: later fragment of an extension header", v6(44, fragHeader(60, 3, 6, true), extHeader(17, 0), udp)},
		{"v6: extension header before the ports, both in a first fragment", v6(44, fragHeader(60, 0, 6, true), extHeader(17, 0), udp)},
		{"v6: tiny first fragment", v6(44, fragHeader(60, 0, 6, true), extHeader(6, 0))},
		{"v6: fragment in a fragment", v6(44, fragHeader(44, 0, 6, true), fragHeader(17, 1, 7, true), udp)},
		{"v6: IPv4-mapped addresses", frame6("::ffff:10.1.0.2", "::ffff:10.2.0.2", 17, udp)},
		{"v6: addresses of zero", frame6("::", "::", 17, udp)},
	}
	for n := 1; n <= 9; n++ {
		var chain []byte
		for i := range n {
			next := uint8(60)
			if i == n-1 {
				next = 17
			}
			chain = append(chain, extHeader(next, 0)...)
		}
		out = append(out, oddFrame{fmt.Sprintf("v6: %d destination headers", n), v6(60, chain, udp)})
	}
	// The headers together reach over the end of what is looked at.
	for _, extra := range []int{20, 22, 23, 24, 25, 26, 31} {
		out = append(out, oddFrame{fmt.Sprintf("v6: an extension header of %d bytes", 8+8*extra), v6(60, extHeader(17, extra), udp)})
	}
	return out
}

func oddTransport() []oddFrame {
	v4 := func(proto uint8, b []byte) []byte { return frame4(client4, server4, proto, b) }
	tcp := tcpHeader(40001, 81, 100, tracer.TCPAck, []byte("payload!"))
	udp := udpHeader(40002, 82, []byte("payload!"))
	return []oddFrame{
		{"TCP: offset 0", v4(6, set8(tcp, 12, 0))},
		{"TCP: offset 4", v4(6, set8(tcp, 12, 4<<4))},
		{"TCP: offset 15", v4(6, set8(tcp, 12, 15<<4))},
		{"TCP: offset just beyond the end", v4(6, set8(tcp, 12, 8<<4))},
		{"TCP: options of length 0", v4(6, concat(set8(tcp[:20], 12, 6<<4), []byte{2, 0, 2, 0}))},
		{"TCP: every flag", v4(6, set8(tcp, 13, 0xff))},
		{"TCP: no flag", v4(6, set8(tcp, 13, 0))},
		{"TCP: 19 bytes", v4(6, tcp[:19])},
		{"TCP: checksum wrong", v4(6, set16(tcp, 16, 0xbad0))},
		{"TCP: port 0 to port 0", v4(6, tcpHeader(0, 0, 0, 0, nil))},
		{"UDP: length 0", v4(17, set16(udp, 4, 0))},
		{"UDP: length 7", v4(17, set16(udp, 4, 7))},
		{"UDP: length 8, and more", v4(17, set16(udp, 4, 8))},
		{"UDP: length 65535", v4(17, set16(udp, 4, 0xffff))},
		{"UDP: 7 bytes", v4(17, udp[:7])},
		{"UDP: empty", v4(17, udpHeader(40002, 82, nil))},
		{"UDP-Lite", v4(136, udp)},
		{"SCTP: 11 bytes", v4(132, []byte("\x00\x05\x00\x06\x00\x00\x00\x00\x00\x00\x00"))},
		{"DCCP", v4(33, concat([]byte{0, 5, 0, 6}, make([]byte, 12)))},
		{"GRE", v4(47, concat([]byte{0xb0, 0, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2}, goodTCP4()[14:]))},
		{"ESP", v4(50, []byte("\x00\x00\x00\x01\x00\x00\x00\x02........"))},
		{"DNS answer with a compression loop", v4(17, udpHeader(53, 40002, []byte("\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04\x01\x02\x03\x04")))},
		{"DNS answer that counts more than there is", v4(17, udpHeader(53, 40002, []byte("\x12\x34\x81\x80\xff\xff\xff\xff\xff\xff\xff\xff\x3f")))},
	}
}

func oddLinks() []oddFrame {
	tcp, v6 := goodTCP4(), goodUDP6()
	out := []oddFrame{
		{"VLAN", tagged(tcp, 0x81000064)},
		{"VLAN, v6", tagged(v6, 0x81000064)},
		{"VLAN with a priority that looks like IPv4", tagged(tcp, 0x81004500)},
		{"VLAN with a priority that looks like IPv6", tagged(tcp, 0x81006001)},
		{"QinQ", tagged(tcp, 0x88a80064, 0x81000065)},
		{"QinQ with a priority that looks like IPv4", tagged(tcp, 0x88a84500, 0x81004501)},
		{"three tags", tagged(v6, 0x88a80064, 0x88a80065, 0x81000066)},
		{"four tags", tagged(tcp, 0x88a80064, 0x88a80065, 0x81000066, 0x81000067)},
		{"VLAN tag and nothing", tagged(tcp, 0x81000064)[:16]},
		{"VLAN tag and a type", tagged(tcp, 0x81000064)[:18]},
		{"half a VLAN tag", tagged(tcp, 0x81000064)[:15]},
		{"VLAN that carries ARP", tagged(arpFrame(1, client4, server4), 0x81000064)},
		{"VLAN that carries an unknown type", tagged(set16(tcp, 12, 0x1234), 0x81000064)},
		{"unknown type", set16(tcp, 12, 0x1234)},
		{"type 0", set16(tcp, 12, 0)},
		{"IEEE 802.3 length", set16(tcp, 12, 46)},
		{"LLC and SNAP around IPv4", concat(set16(tcp[:14], 12, 56), []byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, tcp[14:])},
		{"MPLS", concat(set16(tcp[:14], 12, 0x8847), []byte{0, 1, 1, 64}, tcp[14:])},
		{"PPPoE", concat(set16(tcp[:14], 12, 0x8864), []byte{0x11, 0, 0, 1, 0, 50, 0, 0x21}, tcp[14:])},
		{"IPv6 in an IPv4 frame", set16(v6, 12, 0x0800)},
		{"IPv4 in an IPv6 frame", set16(tcp, 12, 0x86dd)},
	}
	return out
}

func oddTunnels() []oddFrame {
	in4, in6 := goodTCP4(), goodUDP6()
	ends := func(b []byte) []byte { return concat(b[:14], b[14:]) }
	v4 := func(proto uint8, b []byte) []byte { return frame4("192.0.2.1", "192.0.2.2", proto, b) }
	vx := vxlanFrame(4789, in4)
	out := []oddFrame{
		{"VXLAN", vx},
		{"VXLAN, port of Linux", vxlanFrame(8472, in6)},
		{"VXLAN without its flag", set8(vx, 42, 0)},
		{"VXLAN with every flag", set8(vx, 42, 0xff)},
		{"VXLAN header cut", vxlanFrame(4789, nil)[:14+28+5]},
		{"VXLAN that carries nothing", vxlanFrame(4789, nil)},
		{"VXLAN that carries half an Ethernet header", vxlanFrame(4789, in4[:9])},
		{"VXLAN that carries an Ethernet header", vxlanFrame(4789, in4[:14])},
		{"VXLAN that carries half an IP header", vxlanFrame(4789, in4[:14+10])},
		{"VXLAN that carries an IP header", vxlanFrame(4789, in4[:14+20])},
		{"VXLAN that carries garbage", vxlanFrame(4789, []byte("\xff\xfe garbage garbage garbage garbage garbage"))},
		{"VXLAN that carries ARP", vxlanFrame(4789, arpFrame(1, client4, server4))},
		{"VXLAN that carries a VLAN", vxlanFrame(4789, tagged(in4, 0x81000064))},
		{"VXLAN that carries a fragment", vxlanFrame(4789, set16(in4, 20, 0x2001))},
		{"VXLAN that carries an ICMP error", vxlanFrame(4789, frame4(client4, server4, 1, icmpHeader(3, 1, 0, goodTCP4()[14:])))},
		{"VXLAN in VXLAN", vxlanFrame(4789, vxlanFrame(4789, in4))},
		{"VXLAN in VXLAN in VXLAN", vxlanFrame(4789, vxlanFrame(8472, vxlanFrame(4789, in4)))},
		{"VXLAN in a fragment", set16(vx, 20, 0x2000)},
		{"VXLAN behind the UDP length", set16(vx, 38, 8)},
		{"VXLAN, the inner IP behind the UDP length", set16(vx, 38, 8+8+14)},
		{"VXLAN, inner length lies", vxlanFrame(4789, set16(in4, 16, 0xffff))},
		{"VXLAN over v6", frame6(client6, server6, 17, udpHeader(50000, 4789, concat([]byte{8, 0, 0, 0, 0, 0, 42, 0}, ends(in6))))},
		{"Geneve", geneveFrame(0, 0x6558, in4)},
		{"Geneve with an option", geneveFrame(1, 0x6558, in6)},
		{"Geneve with every option", geneveFrame(63, 0x6558, in4)},
		{"Geneve with options just within reach", geneveFrame(35, 0x6558, in4)},
		{"Geneve with options that it does not have", set8(geneveFrame(0, 0x6558, in4), 42, 63)},
		{"Geneve of version 3", set8(geneveFrame(0, 0x6558, in4), 42, 0xc0)},
		{"Geneve that carries IP", geneveFrame(2, 0x0800, in4[14:])},
		{"Geneve that carries IPv6 and says IP", geneveFrame(0, 0x0800, in6[14:])},
		{"Geneve that carries what nobody knows", geneveFrame(0, 0x1234, in4)},
		{"IPIP", v4(4, in4[14:])},
		{"IPIP that carries IPv6", v4(4, in6[14:])},
		{"6in4", v4(41, in6[14:])},
		{"IPIP that carries nothing", v4(4, nil)},
		{"IPIP that carries a byte", v4(4, []byte{0x45})},
		{"IPIP in IPIP", v4(4, v4(4, in4[14:])[14:])},
		{"IPIP of an inner IHL of 0", v4(4, set8(in4[14:], 0, 0x40))},
		{"IPIP, the inner packet is padding", concat(v4(4, nil), in4[14:])},
		{"4in6", frame6(client6, server6, 4, in4[14:])},
		{"6in6", frame6(client6, server6, 41, in6[14:])},
	}
	return out
}

func oddErrors() []oddFrame {
	quoted, quoted6 := goodTCP4()[14:], goodUDP6()[14:]
	err4 := func(kind, code uint8, quote []byte) []byte {
		return frame4(server4, client4, 1, icmpHeader(kind, code, 1400, quote))
	}
	err6 := func(kind, code uint8, quote []byte) []byte {
		return frame6(server6, client6, 58, icmpHeader(kind, code, 1280, quote))
	}
	out := []oddFrame{
		{"error that quotes nothing", err4(3, 1, nil)},
		{"error that quotes a byte", err4(3, 1, quoted[:1])},
		{"error that quotes half a header", err4(3, 1, quoted[:11])},
		{"error that quotes a header", err4(3, 1, quoted[:20])},
		{"error that quotes half a port", err4(3, 1, quoted[:21])},
		{"error that quotes as much as RFC 792 wants", err4(3, 4, quoted[:28])},
		{"error that quotes garbage", err4(3, 3, []byte("\xde\xad\xbe\xef garbage garbage garbage"))},
		{"error that quotes an IHL of 15", err4(3, 3, set8(quoted, 0, 0x4f))},
		{"error that quotes an IHL of 1", err4(3, 3, set8(quoted, 0, 0x41))},
		{"error that quotes a later fragment", err4(11, 1, set16(quoted, 6, 0x0123))},
		{"error that quotes an error", err4(3, 1, err4(3, 1, quoted)[14:])},
		{"error that quotes an error that quotes an error", err4(3, 1, err4(3, 1, err4(3, 1, quoted)[14:])[14:])},
		{"error that quotes an echo", err4(3, 1, frame4(client4, server4, 1, icmpHeader(8, 0, 0x77, nil))[14:])},
		{"error that quotes IPv6", err4(3, 1, quoted6)},
		{"error that quotes VXLAN", err4(3, 1, vxlanFrame(4789, goodTCP4())[14:])},
		{"error, the quotation is padding", concat(err4(3, 1, nil), quoted)},
		{"error in a later fragment", set16(err4(3, 1, quoted), 20, 0x0001)},
		{"error of every type", err4(255, 255, quoted)},
		{"source quench", err4(4, 0, quoted)},
		{"redirect", err4(5, 1, quoted)},
		{"parameter problem", err4(12, 0, quoted)},
		{"ICMP of 3 bytes", frame4(server4, client4, 1, []byte{3, 1, 0})},
		{"v6 error that quotes nothing", err6(1, 0, nil)},
		{"v6 error that quotes half a header", err6(1, 0, quoted6[:30])},
		{"v6 error that quotes extension headers", err6(3, 0, frame6(client6, server6, 0, concat(extHeader(44, 0), fragHeader(17, 0, 9, true), udpHeader(1, 2, nil)))[14:])},
		{"v6 error that quotes extension headers without end", err6(3, 0, frame6(client6, server6, 0, concat(extHeader(60, 0), extHeader(60, 0), extHeader(60, 0), extHeader(60, 0), extHeader(60, 0), extHeader(60, 0)))[14:])},
		{"v6 error that quotes IPv4", err6(1, 0, quoted)},
		{"v6 packet too big, MTU of 4 GiB", frame6(server6, client6, 58, icmpHeader(2, 0, 0xffffffff, quoted6))},
		{"v6 error that quotes an error", err6(1, 4, err6(1, 4, quoted6)[14:])},
		{"ICMP of IPv4 in IPv6", frame6(server6, client6, 1, icmpHeader(3, 1, 0, quoted))},
		{"ICMP of IPv6 in IPv4", frame4(server4, client4, 58, icmpHeader(1, 0, 0, quoted6))},
	}
	return out
}

func arpFrame(op uint16, asks, wanted string) []byte {
	b := make([]byte, 14+28)
	binary.BigEndian.PutUint16(b[12:], 0x0806)
	copy(b[14:], []byte{0, 1, 8, 0, 6, 4})
	binary.BigEndian.PutUint16(b[20:], op)
	copy(b[28:], frame4(asks, wanted, 0, nil)[26:30])
	copy(b[38:], frame4(asks, wanted, 0, nil)[30:34])
	return b
}

func oddNeighbours() []oddFrame {
	arp := arpFrame(1, client4, server4)
	target := goodTCP6()[38:54]
	nd := func(kind uint8, rest []byte) []byte {
		return frame6(client6, server6, 58, icmpHeader(kind, 0, 0, rest))
	}
	return []oddFrame{
		{"ARP", arp},
		{"ARP of 27 bytes", arp[:41]},
		{"ARP and nothing", arp[:14]},
		{"ARP of operation 65535", set16(arp, 20, 0xffff)},
		{"ARP with hardware addresses of 255 bytes", set8(arp, 18, 255)},
		{"ARP with protocol addresses of 16 bytes", set8(arp, 19, 16)},
		{"ARP for IPv6", set16(arp, 16, 0x86dd)},
		{"neighbour solicitation", nd(135, concat(target, []byte{1, 1, 2, 2, 2, 2, 2, 2}))},
		{"neighbour solicitation of 23 bytes", nd(135, target[:15])},
		{"neighbour solicitation without a target", nd(135, nil)},
		{"neighbour solicitation with an option of length 0", nd(135, concat(target, make([]byte, 8)))},
		{"neighbour advertisement", nd(136, target)},
		{"neighbour advertisement, the target is padding", concat(nd(136, nil), target)},
		{"router advertisement with garbage", nd(134, []byte("\xff\xff\xff\xff\x03\x00garbage"))},
		{"neighbour solicitation behind a header", frame6(client6, server6, 60, concat(extHeader(58, 0), icmpHeader(135, 0, 0, target)))},
	}
}
