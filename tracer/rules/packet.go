package rules

import (
	"encoding/binary"
	"net/netip"

	"github.com/podpath/podpath/tracer"
)

// tri is a truth value that knows about ignorance.
type tri uint8

const (
	triNo tri = iota
	triMaybe
	triYes
)

func yesIf(b bool) tri {
	if b {
		return triYes
	}
	return triNo
}

func and(a, b tri) tri { return min(a, b) }

func (t tri) not() tri { return triYes - t }

// Connection states as nft and xtables number them (nf_conntrack_common.h).
const (
	stInvalid     uint32 = 1
	stEstablished uint32 = 2
	stRelated     uint32 = 4
	stNew         uint32 = 8
	stUntracked   uint32 = 64
)

// IPS_* status bits that rules ask for.
const (
	ipsSNAT uint32 = 1 << 4
	ipsDNAT uint32 = 1 << 5
)

// device is one side of a packet's way through a hook. The zero value is "not
// known"; none is "this hook has no such device".
type device struct {
	index uint32
	name  string
	none  bool
}

func (d device) known() bool { return d.none || d.index != 0 }

// packet is what is known of a packet at one hook.
type packet struct {
	tracer.Tuple
	iif, oif   device
	port       device // the bridge port it entered by, if iif is a bridge
	mark       uint32
	markKnown  bool
	state      uint32 // one bit, 0 if not known
	flags      uint8
	flagsKnown bool
	// orig is the connection's original tuple, if known.
	orig  tracer.Tuple
	ct    *tracer.CT
	reply tri // whether it travels in the reply direction
}

func (p *packet) v6() bool { return p.Dst.Addr().Is6() && !p.Dst.Addr().Is4In6() }

func (p *packet) status() (uint32, bool) {
	if p.ct == nil {
		return 0, false
	}
	return p.ct.Status, true
}

// xtNAT: whether the SNAT and DNAT pseudo states of xtables are asked for and
// hold.
func (p *packet) xtNAT(asked uint16) tri {
	if asked&(xtSNAT|xtDNAT) == 0 {
		return triNo
	}
	st, ok := p.status()
	if !ok {
		return triMaybe
	}
	return yesIf(asked&xtSNAT != 0 && st&ipsSNAT != 0 || asked&xtDNAT != 0 && st&ipsDNAT != 0)
}

// stateIn compares the connection's state with a mask; or is another way to
// match.
func (p *packet) stateIn(mask uint32, or tri, invert bool) tri {
	t := triMaybe
	if p.state != 0 {
		t = yesIf(p.state&mask != 0)
	} else if mask == 0 {
		t = triNo
	}
	t = max(t, or)
	if invert {
		return t.not()
	}
	return t
}

func (p *packet) tcpFlags(mask, want uint8, invert bool) tri {
	if p.Proto != tracer.ProtoTCP {
		return triNo
	}
	if !p.flagsKnown {
		return triMaybe
	}
	return yesIf((p.flags&mask == want) != invert)
}

// bytes3 is a run of bytes of which some are known.
type bytes3 struct {
	b     []byte
	known []bool
}

func unknownBytes(n int) bytes3 { return bytes3{make([]byte, n), make([]bool, n)} }

func (x bytes3) put(off int, b ...byte) {
	for i, v := range b {
		if off+i < len(x.b) {
			x.b[off+i], x.known[off+i] = v, true
		}
	}
}

func (x bytes3) slice(off, n int) bytes3 {
	out := unknownBytes(n)
	for i := range n {
		if j := off + i; j >= 0 && j < len(x.b) {
			out.b[i], out.known[i] = x.b[j], x.known[j]
		}
	}
	return out
}

// view is slice without a copy, where all of it is there: for reading at once.
func (x bytes3) view(off, n int) bytes3 {
	if off < 0 || n < 0 || off+n > len(x.b) {
		return x.slice(off, n)
	}
	return bytes3{x.b[off : off+n : off+n], x.known[off : off+n : off+n]}
}

// forget makes every byte unknown.
func (x bytes3) forget() {
	clear(x.b)
	clear(x.known)
}

// network is the IP header as far as it is known.
func (p *packet) network() bytes3 {
	src, dst := p.Src.Addr().Unmap(), p.Dst.Addr().Unmap()
	if !p.v6() {
		x := unknownBytes(20)
		x.put(9, p.Proto)
		x.put(12, src.AsSlice()...)
		x.put(16, dst.AsSlice()...)
		return x
	}
	x := unknownBytes(40)
	x.put(6, p.Proto)
	x.put(8, src.AsSlice()...)
	x.put(24, dst.AsSlice()...)
	return x
}

// transport is the transport header as far as it is known. The tuple of ICMP
// carries the identifier in both ports.
func (p *packet) transport() bytes3 {
	x := unknownBytes(20)
	switch p.Proto {
	case tracer.ProtoTCP, tracer.ProtoUDP, tracer.ProtoSCTP:
		x.put(0, binary.BigEndian.AppendUint16(nil, p.Src.Port())...)
		x.put(2, binary.BigEndian.AppendUint16(nil, p.Dst.Port())...)
		if p.Proto == tracer.ProtoTCP && p.flagsKnown {
			x.put(13, p.flags)
		}
	}
	return x
}

// environment answers what only the node knows.
type environment interface {
	// addrType is the RTN_ type of a destination address in the namespace.
	addrType(a netip.Addr) (rtn uint8, ok bool)
	// ipset is a set by its name or, where that is "", by its index.
	ipset(name string, index uint16) (*ipset, error)
	// inIPSet tells whether the set holds the element.
	inIPSet(s *ipset, e setElement) (bool, error)
}
