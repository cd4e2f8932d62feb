package service

import (
	"net/netip"
	"slices"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// Expected returns where a flow that a node's proxy translates ought to go, nil if
// that cannot be said: the Service does not have the port, or its traffic policy is
// Local and the node is not one of the cluster's. facts is what Facts returned for
// the flow on the same snapshot.
//
// externalTrafficPolicy Local binds only traffic from outside: kube-proxy sends
// a pod's or the node's own traffic to an external address of a Service to any
// endpoint (kubernetes pkg/proxy/iptables/proxier.go, chain KUBE-EXT).
func Expected(view *kube.Snapshot, facts *tracer.ServiceFacts, flow tracer.Tuple, node string) *tracer.ServiceTargets {
	var t tracer.ServiceTargets
	if facts == nil || !facts.PortKnown {
		return nil
	}
	src := flow.Src.Addr().Unmap()
	external := facts.Frontend != string(kube.FrontendClusterIP)
	switch {
	case !external:
		t.Local = facts.InternalLocal
	case facts.ExternalLocal:
		t.Local = !fromInside(view, src, node)
	}
	if t.Local && !slices.ContainsFunc(view.Nodes(), func(n tracer.NodeInfo) bool { return n.Name == node }) {
		return nil
	}
	if facts.Frontend == string(kube.FrontendLoadBalancer) {
		t.SourceRefused = refused(facts.SourceRanges, src)
	}
	choose(&t, facts.Endpoints, node, ready)
	if len(t.Addrs) == 0 && t.Elsewhere == 0 {
		choose(&t, facts.Endpoints, node, servingTerminating)
		t.Terminating = len(t.Addrs) > 0 || t.Elsewhere > 0
	} else if len(t.Addrs) == 0 {
		// Ready endpoints are elsewhere: a local one that still serves is used
		// before giving up, and then the others no longer matter.
		chooseLocalTerminating(&t, facts.Endpoints, node)
	}
	return &t
}

func choose(t *tracer.ServiceTargets, list []tracer.ServiceEndpoint, node string, usable func(*tracer.ServiceEndpoint) bool) {
	for i := range list {
		e := &list[i]
		switch {
		case !usable(e):
		case t.Local && e.Node != node:
			t.Elsewhere++
		default:
			t.Addrs = append(t.Addrs, e.Addr)
		}
	}
}

func chooseLocalTerminating(t *tracer.ServiceTargets, list []tracer.ServiceEndpoint, node string) {
	for i := range list {
		if e := &list[i]; servingTerminating(e) && e.Node == node {
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
