package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// agentRule is what the rule that dropped says about itself, nil if it says
// nothing, or is nobody's that is understood.
func (in *Input) agentRule(d *tracer.DropSeen) (*tracer.RuleFact, *tracer.AgentRule) {
	if r := in.ruleFor(d); r != nil && r.Agent != nil {
		return r, r.Agent
	}
	return nil, nil
}

// evaluated tells NetworkPolicies from policies of kinds that only their agent
// knows.
func evaluated(list []tracer.Ref) (evaluated, others []tracer.Ref) {
	for _, p := range list {
		if p.Kind == tracer.KindNetworkPolicy {
			evaluated = append(evaluated, p)
		} else {
			others = append(others, p)
		}
	}
	return evaluated, others
}

// decision is what the NetworkPolicies say for that side, nil if not known.
func (in *Input) decision(side string) *tracer.PolicyDecision {
	if side == "egress" {
		return in.Cluster.Egress
	}
	return in.Cluster.Ingress
}

// hostFirewall: a policy agent's rule for the node itself dropped the packet.
func hostFirewall(in *Input) *Finding {
	d := in.hostFilter()
	if d == nil {
		return nil
	}
	r, a := in.agentRule(d)
	if a == nil || !a.Node || a.Why == tracer.AgentInvalid || a.Why == tracer.AgentSource {
		return nil
	}
	f := &Finding{
		Code: "pol-host-firewall", Confidence: tracer.Confirmed, Object: in.nodeRef(), Rule: r,
		Evidence: []tracer.Evidence{in.seenDrop(d), seenRule(in, r)},
	}
	who := fmt.Sprintf("no policy of %s for node %s lets", r.Owner, in.NodeName)
	if len(a.Policies) == 1 {
		f.Object = &a.Policies[0]
		who = fmt.Sprintf("%s, which %s applies to node %s itself, does not let", policyName(a.Policies[0]), r.Owner, in.NodeName)
	}
	f.Summary = fmt.Sprintf("%s %s reach %s (%s of the node); dropped on %s", who, in.from(d), in.to(d), a.Side, in.at(d))
	f.Remedy = describe(a.Policies)
	return f
}

// agentPolicy: a policy of a kind that is not evaluated here denies the flow,
// as its agent's own rules say. Of policies that only isolate the pod, a
// NetworkPolicy that is evaluated comes first.
func agentPolicy(in *Input) *Finding {
	d := in.hostFilter()
	if d == nil || d.Direction != tracer.DirRequest {
		return nil
	}
	r, a := in.agentRule(d)
	if a == nil || a.Node {
		return nil
	}
	std, others := evaluated(a.Policies)
	if len(others) == 0 || in.gone(others) {
		return nil
	}
	switch a.Why {
	case tracer.AgentDenies:
	case tracer.AgentUnmatched:
		if len(std) > 0 && !in.policiesKnown() {
			return nil
		}
		if p := in.decision(a.Side); p != nil && (p.AllowedBy != nil || !p.Allowed) {
			return nil
		}
	default:
		return nil
	}
	return in.agentDenial(d, r, others)
}

// agentDenial is a denial by policies that the agent named.
func (in *Input) agentDenial(d *tracer.DropSeen, r *tracer.RuleFact, by []tracer.Ref) *Finding {
	code := in.dnsCode(r.Agent.Side)
	if code == "" {
		code = "pol-" + r.Agent.Side + "-deny"
	}
	f := &Finding{
		Code: code, Confidence: tracer.Probable, Object: &by[0], Rule: r,
		Evidence: []tracer.Evidence{in.seenDrop(d), seenRule(in, r)}, Remedy: describe(by),
	}
	verb := "denies"
	if r.Agent.Why == tracer.AgentUnmatched {
		verb = "applies to the pod, and no rule of it allows"
	}
	names := policyName(by[0])
	if len(by) > 1 {
		all := make([]string, len(by))
		for i, p := range by {
			all[i] = policyName(p)
		}
		names, verb = strings.Join(all, ", "), "apply to the pod, and no rule of them allows"
	}
	f.Summary = fmt.Sprintf("%s %s %s to reach %s on %s (%s); dropped on %s", names, verb, in.source(), in.target(), in.targetPort(), r.Agent.Side, in.at(d))
	switch {
	case !slices.ContainsFunc(by, func(p tracer.Ref) bool { return slices.Contains(in.Cluster.AgentPolicies, p) }):
		f.Blind = append(f.Blind, tracer.Blind{
			What:   "policies of " + r.Owner + "'s own kinds",
			Effect: "the policy is named by the agent's rule; whether it is still there could not be read",
		})
	case len(by) == 1:
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(by[0].Kind, "%s exists", nameOfObject(by[0])))
	}
	return f
}

// gone: one of the policies that the agent applies is no longer there.
func (in *Input) gone(list []tracer.Ref) bool {
	return slices.ContainsFunc(list, func(p tracer.Ref) bool {
		return slices.Contains(in.Cluster.AgentKinds, p.Kind) && !slices.Contains(in.Cluster.AgentPolicies, p)
	})
}

// agentStale: the agent dropped what its policies, as they are now, do not
// deny. What its rules say about themselves can prove it.
func (in *Input) agentStale(d *tracer.DropSeen, r *tracer.RuleFact, f *Finding) {
	f.Code, f.Confidence = "pol-agent-stale", tracer.Suspected
	f.Object = &tracer.Ref{Kind: "FirewallRule", Name: r.Family + " " + r.Table + " " + r.Chain}
	why := in.staleness(d, r)
	if why == "" && in.startupRace(d, r.Owner, f) {
		return
	}
	if why == "" {
		f.Blind = append(f.Blind, in.otherPolicies(r.Owner)...)
		f.Summary += ": a policy of another kind does, or the agent's state is out of date"
		return
	}
	f.Confidence = tracer.Confirmed
	f.Summary += ": the state of " + r.Owner + " on " + in.NodeName + " is out of date"
	f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "%s", r.Owner+" "+why))
}

// staleness says what the agent's rule and the cluster differ in, "" if they
// need not differ.
func (in *Input) staleness(d *tracer.DropSeen, r *tracer.RuleFact) string {
	a := r.Agent
	if a == nil || a.Node || d.Direction != tracer.DirRequest || in.Cluster.Stale > 0 {
		return ""
	}
	std, others := evaluated(a.Policies)
	p := in.decision(a.Side)
	switch {
	case a.Why == tracer.AgentUnknownPod:
		if pod := in.podOn(a.Side); pod != nil && !pod.HostNetwork {
			return fmt.Sprintf("does not know pod %s/%s or its namespace", pod.Namespace, pod.Name)
		}
	case len(others) > 0 && in.gone(others):
		return "applies " + policyName(others[0]) + ", which is gone"
	case a.Why != tracer.AgentUnmatched || p == nil || !p.Allowed || p.Uncertain != "":
	case p.AllowedBy != nil && !slices.Contains(std, *p.AllowedBy):
		return fmt.Sprintf("does not apply %s, which allows the flow", policyName(*p.AllowedBy))
	case p.AllowedBy != nil && d.Tuple.Src.Addr() == in.Journey.Flow.Src.Addr():
		return fmt.Sprintf("applies %s, which allows the flow, but not to these addresses", policyName(*p.AllowedBy))
	case p.AllowedBy == nil && len(others) == 0:
		i := slices.IndexFunc(std, func(q tracer.Ref) bool { return !slices.Contains(p.Selected, q) })
		if i >= 0 {
			return fmt.Sprintf("applies %s, which is gone or does not select the pod", policyName(std[i]))
		}
	}
	return ""
}

// podOn is the pod whose traffic is judged on that side.
func (in *Input) podOn(side string) *tracer.PodFacts {
	if side == "egress" {
		return in.Cluster.SourcePod
	}
	return in.Cluster.TargetPod
}

// policyName names a policy in a sentence.
func policyName(p tracer.Ref) string { return p.Kind + " " + nameOfObject(p) }

func nameOfObject(p tracer.Ref) string {
	if p.Namespace == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}

// describe says how to look at policies of any kind.
func describe(list []tracer.Ref) []string {
	var out []string
	for _, p := range list {
		where := ""
		if p.Namespace != "" {
			where = " -n " + shellWord(p.Namespace)
		}
		kind := "networkpolicy"
		switch p.Kind {
		case tracer.KindGlobalPolicy:
			kind = "globalnetworkpolicies.crd.projectcalico.org"
		case tracer.KindCalicoPolicy:
			kind = "networkpolicies.crd.projectcalico.org"
		}
		out = append(out, fmt.Sprintf("kubectl%s describe %s %s", where, kind, shellWord(p.Name)))
	}
	if len(out) == 0 {
		return nil
	}
	return append(out, "add a rule there that allows it, or a policy of lower order that does")
}
