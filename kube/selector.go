package kube

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Selector is a label selector, ready to match, that can say what it missed.
// The zero Selector matches everything, as an empty LabelSelector does.
type Selector struct {
	reqs []Requirement
	// broken is set if the selector has an operator that no API version
	// knows; it then matches nothing.
	broken bool
}

// Requirement is one condition of a Selector.
type Requirement struct {
	Key string
	// Op is In, NotIn, Exists or DoesNotExist; matchLabels become In.
	Op     metav1.LabelSelectorOperator
	Values []string
}

// NewSelector prepares a selector. The caller decides what nil means.
func NewSelector(s *metav1.LabelSelector) Selector {
	var out Selector
	if s == nil {
		return out
	}
	for k, v := range s.MatchLabels {
		out.reqs = append(out.reqs, Requirement{k, metav1.LabelSelectorOpIn, []string{v}})
	}
	slices.SortFunc(out.reqs, func(a, b Requirement) int { return strings.Compare(a.Key, b.Key) })
	for _, e := range s.MatchExpressions {
		switch e.Operator {
		case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn,
			metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
			out.reqs = append(out.reqs, Requirement{e.Key, e.Operator, e.Values})
		default:
			out.broken = true
		}
	}
	return out
}

// Matches reports whether every requirement holds.
func (s Selector) Matches(labels map[string]string) bool {
	if s.broken {
		return false
	}
	for i := range s.reqs {
		if !s.reqs[i].holds(labels) {
			return false
		}
	}
	return true
}

// Misses returns the requirements that do not hold, in the selector's order.
func (s Selector) Misses(labels map[string]string) []Requirement {
	var out []Requirement
	for i := range s.reqs {
		if !s.reqs[i].holds(labels) {
			out = append(out, s.reqs[i])
		}
	}
	return out
}

// Missing counts the requirements that do not hold.
func (s Selector) Missing(labels map[string]string) int {
	n := 0
	for i := range s.reqs {
		if !s.reqs[i].holds(labels) {
			n++
		}
	}
	return n
}

// Empty reports whether the selector matches everything.
func (s Selector) Empty() bool { return !s.broken && len(s.reqs) == 0 }

// String gives the selector as kubectl prints it, "" if it matches everything.
func (s Selector) String() string {
	parts := make([]string, len(s.reqs))
	for i := range s.reqs {
		parts[i] = s.reqs[i].String()
	}
	return strings.Join(parts, ",")
}

// holds follows labels.Requirement.Matches: a missing key satisfies NotIn.
func (r *Requirement) holds(labels map[string]string) bool {
	v, ok := labels[r.Key]
	switch r.Op {
	case metav1.LabelSelectorOpIn:
		return ok && slices.Contains(r.Values, v)
	case metav1.LabelSelectorOpNotIn:
		return !ok || !slices.Contains(r.Values, v)
	case metav1.LabelSelectorOpExists:
		return ok
	case metav1.LabelSelectorOpDoesNotExist:
		return !ok
	}
	return false
}

// String gives the requirement as kubectl prints it.
func (r Requirement) String() string {
	switch r.Op {
	case metav1.LabelSelectorOpIn:
		if len(r.Values) == 1 {
			return r.Key + "=" + r.Values[0]
		}
		return fmt.Sprintf("%s in (%s)", r.Key, strings.Join(r.Values, ","))
	case metav1.LabelSelectorOpNotIn:
		if len(r.Values) == 1 {
			return r.Key + "!=" + r.Values[0]
		}
		return fmt.Sprintf("%s notin (%s)", r.Key, strings.Join(r.Values, ","))
	case metav1.LabelSelectorOpExists:
		return r.Key
	case metav1.LabelSelectorOpDoesNotExist:
		return "!" + r.Key
	}
	return fmt.Sprintf("%s %s?", r.Key, r.Op)
}
