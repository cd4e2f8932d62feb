package kube

import (
	"net/netip"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node is what podpath keeps of a Node. It is immutable.
type Node struct {
	Meta
	Ready bool
	// IPs are the addresses of type InternalIP and ExternalIP.
	IPs      []netip.Addr
	PodCIDRs []netip.Prefix
	Zone     string
	// Labels are what cluster-wide policies select nodes by.
	Labels map[string]string
	// PodNetwork as in tracer.NodeInfo.
	PodNetwork string
}

// backendType is where flannel says how a node's pods are reached.
const backendType = "flannel.alpha.coreos.com/backend-type"

// Namespace is a namespace's labels: policies select by them.
type Namespace struct {
	Meta
	Labels map[string]string
}

// ReplicaSet tells which object owns it.
type ReplicaSet struct {
	Meta
	Controller OwnerRef
}

// ServiceCIDR is a range that the API server allocates ClusterIPs from.
type ServiceCIDR struct {
	Meta
	Prefixes []netip.Prefix
}

func reduceNode(n *corev1.Node) *Node {
	out := &Node{
		Meta: Meta{Name: n.Name, rv: n.ResourceVersion},
		Zone: n.Labels[corev1.LabelTopologyZone], Labels: n.Labels,
		PodNetwork: strings.ToLower(n.Annotations[backendType]),
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
			out.IPs = appendAddr(out.IPs, a.Address)
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
	}
	out.PodCIDRs = parsePrefixes(n.Spec.PodCIDRs)
	if len(out.PodCIDRs) == 0 {
		out.PodCIDRs = parsePrefixes([]string{n.Spec.PodCIDR})
	}
	return out
}

func reduceNamespace(n *corev1.Namespace) *Namespace {
	return &Namespace{Meta: Meta{Name: n.Name, rv: n.ResourceVersion}, Labels: namespaceLabels(n)}
}

// namespaceLabels adds kubernetes.io/metadata.name, which the API server sets
// on every namespace since 1.21 and a hand-written dump may lack.
func namespaceLabels(n *corev1.Namespace) map[string]string {
	if _, ok := n.Labels[corev1.LabelMetadataName]; ok {
		return n.Labels
	}
	labels := make(map[string]string, len(n.Labels)+1)
	for k, v := range n.Labels {
		labels[k] = v
	}
	labels[corev1.LabelMetadataName] = n.Name
	return labels
}

func reduceReplicaSet(r *appsv1.ReplicaSet) *ReplicaSet {
	return reduceReplicaSetMeta(&r.ObjectMeta)
}

func reduceReplicaSetMeta(m *metav1.ObjectMeta) *ReplicaSet {
	return &ReplicaSet{
		Meta:       Meta{Namespace: m.Namespace, Name: m.Name, rv: m.ResourceVersion},
		Controller: controllerOf(m.OwnerReferences),
	}
}

func reduceServiceCIDR(c *networkingv1.ServiceCIDR) *ServiceCIDR {
	return &ServiceCIDR{
		Meta:     Meta{Name: c.Name, rv: c.ResourceVersion},
		Prefixes: parsePrefixes(c.Spec.CIDRs),
	}
}

func parsePrefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}
