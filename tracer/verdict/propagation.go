package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Propagation is how long after a change of a Service, or of its endpoints, a node
// may not have followed without a fault: kube-proxy waits for up to a second
// (minSyncPeriod), and then writes, which takes seconds where there are thousands of
// Services.
const Propagation = 5 * time.Second

// mayFollow takes back that a node is behind the cluster, if the cluster changed a
// moment before. What would follow from that is said all the same: what the packets
// met are the old rules.
func (in *Input) mayFollow(f *Finding) {
	s := in.Cluster.Service
	if s == nil {
		return
	}
	what, changed := "Service", s.Changed
	switch {
	case f.Code == "svc-stale-endpoint":
		if at := in.endpointChanged(s); at.After(changed) {
			what, changed = "EndpointSlice", at
		}
	case f.Code != "svc-kubeproxy-no-rules" || f.Object == nil || f.Object.Kind != "Service":
		return // without any rules it is not this Service that the node has not heard of
	}
	age := in.lastBehind(f).Sub(changed)
	if changed.IsZero() || age >= Propagation || age <= -Propagation {
		return // of clocks that differ that much nothing can be told
	}
	f.Confidence = tracer.Suspected
	f.Summary += fmt.Sprintf("; that was changed at %s, %s before, and may not have reached the node yet", changed.UTC().Format(time.TimeOnly), max(age, 0).Round(time.Second))
	f.Evidence = append(f.Evidence, in.seenState(what, "changed at %s; a proxy follows within a second or two, later where there are many Services", changed.UTC().Format(time.TimeOnly)))
	f.Blind = append(f.Blind, tracer.Blind{What: "whether the node is about to follow", Effect: fmt.Sprintf("a flow that begins more than %s after the change tells", Propagation)})
	f.First = []string{fmt.Sprintf("wait, and look again: if it is still so %s after the change, the node does not follow, and what is below applies", Propagation)}
}

// endpointChanged is when the endpoint that the flow was sent to, or that it could
// have been sent to, became what it is; zero if that is not known.
func (in *Input) endpointChanged(s *tracer.ServiceFacts) time.Time {
	if t, dnat := in.lostTo(); dnat {
		return changedLast(s, t.To.Addr())
	}
	// Turned away for want of endpoints: that it has some is as old as the oldest.
	var first time.Time
	for i, a := range in.expected(s).Addrs {
		if at := changedLast(s, a.Addr()); i == 0 || at.Before(first) {
			first = at
		}
	}
	return first
}

// changedLast is when an endpoint was changed last, as far as that is known.
func changedLast(s *tracer.ServiceFacts, a netip.Addr) time.Time {
	last := s.EndpointsChanged
	for _, c := range s.EndpointChanges {
		if c.Addr == a && c.At.After(last) {
			last = c.At
		}
	}
	return last
}

// lastBehind is the last moment at which the node is known to be behind: when its
// rules were read, if they are what is behind, or else when the flow was translated.
func (in *Input) lastBehind(f *Finding) time.Time {
	r := in.Node.Services
	if r == nil || !r.Complete || in.Node.At.IsZero() {
		return in.Journey.First
	}
	still := r.NoEndpoints || r.NoLocal || f.Code == "svc-kubeproxy-no-rules"
	if t, dnat := in.lostTo(); dnat {
		still = slices.Contains(r.Targets, t.To)
	}
	if still && in.Node.At.After(in.Journey.First) {
		return in.Node.At
	}
	return in.Journey.First
}

// longSince: it is known that something changed, and the node's rules were read so
// long after that they had the time to follow.
func (in *Input) longSince(changed time.Time) bool {
	return !changed.IsZero() && in.Node.At.Sub(changed) >= Propagation
}
