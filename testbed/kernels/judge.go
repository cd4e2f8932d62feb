package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/podpath/podpath/testbed/kernels/job"
)

// cell is one outcome in the table.
type cell struct {
	row  string
	text string
	bad  bool
}

// judge turns a result into a cell.
func (s step) judge(r release, got job.Result) cell {
	c := cell{row: s.row, bad: true}
	switch {
	case got.TimedOut:
		c.text = "hangs"
	case s.want != nil:
		c.text, c.bad = judgeDemo(*s.want, got)
	default:
		c.text, c.bad = judgeTest(r, got)
	}
	return c
}

// verdict is as much of a verdict as is compared.
type verdict struct {
	Kind      string `json:"kind"`
	Component string `json:"component"`
	Code      string `json:"code"`
}

// judgeDemo tells a wrong verdict from none.
func judgeDemo(want fault, got job.Result) (text string, bad bool) {
	seen := 0
	for line := range strings.Lines(got.Stdout) {
		var v verdict
		if json.Unmarshal([]byte(line), &v) != nil || v.Kind != "Verdict" {
			continue
		}
		seen++
		switch {
		case v.Code == want.Code && v.Component == want.Component:
		case v.Component == "unknown":
			return "not told: " + v.Code, true
		default:
			return "WRONG: " + v.Code, true
		}
	}
	if seen == 0 {
		return fmt.Sprintf("no verdict, exit %d", got.Exit), true
	}
	return "ok", false
}

// needsTCX is how a test begins its reason if it can only run with TCX.
const needsTCX = "needs TCX"

// judgeTest reads what a test printed. A skip, of the test or a part of it, is
// right only where the kernel is known to lack what is needed.
func judgeTest(r release, got job.Result) (text string, bad bool) {
	if got.Exit != 0 {
		return fmt.Sprintf("FAILED, exit %d", got.Exit), true
	}
	skipped := strings.Count(got.Stdout, "--- SKIP: ")
	switch excused := strings.Count(got.Stdout, needsTCX); {
	case skipped == 0 && strings.Contains(got.Stdout, "--- PASS: "):
		return "ok", false
	case skipped == 0:
		return "did not run", true
	case r.tcx || skipped > excused:
		return "SKIPPED", true
	case strings.Contains(got.Stdout, "\n--- PASS: "):
		return "ok, without TCX", false
	default:
		return "needs TCX", false
	}
}
