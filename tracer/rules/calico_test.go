package rules

import (
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// felixSave is what Felix 3.28 wrote for one pod with policies of every kind,
// without what says nothing here: groups of policies that have the same
// selector, a policy that allows nobody, one that denies.
const felixSave = `*raw
:PREROUTING ACCEPT [0:0]
:cali-PREROUTING - [0:0]
[0:0] -A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING
[0:0] -A cali-PREROUTING -m comment --comment "cali:fSSbGND7dgyemWU7" -m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:cali-FORWARD - [0:0]
:cali-fh-eth0 - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-fw-calic248e20bd04 - [0:0]
:cali-gi-mJPRcHxO57ln9FPyjZiy - [0:0]
:cali-gi-vlObD3KaPRJV6NGrNBqH - [0:0]
:cali-pi-_Mzc_Y1uadpoxmL9wVTc - [0:0]
:cali-pi-_oe8hTe6Hdzm9aqdw5Ti - [0:0]
:cali-pi-_ppKgKtHNVnz1hsFIOnx - [0:0]
:cali-pi-default.guard - [0:0]
:cali-pi-plainname - [0:0]
:cali-pi-_unnamed - [0:0]
:cali-po-_oe8hTe6Hdzm9aqdw5Ti - [0:0]
:cali-pri-kns.kube-system - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-tw-calic248e20bd04 - [0:0]
[0:0] -A cali-from-wl-dispatch -i calic248e20bd04 -m comment --comment "cali:hgYQpl-HXhKk4yag" -g cali-fw-calic248e20bd04
[0:0] -A cali-from-wl-dispatch -m comment --comment "cali:byjElgoQK9FEExTg" -m comment --comment "Unknown interface" -j DROP
[0:0] -A cali-fw-calic248e20bd04 -m comment --comment "cali:fsb8V_Mx0klffjQo" -m conntrack --ctstate INVALID -j DROP
[0:0] -A cali-fw-calic248e20bd04 -p udp -m comment --comment "cali:TLXnAss95srsxKcj" -m comment --comment "Drop VXLAN encapped packets originating in workloads" -m multiport --dports 4789 -j DROP
[0:0] -A cali-fw-calic248e20bd04 -m comment --comment "cali:2LhMhpPVoQVd7WfD" -m mark --mark 0x0/0x20000 -j cali-po-_oe8hTe6Hdzm9aqdw5Ti
[0:0] -A cali-fw-calic248e20bd04 -m comment --comment "cali:I0smia7jEohmubcu" -m comment --comment "Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
[0:0] -A cali-gi-mJPRcHxO57ln9FPyjZiy -m comment --comment "cali:ZpVrlr59wmu9O67J" -j cali-pi-_Mzc_Y1uadpoxmL9wVTc
[0:0] -A cali-gi-mJPRcHxO57ln9FPyjZiy -m comment --comment "cali:NK7NcuqDqldcO4Pm" -m mark --mark 0x0/0x30000 -j cali-pi-_oe8hTe6Hdzm9aqdw5Ti
[0:0] -A cali-gi-vlObD3KaPRJV6NGrNBqH -m comment --comment "cali:vQ2B7icY1VVJsQZF" -j cali-pi-default.guard
[0:0] -A cali-gi-vlObD3KaPRJV6NGrNBqH -m comment --comment "cali:S96p1xh3kMNrfHQm" -m mark --mark 0x0/0x30000 -j cali-pi-plainname
[0:0] -A cali-pi-_Mzc_Y1uadpoxmL9wVTc -m comment --comment "cali:oT02mL0QYc7ErB6q" -m comment --comment "Policy kube-system/knp.default.a-rather-long-name-of-a-policy ingress" -m set --match-set cali40s:6N3HVAzxz3-C6kXlqNE8JN2 src -j MARK --set-xmark 0x10000/0x10000
[0:0] -A cali-pi-_oe8hTe6Hdzm9aqdw5Ti -m comment --comment "cali:GD5Trjb3URBabCHb" -m comment --comment "Policy kube-system/knp.default.empty ingress"
[0:0] -A cali-pi-_ppKgKtHNVnz1hsFIOnx -m comment --comment "cali:xCBKICNN6RcAuLwq" -m comment --comment "Policy kube-system/default.zone ingress"
[0:0] -A cali-pi-default.guard -p tcp -m comment --comment "cali:VCaqYS3VJ1IfqOh1" -m comment --comment "Policy default.guard ingress" -m multiport --dports 9998 -j MARK --set-xmark 0x10000/0x10000
[0:0] -A cali-pi-default.guard -p tcp -m comment --comment "cali:WCaqYS3VJ1IfqOh2" -m multiport --dports 9999 -j DROP
[0:0] -A cali-pi-plainname -m comment --comment "cali:i9NVGl5sGcwNYYc4" -m comment --comment "Policy plainname ingress" -m set --match-set cali40s:p7ahwpaUREmWNPW1HqJEw08 src -j MARK --set-xmark 0x10000/0x10000
[0:0] -A cali-pi-_unnamed -p tcp -m comment --comment "cali:WCaqYS3VJ1IfqOh3" -m multiport --dports 9999 -j DROP
[0:0] -A cali-po-_oe8hTe6Hdzm9aqdw5Ti -m comment --comment "cali:vDobxUPf3vbvybFx" -m comment --comment "Policy kube-system/knp.default.empty egress"
[0:0] -A cali-pri-kns.kube-system -m comment --comment "cali:J1TyxtHWd0qaBGK-" -m comment --comment "Profile kns.kube-system ingress" -j MARK --set-xmark 0x10000/0x10000
[0:0] -A cali-to-wl-dispatch -o calic248e20bd04 -m comment --comment "cali:0YJ8cplFqfCnmhFK" -g cali-tw-calic248e20bd04
[0:0] -A cali-to-wl-dispatch -m comment --comment "cali:72qIovtRz1LvI1IA" -m comment --comment "Unknown interface" -j DROP
[0:0] -A cali-tw-calic248e20bd04 -m comment --comment "cali:1p6tU4c9-g6sReMz" -m mark --mark 0x0/0x20000 -j cali-gi-vlObD3KaPRJV6NGrNBqH
[0:0] -A cali-tw-calic248e20bd04 -m comment --comment "cali:mPVKfNm4Ya7kIPj6" -m comment --comment "Return if policy accepted" -m mark --mark 0x10000/0x10000 -j RETURN
[0:0] -A cali-tw-calic248e20bd04 -m comment --comment "cali:I0DS5h5nOw5UbUX7" -m mark --mark 0x0/0x20000 -j cali-gi-mJPRcHxO57ln9FPyjZiy
[0:0] -A cali-tw-calic248e20bd04 -m comment --comment "cali:9mFqvOzS-eLwPJ_d" -m mark --mark 0x0/0x20000 -j cali-pi-_ppKgKtHNVnz1hsFIOnx
[0:0] -A cali-tw-calic248e20bd04 -m comment --comment "cali:NW-YorUbXvobeCPl" -m comment --comment "Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
[0:0] -A cali-tw-calic248e20bd04 -m comment --comment "cali:SpqX1OxUHNNRopoH" -j cali-pri-kns.kube-system
[0:0] -A cali-tw-calic248e20bd04 -m comment --comment "cali:aI5KOxceoC9zoTEU" -m comment --comment "Drop if no profiles matched" -j DROP
[0:0] -A cali-fh-eth0 -m comment --comment "cali:NW-YorUbXvobeCPm" -m mark --mark 0x0/0x20000 -j cali-pi-default.guard
[0:0] -A cali-fh-eth0 -m comment --comment "cali:NW-YorUbXvobeCPn" -m comment --comment "Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP
COMMIT
`

// dropping is the rule of a chain that drops and whose text has these words.
func dropping(t *testing.T, c *chain, words string) *rule {
	t.Helper()
	i := slices.IndexFunc(c.rules, func(r *rule) bool {
		return strings.Contains(r.text, "-j DROP") && strings.Contains(r.text, words)
	})
	if i < 0 {
		t.Fatalf("no rule of %s drops with %q", c.name, words)
	}
	return c.rules[i]
}

func TestFelix(t *testing.T) {
	rs := &ruleset{}
	parseSave(rs, felixSave, famIP)
	knp := func(name string) tracer.Ref {
		return tracer.Ref{Kind: tracer.KindNetworkPolicy, Namespace: "kube-system", Name: name}
	}
	guard, plain := tracer.Ref{Kind: tracer.KindGlobalPolicy, Name: "default.guard"}, tracer.Ref{Kind: tracer.KindGlobalPolicy, Name: "plainname"}
	zone := tracer.Ref{Kind: tracer.KindCalicoPolicy, Namespace: "kube-system", Name: "default.zone"}
	const to, from = "cali-tw-calic248e20bd04", "cali-fw-calic248e20bd04"
	for _, tt := range []struct {
		name, table string
		path        string // names of chains, the last is the rule's
		rule        string
		want        *tracer.AgentRule
	}{
		{"no policy let it in", "filter", "FORWARD cali-FORWARD cali-to-wl-dispatch " + to, "no policies", &tracer.AgentRule{Why: tracer.AgentUnmatched, Side: "ingress",
			Policies: []tracer.Ref{guard, plain, knp("a-rather-long-name-of-a-policy"), knp("empty"), zone}}},
		{"no policy let it out", "filter", "FORWARD cali-FORWARD cali-from-wl-dispatch " + from, "no policies", &tracer.AgentRule{Why: tracer.AgentUnmatched, Side: "egress", Policies: []tracer.Ref{knp("empty")}}},
		{"a policy denies, not in its first rule", "filter", "FORWARD cali-FORWARD cali-to-wl-dispatch " + to + " cali-gi-vlObD3KaPRJV6NGrNBqH cali-pi-default.guard", "", &tracer.AgentRule{Why: tracer.AgentDenies, Side: "ingress", Policies: []tracer.Ref{guard}}},
		{"a policy denies, and does not say which", "filter", "FORWARD cali-FORWARD cali-to-wl-dispatch " + to + " cali-pi-_unnamed", "", nil},
		{"the pod is not known", "filter", "FORWARD cali-FORWARD cali-from-wl-dispatch", "Unknown interface", &tracer.AgentRule{Why: tracer.AgentUnknownPod, Side: "egress"}},
		{"its namespace is not known", "filter", "FORWARD cali-FORWARD cali-to-wl-dispatch " + to, "no profiles", &tracer.AgentRule{Why: tracer.AgentUnknownPod, Side: "ingress"}},
		{"no such connection", "filter", "FORWARD cali-FORWARD cali-from-wl-dispatch " + from, "INVALID", &tracer.AgentRule{Why: tracer.AgentInvalid, Side: "egress"}},
		{"the source is not the pod's", "raw", "PREROUTING cali-PREROUTING", "rpfilter", &tracer.AgentRule{Why: tracer.AgentSource}},
		{"for the node", "filter", "INPUT cali-INPUT cali-from-host-endpoint cali-fh-eth0", "no policies", &tracer.AgentRule{Why: tracer.AgentUnmatched, Side: "ingress", Node: true, Policies: []tracer.Ref{guard}}},
		{"for the node, denied", "filter", "INPUT cali-INPUT cali-fh-eth0 cali-pi-default.guard", "", &tracer.AgentRule{Why: tracer.AgentDenies, Side: "ingress", Node: true, Policies: []tracer.Ref{guard}}},
		{"what is not understood", "filter", "FORWARD cali-FORWARD cali-from-wl-dispatch " + from, "VXLAN", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := slices.IndexFunc(rs.tables, func(tb *table) bool { return tb.name == tt.table })
			var path []*chain
			for name := range strings.FieldsSeq(tt.path) {
				c := rs.tables[i].chain(name)
				if c == nil {
					c = &chain{name: name, table: rs.tables[i]}
				}
				path = append(path, c)
			}
			got := felix(path, dropping(t, path[len(path)-1], tt.rule))
			switch {
			case got == nil || tt.want == nil:
				if got != tt.want {
					t.Errorf("%+v, want %+v", got, tt.want)
				}
			case got.Why != tt.want.Why || got.Side != tt.want.Side || got.Node != tt.want.Node || !slices.Equal(got.Policies, tt.want.Policies):
				t.Errorf("%+v, want %+v", *got, *tt.want)
			}
		})
	}
	// A chain that nobody named a policy in says nothing.
	if p, ok := felixPolicyOf(rs.tables[1].chain("cali-pri-kns.kube-system")); ok {
		t.Errorf("a profile is policy %v", p)
	}
	if got := felix([]*chain{{name: "cali-tw-cali1"}}, nil); got != nil {
		t.Errorf("a base chain's policy is %+v", got)
	}
}
