package verdict

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

var (
	guard   = tracer.Ref{Kind: tracer.KindGlobalPolicy, Name: "default.guard"}
	guard2  = tracer.Ref{Kind: tracer.KindGlobalPolicy, Name: "default.guard2"}
	zone    = tracer.Ref{Kind: tracer.KindCalicoPolicy, Namespace: "db", Name: "default.zone"}
	knpDeny = tracer.Ref{Kind: tracer.KindNetworkPolicy, Namespace: "db", Name: "deny"}
)

// byFelix is a drop by a rule of Calico's that says this about itself.
func byFelix(why tracer.AgentReason, side string, policies ...tracer.Ref) change {
	return func(s *scene) {
		filtered()(s)
		rule("calico", "drop", func(r *tracer.RuleFact) {
			r.Family, r.Table, r.Chain, r.How = "ip", "filter", "cali-tw-cali12ab", "counter"
			r.Agent = &tracer.AgentRule{Why: why, Side: side, Policies: policies}
		})(s)
	}
}

// reading gives the policies of the agent's own kinds that there are.
func reading(policies ...tracer.Ref) change {
	return func(s *scene) {
		s.c.AgentPolicies, s.c.AgentKinds = policies, []string{tracer.KindGlobalPolicy, tracer.KindCalicoPolicy}
	}
}

func forNode(s *scene) { s.n.Rules[0].Agent.Node = true }

// allowedBy: a policy selects the target and allows the flow.
func allowedBy(p tracer.Ref) change {
	return func(s *scene) {
		s.c.Ingress = &tracer.PolicyDecision{Direction: "ingress", Allowed: true, Port: 8080, Selected: []tracer.Ref{p}, AllowedBy: &p}
	}
}

// turnedAway is a drop before routing, at the client's own veth, because of the
// packet's source.
func turnedAway(s *scene) {
	at := on(hostNS, vethWeb)
	dropOf("NETFILTER_DROP", "nft_do_chain", tracer.StagePrerouting, "nftables", at3(at), func(d *tracer.DropSeen) { d.InDevice = at })(s)
	rule("calico", "drop", hookIs("prerouting"), func(r *tracer.RuleFact) { r.Agent = &tracer.AgentRule{Why: tracer.AgentSource} })(s)
}

func agentFaults() []fault {
	return []fault{
		{"a global policy denies", "agent-policy", "pol-ingress-deny", confirmed, "GlobalNetworkPolicy default.guard", []change{byFelix(tracer.AgentDenies, "ingress", guard), reading(guard)}},
		{"a global policy denies the client", "agent-policy", "pol-egress-deny", confirmed, "GlobalNetworkPolicy default.guard", []change{byFelix(tracer.AgentDenies, "egress", guard), reading(guard)}},
		{"a global policy denies before a NetworkPolicy would", "agent-policy", "pol-ingress-deny", confirmed, "GlobalNetworkPolicy default.guard",
			[]change{byFelix(tracer.AgentDenies, "ingress", guard), reading(guard), denies("ingress", "peer")}},
		{"a global policy whose object is not readable", "agent-policy", "pol-ingress-deny", probable, "GlobalNetworkPolicy default.guard", []change{byFelix(tracer.AgentDenies, "ingress", guard)}},
		{"no cluster data, and the agent names its policy", "agent-policy", "pol-ingress-deny", probable, "GlobalNetworkPolicy default.guard", []change{byFelix(tracer.AgentDenies, "ingress", guard), noCluster}},
		{"Calico's own NetworkPolicy isolates the pod", "agent-policy", "pol-ingress-deny", confirmed, "NetworkPolicy.crd.projectcalico.org db/default.zone", []change{byFelix(tracer.AgentUnmatched, "ingress", zone), reading(zone)}},
		{"two global policies isolate the pod", "agent-policy", "pol-ingress-deny", probable, "GlobalNetworkPolicy default.guard", []change{byFelix(tracer.AgentUnmatched, "ingress", guard, guard2), reading(guard, guard2)}},
		{"a global policy denies DNS", "agent-policy", "pol-dns-egress", confirmed, "GlobalNetworkPolicy default.guard", []change{func(s *scene) { s.j.Flow.Dst = ap(apiIP, 53) }, byFelix(tracer.AgentDenies, "egress", guard), reading(guard)}},
		{"a policy for the node", "host-firewall", "pol-host-firewall", confirmed, "GlobalNetworkPolicy default.guard", []change{byFelix(tracer.AgentDenies, "ingress", guard), forNode}},
		{"no policy for the node lets it in", "host-firewall", "pol-host-firewall", confirmed, "Node n1", []change{byFelix(tracer.AgentUnknownPod, "ingress"), forNode}},
		{"NetworkPolicy by Calico", "policy", "pol-ingress-deny", confirmed, "NetworkPolicy db/deny", []change{byFelix(tracer.AgentUnmatched, "ingress", knpDeny), denies("ingress", "peer")}},
		{"NetworkPolicy beside a global one", "policy", "pol-ingress-deny", confirmed, "NetworkPolicy db/deny", []change{byFelix(tracer.AgentUnmatched, "ingress", guard, knpDeny), reading(guard), denies("ingress", "peer")}},
		{"both sides' policies deny, and the rule is the target's", "policy", "pol-ingress-deny", confirmed, "NetworkPolicy db/deny", []change{byFelix(tracer.AgentUnmatched, "ingress", knpDeny), denies("egress", "peer"), denies("ingress", "peer")}},
		{"the agent applies a policy that is gone", "foreign-rule", "pol-agent-stale", confirmed, "FirewallRule ip filter cali-tw-cali12ab", []change{byFelix(tracer.AgentUnmatched, "ingress", knpDeny)}},
		{"the agent applies a global policy that is gone", "foreign-rule", "pol-agent-stale", confirmed, "FirewallRule ip filter cali-tw-cali12ab", []change{byFelix(tracer.AgentDenies, "ingress", guard), reading()}},
		{"the agent does not know the policy that allows", "foreign-rule", "pol-agent-stale", confirmed, "", []change{byFelix(tracer.AgentUnmatched, "ingress", knpDeny), allowedBy(tracer.Ref{Kind: "NetworkPolicy", Namespace: "db", Name: "allow"})}},
		{"the agent does not know the client's address", "foreign-rule", "pol-agent-stale", confirmed, "", []change{byFelix(tracer.AgentUnmatched, "ingress", knpDeny), allowedBy(knpDeny)}},
		{"the agent does not know the pod", "foreign-rule", "pol-agent-stale", confirmed, "", []change{byFelix(tracer.AgentUnknownPod, "egress")}},
		{"nothing leads back to the client, which is taken for a spoofer", "host-route-missing", "cni-host-route-missing", confirmed, "Pod shop/web",
			[]change{routed, turnedAway, routeIs("reverse", "none", "")}},
	}
}

func TestAgentLookalikes(t *testing.T) {
	e := NewEngine()
	for _, tt := range []lookalike{
		{"a global policy that an allowing NetworkPolicy follows", []change{byFelix(tracer.AgentUnmatched, "ingress", guard, knpDeny), reading(guard), allowedBy(knpDeny)}, "pol-agent-stale", "pol-ingress-deny", ""},
		{"policies unread, and both kinds apply", []change{byFelix(tracer.AgentUnmatched, "ingress", guard, knpDeny), reading(guard), unread("NetworkPolicy")}, "unknown", "pol-ingress-deny pol-agent-stale", ""},
		{"conntrack does not know the connection", []change{byFelix(tracer.AgentInvalid, "ingress")}, "unknown", "pol-agent-stale pol-ingress-deny", ""},
		{"the policies cannot be decided for sure", []change{byFelix(tracer.AgentUnmatched, "ingress", knpDeny), uncertain("ingress")}, "pol-agent-stale", "pol-ingress-deny", suspected},
		{"a cluster-wide policy allows what the agent's policies do not", []change{byFelix(tracer.AgentUnmatched, "ingress", knpDeny), func(s *scene) { s.c.Ingress.Selected = []tracer.Ref{knpDeny} }}, "pol-agent-stale", "pol-ingress-deny", suspected},
		{"a rule that says nothing about itself", []change{filtered(), rule("calico", "drop")}, "pol-agent-stale", "pol-ingress-deny", suspected},
		{"the cluster's data is old", []change{byFelix(tracer.AgentUnmatched, "ingress", knpDeny), func(s *scene) { s.c.Stale = 5e9 }}, "pol-agent-stale", "pol-ingress-deny", suspected},
		{"an answer that the agent drops", []change{byFelix(tracer.AgentUnmatched, "ingress", guard), reading(guard), func(s *scene) { s.j.Drops[0].Direction = tracer.DirReply }}, "pol-agent-stale", "pol-ingress-deny", suspected},
		{"the source is refused, and a route leads back", []change{routed, turnedAway}, "unknown", "pol-agent-stale cni-host-route-missing cni-antispoof", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := e.Decide(given(tt.with...))
			if v.Code != tt.code || tt.most != "" && v.Confidence != tt.most {
				t.Errorf("%s %s, want %s\n%s\nalso %+v", v.Confidence, v.Code, tt.code, v.Summary, v.AlsoSeen)
			}
			for bad := range strings.FieldsSeq(tt.never) {
				if v.Code == bad {
					t.Errorf("%s: %s", bad, v.Summary)
				}
			}
			sound(t, v)
		})
	}
}

// A control: what is delivered is healthy, whatever rules there are.
func TestAgentHealthy(t *testing.T) {
	in := given(reached, byFelix(tracer.AgentDenies, "ingress", guard), reading(guard), outcomeIs(tracer.OutcomeDelivered))
	in.Journey.Drops = nil
	if v := NewEngine().Decide(in); v.Code != tracer.CodeOK {
		t.Errorf("%s: %s", v.Code, v.Summary)
	}
}

// The remedy of a policy of another kind does not speak of a NetworkPolicy.
func TestAgentRemedy(t *testing.T) {
	v := NewEngine().Decide(given(byFelix(tracer.AgentDenies, "ingress", guard), reading(guard)))
	if len(v.Remedy) == 0 || v.Remedy[0] != "kubectl describe globalnetworkpolicies.crd.projectcalico.org default.guard" {
		t.Errorf("%q", v.Remedy)
	}
}
