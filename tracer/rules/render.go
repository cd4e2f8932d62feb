package rules

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// valueKind says how the bytes of a register read.
type valueKind uint8

const (
	kindBytes valueKind = iota
	kindAddr
	kindPort
	kindProto
	kindNFProto
	kindName
	kindNumber // host order
	kindHex    // host order
	kindState
	kindStatus
	kindAddrType
	kindFlags
	kindICMP
)

// operand is what a register holds, in nft's words.
type operand struct {
	text string
	kind valueKind
	len  int
	mask []byte // a bitwise and, if any
	xor  []byte
}

// renderer writes one rule as nft would, as far as it is understood.
type renderer struct {
	rule  *rule
	out   []string
	regs  map[int]operand
	proto string // known transport, for "tcp dport"
}

// render gives a readable text. Names and strings from the kernel stand as they
// are: escaping is the printer's work.
func render(r *rule) string {
	if r.text != "" {
		return r.text
	}
	w := &renderer{rule: r, regs: map[int]operand{}, proto: "th"}
	for _, x := range r.expressions() {
		w.expr(x)
	}
	if r.comment != "" {
		w.say(fmt.Sprintf("comment %q", r.comment))
	}
	return strings.Join(w.out, " ")
}

// ipsetName finds names of sets of ipset, nil where nothing does.
func (w *renderer) ipsetName() func(uint16) string {
	if w.rule.chain == nil {
		return nil
	}
	return w.rule.chain.table.ipsetName
}

func (w *renderer) say(s string) {
	if s != "" {
		w.out = append(w.out, s)
	}
}

func (w *renderer) expr(x any) {
	switch x := x.(type) {
	case payload:
		w.regs[x.dreg] = w.payload(x)
	case meta:
		w.meta(x)
	case ct:
		w.ct(x)
	case fib:
		w.regs[x.dreg] = fibOperand(x)
	case loads:
		w.regs[x.dreg] = operand{text: x.text, kind: kindNumber, len: x.len}
	case immediate:
		w.regs[x.dreg] = operand{text: hexOf(x.data), kind: kindBytes, len: len(x.data), mask: nil, xor: x.data}
	case bitwise:
		o := w.regs[x.sreg]
		o.mask, o.xor = x.mask, x.xor
		w.regs[x.dreg] = o
	case byteorder:
		w.regs[x.dreg] = w.regs[x.sreg]
	case cmp:
		w.compare(x)
	case rangeCmp:
		o := w.regs[x.sreg]
		w.say(o.name() + opText(x.op == unix.NFT_RANGE_NEQ) + " " + value(o.kind, x.from) + "-" + value(o.kind, x.to))
	case lookup:
		w.lookup(x)
	default:
		w.say(w.statement(x))
	}
}

func (w *renderer) statement(x any) string {
	switch x := x.(type) {
	case verdict:
		return verdictText(x)
	case counter:
		return "counter" // values belong to a moment; tracer.RuleFact.Packets tells them
	case reject:
		return rejectText(x)
	case queue:
		return "queue num " + strconv.Itoa(int(x.num))
	case masq:
		return "masquerade"
	case redir:
		return "redirect"
	case nat:
		return w.nat(x)
	case test:
		return x.text
	case setMatch:
		return x.text(w.ipsetName())
	case stays:
		return x.text
	case maybe:
		return x.text
	case effect:
		return x.text
	case untrack:
		return x.text
	case dynset:
		return "update @" + x.set
	case rewrite:
		return "payload set"
	case connmark:
		return "ct mark " + map[bool]string{true: "restore", false: "save"}[x.restore]
	case setMark:
		return fmt.Sprintf("meta mark set mark & %#x ^ %#x", ^x.mask, x.value)
	case unknown:
		return "[" + x.name + "]"
	}
	return "[?]"
}

func rejectText(x reject) string {
	if x.text != "" {
		return x.text
	}
	if x.typ == unix.NFT_REJECT_TCP_RST {
		return "reject with tcp reset"
	}
	return "reject"
}

func verdictText(v verdict) string {
	switch v.kind {
	case vDrop:
		return "drop"
	case vAccept:
		return "accept"
	case vQueue:
		return "queue"
	case vJump:
		return "jump " + v.chain
	case vGoto:
		return "goto " + v.chain
	case vReturn:
		return "return"
	case vContinue:
		return "continue"
	}
	return "verdict " + strconv.Itoa(int(v.kind))
}

func (w *renderer) payload(x payload) operand {
	o := operand{text: fmt.Sprintf("@%s,%d,%d", map[uint32]string{0: "ll", 1: "nh", 2: "th"}[x.base], x.off*8, x.len*8), len: x.len}
	type key struct{ base, off, len int }
	known := map[key]operand{
		{1, 12, 4}: {text: "ip saddr", kind: kindAddr}, {1, 16, 4}: {text: "ip daddr", kind: kindAddr},
		{1, 8, 16}: {text: "ip6 saddr", kind: kindAddr}, {1, 24, 16}: {text: "ip6 daddr", kind: kindAddr},
		{1, 9, 1}: {text: "ip protocol", kind: kindProto}, {1, 6, 1}: {text: "ip6 nexthdr", kind: kindProto},
		{2, 0, 2}: {text: w.proto + " sport", kind: kindPort}, {2, 2, 2}: {text: w.proto + " dport", kind: kindPort},
		{2, 13, 1}: {text: "tcp flags", kind: kindFlags}, {2, 0, 1}: {text: w.proto + " type", kind: kindICMP},
	}
	if k, ok := known[key{int(x.base), x.off, x.len}]; ok {
		o.text, o.kind = k.text, k.kind
	} else if x.base == 1 && (x.off == 12 || x.off == 16) && x.len < 4 && w.rule.chain != nil && w.rule.chain.table.family != famIP6 {
		// nft loads only the bytes that a prefix covers.
		o.text, o.kind = map[int]string{12: "ip saddr", 16: "ip daddr"}[x.off], kindAddr
	} else if x.base == 1 && (x.off == 8 || x.off == 24) && x.len < 16 {
		o.text, o.kind = map[int]string{8: "ip6 saddr", 24: "ip6 daddr"}[x.off], kindAddr
	}
	return o
}

func (w *renderer) meta(x meta) {
	names := map[uint32]operand{
		unix.NFT_META_IIFNAME: {text: "iifname", kind: kindName, len: 16}, unix.NFT_META_OIFNAME: {text: "oifname", kind: kindName, len: 16},
		unix.NFT_META_IIF: {text: "iif", kind: kindNumber, len: 4}, unix.NFT_META_OIF: {text: "oif", kind: kindNumber, len: 4},
		unix.NFT_META_MARK: {text: "meta mark", kind: kindHex, len: 4}, unix.NFT_META_L4PROTO: {text: "meta l4proto", kind: kindProto, len: 1},
		unix.NFT_META_NFPROTO: {text: "meta nfproto", kind: kindNFProto, len: 1}, unix.NFT_META_SKUID: {text: "meta skuid", kind: kindNumber, len: 4},
		unix.NFT_META_PKTTYPE: {text: "meta pkttype", kind: kindBytes, len: 1}, unix.NFT_META_CGROUP: {text: "meta cgroup", kind: kindNumber, len: 4},
		unix.NFT_META_BRI_IIFNAME: {text: "meta ibrname", kind: kindName, len: 16}, unix.NFT_META_BRI_OIFNAME: {text: "meta obrname", kind: kindName, len: 16},
	}
	o, ok := names[x.key]
	if !ok {
		o = operand{text: fmt.Sprintf("meta key %d", x.key), len: 4}
	}
	if x.sreg < 0 {
		w.regs[x.dreg] = o
		return
	}
	w.assign(o, w.regs[x.sreg])
}

// assign says that a field gets what a register has.
func (w *renderer) assign(field, v operand) {
	s := v.name()
	if v.kind == kindBytes && v.xor != nil {
		s = value(field.kind, v.xor)
	} else if len(v.xor) == 4 && len(v.mask) == 4 {
		s = fmt.Sprintf("%s & %s ^ %s", v.text, value(kindHex, v.mask), value(kindHex, v.xor))
	}
	w.say(field.text + " set " + s)
}

func (w *renderer) ct(x ct) {
	names := map[uint32]operand{
		unix.NFT_CT_STATE: {text: "ct state", kind: kindState, len: 4}, unix.NFT_CT_STATUS: {text: "ct status", kind: kindStatus, len: 4},
		unix.NFT_CT_MARK: {text: "ct mark", kind: kindHex, len: 4}, unix.NFT_CT_ZONE: {text: "ct zone", kind: kindNumber, len: 2}, unix.NFT_CT_DIRECTION: {text: "ct direction", len: 1},
		unix.NFT_CT_PROTO_SRC: {text: "proto-src", kind: kindPort, len: 2}, unix.NFT_CT_PROTO_DST: {text: "proto-dst", kind: kindPort, len: 2},
		unix.NFT_CT_SRC: {text: "saddr", kind: kindAddr}, unix.NFT_CT_DST: {text: "daddr", kind: kindAddr}, unix.NFT_CT_PROTOCOL: {text: "protocol", kind: kindProto, len: 1},
		ctSrcIP: {text: "ip saddr", kind: kindAddr, len: 4}, ctDstIP: {text: "ip daddr", kind: kindAddr, len: 4},
		ctSrcIP6: {text: "ip6 saddr", kind: kindAddr, len: 16}, ctDstIP6: {text: "ip6 daddr", kind: kindAddr, len: 16},
	}
	o, ok := names[x.key]
	if !ok {
		o = operand{text: fmt.Sprintf("ct key %d", x.key), len: 4}
	}
	if x.dir >= 0 {
		o.text = "ct " + map[int]string{0: "original ", 1: "reply "}[x.dir] + strings.TrimPrefix(o.text, "ct ")
	}
	if x.sreg < 0 {
		w.regs[x.dreg] = o
		return
	}
	w.assign(o, w.regs[x.sreg])
}

func fibOperand(x fib) operand {
	var by []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{{unix.NFTA_FIB_F_SADDR, "saddr"}, {unix.NFTA_FIB_F_DADDR, "daddr"}, {unix.NFTA_FIB_F_MARK, "mark"}, {unix.NFTA_FIB_F_IIF, "iif"}, {unix.NFTA_FIB_F_OIF, "oif"}} {
		if x.flags&f.bit != 0 {
			by = append(by, f.name)
		}
	}
	o := operand{text: "fib " + strings.Join(by, " . "), kind: kindNumber, len: 4}
	switch x.result {
	case unix.NFT_FIB_RESULT_ADDRTYPE:
		o.text, o.kind = o.text+" type", kindAddrType
	case unix.NFT_FIB_RESULT_OIF:
		o.text += " oif"
	case unix.NFT_FIB_RESULT_OIFNAME:
		o.text, o.kind = o.text+" oifname", kindName
	}
	return o
}

func (o operand) name() string {
	if o.text == "" {
		return "reg"
	}
	return o.text
}

func opText(neq bool) string {
	if neq {
		return " !="
	}
	return ""
}

func (w *renderer) compare(x cmp) {
	o := w.regs[x.sreg]
	if x.op == unix.NFT_CMP_EQ && o.kind == kindProto && len(x.data) == 1 {
		w.proto = protoName(x.data[0])
	}
	op := map[uint32]string{unix.NFT_CMP_EQ: "", unix.NFT_CMP_NEQ: " !=", unix.NFT_CMP_LT: " <", unix.NFT_CMP_LTE: " <=", unix.NFT_CMP_GT: " >", unix.NFT_CMP_GTE: " >="}[x.op]
	if len(o.mask) == len(x.data) && len(o.mask) > 0 {
		w.masked(o, x, op)
		return
	}
	v := value(o.kind, x.data)
	if n := len(x.data); o.kind == kindAddr && n != 4 && n != 16 {
		v += "/" + strconv.Itoa(8*n) // only the bytes that the prefix covers
	}
	w.say(o.name() + op + " " + v)
}

// masked renders "value & mask == data" in the form that people write.
func (w *renderer) masked(o operand, x cmp, op string) {
	zero := bytes.Count(x.data, []byte{0}) == len(x.data)
	switch {
	case o.kind == kindAddr && prefixLen(o.mask) >= 0:
		w.say(fmt.Sprintf("%s%s %s/%d", o.name(), op, value(kindAddr, x.data), prefixLen(o.mask)))
	case (o.kind == kindState || o.kind == kindStatus) && zero && x.op == unix.NFT_CMP_NEQ:
		w.say(o.name() + " " + value(o.kind, o.mask))
	case (o.kind == kindState || o.kind == kindStatus) && zero && x.op == unix.NFT_CMP_EQ:
		w.say(o.name() + " != " + value(o.kind, o.mask))
	default:
		if op == "" {
			op = " =="
		}
		w.say(fmt.Sprintf("%s & %s%s %s", o.name(), value(o.kind, o.mask), op, value(o.kind, x.data)))
	}
}

// prefixLen is the length of a mask of leading ones, -1 if it is none.
func prefixLen(mask []byte) int {
	n := 0
	for i, b := range mask {
		lead := bits.LeadingZeros8(^b)
		n += lead
		if lead < 8 {
			if b<<lead != 0 || bytes.Count(mask[i+1:], []byte{0}) != len(mask)-i-1 {
				return -1
			}
			return n
		}
	}
	return n
}

func (w *renderer) lookup(x lookup) {
	s := w.set(x.set)
	var parts []string
	var kinds []operand
	end := 4
	if s != nil {
		end = s.keyLen
	}
	for off := x.sreg; off < x.sreg+end; {
		o, ok := w.regs[off]
		if !ok {
			break
		}
		parts, kinds = append(parts, o.name()), append(kinds, o)
		off += max((o.len+3)&^3, 4)
	}
	word := ""
	switch {
	case x.dreg == verdictReg:
		word = " vmap"
	case x.dreg >= 0:
		word = " map"
	case x.invert:
		word = " !="
	}
	shown := "@" + x.set
	if strings.HasPrefix(x.set, "__") && s != nil {
		shown = anonymous(s, kinds)
	}
	s1 := strings.Join(parts, " . ") + word + " " + shown
	if x.dreg >= 0 {
		w.regs[x.dreg] = operand{text: s1}
		return
	}
	w.say(s1)
}

func (w *renderer) set(name string) *set {
	if w.rule.chain == nil {
		return nil
	}
	return w.rule.chain.table.set(name)
}

// shownElements bounds how much of an anonymous set is printed.
const shownElements = 8

func anonymous(s *set, ops []operand) string {
	elems, err := s.elements()
	if err != nil {
		return "{ ? }"
	}
	if s.interval && len(s.fields) == 0 {
		elems = append([]element(nil), elems...)
		slices.SortStableFunc(elems, func(a, b element) int { return bytes.Compare(a.key, b.key) })
	}
	var out []string
	for i, e := range elems {
		if e.end {
			continue
		}
		if len(out) == shownElements {
			out = append(out, "...")
			break
		}
		k := keyText(e.key, ops)
		if last, ok := intervalEnd(s, elems[i+1:]); ok && !bytes.Equal(last, e.key) {
			k += "-" + keyText(last, ops)
		}
		if e.verdict != nil {
			k += " : " + verdictText(*e.verdict)
		}
		out = append(out, k)
	}
	return "{ " + strings.Join(out, ", ") + " }"
}

// intervalEnd is the last value of an interval whose beginning stands before
// next: the kernel keeps the first value after it.
func intervalEnd(s *set, next []element) ([]byte, bool) {
	if !s.interval || len(s.fields) > 0 || len(next) == 0 || !next[0].end {
		return nil, false
	}
	last := append([]byte(nil), next[0].key...)
	for i := len(last) - 1; i >= 0; i-- {
		last[i]--
		if last[i] != 0xff {
			break
		}
	}
	return last, true
}

func keyText(key []byte, ops []operand) string {
	var parts []string
	off := 0
	for _, o := range ops {
		n := o.len
		if o.kind == kindAddr && n == 0 {
			n = len(key)
		}
		if off+n > len(key) {
			break
		}
		parts = append(parts, value(o.kind, key[off:off+n]))
		off += (n + 3) &^ 3
	}
	if len(parts) == 0 {
		return hexOf(key)
	}
	return strings.Join(parts, " . ")
}

func (w *renderer) nat(x nat) string {
	word := "snat"
	if x.dnat {
		word = "dnat"
	}
	addr, port := "", ""
	if x.addrMin >= 0 {
		o := w.regs[x.addrMin]
		addr = o.name()
		if o.xor != nil {
			addr = value(kindAddr, o.xor)
		}
	} else if x.addr != nil {
		n := len(x.addr)
		if w.rule.chain != nil && w.rule.chain.table.family == famIP {
			n = min(n, 4)
		}
		addr = value(kindAddr, x.addr[:n])
	}
	if x.protoMin >= 0 {
		o := w.regs[x.protoMin]
		if len(o.xor) >= 2 {
			port = value(kindPort, o.xor[:2])
		}
	} else if x.port != 0 {
		port = strconv.Itoa(int(x.port))
	}
	if port != "" {
		if strings.Contains(addr, ":") {
			addr = "[" + addr + "]"
		}
		addr += ":" + port
	}
	return word + " to " + addr
}

func protoName(p byte) string { return strings.ToLower(tracer.ProtoName(p)) }

func hexOf(b []byte) string { return "0x" + hex.EncodeToString(b) }

// value reads bytes as what they are.
func value(k valueKind, b []byte) string {
	switch k {
	case kindAddr:
		pad := 4
		if len(b) > 4 {
			pad = 16
		}
		if a, ok := netip.AddrFromSlice(append(append([]byte(nil), b...), make([]byte, max(pad-len(b), 0))...)); ok {
			return a.String()
		}
	case kindPort:
		if len(b) == 2 {
			return strconv.Itoa(int(b[0])<<8 | int(b[1]))
		}
	case kindProto:
		if len(b) == 1 {
			return protoName(b[0])
		}
	case kindNFProto:
		if len(b) == 1 {
			return map[byte]string{2: "ipv4", 10: "ipv6"}[b[0]]
		}
	case kindName:
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return strconv.Quote(string(b[:i]))
		}
		return strconv.Quote(string(b) + "*")
	case kindNumber, kindHex:
		if len(b) == 4 && k == kindHex {
			return fmt.Sprintf("%#x", native.Uint32(b))
		}
		switch len(b) {
		case 2:
			return strconv.FormatUint(uint64(native.Uint16(b)), 10)
		case 4:
			return strconv.FormatUint(uint64(native.Uint32(b)), 10)
		}
	case kindState:
		if len(b) == 4 {
			return stateText(native.Uint32(b))
		}
	case kindStatus:
		if len(b) == 4 {
			return fmt.Sprintf("%#x", native.Uint32(b))
		}
	case kindAddrType:
		if len(b) == 4 {
			if s, ok := map[uint32]string{1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole"}[native.Uint32(b)]; ok {
				return s
			}
		}
	case kindFlags, kindICMP:
		if len(b) == 1 {
			return strconv.Itoa(int(b[0]))
		}
	}
	return hexOf(b)
}

func stateText(v uint32) string {
	var out []string
	for _, x := range []struct {
		bit  uint32
		name string
	}{{stInvalid, "invalid"}, {stEstablished, "established"}, {stRelated, "related"}, {stNew, "new"}, {stUntracked, "untracked"}} {
		if v&x.bit != 0 {
			out = append(out, x.name)
		}
	}
	if len(out) == 0 {
		return fmt.Sprintf("%#x", v)
	}
	return strings.Join(out, ",")
}
