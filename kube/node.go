package kube

import (
	"net/netip"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/tracer"
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
	// ReadyStatus is the condition's own ("True", "False", "Unknown"), ReadySince when
	// it got it. ReadyText and Says are why it is not ready, "" while it is.
	ReadyStatus string
	ReadySince  time.Time
	ReadyText   string
	Says        tracer.StartFailure
	// NetworkUnavailable is the condition of that name, NetworkText why.
	NetworkUnavailable bool
	NetworkText        string
	// MaxPods is how many pods it takes (status.allocatable), 0 if it does not say.
	MaxPods int64
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
	out.conditions(n)
	out.MaxPods = n.Status.Allocatable.Pods().Value()
	out.PodCIDRs = parsePrefixes(n.Spec.PodCIDRs)
	if len(out.PodCIDRs) == 0 {
		out.PodCIDRs = parsePrefixes([]string{n.Spec.PodCIDR})
	}
	return out
}

func (n *Node) conditions(from *corev1.Node) {
	for _, c := range from.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady:
			n.Ready, n.ReadyStatus, n.ReadySince = c.Status == corev1.ConditionTrue, string(c.Status), since(c.LastTransitionTime)
			if !n.Ready {
				n.ReadyText, n.Says = reasonText(c.Reason, c.Message), noted(from.Annotations, c.Message)
			}
		case corev1.NodeNetworkUnavailable:
			if c.Status == corev1.ConditionTrue {
				n.NetworkUnavailable, n.NetworkText = true, reasonText(c.Reason, c.Message)
			}
		}
	}
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
