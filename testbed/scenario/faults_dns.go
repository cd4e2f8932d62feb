package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/workload"
)

// The cluster's DNS.
func dnsFaults() []Scenario {
	return []Scenario{
		{Name: "dns-coredns-dead", Beside: true, About: "CoreDNS crashed; its pod is still an endpoint", Flavours: light, Build: corednsDead},
		{Name: "dns-upstream-refused", About: "no resolver runs where CoreDNS asks for names outside", Flavours: light, Build: upstreamGone},
		{Name: "dns-upstream-silent", Beside: true, About: "the resolver that CoreDNS asks for names outside is silent", Flavours: light, Build: upstreamSilent},
		{Name: "dns-upstream-fails", About: "the resolver that CoreDNS asks for names outside fails", Flavours: light, Build: upstreamFails},
		{Name: "dns-upstream-far", About: "the resolver that CoreDNS asks is gone, seen from the client's node, which is another", Flavours: light, Build: upstreamFar},
		{Name: "dns-upstream-policy", About: "a policy of CoreDNS allows the API server only", Flavours: calicoOnly, Build: upstreamPolicy},
		{Name: "dns-tcp-policy", About: "a policy of the client allows DNS over UDP only", Flavours: calicoOnly, Build: tcpPolicy},
		{Name: "dns-no-endpoints", About: "no CoreDNS pod is ready", Build: corednsNotReady},
		{Name: "dns-loop", About: "CoreDNS forwards names outside to itself, notices, and ends", Flavours: full, Build: corednsLoops},
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

func corednsLoops(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := s.lookup(ctx, s.Pick(), anyName)
	if err != nil {
		return nil, err
	}
	sc.Break, sc.Heal = s.LoopDNS, s.UnloopDNS
	sc.Symptom = []workload.Outcome{workload.Refused}
	sc.Want = Want{Component: "dns", Code: "dns-loop", Object: Object{"Service", metav1.NamespaceSystem, "kube-dns"}}
	return sc, nil
}

// resolver is what CoreDNS asks, on the host outside.
type resolver struct {
	stage *Stage
	stop  func() error // nil while none runs
}

// run starts it, in place of the one before.
func (r *resolver) run(ctx context.Context, rcode int) (err error) {
	if err := r.end(ctx); err != nil {
		return err
	}
	r.stop, err = r.stage.ResolveOutside(ctx, rcode)
	return err
}

func (r *resolver) end(context.Context) error {
	if r.stop == nil {
		return nil
	}
	stop := r.stop
	r.stop = nil
	return stop()
}

// outsideLookup is a client that asks CoreDNS for a name outside, which CoreDNS asks
// a resolver outside for. Healed, that answers. For whom CoreDNS asks is no more than
// probable to who reads no names.
func (s *Stage) outsideLookup(ctx context.Context, from *k8s.Node) (*Scene, *resolver, error) {
	sc, err := s.lookup(ctx, from, outsideName)
	if err != nil {
		return nil, nil, err
	}
	r := &resolver{stage: s}
	s.onClose(r.end)
	s.onClose(func(ctx context.Context) error { return s.ForwardDNS(ctx, "") })
	if err := r.run(ctx, 0); err != nil {
		return nil, nil, err
	}
	if err := s.ForwardDNS(ctx, at(s.OutsideAddr(), 53)); err != nil {
		return nil, nil, err
	}
	sc.Break, sc.Heal = r.end, func(ctx context.Context) error { return r.run(ctx, 0) }
	sc.Want = Want{Component: "dns", Code: "dns-upstream-unreachable", Object: Object{"Pod", metav1.NamespaceSystem, s.DNS().Name}, Confidence: replays.Probable}
	// CoreDNS has given up after 4.1 s, when it has waited twice (1.15).
	sc.Symptom, sc.Patience = []workload.Outcome{workload.ServerFailure}, 10*time.Second
	return sc, r, nil
}

func upstreamGone(ctx context.Context, s *Stage) (*Scene, error) {
	sc, _, err := s.outsideLookup(ctx, s.dnsNode())
	return sc, err
}

func upstreamFar(ctx context.Context, s *Stage) (*Scene, error) {
	sc, _, err := s.outsideLookup(ctx, s.Other(s.dnsNode()))
	if err != nil {
		return nil, err
	}
	sc.Want.Code, sc.Want.Confidence = "dns-servfail", replays.Confirmed // what CoreDNS asks is not seen there
	return sc, nil
}

func upstreamFails(ctx context.Context, s *Stage) (*Scene, error) {
	sc, r, err := s.outsideLookup(ctx, s.dnsNode())
	if err != nil {
		return nil, err
	}
	sc.Break = func(ctx context.Context) error { return r.run(ctx, 2) }
	sc.Want.Code, sc.Want.Confidence = "dns-servfail", replays.Confirmed
	return sc, nil
}

// upstreamSilent drops what comes to the resolver, on its own host.
func upstreamSilent(ctx context.Context, s *Stage) (*Scene, error) {
	sc, _, err := s.outsideLookup(ctx, s.dnsNode())
	if err != nil {
		return nil, err
	}
	table := s.Word()
	nft := func(args ...string) error {
		_, err := s.Outside.Output("nft", args...)
		return err
	}
	sc.Break = func(context.Context) error {
		return nft(fmt.Sprintf("add table inet %[1]s; add chain inet %[1]s in { type filter hook input priority 0; }; add rule inet %[1]s in udp dport 53 drop", table))
	}
	sc.Heal = func(context.Context) error { return nft("delete", "table", "inet", table) }
	return sc, nil
}

func upstreamPolicy(ctx context.Context, s *Stage) (*Scene, error) {
	sc, _, err := s.outsideLookup(ctx, s.dnsNode())
	if err != nil {
		return nil, err
	}
	name := s.Word()
	policies := s.Client.NetworkingV1().NetworkPolicies(metav1.NamespaceSystem)
	sc.Break = func(ctx context.Context) error {
		_, err := policies.Create(ctx, &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: s.DNS().Labels}, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
				Egress: []networkingv1.NetworkPolicyEgressRule{{Ports: []networkingv1.NetworkPolicyPort{{Protocol: &tcp}}}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		// What it asks on sockets in use goes on as established.
		return s.ForwardDNS(ctx, at(s.OutsideAddr(), 53))
	}
	sc.Heal = func(ctx context.Context) error { return policies.Delete(ctx, name, metav1.DeleteOptions{}) }
	sc.Want = Want{Component: "policy", Code: "pol-dns-egress", Object: Object{"NetworkPolicy", metav1.NamespaceSystem, name}, Confidence: replays.Probable}
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
