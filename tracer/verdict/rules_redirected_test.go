package verdict

import "github.com/podpath/podpath/tracer"

// redirects: a rule of the node gives the flow another destination.
func redirects(to string, port uint16, with ...func(*tracer.RuleFact)) change {
	return func(s *scene) {
		r := tracer.RuleFact{Engine: "nftables", Family: "ip", Table: "forwards", Chain: "PRE", Hook: "prerouting", Verdict: "dnat", Text: "dnat", How: "computed"}
		if to != "" {
			r.Endpoint = ap(to, port)
		}
		for _, w := range with {
			w(&r)
		}
		s.n.Redirected = []tracer.RuleFact{r}
	}
}

func by(owner string) func(*tracer.RuleFact) {
	return func(r *tracer.RuleFact) { r.Owner = owner }
}

func redirectedFaults() []fault {
	const object = "FirewallRule ip forwards PRE"
	return []fault{
		{"a Service's connections are sent elsewhere", "redirected", "node-redirected", confirmed, object, []change{toService, translated("10.9.0.9", 81), redirects("10.9.0.9", 81), noNeighbour()}},
		{"a pod's connections are sent to another of its ports", "redirected", "node-redirected", confirmed, object, []change{translated(apiIP, 81), refusedByTarget, redirects(apiIP, 81)}},
		{"the same, by docker", "redirected", "node-redirected", confirmed, object, []change{translated(apiIP, 81), refusedByTarget, redirects(apiIP, 81, by("docker"))}},
		{"what goes outside is sent to the node", "redirected", "node-redirected", confirmed, object, []change{toWorld, translated(nodeIP, 3128), redirects("", 0), outcomeIs(tracer.OutcomeRefused)}},
		{"what serves Services is not known", "redirected", "node-redirected", probable, object, []change{toService, translated("10.9.0.9", 81), redirects("10.9.0.9", 81), noNeighbour(), noRules}},
	}
}

func redirectedLookalikes() []lookalike {
	stale := []change{toService, translated("10.1.0.66", 8080), noNeighbour()}
	also := func(more ...change) []change { return append(append([]change{}, stale...), more...) }
	return []lookalike{
		{"the proxy's own rules send it there", stale, "svc-stale-endpoint", "node-redirected", ""},
		{"a rule sends it elsewhere, and it went to where the proxy sends it", also(redirects("10.9.0.9", 81)), "svc-stale-endpoint", "node-redirected", ""},
		{"the CNI's rule sends it there", also(redirects("10.1.0.66", 8080, by("cilium"))), "svc-stale-endpoint", "node-redirected", ""},
		{"a rule of unknown origin sends it to an endpoint", []change{toService, translated(apiIP, 8080), refusedByTarget, redirects(apiIP, 8080)}, "app-no-listener", "node-redirected", ""},
		{"a rule to the node itself, and the packet went elsewhere", []change{translated(apiIP, 81), refusedByTarget, redirects("", 0)}, "app-no-listener", "node-redirected", ""},
		{"a rule, and the packet was not translated", []change{refusedByTarget, redirects(apiIP, 81)}, "app-no-listener", "node-redirected", ""},
		{"it is answered there", []change{translated(apiIP, 81), reached, established, redirects(apiIP, 81), outcomeIs(tracer.OutcomeDelivered)}, "ok", "node-redirected", ""},
	}
}
