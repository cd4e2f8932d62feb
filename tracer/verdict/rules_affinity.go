package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// keptByAffinity counts the endpoints that a client would reach if the rules did
// not keep it with this one; 0 if they do not keep it, or have nothing better.
func (in *Input) keptByAffinity(s *tracer.ServiceFacts, r *tracer.ServiceRules, with netip.AddrPort) (others int) {
	kept := r.Pinned == with || !r.Pinned.IsValid() && slices.Contains(r.Targets, with)
	if r.Affinity == 0 || !kept {
		return 0
	}
	for _, e := range s.Endpoints {
		if e.Ready && e.Addr != with && slices.Contains(r.Targets, e.Addr) {
			others++
		}
	}
	return others
}

// affinityStale: the rules name an endpoint that is gone, and keep this client with
// it. Each connection that fails there renews that.
func (in *Input) affinityStale(f *Finding, s *tracer.ServiceFacts, with netip.AddrPort, others int) {
	r := in.Node.Services
	f.Code = "svc-stale-affinity"
	f.Summary = fmt.Sprintf("session affinity on node %s keeps %s with %s, which is no endpoint of Service %s/%s any more: all its connections go there, and each renews that for %s, while %d ready endpoints are left to other clients",
		in.NodeName, in.source(), with, s.Namespace, s.Name, r.Affinity, others)
	f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "the rules of %s still name %s", strings.Join(r.Implementations, ", "), with), in.seenAffinity(with))
}

func (in *Input) seenAffinity(with netip.AddrPort) tracer.Evidence {
	r := in.Node.Services
	if r.Pinned == with {
		return in.seenState(in.NodeName, "the rules' list of clients of %s has %s: it stays there until %s after its last connection", with, in.Journey.Flow.Src.Addr(), r.Affinity)
	}
	return in.seenState(in.NodeName, "session affinity: a client stays with its endpoint until %s after its last connection", r.Affinity)
}

// affinity says, of a Service's endpoint at which a connection failed, that the
// client is kept with it: why it does not reach the others.
func (in *Input) affinity() []tracer.Evidence {
	s, r, e := in.Cluster.Service, in.Node.Services, in.servedBy()
	if s == nil || r == nil || e == nil || in.keptByAffinity(s, r, e.Addr) == 0 {
		return nil
	}
	return []tracer.Evidence{in.seenAffinity(e.Addr)}
}
