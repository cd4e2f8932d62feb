package main

import (
	"strings"
	"testing"
)

const twoDropsAndSummary = `{"kind":"Drop","reason":"NETFILTER_DROP","count":3}
{"kind":"Drop","reason":"NETFILTER_DROP","count":4}
{"kind":"Verdict","code":"ok"}
{"kind":"Summary","events":9,"lost":1,"counters":{"rx.events":5,"rx.aggregated":2,"rx.ring_full":1},"drops":{"total":7}}
`

func TestParsePodpath(t *testing.T) {
	f, err := parsePodpath(strings.NewReader(twoDropsAndSummary))
	if err != nil {
		t.Fatal(err)
	}
	if f.byReason["NETFILTER_DROP"] != 7 || f.summary.Drops.Total != 7 || f.accounted("rx") != 8 {
		t.Errorf("got %+v, %+v, %d accounted for", f.byReason, f.summary, f.accounted("rx"))
	}
	for what, in := range map[string]string{"no summary": `{"kind":"Drop"}`, "cut off": `{"kind":"Summary"`, "nothing": ""} {
		if _, err := parsePodpath(strings.NewReader(in)); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// A count that differs by one packet is found.
func TestVerify(t *testing.T) {
	said, err := parsePodpath(strings.NewReader(twoDropsAndSummary))
	if err != nil {
		t.Fatal(err)
	}
	budget, err := parsePodpath(strings.NewReader(`{"kind":"Summary","counters":{"rx.events":5},"budget":{"steps":[{"level":"pods-only"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	trace := tracer{kind: podpathTrace, selected: true}
	if trace.verify(budget, truth{rx: 8}) != nil || trace.verify(budget, truth{rx: 4}) == nil {
		t.Error("what was not watched is said, and what was not there is wrong")
	}
	for what, tc := range map[string]struct {
		tracer tracer
		want   truth
		ok     bool
	}{
		"drops":          {tracer{kind: podpathDrops}, truth{ruleDrops: 7}, true},
		"a drop missing": {tracer{kind: podpathDrops}, truth{ruleDrops: 8}, false},
		"a drop refused": {tracer{kind: podpathDrops}, truth{ruleDrops: 7, refused: 1}, false},
		"trace":          {tracer{kind: podpathTrace, selected: true}, truth{rx: 8}, true},
		"trace, unseen":  {tracer{kind: podpathTrace, selected: true}, truth{rx: 9}, false},
		"trace, sent":    {tracer{kind: podpathTrace, selected: true}, truth{rx: 8, tx: 1}, false},
		"not selected":   {tracer{kind: podpathTrace}, truth{}, true},
		"passed over":    {tracer{kind: podpathTrace}, truth{rx: 1}, false},
		"sent again":     {tracer{kind: podpathTrace, selected: true}, truth{rx: 8, resent: 1}, true},
		"not ours":       {tracer{kind: otherTool, selected: true}, truth{rx: 1}, true},
	} {
		if err := tc.tracer.verify(said, tc.want); (err == nil) != tc.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}
