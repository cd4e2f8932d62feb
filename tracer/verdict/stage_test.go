package verdict

import (
	"slices"
	"testing"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/probe"
)

// Every drop that these tests make up is one that the probe can hand over: its
// reason and place lead to that stage and engine. Which hook dropped the packet,
// where that is left open, is in a stack that the tests do not make up.
func TestDropsAreTheProbes(t *testing.T) {
	checked := map[tracer.Stage]bool{}
	check := func(t *testing.T, in *Input) {
		for i := range in.Journey.Drops {
			d := &in.Journey.Drops[i].Drop
			got := probe.Classify(probe.Place{Reason: d.Reason, Location: d.Location, IP: true})
			stage := got.Stage == d.Stage || got.Stage == tracer.StageUnknown && d.Stage != tracer.StageUnknown
			if !stage || got.Engine != d.Engine || got.Noise != "" {
				t.Errorf("%s at %s has stage %q, engine %q; the probe says stage %q, engine %q, noise %q",
					d.Reason, d.Location, d.Stage, d.Engine, got.Stage, got.Engine, got.Noise)
			}
			checked[got.Stage] = true
		}
	}
	for _, tt := range slices.Concat(faults(), agentFaults()) {
		t.Run(tt.rule+"/"+tt.name, func(t *testing.T) { check(t, given(tt.with...)) })
	}
	for _, tt := range lookalikes() {
		t.Run(tt.name, func(t *testing.T) { check(t, given(tt.with...)) })
	}
	for _, s := range []tracer.Stage{tracer.StageSocket, tracer.StageRouting, tracer.StageNeighbour, tracer.StageTunnel, tracer.StageDevice} {
		if !checked[s] {
			t.Errorf("no drop of the stage %s", s)
		}
	}
}
