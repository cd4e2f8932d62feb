package rules

import (
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// Felix, Calico's agent, says in the names of its chains and in comments what
// each is for (felix/rules of Calico 3.28): an endpoint's chain jumps to one
// chain for each policy, or to a group of them, and drops what none let pass.
const (
	felixNoPolicy   = "no policies passed"
	felixNoProfile  = "no profiles matched"
	felixNoEndpoint = "Unknown interface"
)

// felixEndpoints are the chains of pods (workloads) and of the node itself
// (host endpoints), by the side of the endpoint that they stand for.
var felixEndpoints = []struct {
	prefix, side string
	node         bool
}{
	{"cali-tw-", "ingress", false}, {"cali-fw-", "egress", false},
	{"cali-to-wl-dispatch", "ingress", false}, {"cali-from-wl-dispatch", "egress", false},
	{"cali-fh-", "ingress", true}, {"cali-th-", "egress", true},
	{"cali-fhfw-", "ingress", true}, {"cali-thfw-", "egress", true},
}

// felix is what Felix's chains say of a rule that dropped, nil if nothing that
// is understood.
func felix(path []*chain, r *rule) *tracer.AgentRule {
	if r == nil || len(path) == 0 {
		return nil
	}
	var out tracer.AgentRule
	var endpoint *chain
	for _, c := range path {
		for _, e := range felixEndpoints {
			if strings.HasPrefix(c.name, e.prefix) {
				endpoint, out.Side, out.Node = c, e.side, e.node
			}
		}
	}
	last := path[len(path)-1]
	r.expressions() // decodes the comment, too
	text := render(r)
	switch {
	case felixPolicy(last.name):
		p, ok := felixPolicyOf(last)
		switch {
		case ok:
			out.Policies = []tracer.Ref{p}
		case !out.Node:
			return nil // a policy denies, and does not say which it is
		}
		out.Why = tracer.AgentDenies
	case strings.Contains(text, "rpfilter"):
		out.Why = tracer.AgentSource
	case last != endpoint:
		return nil
	case strings.Contains(r.comment, felixNoPolicy):
		out.Why = tracer.AgentUnmatched
		out.Policies = felixApplied(endpoint, r)
	case strings.Contains(r.comment, felixNoProfile), strings.Contains(r.comment, felixNoEndpoint):
		out.Why = tracer.AgentUnknownPod
	case strings.Contains(strings.ToUpper(text), "STATE INVALID"):
		out.Why = tracer.AgentInvalid
	default:
		return nil
	}
	return &out
}

// felixPolicy tells the chains of policies by their names, which are cut and
// hashed if they are too long.
func felixPolicy(name string) bool {
	return strings.HasPrefix(name, "cali-pi-") || strings.HasPrefix(name, "cali-po-")
}

func felixGroup(name string) bool {
	return strings.HasPrefix(name, "cali-gi-") || strings.HasPrefix(name, "cali-go-")
}

// felixApplied are the policies that an endpoint's chain asks before a rule
// that drops what none of them let pass. With several tiers there is such a rule
// at the end of each, and only the last tier's policies count.
func felixApplied(c *chain, end *rule) []tracer.Ref {
	var out []tracer.Ref
	for _, r := range c.all() {
		if r == end {
			break
		}
		to := jumpOf(r)
		switch {
		case strings.Contains(r.comment, felixNoPolicy):
			out = nil
		case to == nil:
		case felixGroup(to.name):
			for _, inner := range to.all() {
				out = appendPolicy(out, jumpOf(inner))
			}
		default:
			out = appendPolicy(out, to)
		}
	}
	return out
}

func appendPolicy(out []tracer.Ref, c *chain) []tracer.Ref {
	if c == nil || !felixPolicy(c.name) {
		return out
	}
	if p, ok := felixPolicyOf(c); ok {
		return append(out, p)
	}
	return out
}

// jumpOf is the chain that a rule leads to, nil if to none.
func jumpOf(r *rule) *chain {
	for _, x := range r.expressions() {
		if v, ok := x.(verdict); ok && (v.kind == vJump || v.kind == vGoto) {
			return r.chain.table.chain(v.chain)
		}
	}
	return nil
}

// felixPolicyOf is the policy that a chain is written for. The comment of its
// first rule names it: "Policy NAME ingress".
func felixPolicyOf(c *chain) (tracer.Ref, bool) {
	if len(c.all()) == 0 {
		return tracer.Ref{}, false
	}
	first := c.rules[0]
	first.expressions()
	words := strings.Fields(first.comment)
	at := slices.Index(words, "Policy")
	if at < 0 || len(words) != at+3 || words[at+2] != "ingress" && words[at+2] != "egress" {
		return tracer.Ref{}, false
	}
	return felixName(words[at+1]), true
}

// felixName turns Felix's name of a policy into the object's. Those of
// Kubernetes carry a prefix, and all but global ones their namespace.
func felixName(name string) tracer.Ref {
	ns, rest, namespaced := strings.Cut(name, "/")
	if !namespaced {
		return tracer.Ref{Kind: tracer.KindGlobalPolicy, Name: name}
	}
	if np, ok := strings.CutPrefix(rest, "knp.default."); ok {
		return tracer.Ref{Kind: tracer.KindNetworkPolicy, Namespace: ns, Name: np}
	}
	return tracer.Ref{Kind: tracer.KindCalicoPolicy, Namespace: ns, Name: rest}
}
