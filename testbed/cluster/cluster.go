// Package cluster makes up clusters: every object that a cluster of a given
// size would have, as large and as uneven as real ones. The same Size gives the
// same objects, byte for byte. It is for tests and measurements.
package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Size says how much of everything a cluster has.
type Size struct {
	Pods, Services, Policies, Nodes, Namespaces int
	// Local is how many of the pods run on the first node.
	Local int
	// LocalIPs, if given, are the IPv4 addresses of the pods of the first node
	// that have their own, as far as they go.
	LocalIPs []netip.Addr
	// LocalNode and LocalNodeIP, if given, are the first node's.
	LocalNode   string
	LocalNodeIP netip.Addr
	// Dual is the share of pods and Services with an IPv6 address too, 0 to 1.
	Dual float64
	Seed uint64
}

// Large is the cluster that podpath's targets are about.
func Large() Size {
	return Size{Pods: 10_000, Services: 5_000, Policies: 2_000, Nodes: 500, Namespaces: 150, Local: 250, Dual: 0.3, Seed: 1}
}

// Cluster holds the objects. Parts of them are shared between objects: a caller
// that changes one makes a deep copy first.
type Cluster struct {
	Nodes       []*corev1.Node
	Namespaces  []*corev1.Namespace
	Pods        []*corev1.Pod
	Services    []*corev1.Service
	Slices      []*discoveryv1.EndpointSlice
	Policies    []*networkingv1.NetworkPolicy
	ReplicaSets []*appsv1.ReplicaSet
	CIDRs       []*networkingv1.ServiceCIDR
}

// Objects returns everything, kind by kind.
func (c *Cluster) Objects() []runtime.Object {
	var out []runtime.Object
	out = appendAll(out, c.Nodes)
	out = appendAll(out, c.Namespaces)
	out = appendAll(out, c.Pods)
	out = appendAll(out, c.Services)
	out = appendAll(out, c.Slices)
	out = appendAll(out, c.Policies)
	out = appendAll(out, c.ReplicaSets)
	return appendAll(out, c.CIDRs)
}

func appendAll[T runtime.Object](out []runtime.Object, objs []T) []runtime.Object {
	for _, o := range objs {
		out = append(out, o)
	}
	return out
}

// LocalPods are the pods of the first node.
func (c *Cluster) LocalPods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range c.Pods {
		if p.Spec.NodeName == c.Nodes[0].Name {
			out = append(out, p)
		}
	}
	return out
}

// maker holds what is being made.
type maker struct {
	size Size
	*Cluster
	rnd  *rand.Rand
	born time.Time

	apps  []*app
	hosts []host
}

// Generate makes the cluster. The numbers of pods, Services and policies are
// exact; it panics if they cannot be had (fewer pods than Local).
func Generate(s Size) *Cluster {
	if s.Nodes < 1 || s.Namespaces < 1 || s.Local > s.Pods {
		panic(fmt.Sprintf("cluster: no cluster has this size: %+v", s))
	}
	m := &maker{
		size: s, Cluster: &Cluster{}, rnd: rand.New(rand.NewPCG(s.Seed, 0x706f6470617468)),
		born: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC),
	}
	m.addNodes()
	m.addNamespaces()
	m.addCIDRs()
	m.planApps()
	m.addPods()
	m.addServices()
	m.addPolicies()
	return m.Cluster
}

// meta is the metadata that every object has. Revisions are dealt out by the
// API server.
func (m *maker) meta(namespace, name string, labels map[string]string, manager string) metav1.ObjectMeta {
	m.born = m.born.Add(time.Duration(m.rnd.IntN(120)) * time.Second)
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: labels, UID: m.uid(),
		CreationTimestamp: metav1.NewTime(m.born), Generation: 1, ManagedFields: m.managed(manager),
	}
}

// some reports true for a share of the calls.
func (m *maker) some(share float64) bool { return m.rnd.Float64() < share }

func (m *maker) pick(list []string) string { return list[m.rnd.IntN(len(list))] }

// suffix is a random name part, of the letters that Kubernetes uses.
func (m *maker) suffix(n int) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[m.rnd.IntN(len(letters))]
	}
	return string(b)
}

func (m *maker) addCIDRs() {
	c := &networkingv1.ServiceCIDR{
		ObjectMeta: m.meta("", "kubernetes", nil, "kube-apiserver"),
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/12", "fd00:96::/108"}},
	}
	m.CIDRs = append(m.CIDRs, c)
}
