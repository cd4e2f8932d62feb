package kube

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// NetworkPolicy is a NetworkPolicy (networking.k8s.io/v1), ready to evaluate.
// It is immutable.
type NetworkPolicy struct {
	Meta
	// Spec is what was written; nothing may change it.
	Spec *networkingv1.NetworkPolicySpec

	PodSelector Selector
	// Ingress and Egress say which directions the policy isolates, with the
	// API's default: ingress always, egress if there is any egress rule.
	Ingress, Egress bool
	IngressRules    []PolicyRule
	EgressRules     []PolicyRule
}

// PolicyRule is one entry of spec.ingress or spec.egress.
type PolicyRule struct {
	// Peers is empty if the rule allows every peer.
	Peers []PolicyPeer
	// Ports is empty if the rule allows every port and protocol.
	Ports []PolicyPort
}

// PolicyPeer is one entry of from or to. Block is set, or one or both of the
// selectors.
type PolicyPeer struct {
	Block      netip.Prefix
	Except     []netip.Prefix
	Namespaces *Selector // nil: only the policy's own namespace
	Pods       *Selector // nil: every pod of those namespaces
}

// PolicyPort is one entry of ports. Name is set for a named port; otherwise
// the range is From..To, and 0..65535 if no port is given.
type PolicyPort struct {
	Proto    uint8
	Name     string
	From, To uint16
}

func reducePolicy(p *networkingv1.NetworkPolicy) *NetworkPolicy {
	spec := p.Spec
	out := &NetworkPolicy{
		Meta:        Meta{Namespace: p.Namespace, Name: p.Name, rv: p.ResourceVersion},
		Spec:        &spec,
		PodSelector: NewSelector(&spec.PodSelector),
		Ingress:     slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeIngress),
		Egress:      slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeEgress),
	}
	if len(spec.PolicyTypes) == 0 {
		out.Ingress, out.Egress = true, len(spec.Egress) > 0
	}
	for _, r := range spec.Ingress {
		out.IngressRules = append(out.IngressRules, PolicyRule{policyPeers(r.From), policyPorts(r.Ports)})
	}
	for _, r := range spec.Egress {
		out.EgressRules = append(out.EgressRules, PolicyRule{policyPeers(r.To), policyPorts(r.Ports)})
	}
	return out
}

func policyPeers(list []networkingv1.NetworkPolicyPeer) []PolicyPeer {
	out := make([]PolicyPeer, 0, len(list))
	for _, p := range list {
		var peer PolicyPeer
		if b := p.IPBlock; b != nil {
			// An unreadable CIDR leaves the invalid Prefix, which holds no
			// address: the peer then matches nothing, as in the API's validation.
			block, err := netip.ParsePrefix(b.CIDR)
			if err == nil {
				peer.Block = block.Masked()
			}
			peer.Except = parsePrefixes(b.Except)
		}
		if p.NamespaceSelector != nil {
			s := NewSelector(p.NamespaceSelector)
			peer.Namespaces = &s
		}
		if p.PodSelector != nil {
			s := NewSelector(p.PodSelector)
			peer.Pods = &s
		}
		out = append(out, peer)
	}
	return out
}

func policyPorts(list []networkingv1.NetworkPolicyPort) []PolicyPort {
	out := make([]PolicyPort, 0, len(list))
	for _, p := range list {
		port := PolicyPort{Proto: protoNumber(""), To: 65535}
		if p.Protocol != nil {
			port.Proto = protoNumber(*p.Protocol)
		}
		switch {
		case p.Port == nil:
		case p.Port.Type == intstr.String:
			port.Name, port.To = p.Port.StrVal, 0
		default:
			port.From = uint16(p.Port.IntVal)
			port.To = port.From
			if p.EndPort != nil {
				port.To = uint16(*p.EndPort)
			}
		}
		out = append(out, port)
	}
	return out
}
