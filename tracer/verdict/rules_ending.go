package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// terminatingEndpoint: translated to a pod that is being deleted and still listed.
// What dropped the packets on their way to it would have dropped those to any other
// pod of the Service. While it serves, kube-proxy sends to it on purpose if none is
// ready (KEP-1669): then it is its end only if it refuses, or is there no more.
func (in *Input) terminatingEndpoint(e *tracer.ServiceEndpoint, ev []tracer.Evidence) *Finding {
	d := in.cause()
	gone := d != nil && d.Direction == tracer.DirRequest && (d.Drop.Stage == tracer.StageNeighbour || in.noRouteDrop(d))
	if d != nil && !gone {
		return nil
	}
	s := in.Cluster.Service
	f := &Finding{
		Code: "svc-terminating-endpoint", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.TargetPod),
		Summary:  fmt.Sprintf("Service %s/%s sent the connection to %s, which is being deleted", s.Namespace, s.Name, in.target()),
		Evidence: append(ev, in.seenState("EndpointSlice", "%s is terminating", e.Addr)),
	}
	if gone {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	}
	if !e.Serving {
		if d == nil && !in.targetHere() {
			f.Confidence = tracer.Probable // how it ended there is not seen
		}
		return f
	}
	refused := in.stoppedListening()
	if !gone && refused == nil {
		return nil
	}
	f.Confidence = tracer.Probable
	f.Summary += ", and counts as serving although it does not any more"
	if refused != nil {
		f.Evidence = append(f.Evidence, refused.Evidence...)
	}
	if !slices.ContainsFunc(s.Endpoints, func(e tracer.ServiceEndpoint) bool { return e.Ready && !e.Terminating }) {
		f.Evidence = append(f.Evidence, in.seenState("EndpointSlice", "no endpoint is ready, so that those which serve while they end are used"))
	}
	return f
}

// stoppedListening is the target's refusal, if a process that is gone explains it
// and a wrong port does not.
func (in *Input) stoppedListening() *Finding {
	for _, rule := range []func(*Input) *Finding{refusedHere, refusedOutside} {
		if f := rule(in); f != nil && (f.Code == "app-no-listener" || f.Code == "dns-coredns-down") && f.Confidence != tracer.Suspected {
			return f
		}
	}
	return nil
}

// drained is the destination of IPVS that takes no new connections.
func drained(r *tracer.ServiceRules, to netip.AddrPort) *tracer.VirtualDestination {
	if r.IPVS == nil {
		return nil
	}
	for i, d := range r.IPVS.Destinations {
		if d.Addr == to && d.Weight == 0 && d.Method == tracer.IPVSMasquerade {
			return &r.IPVS.Destinations[i]
		}
	}
	return nil
}

// stillSent says why IPVS sends to a destination of weight 0, and what to do if it
// may be that the client is to stay with it. New connections of such a client go
// there too, unless a setting, 0 by default and 1 by kube-proxy's, takes that back
// (ip_vs_check_template in net/netfilter/ipvs/ip_vs_conn.c).
func (in *Input) stillSent(f *Finding, s *tracer.ServiceFacts, stays time.Duration) {
	const setting = "net.ipv4.vs.expire_quiescent_template"
	set, known := in.Node.Sysctls[setting]
	if stays == 0 || known && set != "0" {
		f.Summary += "kept for the connections that it had: this one, or one from the same port before it"
		return
	}
	f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "IPVS: a client stays with its endpoint until it has had no connection for %s", stays))
	if known {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "%s = %q: also with one of weight 0", setting, set))
	}
	if known && !in.Journey.Mid {
		f.Summary += fmt.Sprintf("takes no new clients, but keeps those that it had, this one too, until they have had no connection for %s", stays)
	} else {
		f.Summary += fmt.Sprintf("kept for the connections that it had: this one, one from the same port before it, or one of the same client in the last %s", stays)
	}
	f.Remedy = []string{
		fmt.Sprintf("on %s: sysctl -w %s=1, so that clients leave an endpoint of weight 0 (kube-proxy sets it; find what took it back)", in.NodeName, setting),
		fmt.Sprintf("if clients need not stay with an endpoint, or not for so long: kubectl -n %s edit service %s (spec.sessionAffinity, spec.sessionAffinityConfig.clientIP.timeoutSeconds)", s.Namespace, s.Name),
	}
}
