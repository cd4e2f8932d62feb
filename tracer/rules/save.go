package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// What iptables-save calls things. The tables and chains are of linux/netfilter_ipv4.h.
var (
	legacyHooks      = map[string]uint32{"PREROUTING": hookPrerouting, "INPUT": hookInput, "FORWARD": hookForward, "OUTPUT": hookOutput, "POSTROUTING": hookPostrouting}
	legacyPriorities = map[string]int32{"raw": -300, "mangle": -150, "filter": 0, "security": 50}
	saveProtocols    = map[string]uint8{"tcp": tracer.ProtoTCP, "udp": tracer.ProtoUDP, "icmp": tracer.ProtoICMP, "ipv6-icmp": tracer.ProtoICMPv6, "icmpv6": tracer.ProtoICMPv6,
		"sctp": tracer.ProtoSCTP, "ipencap": tracer.ProtoIPIP, "ipv4": tracer.ProtoIPIP}
	saveStates = map[string]uint16{"INVALID": xtInvalid, "NEW": xtNew, "ESTABLISHED": xtEstablished, "RELATED": xtRelated, "UNTRACKED": xtUntracked, "SNAT": xtSNAT, "DNAT": xtDNAT}
	saveFlags  = map[string]uint8{"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}
	saveTypes  = map[string]uint16{"UNICAST": 1, "LOCAL": 2, "BROADCAST": 3, "ANYCAST": 4, "MULTICAST": 5}
)

// legacyBase gives the hook and priority of a built-in chain
// (linux/netfilter_ipv4.h, enum nf_ip_hook_priorities).
func legacyBase(table, chain string) *base {
	hook, ok := legacyHooks[chain]
	if !ok {
		return nil
	}
	prio := legacyPriorities[table]
	typ := "filter"
	if table == "nat" {
		typ, prio = "nat", -100
		if hook == hookPostrouting || hook == hookInput {
			prio = 100
		}
	}
	return &base{hook: hook, prio: prio, typ: typ}
}

// parseSave reads the output of iptables-save -c into a rule set. A rule with
// anything that is not understood stays undecided.
func parseSave(rs *ruleset, out string, f family) { parseSaveAfter(nil, rs, out, f) }

// parseSaveAfter takes over the rules of an earlier output that did not change,
// which is then not to be used any more: nothing tells whether such tables
// changed, and most of what is read again is known.
func parseSaveAfter(old, rs *ruleset, out string, f family) {
	var t, before *table
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line[0] == '*':
			t = newTable(tableKey{f, line[1:]})
			t.engine = "iptables-legacy"
			rs.tables = append(rs.tables, t)
			before = old.legacyTable(t.tableKey)
		case t == nil:
		case line[0] == ':':
			fs := strings.Fields(line[1:])
			if len(fs) < 2 {
				continue
			}
			c := &chain{name: fs[0], base: legacyBase(t.name, fs[0])}
			if c.base != nil {
				c.base.drop = fs[1] == "DROP"
			}
			t.addChain(c)
		default:
			parseSaveRule(t, before, line)
		}
	}
}

// legacyTable finds one of a rule set that was read as text, and may be nil.
func (rs *ruleset) legacyTable(k tableKey) *table {
	if rs == nil {
		return nil
	}
	for _, t := range rs.tables {
		if t.tableKey == k {
			return t
		}
	}
	return nil
}

func parseSaveRule(t, before *table, line string) {
	packets := uint64(0)
	if strings.HasPrefix(line, "[") {
		head, rest, ok := strings.Cut(line, "] ")
		if !ok {
			return
		}
		n, _, _ := strings.Cut(head[1:], ":")
		packets, _ = strconv.ParseUint(n, 10, 64)
		line = rest
	}
	c := t.chain(chainOf(line))
	if c == nil {
		return
	}
	r := unchanged(before, c, line)
	if r == nil {
		r = &rule{index: len(c.rules) + 1, text: line, unparsed: true, counted: true}
		r.handle = uint64(r.index)
	}
	r.chain, r.count = c, packets
	c.rules = append(c.rules, r)
}

// chainOf is the chain that a line appends to, "" if it does something else.
func chainOf(line string) string {
	rest, ok := strings.CutPrefix(line, "-A ")
	if !ok {
		return ""
	}
	if strings.ContainsRune(rest, '"') && strings.IndexByte(rest, '"') < strings.IndexByte(rest+" ", ' ') { // a quoted name
		if words := splitWords(line); len(words) > 1 {
			return words[1].text
		}
		return ""
	}
	name, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	return name
}

// unchanged is the rule that stood at the same place before, nil if it said
// something else.
func unchanged(before *table, c *chain, line string) *rule {
	if before == nil {
		return nil
	}
	old := before.chain(c.name)
	if at := len(c.rules); old != nil && at < len(old.rules) && old.rules[at].text == line {
		return old.rules[at]
	}
	return nil
}

// otherAddress: the first thing that a line asks for is an address that the packet
// does not have. Of many rules no more has to be read.
func otherAddress(line string, p *packet) bool {
	rest, ok := strings.CutPrefix(line, "-A ")
	name, rest, _ := strings.Cut(rest, " ")
	if !ok || strings.IndexByte(name, '"') >= 0 {
		return false
	}
	option, rest, _ := strings.Cut(rest, " ")
	text, _, _ := strings.Cut(rest, " ")
	have := p.Src.Addr()
	switch option {
	case "-d":
		have = p.Dst.Addr()
	case "-s":
	default:
		return false
	}
	want, ok := saveAddr(text)
	return ok && !want.Contains(have.Unmap())
}

// parseText understands a rule that was read as text.
func (r *rule) parseText() {
	words := splitWords(r.text)
	if len(words) < 2 {
		r.exprs = []any{unknown{"a rule that is cut off", true}}
		return
	}
	p := saveParser{words: words[2:], family: r.chain.table.family}
	p.parse()
	r.exprs, r.comment = p.matches, p.comment
	if p.target != nil {
		r.exprs = append(r.exprs, p.target)
	}
}

// word is one of a rule. What was quoted is a value, never an option.
type word struct {
	text   string
	quoted bool
}

func (w word) is(texts ...string) bool { return !w.quoted && slices.Contains(texts, w.text) }

// splitWords splits like a shell, as far as iptables-save quotes: "..." with
// backslashes.
func splitWords(s string) []word {
	if out, ok := plainWords(s); ok {
		return out
	}
	return quotedWords(s)
}

// plainWords splits a line in which quotes stand only around whole words, as in
// nearly all. It copies nothing.
func plainWords(s string) (out []word, ok bool) {
	if strings.IndexByte(s, '\\') >= 0 {
		return nil, false
	}
	out = make([]word, 0, strings.Count(s, " ")+1)
	for s = strings.TrimLeft(s, " "); s != ""; s = strings.TrimLeft(s, " ") {
		if s[0] != '"' {
			w, rest, _ := strings.Cut(s, " ")
			if strings.IndexByte(w, '"') >= 0 {
				return nil, false
			}
			out, s = append(out, word{w, false}), rest
			continue
		}
		end := strings.IndexByte(s[1:], '"') + 2
		if end < 2 || end < len(s) && s[end] != ' ' {
			return nil, false
		}
		out, s = append(out, word{s[1 : end-1], true}), s[end:]
	}
	return out, true
}

func quotedWords(s string) []word {
	var out []word
	var cur strings.Builder
	in, have, quoted := false, false, false
	end := func() {
		if have {
			out = append(out, word{cur.String(), quoted})
			cur.Reset()
		}
		have, quoted = false, false
	}
	for i := 0; i < len(s); i++ {
		switch ch := s[i]; {
		case ch == '\\' && in && i+1 < len(s):
			i++
			cur.WriteByte(s[i])
		case ch == '"':
			in, have, quoted = !in, true, true
		case ch == ' ' && !in:
			end()
		default:
			cur.WriteByte(ch)
			have = true
		}
	}
	end()
	return out
}

type saveParser struct {
	words   []word
	family  family
	module  string // that the next options belong to
	matches []any
	comment string
	target  any
}

func (p *saveParser) next() string {
	if len(p.words) == 0 {
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w.text
}

func (p *saveParser) unknown(text string) { p.matches = append(p.matches, unknown{name: text}) }

func (p *saveParser) add(text string, run func(*machine) tri) {
	p.matches = append(p.matches, test{text, run})
}

func (p *saveParser) parse() {
	for len(p.words) > 0 {
		invert := p.words[0].is("!")
		if invert {
			p.next()
		}
		if len(p.words) == 0 {
			p.unknown("!")
			return
		}
		quoted := p.words[0].quoted
		if w := p.next(); quoted {
			p.unknown(w)
		} else {
			p.option(w, invert)
		}
	}
}

// option reads one. Which module it belongs to counts: "--mark" is the packet's
// after "-m mark" and the connection's after "-m connmark".
func (p *saveParser) option(w string, invert bool) {
	switch p.module + " " + w {
	case "comment --comment":
		p.comment = p.next()
		return
	case "recent --seconds":
		p.recent(p.next())
		return
	case "conntrack --ctstate", "state --state":
		p.state(p.next(), invert)
		return
	case "set --match-set":
		p.matches = append(p.matches, setWords(p.next(), p.next(), invert))
		return
	case "mark --mark":
		p.mark(p.next(), invert)
		return
	case "tcp --tcp-flags":
		p.flags(p.next(), p.next(), invert)
		return
	case "tcp --syn":
		p.flags("FIN,SYN,RST,ACK", "SYN", invert)
		return
	case "addrtype --dst-type", "addrtype --src-type":
		p.addrType(w, p.next(), invert)
		return
	case "tcp --sport", "tcp --dport", "udp --sport", "udp --dport", "sctp --sport", "sctp --dport",
		"multiport --sports", "multiport --dports", "multiport --ports":
		p.ports(w, p.next(), invert)
		return
	}
	p.general(w, invert)
}

// recent notes within what time a client has to have been here before.
func (p *saveParser) recent(seconds string) {
	n, err := strconv.ParseUint(seconds, 10, 32)
	if err == nil {
		p.matches = append(p.matches, stays{"-m recent", time.Duration(n) * time.Second})
	}
}

// general reads what belongs to no module.
func (p *saveParser) general(w string, invert bool) {
	if invert && (w == "-m" || w == "-j" || w == "-g") {
		p.unknown("! " + w)
	}
	switch w {
	case "-s":
		p.addr(p.next(), invert, func(m *machine) netip.Addr { return m.pkt.Src.Addr() })
	case "-d":
		p.addr(p.next(), invert, func(m *machine) netip.Addr { return m.pkt.Dst.Addr() })
	case "-i":
		p.device(p.next(), invert, func(m *machine) device { return m.pkt.iif })
	case "-o":
		p.device(p.next(), invert, func(m *machine) device { return m.pkt.oif })
	case "-p":
		p.proto(p.next(), invert)
	case "-m":
		p.use(p.next())
	case "-j", "-g":
		p.jump(w, p.next())
	default:
		if !byChance(p.module) {
			p.unknown(w)
		}
		p.skipValues()
	}
}

// skipValues passes over the values of an option that is not understood. Where
// one of them looks like a target, no word can be trusted to be the target.
func (p *saveParser) skipValues() {
	targets := 0
	for _, w := range p.words {
		if w.is("-j", "-g") {
			targets++
		}
	}
	if targets > 1 {
		p.words, p.target = nil, unknown{"more than one -j", true}
		return
	}
	for len(p.words) > 0 && (p.words[0].quoted || !strings.HasPrefix(p.words[0].text, "-") && p.words[0].text != "!") {
		p.next()
	}
}

// use names the module that the next options belong to.
func (p *saveParser) use(name string) {
	p.module = name
	switch name {
	case "tcp", "udp", "sctp", "comment", "conntrack", "state", "mark", "multiport", "addrtype", "set":
		return
	}
	if byChance(name) {
		p.matches = append(p.matches, maybe{"-m " + name})
		return
	}
	p.unknown("-m " + name)
}

func (p *saveParser) addr(s string, invert bool, of func(*machine) netip.Addr) {
	pre, ok := saveAddr(s)
	if !ok {
		p.unknown(s)
		return
	}
	p.add(s, func(m *machine) tri { return yesIf(pre.Contains(of(m).Unmap()) != invert) })
}

// saveAddr reads an address or a prefix; false for a mask that is no prefix.
func saveAddr(s string) (netip.Prefix, bool) {
	if pre, err := netip.ParsePrefix(s); err == nil {
		return pre, true
	}
	a, err := netip.ParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen()), err == nil
}

func (p *saveParser) device(s string, invert bool, of func(*machine) device) {
	p.add(s, func(m *machine) tri {
		d := of(m)
		if !d.known() {
			return triMaybe
		}
		hit := d.name == s
		if prefix, ok := strings.CutSuffix(s, "+"); ok {
			hit = strings.HasPrefix(d.name, prefix)
		}
		return yesIf(hit != invert)
	})
}

func (p *saveParser) proto(s string, invert bool) {
	n, ok := saveProtocols[s]
	if !ok {
		v, err := strconv.ParseUint(s, 10, 8)
		if err != nil {
			p.unknown("-p " + s)
			return
		}
		n = uint8(v)
	}
	p.add("-p "+s, func(m *machine) tri { return yesIf((m.pkt.Proto == n) != invert) })
}

func (p *saveParser) ports(w, s string, invert bool) {
	var ranges [][2]uint16
	for one := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(one, ":")
		if lo == "" {
			lo = "0"
		}
		a, err := strconv.ParseUint(lo, 10, 16)
		b := a
		if err == nil && isRange {
			if hi == "" {
				hi = "65535"
			}
			b, err = strconv.ParseUint(hi, 10, 16)
		}
		if err != nil {
			p.unknown(w + " " + s)
			return
		}
		ranges = append(ranges, [2]uint16{uint16(a), uint16(b)})
	}
	p.add(w+" "+s, func(m *machine) tri {
		hit := false
		for _, r := range ranges {
			in := func(v uint16) bool { return v >= r[0] && v <= r[1] }
			hit = hit || w[2] != 'd' && in(m.pkt.Src.Port()) || w[2] != 's' && in(m.pkt.Dst.Port())
		}
		return yesIf(hit != invert)
	})
}

func (p *saveParser) state(s string, invert bool) {
	var mask uint16
	for one := range strings.SplitSeq(s, ",") {
		b, ok := saveStates[one]
		if !ok {
			p.unknown("--ctstate " + s)
			return
		}
		mask |= b
	}
	p.add("--ctstate "+s, func(m *machine) tri { return m.pkt.stateIn(fromXtStates(mask), m.pkt.xtNAT(mask), invert) })
}

func (p *saveParser) mark(s string, invert bool) {
	v, mask, ok := valueMask(s)
	if !ok {
		p.unknown("--mark " + s)
		return
	}
	p.matches = append(p.matches, markMatch(v, mask, invert))
}

func valueMask(s string) (value, mask uint32, ok bool) {
	a, b, has := strings.Cut(s, "/")
	v, err := strconv.ParseUint(a, 0, 32)
	m := uint64(^uint32(0))
	if err == nil && has {
		m, err = strconv.ParseUint(b, 0, 32)
	}
	return uint32(v), uint32(m), err == nil
}

func (p *saveParser) flags(mask, want string, invert bool) {
	parse := func(s string) (out uint8, ok bool) {
		for f := range strings.SplitSeq(s, ",") {
			b, known := saveFlags[f]
			if !known {
				return 0, false
			}
			out |= b
		}
		return out, true
	}
	a, ok1 := parse(mask)
	b, ok2 := parse(want)
	if !ok1 || !ok2 {
		p.unknown("--tcp-flags")
		return
	}
	p.add(fmt.Sprintf("--tcp-flags %s %s", mask, want), func(m *machine) tri { return m.pkt.tcpFlags(a, b, invert) })
}

func (p *saveParser) addrType(w, s string, invert bool) {
	var mask uint16
	for one := range strings.SplitSeq(s, ",") {
		n, ok := saveTypes[one]
		if !ok {
			p.unknown(w + " " + s)
			return
		}
		mask |= 1 << n
	}
	p.add(w+" "+s, func(m *machine) tri {
		a := m.pkt.Dst.Addr()
		if w == "--src-type" {
			a = m.pkt.Src.Addr()
		}
		t, known := m.env.addrType(a)
		if !known {
			return triMaybe
		}
		return yesIf((mask&(1<<t) != 0) != invert)
	})
}

// jump reads the target and its options, which always come last.
func (p *saveParser) jump(w, name string) {
	opts := p.words
	p.words = nil
	after := func(key string) string {
		for i := range opts {
			if opts[i].is(key) && i+1 < len(opts) {
				return opts[i+1].text
			}
		}
		return ""
	}
	switch name {
	case "DROP":
		p.target = verdict{kind: vDrop}
	case "ACCEPT":
		p.target = verdict{kind: vAccept}
	case "RETURN":
		p.target = verdict{kind: vReturn}
	case "REJECT":
		p.target = reject{text: "reject"}
		if with := after("--reject-with"); with != "" {
			p.target = reject{text: "reject --reject-with " + with}
		}
	case "MASQUERADE":
		p.target = masq{}
	case "REDIRECT":
		p.target = redir{protoMin: -1}
	case "DNAT":
		p.target = saveNAT(true, after("--to-destination"))
	case "SNAT":
		p.target = saveNAT(false, after("--to-source"))
	case "NFQUEUE":
		p.target = queue{}
	case "MARK":
		p.target = saveMark(after)
	case "CONNMARK":
		p.target = saveConnmark(opts, after)
	case "CT":
		p.target = untrack{text: "-j CT", whole: slices.ContainsFunc(opts, func(o word) bool { return o.is("--notrack") }), zone: saveZone(after("--zone"))}
	default:
		p.target = saveTarget(w, name)
	}
}

// saveZone: --zone takes a number, or "mark"; the zones of one direction are options of
// their own.
func saveZone(s string) ctZone {
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 0, 16)
	if err != nil {
		return unknownZone
	}
	return ctZone(n)
}

func saveTarget(w, name string) any {
	switch x := decodeTarget(name, 0, nil).(type) {
	case effect, untrack:
		return x
	}
	// A name that is no known extension is a chain. If it is none, the walk
	// finds no such chain and stays undecided.
	if w == "-g" {
		return verdict{kind: vGoto, chain: name}
	}
	return verdict{kind: vJump, chain: name}
}

// saveConnmark reads what CONNMARK does; the masks default to every bit.
func saveConnmark(opts []word, after func(string) string) any {
	x := connmark{ctMask: ^uint32(0), nfMask: ^uint32(0), known: true}
	for _, o := range opts {
		x.restore = x.restore || o.is("--restore-mark")
		x.known = x.known && !o.is("--left-shift-mark", "--right-shift-mark")
	}
	read := func(key string, to *uint32) {
		if s := after(key); s != "" {
			v, _, ok := valueMask(s)
			*to, x.known = v, x.known && ok
		}
	}
	read("--mask", &x.ctMask)
	read("--mask", &x.nfMask)
	read("--ctmask", &x.ctMask)
	read("--nfmask", &x.nfMask)
	return x
}

func saveMark(after func(string) string) any {
	if v, mask, ok := valueMask(after("--set-xmark")); ok {
		return setMark{value: v, mask: mask}
	}
	if v, mask, ok := valueMask(after("--set-mark")); ok {
		return setMark{value: v, mask: mask | v}
	}
	return unknown{"-j MARK", true}
}

func saveNAT(dnat bool, to string) any {
	x := nat{dnat: dnat, addrMin: -1, addrMax: -1, protoMin: -1, protoMax: -1}
	if ap, err := netip.ParseAddrPort(to); err == nil {
		x.addr, x.port = ap.Addr().AsSlice(), ap.Port()
		return x
	}
	if a, err := netip.ParseAddr(strings.Trim(to, "[]")); err == nil {
		x.addr = a.AsSlice()
	}
	return x // a range: the rule translates, to a target that is not known
}
