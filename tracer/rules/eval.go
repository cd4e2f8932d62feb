package rules

import (
	"slices"
	"sort"
)

// Hook numbers (linux/netfilter.h, enum nf_inet_hooks). Bridge hooks share
// them; netdev numbers its two from 0 (enum nf_dev_hooks), here they come last.
const (
	hookPrerouting  uint32 = 0
	hookInput       uint32 = 1
	hookForward     uint32 = 2
	hookOutput      uint32 = 3
	hookPostrouting uint32 = 4
	hookIngress     uint32 = 5
	hookEgress      uint32 = 6
)

var hookNames = map[uint32]string{hookPrerouting: "prerouting", hookInput: "input", hookForward: "forward", hookOutput: "output", hookPostrouting: "postrouting",
	hookIngress: "ingress", hookEgress: "egress"}

// maxDepth is nf_tables' own limit of jumps (NFT_JUMP_STACK_SIZE).
const maxDepth = 16

// hit is a rule, or a base chain's policy, that the packet reaches and that
// decides something.
type hit struct {
	base *chain
	rule *rule // nil for a policy
	path []*chain
	// surePath is how many chains of path were surely entered.
	surePath int
	// said are the comments of what led from chain to chain.
	said []string
	act  action
	// sure: every match on the way and in the rule itself is certain.
	sure bool
	// afterMaybe: something undecided before it could have ended the
	// evaluation of the same base chain.
	afterMaybe bool
	mark       uint32
	markKnown  bool
}

func (h *hit) drops() bool { return h.act.kind == vDrop }

// walk evaluates base chains and collects hits in order.
type walk struct {
	m      *machine
	base   *chain
	path   []*chain
	said   []string
	hits   []hit
	sureTo int  // how many chains of path were surely entered
	maybe  bool // something undecided could have ended this base chain
	// entered are the chains that were surely entered.
	entered []*chain
	// visited names every rule that surely matched, for look-ups by comment.
	visited []*rule
	// undecided are rules with a verdict that could not be decided.
	undecided []*rule
}

// hookChains are the base chains of one hook for a packet's family, in the
// order the kernel calls them: by priority; among equals the one registered
// last comes first (nf_hook_entries_grow inserts before).
func (rs *ruleset) hookChains(f family, hook uint32, keep func(*chain) bool) []*chain {
	var out []*chain
	for _, t := range rs.tables {
		if t.family != f && (t.family != famINet || f == famBridge || f == famNetdev && hook != hookIngress) {
			continue
		}
		for _, c := range t.order {
			if c.base != nil && !t.dormant && c.base.hook == hook && (keep == nil || keep(c)) {
				out = append(out, c)
			}
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.base.prio != b.base.prio {
			return a.base.prio < b.base.prio
		}
		if a.table != b.table {
			return a.table.handle > b.table.handle
		}
		return a.handle > b.handle
	})
	return out
}

// run evaluates one base chain. It reports whether the packet surely ended
// there (dropped), and continues with the next chain otherwise.
func (w *walk) run(c *chain) (dropped bool) {
	w.base, w.path, w.said, w.sureTo, w.maybe = c, nil, nil, 0, false
	end := w.chain(c, true)
	if end != triYes && c.base.drop {
		w.add(nil, action{verdict: verdict{kind: vDrop}, sure: triYes}, true)
		return end == triNo
	}
	last := len(w.hits) - 1
	return end == triYes && last >= 0 && w.hits[last].base == c && w.hits[last].drops() && w.hits[last].sure && !w.hits[last].afterMaybe
}

func (w *walk) add(r *rule, a action, sure bool) {
	w.hits = append(w.hits, hit{base: w.base, rule: r, path: append([]*chain(nil), w.path...), said: slices.Clone(w.said), surePath: w.sureTo, act: a, sure: sure, afterMaybe: w.maybe,
		mark: w.m.mark, markKnown: w.m.markKnown})
}

// chain evaluates one chain and says whether the base chain's evaluation ended
// in it with a final verdict.
func (w *walk) chain(c *chain, sure bool) tri {
	if len(w.path) > maxDepth {
		w.maybe = true
		return triMaybe
	}
	w.path = append(w.path, c)
	sureTo := w.sureTo
	if sure {
		w.sureTo = len(w.path)
		w.entered = append(w.entered, c)
	}
	defer func() { w.path, w.sureTo = w.path[:len(w.path)-1], sureTo }()
	ended := triNo
	for _, r := range c.all() {
		match, acts := w.m.rule(r)
		if match == triNo {
			continue
		}
		if match == triYes && sure {
			w.visited = append(w.visited, r)
		} else if len(acts) > 0 {
			w.undecided = append(w.undecided, r)
		}
		over, end := w.actions(r, acts, match, sure)
		if end == triMaybe {
			ended, w.maybe = triMaybe, true
		}
		if over {
			return max(ended, end)
		}
	}
	return ended
}

// actions applies the possible verdicts of one rule. over means that the rest
// of the chain is not evaluated.
func (w *walk) actions(r *rule, acts []action, match tri, sure bool) (over bool, end tri) {
	mark, known := w.m.mark, w.m.markKnown
	marks := map[uint32]bool{}
	for _, a := range acts {
		w.m.mark, w.m.markKnown = mark, known
		definite := match == triYes && a.sure == triYes
		o, e := w.action(r, a, definite, sure)
		marks[w.m.mark] = true
		known = known && w.m.markKnown
		if definite {
			return o, e
		}
		end = max(end, min(e, triMaybe))
	}
	if len(acts) > 0 {
		// Which way it went is not known, nor the mark it got there.
		marks[mark] = true
		w.m.markKnown = known && len(marks) == 1
	}
	return false, end
}

func (w *walk) action(r *rule, a action, definite, sure bool) (over bool, end tri) {
	switch a.kind {
	case vReturn:
		// An undecided return makes the rest of this chain uncertain, not what
		// comes after it.
		w.maybe = w.maybe || !definite
		return definite, triNo
	case vJump, vGoto:
		to := r.chain.table.chain(a.chain)
		if to == nil { // a target that is not known, in rules read as text
			w.m.markKnown, w.m.ctMarked = false, true
			w.add(r, perhapsDrop(unknown{"-j " + a.chain, true}), false)
			return false, triMaybe
		}
		before, depth := w.maybe, len(w.said)
		w.said = append(w.said, r.comment, a.said)
		end = w.chain(to, sure && definite)
		w.said = w.said[:depth]
		w.maybe = before || end == triMaybe || !definite && end != triNo
		return definite && (a.kind == vGoto || end == triYes), end
	}
	w.add(r, a, sure && definite)
	return definite, triYes
}
