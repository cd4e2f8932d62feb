package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// expected is where this node's proxy may send the flow. Recordings of before the
// field do not say it: for them it is made up from the traffic policies and the
// endpoints' conditions by the rules that they were judged by, which are simpler
// than those of kube/service (no local endpoint that ends but still serves is
// preferred to none). It is for them only, and not to be extended.
func (in *Input) expected(s *tracer.ServiceFacts) tracer.ServiceTargets {
	if s.Expected != nil {
		return *s.Expected
	}
	var t tracer.ServiceTargets
	if s.Frontend == "cluster-ip" {
		t.Local = s.InternalLocal
	} else {
		t.Local = s.ExternalLocal && !in.fromInside()
	}
	for _, e := range s.Endpoints {
		switch {
		case !e.Ready && !(e.Serving && e.Terminating):
		case t.Local && e.Node != in.NodeName:
			t.Elsewhere++
		default:
			t.Addrs = append(t.Addrs, e.Addr)
		}
	}
	return t
}

// fromInside: kube-proxy takes the client for the cluster's own, which
// externalTrafficPolicy does not bind: a pod, or this node itself (kubernetes
// pkg/proxy/iptables/proxier.go, chain KUBE-EXT). A pod in another node's network
// is that node.
func (in *Input) fromInside() bool {
	c := &in.Cluster.Source
	switch {
	case in.Journey.Flow.Src.Addr().IsLoopback(), c.Kind == tracer.KindPod && !c.HostNetwork:
		return true
	case c.Kind == tracer.KindPod:
		return c.Node == in.NodeName
	}
	return c.Kind == tracer.KindNode && c.Name == in.NodeName
}

// listed is the endpoint with that address and port, or else with that address.
func listed(s *tracer.ServiceFacts, to netip.AddrPort) *tracer.ServiceEndpoint {
	i := slices.IndexFunc(s.Endpoints, func(e tracer.ServiceEndpoint) bool { return e.Addr == to })
	if i < 0 {
		i = slices.IndexFunc(s.Endpoints, func(e tracer.ServiceEndpoint) bool { return e.Addr.Addr() == to.Addr() })
	}
	if i < 0 {
		return nil
	}
	return &s.Endpoints[i]
}

// madeBefore: the connection was made before what the cluster says now, and a proxy
// leaves it as it is.
func (in *Input) madeBefore() bool {
	return in.Journey.Flow.Proto != tracer.ProtoUDP && (in.Journey.Mid || in.Journey.Established)
}

// stillNamed: the rules translate to that address now; known is whether they could
// be read.
func (in *Input) stillNamed(to netip.AddrPort) (named, known bool) {
	r := in.Node.Services
	if r == nil || !r.Complete || !r.HasFrontend {
		return false, false
	}
	return slices.Contains(r.Targets, to), true
}

// oldPort: translated to an endpoint of the Service, on a port that it does not
// have, as a proxy does that has not heard of a new targetPort.
func (in *Input) oldPort(s *tracer.ServiceFacts, t tracer.Translation, e *tracer.ServiceEndpoint, ev []tracer.Evidence) *Finding {
	if in.madeBefore() {
		return nil
	}
	ev = append(ev, in.seenState("EndpointSlice", "%s is listed with port %d, not %d", e.Addr.Addr(), e.Addr.Port(), t.To.Port()))
	f := in.staleKind(s, t, ev)
	if f.Code == "svc-stale-endpoint" {
		f.Summary = fmt.Sprintf("node %s translates Service %s/%s to port %d of %s, while its EndpointSlices have port %d: targetPort (%s) or the container's port was changed, and the node has not followed",
			in.NodeName, s.Namespace, s.Name, t.To.Port(), in.target(), e.Addr.Port(), s.TargetPort)
	}
	return f
}

// notExpected: translated to an endpoint of the Service that ought not to get it:
// one that is not ready while others are, or that is on another node although the
// traffic policy is Local. What dropped the packets on the way is another fault.
func (in *Input) notExpected(s *tracer.ServiceFacts, t tracer.Translation, e *tracer.ServiceEndpoint, ev []tracer.Evidence) *Finding {
	x := s.Expected
	if slices.Contains(x.Addrs, t.To) || in.madeBefore() {
		return nil
	}
	if d := in.cause(); d != nil && d.Drop.Stage != tracer.StageNeighbour && !in.noRouteDrop(d) {
		return nil
	}
	var why string
	var young bool
	switch {
	case x.Local && e.Node != in.NodeName && (e.Ready || e.Serving):
		why = fmt.Sprintf("which is on node %s, although the traffic policy is Local", e.Node)
	case len(x.Addrs)+x.Elsewhere == 0:
		return nil // none serves: the Service's own trouble comes first
	case e.Terminating:
		why = fmt.Sprintf("which is terminating, while %d others are ready", len(x.Addrs)+x.Elsewhere)
	default:
		// A proxy needs a while to hear of it.
		young = !in.longSince(changedLast(s, t.To.Addr()))
		why = fmt.Sprintf("which is not ready, while %d others are", len(x.Addrs)+x.Elsewhere)
	}
	ev = append(ev, in.seenState("EndpointSlice", "%s: ready %t, serving %t, terminating %t, node %s; this node ought to send to %s",
		e.Addr, e.Ready, e.Serving, e.Terminating, e.Node, orNone(addrTexts(x.Addrs))))
	f := &Finding{
		Code: "svc-stale-endpoint", Confidence: tracer.Probable, Object: serviceRef(s), Evidence: ev,
		Summary: fmt.Sprintf("node %s translates Service %s/%s to %s, %s", in.NodeName, s.Namespace, s.Name, t.To, why),
	}
	named, known := in.stillNamed(t.To)
	switch {
	case !known:
	case named:
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "the rules of %s name %s", strings.Join(in.proxies(), ", "), t.To))
		if in.Cluster.Stale == 0 && !young {
			f.Confidence = tracer.Confirmed
		}
		if young {
			f.Blind = append(f.Blind, tracer.Blind{What: "since when the endpoint is not ready", Effect: "the proxy may be about to follow, as it does within seconds: trace again"})
		}
	case in.Journey.Flow.Proto == tracer.ProtoUDP && !in.madeAnew():
		in.holdToEntry(f, t.To)
		f.Code = "svc-stale-udp-conntrack"
		f.Summary = fmt.Sprintf("a conntrack entry on %s pins %s to %s, %s; the rules are right", in.NodeName, in.Journey.Flow.Src, t.To, why)
	default:
		return nil // the rules have followed since
	}
	return f
}

func addrTexts(list []netip.AddrPort) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}
