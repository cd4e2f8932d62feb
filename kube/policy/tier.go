package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// outcome is what the policies say from some point on.
type outcome struct {
	allowed bool
	rules   []tracer.PolicyRule
	// uncertain says why it may be the other way round.
	uncertain string
	// byPolicies: NetworkPolicies were asked, and select the pod.
	byPolicies bool
}

// candidate is a rule of a cluster-wide policy that matches the flow, or may.
type candidate struct {
	policy *kube.ClusterPolicy
	rule   int    // in the policy's list of that direction
	name   string // of the rule
	action kube.TierAction
	// doubt says why it is not sure to match, "" if it is.
	doubt string
	why   string
}

// candidates lists the rules of a tier that match, or may, in the order in which
// they are asked, up to the first that surely does.
func (e *evaluation) candidates(t kube.PolicyTier, pod *kube.Pod, other *end, s side) []candidate {
	var out []candidate
	list := e.view.ClusterPolicies(t)
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].Priority == list[0].Priority {
			n++
		}
		found, last := e.ofPriority(list[:n], pod, other, s)
		out = append(out, found...)
		if last {
			break
		}
		list = list[n:]
	}
	return out
}

// ofPriority asks the policies of one priority. If more than one of them has a
// rule for the flow and they do not agree, the API leaves it to the
// implementation which one it follows.
func (e *evaluation) ofPriority(list []*kube.ClusterPolicy, pod *kube.Pod, other *end, s side) (found []candidate, last bool) {
	var by []*kube.ClusterPolicy
	agree := true
	for _, p := range list {
		c := e.ofPolicy(p, pod, other, s)
		if len(c) == 0 {
			continue
		}
		by = append(by, p)
		last = last || c[len(c)-1].doubt == ""
		for i := range c {
			agree = agree && c[i].action == c[0].action && (len(found) == 0 || c[i].action == found[0].action)
		}
		found = append(found, c...)
	}
	if len(by) > 1 && !agree {
		for i := range found {
			if found[i].doubt == "" {
				found[i].doubt = fmt.Sprintf("%s and %s have the same priority %d and other actions, and the API does not say which one is asked first",
					title(by[0]), title(by[1]), by[0].Priority)
			}
		}
	}
	return found, last
}

// ofPolicy lists the rules of one policy that match, or may.
func (e *evaluation) ofPolicy(p *kube.ClusterPolicy, pod *kube.Pod, other *end, s side) []candidate {
	rules, doubt := tierRules(p, s), ""
	switch {
	case p.Subject.Unknown:
		doubt = title(p) + " selects pods in a way that is not known here (a newer version of the API)"
	case !p.Subject.Holds(e.nsLabels(pod.Namespace), pod.Labels):
		return nil
	}
	if p.Subject.Unknown && len(p.Ingress)+len(p.Egress) == 0 {
		return []candidate{{policy: p, action: kube.ActionUnknown, doubt: doubt}}
	}
	var out []candidate
	for i := range rules {
		c, matches := e.ofRule(p, i, &rules[i], other, s)
		if !matches {
			continue
		}
		if doubt != "" {
			c.doubt = doubt
		}
		out = append(out, c)
		if c.doubt == "" {
			break
		}
	}
	return out
}

// ofRule reports whether a rule matches, or may.
func (e *evaluation) ofRule(p *kube.ClusterPolicy, i int, r *kube.TierRule, other *end, s side) (candidate, bool) {
	c := candidate{policy: p, rule: i, name: r.Name, action: r.Action}
	if slices.ContainsFunc(r.Peers, func(x kube.TierPeer) bool { return x.Unknown }) {
		// The API asks to fail closed.
		c.action, c.why = kube.ActionDeny, "it has a peer of a kind that is not known here, which counts as a denial of everything"
		return c, r.Action != kube.ActionAllow
	}
	ports, doubt := e.tierPorts(r)
	if ports == kube.No {
		return c, false
	}
	peer, peerDoubt := kube.No, ""
	for j := range r.Peers {
		match, why := e.tierPeer(&r.Peers[j], other)
		if match == kube.No || peer == kube.Undecided && match == kube.Undecided {
			continue
		}
		peer, peerDoubt, c.why = match, why, tierText(r, &r.Peers[j], s)
		if match == kube.Yes {
			break
		}
	}
	if peerDoubt != "" {
		doubt = peerDoubt
	}
	if r.Action == kube.ActionUnknown {
		doubt = "has an action that is not known here"
	}
	if doubt != "" {
		c.doubt = fmt.Sprintf("rule %d of %s %s", i+1, title(p), doubt)
	}
	return c, peer != kube.No
}

// tierPeer says whether a peer holds the other end, and why that cannot be told.
func (e *evaluation) tierPeer(x *kube.TierPeer, other *end) (match kube.Answer, doubt string) {
	switch {
	case x.Pods != nil:
		return yesOrNo(other.pod != nil && x.Pods.Holds(other.nsLabels, other.pod.Labels)), ""
	case x.Nodes != nil:
		n, ok := e.view.NodeByIP(other.ip)
		return yesOrNo(ok && x.Nodes.Matches(n.Labels)), ""
	case len(x.Domains) > 0:
		return kube.Undecided, fmt.Sprintf("is for the domain name %s, and whether %s belongs to it cannot be told", domains(x.Domains), other.ip)
	}
	return yesOrNo(slices.ContainsFunc(x.Networks, func(n netip.Prefix) bool { return n.Contains(other.ip) })), ""
}

func yesOrNo(yes bool) kube.Answer {
	if yes {
		return kube.Yes
	}
	return kube.No
}

// tierPorts says whether the rule's ports hold the flow's.
func (e *evaluation) tierPorts(r *kube.TierRule) (match kube.Answer, doubt string) {
	if len(r.Ports) == 0 && !r.UnknownPorts {
		return kube.Yes, ""
	}
	for i := range r.Ports {
		p := r.Ports[i]
		if p.Name != "" {
			p.Proto = e.Proto // a name stands for itself, whatever the protocol
		}
		if e.port(&p) {
			return kube.Yes, ""
		}
	}
	if r.UnknownPorts {
		return kube.Undecided, "has a port of a kind that is not known here"
	}
	return kube.No, ""
}

// asked are the NetworkPolicies that select a pod, and the first that allows.
type asked struct {
	selecting []*kube.NetworkPolicy
	allowedBy *tracer.Ref
}

// tiers asks everything in order.
func (e *evaluation) tiers(pod *kube.Pod, other *end, s side, np *asked) outcome {
	admin := e.candidates(kube.TierAdmin, pod, other, s)
	out := resolve(admin, func() outcome {
		if len(np.selecting) > 0 {
			return outcome{allowed: np.allowedBy != nil, byPolicies: true}
		}
		return resolve(e.candidates(kube.TierBaseline, pod, other, s), func() outcome { return outcome{allowed: true} })
	})
	if n := len(out.rules); n > 0 && out.rules[n-1].Tier == kube.TierAdmin.String() && out.rules[n-1].Action == tracer.PolicyDeny {
		out.rules[n-1].Why += e.tooLate(&out.rules[n-1], pod, other, s, np)
	}
	return out
}

// tooLate says what would allow the flow, and is not asked because of a denial.
func (e *evaluation) tooLate(by *tracer.PolicyRule, pod *kube.Pod, other *end, s side, np *asked) string {
	after := false
	for _, p := range e.view.ClusterPolicies(kube.TierAdmin) {
		if !p.Subject.Holds(e.nsLabels(pod.Namespace), pod.Labels) {
			continue
		}
		same := p.Kind == by.Policy.Kind && p.Name == by.Policy.Name
		rules := tierRules(p, s)
		for i := range rules {
			after = after || same && i == by.Rule
			if c, ok := e.ofRule(p, i, &rules[i], other, s); after && ok && c.doubt == "" && c.action == kube.ActionAllow {
				return fmt.Sprintf("; rule %d of %s (priority %d) would allow it, and comes after", i+1, title(p), p.Priority)
			}
		}
	}
	if np.allowedBy != nil {
		return fmt.Sprintf("; NetworkPolicy %s/%s allows it, and is asked only after", np.allowedBy.Namespace, np.allowedBy.Name)
	}
	return ""
}

func tierRules(p *kube.ClusterPolicy, s side) []kube.TierRule {
	if s == sideIngress {
		return p.Ingress
	}
	return p.Egress
}

// resolve follows the candidates; next is what comes after the tier. A rule in
// doubt is taken not to match, and if that makes a difference it is said.
func resolve(list []candidate, next func() outcome) outcome {
	if len(list) == 0 {
		return next()
	}
	c := &list[0]
	if c.doubt == "" {
		return c.apply(next)
	}
	without := resolve(list[1:], next)
	if c.action == kube.ActionUnknown || c.apply(next).allowed != without.allowed {
		without.uncertain = c.doubt
	}
	return without
}

func (c *candidate) apply(next func() outcome) outcome {
	out := outcome{allowed: c.action == kube.ActionAllow}
	if c.action == kube.ActionPass {
		out = next()
	}
	out.rules = append([]tracer.PolicyRule{c.met()}, out.rules...)
	return out
}

func (c *candidate) met() tracer.PolicyRule {
	out := tracer.PolicyRule{
		Policy: tracer.Ref{Kind: c.policy.Kind, Name: c.policy.Name}, Tier: c.policy.Tier.String(),
		Rule: c.rule, Name: c.name, Action: c.action.String(), Why: c.why,
	}
	if c.policy.Kind != baselineKind {
		out.Priority = &c.policy.Priority
	}
	return out
}

// baselineKind is the one kind without a priority.
const baselineKind = "BaselineAdminNetworkPolicy"

func title(p *kube.ClusterPolicy) string { return p.Kind + " " + p.Name }
