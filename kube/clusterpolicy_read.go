package kube

import (
	"encoding/json"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// reduceClusterPolicy reads the kinds of policy.networking.k8s.io. v1beta1 of
// ClusterNetworkPolicy has the fields of v1alpha2.
func reduceClusterPolicy(k kind, h *customHead) *ClusterPolicy {
	out := &ClusterPolicy{Meta: h.meta(), kind: k, Kind: h.Kind, written: h.written(h.Spec)}
	understood := false
	switch h.Kind {
	case "AdminNetworkPolicy":
		understood = decodeSpec(h.Spec, out.admin)
	case "BaselineAdminNetworkPolicy":
		// There is one object, and it has no priority: it comes after all others.
		out.Tier, out.Priority = TierBaseline, math.MaxInt32
		understood = decodeSpec(h.Spec, out.baseline)
	default:
		understood = decodeSpec(h.Spec, out.cluster)
	}
	if !understood {
		out.Subject.Unknown = true
	}
	return out
}

// decodeSpec reports false for a spec whose fields are not what they were: the
// object is of a newer version, and nothing can be said of it.
func decodeSpec[T any](raw json.RawMessage, take func(*T)) bool {
	var spec T
	if json.Unmarshal(raw, &spec) != nil {
		return false
	}
	take(&spec)
	return true
}

func (p *ClusterPolicy) admin(s *v1alpha1.AdminNetworkPolicySpec) {
	p.Priority, p.Subject = s.Priority, podSetV1(s.Subject.Namespaces, s.Subject.Pods)
	for _, r := range s.Ingress {
		p.Ingress = append(p.Ingress, tierRuleV1(r.Name, string(r.Action), ingressPeersV1(r.From), r.Ports))
	}
	for _, r := range s.Egress {
		p.Egress = append(p.Egress, tierRuleV1(r.Name, string(r.Action), adminPeersV1(r.To), r.Ports))
	}
}

func (p *ClusterPolicy) baseline(s *v1alpha1.BaselineAdminNetworkPolicySpec) {
	p.Subject = podSetV1(s.Subject.Namespaces, s.Subject.Pods)
	for _, r := range s.Ingress {
		p.Ingress = append(p.Ingress, tierRuleV1(r.Name, string(r.Action), ingressPeersV1(r.From), r.Ports))
	}
	for _, r := range s.Egress {
		var peers []TierPeer
		for _, x := range r.To {
			peers = append(peers, tierPeer(podsV1(x.Namespaces, x.Pods), x.Nodes, texted(x.Networks), nil))
		}
		p.Egress = append(p.Egress, tierRuleV1(r.Name, string(r.Action), peers, r.Ports))
	}
}

func (p *ClusterPolicy) cluster(s *v1alpha2.ClusterNetworkPolicySpec) {
	p.Priority, p.Subject = s.Priority, podSet(podsV2(s.Subject.Namespaces, s.Subject.Pods))
	switch s.Tier {
	case v1alpha2.AdminTier:
	case v1alpha2.BaselineTier:
		p.Tier = TierBaseline
	default:
		p.Subject.Unknown = true
	}
	for _, r := range s.Ingress {
		var peers []TierPeer
		for _, x := range r.From {
			peers = append(peers, tierPeer(podsV2(x.Namespaces, x.Pods), nil, nil, nil))
		}
		p.Ingress = append(p.Ingress, tierRuleV2(r.Name, string(r.Action), peers, r.Protocols))
	}
	for _, r := range s.Egress {
		var peers []TierPeer
		for _, x := range r.To {
			peers = append(peers, tierPeer(podsV2(x.Namespaces, x.Pods), x.Nodes, texted(x.Networks), texted(x.DomainNames)))
		}
		p.Egress = append(p.Egress, tierRuleV2(r.Name, string(r.Action), peers, r.Protocols))
	}
}

func ingressPeersV1(list []v1alpha1.AdminNetworkPolicyIngressPeer) []TierPeer {
	var out []TierPeer
	for _, x := range list {
		out = append(out, tierPeer(podsV1(x.Namespaces, x.Pods), nil, nil, nil))
	}
	return out
}

func adminPeersV1(list []v1alpha1.AdminNetworkPolicyEgressPeer) []TierPeer {
	var out []TierPeer
	for _, x := range list {
		out = append(out, tierPeer(podsV1(x.Namespaces, x.Pods), x.Nodes, texted(x.Networks), texted(x.DomainNames)))
	}
	return out
}

func podsV1(namespaces *metav1.LabelSelector, pods *v1alpha1.NamespacedPod) *PodSet {
	if pods != nil {
		return &PodSet{Namespaces: NewSelector(&pods.NamespaceSelector), Pods: NewSelector(&pods.PodSelector)}
	}
	return allPodsOf(namespaces)
}

func podsV2(namespaces *metav1.LabelSelector, pods *v1alpha2.NamespacedPod) *PodSet {
	if pods != nil {
		return &PodSet{Namespaces: NewSelector(&pods.NamespaceSelector), Pods: NewSelector(&pods.PodSelector)}
	}
	return allPodsOf(namespaces)
}

func allPodsOf(namespaces *metav1.LabelSelector) *PodSet {
	if namespaces == nil {
		return nil
	}
	return &PodSet{Namespaces: NewSelector(namespaces)}
}

func podSetV1(namespaces *metav1.LabelSelector, pods *v1alpha1.NamespacedPod) PodSet {
	return podSet(podsV1(namespaces, pods))
}

func podSet(s *PodSet) PodSet {
	if s == nil {
		return PodSet{Unknown: true}
	}
	return *s
}

func tierPeer(pods *PodSet, nodes *metav1.LabelSelector, networks, domains []string) TierPeer {
	out := TierPeer{Pods: pods, Networks: parsePrefixes(networks), Domains: domains}
	if nodes != nil {
		s := NewSelector(nodes)
		out.Nodes = &s
	}
	out.Unknown = pods == nil && nodes == nil && len(networks) == 0 && len(domains) == 0
	return out
}

func texted[T ~string](list []T) []string {
	var out []string
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}

func tierRuleV1(name, action string, peers []TierPeer, ports *[]v1alpha1.AdminNetworkPolicyPort) TierRule {
	out := TierRule{Name: name, Action: tierAction(action), Peers: peers}
	if ports == nil {
		return out
	}
	for _, p := range *ports {
		switch {
		case p.PortNumber != nil:
			n := uint16(p.PortNumber.Port)
			out.Ports = append(out.Ports, PolicyPort{Proto: protoNumber(p.PortNumber.Protocol), From: n, To: n})
		case p.PortRange != nil:
			out.Ports = append(out.Ports, portRange(p.PortRange.Protocol, p.PortRange.Start, p.PortRange.End))
		case p.NamedPort != nil:
			out.Ports = append(out.Ports, PolicyPort{Name: *p.NamedPort})
		default:
			out.UnknownPorts = true
		}
	}
	return out
}

func portRange(proto corev1.Protocol, from, to int32) PolicyPort {
	return PolicyPort{Proto: protoNumber(proto), From: uint16(from), To: uint16(to)}
}

func tierRuleV2(name, action string, peers []TierPeer, list []v1alpha2.ClusterNetworkPolicyProtocol) TierRule {
	out := TierRule{Name: name, Action: tierAction(action), Peers: peers}
	add := func(proto corev1.Protocol, p *v1alpha2.Port) {
		switch {
		case p == nil:
			out.Ports = append(out.Ports, portRange(proto, 0, 65535))
		case p.Range != nil:
			out.Ports = append(out.Ports, portRange(proto, p.Range.Start, p.Range.End))
		case p.Number != 0:
			out.Ports = append(out.Ports, portRange(proto, p.Number, p.Number))
		default:
			out.UnknownPorts = true
		}
	}
	for _, p := range list {
		switch {
		case p.TCP != nil:
			add(corev1.ProtocolTCP, p.TCP.DestinationPort)
		case p.UDP != nil:
			add(corev1.ProtocolUDP, p.UDP.DestinationPort)
		case p.SCTP != nil:
			add(corev1.ProtocolSCTP, p.SCTP.DestinationPort)
		case p.DestinationNamedPort != "":
			out.Ports = append(out.Ports, PolicyPort{Name: p.DestinationNamedPort})
		default:
			out.UnknownPorts = true
		}
	}
	return out
}
