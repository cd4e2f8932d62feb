package main

import (
	"slices"
	"testing"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/tracer/lab"
)

const keptRecordings = "../../testbed/replays"

// TestReplays judges every kept recording again, of the lab and of real
// clusters, and holds the verdicts against what was built then. A rule that
// needs a fact which an old recording does not have needs that recording anew:
// make recordings ONLY=FAULT, or make e2e-recordings ONLY=SCENARIO.
func TestReplays(t *testing.T) {
	folders, err := replays.Folders(keptRecordings)
	if err != nil || len(folders) == 0 {
		t.Fatal(folders, err)
	}
	report := &labReport{}
	t.Cleanup(func() { t.Logf("report: recordings: %s", accuracy.Of(report.cases)) })
	for _, f := range folders {
		t.Run(f.Name(), func(t *testing.T) {
			cases, err := f.Cases()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) {
					t.Parallel()
					report.take(judgedAgain(t, c, f.File(c.Name)))
				})
			}
		})
	}
}

func judgedAgain(t *testing.T, c replays.Case, file string) accuracy.Case {
	t.Helper()
	vs := replayFile(t, file)
	if c.Part {
		vs = accuracy.Broken(vs)
	}
	got := accuracy.Judge(c.Name, c.Answer(), accuracy.Answers(vs, c.GoesOn))
	if !got.Right() {
		t.Errorf("got %s, built %s", got.Got, got.Want)
		return got
	}
	for _, v := range vs {
		if v.Code == c.Code && !c.Confidence.Allows(string(v.Confidence)) {
			t.Errorf("%s is %s, and ought to be %s", v.Code, v.Confidence, c.Confidence)
		}
	}
	return got
}

// Every fault of the lab has its recording, with the answer that the lab gives
// now, and no recording is of something else.
func TestReplaysAreComplete(t *testing.T) {
	folders, err := replays.Folders(keptRecordings)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		strays, err := f.Strays()
		if err != nil || len(strays) > 0 {
			t.Errorf("%s: %v, %v", f.Name(), strays, err)
		}
	}
	cases, err := replays.NewFolder(keptRecordings + "/lab").Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range labRuns() {
		for _, f := range lab.Faults() {
			if f.IPv4Only && r.opts.IPv6 || !kept(f, r) {
				continue
			}
			i := slices.IndexFunc(cases, func(c replays.Case) bool { return c.Name == caseName(f, r) })
			if i < 0 {
				t.Errorf("%s has no recording: make recordings ONLY=%s", caseName(f, r), f.Name)
				continue
			}
			if c := cases[i]; c.Component != f.Component || c.Code != f.Code || string(c.Confidence) != f.Confidence {
				t.Errorf("the recording of %s is of %s/%s, %s; the fault is %s/%s, %s", c.Name, c.Component, c.Code, c.Confidence, f.Component, f.Code, f.Confidence)
			}
			cases = slices.Delete(cases, i, i+1)
		}
	}
	for _, c := range cases {
		t.Errorf("the lab knows no %s, of which there is a recording", c.Name)
	}
}
