package verdict

import (
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// A server that hangs, and a connection of its own that fails.
func TestServerWaits(t *testing.T) {
	e := NewEngine()
	hang := []change{reached, established, outcomeIs(tracer.OutcomeConnectedNoData), func(s *scene) { s.j.RequestBytes = 80 }}
	refused := []change{refusedByTarget}
	// own is a flow of a pod to a database, begun so long after the request.
	own := func(from string, after time.Duration, with ...change) []change {
		return append([]change{filtered(), denies("egress", "peer")}, append(with, func(s *scene) {
			s.j.Flow.Src, s.j.Flow.Dst, s.j.First = ap(from, 41000), ap(world, 5432), s.j.First.Add(after)
		})...)
	}
	for _, tt := range []struct {
		name  string
		asks  []change
		owns  [][]change
		cause bool
	}{
		{"its own connection fails", hang, [][]change{own(apiIP, 3*ms)}, true},
		{"nothing else fails", hang, nil, false},
		{"another pod's connection fails", hang, [][]change{own(webIP, 3*ms)}, false},
		{"it began before the request", hang, [][]change{own(apiIP, -3*ms)}, false},
		{"it began long after the request", hang, [][]change{own(apiIP, 3*time.Second)}, false},
		{"it tries all the time", hang, [][]change{own(apiIP, -2*time.Second), own(apiIP, 3*ms)}, false},
		{"it was answered", hang, [][]change{own(apiIP, 3*ms, outcomeIs(tracer.OutcomeDelivered))}, false},
		{"nobody listens, and something else fails", refused, [][]change{own(apiIP, 3*ms)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var trail Trail
			for _, with := range tt.owns {
				trail.Add(e.Decide(given(with...)))
			}
			in := given(tt.asks...)
			in.Within = trail.Within(in.Journey)
			v := e.Decide(in)
			said := len(v.AlsoSeen) > 0 && v.AlsoSeen[0].Code == "pol-egress-deny" && strings.HasPrefix(v.AlsoSeen[0].Why, "may be the cause: when db/api had just got this request")
			if said != tt.cause || !tt.cause && strings.Contains(text(v), "of its own") {
				t.Errorf("%s, also %+v", v.Code, v.AlsoSeen)
			}
		})
	}
}

func TestTrailIsBounded(t *testing.T) {
	var trail Trail
	v := NewEngine().Decide(given(filtered()))
	for range maxTrail + 10 {
		trail.Add(v)
	}
	trail.Add(NewEngine().Decide(given(unseen)))
	if len(trail.failed) != maxTrail {
		t.Errorf("%d failures", len(trail.failed))
	}
}
