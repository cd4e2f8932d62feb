package scenario

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/workload"
	"github.com/podpath/podpath/tracer"
)

// What only Calico has: policies of its own kinds, an agent that falls behind,
// and the check that a packet's source belongs to the pod that sent it.
func calicoFaults() []Scenario {
	return []Scenario{
		{Name: "pol-global-deny", About: "a GlobalNetworkPolicy denies the client's app at the server", Flavours: calicoOnly, Build: globalDeny},
		{Name: "pol-global-deny-unreadable", About: "the same, and podpath may not read policies of that kind", Flavours: calicoOnly, Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			sc, err := globalDeny(ctx, s)
			if err != nil {
				return nil, err
			}
			sc.Want.Confidence = replays.Probable // that the policy is still there cannot be known
			return sc, s.permitted(ctx, sc, "crd.projectcalico.org")
		}},
		{Name: "pol-global-isolates", About: "a GlobalNetworkPolicy selects the server, and allows others only", Flavours: calicoOnly, Build: globalIsolates},
		{Name: "pol-global-egress", About: "a GlobalNetworkPolicy denies the client's way out", Flavours: calicoOnly, Build: globalEgress},
		{Name: "pol-global-dns", About: "a GlobalNetworkPolicy denies DNS", Flavours: calicoOnly, Build: globalDNS},
		{Name: "pol-global-before-networkpolicy", About: "a GlobalNetworkPolicy denies what a NetworkPolicy allows", Flavours: calicoOnly, Build: globalBeforeNetworkPolicy},
		{Name: "pol-networkpolicy-beside-global", About: "a NetworkPolicy denies what a GlobalNetworkPolicy has nothing against", Flavours: calicoOnly, Build: networkPolicyBesideGlobal},
		{Name: "pol-calico-namespaced", About: "a NetworkPolicy of Calico's own kind denies", Flavours: calicoOnly, Build: calicoNamespaced},
		{Name: "pol-host-endpoint", About: "the node is a HostEndpoint, and a policy for it denies a port of a hostNetwork pod", Flavours: calicoOnly, Build: hostEndpoint},
		{Name: "pol-host-endpoint-nodeport", About: "a policy for the node denies a NodePort before it is translated", Flavours: calicoOnly, Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			return nodePortDenied(ctx, s, "preDNAT")
		}},
		{Name: "pol-host-endpoint-untracked", About: "the same before conntrack", Flavours: calicoOnly, Build: func(ctx context.Context, s *Stage) (*Scene, error) {
			return nodePortDenied(ctx, s, "doNotTrack")
		}},
		{Name: "pol-host-endpoint-overlay", About: "a policy for the node denies the overlay's packets of other nodes", Flavours: calicoOnly, Build: overlayDenied},
		{Name: "felix-dead-policy-deleted", About: "Felix is dead, and still enforces a policy that is gone", Flavours: calicoOnly, Build: policyOutlives},
		{Name: "felix-dead-policy-changed", About: "Felix is dead, and does not know that the policy allows the client now", Flavours: calicoOnly, Build: policyChanged},
		{Name: "felix-dead-new-client", About: "Felix is dead on the server's node, and does not know the address of a new client that a policy allows", Flavours: calicoOnly, Build: newClient},
		{Name: "felix-dead-new-pod", About: "Felix is dead, and does not know a new pod's device", Flavours: calicoOnly, Build: newPod},
		{Name: "cni-host-route-missing-client", About: "the node's route to the client's address is gone, so that its packets are taken for spoofed ones", Flavours: calicoOnly, Build: clientRouteMissing},
		{Name: "cni-antispoof", About: "the client sends from a second address, which the cluster does not know", Flavours: calicoOnly, Build: secondAddress},
	}
}

// enforced adds a policy of Calico's that breaks a scene that works.
func (s *Stage) enforced(sc *Scene, o k8s.CalicoObject, want Want) *Scene {
	sc.Break = func(ctx context.Context) error { return s.CreateCalico(ctx, o) }
	sc.Heal = func(ctx context.Context) error { return s.DeleteCalico(ctx, o) }
	sc.Symptom = []workload.Outcome{workload.Timeout}
	sc.Want = want
	return sc
}

// selects is Calico's selector for an app of the scenario's namespace.
func (s *Stage) selects(app string) string {
	return fmt.Sprintf("app == %q && projectcalico.org/namespace == %q", app, s.Namespace)
}

// global is a GlobalNetworkPolicy for an app of the scenario's namespace.
func (s *Stage) global(app string, spec map[string]any) k8s.CalicoObject {
	spec["selector"] = s.selects(app)
	return k8s.CalicoObject{Resource: "globalnetworkpolicies", Kind: "GlobalNetworkPolicy", Name: "default." + s.Word(), Spec: spec}
}

func globalWant(code string, o k8s.CalicoObject) Want {
	return Want{Component: "policy", Code: code, Object: Object{Kind: tracer.KindGlobalPolicy, Name: o.Name}}
}

func action(name string) map[string]any { return map[string]any{"action": name} }

func globalDeny(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, client, server, _, err := s.pair(ctx, n, n, "tcp")
	if err != nil {
		return nil, err
	}
	o := s.global(server, map[string]any{"types": []any{"Ingress"}, "ingress": []any{
		map[string]any{"action": "Deny", "source": map[string]any{"selector": fmt.Sprintf("app == %q", client)}}, action("Allow"),
	}})
	return s.enforced(sc, o, globalWant("pol-ingress-deny", o)), nil
}

func globalIsolates(ctx context.Context, s *Stage) (*Scene, error) {
	sc, _, to, err := s.crossing(ctx, "udp")
	if err != nil {
		return nil, err
	}
	client := sc.Client.(*k8s.Pod)
	server := s.PodNamed(s.Namespace, podOf(sc.To))
	o := s.global(server.Labels["app"], map[string]any{"types": []any{"Ingress"}, "ingress": []any{
		map[string]any{"action": "Allow", "source": map[string]any{"selector": fmt.Sprintf("app == %q", s.Word())}},
	}})
	sc.Node, sc.From = to, client.Addr.String()
	return s.enforced(sc, o, globalWant("pol-ingress-deny", o)), nil
}

// podOf is the name of the pod in an endpoint of podpath.
func podOf(ref string) string {
	name := ref[strings.LastIndex(ref, "/")+1:]
	name, _, _ = strings.Cut(name, ":")
	return name
}

func globalEgress(ctx context.Context, s *Stage) (*Scene, error) {
	sc, _, _, err := s.crossing(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	o := s.global(sc.Client.(*k8s.Pod).Labels["app"], map[string]any{"types": []any{"Egress"}, "egress": []any{
		map[string]any{"action": "Deny", "protocol": "TCP", "destination": map[string]any{"ports": []any{port(sc.Target)}}}, action("Allow"),
	}})
	return s.enforced(sc, o, globalWant("pol-egress-deny", o)), nil
}

// everyone lets everybody in.
func everyone(server string) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PodSelector: app(server), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
	}
}

func globalBeforeNetworkPolicy(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, _, server, _, err := s.pair(ctx, n, n, "tcp")
	if err != nil {
		return nil, err
	}
	if _, err := s.Policy(ctx, s.Word(), everyone(server)); err != nil {
		return nil, err
	}
	o := s.global(server, map[string]any{"order": 10, "types": []any{"Ingress"}, "ingress": []any{action("Deny")}})
	return s.enforced(sc, o, globalWant("pol-ingress-deny", o)), nil
}

func networkPolicyBesideGlobal(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, _, server, _, err := s.pair(ctx, n, n, "tcp")
	if err != nil {
		return nil, err
	}
	// It passes everything on to the next one that has something to say.
	o := s.global(server, map[string]any{"order": 10, "types": []any{"Ingress"}, "ingress": []any{
		map[string]any{"action": "Allow", "source": map[string]any{"selector": fmt.Sprintf("app == %q", s.Word())}},
	}})
	allow := s.Word()
	if _, err := s.Policy(ctx, allow, everyone(server)); err != nil {
		return nil, err
	}
	if err := s.CreateCalico(ctx, o); err != nil {
		return nil, err
	}
	s.onClose(func(ctx context.Context) error { return s.DeleteCalico(ctx, o) })
	name := s.Word()
	sc.Break = func(ctx context.Context) error {
		_, err := s.Policy(ctx, name, networkingv1.NetworkPolicySpec{
			PodSelector: app(server), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peer(s.Word())}},
		})
		if err != nil {
			return err
		}
		return s.RemovePolicy(ctx, allow)
	}
	sc.Heal = func(ctx context.Context) error {
		_, err := s.Policy(ctx, allow, everyone(server))
		return err
	}
	sc.Symptom = []workload.Outcome{workload.Timeout}
	sc.Want = Want{Component: "policy", Code: "pol-ingress-deny", Object: Object{tracer.KindNetworkPolicy, s.Namespace, name}}
	return sc, nil
}

func calicoNamespaced(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, _, server, _, err := s.pair(ctx, n, n, "udp")
	if err != nil {
		return nil, err
	}
	o := k8s.CalicoObject{Resource: "networkpolicies", Kind: "NetworkPolicy", Namespace: s.Namespace, Name: "default." + s.Word(), Spec: map[string]any{
		"selector": fmt.Sprintf("app == %q", server), "types": []any{"Ingress"}, "ingress": []any{action("Deny")},
	}}
	return s.enforced(sc, o, Want{Component: "policy", Code: "pol-ingress-deny", Object: Object{tracer.KindCalicoPolicy, s.Namespace, o.Name}}), nil
}

// globalDNS denies every port 53 to the client, and allows the rest.
func globalDNS(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := s.lookup(ctx, s.Pick(), "kubernetes.default.svc.cluster.local.")
	if err != nil {
		return nil, err
	}
	o := s.global(sc.Client.(*k8s.Pod).Labels["app"], map[string]any{"types": []any{"Egress"}, "egress": []any{
		map[string]any{"action": "Deny", "protocol": "UDP", "destination": map[string]any{"ports": []any{53}}}, action("Allow"),
	}})
	return s.enforced(sc, o, globalWant("pol-dns-egress", o)), nil
}

// protect makes the node's uplink a HostEndpoint, with a policy that allows
// everything, and returns a policy with a rule before that. What no policy for
// the node allows is denied, but for the ports that a node cannot do without.
func (s *Stage) protect(ctx context.Context, n *k8s.Node, rule, also map[string]any) (k8s.CalicoObject, error) {
	role := s.Word()
	policy := func(spec map[string]any) k8s.CalicoObject {
		spec["selector"] = fmt.Sprintf("role == %q", role)
		return k8s.CalicoObject{Resource: "globalnetworkpolicies", Kind: "GlobalNetworkPolicy", Name: "default." + s.Word(), Spec: spec}
	}
	allow := policy(map[string]any{"order": 100, "types": []any{"Ingress", "Egress"}, "ingress": []any{action("Allow")}, "egress": []any{action("Allow")}})
	endpoint := k8s.CalicoObject{
		Resource: "hostendpoints", Kind: "HostEndpoint", Name: s.Word(), Labels: map[string]string{"role": role},
		Spec: map[string]any{"node": n.Name, "interfaceName": "eth0", "expectedIPs": []any{n.Addr}},
	}
	deny := policy(map[string]any{"order": 10, "types": []any{"Ingress"}, "ingress": []any{rule}})
	maps.Copy(deny.Spec, also)
	for _, o := range []k8s.CalicoObject{allow, endpoint} {
		if err := s.CreateCalico(ctx, o); err != nil {
			return deny, err
		}
		s.onClose(func(ctx context.Context) error { return s.DeleteCalico(ctx, o) })
	}
	return deny, nil
}

// deny is a rule against one port.
func deny(protocol string, port int32) map[string]any {
	return map[string]any{"action": "Deny", "protocol": protocol, "destination": map[string]any{"ports": []any{port}}}
}

func hostEndpoint(ctx context.Context, s *Stage) (*Scene, error) {
	n, port := s.Pick(), s.Port()
	p, err := s.pod(ctx, k8s.PodSpec{Node: n.Name, Labels: map[string]string{"app": s.Word()}, HostNetwork: true})
	if err != nil {
		return nil, err
	}
	if err := s.Listen(ctx, p, "", port); err != nil {
		return nil, err
	}
	o, err := s.protect(ctx, n, deny("TCP", port), nil)
	if err != nil {
		return nil, err
	}
	sc := &Scene{Client: s.Outside, Network: "tcp", Target: at(n.Addr, port), Node: n, From: "any", To: n.Addr + ":" + itoa(port)}
	return s.enforced(sc, o, globalWant("pol-host-firewall", o)), nil
}

// nodePortDenied has a policy that Felix applies before translation, or before
// conntrack, as the field says.
func nodePortDenied(ctx context.Context, s *Stage, field string) (*Scene, error) {
	n := s.Pick()
	sc, err := s.outsideToNodePort(ctx, n, corev1.ServiceExternalTrafficPolicyCluster)
	if err != nil {
		return nil, err
	}
	nodePort, err := strconv.Atoi(port(sc.Target))
	if err != nil {
		return nil, err
	}
	o, err := s.protect(ctx, n, deny("TCP", int32(nodePort)), map[string]any{field: true, "applyOnForward": true})
	if err != nil {
		return nil, err
	}
	return s.enforced(sc, o, globalWant("pol-host-firewall", o)), nil
}

func overlayDenied(ctx context.Context, s *Stage) (*Scene, error) {
	sc, _, to, err := s.crossing(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	o, err := s.protect(ctx, to, deny("UDP", 8472), nil)
	if err != nil {
		return nil, err
	}
	sc.Node, sc.From = to, sc.Client.(*k8s.Pod).Addr.String()
	return s.enforced(sc, o, globalWant("pol-host-firewall", o)), nil
}

// allowedByGlobalPolicy is a control: the policy denies another client.
func allowedByGlobalPolicy(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, _, server, _, err := s.pair(ctx, n, s.Other(n), "tcp")
	if err != nil {
		return nil, err
	}
	other, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, err
	}
	o := s.global(server, map[string]any{"types": []any{"Ingress"}, "ingress": []any{
		map[string]any{"action": "Deny", "source": map[string]any{"selector": fmt.Sprintf("app == %q", other.Labels["app"])}}, action("Allow"),
	}})
	if err := s.CreateCalico(ctx, o); err != nil {
		return nil, err
	}
	s.onClose(func(ctx context.Context) error { return s.DeleteCalico(ctx, o) })
	sc.Want = healthy
	return sc, s.othersDenied(ctx, sc, other)
}

// protectedNode is a control: a policy for the node denies another port.
func protectedNode(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, err := s.outsideToNodePort(ctx, n, corev1.ServiceExternalTrafficPolicyCluster)
	if err != nil {
		return nil, err
	}
	o, err := s.protect(ctx, n, deny("TCP", 9), nil)
	if err != nil {
		return nil, err
	}
	if err := s.CreateCalico(ctx, o); err != nil {
		return nil, err
	}
	s.onClose(func(ctx context.Context) error { return s.DeleteCalico(ctx, o) })
	return sc, nil
}

// deadFelix is a control: without the agent everything stays as it was.
func deadFelix(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, client, server, _, err := s.pair(ctx, n, n, "tcp")
	if err != nil {
		return nil, err
	}
	_, err = s.Policy(ctx, s.Word(), networkingv1.NetworkPolicySpec{
		PodSelector: app(server), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peer(client)}},
	})
	if err != nil {
		return nil, err
	}
	other, err := s.Pod(ctx, n, s.Word())
	if err != nil {
		return nil, err
	}
	sc.Want = healthy
	if err := s.othersDenied(ctx, sc, other); err != nil {
		return nil, err
	}
	// Of pods that come later a dead Felix knows nothing: they could make no noise.
	if sc.others, err = s.makeNoise(ctx, n); err != nil {
		return nil, err
	}
	s.onClose(n.StartFelix)
	return sc, s.killFelix(n)
}

func (s *Stage) killFelix(n *k8s.Node) error { return n.Daemons["calico-felix"].Kill() }

// stale is what podpath ought to say of the server's chain on a node.
func stale(n *k8s.Node, server *k8s.Pod) (Want, error) {
	veth, err := vethOf(n, server)
	return Want{Component: "policy", Code: "pol-agent-stale", Object: Object{Kind: "FirewallRule", Name: "ip filter cali-tw-" + veth}}, err
}

// outlived is a policy that only Felix still knows, as it was.
func (s *Stage) outlived(ctx context.Context, instead func(ctx context.Context, client, policy string) error) (*Scene, error) {
	n := s.Pick()
	sc, client, server, _, err := s.pair(ctx, n, n, "tcp")
	if err != nil {
		return nil, err
	}
	s.denied(sc, "", workload.Timeout, networkingv1.NetworkPolicySpec{
		PodSelector: app(server), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peer(s.Word())}},
	})
	name := sc.Want.Object.Name
	deny := sc.Break
	sc.Break = func(ctx context.Context) error {
		if err := deny(ctx); err != nil {
			return err
		}
		if err := s.await(ctx, "the policy", func() bool {
			got, err := s.try(sc)
			return err == nil && got.all(workload.Timeout)
		}); err != nil {
			return err
		}
		if err := s.killFelix(n); err != nil {
			return err
		}
		return instead(ctx, client, name)
	}
	sc.Heal = n.StartFelix
	sc.Want, err = stale(n, s.PodNamed(s.Namespace, podOf(sc.To)))
	return sc, err
}

func policyOutlives(ctx context.Context, s *Stage) (*Scene, error) {
	return s.outlived(ctx, func(ctx context.Context, _, policy string) error { return s.RemovePolicy(ctx, policy) })
}

func policyChanged(ctx context.Context, s *Stage) (*Scene, error) {
	return s.outlived(ctx, func(ctx context.Context, client, policy string) error {
		policies := s.Client.NetworkingV1().NetworkPolicies(s.Namespace)
		p, err := policies.Get(ctx, policy, metav1.GetOptions{})
		if err != nil {
			return err
		}
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: peer(client)}}
		_, err = policies.Update(ctx, p, metav1.UpdateOptions{})
		return err
	})
}

// replaced is a client that a policy allows, whose pod is a new one since Felix
// died on a node.
func (s *Stage) replaced(ctx context.Context, from, to, dead *k8s.Node) (*Scene, error) {
	sc, client, server, _, err := s.pair(ctx, from, to, "tcp")
	if err != nil {
		return nil, err
	}
	_, err = s.Policy(ctx, s.Word(), networkingv1.NetworkPolicySpec{
		PodSelector: app(server), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peer(client)}},
	})
	if err != nil {
		return nil, err
	}
	sc.Break = func(ctx context.Context) error {
		if err := s.killFelix(dead); err != nil {
			return err
		}
		p, err := s.Pod(ctx, from, client)
		if err != nil {
			return err
		}
		sc.Client, sc.From = p, s.ref("pod", p.Name)
		if dead != from {
			sc.From = p.Addr.String()
		}
		return nil
	}
	sc.Heal = dead.StartFelix
	sc.Symptom = []workload.Outcome{workload.Timeout}
	return sc, nil
}

func newClient(ctx context.Context, s *Stage) (*Scene, error) {
	to := s.Pick()
	sc, err := s.replaced(ctx, s.Other(to), to, to)
	if err != nil {
		return nil, err
	}
	sc.Node = to
	sc.Want, err = stale(to, s.PodNamed(s.Namespace, podOf(sc.To)))
	return sc, err
}

func newPod(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, err := s.replaced(ctx, n, s.Other(n), n)
	if err != nil {
		return nil, err
	}
	sc.Want = Want{Component: "policy", Code: "pol-agent-stale", Object: Object{Kind: "FirewallRule", Name: "ip filter cali-from-wl-dispatch"}}
	return sc, nil
}

func clientRouteMissing(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, _, _, _, err := s.pair(ctx, n, s.Other(n), "tcp")
	if err != nil {
		return nil, err
	}
	client := sc.Client.(*k8s.Pod)
	veth, err := vethOf(n, client)
	if err != nil {
		return nil, err
	}
	sc.undoable(n.Space, words("ip route del %s", client.Addr), words("ip route replace %s dev %s scope link", client.Addr, veth))
	sc.without(n.Daemons["calico-felix"])
	sc.Symptom = silentOrNo
	sc.Want = Want{Component: "cni", Code: "cni-host-route-missing", Object: Object{"Pod", s.Namespace, client.Name}}
	return sc, nil
}

// secondAddress gives the client an address of its own making, as a VPN inside
// of a pod does, and has it use that.
func secondAddress(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, _, _, _, err := s.pair(ctx, n, s.Other(n), "udp")
	if err != nil {
		return nil, err
	}
	client := sc.Client.(*k8s.Pod)
	second := fmt.Sprintf("172.31.%d.%d", 1+s.rand.IntN(250), 1+s.rand.IntN(250))
	sc.Break = func(context.Context) error {
		if err := client.Run("ip", words("address add %s/32 dev eth0", second)...); err != nil {
			return err
		}
		return client.Run("ip", words("route add %s via 169.254.1.1 dev eth0 src %s", host(sc.Target), second)...)
	}
	sc.Heal = func(context.Context) error {
		if err := client.Run("ip", words("route del %s", host(sc.Target))...); err != nil {
			return err
		}
		return client.Run("ip", words("address del %s/32 dev eth0", second)...)
	}
	sc.From = second
	sc.Symptom = []workload.Outcome{workload.Timeout}
	sc.Want = Want{Component: "cni", Code: "cni-antispoof", Object: Object{Kind: "Node", Name: n.Name}}
	return sc, nil
}
