package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// clusterDenial is a denial by a rule of a cluster-wide policy.
func (in *Input) clusterDenial(p *tracer.PolicyDecision, r *tracer.PolicyRule) *Finding {
	ref := r.Policy
	rule := fmt.Sprintf("rule %d", r.Rule+1)
	if r.Name != "" {
		rule += fmt.Sprintf(" %q", r.Name)
	}
	f := &Finding{
		Code: "pol-cluster-deny", Confidence: tracer.Confirmed, Object: &ref,
		Summary: fmt.Sprintf("%s denies that %s reaches %s on %s (%s): %s, %s", policyTitle(r), in.source(), in.target(), in.targetPort(), p.Direction, rule, r.Why),
	}
	for i := range p.Rules {
		f.Evidence = append(f.Evidence, in.metRule(&p.Rules[i], p.Direction))
	}
	return f
}

// otherSide is the policy that allows the flow at its other end, nil if none is
// needed there or it is denied too.
func (in *Input) otherSide(p *tracer.PolicyDecision) *tracer.Ref {
	o := in.decision(other(p.Direction))
	if o == nil || !o.Allowed || o.Uncertain != "" {
		return nil
	}
	if r := o.Decider(); r != nil {
		return &r.Policy
	}
	return o.AllowedBy
}

func other(direction string) string {
	if direction == "egress" {
		return "ingress"
	}
	return "egress"
}

// policyTitle is "AdminNetworkPolicy no-web (admin tier, priority 10)".
func policyTitle(r *tracer.PolicyRule) string {
	text := fmt.Sprintf("%s %s (%s tier", r.Policy.Kind, r.Policy.Name, r.Tier)
	if r.Priority != nil {
		text += fmt.Sprintf(", priority %d", *r.Priority)
	}
	return text + ")"
}

// metRule is a rule of a cluster-wide policy as evidence.
func (in *Input) metRule(r *tracer.PolicyRule, direction string) tracer.Evidence {
	does := map[string]string{tracer.PolicyAllow: "allows", tracer.PolicyDeny: "denies", tracer.PolicyPass: "passes on"}[r.Action]
	return in.seenState(r.Policy.Kind, "%s: rule %d %s the %s %s", r.Policy.Name, r.Rule+1, does, direction, r.Why)
}

// unsure takes from a finding what an undecidable rule leaves open.
func unsure(f *Finding, p *tracer.PolicyDecision) {
	if p == nil || p.Uncertain == "" {
		return
	}
	if f.Confidence == tracer.Confirmed {
		f.Confidence = tracer.Probable
	}
	f.Blind = append(f.Blind, tracer.Blind{What: p.Uncertain, Effect: "what the policies say of this flow is not sure"})
}

// cniPolicy: an agent's rule dropped what the policies that are evaluated allow,
// and a policy of the CNI's own kind selects the pod.
func cniPolicy(in *Input) *Finding {
	d := in.hostFilter()
	if d == nil || in.loopbackSource(d) || !in.policiesKnown() || in.denying(d) != nil {
		return nil
	}
	r := in.ruleFor(d)
	if r == nil || !enforcer(r.Owner) || r.Agent != nil {
		return nil // a rule that says by itself which policies it is about needs no guess
	}
	f := in.unevaluatedFinding(in.unevaluated(r.Owner, ruleSide(r)), d)
	if f == nil {
		return nil
	}
	f.Rule = r
	f.Evidence = append(f.Evidence, seenRule(in, r))
	return f
}

// ruleSide says whose policies a chain of Calico's holds: "to workload" and
// "policy inbound" are the pod's ingress (felix/rules, the chains' prefixes).
func ruleSide(r *tracer.RuleFact) string {
	for prefix, side := range map[string]string{
		"cali-tw-": "ingress", "cali-pi-": "ingress", "cali-pri-": "ingress",
		"cali-fw-": "egress", "cali-po-": "egress", "cali-pro-": "egress",
	} {
		if strings.HasPrefix(r.Chain, prefix) {
			return side
		}
	}
	return ""
}

// unevaluated are the CNI's own policies that select an end of the flow, on that
// side if it is known; those that surely do come first.
func (in *Input) unevaluated(owner, side string) []ofSide {
	var out []ofSide
	for _, p := range []*tracer.PolicyDecision{in.Cluster.Egress, in.Cluster.Ingress} {
		if p == nil || side != "" && p.Direction != side {
			continue
		}
		for _, u := range p.Unevaluated {
			if strings.EqualFold(u.CNI, owner) || owner == "cni" {
				out = append(out, ofSide{u, p.Direction})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b ofSide) int {
		switch {
		case a.Sure == b.Sure:
			return 0
		case a.Sure:
			return -1
		}
		return 1
	})
	return out
}

// ofSide is a policy, and the direction in which it selects a pod.
type ofSide struct {
	tracer.UnevaluatedPolicy
	direction string
}

func (s *ofSide) name() string {
	name := s.Name
	if s.Namespace != "" {
		name = s.Namespace + "/" + name
	}
	kind, _, _ := strings.Cut(s.Kind, ".")
	return fmt.Sprintf("%s %s %s", s.CNI, kind, name)
}

// unevaluatedFinding names the first of them, nil if there is none.
func (in *Input) unevaluatedFinding(list []ofSide, d *tracer.DropSeen) *Finding {
	if len(list) == 0 || d.Direction != tracer.DirRequest { // policies judge connections, not answers
		return nil
	}
	first := &list[0]
	ref := first.Ref
	f := &Finding{Code: "pol-cni-policy", Confidence: tracer.Probable, Object: &ref, Evidence: []tracer.Evidence{in.seenDrop(d)}}
	if !first.Sure {
		f.Confidence = tracer.Suspected
	}
	f.Summary = fmt.Sprintf("%s dropped %s to %s %s on %s, which no NetworkPolicy denies; %s selects the pod for %s, and is not evaluated here",
		first.CNI, in.from(d), in.target(), in.targetPort(), in.at(d), first.name(), first.direction)
	if n := len(list) - 1; n > 0 {
		f.Summary += fmt.Sprintf(" (it is one of %d)", n+1)
	}
	for i := range list {
		selects := "selects"
		if !list[i].Sure {
			selects = "may select (by service account)"
		}
		f.Evidence = append(f.Evidence, in.seenState(list[i].CNI, "%s %s the pod for %s; not evaluated", list[i].name(), selects, list[i].direction))
	}
	f.Blind = append(f.Blind, tracer.Blind{
		What:   fmt.Sprintf("what policies of %s's own kinds allow", first.CNI),
		Effect: "that it is this one that denies the flow is likely, and not proven; or the agent's state is out of date",
	})
	return f
}

// otherPolicies is what an agent may enforce that is not known here: kinds that
// could not be read, or were not looked for.
func (in *Input) otherPolicies(owner string) []tracer.Blind {
	missing := in.unreadKinds(owner)
	what := fmt.Sprintf("policies of kinds that only %s knows", owner)
	switch {
	case len(missing) > 0:
		what = "policies of other kinds, which were not read: " + strings.Join(missing, ", ")
	case len(otherKinds(owner)) > len(clusterWide()):
		return nil // all are known, and none selects the pod
	}
	return []tracer.Blind{{What: what, Effect: "whether one of them denies the flow cannot be said"}}
}

// unreadKinds are those that an agent may enforce and that were not read.
func (in *Input) unreadKinds(owner string) []string {
	return slices.DeleteFunc(otherKinds(owner), func(k string) bool {
		return !in.unread(k) && slices.Contains(in.Cluster.AgentKinds, k)
	})
}

// clusterWide are the kinds that are evaluated besides NetworkPolicy.
func clusterWide() []string {
	return []string{"AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"}
}

// otherKinds are the kinds beyond NetworkPolicy that an agent may enforce and
// podpath can read.
func otherKinds(owner string) []string {
	switch owner {
	case "calico":
		return append(clusterWide(), tracer.KindCalicoPolicy, tracer.KindGlobalPolicy)
	case "cilium":
		return append(clusterWide(), "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy")
	}
	return clusterWide()
}
