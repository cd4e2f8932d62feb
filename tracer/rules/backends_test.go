package rules

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// Rules of nftables and of iptables-legacy in one namespace, as where kube-proxy uses
// the one and Docker the other: the rule that dropped is named, and that of the other
// backend is not, whether the kernel tells the backend (6.7 and later) or not.
func TestBothBackends(t *testing.T) {
	const (
		legacy = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n%\nCOMMIT\n"
		first  = "table inet fw { chain forward_in { type filter hook forward priority -10; policy accept; %; }; }\n"
		last   = "table inet fw { chain forward_in { type filter hook forward priority 10; policy accept; %; }; }\n"
		other  = "-A FORWARD -p udp -m udp --dport 7000 -j DROP"
		same   = "-A FORWARD -p udp -m udp --dport 6000 -j DROP"
	)
	for _, tc := range []struct {
		name, legacy, nft string
		told              string // by the kernel
		engine, how       string // of the rule to be named
	}{
		{"legacy drops, nftables has a rule for another port", same, strings.Replace(last, "%", "udp dport 7000 counter drop", 1), "xtables", "iptables-legacy", "counter"},
		{"legacy drops before a like rule of nftables", same, strings.Replace(last, "%", "udp dport 6000 counter drop", 1), "xtables", "iptables-legacy", "counter"},
		{"legacy drops before one of nftables that does not count", same, strings.Replace(last, "%", "udp dport 6000 drop", 1), "xtables", "iptables-legacy", "counter"},
		{"nftables drops, legacy has a rule for another port", other, strings.Replace(first, "%", "udp dport 6000 counter drop", 1), "nftables", "nftables", "counter"},
		{"nftables drops before a like rule of legacy", same, strings.Replace(first, "%", "udp dport 6000 counter drop", 1), "nftables", "nftables", "counter"},
		{"nftables' policy drops, legacy has a like rule", same, strings.Replace(strings.Replace(first, "policy accept", "policy drop", 1), "%", "udp dport 7000 accept", 1), "nftables", "nftables", "computed"},
		{"a limit of legacy's is exceeded, nftables has a rule for another port", "-A FORWARD -p udp -m hashlimit --hashlimit-above 1/hour --hashlimit-burst 1 --hashlimit-name pp -j DROP",
			strings.Replace(last, "%", "udp dport 7000 counter drop", 1), "xtables", "iptables-legacy", "counter"},
		{"a client on a list of legacy's, nftables has a rule for another port", "-A FORWARD -p udp -m recent --update --name pp --rsource -j DROP\n-A FORWARD -m recent --set --name pp --rsource",
			strings.Replace(last, "%", "udp dport 7000 counter drop", 1), "xtables", "iptables-legacy", "counter"},
		{"one of two that chance decides", "-A FORWARD -p udp -m statistic --mode random --probability 0.999999 -j DROP\n-A FORWARD -p udp -m limit --limit 9999/s -j DROP",
			strings.Replace(last, "%", "udp dport 7000 counter drop", 1), "xtables", "iptables-legacy", "counter"},
	} {
		for _, told := range []string{tc.told, ""} {
			t.Run(tc.name+", told "+told, func(t *testing.T) {
				l := newLab(t)
				l.warm(6000)
				l.shell("iptables-legacy", strings.Replace(legacy, "%", tc.legacy, 1))
				l.tool(tc.nft, "nft", "-f", "-")
				if strings.Contains(tc.legacy, "hour") || strings.Contains(tc.legacy, "recent") {
					l.send(6000) // the first one passes
				}
				ctx, cancel := testContext()
				defer cancel()
				must(t, l.r.Baseline(ctx))
				if l.send(6000) {
					t.Fatal("the packet was not dropped")
				}
				q := l.query(6000)
				q.Drops[0].Conn = &tracer.CT{Orig: l.flow(6000), Reply: l.flow(6000).Reverse(), Info: 2}
				q.Drops[0].Drop.Engine, q.Drops[0].Drop.Location = told, "nf_hook_slow"
				res := l.collect(q)
				if len(res.Rules) != 1 || res.Rules[0].Engine != tc.engine || res.Rules[0].How != tc.how {
					t.Errorf("rules %+v, want one of %s (%s)", res.Rules, tc.engine, tc.how)
				}
			})
		}
	}
}
