package rules

import (
	"slices"

	"github.com/podpath/podpath/tracer"
)

// redirected is the rule that gives the flow's first packet another destination, if
// it is certain and no Service's: conntrack keeps to the first such rule.
func redirected(s *space, q tracer.Query) []tracer.RuleFact {
	p, _ := s.opening(q)
	w := s.intoNAT(s.all(), q, p.family(), false)
	for _, h := range w.hits {
		x, translates := h.act.stmt.(nat)
		_, here := h.act.stmt.(redir)
		if !here && !(translates && x.dnat) {
			continue
		}
		if !h.sure || h.afterMaybe || slices.ContainsFunc(h.path, isServiceChain) {
			return nil
		}
		f := h.fact("computed")
		f.Endpoint = h.act.target
		return []tracer.RuleFact{f}
	}
	return nil
}
