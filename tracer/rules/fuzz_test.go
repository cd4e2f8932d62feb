package rules

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

func attr(t uint16, b []byte) netlink.Attribute { return netlink.Attribute{Type: t, Data: b} }

func nest(as ...netlink.Attribute) []byte {
	b, err := netlink.MarshalAttributes(as)
	if err != nil {
		panic(err)
	}
	return b
}

// seedRule is one rule with two expressions, as the kernel sends it.
func seedRule(name string, data []byte) []byte {
	one := nest(attr(unix.NFTA_EXPR_NAME, append([]byte(name), 0)), attr(unix.NFTA_EXPR_DATA, data))
	return nest(attr(unix.NFTA_RULE_HANDLE, make([]byte, 8)), attr(unix.NFTA_RULE_USERDATA, []byte{0, 3, 'h', 'i', 0}),
		attr(unix.NFTA_RULE_EXPRESSIONS, nest(attr(unix.NFTA_LIST_ELEM, one))))
}

// Whatever the kernel sends, a rule is decoded, evaluated and rendered without
// a panic, and an error is said.
func FuzzRule(f *testing.F) {
	reg := []byte{0, 0, 0, 8}
	f.Add(seedRule("payload", nest(attr(1, reg), attr(2, []byte{0, 0, 0, 1}), attr(3, []byte{0, 0, 0, 12}), attr(4, []byte{0, 0, 0, 4}))))
	f.Add(seedRule("cmp", nest(attr(1, reg), attr(2, []byte{0, 0, 0, 0}), attr(3, nest(attr(1, []byte{10, 0, 0, 1}))))))
	f.Add(seedRule("bitwise", nest(attr(1, reg), attr(2, reg), attr(3, []byte{0, 0, 0, 4}), attr(4, nest(attr(1, []byte{1, 2, 3, 4}))), attr(5, nest(attr(1, []byte{1, 2, 3, 4}))))))
	f.Add(seedRule("lookup", nest(attr(1, []byte("s\x00")), attr(2, reg))))
	f.Add(seedRule("nat", nest(attr(1, []byte{0, 0, 0, 1}), attr(3, reg), attr(5, reg))))
	for _, m := range []string{"conntrack", "multiport", "tcp", "udp", "mark", "addrtype", "comment", "set"} {
		f.Add(seedRule("match", nest(attr(1, append([]byte(m), 0)), attr(2, []byte{0, 0, 0, 1}), attr(3, make([]byte, 160)))))
	}
	for _, m := range []string{"DNAT", "MARK", "REJECT", "NFQUEUE"} {
		f.Add(seedRule("target", nest(attr(1, append([]byte(m), 0)), attr(2, []byte{0, 0, 0, 2}), attr(3, make([]byte, 48)))))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeRule(append([]byte{byte(famINet), 0, 0, 0}, b...))
		if err != nil {
			return
		}
		r := &rule{handle: m.handle, comment: udata(m.custom, udataRuleComment), raw: m.expressions}
		tb := newTable(tableKey{famINet, "t"})
		tb.sets["s"] = &set{name: "s", keyLen: 4, elems: []element{{key: []byte{1, 2, 3, 4}}}}
		c := &chain{name: "c", base: &base{hook: hookForward}, rules: []*rule{r}}
		tb.addChain(c)
		r.chain = c
		for _, p := range samplePackets() {
			w := &walk{m: newMachine(p, fakeEnv{})}
			w.run(c)
		}
		_ = render(r)
		_, _ = r.packets()
	})
}

func FuzzElements(f *testing.F) {
	one := nest(attr(unix.NFTA_SET_ELEM_KEY, nest(attr(1, []byte{1, 2, 3, 4}))), attr(unix.NFTA_SET_ELEM_DATA, nest(attr(2, nest(attr(1, []byte{0, 0, 0, 0}))))))
	f.Add(nest(attr(unix.NFTA_SET_ELEM_LIST_ELEMENTS, nest(attr(unix.NFTA_LIST_ELEM, one)))), []byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b, key []byte) {
		a, err := parseAttrs(b)
		if err != nil {
			return
		}
		es, err := decodeElements(&a)
		if err != nil {
			return
		}
		k := unknownBytes(len(key))
		k.put(0, key...)
		for _, s := range []*set{{keyLen: len(key)}, {keyLen: len(key), interval: true}, {keyLen: len(key), interval: true, fields: []int{2, 2}}} {
			found, sure := s.find(k, es)
			if sure == triYes && len(found) != 1 {
				t.Errorf("%d elements are surely the one", len(found))
			}
		}
	})
}

// Whatever iptables-save prints is read, evaluated and rendered without a panic;
// and what is sure of a packet of which little is known stays so when more is.
// A rule that is passed over unread would not have matched. The short way to split a line says the same as the long one.
func FuzzSave(f *testing.F) {
	f.Add("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m mark --mark 0x1/0x1 -j DROP\n-A FORWARD -m conntrack ! --ctstate NEW -j DROP\n-A FORWARD -p tcp -j DROP\nCOMMIT\n")
	f.Add("*filter\n:FORWARD DROP [0:0]\n:A - [0:0]\n-A FORWARD -g A\n-A A -m state --state INVALID -j RETURN\n-A A -m mark ! --mark 0x2 -j A\n-A A -j REJECT\nCOMMIT\n")
	f.Add("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m comment --comment \"\x1b[2J\\\" -j DROP\" -m statistic --mode random --probability 0.5 -j DROP\nCOMMIT\n")
	f.Add("*filter\n:FORWARD DROP [1:2]\n:X - [0:0]\n[3:4] -A FORWARD ! -s 10.0.0.0/8 -p tcp -m tcp --dport 80:90 -m comment --comment \"a \\\"b\" -j X\n-A X -j DROP\nCOMMIT\n")
	f.Add("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination [fd00::1]:80\n")
	f.Add("*filter\n:X - [0:0]\n-A X -s 10.9.0.0/16 -j DROP\n-A X -d 10.96.0.20/32 -j DROP\n-A X\" -s 1.2.3.4\" -j DROP\n")
	f.Add("*filter\n:A B - [0:0]\n-A \"A B\" -m comment --comment \"\" --a\"b \"c\"d  -j DROP \n")
	f.Fuzz(func(t *testing.T, s string) {
		for line := range strings.Lines(s) {
			if got, ok := plainWords(line); ok && !slices.Equal(got, quotedWords(line)) {
				t.Errorf("%q: %+v, want %+v", line, got, quotedWords(line))
			}
		}
		rs := &ruleset{}
		parseSave(rs, s, famIP)
		staysSure(t, rs)
		for _, tb := range rs.tables {
			for _, c := range tb.order {
				for _, r := range c.rules {
					for _, p := range samplePackets() {
						other := otherAddress(r.text, p)
						r.expressions()
						if match, _ := newMachine(p, fakeEnv{}).rule(r); other && match != triNo {
							t.Errorf("%q: %d, and passed over", r.text, match)
						}
					}
					_ = render(r)
				}
				if c.base != nil {
					for _, p := range samplePackets() {
						w := &walk{m: newMachine(p, fakeEnv{})}
						w.run(c)
					}
				}
			}
		}
	})
}

// staysSure compares a packet whose mark and connection state are not known with
// the same packet when they are.
func staysSure(t *testing.T, rs *ruleset) {
	t.Helper()
	known := samplePackets()[0]
	vague := *known
	vague.state, vague.markKnown = 0, false
	first := dropHits(rs, &vague, fakeEnv{}, famIP, hookForward, "xtables")
	if len(first) == 0 || !first[0].sure {
		return
	}
	then := dropHits(rs, known, fakeEnv{}, famIP, hookForward, "xtables")
	if len(then) == 0 || !then[0].sure || then[0].rule != first[0].rule {
		t.Errorf("sure of %+v, and then of %+v", first[0], then)
	}
}

func FuzzSetMembers(f *testing.F) {
	f.Add(nest(attr(nl.IPSET_ATTR_DATA|unix.NLA_F_NESTED, nest(attr(nl.IPSET_ATTR_NAME, []byte("ips\x00"))))))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, err := decodeMembers(b)
		if err == nil && slices.Contains(names, "") {
			t.Error("a set without a name")
		}
	})
}

// Whatever IPVS answers is decoded without a panic, into what can be printed.
func FuzzIPVS(f *testing.F) {
	f.Add(ipvsService(unix.AF_INET, unix.IPPROTO_TCP, "10.96.0.20:80", 0, "rr", 0))
	f.Add(ipvsDestination(unix.AF_INET6, "[fd00::9]:8080", 1, 0, 3, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		as, err := parseAttrs(b)
		if err != nil {
			return
		}
		if v, err := decodeVirtual(&as); err == nil && v.mark == 0 && !v.addr.IsValid() {
			t.Errorf("%+v", v)
		}
		if d, err := decodeDestination(&as, unix.AF_INET); err == nil && (!d.Addr.IsValid() || d.Method == "") {
			t.Errorf("%+v", d)
		}
	})
}

type fakeEnv struct{}

func (fakeEnv) addrType(a netip.Addr) (uint8, bool) { return unix.RTN_LOCAL, a.IsLoopback() }

func (fakeEnv) ipset(string, uint16) (*ipset, error) { return nil, errNoSet }

func (fakeEnv) inIPSet(*ipset, setElement) (bool, error) { return false, errNoSet }

func samplePackets() []*packet {
	t4 := tracer.Tuple{Src: netip.MustParseAddrPort("10.244.1.7:40000"), Dst: netip.MustParseAddrPort("10.96.0.20:80"), Proto: tracer.ProtoTCP}
	t6 := tracer.Tuple{Src: netip.MustParseAddrPort("[fd00::7]:40000"), Dst: netip.MustParseAddrPort("[fd01::20]:53"), Proto: tracer.ProtoUDP}
	return []*packet{{Tuple: t4, markKnown: true, state: stNew, iif: device{index: 2, name: "eth0"}}, {Tuple: t6, reply: triMaybe}}
}

func TestSaveEvaluation(t *testing.T) {
	rs := &ruleset{}
	parseSave(rs, `*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:A - [0:0]
[0:0] -A FORWARD -s 10.0.0.0/8 ! -d 10.96.0.0/16 -j DROP
[0:0] -A FORWARD -p tcp -m multiport --dports 22,443 -j DROP
[0:0] -A FORWARD -i cali+ -j DROP
[0:0] -A FORWARD -m set --match-set X src -p udp -j DROP
[0:0] -A FORWARD -m mark --mark 0x1/0x1 -j DROP
[0:0] -A FORWARD -p tcp -m tcp --dport 80 -m comment --comment "say \"no\"" -g A
[0:0] -A FORWARD -j DROP
[7:8] -A A -m conntrack --ctstate NEW -j REJECT --reject-with tcp-reset
COMMIT
`, famIP)
	p := samplePackets()[0]
	hits := dropHits(rs, p, fakeEnv{}, famIP, hookForward, "xtables")
	if len(hits) != 1 || !hits[0].sure || hits[0].rule.chain.name != "A" || verdictName(hits[0].act) != "reject" {
		t.Fatalf("%+v", hits)
	}
	if n, ok := hits[0].rule.packets(); !ok || n != 7 {
		t.Errorf("counter %d %v", n, ok)
	}
	if c := rs.tables[0].chain("FORWARD").rules[5]; len(c.expressions()) == 0 || c.comment != `say "no"` {
		t.Errorf("comment %q", c.comment)
	}
	p.state = 0 // nothing is known of the connection: the rule is undecided
	hits = dropHits(rs, p, fakeEnv{}, famIP, hookForward, "xtables")
	if len(hits) != 2 || hits[0].sure || hits[1].rule != nil {
		t.Fatalf("%+v", hits)
	}
}
