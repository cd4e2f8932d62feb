package verdict

import (
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// changedBefore: the Service, or its endpoints, were changed so long before the
// flow began, and the node's rules were read three seconds after that.
func changedBefore(service, endpoints time.Duration) change {
	return func(s *scene) {
		s.n.At = s.j.First.Add(3 * time.Second)
		if service != 0 {
			s.c.Service.Changed = s.j.First.Add(-service)
		}
		if endpoints != 0 {
			s.c.Service.EndpointsChanged = s.j.First.Add(-endpoints)
		}
	}
}

// moved: an endpoint came, went or changed so long before the flow began.
func moved(ip string, before time.Duration) change {
	return func(s *scene) {
		s.n.At = s.j.First.Add(3 * time.Second)
		s.c.Service.EndpointChanges = append(s.c.Service.EndpointChanges, tracer.EndpointChange{Addr: addr(ip), At: s.j.First.Add(-before)})
	}
}

// A node that is behind a change of a moment ago has not heard of it yet; one that is
// behind for longer does not follow.
func TestPropagation(t *testing.T) {
	const s = time.Second
	port := []change{toService, translated(apiIP, 8080), refusedByTarget, newTargetPort, rulesName(oldAddr)}
	local := []change{toService, internalLocal, translated(farIP, 8080), left(webIP), rulesName(oldAddr, farAddr)}
	gone := []change{toService, translated("10.1.0.66", 8080), noNeighbour(), rulesName(ap("10.1.0.66", 8080))}
	turned := []change{toService, expects(oldAddr), rulesName(), func(s *scene) { s.n.Services.NoEndpoints = true }, icmpFromNode(3, 3), outcomeIs(tracer.OutcomeRefused)}
	unready := []change{toService, translated(apiIP, 8080), reached, another, endpointIs(notReady), expects(api2), rulesName(oldAddr, api2)}
	noRule := []change{toService, left(nodeIP), func(s *scene) { s.n.Services.HasFrontend, s.n.Services.Targets = false, nil }}
	none := []change{toService, left(nodeIP), noRules}
	for _, tt := range []struct {
		name string
		with []change
		when change
		code string
		sure tracer.Confidence
	}{
		{"a new targetPort, 6 s old", port, changedBefore(6*s, 3*s), "svc-stale-endpoint", confirmed},
		{"a new targetPort, 4 s old", port, changedBefore(6*s, 1*s), "svc-stale-endpoint", suspected},
		{"a new targetPort, 5 s old", port, changedBefore(6*s, 2*s), "svc-stale-endpoint", confirmed},
		{"a new targetPort, nobody says when", port, func(s *scene) {}, "svc-stale-endpoint", confirmed},
		{"a new targetPort, and the flow was first", port, changedBefore(-1*s, 0), "svc-stale-endpoint", suspected},
		{"by a clock that is wrong by hours", port, changedBefore(-2*time.Hour, 0), "svc-stale-endpoint", confirmed},
		{"a Local traffic policy, 4 s old", local, changedBefore(1*s, 60*s), "svc-stale-endpoint", suspected},
		{"a Local traffic policy, 63 s old", local, changedBefore(60*s, 60*s), "svc-stale-endpoint", confirmed},
		{"an endpoint that went 4 s ago", gone, changedBefore(60*s, 1*s), "svc-stale-endpoint", suspected},
		{"an endpoint that went 13 s ago", gone, changedBefore(60*s, 10*s), "svc-stale-endpoint", confirmed},
		{"it was seen to go 4 s ago", gone, moved("10.1.0.66", 1*s), "svc-stale-endpoint", suspected},
		{"it was seen to go 13 s ago", gone, moved("10.1.0.66", 10*s), "svc-stale-endpoint", confirmed},
		{"another one went 4 s ago", gone, moved("10.1.0.67", 1*s), "svc-stale-endpoint", confirmed},
		{"the only endpoint was seen to come 4 s ago", turned, moved(apiIP, 1*s), "svc-stale-endpoint", suspected},
		{"the endpoint was seen to come 13 s ago", turned, moved(apiIP, 10*s), "svc-stale-endpoint", confirmed},
		{"another one came 4 s ago", turned, moved("10.1.0.67", 1*s), "svc-stale-endpoint", confirmed},
		{"endpoints that came 4 s ago", turned, changedBefore(60*s, 1*s), "svc-stale-endpoint", suspected},
		{"endpoints that came 13 s ago", turned, changedBefore(60*s, 10*s), "svc-stale-endpoint", confirmed},
		{"an endpoint that is not ready since 4 s", unready, changedBefore(60*s, 1*s), "svc-stale-endpoint", suspected},
		{"an endpoint that is not ready since 13 s", unready, changedBefore(60*s, 10*s), "svc-stale-endpoint", confirmed},
		{"an endpoint that is not ready, nobody says since when", unready, func(*scene) {}, "svc-stale-endpoint", probable},
		{"a Service that was made 4 s ago", noRule, changedBefore(1*s, 1*s), "svc-kubeproxy-no-rules", suspected},
		{"a Service of old with new endpoints", noRule, changedBefore(60*s, 1*s), "svc-kubeproxy-no-rules", confirmed},
		{"no rules at all", none, changedBefore(1*s, 1*s), "svc-kubeproxy-no-rules", confirmed},
	} {
		v := NewEngine().Decide(given(append(append([]change{}, tt.with...), tt.when)...))
		waits := len(v.Remedy) > 0 && strings.HasPrefix(v.Remedy[0], "wait, and look again")
		young := strings.Contains(v.Summary, "may not have reached the node yet")
		if v.Code != tt.code || v.Confidence != tt.sure || waits != (tt.sure == suspected) || young != waits || len(v.Remedy) < 2 {
			t.Errorf("%s: %s %s, want %s %s: %s\n%q", tt.name, v.Code, v.Confidence, tt.code, tt.sure, v.Summary, v.Remedy)
		}
	}
}

// Rules that have followed since were behind only while the flow was translated.
func TestPropagationThatWasLate(t *testing.T) {
	for before, want := range map[time.Duration]tracer.Confidence{time.Second: suspected, 10 * time.Second: probable} {
		v := NewEngine().Decide(given(toService, translated(apiIP, 8080), refusedByTarget, newTargetPort, rulesName(newAddr), changedBefore(time.Minute, before), func(s *scene) { s.n.At = s.j.First.Add(time.Hour) }))
		if v.Code != "svc-stale-endpoint" || v.Confidence != want {
			t.Errorf("changed %s before: %s %s: %s", before, v.Code, v.Confidence, v.Summary)
		}
	}
}
