package crosscheck

import (
	"maps"
	"slices"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/kube"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// TestNotIn shows the one thing in which cyclonus is wrong by the API's text: a
// label that is missing satisfies NotIn (k8s.io/apimachinery/pkg/labels,
// Requirement.Matches, which the API server and every implementation use).
// cyclonus denies it. So it is asked about a label that every object has.
func TestNotIn(t *testing.T) {
	s := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x"}}}}
	api, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []map[string]string{{}, {"a": "x"}, {"a": "z"}} {
		want := api.Matches(labels.Set(l))
		if got := kube.IsLabelsMatchLabelSelector(shadowed(l), *shadow(&s)); got != want {
			t.Errorf("%v: asked around the mistake, cyclonus says %v, and the API %v", l, got, want)
		}
		if got := kube.IsLabelsMatchLabelSelector(l, s); got != want && len(l) > 0 {
			t.Errorf("%v: cyclonus says %v, and the API %v", l, got, want)
		}
	}
	if kube.IsLabelsMatchLabelSelector(map[string]string{}, s) {
		t.Error("cyclonus knows now: ask it without a shadow")
	}
}

const shadowKey = "or-none."

// shadowed adds to each label that selectors ask for one that is always there.
func shadowed(l map[string]string) map[string]string {
	out := maps.Clone(l)
	if out == nil {
		out = map[string]string{}
	}
	for _, k := range []string{"a", "b", "c"} {
		out[shadowKey+k] = "none"
		if v, ok := l[k]; ok {
			out[shadowKey+k] = v
		}
	}
	return out
}

// shadow is the selector for such labels.
func shadow(s *metav1.LabelSelector) *metav1.LabelSelector {
	if s == nil {
		return nil
	}
	out := s.DeepCopy()
	for i := range out.MatchExpressions {
		if e := &out.MatchExpressions[i]; e.Operator == metav1.LabelSelectorOpNotIn {
			e.Key = shadowKey + e.Key
		}
	}
	return out
}

func shadowPeers(list []networkingv1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer {
	out := slices.Clone(list)
	for i := range out {
		out[i].NamespaceSelector, out[i].PodSelector = shadow(out[i].NamespaceSelector), shadow(out[i].PodSelector)
	}
	return out
}

func shadowPolicies(list []*networkingv1.NetworkPolicy) []*networkingv1.NetworkPolicy {
	var out []*networkingv1.NetworkPolicy
	for _, p := range list {
		p = p.DeepCopy()
		p.Spec.PodSelector = *shadow(&p.Spec.PodSelector)
		for i := range p.Spec.Ingress {
			p.Spec.Ingress[i].From = shadowPeers(p.Spec.Ingress[i].From)
		}
		for i := range p.Spec.Egress {
			p.Spec.Egress[i].To = shadowPeers(p.Spec.Egress[i].To)
		}
		out = append(out, p)
	}
	return out
}
