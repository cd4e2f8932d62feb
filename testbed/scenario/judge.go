package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/tracer/render"
)

// proofs is how many tries prove a symptom.
const proofs = 3

// judge holds every verdict against the right answer: what is at fault, how sure
// that is, and that each try has a verdict and none has two.
func (sc *Scene) judge(verdicts []render.Verdict, tries int) accuracy.Case {
	c := accuracy.Judge("", sc.Want.answer(), accuracy.Answers(verdicts, sc.GoesOn))
	decided := accuracy.Decided(verdicts, sc.GoesOn)
	least, most := sc.verdicts(tries)
	flows := len(flowsOf(decided))
	if flows < least {
		// A verdict that is missing is wrong in every way.
		c.Component, c.Coded, c.Named = false, false, false
	}
	var wrong []string
	if flows < least || len(decided) > most {
		wrong = append(wrong, fmt.Sprintf("%d verdicts about %d flows, want %s", len(decided), flows, numbers(least, most)))
	}
	for _, v := range decided {
		if how := string(v.Confidence); !sc.Want.confidence().Allows(how) {
			wrong = append(wrong, fmt.Sprintf("%s is %s, and ought to be %s", v.Code, how, sc.Want.confidence()))
		}
	}
	slices.Sort(wrong)
	c.Otherwise = strings.Join(slices.Compact(wrong), "; ")
	return c
}

// verdicts are how many there may be.
func (sc *Scene) verdicts(tries int) (least, most int) {
	least = cmp.Or(sc.Verdicts, tries)
	switch {
	case sc.GoesOn:
		return least, int(^uint(0) >> 1)
	case sc.Queued:
		return least, least + proofs
	}
	return least, least
}

func numbers(least, most int) string {
	switch {
	case least == most:
		return fmt.Sprint(least)
	case most > least+proofs:
		return fmt.Sprintf("%d or more", least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// flowsOf are the flows that verdicts are about.
func flowsOf(verdicts []render.Verdict) map[string]bool {
	all := map[string]bool{}
	for _, v := range verdicts {
		from, to := v.Flow.Source, v.Flow.Destination
		all[fmt.Sprint(v.Flow.Protocol, from.IP, from.Port, to.IP, to.Port)] = true
	}
	return all
}

// confidence is the one that verdicts ought to have.
func (w Want) confidence() replays.Confidence { return cmp.Or(w.Confidence, replays.Confirmed) }
