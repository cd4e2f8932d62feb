package rules

import (
	"slices"

	"github.com/podpath/podpath/tracer"
)

// conntrackPriority is where conntrack looks at packets first
// (NF_IP_PRI_CONNTRACK): what is exempted later is exempted too late.
const conntrackPriority = -200

// untracked are the rules that keep conntrack from seeing the flow, so that no
// rule translates it.
func untracked(s *space, q tracer.Query) []tracer.RuleFact {
	p, hook := s.opening(q)
	w := &walk{m: newMachine(p, s)}
	early := func(c *chain) bool { return c.base.prio < conntrackPriority }
	var out []tracer.RuleFact
	for _, c := range s.all().hookChains(p.family(), hook, early) {
		before := len(w.visited)
		dropped := w.run(c)
		for _, r := range w.visited[before:] {
			if !r.untracks() {
				continue
			}
			f := (&hit{base: c, rule: r, path: []*chain{r.chain}}).fact("computed")
			f.Verdict = "notrack"
			return append(out, f)
		}
		if dropped {
			break
		}
	}
	return out
}

func (r *rule) untracks() bool {
	return slices.ContainsFunc(r.expressions(), func(x any) bool {
		u, ok := x.(untrack)
		return ok && u.whole
	})
}
