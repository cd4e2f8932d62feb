package scenario

import (
	"net/netip"
	"testing"

	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

// said is a verdict about the flow of a client's port.
func said(port uint16, code string, how tracer.Confidence) render.Verdict {
	v := render.Verdict{Component: "cni", Code: code, Confidence: how}
	v.Flow.Source = tracer.Endpoint{IP: netip.MustParseAddr("10.244.1.7"), Port: port}
	return v
}

func TestJudgeCountsVerdicts(t *testing.T) {
	const code = "cni-veth-down"
	sure := func(ports ...uint16) (all []render.Verdict) {
		for _, p := range ports {
			all = append(all, said(p, code, tracer.Confirmed))
		}
		return all
	}
	for name, c := range map[string]struct {
		scene    Scene
		verdicts []render.Verdict
		right    bool
		answered bool // component, code and object count as right
	}{
		"one for each try":           {Scene{}, sure(1, 2), true, true},
		"one is missing":             {Scene{}, sure(1), false, false},
		"none":                       {Scene{}, nil, false, false},
		"two of one flow":            {Scene{}, sure(1, 1), false, false},
		"one too many":               {Scene{}, sure(1, 2, 3), false, true},
		"one is revised":             {Scene{}, sure(1, 2, 2), false, true},
		"one for all of them":        {Scene{Verdicts: 1}, sure(1), true, true},
		"earlier tries were dropped": {Scene{Queued: true}, sure(1, 2, 3, 4, 5), true, true},
		"more than ever were":        {Scene{Queued: true}, sure(1, 2, 3, 4, 5, 6), false, true},
		"others go on":               {Scene{GoesOn: true}, sure(1, 2, 3, 4, 5, 6, 7), true, true},
		"others do not":              {Scene{GoesOn: true}, sure(1), false, false},
	} {
		c.scene.Want = Want{Component: "cni", Code: code}
		got := c.scene.judge(c.verdicts, 2)
		if got.Right() != c.right || (got.Component && got.Coded && got.Named) != c.answered {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestJudgeComparesConfidence(t *testing.T) {
	const code = "cni-veth-down"
	for name, c := range map[string]struct {
		want  replays.Confidence
		said  tracer.Confidence
		right bool
	}{
		"as sure as it is":         {"", tracer.Confirmed, true},
		"suspected":                {"", tracer.Suspected, false},
		"probable, and in sight":   {"", tracer.Probable, false},
		"out of sight":             {replays.Probable, tracer.Probable, true},
		"surer than it can be":     {replays.Probable, tracer.Confirmed, false},
		"here and there":           {replays.Either, tracer.Probable, true},
		"suspected, here or there": {replays.Either, tracer.Suspected, false},
	} {
		sc := Scene{Want: Want{Component: "cni", Code: code, Confidence: c.want}}
		if got := sc.judge([]render.Verdict{said(1, code, c.said)}, 1); got.Right() != c.right {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
