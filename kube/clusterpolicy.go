package kube

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ClusterPolicy is a policy of those who run the cluster, ready to evaluate: an
// AdminNetworkPolicy or BaselineAdminNetworkPolicy (policy.networking.k8s.io,
// v1alpha1) or a ClusterNetworkPolicy (v1alpha2, v1beta1). It is immutable.
type ClusterPolicy struct {
	Meta
	Kind string // "AdminNetworkPolicy", ...
	Tier PolicyTier
	// Priority orders the policies of a tier; the lower is asked first.
	Priority int32
	Subject  PodSet
	Ingress  []TierRule
	Egress   []TierRule

	kind kind
	// written is the object as it came, without status.
	written writtenPolicy
}

// PolicyTier says whether a cluster-wide policy is asked before NetworkPolicies
// or where none selects the pod.
type PolicyTier uint8

// The tiers of cluster-wide policies, in the order in which they are asked.
const (
	TierAdmin PolicyTier = iota
	TierBaseline
	policyTiers
)

// String gives "admin" or "baseline".
func (t PolicyTier) String() string {
	if t == TierAdmin {
		return "admin"
	}
	return "baseline"
}

// TierAction is what a rule does with what it matches.
type TierAction uint8

// The actions. ActionUnknown is one that this version of podpath does not know.
const (
	ActionUnknown TierAction = iota
	ActionAllow
	ActionDeny
	ActionPass // to the next tier
)

// String gives the word that AdminNetworkPolicy has for it.
func (a TierAction) String() string {
	return [...]string{"Unknown", "Allow", "Deny", "Pass"}[a]
}

func tierAction(s string) TierAction {
	switch s {
	case "Allow", "Accept":
		return ActionAllow
	case "Deny":
		return ActionDeny
	case "Pass":
		return ActionPass
	}
	return ActionUnknown
}

// TierRule is one rule of a cluster-wide policy. Rules of a policy are asked in
// order, and the first that matches decides.
type TierRule struct {
	Name   string // "" if it has none
	Action TierAction
	Peers  []TierPeer
	// Ports is empty if the rule matches every port and protocol. A named port
	// has no protocol (Proto is 0).
	Ports []PolicyPort
	// UnknownPorts: an entry of the ports has none of the fields that this
	// version of podpath knows.
	UnknownPorts bool
}

// TierPeer is one entry of from or to; exactly one field is set.
type TierPeer struct {
	Pods     *PodSet
	Nodes    *Selector
	Networks []netip.Prefix
	// Domains are domain names, which no address can be compared with.
	Domains []string
	// Unknown: it has none of the fields above, so that the object is of a newer
	// version. The API then asks to fail closed: Allow matches nothing, and Deny
	// and Pass deny everything.
	Unknown bool
}

// PodSet is pods selected by the labels of their namespace and their own. Pods
// of the node's network are never among them.
type PodSet struct {
	Namespaces Selector
	Pods       Selector
	// Unknown: there was no selector that this version of podpath knows.
	Unknown bool
}

// Holds reports whether a pod with these labels is in the set.
func (s *PodSet) Holds(namespace, pod map[string]string) bool {
	return !s.Unknown && s.Namespaces.Matches(namespace) && s.Pods.Matches(pod)
}

// writtenPolicy keeps a custom object for a dump.
type writtenPolicy struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       json.RawMessage   `json:"spec,omitempty"`
	Specs      json.RawMessage   `json:"specs,omitempty"` // Cilium
}

// customHead is what every custom object begins with.
type customHead struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Namespace       string `json:"namespace"`
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Spec json.RawMessage `json:"spec"`
}

func readCustom(raw json.RawMessage) (customHead, error) {
	var h customHead
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, fmt.Errorf("decode %s: %w", nameIn(raw), err)
	}
	return h, nil
}

func (h *customHead) group() string {
	group, _, _ := strings.Cut(h.APIVersion, "/")
	return group
}

func (h *customHead) meta() Meta {
	return Meta{Namespace: h.Metadata.Namespace, Name: h.Metadata.Name, rv: h.Metadata.ResourceVersion}
}

func (h *customHead) written(spec json.RawMessage) writtenPolicy {
	m := map[string]string{"name": h.Metadata.Name}
	if h.Metadata.Namespace != "" {
		m["namespace"] = h.Metadata.Namespace
	}
	return writtenPolicy{APIVersion: h.APIVersion, Kind: h.Kind, Metadata: m, Spec: spec}
}

// ClusterPolicies returns the cluster-wide policies of a tier in the order in
// which they are asked: by priority, then by kind and name, which the API leaves
// to the implementation.
func (s *Snapshot) ClusterPolicies(t PolicyTier) []*ClusterPolicy { return s.tiers[t] }

func compareClusterPolicies(a, b *ClusterPolicy) int {
	if a.Priority != b.Priority {
		return int(a.Priority) - int(b.Priority)
	}
	if c := strings.Compare(a.Kind, b.Kind); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// sortTiers lists the cluster-wide policies by tier.
func (s *Snapshot) sortTiers() {
	s.tiers = [policyTiers][]*ClusterPolicy{}
	for i := range s.clusterWide {
		for _, p := range s.clusterWide[i].all() {
			s.tiers[p.Tier] = append(s.tiers[p.Tier], p)
		}
	}
	for _, list := range s.tiers {
		slices.SortFunc(list, compareClusterPolicies)
	}
}
