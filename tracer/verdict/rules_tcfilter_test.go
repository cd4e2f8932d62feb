package verdict

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// tcFilter is one on the ingress of the client's veth, whose action dropped moved
// packets over the trace.
func tcFilter(kind string, moved uint64, with ...func(*tracer.FilterFact)) change {
	return func(s *scene) {
		f := tracer.FilterFact{Device: on(hostNS, vethWeb), Dev: "veth1", Side: "ingress", Kind: kind, Priority: 10, Handle: 1,
			Actions: []tracer.FilterAction{{Kind: "gact", Drops: true, Lost: moved + 5, Moved: moved, Counted: true}}}
		for _, w := range with {
			w(&f)
		}
		s.n.Filters = append(s.n.Filters, f)
	}
}

func uncounted(f *tracer.FilterFact) { f.Actions[0].Moved, f.Actions[0].Counted = 0, false }
func egress(f *tracer.FilterFact)    { f.Side = "egress" }
func polices(f *tracer.FilterFact) {
	f.Actions[0].Kind, f.Actions[0].RateBytes = "police", 1000
}

func leadsAway(f *tracer.FilterFact) {
	f.Kind, f.Handle = "u32", 0x80000800
	f.Actions = []tracer.FilterAction{{Kind: "skbedit", Counted: true}, {Kind: "mirred", To: "ifb0", ToDown: true, Lost: 9, Moved: 3, Counted: true}}
}

func TestTCFilters(t *testing.T) {
	e := NewEngine()
	const other = "cni-bandwidth-shaper"
	for _, tt := range []struct {
		name, code string
		sure       tracer.Confidence
		object     string
		says       string
		with       []change
	}{
		{"it dropped all that is missing", "pol-foreign-bpf", confirmed, "TCFilter veth1 ingress pref 10 flower handle 0x1", "action drop",
			[]change{byTC(), tcFilter("flower", 3)}},
		{"it redirects to a device that is down", "pol-foreign-bpf", confirmed, "TCFilter veth1 ingress pref 10 u32 handle 800::800", "to ifb0, which is not up",
			[]change{byTC(), tcFilter("u32", 3, leadsAway)}},
		{"another one's counter stood still", "pol-foreign-bpf", confirmed, "TCFilter veth1 ingress pref 10 matchall handle 0x1", "",
			[]change{byTC(), tcFilter("flower", 0), tcFilter("matchall", 4)}},
		{"only one's counter moved, by less", "pol-foreign-bpf", probable, "TCFilter veth1 ingress pref 10 flower handle 0x1", "",
			[]change{byTC(), tcFilter("flower", 1)}},
		{"nobody counted", "pol-foreign-bpf", probable, "TCFilter veth1 ingress pref 10 flower handle 0x1", "",
			[]change{byTC(), tcFilter("flower", 0, uncounted)}},
		{"of two, one dropped enough", "pol-foreign-bpf", probable, "TCFilter veth1 ingress pref 10 u32 handle 0::1", "",
			[]change{byTC(), tcFilter("flower", 1), tcFilter("u32", 3)}},
		{"of two, both dropped enough", "pol-foreign-bpf", probable, "", "",
			[]change{byTC(), tcFilter("flower", 3), tcFilter("u32", 3)}},
		{"it stands on the other side", "pol-foreign-bpf", probable, "", "",
			[]change{byTC(), tcFilter("flower", 3, egress)}},
		{"its counter stood still", "pol-foreign-bpf", probable, "", "",
			[]change{byTC(), tcFilter("flower", 0)}},
		{"a program of nobody's, and its counter stood still", "pol-foreign-bpf", confirmed, "BPFProgram prog", "",
			[]change{byTC(), program("", "tc ingress", on(hostNS, vethWeb)), tcFilter("flower", 0)}},
		{"a program of nobody's, and it dropped enough", "pol-foreign-bpf", probable, "", "",
			[]change{byTC(), program("", "tc ingress", on(hostNS, vethWeb)), tcFilter("flower", 3)}},
		{"an agent's program, policies allow, and it dropped enough", "pol-foreign-bpf", probable, "TCFilter veth1 ingress pref 10 flower handle 0x1", "",
			[]change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), tcFilter("flower", 3)}},
		{"an agent's program, a policy of its own kind, and it dropped enough", "pol-cni-policy", probable, "CiliumNetworkPolicy lock", "",
			[]change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), tcFilter("flower", 3), ofCNI("egress", "Cilium", "CiliumNetworkPolicy", true)}},
		{"an agent's program, no cluster data, and it dropped enough", "unknown", suspected, "", "",
			[]change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), tcFilter("flower", 3), noCluster}},
		{"an agent's program, policies allow, and its counter stood still", "pol-agent-stale", suspected, "BPFProgram prog", "",
			[]change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), tcFilter("flower", 0)}},
		{"an agent's program, and a policy denies", "pol-egress-deny", confirmed, "NetworkPolicy db/deny", "",
			[]change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), tcFilter("flower", 0), denies("egress", "peer")}},
		{"without cluster data", "pol-foreign-bpf", probable, "TCFilter veth1 ingress pref 10 flower handle 0x1", "",
			[]change{byTC(), tcFilter("flower", 3), noCluster}},
		{"a policer of the client's bandwidth", other, confirmed, "Pod shop/web", "1000 bytes a second",
			[]change{byTC(), tcFilter("matchall", 3, polices)}},
		{"a policer that dropped nothing", "pol-foreign-bpf", probable, "", "",
			[]change{byTC(), tcFilter("matchall", 0, polices)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := e.Decide(given(tt.with...))
			if v.Code != tt.code || v.Confidence != tt.sure || !strings.Contains(v.Summary, tt.says) || ref(v.Object) != tt.object {
				t.Errorf("%s %s about %q: %s", v.Confidence, v.Code, ref(v.Object), v.Summary)
			}
			if named := strings.HasPrefix(tt.object, "TCFilter") || tt.code == other; named != (v.Rule != nil && v.Rule.Engine == "tc") {
				t.Errorf("rule %+v", v.Rule)
			}
		})
	}
	// A flow that nothing dropped is not blamed on a filter whose counter moved for others.
	if v := e.Decide(given(reached, tcFilter("flower", 3), outcomeIs(tracer.OutcomeDelivered))); v.Code != "ok" {
		t.Errorf("healthy: %s", v.Code)
	}
}
