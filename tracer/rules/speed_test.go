package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// speedRules is how many rules one chain of a large firewall has.
const speedRules = 20_000

// firewallRules are "ip saddr 198.18.x.y tcp dport 81 counter drop", one for each
// address, as the kernel sends their expressions.
func firewallRules(n int) [][]byte {
	cmp := func(b ...byte) sample {
		return sample{name: "cmp", attrs: map[uint16][]byte{unix.NFTA_CMP_SREG: reg1, unix.NFTA_CMP_OP: be32(unix.NFT_CMP_EQ), unix.NFTA_CMP_DATA: data(b...)}}
	}
	load := func(base, off, n uint32) sample {
		return sample{name: "payload", attrs: map[uint16][]byte{unix.NFTA_PAYLOAD_DREG: reg1, unix.NFTA_PAYLOAD_BASE: be32(base), unix.NFTA_PAYLOAD_OFFSET: be32(off), unix.NFTA_PAYLOAD_LEN: be32(n)}}
	}
	proto := sample{name: "meta", attrs: map[uint16][]byte{unix.NFTA_META_KEY: be32(unix.NFT_META_L4PROTO), unix.NFTA_META_DREG: reg1}}
	counts := sample{name: "counter", attrs: map[uint16][]byte{unix.NFTA_COUNTER_BYTES: make([]byte, 8), unix.NFTA_COUNTER_PACKETS: make([]byte, 8)}}
	var out [][]byte
	for i := range n {
		var raw []byte
		for _, x := range []sample{load(1, 12, 4), cmp(198, 18, byte(i>>8), byte(i)), proto, cmp(6), load(2, 2, 2), cmp(0, 81), counts, dropIt} {
			raw = append(raw, x.bytes()...)
		}
		out = append(out, raw)
	}
	return out
}

// ruleMessages are NFT_MSG_NEWRULE of such rules, one after the other.
func ruleMessages(raws [][]byte) (out [][]byte) {
	for i, raw := range raws {
		out = append(out, slices.Concat([]byte{byte(famIP), 0, 0, 0}, nest(attr(unix.NFTA_RULE_TABLE, []byte("t\x00")), attr(unix.NFTA_RULE_CHAIN, []byte("forward\x00")),
			attr(unix.NFTA_RULE_HANDLE, append(be32(0), be32(uint32(i+1))...)), attr(unix.NFTA_RULE_EXPRESSIONS, raw))))
	}
	return out
}

// savedRules are those that kube-proxy and a firewall write, as iptables-save
// prints them.
func savedRules(services, n int) string {
	var w strings.Builder
	w.WriteString("*filter\n:FORWARD ACCEPT [0:0]\n")
	for i := range n {
		fmt.Fprintf(&w, "[0:0] -A FORWARD -s 198.18.%d.%d/32 -p tcp -m tcp --dport 81 -j DROP\n", i>>8&255, i&255)
	}
	w.WriteString("COMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n[0:0] -A PREROUTING -j KUBE-SERVICES\n")
	for i := range services {
		fmt.Fprintf(&w, ":KUBE-SVC-%08d - [0:0]\n", i)
	}
	for i := range services {
		fmt.Fprintf(&w, "[0:0] -A KUBE-SERVICES -d 10.97.%d.%d/32 -p tcp -m comment --comment \"shop/web-%d:http cluster IP\" -m tcp --dport 80 -j KUBE-SVC-%08d\n", i>>8, i&255, i, i)
	}
	w.WriteString("COMMIT\n")
	return w.String()
}

func evaluateHook(b *testing.B, rs *ruleset, hook uint32) {
	w := &walk{m: newMachine(samplePackets()[0], fakeEnv{})}
	for _, c := range rs.hookChains(famIP, hook, nil) {
		w.run(c)
	}
	if len(w.hits) > 0 {
		b.Fatalf("%+v", w.hits)
	}
}

// BenchmarkManyRules is what a chain of many rules costs that do not match.
func BenchmarkManyRules(b *testing.B) {
	messages := ruleMessages(firewallRules(speedRules))
	read := func() *ruleset {
		tb := newTable(tableKey{famIP, "t"})
		tb.addChain(&chain{name: "forward", base: &base{hook: hookForward, typ: "filter"}})
		rs := &ruleset{tables: []*table{tb}, byKey: map[tableKey]*table{tb.tableKey: tb}}
		for _, m := range messages {
			if err := rs.addRule(m, func(*chain) bool { return true }); err != nil {
				b.Fatal(err)
			}
		}
		return rs
	}
	text := savedRules(5000, speedRules)
	parse := func() *ruleset {
		rs := &ruleset{}
		parseSave(rs, text, famIP)
		return rs
	}
	for _, tc := range []struct {
		name string
		read func() *ruleset
	}{{"nftables", read}, {"iptables-save", parse}} {
		b.Run(tc.name+", read", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tc.read()
			}
		})
		b.Run(tc.name+", evaluated first", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				rs := tc.read()
				b.StartTimer()
				evaluateHook(b, rs, hookForward)
				evaluateHook(b, rs, hookPrerouting)
			}
		})
		b.Run(tc.name+", again", func(b *testing.B) {
			rs := tc.read()
			evaluateHook(b, rs, hookForward)
			evaluateHook(b, rs, hookPrerouting)
			b.ReportAllocs()
			for b.Loop() {
				evaluateHook(b, rs, hookForward)
				evaluateHook(b, rs, hookPrerouting)
			}
		})
	}
}
