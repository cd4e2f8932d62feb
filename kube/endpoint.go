package kube

import (
	"net/netip"
	"sync"

	"github.com/podpath/podpath/tracer"
)

// Endpoint names one end of a flow. Port and proto decide between the things
// that share a node's address; 0 if they are not known.
//
// An address that belongs to nothing known, but lies where the cluster's own
// addresses are, is KindUnknown, not KindExternal.
func (s *Snapshot) Endpoint(ip netip.Addr, port uint16, proto uint8) tracer.Endpoint {
	ip = ip.Unmap()
	e := tracer.Endpoint{IP: ip, Port: port, Kind: tracer.KindUnknown}
	if p, ok := s.PodByIP(ip); ok {
		return s.podEndpoint(e, p)
	}
	if f, ok := s.Frontend(ip, port, proto); ok && !(f.Kind == FrontendNodePort && ip.IsLoopback()) {
		e.Kind, e.Namespace, e.Name = tracer.KindService, f.Service.Namespace, f.Service.Name
		return e
	}
	if n, ok := s.NodeByIP(ip); ok {
		if p, ok := s.HostPod(ip, port, proto); ok {
			return s.podEndpoint(e, p)
		}
		e.Kind, e.Name, e.Node = tracer.KindNode, n.Name, n.Name
		return e
	}
	if s.outside(ip) {
		e.Kind = tracer.KindExternal
	}
	return e
}

// PodEndpoint names a pod that may have no address.
func (s *Snapshot) PodEndpoint(p *Pod) tracer.Endpoint { return s.podEndpoint(tracer.Endpoint{}, p) }

func (s *Snapshot) podEndpoint(e tracer.Endpoint, p *Pod) tracer.Endpoint {
	e.Kind, e.Namespace, e.Name, e.Node = tracer.KindPod, p.Namespace, p.Name, p.Node
	e.Owner, e.HostNetwork = s.Owner(p).String(), p.HostNetwork
	return e
}

// outside reports whether an address is surely not the cluster's.
func (s *Snapshot) outside(ip netip.Addr) bool {
	switch {
	case !ip.IsValid(), ip.IsUnspecified(), ip.IsLoopback(), ip.IsMulticast(), ip.IsLinkLocalUnicast():
		return false
	case s.nodes.podCIDR(ip) != "", s.InServiceRange(ip):
		return false
	}
	if _, ok := s.former.get(ip); ok {
		return false
	}
	return !s.nearPods(ip)
}

// nearPods reports, for clusters whose nodes have no pod range, whether an
// address is a neighbour of pods (same /24 or /64). Such a CNI allocates from
// pools that no core object lists, so a neighbour may be a pod that is gone.
func (s *Snapshot) nearPods(ip netip.Addr) bool {
	if len(s.nodes.podCIDRs) > 0 || s.near == nil {
		return false
	}
	return s.near.holds(s.podIPs, ip)
}

// neighbours is the set of /24 and /64 ranges that hold a pod, made when it is
// first asked for and shared by all copies of a snapshot.
type neighbours struct {
	once sync.Once
	set  map[netip.Prefix]bool
}

func (n *neighbours) holds(pods index[netip.Addr, []*Pod], ip netip.Addr) bool {
	n.once.Do(func() {
		n.set = make(map[netip.Prefix]bool)
		for have := range pods.all() {
			n.set[neighbourhood(have)] = true
		}
	})
	return n.set[neighbourhood(ip)]
}

func neighbourhood(ip netip.Addr) netip.Prefix {
	bits := 24
	if ip.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(ip, bits).Masked()
}
