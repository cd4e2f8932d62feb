package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// morePods are others that selectors may be meant for.
const morePods = `
---
apiVersion: v1
kind: Pod
metadata: {name: checkout, namespace: web, labels: {app: checkout, tier2: gold, rel: v1}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.2.40}
---
apiVersion: v1
kind: Pod
metadata: {name: done, namespace: web, labels: {app: chekout}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {phase: Failed, podIP: 10.0.2.41}
`

// TestNearMissMistakes: web/checkout (namespace label team=web) calls shop/api on
// TCP 8080, whose policy is in namespace shop.
func TestNearMissMistakes(t *testing.T) {
	tests := []struct {
		name, from string
		miss, hint string
	}{
		{"a value", "[{namespaceSelector: {}, podSelector: {matchLabels: {app: chekout}}}]", missTypo, "is app=chekout meant to be app=checkout?"},
		{"two letters of a long value", "[{namespaceSelector: {}, podSelector: {matchLabels: {app: chekcoutt}}}]", missTypo, "app=checkout"},
		{"a key", "[{namespaceSelector: {}, podSelector: {matchLabels: {teir2: gold}}}]", missTypo, "is teir2=gold meant to be tier2=gold?"},
		{"one of several values", "[{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: In, values: [nobody, checkuot]}]}}]", missTypo, "meant to be app=checkout?"},
		{"a namespace's value", "[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: webb}}}]", missNamespace, ""},
		{"no such label of any namespace", "[{namespaceSelector: {matchLabels: {access: shop}}, podSelector: {matchLabels: {app: checkout}}}]", missNamespaceLabel, "label the namespace"},
		{"no namespaceSelector", "[{podSelector: {matchLabels: {app: checkout}}}]", missOwnNamespace, "no pod of namespace shop has that"},
		// Look-alikes.
		{"another app that there is", "[{namespaceSelector: {}, podSelector: {matchLabels: {app: front}}}]", missPeer, ""},
		{"another release", "[{namespaceSelector: {}, podSelector: {matchLabels: {rel: v2}}}]", missPeer, ""},
		{"another number", "[{namespaceSelector: {}, podSelector: {matchLabels: {app: checkout2}}}]", missPeer, ""},
		{"too far away", "[{namespaceSelector: {}, podSelector: {matchLabels: {app: checker}}}]", missPeer, ""},
		{"a namespace that others have", "[{namespaceSelector: {matchLabels: {tier: back}}, podSelector: {matchLabels: {app: checkout}}}]", missNamespaceLabel, "no namespace with such pods has it"},
		{"a namespace of other pods", "[{namespaceSelector: {matchLabels: {tier: back}}}]", missNamespace, ""},
		{"own pods that there are", "[{podSelector: {matchLabels: {app: db}}}]", missPeer, ""},
		{"what must not be there", "[{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [checkout, front, api, db, lost, host]}]}}]", missPeer, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			view := cluster(t, "shop/p: {podSelector: {matchLabels: {app: api}}, ingress: [{from: "+tt.from+"}]}"+morePods)
			_, d := Decide(view, Flow{Src: netip.MustParseAddr("10.0.2.40"), Dst: netip.MustParseAddr("10.0.1.10"), Port: 8080, Proto: tracer.ProtoTCP})
			if d.Allowed || d.Nearest == nil {
				t.Fatalf("%+v", d)
			}
			if d.Nearest.Miss != tt.miss || !strings.Contains(d.Nearest.Why, tt.hint) {
				t.Errorf("got %s: %s\nwant %s: %s", d.Nearest.Miss, d.Nearest.Why, tt.miss, tt.hint)
			}
		})
	}
}

// TestNearMissHealthy: what is allowed misses nothing.
func TestNearMissHealthy(t *testing.T) {
	view := cluster(t, "shop/p: {podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: checkout}}}]}]}"+morePods)
	_, d := Decide(view, Flow{Src: netip.MustParseAddr("10.0.2.40"), Dst: netip.MustParseAddr("10.0.1.10"), Port: 8080, Proto: tracer.ProtoTCP})
	if !d.Allowed || d.Nearest != nil {
		t.Errorf("%+v", d)
	}
}

// TestBeforeDNAT: a Service's address that no selector can match.
func TestBeforeDNAT(t *testing.T) {
	allowed := "web/out: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {app: api}}}], ports: [{port: 8080}]}]}"
	api, db := netip.MustParseAddrPort("10.0.1.10:8080"), netip.MustParseAddrPort("10.0.1.11:8080")
	for name, tt := range map[string]struct {
		backends []netip.AddrPort
		before   bool
	}{
		"every backend is allowed": {[]netip.AddrPort{api}, true},
		"one is not":               {[]netip.AddrPort{api, db}, false},
		"no backend":               {nil, false},
		"on another port":          {[]netip.AddrPort{netip.AddrPortFrom(api.Addr(), 9090)}, false},
	} {
		f := Flow{Src: netip.MustParseAddr("10.0.2.20"), Dst: netip.MustParseAddr("10.96.0.20"), Port: 80, Proto: tracer.ProtoTCP, Backends: tt.backends}
		d, _ := Decide(cluster(t, allowed), f)
		if d.Allowed || (d.Nearest.Miss == missBeforeDNAT) != tt.before {
			t.Errorf("%s: %+v", name, d.Nearest)
		}
	}
}

// TestUnevaluated: policies of CNIs' kinds are named by direction and pod, and
// change nothing.
func TestUnevaluated(t *testing.T) {
	const calico = base + `
---
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkPolicy
metadata: {name: default.lock}
spec: {tier: default, selector: "app in {'api', 'db'} && !has(free)", types: [Ingress], ingress: [{action: Deny}]}
---
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: {name: default.accounts, namespace: shop}
spec: {serviceAccountSelector: "role == 'x'", selector: "all()", types: [Egress]}
---
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: {name: default.other, namespace: web}
spec: {selector: "app == 'api'", types: [Ingress, Egress]}
`
	view, _, err := kube.ReadDump(strings.NewReader(calico), "test")
	if err != nil {
		t.Fatal(err)
	}
	api, front := netip.MustParseAddr("10.0.1.10"), netip.MustParseAddr("10.0.2.20")
	_, in := Decide(view, Flow{Src: front, Dst: api, Port: 8080, Proto: tracer.ProtoTCP})
	if !in.Allowed || len(in.Unevaluated) != 1 || in.Unevaluated[0].Name != "default.lock" || !in.Unevaluated[0].Sure || len(in.Selected) != 0 {
		t.Errorf("ingress: %+v", in)
	}
	out, in := Decide(view, Flow{Src: api, Dst: front, Port: 8080, Proto: tracer.ProtoTCP})
	if !out.Allowed || len(out.Unevaluated) != 1 || out.Unevaluated[0].Name != "default.accounts" || out.Unevaluated[0].Sure {
		t.Errorf("egress: %+v", out)
	}
	if len(in.Unevaluated) != 0 {
		t.Errorf("ingress of another pod: %+v", in)
	}
}
