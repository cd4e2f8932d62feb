package main

import (
	"fmt"
	"strings"
)

// The size of the rule sets: that many Services with two endpoints each, as
// kube-proxy writes them, and rules of a firewall up to benchRules.
const (
	benchServices  = 5000
	benchRules     = 50000
	benchEndpoints = 2
)

// ruleWriter writes a rule set for one tool that loads it.
type ruleWriter struct {
	what string
	tool []string
	text func() string
	// entries of conntrack, if any.
	entries int
}

func ruleWriters() []ruleWriter {
	return []ruleWriter{
		{what: "nftables, as kube-proxy writes it", tool: []string{"nft", "-f", "-"}, text: nftRules},
		{what: "iptables-nft", tool: []string{"iptables-nft-restore"}, text: iptablesRules},
		{what: "iptables-legacy", tool: []string{"iptables-legacy-restore"}, text: iptablesRules},
	}
}

func vipOf(i int) string { return fmt.Sprintf("10.96.%d.%d", i>>8, i&255) }

func backendOf(i, e int) string { return fmt.Sprintf("10.%d.%d.%d", 128+e, i>>8, i&255) }

// nftRules is a table of kube-proxy and a firewall that drops port 81 at last.
func nftRules() string {
	var w, elems strings.Builder
	rules := 3
	w.WriteString("table ip kube-proxy {\nchain mark-for-masquerade { meta mark set mark or 0x4000; }\n")
	for i := range benchServices {
		name := fmt.Sprintf("ABCDEFGH-shop/web-%d/tcp/http", i)
		var choice []string
		for e := range benchEndpoints {
			ep := fmt.Sprintf("endpoint-%s__%s/8080", name, backendOf(i, e))
			fmt.Fprintf(&w, "chain %s {\nip saddr %s jump mark-for-masquerade\nmeta l4proto tcp dnat to %s:8080\n}\n", ep, backendOf(i, e), backendOf(i, e))
			choice = append(choice, fmt.Sprintf("%d : goto %s", e, ep))
			rules += 2
		}
		fmt.Fprintf(&w, "chain %s {\nip daddr %s tcp dport 80 ip saddr != 10.128.0.0/9 jump mark-for-masquerade\nnumgen random mod %d vmap { %s }\n}\n",
			"service-"+name, vipOf(i), benchEndpoints, strings.Join(choice, ", "))
		rules += 2
		fmt.Fprintf(&elems, "%s . tcp . 80 : goto %s,\n", vipOf(i), "service-"+name)
	}
	fmt.Fprintf(&w, "map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = {\n%s} }\n", elems.String())
	w.WriteString("chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }\n")
	w.WriteString("chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }\n}\n")
	w.WriteString("table ip firewall {\nchain forward { type filter hook forward priority filter;\n")
	for i := rules; i < benchRules-1; i++ {
		fmt.Fprintf(&w, "ip saddr 198.18.%d.%d tcp dport 81 counter drop\n", i>>8&255, i&255)
	}
	w.WriteString("tcp dport 81 counter drop comment \"the last\"\n}\n}\n")
	return w.String()
}

// iptablesRules is the same in the iptables mode.
func iptablesRules() string {
	var chains, rules, filter strings.Builder
	n := 1
	for i := range benchServices {
		svc := fmt.Sprintf("KUBE-SVC-%08d", i)
		fmt.Fprintf(&chains, ":%s - [0:0]\n", svc)
		fmt.Fprintf(&rules, "-A KUBE-SERVICES -d %s/32 -p tcp -m comment --comment \"shop/web-%d:http cluster IP\" -m tcp --dport 80 -j %s\n", vipOf(i), i, svc)
		fmt.Fprintf(&rules, "-A %s ! -s 10.128.0.0/9 -d %s/32 -p tcp -m comment --comment \"shop/web-%d:http cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ\n", svc, vipOf(i), i)
		n += 2
		for e := range benchEndpoints {
			sep := fmt.Sprintf("KUBE-SEP-%08d-%d", i, e)
			fmt.Fprintf(&chains, ":%s - [0:0]\n", sep)
			chance := ""
			if left := benchEndpoints - e; left > 1 {
				chance = fmt.Sprintf(" -m statistic --mode random --probability %.11f", 1/float64(left))
			}
			fmt.Fprintf(&rules, "-A %s -m comment --comment \"shop/web-%d:http -> %s:8080\"%s -j %s\n", svc, i, backendOf(i, e), chance, sep)
			fmt.Fprintf(&rules, "-A %s -s %s/32 -m comment --comment \"shop/web-%d:http\" -j KUBE-MARK-MASQ\n", sep, backendOf(i, e), i)
			fmt.Fprintf(&rules, "-A %s -p tcp -m comment --comment \"shop/web-%d:http\" -m tcp -j DNAT --to-destination %s:8080\n", sep, i, backendOf(i, e))
			n += 3
		}
	}
	for i := n + 1; i < benchRules-1; i++ {
		fmt.Fprintf(&filter, "-A FORWARD -s 198.18.%d.%d/32 -p tcp -m tcp --dport 81 -j DROP\n", i>>8&255, i&255)
	}
	filter.WriteString("-A FORWARD -p tcp -m tcp --dport 81 -m comment --comment \"the last\" -j DROP\n")
	return "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n" + chains.String() +
		"-A PREROUTING -j KUBE-SERVICES\n-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n" + rules.String() + "COMMIT\n" +
		"*filter\n:FORWARD ACCEPT [0:0]\n" + filter.String() + "COMMIT\n"
}
