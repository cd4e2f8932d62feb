package render

import (
	"fmt"

	"github.com/podpath/podpath/tracer"
)

// icmpName is what an ICMP error says, in the words of RFC 792, RFC 1812
// §5.2.7 and RFC 4443 §3.
func icmpName(a *tracer.Answer) string {
	names := icmp4Names()
	if a.Proto == tracer.ProtoICMPv6 {
		names = icmp6Names()
	}
	name, ok := names[[2]uint8{a.ICMPType, a.ICMPCode}]
	if !ok {
		name = fmt.Sprintf("type %d code %d", a.ICMPType, a.ICMPCode)
	}
	if a.ICMPMTU > 0 {
		name += fmt.Sprintf(" (MTU %d)", a.ICMPMTU)
	}
	return name
}

// icmp4Names is by type and code.
func icmp4Names() map[[2]uint8]string {
	return map[[2]uint8]string{
		{3, 0}:  "network unreachable",
		{3, 1}:  "host unreachable",
		{3, 2}:  "protocol unreachable",
		{3, 3}:  "port unreachable",
		{3, 4}:  "fragmentation needed",
		{3, 5}:  "source route failed",
		{3, 6}:  "network unknown",
		{3, 7}:  "host unknown",
		{3, 9}:  "network administratively prohibited",
		{3, 10}: "host administratively prohibited",
		{3, 13}: "administratively prohibited",
		{11, 0}: "time exceeded in transit",
		{11, 1}: "fragment reassembly time exceeded",
		{12, 0}: "parameter problem",
	}
}

func icmp6Names() map[[2]uint8]string {
	return map[[2]uint8]string{
		{1, 0}: "no route to destination",
		{1, 1}: "administratively prohibited",
		{1, 2}: "beyond scope of source address",
		{1, 3}: "address unreachable",
		{1, 4}: "port unreachable",
		{1, 5}: "source address failed policy",
		{1, 6}: "route rejects destination",
		{2, 0}: "packet too big",
		{3, 0}: "hop limit exceeded in transit",
		{3, 1}: "fragment reassembly time exceeded",
		{4, 0}: "parameter problem",
	}
}
