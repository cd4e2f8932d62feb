package verdict

import (
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

func held(s *scene)       { s.Held = 7 }
func devicesOff(s *scene) { s.DevicesOff = true }
func unwatched(s *scene)  { s.Unwatched = true }
func noEars(s *scene)     { s.Unheard = true }

// silent lists the codes that rest on nothing having been seen.
func silent(in *Input) (codes []string) {
	for _, r := range Rules() {
		if f := r.Eval(in); f != nil && r.Silence {
			codes = append(codes, f.Code)
		}
	}
	return codes
}

// Where the budget kept packets from being shown nobody is blamed for silence,
// and what the packets do show is judged as ever.
func TestPartialFlows(t *testing.T) {
	e := NewEngine()
	for name, partial := range map[string]change{"held": held, "devices off": devicesOff, "unwatched": unwatched, "unheard": noEars} {
		for _, tt := range faults() {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				whole := e.Decide(given(tt.with...))
				in := given(append(slices.Clone(tt.with), partial)...)
				v := e.Decide(in)
				switch {
				case slices.Contains(silent(in), v.Code):
					t.Errorf("%s rests on silence", v.Code)
				case v.Code != whole.Code && v.Code != tracer.CodeUnknown && !slices.Contains(silent(in), whole.Code):
					t.Errorf("%s became %s", whole.Code, v.Code)
				case len(in.Journey.Drops) == 0 && v.Confidence == confirmed:
					t.Errorf("%s is confirmed without a drop", v.Code)
				}
				if !slices.ContainsFunc(v.Blind, func(b tracer.Blind) bool {
					return strings.Contains(b.What, "budget") || strings.Contains(b.What, "no program") || strings.Contains(b.What, "no tracepoint")
				}) {
					t.Errorf("does not say that packets were not shown: %+v", v.Blind)
				}
			})
		}
	}
}

// A drop that was seen again and again is the same verdict, as sure as before.
func TestPartialDrop(t *testing.T) {
	e := NewEngine()
	for name, partial := range map[string]change{"held": held, "devices off": devicesOff, "unwatched": unwatched, "unheard": noEars} {
		with := []change{filtered(), denies("ingress", "peer"), rule("policy", "drop"), partial}
		whole, v := e.Decide(given(with[:3]...)), e.Decide(given(with...))
		if v.Code != whole.Code || v.Component != tracer.ComponentPolicy || v.Confidence != whole.Confidence {
			t.Errorf("%s: %s, %s; in full view %s, %s", name, v.Code, v.Confidence, whole.Code, whole.Confidence)
		}
	}
}

// One drop, and no eye on the devices: the next try may have passed.
func TestOneDropUnwatched(t *testing.T) {
	e := NewEngine()
	for _, off := range []change{devicesOff, unwatched} {
		v := e.Decide(given(filtered(times(1), lasting(0, 0)), denies("ingress", "peer"), off))
		if v.Code != tracer.CodeUnknown || !strings.Contains(v.Summary, "whether the next one passed is not known") || len(v.AlsoSeen) == 0 {
			t.Errorf("%s: %s, also %+v", v.Code, v.Summary, v.AlsoSeen)
		}
	}
}

// That no packet was seen says nothing if packets were not shown.
func TestUnseenAndPartial(t *testing.T) {
	e := NewEngine()
	for name, partial := range map[string]change{"held": held, "devices off": devicesOff, "unwatched": unwatched, "unheard": noEars} {
		v := e.Decide(given(routeIs("src-pod", "none", ""), outcomeIs(tracer.OutcomeNotSeen), partial, func(s *scene) { s.j.Hops = nil }))
		if v.Code != tracer.CodeUnknown || !strings.Contains(v.Summary, "is not known") {
			t.Errorf("%s: %s: %s", name, v.Code, v.Summary)
		}
	}
}

// An answer that was seen is one, however much was not shown.
func TestPartialHealthy(t *testing.T) {
	e := NewEngine()
	for _, partial := range []change{held, devicesOff} {
		if v := e.Decide(given(outcomeIs(tracer.OutcomeDelivered), partial)); v.Code != tracer.CodeOK {
			t.Errorf("%s: %s", v.Code, v.Summary)
		}
	}
}
