package rules

import (
	"bytes"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// machine evaluates rules for one packet, as nft_do_chain does with registers,
// but each byte knows whether it is known.
type machine struct {
	pkt       *packet
	env       environment
	reg       bytes3
	mark      uint32
	markKnown bool
	// sets are those whose elements decided, for the caller to look at.
	sets []string
	// err is the last set that could not be read.
	err error
}

func newMachine(p *packet, env environment) *machine {
	return &machine{pkt: p, env: env, reg: unknownBytes(64), mark: p.mark, markKnown: p.markKnown}
}

// action is a possible result of a rule.
type action struct {
	verdict
	sure tri // triMaybe if it is one of several
	// stmt is the statement that ends the rule, if it is no plain verdict.
	stmt any
	// target is the translation, for a DNAT that is fully known.
	target netip.AddrPort
	// via names the set whose element gave the verdict.
	via string
}

// rule evaluates one rule. The match is triNo as soon as one expression is
// surely false, whatever the others are.
func (m *machine) rule(r *rule) (match tri, acts []action) {
	m.reg = unknownBytes(64)
	match = triYes
	mark, markKnown := m.mark, m.markKnown
	for _, x := range r.expressions() {
		t, as := m.expr(r.chain.table, x)
		match = and(match, t)
		if match == triNo {
			m.mark, m.markKnown = mark, markKnown
			return triNo, nil
		}
		acts = append(acts, as...)
	}
	if match == triMaybe && (m.mark != mark || m.markKnown != markKnown) {
		m.markKnown = false
	}
	return match, acts
}

func (m *machine) expr(t *table, x any) (tri, []action) {
	switch x := x.(type) {
	case payload:
		m.store(x.dreg, m.payload(x))
	case meta:
		m.meta(x)
	case ct:
		m.ct(x)
	case immediate:
		v := unknownBytes(len(x.data))
		v.put(0, x.data...)
		m.store(x.dreg, v)
	case bitwise:
		m.bitwise(x)
	case byteorder:
		m.byteorder(x)
	case fib:
		m.fib(x)
	case loads:
		v := unknownBytes(max(x.len, 0))
		v.put(0, x.value...)
		m.store(x.dreg, v)
	case cmp:
		return m.compare(x), nil
	case rangeCmp:
		return m.inRange(x), nil
	case lookup:
		return m.lookup(t, x)
	case test:
		return x.run(m), nil
	case setMark:
		m.mark = m.mark&^x.mask ^ x.value
		m.markKnown = m.markKnown || x.mask == ^uint32(0)
	case maybe:
		return triMaybe, nil
	case unknown:
		return triMaybe, nil
	default:
		return m.statement(x)
	}
	return triYes, nil
}

// statement evaluates what may end a rule.
func (m *machine) statement(x any) (tri, []action) {
	switch x := x.(type) {
	case verdict:
		if x.kind == vContinue {
			return triYes, nil
		}
		if x.kind == vBreak {
			return triNo, nil
		}
		return triYes, []action{{verdict: x, sure: triYes}}
	case reject:
		return triYes, []action{{verdict: verdict{kind: vDrop}, sure: triYes, stmt: x}}
	case queue:
		return triYes, []action{{verdict: verdict{kind: vQueue}, sure: triYes, stmt: x}}
	case nat:
		return triYes, []action{{verdict: verdict{kind: vAccept}, sure: triYes, stmt: x, target: m.target(x)}}
	case masq, redir:
		return triYes, []action{{verdict: verdict{kind: vAccept}, sure: triYes, stmt: x}}
	}
	return triYes, nil // counter, effect
}

func (m *machine) store(dreg int, v bytes3) {
	if dreg < 0 {
		return
	}
	for i := range v.b {
		if dreg+i < len(m.reg.b) {
			m.reg.b[dreg+i], m.reg.known[dreg+i] = v.b[i], v.known[i]
		}
	}
	// Loads clear the rest of the last 32-bit register.
	for i := len(v.b); i%4 != 0; i++ {
		if dreg+i < len(m.reg.b) {
			m.reg.b[dreg+i], m.reg.known[dreg+i] = 0, true
		}
	}
}

func (m *machine) payload(x payload) bytes3 {
	switch x.base {
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		return m.pkt.network().slice(x.off, x.len)
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		return m.pkt.transport().slice(x.off, x.len)
	}
	return unknownBytes(x.len)
}

func u32Bytes(v uint32) []byte { return native.AppendUint32(nil, v) }

func (m *machine) meta(x meta) {
	if x.sreg >= 0 {
		if x.key == unix.NFT_META_MARK {
			v := m.reg.slice(x.sreg, 4)
			m.mark, m.markKnown = native.Uint32(v.b), allKnown(v)
		}
		return
	}
	n := 4
	switch x.key {
	case unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME, unix.NFT_META_BRI_IIFNAME, unix.NFT_META_BRI_OIFNAME:
		n = 16
	case unix.NFT_META_L4PROTO, unix.NFT_META_NFPROTO, unix.NFT_META_PKTTYPE:
		n = 1
	case unix.NFT_META_PROTOCOL, unix.NFT_META_IIFTYPE, unix.NFT_META_OIFTYPE:
		n = 2
	}
	v := unknownBytes(n)
	m.metaValue(x.key, v)
	m.store(x.dreg, v)
}

func (m *machine) metaValue(key uint32, v bytes3) {
	p := m.pkt
	name := func(d device) {
		if d.known() {
			v.put(0, append([]byte(d.name), make([]byte, 16)...)[:16]...)
		}
	}
	switch key {
	case unix.NFT_META_IIFNAME:
		name(p.iif)
	case unix.NFT_META_OIFNAME:
		name(p.oif)
	case unix.NFT_META_IIF:
		if p.iif.known() {
			v.put(0, u32Bytes(p.iif.index)...)
		}
	case unix.NFT_META_OIF:
		if p.oif.known() {
			v.put(0, u32Bytes(p.oif.index)...)
		}
	case unix.NFT_META_MARK:
		if m.markKnown {
			v.put(0, u32Bytes(m.mark)...)
		}
	case unix.NFT_META_L4PROTO:
		v.put(0, p.Proto)
	case unix.NFT_META_NFPROTO:
		v.put(0, uint8(p.family()))
	case unix.NFT_META_PROTOCOL:
		if p.v6() {
			v.put(0, 0x86, 0xdd)
		} else {
			v.put(0, 0x08, 0x00)
		}
	}
}

func (p *packet) family() family {
	if p.v6() {
		return famIP6
	}
	return famIP
}

func (m *machine) ct(x ct) {
	if x.sreg >= 0 {
		return
	}
	n := 4
	switch x.key {
	case unix.NFT_CT_SRC, unix.NFT_CT_DST, unix.NFT_CT_LABELS:
		n = 16
	case unix.NFT_CT_DIRECTION, unix.NFT_CT_PROTOCOL, unix.NFT_CT_L3PROTOCOL:
		n = 1
	case unix.NFT_CT_PROTO_SRC, unix.NFT_CT_PROTO_DST, unix.NFT_CT_ZONE:
		n = 2
	case unix.NFT_CT_PKTS, unix.NFT_CT_BYTES, unix.NFT_CT_AVGPKT:
		n = 8
	case ctSrcIP6, ctDstIP6, unix.NFT_CT_HELPER:
		n = 16
	}
	v := unknownBytes(n)
	m.ctValue(x, v)
	m.store(x.dreg, v)
}

// Newer conntrack keys (linux/netfilter/nf_tables.h, enum nft_ct_keys).
const (
	ctSrcIP  = 19
	ctDstIP  = 20
	ctSrcIP6 = 21
	ctDstIP6 = 22
)

func (m *machine) ctValue(x ct, v bytes3) {
	p := m.pkt
	tuple, ok := p.ctTuple(x.dir)
	port := func(n uint16) { v.put(0, byte(n>>8), byte(n)) }
	switch x.key {
	case unix.NFT_CT_STATE:
		if p.state != 0 {
			v.put(0, u32Bytes(p.state)...)
		}
	case unix.NFT_CT_STATUS:
		if s, known := p.status(); known {
			v.put(0, u32Bytes(s)...)
		}
	case unix.NFT_CT_MARK:
		if p.ct != nil {
			v.put(0, u32Bytes(p.ct.Mark)...)
		}
	case unix.NFT_CT_DIRECTION:
		if p.reply != triMaybe {
			v.put(0, uint8(p.reply/triYes))
		}
	case unix.NFT_CT_PROTOCOL:
		v.put(0, p.Proto)
	case unix.NFT_CT_L3PROTOCOL:
		v.put(0, uint8(p.family()))
	case unix.NFT_CT_SRC, ctSrcIP, ctSrcIP6:
		if ok {
			v.put(0, tuple.Src.Addr().Unmap().AsSlice()...)
		}
	case unix.NFT_CT_DST, ctDstIP, ctDstIP6:
		if ok {
			v.put(0, tuple.Dst.Addr().Unmap().AsSlice()...)
		}
	case unix.NFT_CT_PROTO_SRC:
		if ok {
			port(tuple.Src.Port())
		}
	case unix.NFT_CT_PROTO_DST:
		if ok {
			port(tuple.Dst.Port())
		}
	}
}

// ctTuple is the connection's tuple of one direction.
func (p *packet) ctTuple(dir int) (tracer.Tuple, bool) {
	switch {
	case dir == 0 && p.orig.IsValid():
		return p.orig, true
	case dir == 1 && p.ct != nil:
		return p.ct.Reply, true
	}
	return tracer.Tuple{}, false
}

func (m *machine) bitwise(x bitwise) {
	if x.sreg < 0 || x.len < 0 || len(x.mask) != x.len || len(x.xor) != x.len {
		return
	}
	v := m.reg.slice(x.sreg, x.len)
	for i := range v.b {
		// A byte that is masked out is known.
		v.known[i] = v.known[i] || x.mask[i] == 0
		v.b[i] = v.b[i]&x.mask[i] ^ x.xor[i]
	}
	m.store(x.dreg, v)
}

func (m *machine) byteorder(x byteorder) {
	if x.sreg < 0 || x.size <= 0 {
		return
	}
	v := m.reg.slice(x.sreg, x.len)
	for i := 0; i+x.size <= len(v.b); i += x.size {
		for a, b := i, i+x.size-1; a < b; a, b = a+1, b-1 {
			v.b[a], v.b[b] = v.b[b], v.b[a]
			v.known[a], v.known[b] = v.known[b], v.known[a]
		}
	}
	m.store(x.dreg, v)
}

// fib knows address types without further restrictions.
func (m *machine) fib(x fib) {
	v := unknownBytes(4)
	if x.result == unix.NFT_FIB_RESULT_ADDRTYPE {
		a := m.pkt.Dst.Addr()
		if x.flags&unix.NFTA_FIB_F_SADDR != 0 {
			a = m.pkt.Src.Addr()
		}
		if t, ok := m.env.addrType(a); ok && x.flags&^(unix.NFTA_FIB_F_SADDR|unix.NFTA_FIB_F_DADDR) == 0 {
			v.put(0, u32Bytes(uint32(t))...)
		}
	}
	m.store(x.dreg, v)
}

func allKnown(x bytes3) bool {
	for _, k := range x.known {
		if !k {
			return false
		}
	}
	return true
}

// same compares partly known bytes with a value.
func same(x bytes3, want []byte) tri {
	out := triYes
	for i := range want {
		if i >= len(x.b) || !x.known[i] {
			out = triMaybe
		} else if x.b[i] != want[i] {
			return triNo
		}
	}
	return out
}

func (m *machine) compare(x cmp) tri {
	if x.sreg < 0 || len(x.data) == 0 {
		return triMaybe
	}
	v := m.reg.slice(x.sreg, len(x.data))
	switch x.op {
	case unix.NFT_CMP_EQ:
		return same(v, x.data)
	case unix.NFT_CMP_NEQ:
		return same(v, x.data).not()
	}
	if !allKnown(v) {
		return triMaybe
	}
	d := bytes.Compare(v.b, x.data)
	switch x.op {
	case unix.NFT_CMP_LT:
		return yesIf(d < 0)
	case unix.NFT_CMP_LTE:
		return yesIf(d <= 0)
	case unix.NFT_CMP_GT:
		return yesIf(d > 0)
	case unix.NFT_CMP_GTE:
		return yesIf(d >= 0)
	}
	return triMaybe
}

func (m *machine) inRange(x rangeCmp) tri {
	if x.sreg < 0 || len(x.from) == 0 || len(x.from) != len(x.to) {
		return triMaybe
	}
	v := m.reg.slice(x.sreg, len(x.from))
	if !allKnown(v) {
		return triMaybe
	}
	in := bytes.Compare(v.b, x.from) >= 0 && bytes.Compare(v.b, x.to) <= 0
	return yesIf(in != (x.op == unix.NFT_RANGE_NEQ))
}

// target reads where a DNAT leads, if address and port are fully known.
func (m *machine) target(x nat) netip.AddrPort {
	if !x.dnat {
		return netip.AddrPort{}
	}
	n := 4
	if m.pkt.v6() {
		n = 16
	}
	addr, port := x.addr, x.port
	if x.addrMin >= 0 {
		v := m.reg.slice(x.addrMin, n)
		if !allKnown(v) {
			return netip.AddrPort{}
		}
		addr = v.b
	}
	if x.protoMin >= 0 {
		v := m.reg.slice(x.protoMin, 2)
		if !allKnown(v) {
			return netip.AddrPort{}
		}
		port = uint16(v.b[0])<<8 | uint16(v.b[1])
	}
	if len(addr) > n {
		addr = addr[:n]
	}
	a, ok := netip.AddrFromSlice(addr)
	if !ok {
		return netip.AddrPort{}
	}
	if port == 0 {
		port = m.pkt.Dst.Port()
	}
	return netip.AddrPortFrom(a, port)
}
