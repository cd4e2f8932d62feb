package verdict

import (
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Any two faults together: whichever is named, the verdict must hold together,
// blame a policy only if the policies deny, and never be sure of a guess.
func TestTwoFaults(t *testing.T) {
	e := NewEngine()
	all := faults()
	for _, a := range all {
		for _, b := range all {
			in := together(a, b)
			if in == nil {
				continue
			}
			v := e.Decide(in)
			sound(t, v)
			c := in.Cluster
			denied := c.Egress != nil && !c.Egress.Allowed || c.Ingress != nil && !c.Ingress.Allowed
			// These blame the agent, or a policy that is not evaluated.
			agent := v.Code == "pol-nfqueue-down" || v.Code == "pol-cni-policy" || v.Code == "pol-startup-race"
			if v.Component == tracer.ComponentPolicy && !denied && v.Confidence != suspected && !agent {
				t.Errorf("%s + %s: %s %s although no policy denies", a.name, b.name, v.Confidence, v.Code)
			}
			for _, at := range []time.Duration{100 * ms, 4 * time.Second} {
				o, due := Settle(in.Journey, start.Add(at), false)
				if o == "" || due && o == tracer.OutcomeNotSeen {
					t.Errorf("%s + %s after %s: %q %t", a.name, b.name, at, o, due)
				}
				in.Outcome, in.Now = o, start.Add(at)
				sound(t, e.Decide(in))
			}
			if t.Failed() {
				t.Fatalf("%s + %s: %s %s", a.name, b.name, v.Code, v.Summary)
			}
		}
	}
}

// together builds both scenes into one; nil if they cannot be, as a target that
// is outside has no veth to take down.
func together(a, b fault) (in *Input) {
	defer func() {
		if recover() != nil {
			in = nil
		}
	}()
	return given(append(append([]change{}, a.with...), b.with...)...)
}
