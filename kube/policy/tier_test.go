package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// tiered adds cluster-wide policies, each "kind name: spec in YAML flow style",
// and NetworkPolicies as cluster does.
func tiered(t testing.TB, policies ...string) *kube.Snapshot {
	t.Helper()
	text := base
	for _, p := range policies {
		head, spec, ok := strings.Cut(p, ": ")
		kind, name, isWide := strings.Cut(head, " ")
		api, meta := map[string]string{"anp": "v1alpha1\nkind: Admin", "banp": "v1alpha1\nkind: BaselineAdmin", "cnp": "v1alpha2\nkind: Cluster"}[kind], "name: "+name
		if !isWide {
			ns, n, _ := strings.Cut(head, "/")
			text += "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: " + ns + ", name: " + n + "}\nspec: " + spec + "\n"
			continue
		}
		if !ok || api == "" {
			t.Fatalf("bad policy %q", p)
		}
		text += "---\napiVersion: policy.networking.k8s.io/" + api + "NetworkPolicy\nmetadata: {" + meta + "}\nspec: " + spec + "\n"
	}
	s, _, err := kube.ReadDump(strings.NewReader(text), "test")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	// The rules of these tables are about web/front (10.0.2.20) calling shop/api
	// (10.0.1.10) on TCP 8080, and shop/api calling out.
	everyPod = "subject: {namespaces: {}}, "
	fromAll  = "from: [{namespaces: {}}]"
	fromWeb  = "from: [{namespaces: {matchLabels: {team: web}}}]"
	toAll    = "to: [{networks: [0.0.0.0/0, \"::/0\"]}]"
	allowWeb = "shop/allow: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: web}}}]}]}"
	denyAll  = "shop/deny: {podSelector: {}}"
)

func TestTiersIngress(t *testing.T) {
	tests := []struct {
		name     string
		policies []string
		want     string // "allow" or "deny", then the policy that says so
		unsure   bool
	}{
		{"nothing", nil, "allow", false},
		{"an admin denies", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + "}]}"}, "deny a", false},
		{"an admin denies others", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: shop}}}]}]}"}, "allow", false},
		{"another subject", []string{"anp a: {priority: 1, subject: {namespaces: {matchLabels: {team: web}}}, ingress: [{action: Deny, " + fromAll + "}]}"}, "allow", false},
		{"a subject of pods", []string{"anp a: {priority: 1, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: api}}}}, ingress: [{action: Deny, " + fromAll + "}]}"}, "deny a", false},
		{"an admin allows what a NetworkPolicy denies", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Allow, " + fromWeb + "}]}", denyAll}, "allow a", false},
		{"an admin denies what a NetworkPolicy allows", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + "}]}", allowWeb}, "deny a", false},
		{"the lower priority is asked first", []string{"anp a: {priority: 9, " + everyPod + "ingress: [{action: Deny, " + fromWeb + "}]}",
			"anp b: {priority: 8, " + everyPod + "ingress: [{action: Allow, " + fromWeb + "}]}"}, "allow b", false},
		{"rules are asked in order", []string{"anp a: {priority: 9, " + everyPod + "ingress: [{action: Allow, " + fromWeb + "}, {action: Deny, " + fromAll + "}]}"}, "allow a", false},
		{"a pass skips the tier", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Pass, " + fromWeb + "}]}",
			"anp b: {priority: 2, " + everyPod + "ingress: [{action: Deny, " + fromWeb + "}]}"}, "allow", false},
		{"a pass to a NetworkPolicy that denies", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Pass, " + fromWeb + "}]}", denyAll}, "deny", false},
		{"a pass to the baseline", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Pass, " + fromWeb + "}]}",
			"banp default: {" + everyPod + "ingress: [{action: Deny, " + fromAll + "}]}"}, "deny default", false},
		{"a NetworkPolicy hides the baseline", []string{allowWeb, "banp default: {" + everyPod + "ingress: [{action: Deny, " + fromAll + "}]}"}, "allow", false},
		{"the baseline allows", []string{"banp default: {" + everyPod + "ingress: [{action: Allow, " + fromWeb + "}, {action: Deny, " + fromAll + "}]}"}, "allow default", false},
		{"tiers of ClusterNetworkPolicies", []string{"cnp base: {tier: Baseline, priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromAll + "}]}",
			"cnp top: {tier: Admin, priority: 500, " + everyPod + "ingress: [{action: Accept, " + fromWeb + "}]}"}, "allow top", false},
		{"a baseline of priority", []string{"cnp b1: {tier: Baseline, priority: 2, " + everyPod + "ingress: [{action: Deny, " + fromAll + "}]}",
			"cnp b2: {tier: Baseline, priority: 1, " + everyPod + "ingress: [{action: Pass, " + fromWeb + "}]}"}, "allow", false},
		{"port", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + ", ports: [{portNumber: {protocol: TCP, port: 8080}}]}]}"}, "deny a", false},
		{"another port", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + ", ports: [{portNumber: {protocol: TCP, port: 80}}]}]}"}, "allow", false},
		{"another protocol", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + ", ports: [{portNumber: {protocol: UDP, port: 8080}}]}]}"}, "allow", false},
		{"port range", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + ", ports: [{portRange: {protocol: TCP, start: 8000, end: 9000}}]}]}"}, "deny a", false},
		{"named port", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + ", ports: [{namedPort: http}]}]}"}, "deny a", false},
		{"a named port of another number", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + ", ports: [{namedPort: dns}]}]}"}, "allow", false},
		{"protocols", []string{"cnp a: {tier: Admin, priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + ", protocols: [{udp: {}}, {tcp: {}}]}]}"}, "deny a", false},
		{"protocols without a match", []string{"cnp a: {tier: Admin, priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + ", protocols: [{udp: {}}, {tcp: {destinationPort: {number: 80}}}]}]}"}, "allow", false},
		{"the same priority, and not the same answer", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + "}]}",
			"anp b: {priority: 1, " + everyPod + "ingress: [{action: Allow, " + fromWeb + "}]}"}, "allow", true},
		{"the same priority and answer", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + "}]}",
			"anp b: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromAll + "}]}"}, "deny a", false},
		{"the same priority, and only one is about it", []string{"anp a: {priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + "}]}",
			"anp b: {priority: 1, " + everyPod + "ingress: [{action: Allow, from: [{namespaces: {matchLabels: {team: x}}}]}]}"}, "deny a", false},
		{"an unknown peer denies all", []string{"cnp a: {tier: Admin, priority: 1, " + everyPod + "ingress: [{action: Pass, from: [{accounts: {}}]}]}"}, "deny a", false},
		{"an unknown peer allows nothing", []string{"cnp a: {tier: Admin, priority: 1, " + everyPod + "ingress: [{action: Accept, from: [{accounts: {}}, {namespaces: {}}]}, {action: Deny, " + fromAll + "}]}"}, "deny a", false},
		{"an unknown protocol", []string{"cnp a: {tier: Admin, priority: 1, " + everyPod + "ingress: [{action: Deny, " + fromWeb + ", protocols: [{quic: {}}]}]}"}, "allow", true},
		{"an unknown action", []string{"cnp a: {tier: Admin, priority: 1, " + everyPod + "ingress: [{action: Log, " + fromWeb + "}]}"}, "allow", true},
		{"an unknown subject", []string{"cnp a: {tier: Admin, priority: 1, subject: {accounts: {}}, ingress: [{action: Deny, " + fromWeb + "}]}"}, "allow", true},
		{"an unknown subject, and a denial anyway", []string{"cnp a: {tier: Admin, priority: 1, subject: {accounts: {}}, ingress: [{action: Deny, " + fromWeb + "}]}", denyAll}, "deny", false},
		{"a spec of a newer version", []string{"cnp a: {tier: Admin, priority: high}"}, "allow", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, d := Decide(tiered(t, tt.policies...), Flow{
				Src: netip.MustParseAddr("10.0.2.20"), Dst: netip.MustParseAddr("10.0.1.10"), Port: 8080, Proto: tracer.ProtoTCP,
			})
			checkTier(t, d, tt.want, tt.unsure)
		})
	}
}

func checkTier(t *testing.T, d *tracer.PolicyDecision, want string, unsure bool) {
	t.Helper()
	got := "deny"
	if d.Allowed {
		got = "allow"
	}
	if r := d.Decider(); r != nil {
		got += " " + r.Policy.Name
		if r.Why == "" {
			t.Error("no reason")
		}
	}
	if got != want || (d.Uncertain != "") != unsure {
		t.Errorf("got %s (unsure: %q), want %s (%v); rules %+v", got, d.Uncertain, want, unsure, d.Rules)
	}
	if !d.Allowed && d.Decider() == nil && d.Nearest == nil {
		t.Error("a denial by nobody")
	}
	if d.Allowed && d.Nearest != nil {
		t.Error("a near miss of what is allowed")
	}
}

func TestTiersEgress(t *testing.T) {
	const labelled = "\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n3, labels: {role: edge}}\nstatus: {addresses: [{type: InternalIP, address: 172.30.0.3}]}\n"
	tests := []struct {
		name, dst string
		policies  []string
		want      string
		unsure    bool
	}{
		{"a network", "203.0.113.9", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Deny, " + toAll + "}]}"}, "deny a", false},
		{"a network holds pods too", "10.0.2.20", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Deny, " + toAll + "}]}"}, "deny a", false},
		{"another network", "203.0.113.9", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}]}]}"}, "allow", false},
		{"nodes", "172.30.0.3", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Deny, to: [{nodes: {matchLabels: {role: edge}}}]}]}"}, "deny a", false},
		{"other nodes", "172.30.0.2", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Deny, to: [{nodes: {matchLabels: {role: edge}}}]}]}"}, "allow", false},
		{"every node", "172.30.0.2", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Deny, to: [{nodes: {}}]}]}"}, "deny a", false},
		{"no node", "203.0.113.9", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Deny, to: [{nodes: {}}]}]}"}, "allow", false},
		{"a pod of the node's network is no pod", "172.30.0.1", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Deny, to: [{namespaces: {}}]}]}"}, "allow", false},
		{"a domain, then a denial", "203.0.113.9", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Allow, to: [{domainNames: [example.com]}]}, {action: Deny, " + toAll + "}]}"}, "deny a", true},
		{"a domain, and no denial", "203.0.113.9", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Allow, to: [{domainNames: [example.com]}]}]}"}, "allow", false},
		{"a domain or a network", "203.0.113.9", []string{"anp a: {priority: 1, " + everyPod + "egress: [{action: Allow, to: [{domainNames: [example.com]}, {networks: [203.0.113.0/24]}]}, {action: Deny, " + toAll + "}]}"}, "allow a", false},
		{"a domain on another port", "203.0.113.9", []string{"cnp a: {tier: Admin, priority: 1, " + everyPod + "egress: [{action: Accept, to: [{domainNames: [example.com]}], protocols: [{tcp: {destinationPort: {number: 443}}}]}, {action: Deny, " + toAll + "}]}"}, "deny a", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			policies := append([]string{}, tt.policies...)
			policies[0] += labelled
			d, _ := Decide(tiered(t, policies...), Flow{Src: netip.MustParseAddr("10.0.1.10"), Dst: netip.MustParseAddr(tt.dst), Port: 8080, Proto: tracer.ProtoTCP})
			checkTier(t, d, tt.want, tt.unsure)
		})
	}
}

// TestTierExplained: a denial says which rule, by what, and what it comes before.
func TestTierExplained(t *testing.T) {
	deny := "anp first: {priority: 5, " + everyPod + "ingress: [{action: Pass, from: [{namespaces: {matchLabels: {team: x}}}]}, {name: no-web, action: Deny, " + fromWeb + ", ports: [{portNumber: {protocol: TCP, port: 8080}}]}]}"
	for want, other := range map[string]string{
		"from every pod in namespaces with team=web on TCP 8080; rule 1 of AdminNetworkPolicy second (priority 6) would allow it, and comes after": "anp second: {priority: 6, " + everyPod + "ingress: [{action: Allow, " + fromAll + "}]}",
		"from every pod in namespaces with team=web on TCP 8080; NetworkPolicy shop/allow allows it, and is asked only after":                      allowWeb,
		"from every pod in namespaces with team=web on TCP 8080":                                                                                   denyAll,
	} {
		_, d := Decide(tiered(t, deny, other), Flow{Src: netip.MustParseAddr("10.0.2.20"), Dst: netip.MustParseAddr("10.0.1.10"), Port: 8080, Proto: tracer.ProtoTCP})
		r := d.Decider()
		if r == nil || r.Name != "no-web" || r.Rule != 1 || r.Priority == nil || *r.Priority != 5 || r.Why != want {
			t.Errorf("got %+v, want %q", r, want)
		}
	}
}

// TestTierExempt: a pod cannot be kept from itself.
func TestTierExempt(t *testing.T) {
	view := tiered(t, "anp a: {priority: 1, "+everyPod+"ingress: [{action: Deny, "+fromAll+"}]}")
	self := netip.MustParseAddr("10.0.1.10")
	if _, d := Decide(view, Flow{Src: self, Dst: self, Port: 8080, Proto: tracer.ProtoTCP}); !d.Allowed || d.Exempt != ExemptSelf {
		t.Errorf("%+v", d)
	}
	host, done := netip.MustParseAddr("172.30.0.1"), netip.MustParseAddr("10.0.1.99")
	if _, d := Decide(view, Flow{Src: self, Dst: host, Port: 8080, Proto: tracer.ProtoTCP}); d != nil {
		t.Errorf("a pod of the node's network: %+v", d)
	}
	if _, d := Decide(view, Flow{Src: self, Dst: done, Port: 8080, Proto: tracer.ProtoTCP}); d != nil {
		t.Errorf("a finished pod: %+v", d)
	}
}
