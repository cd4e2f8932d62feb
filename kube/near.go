package kube

import (
	"slices"
	"strings"
)

// mostNear is how many alternatives an error names.
const mostNear = 3

// nearest returns the candidates that a person may have meant, best first: the
// same name elsewhere, names that start with what was written, and names a few
// letters away.
func nearest(want Key, have []Key) []Key {
	type scored struct {
		key  Key
		cost int
	}
	var list []scored
	for _, k := range have {
		if c, ok := distance(want, k); ok {
			list = append(list, scored{k, c})
		}
	}
	slices.SortFunc(list, func(a, b scored) int {
		if a.cost != b.cost {
			return a.cost - b.cost
		}
		return compareKeys(a.key, b.key)
	})
	var out []Key
	for _, s := range list[:min(len(list), mostNear)] {
		out = append(out, s.key)
	}
	return out
}

// distance grades a candidate; the lower the nearer. Another namespace costs
// one step, so that the same name elsewhere ranks with one wrong letter here.
func distance(want, have Key) (int, bool) {
	cost := 0
	if want.Namespace != have.Namespace {
		cost = 1
	}
	if want.Name == have.Name {
		return cost, true
	}
	if len(want.Name) >= 3 && strings.HasPrefix(have.Name, want.Name+"-") {
		return cost + 1, true // a workload's name for one of its pods
	}
	most := min(1+len(want.Name)/4, 4)
	d := EditDistance(want.Name, have.Name, most)
	if d > most {
		return 0, false
	}
	return cost + d, true
}

// EditDistance counts inserted, deleted, changed and swapped neighbouring
// bytes (optimal string alignment). It gives up beyond most.
func EditDistance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		best := cur[0]
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
			best = min(best, cur[j])
		}
		if best > most {
			return most + 1
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
