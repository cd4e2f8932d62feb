package crosscheck

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// object is the policy as one of the API's kinds.
func (p *widePolicy) object() any {
	meta := metav1.ObjectMeta{Name: p.name}
	switch p.kind {
	case "anp":
		o := &v1alpha1.AdminNetworkPolicy{TypeMeta: metav1.TypeMeta{APIVersion: "policy.networking.k8s.io/v1alpha1", Kind: "AdminNetworkPolicy"}, ObjectMeta: meta}
		o.Spec.Priority, o.Spec.Subject.Pods = p.priority, podsV1(p.subject)
		for _, r := range p.ingress {
			o.Spec.Ingress = append(o.Spec.Ingress, v1alpha1.AdminNetworkPolicyIngressRule{Action: v1alpha1.AdminNetworkPolicyRuleAction(r.action), From: fromV1(r.peers), Ports: r.portsV1()})
		}
		for _, r := range p.egress {
			x := v1alpha1.AdminNetworkPolicyEgressRule{Action: v1alpha1.AdminNetworkPolicyRuleAction(r.action), Ports: r.portsV1()}
			for _, peer := range r.peers {
				if peer.IPBlock != nil {
					x.To = append(x.To, v1alpha1.AdminNetworkPolicyEgressPeer{Networks: []v1alpha1.CIDR{v1alpha1.CIDR(peer.IPBlock.CIDR)}})
				} else {
					x.To = append(x.To, v1alpha1.AdminNetworkPolicyEgressPeer{Pods: podsV1(peer)})
				}
			}
			o.Spec.Egress = append(o.Spec.Egress, x)
		}
		return o
	case "banp":
		return p.baselineObject(meta)
	}
	return p.clusterObject(meta)
}

func (p *widePolicy) baselineObject(meta metav1.ObjectMeta) any {
	o := &v1alpha1.BaselineAdminNetworkPolicy{TypeMeta: metav1.TypeMeta{APIVersion: "policy.networking.k8s.io/v1alpha1", Kind: "BaselineAdminNetworkPolicy"}, ObjectMeta: meta}
	o.Spec.Subject.Pods = podsV1(p.subject)
	for _, r := range p.ingress {
		o.Spec.Ingress = append(o.Spec.Ingress, v1alpha1.BaselineAdminNetworkPolicyIngressRule{Action: v1alpha1.BaselineAdminNetworkPolicyRuleAction(r.action), From: fromV1(r.peers), Ports: r.portsV1()})
	}
	for _, r := range p.egress {
		x := v1alpha1.BaselineAdminNetworkPolicyEgressRule{Action: v1alpha1.BaselineAdminNetworkPolicyRuleAction(r.action), Ports: r.portsV1()}
		for _, peer := range r.peers {
			if peer.IPBlock != nil {
				x.To = append(x.To, v1alpha1.BaselineAdminNetworkPolicyEgressPeer{Networks: []v1alpha1.CIDR{v1alpha1.CIDR(peer.IPBlock.CIDR)}})
			} else {
				x.To = append(x.To, v1alpha1.BaselineAdminNetworkPolicyEgressPeer{Pods: podsV1(peer)})
			}
		}
		o.Spec.Egress = append(o.Spec.Egress, x)
	}
	return o
}

func (p *widePolicy) clusterObject(meta metav1.ObjectMeta) any {
	o := &v1alpha2.ClusterNetworkPolicy{TypeMeta: metav1.TypeMeta{APIVersion: "policy.networking.k8s.io/v1alpha2", Kind: "ClusterNetworkPolicy"}, ObjectMeta: meta}
	o.Spec.Tier, o.Spec.Priority, o.Spec.Subject.Pods = v1alpha2.AdminTier, p.priority, podsV2(p.subject)
	if p.baseline {
		o.Spec.Tier = v1alpha2.BaselineTier
	}
	for _, r := range p.ingress {
		x := v1alpha2.ClusterNetworkPolicyIngressRule{Action: actionV2(r.action), Protocols: r.protocols()}
		for _, peer := range r.peers {
			x.From = append(x.From, v1alpha2.ClusterNetworkPolicyIngressPeer{Pods: podsV2(peer)})
		}
		o.Spec.Ingress = append(o.Spec.Ingress, x)
	}
	for _, r := range p.egress {
		x := v1alpha2.ClusterNetworkPolicyEgressRule{Action: actionV2(r.action), Protocols: r.protocols()}
		for _, peer := range r.peers {
			if peer.IPBlock != nil {
				x.To = append(x.To, v1alpha2.ClusterNetworkPolicyEgressPeer{Networks: []v1alpha2.CIDR{v1alpha2.CIDR(peer.IPBlock.CIDR)}})
			} else {
				x.To = append(x.To, v1alpha2.ClusterNetworkPolicyEgressPeer{Pods: podsV2(peer)})
			}
		}
		o.Spec.Egress = append(o.Spec.Egress, x)
	}
	return o
}

func actionV2(action string) v1alpha2.ClusterNetworkPolicyRuleAction {
	if action == "Allow" {
		return v1alpha2.ClusterNetworkPolicyRuleActionAccept
	}
	return v1alpha2.ClusterNetworkPolicyRuleAction(action)
}

func fromV1(peers []networkingv1.NetworkPolicyPeer) []v1alpha1.AdminNetworkPolicyIngressPeer {
	var out []v1alpha1.AdminNetworkPolicyIngressPeer
	for _, p := range peers {
		out = append(out, v1alpha1.AdminNetworkPolicyIngressPeer{Pods: podsV1(p)})
	}
	return out
}

func podsV1(p networkingv1.NetworkPolicyPeer) *v1alpha1.NamespacedPod {
	return &v1alpha1.NamespacedPod{NamespaceSelector: *p.NamespaceSelector, PodSelector: *p.PodSelector}
}

func podsV2(p networkingv1.NetworkPolicyPeer) *v1alpha2.NamespacedPod {
	return &v1alpha2.NamespacedPod{NamespaceSelector: *p.NamespaceSelector, PodSelector: *p.PodSelector}
}

func (r *wideRule) portsV1() *[]v1alpha1.AdminNetworkPolicyPort {
	var out []v1alpha1.AdminNetworkPolicyPort
	for _, p := range r.ports {
		if p.EndPort != nil {
			out = append(out, v1alpha1.AdminNetworkPolicyPort{PortRange: &v1alpha1.PortRange{Protocol: *p.Protocol, Start: p.Port.IntVal, End: *p.EndPort}})
		} else {
			out = append(out, v1alpha1.AdminNetworkPolicyPort{PortNumber: &v1alpha1.Port{Protocol: *p.Protocol, Port: p.Port.IntVal}})
		}
	}
	for _, name := range r.named {
		out = append(out, v1alpha1.AdminNetworkPolicyPort{NamedPort: &name})
	}
	if out == nil {
		return nil
	}
	return &out
}

func (r *wideRule) protocols() []v1alpha2.ClusterNetworkPolicyProtocol {
	var out []v1alpha2.ClusterNetworkPolicyProtocol
	for _, p := range r.ports {
		var port *v1alpha2.Port
		switch {
		case p.EndPort != nil:
			port = &v1alpha2.Port{Range: &v1alpha2.PortRange{Start: p.Port.IntVal, End: *p.EndPort}}
		case p.Port != nil:
			port = &v1alpha2.Port{Number: p.Port.IntVal}
		}
		var x v1alpha2.ClusterNetworkPolicyProtocol
		switch *p.Protocol {
		case "TCP":
			x.TCP = &v1alpha2.ClusterNetworkPolicyProtocolTCP{DestinationPort: port}
		case "UDP":
			x.UDP = &v1alpha2.ClusterNetworkPolicyProtocolUDP{DestinationPort: port}
		default:
			x.SCTP = &v1alpha2.ClusterNetworkPolicyProtocolSCTP{DestinationPort: port}
		}
		out = append(out, x)
	}
	for _, name := range r.named {
		out = append(out, v1alpha2.ClusterNetworkPolicyProtocol{DestinationNamedPort: name})
	}
	return out
}
