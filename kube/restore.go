package kube

import (
	"net/netip"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podpath/podpath/tracer"
)

// The functions here turn reduced objects back into API objects that reduce to
// the same. What was left out stays out.

func restore(o object) any {
	switch o := o.(type) {
	case *Pod:
		return restorePod(o)
	case *Service:
		return restoreService(o)
	case *EndpointSlice:
		return restoreSlice(o)
	case *Node:
		return restoreNode(o)
	case *Namespace:
		return &corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: metav1.ObjectMeta{Name: o.Name, Labels: o.Labels},
		}
	case *NetworkPolicy:
		return &networkingv1.NetworkPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
			ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name}, Spec: *o.Spec,
		}
	case *ClusterPolicy:
		return &o.written
	case *CNIPolicy:
		return &o.written
	case *ReplicaSet:
		return &appsv1.ReplicaSet{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ReplicaSet"},
			ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, OwnerReferences: ownerRefs(o.Controller)},
		}
	case *Event:
		return restoreEvent(o)
	case *ServiceCIDR:
		return &networkingv1.ServiceCIDR{
			TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "ServiceCIDR"},
			ObjectMeta: metav1.ObjectMeta{Name: o.Name},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: texts(o.Prefixes)},
		}
	}
	return nil
}

func restorePod(p *Pod) *corev1.Pod {
	out := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}}
	out.Namespace, out.Name, out.Labels = p.Namespace, p.Name, p.Labels
	out.UID = types.UID(p.UID)
	out.OwnerReferences = ownerRefs(p.Controller)
	if !p.Created.IsZero() {
		out.CreationTimestamp = metav1.NewTime(p.Created)
	}
	if !p.Deleting.IsZero() {
		at := metav1.NewTime(p.Deleting)
		out.DeletionTimestamp = &at
	}
	out.Spec.NodeName, out.Spec.HostNetwork, out.Spec.DNSPolicy = p.Node, p.HostNetwork, corev1.DNSPolicy(p.DNSPolicy)
	c := corev1.Container{Name: "all"}
	for _, port := range p.Ports {
		c.Ports = append(c.Ports, corev1.ContainerPort{
			Name: port.Name, ContainerPort: int32(port.Port), Protocol: protocolName(port.Proto),
			HostPort: int32(port.HostPort), HostIP: addrText(port.HostIP),
		})
	}
	out.Spec.Containers = []corev1.Container{c}
	out.Status = corev1.PodStatus{
		Phase:             corev1.PodPhase(p.Phase),
		Conditions:        podConditions(p),
		ContainerStatuses: []corev1.ContainerStatus{{Name: c.Name, RestartCount: p.Restarts}},
	}
	if e := p.Exit; e != nil {
		out.Annotations = map[string]string{saysNote: string(e.Says)}
		out.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Message: e.Text, FinishedAt: metav1.NewTime(e.At)}
		if !e.Again.IsZero() {
			out.Status.ContainerStatuses[0].State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(e.Again)}
		}
	}
	if reason, message, _ := strings.Cut(p.Waiting, ": "); reason != "" {
		out.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: message}
	}
	for i, ip := range p.IPs {
		if i == 0 {
			out.Status.PodIP = ip.String()
		}
		out.Status.PodIPs = append(out.Status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	return out
}

func podConditions(p *Pod) []corev1.PodCondition {
	out := []corev1.PodCondition{{Type: corev1.PodReady, Status: condition(p.Ready), LastTransitionTime: metav1.NewTime(p.ReadySince)}}
	if p.NetworkReady != "" {
		out = append(out, corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionStatus(p.NetworkReady)})
	}
	if !p.Scheduled.IsZero() {
		out = append(out, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(p.Scheduled)})
	}
	return out
}

// addrText is an address in words, "" for none.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func restoreService(s *Service) *corev1.Service {
	out := &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}}
	out.Namespace, out.Name, out.Labels, out.ManagedFields = s.Namespace, s.Name, s.Labels, restoreChanged(s.Changed)
	out.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceType(s.Type), Selector: s.Selector, ClusterIPs: texts(s.ClusterIPs),
		ExternalIPs: texts(s.ExternalIPs), LoadBalancerSourceRanges: texts(s.SourceRanges),
		PublishNotReadyAddresses: s.PublishNotReady, ExternalName: s.ExternalName,
	}
	if s.Headless {
		out.Spec.ClusterIP = corev1.ClusterIPNone
	} else if len(s.ClusterIPs) > 0 {
		out.Spec.ClusterIP = s.ClusterIPs[0].String()
	}
	if s.ExternalLocal {
		out.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if s.InternalLocal {
		local := corev1.ServiceInternalTrafficPolicyLocal
		out.Spec.InternalTrafficPolicy = &local
	}
	for _, p := range s.Ports {
		out.Spec.Ports = append(out.Spec.Ports, corev1.ServicePort{
			Name: p.Name, Protocol: protocolName(p.Proto), Port: int32(p.Port), NodePort: int32(p.NodePort),
			TargetPort: targetPort(p.TargetPort),
		})
	}
	for _, ip := range s.LoadBalancerIPs {
		out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip.String()})
	}
	return out
}

func restoreSlice(s *EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta:  metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, ManagedFields: restoreChanged(s.Changed)},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	if s.IPv6 {
		out.AddressType = discoveryv1.AddressTypeIPv6
	}
	if s.Service != "" {
		out.Labels = map[string]string{discoveryv1.LabelServiceName: s.Service}
	}
	for _, p := range s.Ports {
		name, proto := p.Name, protocolName(p.Proto)
		port := discoveryv1.EndpointPort{Name: &name, Protocol: &proto}
		if p.Number != 0 {
			n := int32(p.Number)
			port.Port = &n
		}
		out.Ports = append(out.Ports, port)
	}
	for i := range s.Endpoints {
		out.Endpoints = append(out.Endpoints, restoreEndpoint(&s.Endpoints[i]))
	}
	return out
}

func restoreEndpoint(e *SliceEndpoint) discoveryv1.Endpoint {
	ready, serving, terminating := e.Ready, e.Serving, e.Terminating
	out := discoveryv1.Endpoint{
		Addresses:  texts(e.Addrs),
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
	}
	if node := e.Node; node != "" {
		out.NodeName = &node
	}
	if zone := e.Zone; zone != "" {
		out.Zone = &zone
	}
	if e.Pod != (Key{}) {
		out.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: e.Pod.Namespace, Name: e.Pod.Name}
	}
	return out
}

func restoreNode(n *Node) *corev1.Node {
	out := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}}
	out.Name, out.Labels = n.Name, n.Labels
	if n.PodNetwork != "" {
		out.Annotations = map[string]string{backendType: n.PodNetwork}
	}
	for _, ip := range n.IPs {
		out.Status.Addresses = append(out.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	out.Status.Conditions = nodeConditions(n)
	if n.Says != "" {
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[saysNote] = string(n.Says)
	}
	if n.MaxPods > 0 {
		out.Status.Allocatable = corev1.ResourceList{corev1.ResourcePods: *apiresource.NewQuantity(n.MaxPods, apiresource.DecimalSI)}
	}
	out.Spec.PodCIDRs = texts(n.PodCIDRs)
	return out
}

func nodeConditions(n *Node) []corev1.NodeCondition {
	reason, message, _ := strings.Cut(n.ReadyText, ": ")
	status := corev1.ConditionStatus(n.ReadyStatus)
	if status == "" {
		status = condition(n.Ready)
	}
	out := []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(n.ReadySince)}}
	if n.NetworkUnavailable {
		reason, message, _ := strings.Cut(n.NetworkText, ": ")
		out = append(out, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue, Reason: reason, Message: message})
	}
	return out
}

func ownerRefs(o OwnerRef) []metav1.OwnerReference {
	if o.Kind == "" {
		return nil
	}
	yes := true
	return []metav1.OwnerReference{{Kind: o.Kind, Name: o.Name, Controller: &yes}}
}

func targetPort(s string) intstr.IntOrString {
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		return intstr.FromInt32(int32(n))
	}
	return intstr.FromString(s)
}

func condition(yes bool) corev1.ConditionStatus {
	if yes {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func texts[T netip.Addr | netip.Prefix](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, any(v).(interface{ String() string }).String())
	}
	return out
}

func protocolName(p uint8) corev1.Protocol { return corev1.Protocol(tracer.ProtoName(p)) }
