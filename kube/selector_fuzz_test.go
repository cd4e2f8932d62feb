package kube

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// selectorOf reads a selector out of words: KEY OPERATOR VALUE,VALUE ...
func selectorOf(text string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	w := strings.Fields(text)
	for ; len(w) >= 3; w = w[3:] {
		if w[1] == "=" {
			if s.MatchLabels == nil {
				s.MatchLabels = map[string]string{}
			}
			s.MatchLabels[w[0]] = w[2]
			continue
		}
		r := metav1.LabelSelectorRequirement{Key: w[0], Operator: metav1.LabelSelectorOperator(w[1])}
		if w[2] != "-" {
			r.Values = strings.Split(w[2], ",")
		}
		s.MatchExpressions = append(s.MatchExpressions, r)
	}
	return s
}

// FuzzSelector compares with the API server's own code, where that accepts the
// selector; what it refuses matches nothing that it could not prove.
func FuzzSelector(f *testing.F) {
	f.Add("app = web tier In a,b", "app=web,tier=a")
	f.Add("app NotIn web", "")
	f.Add("app Exists -", "app=")
	f.Add("app DoesNotExist - x Gt 5", "x=6")
	f.Add("a In - b NotIn -", "a=b")
	f.Fuzz(func(t *testing.T, selector, set string) {
		in := selectorOf(selector)
		have := map[string]string{}
		for pair := range strings.SplitSeq(set, ",") {
			if k, v, ok := strings.Cut(pair, "="); ok {
				have[k] = v
			}
		}
		got := NewSelector(in)
		matches, missing := got.Matches(have), got.Misses(have)
		if len(missing) != got.Missing(have) {
			t.Errorf("%d misses, counted %d", len(missing), got.Missing(have))
		}
		if matches && len(missing) > 0 {
			t.Errorf("matches, and misses %v", missing)
		}
		want, err := metav1.LabelSelectorAsSelector(in)
		if err != nil {
			return
		}
		if w := want.Matches(labels.Set(have)); w != matches {
			t.Errorf("%q of %q: %t, the API says %t", selector, set, matches, w)
		}
	})
}
