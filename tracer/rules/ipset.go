package rules

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// setMatch is -m set: the packet's addresses and ports are looked up in a set of
// ipset (net/netfilter/xt_set.c).
type setMatch struct {
	// name of the set; "" where the rule holds only its index.
	name  string
	index uint16
	// src says of each dimension whether the packet's source is looked up, and
	// not its destination.
	src    []bool
	invert bool
}

// ipset is what the kernel says of a set, without its elements: of those only
// the one that a packet asks for is looked up.
type ipset struct {
	name, typ string
	// family is AF_INET or AF_INET6, 0 if the set takes both.
	family uint8
	// members of a list:set, in the kernel's order.
	members []string
}

// setElement is what is looked up: the fields that the type of the set has.
type setElement struct {
	addr, addr2 netip.Addr
	proto       uint8
	port        uint16
}

// setField is one dimension of a type.
type setField uint8

const (
	fieldAddr setField = iota
	fieldPort
)

// setTypes are the types whose elements a packet's tuple decides. The others
// hold hardware addresses, devices or marks.
var setTypes = map[string][]setField{
	"bitmap:ip":         {fieldAddr},
	"bitmap:port":       {fieldPort},
	"hash:ip":           {fieldAddr},
	"hash:net":          {fieldAddr},
	"hash:ip,port":      {fieldAddr, fieldPort},
	"hash:net,port":     {fieldAddr, fieldPort},
	"hash:ip,port,ip":   {fieldAddr, fieldPort, fieldAddr},
	"hash:ip,port,net":  {fieldAddr, fieldPort, fieldAddr},
	"hash:net,net":      {fieldAddr, fieldAddr},
	"hash:net,port,net": {fieldAddr, fieldPort, fieldAddr},
}

// listSet is the type whose members are sets.
const listSet = "list:set"

// setInfo is struct xt_set_info_match_v1 (revisions 1 and 2), _v3 and _v4 of
// linux/netfilter/xt_set.h: the set's index, dimensions and flags, then what is
// asked of counters, and more flags.
func setInfo(rev uint32, b []byte) any {
	const (
		inverted, returnNoMatch     = 1, 1 << 7
		head, counters, end         = 4, 8, 48
		skipsCounter, skipsCounter2 = 1 << 3, 1 << 4
	)
	if rev < 1 || rev > 4 || len(b) < head || rev > 2 && len(b) < end {
		return unknown{name: "-m set"}
	}
	dims, flags := int(b[2]), b[3]
	if dims < 1 || dims > 6 || flags&returnNoMatch != 0 {
		return unknown{name: "-m set"}
	}
	if rev > 2 {
		// Both revisions hold two counters of 16 bytes: an operator, 0 for none, at
		// the front or behind the value.
		op := counters
		if rev == 4 {
			op += 8
		}
		more := native.Uint32(b[40:])
		if b[op] != 0 || b[op+16] != 0 || more&^(skipsCounter|skipsCounter2) != 0 {
			return unknown{name: "-m set with counters"}
		}
	}
	x := setMatch{index: native.Uint16(b), invert: flags&inverted != 0}
	for i := range dims {
		x.src = append(x.src, flags&(1<<(i+1)) != 0)
	}
	return x
}

// setWords is "--match-set NAME src,dst".
func setWords(name, where string, invert bool) any {
	x := setMatch{name: name, invert: invert}
	for w := range strings.SplitSeq(where, ",") {
		if w != "src" && w != "dst" || name == "" {
			return unknown{name: "--match-set " + name + " " + where}
		}
		x.src = append(x.src, w == "src")
	}
	return x
}

// text is the match as iptables prints it; nameOf may be nil.
func (x setMatch) text(nameOf func(uint16) string) string {
	name := x.name
	if name == "" && nameOf != nil {
		name = nameOf(x.index)
	}
	if name == "" {
		name = fmt.Sprintf("#%d", x.index)
	}
	var where []string
	for _, src := range x.src {
		where = append(where, map[bool]string{true: "src", false: "dst"}[src])
	}
	return not(x.invert) + "match-set " + name + " " + strings.Join(where, ",")
}

// inSet decides the match by asking for the packet's own element. What cannot be
// asked or is not understood is undecided.
func (m *machine) inSet(x setMatch) tri {
	s, err := m.env.ipset(x.name, x.index)
	if err != nil {
		m.err = err
		return triMaybe
	}
	t := m.member(s, x.src)
	if x.invert {
		t = t.not()
	}
	return t
}

// member is ip_set_test (net/netfilter/ipset/ip_set_core.c): a set of another
// family, or of more dimensions than the rule gives, has no such packet.
func (m *machine) member(s *ipset, src []bool) tri {
	if s.family != 0 && s.family != uint8(m.pkt.family()) {
		return triNo
	}
	if s.typ == listSet {
		return m.inAny(s, src)
	}
	fields, ok := setTypes[s.typ]
	if !ok {
		m.err = fmt.Errorf("set %s is of type %s, which is not understood", s.name, s.typ)
		return triMaybe
	}
	if len(src) < len(fields) {
		return triNo
	}
	if m.rewritten != nil {
		return triMaybe
	}
	e, t := elementOf(m.pkt, s.typ, fields, src)
	if t != triYes {
		return t
	}
	in, err := m.env.inIPSet(s, e)
	if err != nil {
		m.err = err
		return triMaybe
	}
	return yesIf(in)
}

// inAny asks the members of a list:set, of which none is a list itself.
func (m *machine) inAny(s *ipset, src []bool) tri {
	out := triNo
	for _, name := range s.members {
		in, err := m.env.ipset(name, 0)
		if err == nil && in.typ == listSet {
			err = fmt.Errorf("set %s holds the list %s", s.name, name)
		}
		if err != nil {
			m.err, out = err, max(out, triMaybe)
			continue
		}
		if out = max(out, m.member(in, src)); out == triYes {
			break
		}
	}
	return out
}

// elementOf takes from the packet what the set's type asks for
// (ip_set_get_ip_port in ip_set_getport.c). triNo: the packet has no such thing.
func elementOf(p *packet, typ string, fields []setField, src []bool) (e setElement, has tri) {
	e.proto = p.Proto
	for i, f := range fields {
		end := p.Dst
		if src[i] {
			end = p.Src
		}
		if f == fieldAddr {
			if e.addr.IsValid() {
				e.addr2 = end.Addr().Unmap()
			} else {
				e.addr = end.Addr().Unmap()
			}
			continue
		}
		switch {
		case p.Proto == tracer.ProtoTCP || p.Proto == tracer.ProtoUDP:
			e.port = end.Port()
		case typ == "bitmap:port":
			return e, triNo // it takes ports of these two only
		case p.Proto == tracer.ProtoSCTP || p.Proto == protoUDPLite:
			e.port = end.Port()
		case p.Proto == tracer.ProtoICMP || p.Proto == tracer.ProtoICMPv6:
			return e, triMaybe // type and code, which the tuple does not have
		}
	}
	return e, triYes
}

const protoUDPLite = 136
