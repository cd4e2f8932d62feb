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
	// rewritten are the bytes of the packet that rules changed.
	rewritten []rewrite
	// headers are the packet's, once they were asked for: network and transport.
	headers [2]bytes3
	// scratch is room for a value on its way to a register.
	scratch bytes3
	// ctMarked: rules changed the connection's mark.
	ctMarked bool
	// asNew: the client is taken for one that stays with no endpoint.
	asNew bool
	// so is how far the rule that is being evaluated matched up to here.
	so tri
}

func newMachine(p *packet, env environment) *machine {
	own := *p // rules change packets
	return &machine{pkt: &own, env: env, reg: unknownBytes(registerBytes), scratch: unknownBytes(registerBytes), mark: p.mark, markKnown: p.markKnown}
}

// action is a possible result of a rule.
type action struct {
	verdict
	sure tri // triMaybe if it is one of several
	// stmt is the statement that ends the rule, if it is no plain verdict.
	stmt any
	// target is the translation, for a DNAT that is fully known.
	target netip.AddrPort
	// via names the set whose element gave the verdict, said is its comment.
	via, said string
}

// perhapsDrop is what something may do that is not understood.
func perhapsDrop(x unknown) action {
	return action{verdict: verdict{kind: vDrop}, sure: triMaybe, stmt: x}
}

// rule evaluates one rule. The match is triNo as soon as one expression is
// surely false, whatever the others are. What stands before that expression has
// had its effect, as in the kernel.
func (m *machine) rule(r *rule) (match tri, acts []action) {
	m.reg.forget()
	m.so = triYes
	if r.unparsed && otherAddress(r.text, m.pkt) {
		return triNo, nil
	}
	for i := 0; ; i++ {
		x, ok := r.expression(i)
		if !ok {
			break
		}
		t, as := m.expr(r.chain.table, x)
		m.so = and(m.so, t)
		if m.so == triNo {
			return triNo, nil
		}
		acts = append(acts, as...)
	}
	return m.so, acts
}

// setMark gives the packet a mark, if the rule matches up to here.
func (m *machine) setMark(mark uint32, known bool) {
	if known && m.markKnown && mark == m.mark {
		return
	}
	m.mark, m.markKnown = mark, known && m.so == triYes
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
		v := m.blank(len(x.data))
		v.put(0, x.data...)
		m.store(x.dreg, v)
	case bitwise:
		m.bitwise(x)
	case byteorder:
		m.byteorder(x)
	case fib:
		m.fib(x)
	case loads:
		v := m.blank(x.len)
		v.put(0, x.value...)
		m.store(x.dreg, v)
		if x.breaks {
			return triMaybe, nil
		}
	case cmp:
		return m.compare(x), nil
	case rangeCmp:
		return m.inRange(x), nil
	case lookup:
		return m.lookup(t, x)
	case test:
		return x.run(m), nil
	case setMatch:
		return m.inSet(x), nil
	case setMark:
		m.setMark(m.mark&^x.mask^x.value, m.markKnown || x.mask == ^uint32(0))
	case connmark:
		m.connmark(x)
	case rewrite:
		m.rewritten = append(m.rewritten, x)
	case untrack:
		if m.pkt.ct == nil {
			m.pkt.state = 0
		}
	case dynset:
		return m.dynset(t, x), nil
	case maybe, stays:
		return triMaybe, nil
	case unknown:
		if x.acts {
			m.reg.forget()
			m.markKnown, m.ctMarked = false, true
			return triMaybe, []action{perhapsDrop(x)}
		}
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
		if x.family != 0 && x.family != m.pkt.family() {
			return triYes, nil // an inet table's rule for the other family
		}
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
		return m.header(0, x.base, m.pkt.network).view(x.off, min(x.len, registerBytes))
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		return m.header(1, x.base, m.pkt.transport).view(x.off, min(x.len, registerBytes))
	}
	return m.blank(x.len)
}

// blank is room for a value of which nothing is known yet, until the next call.
func (m *machine) blank(n int) bytes3 {
	v := m.scratch.view(0, min(max(n, 0), registerBytes))
	v.forget()
	return v
}

// header is one of the packet's, without the bytes that rules changed.
func (m *machine) header(i int, base uint32, build func() bytes3) bytes3 {
	if m.headers[i].b == nil {
		m.headers[i] = build()
	}
	v := m.headers[i]
	for _, w := range m.rewritten {
		for i := w.off; w.base == base && i < min(w.off+w.len, len(v.known)); i++ {
			v.known[i] = false
		}
	}
	return v
}

// connmark is xt_connmark (net/netfilter/xt_connmark.c).
func (m *machine) connmark(x connmark) {
	if !x.restore {
		m.ctMarked = true
		return
	}
	if !x.known || m.pkt.ct == nil || m.ctMarked {
		m.setMark(0, false)
		return
	}
	m.setMark(m.mark&^x.nfMask^m.pkt.ct.Mark&x.ctMask, m.markKnown)
}

// dynset adds an element, which a full set refuses.
func (m *machine) dynset(t *table, x dynset) tri {
	s := t.set(x.set)
	switch {
	case x.always:
		return triYes
	case x.never || s == nil || s.opaque:
		return triMaybe
	case s.size == 0:
		return triYes
	}
	if elems, err := s.elements(); err != nil || len(elems) >= s.size {
		return triMaybe
	}
	return triYes
}

func u32Bytes(v uint32) []byte { return native.AppendUint32(nil, v) }

func (m *machine) meta(x meta) {
	if x.sreg >= 0 {
		if x.key == unix.NFT_META_MARK {
			v := m.reg.slice(x.sreg, 4)
			m.setMark(native.Uint32(v.b), allKnown(v))
		}
		return
	}
	n := 16 // as long as any that is not listed
	switch x.key {
	case unix.NFT_META_LEN, unix.NFT_META_IIF, unix.NFT_META_OIF, unix.NFT_META_MARK, unix.NFT_META_PRIORITY, unix.NFT_META_SKUID, unix.NFT_META_SKGID,
		unix.NFT_META_RTCLASSID, unix.NFT_META_SECMARK, unix.NFT_META_CPU, unix.NFT_META_IIFGROUP, unix.NFT_META_OIFGROUP, unix.NFT_META_CGROUP, unix.NFT_META_PRANDOM:
		n = 4
	case unix.NFT_META_L4PROTO, unix.NFT_META_NFPROTO, unix.NFT_META_PKTTYPE:
		n = 1
	case unix.NFT_META_PROTOCOL, unix.NFT_META_IIFTYPE, unix.NFT_META_OIFTYPE:
		n = 2
	}
	v := m.blank(n)
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
		m.ctMarked = m.ctMarked || x.key == unix.NFT_CT_MARK
		return
	}
	n := 16 // as long as any that is not listed
	switch x.key {
	case unix.NFT_CT_STATE, unix.NFT_CT_STATUS, unix.NFT_CT_MARK, unix.NFT_CT_EXPIRATION, unix.NFT_CT_SECMARK, ctSrcIP, ctDstIP:
		n = 4
	case unix.NFT_CT_DIRECTION, unix.NFT_CT_PROTOCOL, unix.NFT_CT_L3PROTOCOL:
		n = 1
	case unix.NFT_CT_PROTO_SRC, unix.NFT_CT_PROTO_DST, unix.NFT_CT_ZONE:
		n = 2
	case unix.NFT_CT_PKTS, unix.NFT_CT_BYTES, unix.NFT_CT_AVGPKT:
		n = 8
	}
	v := m.blank(n)
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
		if p.ct != nil && !m.ctMarked {
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
	if x.sreg < 0 || len(x.mask) != x.len || len(x.xor) != x.len {
		m.reg.forget()
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
	if x.sreg < 0 || x.size <= 0 || x.len > registerBytes {
		m.reg.forget()
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
	v := m.blank(4)
	if x.result != unix.NFT_FIB_RESULT_ADDRTYPE {
		v = m.blank(16)
	} else {
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
	v := m.reg.view(x.sreg, len(x.data))
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
	v := m.reg.view(x.sreg, len(x.from))
	if !allKnown(v) {
		return triMaybe
	}
	in := bytes.Compare(v.b, x.from) >= 0 && bytes.Compare(v.b, x.to) <= 0
	switch x.op {
	case unix.NFT_RANGE_EQ:
		return yesIf(in)
	case unix.NFT_RANGE_NEQ:
		return yesIf(!in)
	}
	return triMaybe
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
