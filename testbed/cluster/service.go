package cluster

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// sliceSize is how many endpoints the EndpointSlice controller puts in one.
const sliceSize = 100

// addServices gives every workload a Service, and then more: a second one for
// the same pods, and some without any pod, as forgotten ones are.
func (m *maker) addServices() {
	for i := range m.size.Services {
		var a *app
		name := ""
		switch {
		case i < len(m.apps):
			a = m.apps[i]
			name = a.name
		case m.some(0.8):
			a = m.apps[m.rnd.IntN(len(m.apps))]
			name = fmt.Sprintf("%s-v%d", a.name, i)
		default:
			a = &app{namespace: m.Namespaces[i%m.size.Namespaces].Name, labels: map[string]string{"app": "gone"}}
			name = fmt.Sprintf("forgotten-%d", i)
		}
		if name == "coredns" {
			name = "kube-dns"
		}
		m.service(i, name, a)
	}
}

func (m *maker) service(i int, name string, a *app) {
	svc := &corev1.Service{ObjectMeta: m.meta(a.namespace, name, a.labels, "helm")}
	svc.Annotations = map[string]string{"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": a.namespace}
	policy := corev1.IPFamilyPolicySingleStack
	ips, families := []string{numbered([4]byte{10, 96, 0, 10}, i).String()}, []corev1.IPFamily{corev1.IPv4Protocol}
	if a.dual {
		policy = corev1.IPFamilyPolicyPreferDualStack
		ips = append(ips, netip.MustParseAddr(fmt.Sprintf("fd00:96::%x", i+10)).String())
		families = append(families, corev1.IPv6Protocol)
	}
	svc.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: ips[0], ClusterIPs: ips, IPFamilies: families, IPFamilyPolicy: &policy,
		Selector: map[string]string{"app": a.labels["app"]}, SessionAffinity: corev1.ServiceAffinityNone,
		InternalTrafficPolicy: value(corev1.ServiceInternalTrafficPolicyCluster),
		Ports:                 []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP}},
	}
	switch {
	case name == "kube-dns":
		svc.Spec.Ports = []corev1.ServicePort{
			{Name: "dns", Port: 53, TargetPort: intstr.FromString("dns"), Protocol: corev1.ProtocolUDP},
			{Name: "dns-tcp", Port: 53, TargetPort: intstr.FromString("dns-tcp"), Protocol: corev1.ProtocolTCP},
		}
	case a.kind == "StatefulSet":
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
	case m.some(0.03):
		svc.Spec.Type = corev1.ServiceTypeLoadBalancer
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: numbered([4]byte{198, 18, 0, 1}, i).String()}}
		svc.Spec.Ports[0].NodePort = int32(30000 + i%2700)
	}
	m.Services = append(m.Services, svc)
	m.addSlices(svc, a)
}

// addSlices makes a Service's EndpointSlices, one set for each family.
func (m *maker) addSlices(svc *corev1.Service, a *app) {
	for fi, family := range svc.Spec.IPFamilies {
		var all []discoveryv1.Endpoint
		for _, p := range a.pods {
			if fi < len(p.Status.PodIPs) {
				all = append(all, m.endpoint(p, p.Status.PodIPs[fi].IP))
			}
		}
		for first := true; first || len(all) > 0; first = false {
			n := min(sliceSize, len(all))
			m.slice(svc, family, all[:n])
			all = all[n:]
		}
	}
}

func (m *maker) slice(svc *corev1.Service, family corev1.IPFamily, endpoints []discoveryv1.Endpoint) {
	labels := map[string]string{
		discoveryv1.LabelServiceName: svc.Name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
	}
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  m.meta(svc.Namespace, svc.Name+"-"+m.suffix(5), labels, "kube-controller-manager"),
		AddressType: discoveryv1.AddressType(family), Endpoints: endpoints,
	}
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: svc.Name, UID: svc.UID, Controller: yes(), BlockOwnerDeletion: yes()}}
	for _, p := range svc.Spec.Ports {
		number := int32(8080)
		if p.Name != "http" {
			number = p.Port
		}
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &number})
	}
	m.Slices = append(m.Slices, s)
}

func (m *maker) endpoint(p *corev1.Pod, ip string) discoveryv1.Endpoint {
	ready := p.Status.ContainerStatuses[0].Ready
	return discoveryv1.Endpoint{
		Addresses: []string{ip}, NodeName: &p.Spec.NodeName, Zone: value("eu-west-1a"),
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready, Terminating: value(false)},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
	}
}
