package kube

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// CNIPolicy is a policy of a kind that only one CNI knows: Calico's NetworkPolicy
// and GlobalNetworkPolicy, Cilium's CiliumNetworkPolicy and
// CiliumClusterwideNetworkPolicy. Only which pods it selects is read, for naming
// it; what it allows is not evaluated. It is immutable.
type CNIPolicy struct {
	Meta
	// CNI is "Calico" or "Cilium".
	CNI string
	// Kind is the object's own, with the group where a NetworkPolicy has it too:
	// "NetworkPolicy.crd.projectcalico.org", "CiliumNetworkPolicy".
	Kind string
	// Tier is Calico's spec.tier, "" for Cilium.
	Tier    string
	kind    kind
	selects []selection
	written writtenPolicy
}

// selection is one part of a policy: which pods, and which of their directions.
type selection struct {
	ingress, egress bool
	calico          *calicoPods
	cilium          *ciliumSelector
}

func (s *selection) match(l Labels) Answer {
	switch {
	case s.calico != nil:
		return s.calico.match(l)
	case s.cilium != nil:
		return s.cilium.match(l)
	}
	return Undecided // what could not be read
}

// Answer is whether a policy selects a pod; the zero Answer is that this cannot
// be said.
type Answer uint8

// The answers.
const (
	Undecided Answer = iota
	No
	Yes
)

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

func (a Answer) not() Answer {
	switch a {
	case Yes:
		return No
	case No:
		return Yes
	}
	return Undecided
}

// Labels are what policies select a pod by.
type Labels struct {
	Namespace string
	OfNS, Own map[string]string
}

// Selects says whether the policy selects a pod with these labels for ingress,
// or else for egress.
func (p *CNIPolicy) Selects(l Labels, ingress bool) Answer {
	if p.Namespace != "" && p.Namespace != l.Namespace {
		return No
	}
	out := No
	for i := range p.selects {
		s := &p.selects[i]
		if ingress && !s.ingress || !ingress && !s.egress {
			continue
		}
		if out = either(out, s.match(l)); out == Yes {
			return Yes
		}
	}
	return out
}

// CNIPolicies returns the policies of CNIs' own kinds that can be about a pod of
// that namespace, by kind and name.
func (s *Snapshot) CNIPolicies(namespace string) []*CNIPolicy {
	own, everywhere := s.cniPolicies[namespace], s.cniPolicies[""]
	if namespace == "" || len(own) == 0 {
		return everywhere
	}
	return slices.Concat(own, everywhere)
}

func (s *Snapshot) sortCNIPolicies() {
	s.cniPolicies = make(map[string][]*CNIPolicy)
	for i := range s.ofCNI {
		for _, p := range s.ofCNI[i].all() {
			s.cniPolicies[p.Namespace] = append(s.cniPolicies[p.Namespace], p)
		}
	}
	for _, list := range s.cniPolicies {
		slices.SortFunc(list, func(a, b *CNIPolicy) int {
			if c := strings.Compare(a.Kind, b.Kind); c != 0 {
				return c
			}
			return strings.Compare(a.Name, b.Name)
		})
	}
}

// AgentPolicies are Calico's own policies, by name, for the rules of its agent
// that name them; and the kinds that could be read.
func (s *Snapshot) AgentPolicies() (list []tracer.Ref, read []string) {
	for _, k := range []kind{kindGlobalPolicy, kindCalicoPolicy} {
		for _, p := range s.ofCNI[k-kindGlobalPolicy].all() {
			list = append(list, tracer.Ref{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name})
		}
	}
	slices.SortFunc(list, func(a, b tracer.Ref) int {
		return strings.Compare(a.Kind+" "+a.Namespace+"/"+a.Name, b.Kind+" "+b.Namespace+"/"+b.Name)
	})
	return list, s.Read()
}

type calicoSpec struct {
	Tier                   string   `json:"tier,omitempty"`
	Selector               string   `json:"selector"`
	NamespaceSelector      string   `json:"namespaceSelector,omitempty"`
	ServiceAccountSelector string   `json:"serviceAccountSelector,omitempty"`
	Types                  []string `json:"types"`
	// Host policies are not about pods.
	DoNotTrack bool `json:"doNotTrack,omitempty"`
	PreDNAT    bool `json:"preDNAT,omitempty"`
}

func reduceCalicoPolicy(k kind, h *customHead) *CNIPolicy {
	out := &CNIPolicy{Meta: h.meta(), kind: k, CNI: "Calico", Kind: k.String()}
	var spec struct {
		calicoSpec
		Ingress, Egress []struct{}
	}
	if json.Unmarshal(h.Spec, &spec) != nil {
		return out.unreadable(h)
	}
	if len(spec.Types) == 0 {
		spec.Types = calicoTypes(len(spec.Ingress), len(spec.Egress))
	}
	out.Tier = spec.Tier
	out.written = h.written(encoded(spec.calicoSpec))
	if !spec.DoNotTrack && !spec.PreDNAT {
		out.selects = append(out.selects, selection{
			ingress: slices.Contains(spec.Types, "Ingress"), egress: slices.Contains(spec.Types, "Egress"), calico: spec.pods(),
		})
	}
	return out
}

// calicoTypes is the default of spec.types, after
// projectcalico.org/v3 NetworkPolicySpec.
func calicoTypes(ingress, egress int) []string {
	switch {
	case egress == 0:
		return []string{"Ingress"}
	case ingress == 0:
		return []string{"Egress"}
	}
	return []string{"Ingress", "Egress"}
}

// calicoPods is which pods a policy of Calico selects.
type calicoPods struct {
	pods, namespaces calicoExpr
	byAccount        bool
}

func (s *calicoSpec) pods() *calicoPods {
	return &calicoPods{parseCalico(s.Selector), parseCalico(s.NamespaceSelector), s.ServiceAccountSelector != ""}
}

func (p *calicoPods) match(l Labels) Answer {
	out := both(p.pods.match(calicoLabels(l)), p.namespaces.match(calicoNamespaceLabels(l)))
	if p.byAccount {
		// Neither a pod's account nor the account's labels are read.
		out = both(out, Undecided)
	}
	return out
}

// calicoLabels are a pod's as Calico knows it (libcalico-go's conversion).
func calicoLabels(l Labels) lookup {
	return func(key string) (string, Answer) {
		switch key {
		case "projectcalico.org/namespace":
			return l.Namespace, Yes
		case "projectcalico.org/orchestrator":
			return "k8s", Yes
		case "projectcalico.org/serviceaccount":
			return "", Undecided
		}
		if strings.HasPrefix(key, "pcsa.") {
			return "", Undecided
		}
		if k, ok := strings.CutPrefix(key, "pcns."); ok {
			return calicoNamespaceLabels(l)(k)
		}
		v, ok := l.Own[key]
		return v, answer(ok)
	}
}

func calicoNamespaceLabels(l Labels) lookup {
	return func(key string) (string, Answer) {
		if key == "projectcalico.org/name" {
			return l.Namespace, Yes
		}
		v, ok := l.OfNS[key]
		return v, answer(ok)
	}
}

type ciliumRule struct {
	EndpointSelector *ciliumSelector `json:"endpointSelector,omitempty"`
	// Host policies are not about pods.
	NodeSelector *ciliumSelector `json:"nodeSelector,omitempty"`
	Ingress      present         `json:"ingress,omitempty"`
	IngressDeny  present         `json:"ingressDeny,omitempty"`
	Egress       present         `json:"egress,omitempty"`
	EgressDeny   present         `json:"egressDeny,omitempty"`
}

// present is a list of which only matters whether it is empty: then the rule is
// not about that direction.
type present []struct{}

type ciliumSelector struct {
	MatchLabels      map[string]string   `json:"matchLabels,omitempty"`
	MatchExpressions []ciliumRequirement `json:"matchExpressions,omitempty"`
}

type ciliumRequirement struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

func reduceCiliumPolicy(k kind, raw json.RawMessage, h *customHead) *CNIPolicy {
	out := &CNIPolicy{Meta: h.meta(), kind: k, CNI: "Cilium", Kind: h.Kind}
	var rules []ciliumRule
	var whole struct {
		Spec  *ciliumRule  `json:"spec"`
		Specs []ciliumRule `json:"specs"`
	}
	if json.Unmarshal(raw, &whole) != nil {
		return out.unreadable(h)
	}
	if whole.Spec != nil {
		rules = append(rules, *whole.Spec)
	}
	rules = append(rules, whole.Specs...)
	for i := range rules {
		r := &rules[i]
		if r.EndpointSelector == nil {
			continue
		}
		out.selects = append(out.selects, selection{
			ingress: len(r.Ingress)+len(r.IngressDeny) > 0, egress: len(r.Egress)+len(r.EgressDeny) > 0, cilium: r.EndpointSelector,
		})
	}
	out.written = h.written(nil)
	out.written.Specs = encoded(rules)
	return out
}

// unreadable is a policy of which only the name can be told.
func (p *CNIPolicy) unreadable(h *customHead) *CNIPolicy {
	p.selects = []selection{{ingress: true, egress: true}}
	p.written = h.written(h.Spec)
	return p
}

// match follows Cilium's label sources: without a source, or with "any", the
// pod's own label is meant, and so with "k8s".
func (s *ciliumSelector) match(l Labels) Answer {
	out := Yes
	for k, v := range s.MatchLabels {
		have, known := ciliumLabel(l, k)
		out = both(out, both(known, answer(have == v)))
	}
	for i := range s.MatchExpressions {
		out = both(out, s.MatchExpressions[i].match(l))
	}
	return out
}

func (r *ciliumRequirement) match(l Labels) Answer {
	have, known := ciliumLabel(l, r.Key)
	if known == Undecided {
		return Undecided
	}
	in := answer(known == Yes && slices.Contains(r.Values, have))
	switch r.Operator {
	case "In":
		return in
	case "NotIn":
		return in.not()
	case "Exists":
		return known
	case "DoesNotExist":
		return known.not()
	}
	return Undecided
}

// ciliumLabel finds a label by Cilium's name for it.
func ciliumLabel(l Labels, key string) (string, Answer) {
	if source, rest, ok := strings.Cut(key, ":"); ok {
		if source != "k8s" && source != "any" {
			return "", No // reserved:host and its like are no pods
		}
		key = rest
	}
	switch key {
	case "io.kubernetes.pod.namespace":
		return l.Namespace, Yes
	case "io.cilium.k8s.policy.serviceaccount", "io.cilium.k8s.policy.cluster":
		return "", Undecided
	}
	if k, ok := strings.CutPrefix(key, "io.cilium.k8s.namespace.labels."); ok {
		v, has := l.OfNS[k]
		return v, answer(has)
	}
	v, ok := l.Own[key]
	return v, answer(ok)
}

func both(a, b Answer) Answer {
	switch {
	case a == No || b == No:
		return No
	case a == Undecided || b == Undecided:
		return Undecided
	}
	return Yes
}

func either(a, b Answer) Answer { return both(a.not(), b.not()).not() }

// encoded cannot fail: the types have only strings, lists and maps of them.
func encoded(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return raw
}
