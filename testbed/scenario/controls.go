package scenario

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/workload"
)

var healthy = Want{Component: "none", Code: "ok"}

// controls are healthy, with noise around them: podpath must blame nobody.
func controls() []Scenario {
	all := []Scenario{
		{Name: "ok-pod-same-node", Beside: true, About: "pod to pod on one node", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			n := s.Pick()
			return s.podToPod(ctx, n, n, "tcp")
		}},
		{Name: "ok-pod-other-node", About: "pod to pod on the other node", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			n := s.Pick()
			return s.podToPod(ctx, n, s.Other(n), "udp")
		}},
		{Name: "ok-service-n1", Beside: true, About: "pod to Service by the first node's kube-proxy, endpoints on both", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			return s.podToService(ctx, s.Nodes()[0], "tcp", nil)
		}},
		{Name: "ok-service-n2", About: "pod to Service by the second node's kube-proxy, endpoints on both", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			return s.podToService(ctx, s.Nodes()[1], "udp", nil)
		}},
		{Name: "ok-headless", About: "pod to the endpoint of a headless Service", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			n := s.Pick()
			sc, err := s.podToPod(ctx, n, s.Other(n), "tcp")
			if err != nil {
				return nil, err
			}
			_, err = s.Service(ctx, "headless", 80, 80, func(svc *corev1.Service) { svc.Spec.ClusterIP = corev1.ClusterIPNone })
			return sc, err
		}},
		{Name: "ok-egress", Beside: true, About: "pod to the outside", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			n := s.Pick()
			sc, err := s.podToOutside(ctx, n, "tcp")
			if err != nil {
				return nil, err
			}
			sc.Want.Path = []string{translated("snat", sc.Client.(*k8s.Pod).Addr.String(), n.Addr)}
			return sc, nil
		}},
		{Name: "ok-dns", About: "pod asks the cluster's DNS", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			return s.lookup(ctx, s.Pick(), anyName)
		}},
		{Name: "ok-host-network", About: "pod of the host's network to a pod", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			n := s.Pick()
			sc, err := s.podToPod(ctx, n, s.Other(n), "tcp")
			if err != nil {
				return nil, err
			}
			p, err := s.pod(ctx, k8s.PodSpec{Node: n.Name, Labels: map[string]string{"app": s.Word()}, HostNetwork: true})
			if err != nil {
				return nil, err
			}
			sc.Client, sc.From = p, s.ref("pod", p.Name)
			return sc, nil
		}},
		{Name: "ok-least-access", About: "podpath with the rights that deploy/rbac.yaml gives it", Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			n := s.Pick()
			sc, err := s.podToPod(ctx, n, s.Other(n), "tcp")
			if err != nil {
				return nil, err
			}
			return sc, s.permitted(ctx, sc, "")
		}},
		{Name: "ok-policy-allows", About: "policies that allow this pod and deny others, whose tries go on", Flavours: calicoOnly, Build: allowedByPolicy},
		{Name: "ok-global-policy", About: "a GlobalNetworkPolicy that denies others, whose tries go on", Flavours: calicoOnly, Build: allowedByGlobalPolicy},
		{Name: "ok-host-endpoint", About: "policies for the node that deny another port than this one", Flavours: calicoOnly, Build: protectedNode},
		{Name: "ok-felix-dead", About: "Felix is dead, and nothing has changed since", Flavours: calicoOnly, Build: deadFelix},
	}
	all = append(all, proxied(eachProxy{"ok-nodeport", "outside to a NodePort", func(ctx context.Context, s *Stage, n *k8s.Node) (*Scene, error) {
		return s.outsideToNodePort(ctx, n, corev1.ServiceExternalTrafficPolicyCluster)
	}})...)
	for i := range all {
		all[i].Noisy = true
	}
	return all
}

// podToPod is a client on one node and a server on another, or the same.
func (s *Stage) podToPod(ctx context.Context, from, to *k8s.Node, network string) (*Scene, error) {
	port := s.Port()
	server, err := s.Server(ctx, to, s.Word(), port)
	if err != nil {
		return nil, err
	}
	client, err := s.Pod(ctx, from, s.Word())
	if err != nil {
		return nil, err
	}
	return &Scene{
		Client: client, Network: network, Target: at(server.Addr.String(), port), Node: from,
		From: s.ref("pod", client.Name), To: s.ref("pod", server.Name) + ":" + itoa(port), Want: healthy,
	}, nil
}

// podToService is a client and a Service with an endpoint on each node.
func (s *Stage) podToService(ctx context.Context, from *k8s.Node, network string, edit func(*corev1.Service)) (*Scene, error) {
	app, port, target := s.Word(), s.Port(), s.Port()
	for _, n := range s.Nodes() {
		if _, err := s.Server(ctx, n, app, target); err != nil {
			return nil, err
		}
	}
	svc, err := s.Service(ctx, app, port, target, edit)
	if err != nil {
		return nil, err
	}
	client, err := s.Pod(ctx, from, s.Word())
	if err != nil {
		return nil, err
	}
	return &Scene{
		Client: client, Network: network, Target: at(svc.Spec.ClusterIP, port), Node: from,
		From: s.ref("pod", client.Name), To: s.ref("svc", app) + ":" + itoa(port), Service: app, Want: healthy,
	}, nil
}

// outsideToNodePort is the outside that asks a node for a Service with one
// endpoint, on that node.
func (s *Stage) outsideToNodePort(ctx context.Context, n *k8s.Node, policy corev1.ServiceExternalTrafficPolicy) (*Scene, error) {
	app, port, target := s.Word(), s.Port(), s.Port()
	if _, err := s.Server(ctx, n, app, target); err != nil {
		return nil, err
	}
	svc, err := s.Service(ctx, app, port, target, func(svc *corev1.Service) {
		svc.Spec.Type, svc.Spec.ExternalTrafficPolicy = corev1.ServiceTypeNodePort, policy
		svc.Spec.Ports = svc.Spec.Ports[:1]
	})
	if err != nil {
		return nil, err
	}
	nodePort := svc.Spec.Ports[0].NodePort
	return &Scene{
		Client: s.Outside, Network: "tcp", Target: at(n.Addr, nodePort), Node: n,
		From: "any", To: s.ref("svc", app), Service: app, Want: healthy,
	}, nil
}

// podToOutside is a client and a server outside of the cluster.
func (s *Stage) podToOutside(ctx context.Context, from *k8s.Node, network string) (*Scene, error) {
	port := s.Port()
	stop, err := s.ListenOutside(ctx, port)
	if err != nil {
		return nil, err
	}
	s.onClose(func(context.Context) error { return stop() })
	client, err := s.Pod(ctx, from, s.Word())
	if err != nil {
		return nil, err
	}
	return &Scene{
		Client: client, Network: network, Target: at(s.OutsideAddr(), port), Node: from,
		From: s.ref("pod", client.Name), To: "internet", Want: healthy,
	}, nil
}

// anyName is a name with an address of every family that the cluster has.
const anyName = "kube-dns.kube-system.svc.cluster.local."

// lookup is a client that asks the cluster's DNS.
func (s *Stage) lookup(ctx context.Context, from *k8s.Node, name string) (*Scene, error) {
	client, err := s.Pod(ctx, from, s.Word())
	if err != nil {
		return nil, err
	}
	return &Scene{
		Client: client, Network: "udp", Target: at(s.DNSAddr(), 53), Lookup: name, Node: from,
		From: s.ref("pod", client.Name), To: "kube-system/svc/kube-dns:53", Want: healthy,
	}, nil
}

// allowedByPolicy has a policy that lets one pod in, and another pod that goes
// on trying.
func allowedByPolicy(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, err := s.podToPod(ctx, n, s.Other(n), "tcp")
	if err != nil {
		return nil, err
	}
	client := sc.Client.(*k8s.Pod)
	other, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, err
	}
	_, err = s.Policy(ctx, s.Word(), networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{client.Labels["app"], other.Labels["app"]}},
		}},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
			{PodSelector: &metav1.LabelSelector{MatchLabels: client.Labels}},
		}}},
	})
	if err != nil {
		return nil, err
	}
	if err := s.othersDenied(ctx, sc, other); err != nil {
		return nil, err
	}
	return sc, nil
}

// othersDenied waits until another pod is denied what the scene's client asks
// for, and has it go on trying.
func (s *Stage) othersDenied(ctx context.Context, sc *Scene, other *k8s.Pod) error {
	denied := func() bool {
		out, err := other.Output(s.Self, "workload", "dial", sc.Target, "--network", sc.Network, "--limit", "500ms")
		return err == nil && tries(out).all(workload.Timeout)
	}
	sc.Noise = func(ctx context.Context) {
		for ctx.Err() == nil {
			denied()
		}
	}
	return s.await(ctx, "the policy", denied)
}

var tcp = corev1.ProtocolTCP

func portOf(n int32) *intstr.IntOrString { p := intstr.FromInt32(n); return &p }
