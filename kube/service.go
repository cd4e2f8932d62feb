package kube

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/podpath/podpath/tracer"
)

// Service is what podpath keeps of a Service. It is immutable.
type Service struct {
	Meta
	Labels map[string]string
	Type   string
	// ClusterIPs is empty for headless and ExternalName Services.
	ClusterIPs  []netip.Addr
	Headless    bool
	ExternalIPs []netip.Addr
	// LoadBalancerIPs are those that kube-proxy translates: status ingress
	// addresses whose ipMode is not "Proxy" (KEP-1860).
	LoadBalancerIPs []netip.Addr
	Ports           []ServicePort
	Selector        map[string]string
	ExternalLocal   bool
	InternalLocal   bool
	SourceRanges    []netip.Prefix
	PublishNotReady bool
	ExternalName    string
	// Changed is when the version that was heard of first had been written, by the
	// API server's clock; zero is not known. Snapshot.Changes has what came after.
	Changed time.Time
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name       string
	Proto      uint8
	Port       uint16
	NodePort   uint16 // 0 if none
	TargetPort string // as written: number or name
}

// FrontendKind is by which of its addresses a Service was used.
type FrontendKind string

const (
	FrontendClusterIP    FrontendKind = "cluster-ip"
	FrontendNodePort     FrontendKind = "node-port"
	FrontendExternalIP   FrontendKind = "external-ip"
	FrontendLoadBalancer FrontendKind = "load-balancer"
)

// IsDNS reports whether this is the cluster's DNS: kube-system/kube-dns, the
// label k8s-app=kube-dns that most distributions' DNS add-ons carry, or a port
// named dns in a namespace where only the cluster's own Services are. A DNS server
// that somebody runs as a workload is none.
func (s *Service) IsDNS() bool {
	if s.Namespace == "kube-system" && s.Name == "kube-dns" || s.Labels["k8s-app"] == "kube-dns" {
		return true
	}
	if s.Namespace != "kube-system" && s.Namespace != "openshift-dns" {
		return false
	}
	return slices.ContainsFunc(s.Ports, func(p ServicePort) bool { return p.Name == "dns" || p.Name == "dns-tcp" })
}

// Selects reports whether the Service's selector matches. A Service without
// selector selects nothing: its endpoints are written by someone else.
func (s *Service) Selects(p *Pod) bool {
	if len(s.Selector) == 0 || p.Namespace != s.Namespace {
		return false
	}
	for k, v := range s.Selector {
		if have, ok := p.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// SelectorText gives the selector as kubectl prints it, "" if there is none.
func (s *Service) SelectorText() string {
	parts := make([]string, 0, len(s.Selector))
	for k, v := range s.Selector {
		parts = append(parts, k+"="+v)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

func reduceService(s *corev1.Service) *Service {
	out := &Service{
		Meta:            Meta{Namespace: s.Namespace, Name: s.Name, rv: s.ResourceVersion},
		Labels:          s.Labels,
		Type:            string(s.Spec.Type),
		Selector:        s.Spec.Selector,
		ExternalLocal:   s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		PublishNotReady: s.Spec.PublishNotReadyAddresses,
		ExternalName:    s.Spec.ExternalName,
		Changed:         changed(&s.ObjectMeta),
	}
	if out.Type == "" {
		out.Type = string(corev1.ServiceTypeClusterIP)
	}
	if p := s.Spec.InternalTrafficPolicy; p != nil {
		out.InternalLocal = *p == corev1.ServiceInternalTrafficPolicyLocal
	}
	out.Headless = s.Spec.ClusterIP == corev1.ClusterIPNone
	for _, ip := range s.Spec.ClusterIPs {
		out.ClusterIPs = appendAddr(out.ClusterIPs, ip)
	}
	out.ClusterIPs = appendAddr(out.ClusterIPs, s.Spec.ClusterIP)
	for _, ip := range s.Spec.ExternalIPs {
		out.ExternalIPs = appendAddr(out.ExternalIPs, ip)
	}
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode != corev1.LoadBalancerIPModeProxy {
			out.LoadBalancerIPs = appendAddr(out.LoadBalancerIPs, in.IP)
		}
	}
	for _, r := range s.Spec.LoadBalancerSourceRanges {
		if p, err := netip.ParsePrefix(strings.TrimSpace(r)); err == nil {
			out.SourceRanges = append(out.SourceRanges, p.Masked())
		}
	}
	for _, p := range s.Spec.Ports {
		out.Ports = append(out.Ports, reduceServicePort(p))
	}
	return out
}

func reduceServicePort(p corev1.ServicePort) ServicePort {
	target := p.TargetPort.String()
	if target == "0" || target == "" {
		// The API server fills in the port; a hand-written dump may not have.
		target = portText(uint16(p.Port))
	}
	return ServicePort{
		Name: p.Name, Proto: protoNumber(p.Protocol), Port: uint16(p.Port),
		NodePort: uint16(p.NodePort), TargetPort: target,
	}
}

// EndpointSlice is what podpath keeps of an EndpointSlice. It is immutable.
type EndpointSlice struct {
	Meta
	// Service is the label kubernetes.io/service-name, "" for foreign slices.
	Service   string
	IPv6      bool
	Ports     []SlicePort
	Endpoints []SliceEndpoint
	// Changed is when the version that was heard of first had been written, by the
	// API server's clock; zero is not known. Snapshot.Changes has what came after.
	Changed time.Time
}

// SlicePort is one port of a slice. Number 0 stands for an absent port, which
// means "all ports" and is used by no Service.
type SlicePort struct {
	Name   string
	Proto  uint8
	Number uint16
}

// SliceEndpoint is one endpoint, with the API's defaults for absent conditions
// filled in (discovery/v1 EndpointConditions).
type SliceEndpoint struct {
	Addrs       []netip.Addr
	Ready       bool
	Serving     bool
	Terminating bool
	Node        string
	Zone        string
	// Pod is targetRef if it names a Pod, zero otherwise.
	Pod Key
}

func reduceSlice(s *discoveryv1.EndpointSlice) *EndpointSlice {
	out := &EndpointSlice{
		Meta:    Meta{Namespace: s.Namespace, Name: s.Name, rv: s.ResourceVersion},
		Service: s.Labels[discoveryv1.LabelServiceName],
		IPv6:    s.AddressType == discoveryv1.AddressTypeIPv6,
		Changed: changed(&s.ObjectMeta),
	}
	for _, p := range s.Ports {
		port := SlicePort{Proto: tracer.ProtoTCP}
		if p.Name != nil {
			port.Name = *p.Name
		}
		if p.Protocol != nil {
			port.Proto = protoNumber(*p.Protocol)
		}
		if p.Port != nil {
			port.Number = uint16(*p.Port)
		}
		out.Ports = append(out.Ports, port)
	}
	for i := range s.Endpoints {
		out.Endpoints = append(out.Endpoints, reduceEndpoint(s.Namespace, &s.Endpoints[i]))
	}
	return out
}

func reduceEndpoint(namespace string, e *discoveryv1.Endpoint) SliceEndpoint {
	c := e.Conditions
	out := SliceEndpoint{
		Ready:       c.Ready == nil || *c.Ready,
		Serving:     c.Serving == nil || *c.Serving,
		Terminating: c.Terminating != nil && *c.Terminating,
	}
	for _, a := range e.Addresses {
		out.Addrs = appendAddr(out.Addrs, a)
	}
	if e.NodeName != nil {
		out.Node = *e.NodeName
	}
	if e.Zone != nil {
		out.Zone = *e.Zone
	}
	if r := e.TargetRef; r != nil && r.Kind == "Pod" {
		out.Pod = Key{r.Namespace, r.Name}
		if out.Pod.Namespace == "" {
			out.Pod.Namespace = namespace
		}
	}
	return out
}
