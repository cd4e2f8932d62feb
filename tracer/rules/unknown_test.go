package rules

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// be32 is a value as nf_tables attributes have it.
func be32(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }

// sample is one expression, as the kernel sends it, that is understood.
type sample struct {
	name  string
	attrs map[uint16][]byte
	// before stands before it, so that it surely matches.
	before []sample
}

func data(b ...byte) []byte { return nest(attr(unix.NFTA_DATA_VALUE, b)) }

func verdictData(kind int32, chain string) []byte {
	as := []netlink.Attribute{attr(unix.NFTA_VERDICT_CODE, be32(uint32(kind)))}
	if chain != "" {
		as = append(as, attr(unix.NFTA_VERDICT_CHAIN, append([]byte(chain), 0)))
	}
	return nest(attr(unix.NFTA_DATA_VERDICT, nest(as...)))
}

var (
	reg1     = be32(unix.NFT_REG32_00)
	loadDst  = sample{name: "payload", attrs: map[uint16][]byte{unix.NFTA_PAYLOAD_DREG: reg1, unix.NFTA_PAYLOAD_BASE: be32(1), unix.NFTA_PAYLOAD_OFFSET: be32(16), unix.NFTA_PAYLOAD_LEN: be32(4)}}
	dropIt   = sample{name: "immediate", attrs: map[uint16][]byte{unix.NFTA_IMMEDIATE_DREG: be32(0), unix.NFTA_IMMEDIATE_DATA: verdictData(vDrop, "")}}
	sampleIP = []byte{10, 96, 0, 20} // where samplePackets go to
)

// samples are expressions that match the first of samplePackets.
func samples() []sample {
	after := func(name string, as map[uint16][]byte) sample {
		return sample{name: name, attrs: as, before: []sample{loadDst}}
	}
	return []sample{
		loadDst,
		{name: "meta", attrs: map[uint16][]byte{unix.NFTA_META_KEY: be32(unix.NFT_META_MARK), unix.NFTA_META_DREG: reg1}},
		{name: "ct", attrs: map[uint16][]byte{unix.NFTA_CT_KEY: be32(unix.NFT_CT_STATE), unix.NFTA_CT_DREG: reg1}},
		after("cmp", map[uint16][]byte{unix.NFTA_CMP_SREG: reg1, unix.NFTA_CMP_OP: be32(unix.NFT_CMP_EQ), unix.NFTA_CMP_DATA: data(sampleIP...)}),
		after("bitwise", map[uint16][]byte{unix.NFTA_BITWISE_SREG: reg1, unix.NFTA_BITWISE_DREG: reg1, unix.NFTA_BITWISE_LEN: be32(4),
			unix.NFTA_BITWISE_MASK: data(255, 255, 0, 0), unix.NFTA_BITWISE_XOR: data(0, 0, 0, 0)}),
		after("byteorder", map[uint16][]byte{unix.NFTA_BYTEORDER_SREG: reg1, unix.NFTA_BYTEORDER_DREG: reg1, unix.NFTA_BYTEORDER_OP: be32(0),
			unix.NFTA_BYTEORDER_LEN: be32(4), unix.NFTA_BYTEORDER_SIZE: be32(4)}),
		after("range", map[uint16][]byte{unix.NFTA_RANGE_SREG: reg1, unix.NFTA_RANGE_OP: be32(unix.NFT_RANGE_EQ),
			unix.NFTA_RANGE_FROM_DATA: data(10, 0, 0, 0), unix.NFTA_RANGE_TO_DATA: data(10, 255, 0, 0)}),
		after("lookup", map[uint16][]byte{unix.NFTA_LOOKUP_SET: []byte("s\x00"), unix.NFTA_LOOKUP_SREG: reg1}),
		{name: "immediate", attrs: map[uint16][]byte{unix.NFTA_IMMEDIATE_DREG: reg1, unix.NFTA_IMMEDIATE_DATA: data(1, 2, 3, 4)}},
		{name: "counter", attrs: map[uint16][]byte{unix.NFTA_COUNTER_PACKETS: make([]byte, 8)}},
		{name: "fib", attrs: map[uint16][]byte{unix.NFTA_FIB_DREG: reg1, unix.NFTA_FIB_RESULT: be32(unix.NFT_FIB_RESULT_ADDRTYPE), unix.NFTA_FIB_FLAGS: be32(unix.NFTA_FIB_F_DADDR)}},
		{name: "reject", attrs: map[uint16][]byte{unix.NFTA_REJECT_TYPE: be32(0)}},
		{name: "dynset", attrs: map[uint16][]byte{unix.NFTA_DYNSET_SET_NAME: []byte("s\x00"), unix.NFTA_DYNSET_OP: be32(0), unix.NFTA_DYNSET_SREG_KEY: reg1}},
		{name: "match", attrs: map[uint16][]byte{unix.NFTA_MATCH_NAME: []byte("mark\x00"), unix.NFTA_MATCH_REV: be32(1), unix.NFTA_MATCH_INFO: make([]byte, 12)}},
		{name: "target", attrs: map[uint16][]byte{unix.NFTA_TARGET_NAME: []byte("DROP\x00"), unix.NFTA_TARGET_REV: be32(0), unix.NFTA_TARGET_INFO: make([]byte, 4)}},
	}
}

func (s sample) bytes() []byte {
	var as []netlink.Attribute
	for _, t := range slices.Sorted(maps.Keys(s.attrs)) {
		as = append(as, attr(t, s.attrs[t]))
	}
	return nest(attr(unix.NFTA_LIST_ELEM, nest(attr(unix.NFTA_EXPR_NAME, append([]byte(s.name), 0)), attr(unix.NFTA_EXPR_DATA, nest(as...)))))
}

func (s sample) with(t uint16, v []byte) sample {
	s.attrs = maps.Clone(s.attrs)
	if v == nil {
		delete(s.attrs, t)
	} else {
		s.attrs[t] = v
	}
	return s
}

// fate says what a chain with one rule, that ends in a drop, and a policy to
// accept does with the first sample packet.
func fate(s sample) tri {
	var raw []byte
	for _, x := range append(slices.Clone(s.before), s, dropIt) {
		raw = append(raw, x.bytes()...)
	}
	tb := newTable(tableKey{famIP, "t"})
	tb.sets["s"] = &set{name: "s", keyLen: 4, loaded: true, elems: []element{{key: sampleIP}}}
	c := &chain{name: "c", base: &base{hook: hookForward, typ: "filter"}}
	tb.addChain(c)
	c.rules = []*rule{{chain: c, raw: raw, index: 1}}
	return fateOf(&ruleset{tables: []*table{tb}})
}

func fateOf(rs *ruleset) tri {
	p := samplePackets()[0]
	p.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(sampleIP)), p.Dst.Port())
	hits := dropHits(rs, p, fakeEnv{}, famIP, hookForward, "")
	switch {
	case len(hits) == 0:
		return triNo
	case hits[0].sure:
		return triYes
	}
	return triMaybe
}

// A newer kernel may send expressions, attributes, registers, operators and
// revisions that nobody thought of here. None of them may decide a rule.
func TestUnknownDecidesNothing(t *testing.T) {
	odd := be32(0xfeed)
	for _, s := range samples() {
		if got := fate(s); got != triYes {
			t.Errorf("%s, as it ought to be: %d, want a sure drop", s.name, got)
		}
		undecided := func(what string, s sample) {
			t.Helper()
			if got := fate(s); got != triMaybe {
				t.Errorf("%s: %s: %d, want undecided", s.name, what, got)
			}
		}
		for n := range 40 {
			undecided("a name of the future", sample{fmt.Sprintf("%s%d", s.name, n), s.attrs, s.before})
		}
		for at := uint16(16); at < 64; at++ {
			undecided(fmt.Sprintf("with attribute %d", at), s.with(at, odd))
		}
		for _, need := range shapes[s.name].need {
			undecided(fmt.Sprintf("without attribute %d", need), s.with(need, nil))
		}
		for _, r := range registers[s.name] {
			if s.attrs[r] != nil {
				undecided(fmt.Sprintf("register %d of the future", r), s.with(r, odd))
			}
		}
	}
	for _, tc := range []struct {
		name string
		s    sample
	}{
		{"operator of cmp", samples()[3].with(unix.NFTA_CMP_OP, odd)},
		{"operator of bitwise, compared", samples()[3].preceded(samples()[4].with(nftaBitwiseOp, odd))},
		{"operator of range", samples()[6].with(unix.NFTA_RANGE_OP, odd)},
		{"flags of lookup", samples()[7].with(unix.NFTA_LOOKUP_FLAGS, odd)},
		{"key of meta, compared", samples()[3].preceded(samples()[1].with(unix.NFTA_META_KEY, odd))},
		{"key of ct, compared", samples()[3].preceded(samples()[2].with(unix.NFTA_CT_KEY, odd))},
		{"base of payload, compared", samples()[3].preceded(loadDst.with(unix.NFTA_PAYLOAD_BASE, odd))},
		{"result of fib, compared", samples()[3].preceded(samples()[10].with(unix.NFTA_FIB_RESULT, odd))},
		{"flags of fib, compared", samples()[3].preceded(samples()[10].with(unix.NFTA_FIB_FLAGS, odd))},
		{"verdict without a code", sample{name: "immediate", attrs: map[uint16][]byte{unix.NFTA_IMMEDIATE_DREG: be32(0), unix.NFTA_IMMEDIATE_DATA: nest(attr(unix.NFTA_DATA_VERDICT, nest(attr(9, odd))))}}},
		{"a set that is not there", samples()[7].with(unix.NFTA_LOOKUP_SET, []byte("other\x00"))},
		{"bytes rewritten before they are compared", samples()[3].preceded(loadDst.with(unix.NFTA_PAYLOAD_DREG, nil).with(unix.NFTA_PAYLOAD_SREG, reg1), loadDst)},
	} {
		if got := fate(tc.s); got != triMaybe {
			t.Errorf("%s: %d, want undecided", tc.name, got)
		}
	}
}

func (s sample) preceded(by ...sample) sample {
	s.before = append(slices.Clone(s.before), by...)
	return s
}

func word8(r *rand.Rand) string {
	b := make([]byte, 4+r.IntN(8))
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	b[0] = 'x' // no extension's name begins so
	return string(b)
}

// The same for extensions of xtables: names, revisions and lengths.
func TestUnknownExtensionDecidesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	info := make([]byte, 256)
	for range 2000 {
		name := word8(r)
		if got := fate(sample{name: "match", attrs: map[uint16][]byte{unix.NFTA_MATCH_NAME: []byte(name + "\x00"), unix.NFTA_MATCH_REV: be32(uint32(r.IntN(3))), unix.NFTA_MATCH_INFO: info[:r.IntN(256)]}}); got != triMaybe {
			t.Fatalf("match %s: %d", name, got)
		}
		name = strings.ToUpper(name)
		if got := fate(sample{name: "target", attrs: map[uint16][]byte{unix.NFTA_TARGET_NAME: []byte(name + "\x00"), unix.NFTA_TARGET_REV: be32(0), unix.NFTA_TARGET_INFO: info[:r.IntN(256)]}}); got != triMaybe {
			t.Fatalf("target %s: %d", name, got)
		}
	}
	for _, name := range []string{"limit", "hashlimit", "connlimit", "quota", "recent", "statistic"} {
		for rev := range uint32(4) {
			if got := fate(sample{name: "match", attrs: map[uint16][]byte{unix.NFTA_MATCH_NAME: []byte(name + "\x00"), unix.NFTA_MATCH_REV: be32(rev), unix.NFTA_MATCH_INFO: info}}); got != triMaybe {
				t.Errorf("-m %s of revision %d: %d, want undecided", name, rev, got)
			}
		}
	}
	for _, name := range []string{"tcp", "udp", "mark", "connmark", "conntrack", "state", "multiport", "addrtype", "iprange"} {
		for rev := uint32(4); rev < 12; rev++ {
			if got := decodeMatch(name, rev, info); notUnderstood(got) == "" {
				t.Errorf("-m %s of revision %d is %T", name, rev, got)
			}
		}
		for n := range 4 {
			if got := decodeMatch(name, 1, info[:n]); notUnderstood(got) == "" {
				t.Errorf("-m %s of %d bytes is %T", name, n, got)
			}
		}
	}
	for _, name := range []string{"MARK", "CONNMARK", "DNAT", "SNAT"} {
		for rev := uint32(4); rev < 12; rev++ {
			if got := decodeTarget(name, rev, info); notUnderstood(got) == "" {
				t.Errorf("-j %s of revision %d is %T", name, rev, got)
			}
		}
	}
}

// The same for rules that are read as text.
func TestUnknownWordDecidesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	verdictOf := func(rule string) tri {
		rs := &ruleset{}
		parseSave(rs, "*filter\n:FORWARD ACCEPT [0:0]\n"+rule+"\nCOMMIT\n", famIP)
		return fateOf(rs)
	}
	known := "-A FORWARD -d 10.96.0.0/16 -p tcp -m tcp --dport 80 -m comment --comment x"
	if got := verdictOf(known + " -j DROP"); got != triYes {
		t.Fatalf("the rule itself: %d", got)
	}
	for _, odd := range []string{
		"-m connmark --mark 0x0/0x0", "-m connmark ! --mark 0x1", "-m string --string \"-j ACCEPT\" --algo bm", "-m string --string -j --algo bm",
		"-m set --match-set gone src", "-m dscp --dscp 0x00", "-m conntrack --ctorigdst 10.96.0.20", "-m tcp --tcp-option 8", "-m statistic --mode nth --every 2 --packet 0",
		"-m limit --limit 1/sec", "-m hashlimit --hashlimit-above 1/sec --hashlimit-name x", "-m connlimit --connlimit-above 1", "-m quota --quota 1",
		"-m recent --rcheck --name x --rsource", "-m recent --update --seconds 60 --hitcount 4 --name x --rsource", "-m recent --set --name x --rsource",
		"-m time --timestart 10:00:00", "-f", "!", "-m addrtype --dst-type UNICAST --limit-iface-in", "--mark 0x0", "\"-d\" 10.96.0.1",
	} {
		if got := verdictOf(known + " " + odd + " -j DROP"); got != triMaybe {
			t.Errorf("%s: %d, want undecided", odd, got)
		}
	}
	for range 2000 {
		odd := fmt.Sprintf("-m %s --%s %d", word8(r), word8(r), r.IntN(9))
		if r.IntN(2) == 0 {
			odd = fmt.Sprintf("-m comment --%s %s", word8(r), word8(r))
		}
		if got := verdictOf(known + " " + odd + " -j DROP"); got != triMaybe {
			t.Fatalf("%s: %d, want undecided", odd, got)
		}
		target := strings.ToUpper(word8(r))
		if got := verdictOf(known + " -j " + target + " --to " + word8(r)); got != triMaybe {
			t.Fatalf("-j %s: %d, want undecided", target, got)
		}
	}
}

// What rules do to a packet on the way is not what it brought along.
func TestEffectsOnTheWay(t *testing.T) {
	mark := func(v uint32) *packet {
		p := samplePackets()[0]
		p.mark, p.ct = v, &tracer.CT{Mark: 0x20, Orig: p.Tuple, Reply: p.Tuple.Reverse()}
		return p
	}
	for _, tc := range []struct {
		name, rules string
		at          *packet // as it was dropped
		want        tri
	}{
		{"mark as it came", "-A FORWARD -m mark --mark 0x1 -j DROP", mark(1), triYes},
		{"mark restored from the connection", "-A FORWARD -j CONNMARK --restore-mark\n-A FORWARD -m mark --mark 0x20 -j DROP", mark(0x20), triYes},
		{"mark restored through a mask", "-A FORWARD -j CONNMARK --restore-mark --nfmask 0xf --ctmask 0xf\n-A FORWARD -m mark --mark 0x20/0xf0 -j DROP", mark(0x20), triYes},
		{"mark shifted", "-A FORWARD -j CONNMARK --restore-mark --left-shift-mark 2\n-A FORWARD -m mark --mark 0x80 -j DROP", mark(0x80), triMaybe},
		{"connection's mark saved", "-A FORWARD -j CONNMARK --save-mark\n-A FORWARD -j CONNMARK --restore-mark\n-A FORWARD -m mark --mark 0x20 -j DROP", mark(0x20), triMaybe},
		{"not tracked any more", "-A FORWARD -j CT --notrack\n-A FORWARD -m conntrack --ctstate NEW -j DROP", samplePackets()[0], triMaybe},
		{"a rule that does not match marks nothing", "-A FORWARD -p udp -j MARK --set-xmark 0x1/0xffffffff\n-A FORWARD -m mark --mark 0x1 -j DROP", samplePackets()[0], triNo},
		{"a rule that may match may mark", "-A FORWARD -m limit --limit 1/sec -j MARK --set-xmark 0x1/0xffffffff\n-A FORWARD -m mark --mark 0x1 -j DROP", samplePackets()[0], triMaybe},
		{"an unknown target before the drop", "-A FORWARD -j STRANGE\n-A FORWARD -p tcp -j DROP", samplePackets()[0], triMaybe},
		{"an unknown target that is not for it", "-A FORWARD -p udp -j STRANGE\n-A FORWARD -p tcp -j DROP", samplePackets()[0], triYes},
	} {
		rs := &ruleset{}
		parseSave(rs, "*filter\n:FORWARD ACCEPT [0:0]\n"+tc.rules+"\nCOMMIT\n", famIP)
		hits := dropHits(rs, tc.at, fakeEnv{}, famIP, hookForward, "")
		got := triNo
		if len(hits) > 0 {
			got = yesIf(hits[0].sure)
			if !hits[0].sure {
				got = triMaybe
			}
		}
		if got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

// A table that sleeps drops nothing, and an element with a limit may or may not
// match.
func TestAsleepAndDoubtful(t *testing.T) {
	tb := newTable(tableKey{famIP, "t"})
	tb.sets["s"] = &set{name: "s", keyLen: 4, loaded: true, elems: []element{{key: sampleIP}}}
	c := &chain{name: "c", base: &base{hook: hookForward, typ: "filter"}}
	tb.addChain(c)
	look := samples()[7]
	raw := append(append(loadDst.bytes(), look.bytes()...), dropIt.bytes()...)
	rs := &ruleset{tables: []*table{tb}}
	for _, tc := range []struct {
		name  string
		build func()
		want  tri
	}{
		{"awake", func() {}, triYes},
		{"asleep", func() { tb.dormant = true }, triNo},
		{"a doubtful element", func() { tb.dormant = false; tb.sets["s"].elems[0].doubtful = true }, triMaybe},
		{"a set of the future", func() { tb.sets["s"].elems[0].doubtful = false; tb.sets["s"].opaque = true }, triMaybe},
	} {
		tc.build()
		c.rules = []*rule{{chain: c, raw: raw, index: 1}}
		if got := fateOf(rs); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}
