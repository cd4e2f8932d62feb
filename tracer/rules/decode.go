package rules

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Attribute numbers that x/sys does not name (linux/netfilter/nf_tables.h).
const (
	nftaBitwiseOp     = 6
	nftaBitwiseData   = 7
	nftaBitwiseSreg2  = 8
	nftaNATFlags      = 7
	nftaDynsetExprs   = 10
	nftDynsetInvert   = 1
	nftDynsetDelete   = 2
	nftObjectSynproxy = 10
	nftaExthdrDreg    = 1
	nftaExthdrSreg    = 7
	nfNATRangeNetmap  = 1 << 6
	nftaSetDescConcat = 2
	nftaSetFieldLen   = 1
	nftaSetElemKeyEnd = 10
	nftaSetElemExprs  = 11
	nftaTableHandle   = 4
	nftaHookDev       = 3
	nftaHookDevs      = 4
	nftSetConcat      = 0x80
	nftElemCatchAll   = 2
	nftDataVerdict    = 0xffffff00
	nftSetKnownFlags  = 0x1ff
	udataRuleComment  = 0
	udataElemComment  = 0
)

// attrTypes is more than any attribute that is asked for.
const attrTypes = 32

// attrs is a decoded level of netlink attributes: where the value of each type
// stands, without the nested and byte order bits. Nothing is copied.
type attrs struct {
	b        []byte
	have     uint32 // by type
	from, to [attrTypes]uint16
	// beyond: there are attributes that have no place here.
	beyond bool
}

func parseAttrs(b []byte) (a attrs, err error) {
	if len(b) > 1<<16-1 {
		return a, errors.New("netlink attributes are too long")
	}
	a.b = b
	for at := 0; at < len(b); {
		typ, size, err := attrAt(b[at:])
		if err != nil {
			return attrs{}, err
		}
		if typ < attrTypes {
			a.have |= 1 << typ
			a.from[typ], a.to[typ] = uint16(at+unix.SizeofNlAttr), uint16(at+size)
		} else {
			a.beyond = true
		}
		at += (size + 3) &^ 3
	}
	return a, nil
}

// attrAt reads the head of an attribute; its size is with the head.
func attrAt(b []byte) (typ uint16, size int, err error) {
	if len(b) >= unix.SizeofNlAttr {
		size = int(native.Uint16(b))
	}
	if size < unix.SizeofNlAttr || size > len(b) {
		return 0, 0, errors.New("netlink attribute is cut off")
	}
	return native.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER), size, nil
}

// scan walks over netlink attributes.
func scan(b []byte, take func(typ uint16, value []byte)) error {
	for len(b) > 0 {
		typ, size, err := attrAt(b)
		if err != nil {
			return err
		}
		take(typ, b[unix.SizeofNlAttr:size:size])
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

// attrOf is one attribute of b, nil if it is not there.
func attrOf(b []byte, typ uint16) (out []byte) {
	if scan(b, func(t uint16, v []byte) {
		if t == typ {
			out = v
		}
	}) != nil {
		return nil
	}
	return out
}

func (a *attrs) has(t uint16) bool { return t < attrTypes && a.have&(1<<t) != 0 }

// get is the value of a type, nil if it is not there.
func (a *attrs) get(t uint16) []byte {
	if !a.has(t) {
		return nil
	}
	return a.b[a.from[t]:a.to[t]:a.to[t]]
}

func (a *attrs) u32(t uint16) uint32 {
	if b := a.get(t); len(b) >= 4 {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// registerBytes is the size of nf_tables' register file.
const registerBytes = 64

// size is a number of bytes of a packet or of registers, cut off where neither
// reaches.
func (a *attrs) size(t uint16) int { return int(min(a.u32(t), 1<<16)) }

func (a *attrs) u64(t uint16) uint64 {
	if b := a.get(t); len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (a *attrs) str(t uint16) string { return strings.TrimRight(string(a.get(t)), "\x00") }

// data is NFTA_DATA_VALUE of a nested struct nft_data.
func (a *attrs) data(t uint16) []byte {
	return attrOf(a.get(t), unix.NFTA_DATA_VALUE)
}

// reg is the byte offset of a register, -1 if the attribute is missing or
// names none. NFT_REG_1..4 are 16 bytes each and overlay NFT_REG32_00..15.
func (a *attrs) reg(t uint16) int {
	if a.get(t) == nil {
		return -1
	}
	return regOffset(a.u32(t))
}

func regOffset(r uint32) int {
	switch {
	case r == unix.NFT_REG_VERDICT:
		return verdictReg
	case r >= unix.NFT_REG_1 && r <= unix.NFT_REG_4:
		return int(r-unix.NFT_REG_1) * 16
	case r >= unix.NFT_REG32_00 && r <= unix.NFT_REG32_15:
		return int(r-unix.NFT_REG32_00) * 4
	}
	return -1
}

// list calls f for each entry of a list of nested attributes.
func list(b []byte, f func([]byte) error) (err error) {
	cut := scan(b, func(_ uint16, v []byte) {
		if err == nil {
			err = f(v)
		}
	})
	return errors.Join(err, cut)
}

// expressions decodes what was not decoded yet.
func (r *rule) expressions() []any {
	for r.decodeNext() {
	}
	return r.exprs
}

// expression is one of them, decoded when it is asked for: of most rules, the
// first few tell that a packet does not match. false if there are no more.
func (r *rule) expression(i int) (any, bool) {
	for i >= len(r.exprs) {
		if !r.decodeNext() {
			return nil, false
		}
	}
	return r.exprs[i], true
}

// decodeNext decodes the next part of the rule; false if there is none. Bytes
// that cannot be decoded become an unknown expression, which leaves the rule
// undecided.
func (r *rule) decodeNext() bool {
	switch {
	case r.unparsed:
		r.unparsed = false
		r.parseText()
	case !r.begun && r.raw != nil:
		r.begin()
	case len(r.left) > 0:
		_, size, err := attrAt(r.left)
		if err == nil {
			err = r.decodeOne(r.left[unix.SizeofNlAttr:size])
			r.left = r.left[min((size+3)&^3, len(r.left)):]
		}
		if err != nil {
			r.exprs, r.left = append(r.exprs, unknown{"undecodable expression", true}), nil
		}
	default:
		return false
	}
	return true
}

// begin makes room. Of expressions that are cut off anywhere, nothing is decoded.
func (r *rule) begin() {
	n := 0
	err := scan(r.raw, func(uint16, []byte) { n++ })
	r.begun, r.left, r.exprs = true, r.raw, make([]any, 0, n)
	if err != nil {
		r.exprs, r.left = append(r.exprs, unknown{"undecodable expression", true}), nil
	}
}

func (r *rule) decodeOne(b []byte) error {
	e, err := parseAttrs(b)
	if err != nil {
		return err
	}
	d, err := parseAttrs(e.get(unix.NFTA_EXPR_DATA))
	if err != nil {
		return err
	}
	x := decodeExpr(string(bytes.TrimRight(e.get(unix.NFTA_EXPR_NAME), "\x00")), &d)
	if c, ok := x.(xtComment); ok {
		r.comment = string(c)
		return nil
	}
	r.exprs = append(r.exprs, x)
	return nil
}

// decodeExpr gives an unknown for everything that it does not understand fully.
// It keeps nothing of name: of a big rule set, names would be most of what is
// made.
func decodeExpr(name string, d *attrs) any {
	if !understood(name, d) {
		return unknown{strings.Clone(name), true}
	}
	switch name {
	case "payload":
		if d.get(unix.NFTA_PAYLOAD_DREG) == nil {
			return rewrite{base: d.u32(unix.NFTA_PAYLOAD_BASE), off: d.size(unix.NFTA_PAYLOAD_OFFSET), len: d.size(unix.NFTA_PAYLOAD_LEN)}
		}
		return payload{base: d.u32(unix.NFTA_PAYLOAD_BASE), off: d.size(unix.NFTA_PAYLOAD_OFFSET), len: d.size(unix.NFTA_PAYLOAD_LEN), dreg: d.reg(unix.NFTA_PAYLOAD_DREG)}
	case "meta":
		if (d.get(unix.NFTA_META_DREG) == nil) == (d.get(unix.NFTA_META_SREG) == nil) {
			return unknown{strings.Clone(name), true}
		}
		return meta{key: d.u32(unix.NFTA_META_KEY), dreg: d.reg(unix.NFTA_META_DREG), sreg: d.reg(unix.NFTA_META_SREG)}
	case "ct":
		if (d.get(unix.NFTA_CT_DREG) == nil) == (d.get(unix.NFTA_CT_SREG) == nil) {
			return unknown{strings.Clone(name), true}
		}
		x := ct{key: d.u32(unix.NFTA_CT_KEY), dir: -1, dreg: d.reg(unix.NFTA_CT_DREG), sreg: d.reg(unix.NFTA_CT_SREG)}
		if b := d.get(unix.NFTA_CT_DIRECTION); len(b) > 0 {
			x.dir = int(b[0])
		}
		return x
	case "cmp":
		return cmp{op: d.u32(unix.NFTA_CMP_OP), sreg: d.reg(unix.NFTA_CMP_SREG), data: d.data(unix.NFTA_CMP_DATA)}
	case "bitwise":
		x := bitwise{sreg: d.reg(unix.NFTA_BITWISE_SREG), dreg: d.reg(unix.NFTA_BITWISE_DREG), len: d.size(unix.NFTA_BITWISE_LEN),
			mask: d.data(unix.NFTA_BITWISE_MASK), xor: d.data(unix.NFTA_BITWISE_XOR)}
		if d.u32(nftaBitwiseOp) != 0 || d.get(nftaBitwiseSreg2) != nil || d.get(nftaBitwiseData) != nil || len(x.mask) != x.len || len(x.xor) != x.len {
			// Shifts, and the two-register form of kernel 6.13.
			return loads{dreg: x.dreg, len: x.len, text: "bitwise"}
		}
		return x
	case "byteorder":
		return byteorder{sreg: d.reg(unix.NFTA_BYTEORDER_SREG), dreg: d.reg(unix.NFTA_BYTEORDER_DREG), len: d.size(unix.NFTA_BYTEORDER_LEN), size: d.size(unix.NFTA_BYTEORDER_SIZE)}
	case "range":
		return rangeCmp{op: d.u32(unix.NFTA_RANGE_OP), sreg: d.reg(unix.NFTA_RANGE_SREG), from: d.data(unix.NFTA_RANGE_FROM_DATA), to: d.data(unix.NFTA_RANGE_TO_DATA)}
	case "lookup":
		if d.u32(unix.NFTA_LOOKUP_FLAGS)&^unix.NFT_LOOKUP_F_INV != 0 {
			return unknown{strings.Clone(name), true}
		}
		return lookup{set: d.str(unix.NFTA_LOOKUP_SET), setID: d.u32(unix.NFTA_LOOKUP_SET_ID), sreg: d.reg(unix.NFTA_LOOKUP_SREG),
			dreg: d.reg(unix.NFTA_LOOKUP_DREG), invert: d.u32(unix.NFTA_LOOKUP_FLAGS)&unix.NFT_LOOKUP_F_INV != 0}
	case "immediate":
		in, err := parseAttrs(d.get(unix.NFTA_IMMEDIATE_DATA))
		if err != nil {
			return unknown{strings.Clone(name), true}
		}
		if v := in.get(unix.NFTA_DATA_VERDICT); v != nil {
			return decodeVerdict(v)
		}
		if len(in.get(unix.NFTA_DATA_VALUE)) == 0 || d.reg(unix.NFTA_IMMEDIATE_DREG) == verdictReg {
			return unknown{strings.Clone(name), true}
		}
		return immediate{dreg: d.reg(unix.NFTA_IMMEDIATE_DREG), data: in.get(unix.NFTA_DATA_VALUE)}
	}
	return decodeStatement(name, d)
}

func decodeStatement(name string, d *attrs) any {
	switch name {
	case "counter":
		return counter{packets: d.u64(unix.NFTA_COUNTER_PACKETS)}
	case "fib":
		return fib{dreg: d.reg(unix.NFTA_FIB_DREG), result: d.u32(unix.NFTA_FIB_RESULT), flags: d.u32(unix.NFTA_FIB_FLAGS)}
	case "nat":
		x := nat{dnat: d.u32(unix.NFTA_NAT_TYPE) == unix.NFT_NAT_DNAT, family: family(d.u32(unix.NFTA_NAT_FAMILY)), addrMin: d.reg(unix.NFTA_NAT_REG_ADDR_MIN), addrMax: d.reg(unix.NFTA_NAT_REG_ADDR_MAX),
			protoMin: d.reg(unix.NFTA_NAT_REG_PROTO_MIN), protoMax: d.reg(unix.NFTA_NAT_REG_PROTO_MAX)}
		if d.u32(nftaNATFlags)&nfNATRangeNetmap != 0 {
			x.addrMin, x.addrMax = -1, -1 // the address depends on the packet's
		}
		return x
	case "masq":
		return masq{}
	case "redir":
		return redir{protoMin: d.reg(unix.NFTA_REDIR_REG_PROTO_MIN)}
	case "reject":
		x := reject{typ: d.u32(unix.NFTA_REJECT_TYPE)}
		if b := d.get(unix.NFTA_REJECT_ICMP_CODE); len(b) > 0 {
			x.code = b[0]
		}
		return x
	case "queue":
		x := queue{}
		if b := d.get(unix.NFTA_QUEUE_NUM); len(b) >= 2 {
			x.num = binary.BigEndian.Uint16(b)
		}
		return x
	case "numgen":
		x := loads{dreg: d.reg(unix.NFTA_NG_DREG), len: 4, text: "numgen mod " + fmt.Sprint(d.u32(unix.NFTA_NG_MODULUS))}
		if d.u32(unix.NFTA_NG_MODULUS) == 1 { // one endpoint: no choice
			x.value = u32Bytes(d.u32(unix.NFTA_NG_OFFSET))
		}
		return x
	case "hash":
		return loads{dreg: d.reg(unix.NFTA_HASH_DREG), len: 4, text: "jhash mod " + fmt.Sprint(d.u32(unix.NFTA_HASH_MODULUS))}
	case "limit":
		return maybe{"limit"}
	case "quota":
		return maybe{"quota"}
	case "connlimit":
		return maybe{"ct count"}
	case "dynset":
		return dynset{set: d.str(unix.NFTA_DYNSET_SET_NAME), always: d.u32(unix.NFTA_DYNSET_OP) == nftDynsetDelete,
			never: d.get(unix.NFTA_DYNSET_EXPR) != nil || d.get(nftaDynsetExprs) != nil || d.u32(unix.NFTA_DYNSET_FLAGS)&nftDynsetInvert != 0}
	case "objref":
		switch d.u32(unix.NFTA_OBJREF_IMM_TYPE) {
		case unix.NFT_OBJECT_COUNTER:
			return effect{"counter name " + d.str(unix.NFTA_OBJREF_IMM_NAME)}
		case nftObjectSynproxy:
			return unknown{"synproxy name " + d.str(unix.NFTA_OBJREF_IMM_NAME), true}
		}
		return maybe{"object " + d.str(unix.NFTA_OBJREF_IMM_NAME)}
	case "log":
		return effect{"log"}
	case "notrack":
		return untrack{text: strings.Clone(name), whole: true}
	case "flow_offload": // does not match where the flow cannot be offloaded
		return maybe{"flow add"}
	case "dup", "last":
		return effect{strings.Clone(name)}
	case "match":
		return decodeMatch(d.str(unix.NFTA_MATCH_NAME), d.u32(unix.NFTA_MATCH_REV), d.get(unix.NFTA_MATCH_INFO))
	case "target":
		return decodeTarget(d.str(unix.NFTA_TARGET_NAME), d.u32(unix.NFTA_TARGET_REV), d.get(unix.NFTA_TARGET_INFO))
	}
	return decodeLoad(name, d)
}

// decodeLoad knows the expressions that only fetch something which is not known
// here, and that do not match where it does not exist.
func decodeLoad(name string, d *attrs) any {
	var attr uint16
	switch name {
	case "rt", "osf", "xfrm":
		attr = 1
	case "socket", "tunnel":
		attr = 2
	case "exthdr":
		attr = nftaExthdrDreg
	default:
		return unknown{strings.Clone(name), true}
	}
	if name == "exthdr" && d.get(nftaExthdrSreg) != nil { // writes a TCP option
		return maybe{"tcp option set"}
	}
	if d.reg(attr) < 0 {
		return unknown{strings.Clone(name), true}
	}
	return loads{dreg: d.reg(attr), len: registerBytes - d.reg(attr), text: strings.Clone(name), breaks: true}
}

func decodeVerdict(b []byte) any {
	a, err := parseAttrs(b)
	if err != nil || len(a.get(unix.NFTA_VERDICT_CODE)) < 4 {
		return unknown{"verdict", true}
	}
	v := verdict{kind: int32(a.u32(unix.NFTA_VERDICT_CODE)), chain: a.str(unix.NFTA_VERDICT_CHAIN)}
	if (v.kind == vJump || v.kind == vGoto) && v.chain == "" {
		return unknown{"verdict", true}
	}
	return v
}

// udata finds a string in libnftnl's user data: type, length, bytes.
func udata(b []byte, typ byte) string {
	for len(b) >= 2 {
		t, n := b[0], int(b[1])
		if len(b) < 2+n {
			return ""
		}
		if t == typ {
			return strings.TrimRight(string(b[2:2+n]), "\x00")
		}
		b = b[2+n:]
	}
	return ""
}

// maxTimeout is a year in milliseconds, longer than any set's time-out that means
// something.
const maxTimeout = 365 * 24 * 3600 * 1000

// decodeSet decodes one NFT_MSG_NEWSET, without elements.
func decodeSet(a *attrs) *set {
	flags := a.u32(unix.NFTA_SET_FLAGS)
	s := &set{name: a.str(unix.NFTA_SET_NAME), id: a.u32(unix.NFTA_SET_ID), keyLen: int(a.u32(unix.NFTA_SET_KEY_LEN)),
		isMap: flags&unix.NFT_SET_MAP != 0, interval: flags&unix.NFT_SET_INTERVAL != 0, dynamic: flags&(unix.NFT_SET_EVAL|unix.NFT_SET_TIMEOUT) != 0,
		verdicts: flags&unix.NFT_SET_MAP != 0 && a.u32(unix.NFTA_SET_DATA_TYPE) == nftDataVerdict}
	s.opaque = flags&^nftSetKnownFlags != 0
	s.timeout = time.Duration(min(a.u64(unix.NFTA_SET_TIMEOUT), maxTimeout)) * time.Millisecond
	desc, err := parseAttrs(a.get(unix.NFTA_SET_DESC))
	if err == nil {
		s.size = int(desc.u32(unix.NFTA_SET_DESC_SIZE))
	}
	if flags&nftSetConcat == 0 {
		return s
	}
	if err != nil {
		s.opaque = true
		return s
	}
	_ = list(desc.get(nftaSetDescConcat), func(b []byte) error {
		f, err := parseAttrs(b)
		if err != nil {
			return err
		}
		s.fields = append(s.fields, int(f.u32(nftaSetFieldLen)))
		return nil
	})
	return s
}

// decodeElements decodes one NFT_MSG_NEWSETELEM.
func decodeElements(a *attrs) (out []element, err error) {
	err = list(a.get(unix.NFTA_SET_ELEM_LIST_ELEMENTS), func(b []byte) error {
		e, err := parseAttrs(b)
		if err != nil {
			return err
		}
		flags := e.u32(unix.NFTA_SET_ELEM_FLAGS)
		x := element{key: e.data(unix.NFTA_SET_ELEM_KEY), keyEnd: e.data(nftaSetElemKeyEnd),
			end: flags&unix.NFT_SET_ELEM_INTERVAL_END != 0, catchAll: flags&nftElemCatchAll != 0,
			comment:  udata(e.get(unix.NFTA_SET_ELEM_USERDATA), udataElemComment),
			doubtful: flags&^(unix.NFT_SET_ELEM_INTERVAL_END|nftElemCatchAll) != 0 || !onlyCounts(&e)}
		if d := e.get(unix.NFTA_SET_ELEM_DATA); d != nil {
			in, err := parseAttrs(d)
			if err != nil {
				return err
			}
			x.data = in.get(unix.NFTA_DATA_VALUE)
			if v := in.get(unix.NFTA_DATA_VERDICT); v != nil {
				if vd, ok := decodeVerdict(v).(verdict); ok {
					x.verdict = &vd
				}
			}
		}
		out = append(out, x)
		return nil
	})
	return out, err
}

// onlyCounts: the expressions that an element runs when it is found decide
// nothing, as a limit or a quota would.
func onlyCounts(e *attrs) bool {
	harmless := func(b []byte) bool {
		name := string(bytes.TrimRight(attrOf(b, unix.NFTA_EXPR_NAME), "\x00"))
		return name == "counter" || name == "last"
	}
	ok := e.get(unix.NFTA_SET_ELEM_EXPR) == nil || harmless(e.get(unix.NFTA_SET_ELEM_EXPR))
	err := list(e.get(nftaSetElemExprs), func(b []byte) error {
		ok = ok && harmless(b)
		return nil
	})
	return ok && err == nil
}

// decodeChain decodes one NFT_MSG_NEWCHAIN.
func decodeChain(f family, a *attrs) *chain {
	c := &chain{name: a.str(unix.NFTA_CHAIN_NAME), handle: a.u64(unix.NFTA_CHAIN_HANDLE)}
	if a.get(unix.NFTA_CHAIN_HOOK) == nil {
		return c
	}
	h, err := parseAttrs(a.get(unix.NFTA_CHAIN_HOOK))
	if err != nil {
		return c
	}
	c.base = &base{hook: h.u32(unix.NFTA_HOOK_HOOKNUM), prio: int32(h.u32(unix.NFTA_HOOK_PRIORITY)), typ: a.str(unix.NFTA_CHAIN_TYPE),
		drop: a.get(unix.NFTA_CHAIN_POLICY) != nil && a.u32(unix.NFTA_CHAIN_POLICY) == uint32(vDrop), device: h.str(nftaHookDev)}
	if f == famNetdev {
		c.base.hook += hookIngress
	}
	return c
}
