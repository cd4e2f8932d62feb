package kube

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Taken is when the state was learned (for a dump: read).
func (s *Snapshot) Taken() time.Time { return s.taken }

// Pod finds a pod by name.
func (s *Snapshot) Pod(namespace, name string) (*Pod, bool) { return s.pods.get(Key{namespace, name}) }

// Pods yields every pod, in no order.
func (s *Snapshot) Pods() iter.Seq[*Pod] { return values(s.pods) }

// PodsByIP returns the pods that have an address for their own: hostNetwork
// pods and finished pods are left out. More than one means that two pods claim
// one address; the likelier owner comes first.
func (s *Snapshot) PodsByIP(ip netip.Addr) []*Pod {
	ip = ip.Unmap()
	list, _ := s.podIPs.get(ip)
	if len(list) > 1 {
		list = slices.Clone(list)
		slices.SortStableFunc(list, likelierOwner)
	}
	if len(list) == 0 && s.later != nil {
		return s.reportedLate(ip)
	}
	return list
}

// PodByIP returns the pod that has an address for its own. If two claim it,
// one that is not going away wins, then a ready one, then the newer.
func (s *Snapshot) PodByIP(ip netip.Addr) (*Pod, bool) {
	list := s.PodsByIP(ip)
	if len(list) == 0 {
		return nil, false
	}
	return list[0], true
}

// reportedLate covers the time between a pod's first packets and the moment
// its address reaches the API (the kubelet reports it after the sandbox is
// up): a pod that existed at the moment asked for, and got the address later.
func (s *Snapshot) reportedLate(ip netip.Addr) []*Pod {
	list, _ := s.later.podIPs.get(ip)
	var out []*Pod
	for _, p := range list {
		if !p.Created.After(s.at) || s.knew(p) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, likelierOwner)
	return out
}

// knew reports whether the pod had been heard of, which does not rest on the API
// server's clock and this one's being set alike.
func (s *Snapshot) knew(p *Pod) bool {
	old, ok := s.pods.get(p.Key())
	return ok && old.UID == p.UID
}

func likelierOwner(a, b *Pod) int {
	if g := boolCompare(a.Deleting.IsZero(), b.Deleting.IsZero()); g != 0 {
		return g
	}
	if g := boolCompare(a.Ready, b.Ready); g != 0 {
		return g
	}
	if g := b.Created.Compare(a.Created); g != 0 {
		return g
	}
	return compareKeys(a.Key(), b.Key())
}

// boolCompare puts true first.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// FormerPod returns the last pod that had an address which now no pod has. It
// is forgotten after the Store's history limits.
func (s *Snapshot) FormerPod(ip netip.Addr) (Former, bool) { return s.former.get(ip.Unmap()) }

// DuplicateIPs returns the addresses that more than one pod claims.
func (s *Snapshot) DuplicateIPs() map[netip.Addr][]*Pod {
	out := make(map[netip.Addr][]*Pod)
	for ip, list := range s.podIPs.all() {
		if len(list) > 1 {
			out[ip] = list
		}
	}
	return out
}

// Service finds a Service by name.
func (s *Snapshot) Service(namespace, name string) (*Service, bool) {
	return s.services.get(Key{namespace, name})
}

// Services yields every Service, in no order.
func (s *Snapshot) Services() iter.Seq[*Service] { return values(s.services) }

// Slices returns the EndpointSlices of a Service.
func (s *Snapshot) Slices(service Key) []*EndpointSlice {
	list, _ := s.ofService.get(service)
	return list
}

// Node finds a node by name.
func (s *Snapshot) Node(name string) (*Node, bool) {
	n, ok := s.nodes.byName[name]
	return n, ok
}

// NodeByIP finds a node by one of its addresses.
func (s *Snapshot) NodeByIP(ip netip.Addr) (*Node, bool) {
	n, ok := s.nodes.byIP[ip.Unmap()]
	return n, ok
}

// Nodes returns every node, by name.
func (s *Snapshot) Nodes() []tracer.NodeInfo { return s.nodes.infos }

// Namespace finds a namespace by name.
func (s *Snapshot) Namespace(name string) (*Namespace, bool) {
	return s.namespaces.get(Key{Name: name})
}

// Namespaces yields every namespace, in no order.
func (s *Snapshot) Namespaces() iter.Seq[*Namespace] { return values(s.namespaces) }

// Policies returns the NetworkPolicies of a namespace, by name.
func (s *Snapshot) Policies(namespace string) []*NetworkPolicy {
	list, _ := s.ofNS.get(namespace)
	return list
}

// InPodCIDR returns the node whose pod range (spec.podCIDRs) holds an address,
// "" if none does. Not every CNI allocates from these ranges.
func (s *Snapshot) InPodCIDR(ip netip.Addr) string { return s.nodes.podCIDR(ip.Unmap()) }

// ServiceRanges returns the ranges of ClusterIPs, and whether they come from
// ServiceCIDR objects. If not, they are a guess: the span of the ClusterIPs in
// use, so that an unused part of the real range is not recognised.
func (s *Snapshot) ServiceRanges() (ranges []netip.Prefix, known bool) {
	return s.ranges, s.rangesKnown
}

// InServiceRange reports whether an address lies in ServiceRanges.
func (s *Snapshot) InServiceRange(ip netip.Addr) bool {
	ip = ip.Unmap()
	for _, r := range s.ranges {
		if r.Contains(ip) {
			return true
		}
	}
	return false
}

// Owner names the workload a pod belongs to. A ReplicaSet's pod belongs to the
// ReplicaSet's own controller; if the ReplicaSet is not known, the Deployment
// is derived from the name.
func (s *Snapshot) Owner(p *Pod) OwnerRef {
	if p.Controller.Kind == "ReplicaSet" {
		if rs, ok := s.replicas.get(Key{p.Namespace, p.Controller.Name}); ok {
			if rs.Controller != (OwnerRef{}) {
				return rs.Controller
			}
			return p.Controller
		}
	}
	return p.derivedOwner()
}

// PodFacts is what the analysis needs of a pod.
func (s *Snapshot) PodFacts(p *Pod) *tracer.PodFacts {
	return &tracer.PodFacts{
		Namespace: p.Namespace, Name: p.Name, Phase: p.Phase, Ready: p.Ready,
		Terminating: !p.Deleting.IsZero(), HostNetwork: p.HostNetwork, DNSPolicy: p.DNSPolicy, Node: p.Node,
		Owner: s.Owner(p).String(), IPs: p.IPs, Restarts: p.Restarts, Ports: p.Ports, DNS: s.servesDNS(p),
		Created: p.Created, Network: s.podNetwork(p),
	}
}

// servesDNS reports whether a DNS Service of the pod's namespace selects it.
func (s *Snapshot) servesDNS(p *Pod) bool {
	if svc, ok := s.services.get(Key{"kube-system", "kube-dns"}); ok && svc.Selects(p) {
		return true
	}
	if p.Labels["k8s-app"] == "kube-dns" {
		return true
	}
	for _, svc := range s.services.all() {
		if svc.Namespace == p.Namespace && svc.IsDNS() && svc.Selects(p) {
			return true
		}
	}
	return false
}

// Frontend is a Service as a packet's destination names it.
type Frontend struct {
	Service *Service
	Kind    FrontendKind
	// Port is the Service's port; nil if the Service has no such port and
	// protocol, which only its own addresses (not a NodePort) can tell.
	Port *ServicePort
}

// Frontend finds the Service behind a destination. Loopback addresses count as
// a node's for NodePorts: kube-proxy may translate those too.
func (s *Snapshot) Frontend(ip netip.Addr, port uint16, proto uint8) (Frontend, bool) {
	ip = ip.Unmap()
	_, isNode := s.nodes.byIP[ip]
	list, _ := s.vips.get(ip)
	// A node's address may be a Service's external or load-balancer IP too (k3s
	// does that); it is then the Service's on the Service's ports only.
	if f, ok := bestFrontend(list, port, proto); ok && (f.Port != nil || !isNode) {
		return f, true
	}
	if !isNode && !ip.IsLoopback() {
		return Frontend{}, false
	}
	owners, _ := s.nodePorts.get(nodePort{port, proto})
	for _, svc := range owners {
		for i := range svc.Ports {
			if p := &svc.Ports[i]; p.NodePort == port && p.Proto == proto {
				return Frontend{svc, FrontendNodePort, p}, true
			}
		}
	}
	return Frontend{}, false
}

// bestFrontend chooses among the Services that share an address (an external
// IP may be shared by port): one that has the port, else the first by name.
func bestFrontend(list []vip, port uint16, proto uint8) (Frontend, bool) {
	var best Frontend
	for _, v := range list {
		for i := range v.service.Ports {
			if p := &v.service.Ports[i]; p.Port == port && p.Proto == proto {
				return Frontend{v.service, v.kind, p}, true
			}
		}
		if best.Service == nil || compareKeys(v.service.Key(), best.Service.Key()) < 0 {
			best = Frontend{v.service, v.kind, nil}
		}
	}
	return best, best.Service != nil
}

// HostPod returns the hostNetwork pod that declares a port on a node's
// address, if exactly one does.
func (s *Snapshot) HostPod(ip netip.Addr, port uint16, proto uint8) (*Pod, bool) {
	list, _ := s.hostPorts.get(hostPort{ip.Unmap(), port, proto})
	if len(list) != 1 {
		return nil, false
	}
	return list[0], true
}

// PublishedBy returns the pod that wants a port of its node's address to lead to it
// (hostPort), if exactly one does that has an address and is not being deleted.
func (s *Snapshot) PublishedBy(ip netip.Addr, port uint16, proto uint8) (*Pod, bool) {
	ip = ip.Unmap()
	n, ok := s.nodes.byIP[ip]
	if !ok {
		return nil, false
	}
	list, _ := s.published.get(publishedPort{n.Name, port, proto})
	var found *Pod
	for _, p := range list {
		switch {
		case !p.Deleting.IsZero() || !p.Publishes(ip, port, proto):
		case found != nil:
			return nil, false
		default:
			found = p
		}
	}
	return found, found != nil
}

// Counts is the number of objects by kind ("Pod", "Service", ...).
func (s *Snapshot) Counts() map[string]int {
	out := map[string]int{
		kindPod.String(): s.pods.len(), kindService.String(): s.services.len(),
		kindSlice.String(): s.slices.len(), kindNode.String(): len(s.nodes.byName),
		kindNamespace.String(): s.namespaces.len(), kindPolicy.String(): s.policies.len(),
		kindReplicaSet.String(): s.replicas.len(), kindServiceCIDR.String(): s.cidrs.len(),
		kindEvent.String(): s.events.len(),
	}
	for i := range s.clusterWide {
		out[(kindAdminPolicy + kind(i)).String()] = s.clusterWide[i].len()
	}
	for i := range s.ofCNI {
		out[(kindGlobalPolicy + kind(i)).String()] = s.ofCNI[i].len()
	}
	return out
}

func values[K comparable, V any](ix index[K, V]) iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, v := range ix.all() {
			if !yield(v) {
				return
			}
		}
	}
}

func compareKeys(a, b Key) int {
	switch {
	case a == b:
		return 0
	case a.Namespace < b.Namespace, a.Namespace == b.Namespace && a.Name < b.Name:
		return -1
	}
	return 1
}
