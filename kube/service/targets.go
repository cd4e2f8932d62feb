package service

import (
	"net/netip"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// Targets is where a node's proxy may send a flow to a Service.
type Targets struct {
	// Addrs are the endpoints that may be chosen. A proxy may use fewer of
	// them (topology hints, session affinity), never others.
	Addrs []netip.AddrPort
	// Local: only endpoints on the node count, because of a traffic policy.
	Local bool
	// LocalNode is the node whose endpoints count if Local.
	LocalNode string
	// Elsewhere counts the usable endpoints on other nodes that Local rules
	// out. Addrs empty and Elsewhere > 0 means "no local endpoints": the proxy
	// drops by design.
	Elsewhere int
	// Terminating: no endpoint is ready, so those that still serve while they
	// terminate are used (KEP-1669).
	Terminating bool
	// SourceRefused: loadBalancerSourceRanges does not hold the client.
	SourceRefused bool
}

// Expected returns where a flow that a node's proxy translates ought to go.
// facts is what Facts returned for the flow on the same snapshot.
//
// externalTrafficPolicy Local binds only traffic from outside: kube-proxy sends
// a pod's or the node's own traffic to an external address of a Service to any
// endpoint (kubernetes pkg/proxy/iptables/proxier.go, chain KUBE-EXT).
func Expected(view *kube.Snapshot, facts *tracer.ServiceFacts, flow tracer.Tuple, node string) Targets {
	var t Targets
	if facts == nil || !facts.PortKnown {
		return t
	}
	src := flow.Src.Addr().Unmap()
	external := facts.Frontend != string(kube.FrontendClusterIP)
	switch {
	case !external:
		t.Local = facts.InternalLocal
	case facts.ExternalLocal:
		t.Local = !fromInside(view, src, node)
	}
	if t.Local {
		t.LocalNode = node
	}
	if facts.Frontend == string(kube.FrontendLoadBalancer) {
		t.SourceRefused = refused(facts.SourceRanges, src)
	}
	t.choose(facts.Endpoints, ready)
	if len(t.Addrs) == 0 && t.Elsewhere == 0 {
		t.choose(facts.Endpoints, servingTerminating)
		t.Terminating = len(t.Addrs) > 0 || t.Elsewhere > 0
	} else if len(t.Addrs) == 0 {
		// Ready endpoints are elsewhere: a local one that still serves is used
		// before giving up, and then the others no longer matter.
		t.chooseLocalTerminating(facts.Endpoints)
	}
	return t
}

func (t *Targets) choose(list []tracer.ServiceEndpoint, usable func(*tracer.ServiceEndpoint) bool) {
	for i := range list {
		e := &list[i]
		switch {
		case !usable(e):
		case t.Local && e.Node != t.LocalNode:
			t.Elsewhere++
		default:
			t.Addrs = append(t.Addrs, e.Addr)
		}
	}
}

func (t *Targets) chooseLocalTerminating(list []tracer.ServiceEndpoint) {
	for i := range list {
		if e := &list[i]; servingTerminating(e) && e.Node == t.LocalNode {
			t.Addrs = append(t.Addrs, e.Addr)
			t.Terminating = true
		}
	}
}

func ready(e *tracer.ServiceEndpoint) bool { return e.Ready }

func servingTerminating(e *tracer.ServiceEndpoint) bool { return e.Serving && e.Terminating }

// fromInside reports whether a proxy treats a client as the cluster's own: a
// pod (it knows pods by the cluster's range) or the node itself.
func fromInside(view *kube.Snapshot, src netip.Addr, node string) bool {
	if src.IsLoopback() || view.InPodCIDR(src) != "" {
		return true
	}
	if _, ok := view.PodByIP(src); ok {
		return true
	}
	n, ok := view.NodeByIP(src)
	return ok && n.Name == node
}

func refused(ranges []netip.Prefix, src netip.Addr) bool {
	for _, r := range ranges {
		if r.Contains(src) {
			return false
		}
	}
	return len(ranges) > 0
}
