package cluster

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// addPolicies makes what teams write: in every namespace a default that denies,
// leave to ask the DNS, and leave for the monitoring; then one policy for each
// application, in the shapes that the API has.
func (m *maker) addPolicies() {
	shapes := []func(*app) networkingv1.NetworkPolicySpec{m.fromApp, m.fromTeam, m.toOutside, m.byExpression}
	for i := range m.size.Policies {
		if n := i / 3; n < len(m.Namespaces)-1 {
			ns := m.Namespaces[n+1].Name
			name, spec := general(i % 3)
			m.policy(ns, name, spec)
			continue
		}
		a := m.apps[m.rnd.IntN(len(m.apps))]
		m.policy(a.namespace, fmt.Sprintf("%s-%d", a.name, i), shapes[i%len(shapes)](a))
	}
}

func (m *maker) policy(ns, name string, spec networkingv1.NetworkPolicySpec) {
	m.Policies = append(m.Policies, &networkingv1.NetworkPolicy{
		ObjectMeta: m.meta(ns, name, map[string]string{"app.kubernetes.io/managed-by": "Helm"}, "helm"), Spec: spec,
	})
}

const (
	ingress = networkingv1.PolicyTypeIngress
	egress  = networkingv1.PolicyTypeEgress
)

func labels(kv ...string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for i := 0; i < len(kv); i += 2 {
		s.MatchLabels[kv[i]] = kv[i+1]
	}
	return s
}

func port(proto corev1.Protocol, p intstr.IntOrString) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Protocol: &proto, Port: &p}
}

func general(which int) (name string, spec networkingv1.NetworkPolicySpec) {
	switch which {
	case 0:
		return "default-deny", networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{ingress, egress}}
	case 1:
		return "allow-dns", networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{egress},
			Egress: []networkingv1.NetworkPolicyEgressRule{{
				To: []networkingv1.NetworkPolicyPeer{{
					NamespaceSelector: labels(corev1.LabelMetadataName, "kube-system"), PodSelector: labels("k8s-app", "kube-dns"),
				}},
				Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, intstr.FromInt32(53)), port(corev1.ProtocolTCP, intstr.FromInt32(53))},
			}},
		}
	}
	return "allow-monitoring", networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{ingress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{
			From:  []networkingv1.NetworkPolicyPeer{{NamespaceSelector: labels("team", "growth")}},
			Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, intstr.FromString("metrics"))},
		}},
	}
}

func (m *maker) fromApp(a *app) networkingv1.NetworkPolicySpec {
	rule := networkingv1.NetworkPolicyIngressRule{Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, intstr.FromString("http"))}}
	for range 1 + m.rnd.IntN(6) {
		rule.From = append(rule.From, networkingv1.NetworkPolicyPeer{PodSelector: labels("app", m.apps[m.rnd.IntN(len(m.apps))].name)})
	}
	return networkingv1.NetworkPolicySpec{
		PodSelector: *labels("app", a.name), PolicyTypes: []networkingv1.PolicyType{ingress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{rule},
	}
}

func (m *maker) fromTeam(a *app) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PodSelector: *labels("app", a.name, "tier", a.labels["tier"]), PolicyTypes: []networkingv1.PolicyType{ingress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{
			From: []networkingv1.NetworkPolicyPeer{
				{NamespaceSelector: labels("team", "checkout", "stage", "prod"), PodSelector: labels("tier", "front")},
				{NamespaceSelector: labels("team", m.pick([]string{"risk", "billing"}))},
			},
			Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, intstr.FromInt32(8080))},
		}},
	}
}

func (m *maker) toOutside(a *app) networkingv1.NetworkPolicySpec {
	high := port(corev1.ProtocolTCP, intstr.FromInt32(30000))
	high.EndPort = value(int32(32767))
	rule := networkingv1.NetworkPolicyEgressRule{Ports: []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, intstr.FromInt32(443)), high}}
	for range 1 + m.rnd.IntN(10) {
		rule.To = append(rule.To, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{
			CIDR:   fmt.Sprintf("%d.%d.0.0/16", 1+m.rnd.IntN(9), m.rnd.IntN(256)),
			Except: []string{"1.2.3.0/24"},
		}})
	}
	return networkingv1.NetworkPolicySpec{
		PodSelector: *labels("app", a.name), PolicyTypes: []networkingv1.PolicyType{egress},
		Egress: []networkingv1.NetworkPolicyEgressRule{rule},
	}
}

func (m *maker) byExpression(a *app) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{a.name, "other-" + m.suffix(4)}},
			{Key: "quarantine", Operator: metav1.LabelSelectorOpDoesNotExist},
		}},
		PolicyTypes: []networkingv1.PolicyType{ingress, egress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}},
		Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "stage", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"dev"}},
			}},
		}}}},
	}
}
