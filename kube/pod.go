package kube

import (
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/tracer"
)

// Pod is what podpath keeps of a Pod. It is immutable.
type Pod struct {
	Meta
	UID    string
	Labels map[string]string
	Node   string
	// IPs are status.podIPs; for a hostNetwork pod they are the node's.
	IPs   []netip.Addr
	Phase string
	Ready bool
	// Deleting is metadata.deletionTimestamp, zero if the pod is not going.
	Deleting    time.Time
	HostNetwork bool
	// DNSPolicy is spec.dnsPolicy.
	DNSPolicy string
	// Ports are the declared container ports, init containers with
	// restartPolicy Always (sidecars) included.
	Ports    []tracer.ContainerPort
	Restarts int32
	// Controller is the owner reference with controller=true, zero if none.
	Controller OwnerRef
	// Created is metadata.creationTimestamp.
	Created time.Time
	// Waiting says why the first container that waits does so
	// ("ContainerCreating", "ImagePullBackOff: ..."), or why the pod is not
	// scheduled ("Unschedulable: ..."); "" otherwise.
	Waiting string
	// Scheduled is when the pod was given to its node, zero if that is not said.
	Scheduled time.Time
	// NetworkReady is the status of the condition PodReadyToStartContainers, "" in
	// clusters without it. ReadySince is when Ready got its value.
	NetworkReady string
	ReadySince   time.Time
	// Exit is how a container ended last, nil unless its last words are known.
	Exit *Exit
}

// OwnerRef is the controller of an object.
type OwnerRef struct{ Kind, Name string }

// String gives "Deployment/api", "" for the zero OwnerRef.
func (o OwnerRef) String() string {
	if o.Kind == "" {
		return ""
	}
	return o.Kind + "/" + o.Name
}

// templateHashLabel is set by the Deployment controller on its ReplicaSets and
// their pods; the ReplicaSet is named DEPLOYMENT-HASH
// (kubernetes pkg/controller/deployment/sync.go).
const templateHashLabel = "pod-template-hash"

// Finished reports whether the pod's network is gone although the object is
// still there: phase Succeeded or Failed. Its address may be in use elsewhere.
func (p *Pod) Finished() bool {
	return p.Phase == string(corev1.PodSucceeded) || p.Phase == string(corev1.PodFailed)
}

// ownsIPs reports whether the pod's addresses are its own and in use.
func (p *Pod) ownsIPs() bool { return !p.HostNetwork && !p.Finished() }

// HasIP reports whether the pod lists that address.
func (p *Pod) HasIP(ip netip.Addr) bool {
	ip = ip.Unmap()
	for _, have := range p.IPs {
		if have == ip {
			return true
		}
	}
	return false
}

// Declares reports whether a container declares that port.
func (p *Pod) Declares(port uint16, proto uint8) bool {
	for _, c := range p.Ports {
		if c.Port == port && c.Proto == proto {
			return true
		}
	}
	return false
}

// NamedPort returns the number that a declared port name has for a protocol.
func (p *Pod) NamedPort(name string, proto uint8) (uint16, bool) {
	for _, c := range p.Ports {
		if c.Name == name && c.Proto == proto {
			return c.Port, true
		}
	}
	return 0, false
}

// derivedOwner names the Deployment of a ReplicaSet's pod without looking at
// the ReplicaSet: by its name, which ends in the template hash.
func (p *Pod) derivedOwner() OwnerRef {
	c := p.Controller
	hash := p.Labels[templateHashLabel]
	if c.Kind != "ReplicaSet" || hash == "" {
		return c
	}
	if name, ok := strings.CutSuffix(c.Name, "-"+hash); ok && name != "" {
		return OwnerRef{"Deployment", name}
	}
	return c
}

func reducePod(p *corev1.Pod) *Pod {
	out := &Pod{
		Meta:        Meta{Namespace: p.Namespace, Name: p.Name, rv: p.ResourceVersion},
		UID:         string(p.UID),
		Labels:      p.Labels,
		Node:        p.Spec.NodeName,
		IPs:         podIPs(p),
		Phase:       string(p.Status.Phase),
		HostNetwork: p.Spec.HostNetwork,
		DNSPolicy:   string(p.Spec.DNSPolicy),
		Ports:       containerPorts(p),
		Controller:  controllerOf(p.OwnerReferences),
		Created:     p.CreationTimestamp.UTC(),
		Waiting:     waiting(p),
	}
	if p.CreationTimestamp.IsZero() {
		out.Created = time.Time{}
	}
	if p.DeletionTimestamp != nil {
		out.Deleting = p.DeletionTimestamp.UTC()
	}
	out.conditions(p.Status.Conditions)
	out.Exit = lastExit(p)
	for _, c := range p.Status.ContainerStatuses {
		out.Restarts += c.RestartCount
	}
	return out
}

func (p *Pod) conditions(list []corev1.PodCondition) {
	for _, c := range list {
		switch c.Type {
		case corev1.PodReady:
			p.Ready, p.ReadySince = c.Status == corev1.ConditionTrue, since(c.LastTransitionTime)
		case corev1.PodReadyToStartContainers:
			p.NetworkReady = string(c.Status)
		case corev1.PodScheduled:
			if c.Status == corev1.ConditionTrue {
				p.Scheduled = since(c.LastTransitionTime)
			}
		}
	}
}

// since is a time of the API's, zero if it is not set.
func since(t metav1.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

func podIPs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range p.Status.PodIPs {
		out = appendAddr(out, ip.IP)
	}
	if len(out) == 0 {
		out = appendAddr(out, p.Status.PodIP)
	}
	return out
}

func containerPorts(p *corev1.Pod) []tracer.ContainerPort {
	var out []tracer.ContainerPort
	add := func(ports []corev1.ContainerPort) {
		for _, c := range ports {
			out = append(out, tracer.ContainerPort{
				Name: c.Name, Port: uint16(c.ContainerPort), Proto: protoNumber(c.Protocol),
				HostPort: uint16(c.HostPort), HostIP: hostIP(c.HostIP),
			})
		}
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c.Ports)
		}
	}
	for i := range p.Spec.Containers {
		add(p.Spec.Containers[i].Ports)
	}
	return out
}

// hostIP is the address that a hostPort is bound to, zero if none is given.
func hostIP(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// Publishes reports whether the pod wants a port of its node's address to lead to
// it: a port without an address means all of them, an unspecified address all of
// its family.
func (p *Pod) Publishes(ip netip.Addr, port uint16, proto uint8) bool {
	if p.HostNetwork || port == 0 {
		return false
	}
	for _, c := range p.Ports {
		everywhere := !c.HostIP.IsValid() || c.HostIP.IsUnspecified() && c.HostIP.Is4() == ip.Is4()
		if c.HostPort == port && c.Proto == proto && (everywhere || c.HostIP == ip) {
			return p.hasFamily(ip)
		}
	}
	return false
}

// eachPublished yields the ports of its node that lead to the pod.
func (p *Pod) eachPublished(yield func(publishedPort)) {
	if !p.ownsIPs() || p.Node == "" {
		return
	}
	for _, c := range p.Ports {
		if c.HostPort != 0 {
			yield(publishedPort{p.Node, c.HostPort, c.Proto})
		}
	}
}

// hasFamily reports whether the pod has an address of the same family.
func (p *Pod) hasFamily(ip netip.Addr) bool {
	for _, have := range p.IPs {
		if have.Is4() == ip.Is4() {
			return true
		}
	}
	return false
}

func waiting(p *corev1.Pod) string {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			if w := list[i].State.Waiting; w != nil && w.Reason != "" {
				return reasonText(w.Reason, w.Message)
			}
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason != "" {
			return reasonText(c.Reason, c.Message)
		}
	}
	return ""
}

// reasonText bounds a message from the API: some carry whole pull logs. What it
// returns is not shortened again when a written dump is read.
func reasonText(reason, message string) string {
	const most, cut = 200, "..."
	if message == "" {
		return reason
	}
	if len(message) > most {
		message = strings.ToValidUTF8(message[:most-len(cut)], "") + cut
	}
	return reason + ": " + message
}

func controllerOf(refs []metav1.OwnerReference) OwnerRef {
	for i := range refs {
		if refs[i].Controller != nil && *refs[i].Controller {
			return OwnerRef{refs[i].Kind, refs[i].Name}
		}
	}
	return OwnerRef{}
}

func protoNumber(p corev1.Protocol) uint8 {
	switch p {
	case corev1.ProtocolUDP:
		return tracer.ProtoUDP
	case corev1.ProtocolSCTP:
		return tracer.ProtoSCTP
	}
	return tracer.ProtoTCP // the API's default
}

// appendAddr adds an address from the API, or nothing if it is none. IPv4 in
// IPv6 is unmapped: packets carry it as IPv4.
func appendAddr(to []netip.Addr, s string) []netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return to
	}
	a = a.Unmap()
	for _, have := range to {
		if have == a {
			return to
		}
	}
	return append(to, a)
}
