package tracer

import (
	"fmt"
	"net/netip"
)

// IP protocol numbers that podpath parses (IANA "Protocol Numbers").
const (
	ProtoICMP   uint8 = 1
	ProtoIPIP   uint8 = 4
	ProtoTCP    uint8 = 6
	ProtoUDP    uint8 = 17
	ProtoICMPv6 uint8 = 58
	ProtoSCTP   uint8 = 132
)

// Tuple is the five-tuple of a packet, in the direction the packet travels.
// For ICMP echo both ports hold the identifier, so that request and reply are
// each other's Reverse; for protocols without ports both are 0. The zero Tuple
// means "not known".
type Tuple struct {
	Src   netip.AddrPort `json:"src"`
	Dst   netip.AddrPort `json:"dst"`
	Proto uint8          `json:"proto"`
}

// IsValid reports whether both addresses are known.
func (t Tuple) IsValid() bool { return t.Src.Addr().IsValid() && t.Dst.Addr().IsValid() }

// Reverse returns the tuple that an answer carries when nothing is translated.
func (t Tuple) Reverse() Tuple { return Tuple{Src: t.Dst, Dst: t.Src, Proto: t.Proto} }

// String gives "TCP 10.0.0.1:1234 > 10.0.0.2:80".
func (t Tuple) String() string {
	return fmt.Sprintf("%s %s > %s", ProtoName(t.Proto), t.Src, t.Dst)
}

// ProtoName gives the usual upper-case name, or the number in decimal.
func ProtoName(p uint8) string {
	switch p {
	case ProtoICMP:
		return "ICMP"
	case ProtoIPIP:
		return "IPIP"
	case ProtoTCP:
		return "TCP"
	case ProtoUDP:
		return "UDP"
	case ProtoICMPv6:
		return "ICMPv6"
	case ProtoSCTP:
		return "SCTP"
	}
	return fmt.Sprintf("%d", p)
}

// Outside is an address that stands for any outside the cluster: one that is
// nobody's (RFC 5737, RFC 3849), which no route or exception has a reason to name.
func Outside(v4 bool) netip.Addr {
	if v4 {
		return netip.AddrFrom4([4]byte{192, 0, 2, 1})
	}
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
}
