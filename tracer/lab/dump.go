package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// list is what "kubectl get KINDS -A -o json" prints.
type list struct {
	APIVersion string          `json:"apiVersion"`
	Items      []any           `json:"items"`
	Kind       string          `json:"kind"`
	Metadata   metav1.ListMeta `json:"metadata"`
	// Read are the kinds beyond Kubernetes' own that were looked for, as podpath's
	// dumps have it.
	Read []string `json:"read,omitempty"`
}

// ClusterDump is the state of the cluster's objects as kubectl would print it:
// one List of Nodes, Namespaces, Pods, Services, EndpointSlices and
// NetworkPolicies. It follows Break and Undo.
func (l *Lab) ClusterDump() ([]byte, error) {
	d := dumper{c: l.c, born: metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))}
	out := list{APIVersion: "v1", Kind: "List", Items: d.items(), Read: l.c.read}
	b, err := json.MarshalIndent(out, "", "    ")
	if err != nil {
		return nil, fmt.Errorf("encode cluster dump: %w", err)
	}
	return append(b, '\n'), nil
}

type dumper struct {
	c    *cluster
	born metav1.Time
}

func (d *dumper) items() []any {
	out := []any{d.node(d.c.p.node), d.node(d.c.p.peer)}
	for _, n := range d.c.namespaces {
		out = append(out, d.namespace(n))
	}
	for _, p := range d.c.pods {
		out = append(out, d.pod(p))
	}
	for _, s := range d.c.services {
		out = append(out, d.service(s))
		for _, six := range []bool{false, true} {
			out = append(out, d.slice(s, six))
		}
	}
	for _, pol := range d.c.policies {
		out = append(out, d.policy(pol))
	}
	for _, pol := range d.c.adminPolicies {
		out = append(out, d.adminPolicy(pol))
	}
	for _, pol := range d.c.ciliumPolicies {
		out = append(out, d.ciliumPolicy(pol))
	}
	return out
}

func typeMeta(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

func (d *dumper) meta(ns, name, uid string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: ns, Name: name, UID: types.UID(uid), Labels: labels,
		CreationTimestamp: d.born, ResourceVersion: "1000",
	}
}

func (d *dumper) node(name string) corev1.Node {
	p := d.c.p
	cidrs, addrs := []string{p.pods4.String(), p.pods6.String()}, []netip.Addr{p.node4, p.node6}
	if name == p.peer {
		cidrs, addrs = []string{p.peerPods4.String(), p.peerPods6.String()}, []netip.Addr{p.peer4, p.peer6}
	}
	n := corev1.Node{
		TypeMeta:   typeMeta("v1", "Node"),
		ObjectMeta: d.meta("", name, "", map[string]string{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}),
		Spec:       corev1.NodeSpec{PodCIDR: cidrs[0], PodCIDRs: cidrs},
	}
	for _, a := range addrs {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: name})
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastTransitionTime: d.born}}
	return n
}

func (d *dumper) namespace(n namespace) corev1.Namespace {
	return corev1.Namespace{
		TypeMeta: typeMeta("v1", "Namespace"), ObjectMeta: d.meta("", n.name, "", n.labels),
		Spec:   corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
		Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
	}
}

func (d *dumper) pod(p *pod) corev1.Pod {
	controller := true
	owner := metav1.OwnerReference{APIVersion: "apps/v1", Kind: p.owner, Name: p.app, Controller: &controller}
	if p.owner == "ReplicaSet" {
		owner.Name = p.app + "-" + p.hash
	}
	m := d.meta(p.ns, p.name, p.uid, p.labels)
	m.OwnerReferences = []metav1.OwnerReference{owner}
	if p.isNew {
		m.CreationTimestamp = metav1.NewTime(time.Now().Truncate(time.Second))
	}
	if p.terminating {
		grace := int64(30)
		m.DeletionTimestamp, m.DeletionGracePeriodSeconds = &d.born, &grace
	}
	box := corev1.Container{Name: p.app, Image: "registry.example/" + p.app + ":1.0"}
	for _, port := range p.ports {
		box.Ports = append(box.Ports, corev1.ContainerPort{Name: port.name, ContainerPort: int32(port.port), Protocol: corev1.Protocol(port.proto), HostPort: int32(port.host)})
	}
	return corev1.Pod{
		TypeMeta: typeMeta("v1", "Pod"), ObjectMeta: m,
		Spec:   corev1.PodSpec{NodeName: p.node, HostNetwork: p.hostNetwork, Containers: []corev1.Container{box}},
		Status: d.podStatus(p),
	}
}

func (d *dumper) podStatus(p *pod) corev1.PodStatus {
	ready := corev1.ConditionTrue
	if p.notReady {
		ready = corev1.ConditionFalse
	}
	box := corev1.ContainerStatus{Name: p.app, Ready: !p.notReady, Image: "registry.example/" + p.app + ":1.0"}
	box.State.Running = &corev1.ContainerStateRunning{StartedAt: d.born}
	if p.waiting != "" {
		box.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: p.waiting}}
		box.RestartCount = 7
	}
	node := d.c.p.node4
	if p.node == d.c.p.peer {
		node = d.c.p.peer4
	}
	condition := func(t corev1.PodConditionType, s corev1.ConditionStatus) corev1.PodCondition {
		return corev1.PodCondition{Type: t, Status: s, LastTransitionTime: d.born}
	}
	return corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: node.String(), PodIP: p.ip4.String(),
		PodIPs: []corev1.PodIP{{IP: p.ip4.String()}, {IP: p.ip6.String()}},
		Conditions: []corev1.PodCondition{
			condition(corev1.PodScheduled, corev1.ConditionTrue), condition(corev1.PodInitialized, corev1.ConditionTrue),
			condition(corev1.ContainersReady, ready), condition(corev1.PodReady, ready),
		},
		ContainerStatuses: []corev1.ContainerStatus{box},
		StartTime:         &d.born,
	}
}

func (d *dumper) service(s *service) corev1.Service {
	dual := corev1.IPFamilyPolicyPreferDualStack
	internal := corev1.ServiceInternalTrafficPolicyCluster
	out := corev1.Service{
		TypeMeta: typeMeta("v1", "Service"), ObjectMeta: d.meta(s.ns, s.name, s.uid, nil),
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Selector: s.selector, SessionAffinity: corev1.ServiceAffinityNone,
			ClusterIP: s.ip4.String(), ClusterIPs: []string{s.ip4.String(), s.ip6.String()},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}, IPFamilyPolicy: &dual,
			InternalTrafficPolicy: &internal,
		},
	}
	if s.affinity > 0 {
		out.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	if s.internalLocal {
		internal = corev1.ServiceInternalTrafficPolicyLocal
	}
	if s.nodePort != 0 {
		out.Spec.Type = corev1.ServiceTypeNodePort
	}
	if s.lb4.IsValid() {
		out.Spec.Type = corev1.ServiceTypeLoadBalancer
		for _, a := range []netip.Addr{s.lb4, s.lb6} {
			out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a.String()})
		}
		for _, r := range s.ranges {
			out.Spec.LoadBalancerSourceRanges = append(out.Spec.LoadBalancerSourceRanges, r.String())
		}
	}
	for _, sp := range s.ports {
		out.Spec.Ports = append(out.Spec.Ports, corev1.ServicePort{
			Name: sp.name, Protocol: corev1.Protocol(sp.proto), Port: int32(sp.port), TargetPort: intstr.FromInt32(int32(sp.target)), NodePort: int32(s.nodePort),
		})
	}
	return out
}

func (d *dumper) slice(s *service, six bool) discoveryv1.EndpointSlice {
	family, tail := discoveryv1.AddressTypeIPv4, "4"
	if six {
		family, tail = discoveryv1.AddressTypeIPv6, "6"
	}
	labels := map[string]string{
		discoveryv1.LabelServiceName: s.name,
		discoveryv1.LabelManagedBy:   "endpointslice-controller.k8s.io",
	}
	out := discoveryv1.EndpointSlice{
		TypeMeta:    typeMeta("discovery.k8s.io/v1", "EndpointSlice"),
		ObjectMeta:  d.meta(s.ns, s.name+"-"+s.uid[:4]+tail, "", labels),
		AddressType: family, Endpoints: []discoveryv1.Endpoint{},
	}
	for _, e := range d.c.endpoints(s, six) {
		out.Endpoints = append(out.Endpoints, sliceEndpoint(e))
	}
	if len(out.Endpoints) == 0 {
		return out
	}
	for _, sp := range s.ports {
		proto, port := corev1.Protocol(sp.proto), int32(sp.target)
		out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: &sp.name, Protocol: &proto, Port: &port})
	}
	return out
}

func sliceEndpoint(e endpoint) discoveryv1.Endpoint {
	serving := e.ready || e.terminating
	out := discoveryv1.Endpoint{
		Addresses:  []string{e.addr.String()},
		Conditions: discoveryv1.EndpointConditions{Ready: &e.ready, Serving: &serving, Terminating: &e.terminating},
	}
	if e.pod != nil {
		out.NodeName = &e.pod.node
		out.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: e.pod.ns, Name: e.pod.name, UID: types.UID(e.pod.uid)}
	}
	return out
}

func (d *dumper) policy(pol policy) networkingv1.NetworkPolicy {
	out := networkingv1.NetworkPolicy{
		TypeMeta: typeMeta("networking.k8s.io/v1", "NetworkPolicy"), ObjectMeta: d.meta(pol.ns, pol.name, "", nil),
	}
	if pol.app != "" {
		out.Spec.PodSelector.MatchLabels = map[string]string{"app": pol.app}
	}
	if pol.ingress {
		out.Spec.PolicyTypes = append(out.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
	}
	if pol.egress {
		out.Spec.PolicyTypes = append(out.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
	for _, r := range pol.allow {
		if pol.ingress {
			out.Spec.Ingress = append(out.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: policyPeers(r), Ports: policyPorts(r)})
		} else {
			out.Spec.Egress = append(out.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: policyPeers(r), Ports: policyPorts(r)})
		}
	}
	return out
}

// object is one of a kind that is not Kubernetes' own.
type object struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ObjectMeta `json:"metadata"`
	Spec            map[string]any    `json:"spec"`
}

func matching(labels map[string]string) map[string]any { return map[string]any{"matchLabels": labels} }

// adminPolicy has the fields of policy.networking.k8s.io/v1alpha1.
func (d *dumper) adminPolicy(pol adminPolicy) object {
	return object{typeMeta("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"), d.meta("", pol.name, "", nil), map[string]any{
		"priority": pol.priority,
		"subject":  map[string]any{"namespaces": matching(pol.subject)},
		"ingress":  []any{map[string]any{"name": "isolated", "action": "Deny", "from": []any{map[string]any{"namespaces": matching(pol.denied)}}}},
	}}
}

// ciliumPolicy has the fields of cilium.io/v2.
func (d *dumper) ciliumPolicy(pol ciliumPolicy) object {
	app := func(name string) map[string]any { return matching(map[string]string{"app": name}) }
	return object{typeMeta("cilium.io/v2", "CiliumNetworkPolicy"), d.meta(pol.ns, pol.name, "", nil), map[string]any{
		"endpointSelector": app(pol.app),
		"ingress":          []any{map[string]any{"fromEndpoints": []any{app(pol.from)}}},
	}}
}

func policyPeers(r allowRule) []networkingv1.NetworkPolicyPeer {
	if r.block.IsValid() {
		return []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: r.block.String()}}}
	}
	peer := networkingv1.NetworkPolicyPeer{}
	if r.namespaces != nil {
		peer.NamespaceSelector = &metav1.LabelSelector{MatchLabels: r.namespaces}
	}
	if r.pods != nil || r.namespaces == nil {
		peer.PodSelector = &metav1.LabelSelector{MatchLabels: r.pods}
	}
	return []networkingv1.NetworkPolicyPeer{peer}
}

func policyPorts(r allowRule) []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for _, p := range r.ports {
		proto, port := corev1.Protocol(p.proto), intstr.FromInt32(int32(p.port))
		if p.name != "" {
			port = intstr.FromString(p.name)
		}
		out = append(out, networkingv1.NetworkPolicyPort{Protocol: &proto, Port: &port})
	}
	return out
}
