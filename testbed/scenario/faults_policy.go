package scenario

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/workload"
)

var calicoOnly = []string{"calico"}

// A NetworkPolicy, enforced by Felix, denies.
func policyFaults() []Scenario {
	return []Scenario{
		{Name: "pol-ingress-same-node", Beside: true, About: "a policy of the target allows another app only; one node", Flavours: calicoOnly,
			Build: func(ctx context.Context, s *Stage) (*Scene, error) {
				n := s.Pick()
				return s.ingressDenied(ctx, n, n, "tcp")
			}},
		{Name: "pol-ingress-from-other-node", About: "the same, seen on the target's node", Flavours: calicoOnly,
			Build: func(ctx context.Context, s *Stage) (*Scene, error) {
				n := s.Pick()
				sc, err := s.ingressDenied(ctx, n, s.Other(n), "udp")
				if err != nil {
					return nil, err
				}
				sc.Node, sc.From = s.Other(n), sc.Client.(*k8s.Pod).Addr.String()
				return sc, nil
			}},
		{Name: "pol-ingress-default-deny", About: "a policy of the target's namespace allows nobody", Flavours: calicoOnly, Build: defaultDeny},
		{Name: "pol-egress", Beside: true, About: "a policy of the client allows another app only", Flavours: calicoOnly, Build: egressDenied},
		{Name: "pol-port-not-listed", About: "a policy allows the client, but on another port", Flavours: calicoOnly, Build: portNotListed},
		{Name: "pol-wrong-port", About: "a policy allows the client on the Service's port, and the pod's is another", Flavours: calicoOnly, Build: wrongPolicyPort},
		{Name: "pol-egress-without-dns", About: "a policy of the client allows everything that it needs but DNS", Flavours: calicoOnly, Build: withoutDNS},
	}
}

func app(name string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func peer(name string) []networkingv1.NetworkPolicyPeer {
	selector := app(name)
	return []networkingv1.NetworkPolicyPeer{{PodSelector: &selector}}
}

// denied adds a policy that breaks a scene that works.
func (s *Stage) denied(sc *Scene, code string, symptom workload.Outcome, spec networkingv1.NetworkPolicySpec) *Scene {
	name := s.Word()
	sc.Break = func(ctx context.Context) error {
		_, err := s.Policy(ctx, name, spec)
		return err
	}
	sc.Heal = func(ctx context.Context) error { return s.RemovePolicy(ctx, name) }
	sc.Symptom = []workload.Outcome{symptom}
	sc.Want = Want{Component: "policy", Code: code, Object: Object{"NetworkPolicy", s.Namespace, name}}
	return sc
}

// pair is a scene of a client and a server, and the app labels of both.
func (s *Stage) pair(ctx context.Context, from, to *k8s.Node, network string) (sc *Scene, client, server string, port int32, err error) {
	client, server, port = s.Word(), s.Word(), s.Port()
	target, err := s.Server(ctx, to, server, port)
	if err != nil {
		return nil, "", "", 0, err
	}
	source, err := s.Pod(ctx, from, client)
	if err != nil {
		return nil, "", "", 0, err
	}
	sc = &Scene{
		Client: source, Network: network, Target: at(target.Addr.String(), port), Node: from,
		From: s.ref("pod", source.Name), To: s.ref("pod", target.Name) + ":" + itoa(port),
	}
	return sc, client, server, port, nil
}

func (s *Stage) ingressDenied(ctx context.Context, from, to *k8s.Node, network string) (*Scene, error) {
	sc, _, server, _, err := s.pair(ctx, from, to, network)
	if err != nil {
		return nil, err
	}
	return s.denied(sc, "pol-ingress-deny", workload.Timeout, networkingv1.NetworkPolicySpec{
		PodSelector: app(server), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peer(s.Word())}},
	}), nil
}

func defaultDeny(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, _, _, _, err := s.pair(ctx, n, n, "tcp")
	if err != nil {
		return nil, err
	}
	return s.denied(sc, "pol-ingress-deny", workload.Timeout, networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
	}), nil
}

func egressDenied(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, client, _, _, err := s.pair(ctx, n, s.Other(n), "tcp")
	if err != nil {
		return nil, err
	}
	return s.denied(sc, "pol-egress-deny", workload.Timeout, networkingv1.NetworkPolicySpec{
		PodSelector: app(client), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress: []networkingv1.NetworkPolicyEgressRule{{To: peer(s.Word())}},
	}), nil
}

func portNotListed(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, client, server, port, err := s.pair(ctx, n, n, "tcp")
	if err != nil {
		return nil, err
	}
	return s.denied(sc, "pol-ingress-deny", workload.Timeout, onlyPort(client, server, port+1)), nil
}

// onlyPort lets an app in on one port.
func onlyPort(client, server string, port int32) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PodSelector: app(server), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{
			From:  peer(client),
			Ports: []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: portOf(port)}},
		}},
	}
}

func wrongPolicyPort(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	client, server, target := s.Word(), s.Word(), s.Port()
	if _, err := s.Server(ctx, n, server, target); err != nil {
		return nil, err
	}
	svc, err := s.Service(ctx, server, target+1, target, nil)
	if err != nil {
		return nil, err
	}
	source, err := s.Pod(ctx, n, client)
	if err != nil {
		return nil, err
	}
	sc := &Scene{
		Client: source, Network: "tcp", Target: at(svc.Spec.ClusterIP, target+1), Node: n,
		From: s.ref("pod", source.Name), To: s.ref("svc", server) + ":" + itoa(target+1), Service: server,
	}
	return s.denied(sc, "pol-wrong-port", workload.Timeout, onlyPort(client, server, target+1)), nil
}

func withoutDNS(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := s.lookup(ctx, s.Pick(), anyName)
	if err != nil {
		return nil, err
	}
	client := sc.Client.(*k8s.Pod)
	return s.denied(sc, "pol-dns-egress", workload.Timeout, networkingv1.NetworkPolicySpec{
		PodSelector: app(client.Labels["app"]), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress: []networkingv1.NetworkPolicyEgressRule{{
			To: peer(s.Word()), Ports: []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: portOf(443)}},
		}},
	}), nil
}
