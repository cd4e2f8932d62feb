package verdict

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// staleTarget: the rules still name an endpoint that is gone.
func staleTarget(s *scene) {
	s.n.Services.Targets = append(s.n.Services.Targets, ap("10.1.0.66", 8080))
}

// kept: the rules keep a client with its endpoint; read: who is kept where is known.
func kept(read bool) change {
	return func(s *scene) {
		s.n.Services.Affinity = 3 * time.Hour
		if read {
			s.n.Services.Pinned = s.j.Translated.Dst
		}
	}
}

func affinityLookalikes() []lookalike {
	const code = "svc-stale-affinity"
	gone := func(with ...change) []change {
		return append([]change{toService, translated("10.1.0.66", 8080), noNeighbour()}, with...)
	}
	return []lookalike{
		{"a stale endpoint without affinity", gone(staleTarget), "svc-stale-endpoint", code, ""},
		{"affinity, and the rules name nothing better", gone(func(s *scene) { s.n.Services.Targets = nil }, staleTarget, kept(true)), "svc-stale-endpoint", code, ""},
		{"affinity, and the others are not ready", gone(staleTarget, kept(true), func(s *scene) { s.c.Service.Endpoints[0].Ready = false }), "svc-stale-endpoint", code, ""},
		{"affinity with another endpoint by now", gone(staleTarget, kept(false), func(s *scene) { s.n.Services.Pinned = ap(apiIP, 8080) }), "svc-stale-endpoint", code, ""},
		{"affinity, and the rules were put right", gone(kept(false)), "svc-stale-endpoint", code, probable},
		{"affinity with a pod that refuses", []change{toService, translated(apiIP, 8080), refusedByTarget, kept(true)}, "app-no-listener", code, ""},
		{"affinity of IPVS with a drained destination", gone(byIPVS(0), kept(false)), "svc-terminating-endpoint", code, ""},
	}
}

// A client that is kept with an endpoint which is listed, and broken, is told so;
// the endpoint stays at fault.
func TestAffinityWithABrokenEndpoint(t *testing.T) {
	second := func(s *scene) {
		s.c.Service.Endpoints = append(s.c.Service.Endpoints, tracer.ServiceEndpoint{Addr: ap("10.1.0.12", 8080), Ready: true, Serving: true})
		s.n.Services.Targets = append(s.n.Services.Targets, ap("10.1.0.12", 8080))
	}
	for name, tt := range map[string]struct {
		with []change
		said bool
	}{
		"kept, and there is another":    {[]change{second, kept(true)}, true},
		"kept, and there is no other":   {[]change{kept(true)}, false},
		"not kept":                      {[]change{second}, false},
		"kept, as iptables mode has it": {[]change{second, kept(false)}, true},
	} {
		v := NewEngine().Decide(given(append([]change{toService, translated(apiIP, 8080), refusedByTarget}, tt.with...)...))
		said := slices.ContainsFunc(v.Evidence, func(e tracer.Evidence) bool { return strings.Contains(e.What, "after its last connection") })
		if v.Code != "app-no-listener" || said != tt.said {
			t.Errorf("%s: %s, affinity said: %v, want %v", name, v.Code, said, tt.said)
		}
	}
}
