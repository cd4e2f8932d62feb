package scenario

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/workload"
)

// The cluster's DNS.
func dnsFaults() []Scenario {
	return []Scenario{
		{Name: "dns-coredns-dead", Beside: true, About: "CoreDNS crashed; its pod is still an endpoint", Flavours: light, Build: corednsDead},
		{Name: "dns-tcp-policy", About: "a policy of the client allows DNS over UDP only", Flavours: calicoOnly, Build: tcpPolicy},
		{Name: "dns-no-endpoints", About: "no CoreDNS pod is ready", Build: corednsNotReady},
	}
}

func corednsDead(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := s.lookup(ctx, s.Pick(), anyName)
	if err != nil {
		return nil, err
	}
	pod := s.DNS()
	sc.Break = func(context.Context) error { return pod.Crash() }
	sc.Heal = s.ServeDNS
	sc.Symptom = []workload.Outcome{workload.Refused}
	sc.Want = Want{Component: "dns", Code: "dns-coredns-down", Object: Object{"Pod", metav1.NamespaceSystem, pod.Name}}
	return sc, nil
}

func corednsNotReady(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := s.lookup(ctx, s.Pick(), anyName)
	if err != nil {
		return nil, err
	}
	pod := s.DNS()
	sc.Break = func(ctx context.Context) error { return pod.SetReady(ctx, false) }
	sc.Heal = func(ctx context.Context) error { return pod.SetReady(ctx, true) }
	sc.Symptom = []workload.Outcome{workload.Refused}
	sc.Want = Want{Component: "dns", Code: "dns-coredns-down", Object: Object{"Service", metav1.NamespaceSystem, "kube-dns"}}
	return sc, nil
}

func tcpPolicy(ctx context.Context, s *Stage) (*Scene, error) {
	datagrams := corev1.ProtocolUDP
	sc, err := s.lookup(ctx, s.Pick(), anyName)
	if err != nil {
		return nil, err
	}
	sc.Network = "tcp"
	return s.denied(sc, "pol-dns-egress", workload.Timeout, networkingv1.NetworkPolicySpec{
		PodSelector: app(sc.Client.(*k8s.Pod).Labels["app"]), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress: []networkingv1.NetworkPolicyEgressRule{{Ports: []networkingv1.NetworkPolicyPort{{Protocol: &datagrams, Port: portOf(53)}}}},
	}), nil
}

// servers is the pod of an app on a node.
func (s *Stage) servers(app string, n *k8s.Node) *k8s.Pod {
	pods := s.Pods()
	i := slices.IndexFunc(pods, func(p *k8s.Pod) bool {
		return p.Namespace == s.Namespace && p.Labels["app"] == app && p.Node == n.Name
	})
	return pods[i]
}
