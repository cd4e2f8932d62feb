package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/podpath/podpath/testbed/kernels/job"
)

// cell is one outcome in the table.
type cell struct {
	row  string
	text string
	bad  bool
}

// judge turns a result into cells.
func (s step) judge(r release, got job.Result) []cell {
	if s.tests {
		return judgeTests(r, s.job.Name, got)
	}
	return []cell{s.judgeDemo(got)}
}

// verdict is as much of a verdict as is compared.
type verdict struct {
	Kind      string `json:"kind"`
	Component string `json:"component"`
	Code      string `json:"code"`
}

// judgeDemo tells a wrong verdict from none.
func (s step) judgeDemo(got job.Result) cell {
	c := cell{row: s.row, bad: true}
	seen := 0
	for line := range strings.Lines(got.Stdout) {
		var v verdict
		if json.Unmarshal([]byte(line), &v) != nil || v.Kind != "Verdict" {
			continue
		}
		seen++
		if v.Code == s.want.Code && v.Component == s.want.Component {
			continue
		}
		c.text = "WRONG: " + v.Code
		if v.Component == "unknown" {
			c.text = "not told: " + v.Code
		}
		return c
	}
	switch {
	case got.TimedOut:
		c.text = "hangs"
	case seen == 0:
		c.text = fmt.Sprintf("no verdict, exit %d", got.Exit)
	default:
		c.text, c.bad = "ok", false
	}
	return c
}

var (
	testEnd  = regexp.MustCompile(`^( *)--- (PASS|FAIL|SKIP): (\S+) `)
	needsTCX = "needs TCX"
)

// judgeTests gives each top-level test a row. A skip, of a test or a part of
// it, is right only where the kernel is known to lack what is needed.
func judgeTests(r release, name string, got job.Result) []cell {
	var cells []cell
	missing := map[string]string{} // by test: what was skipped without right
	part := map[string]bool{}      // by test: a part was skipped with right
	log := ""                      // since the last test began or ended
	for line := range strings.Lines(got.Stdout) {
		m := testEnd.FindStringSubmatch(line)
		if m == nil {
			log += line
			if strings.HasPrefix(line, "=== RUN") {
				log = ""
			}
			continue
		}
		top, _, _ := strings.Cut(m[3], "/")
		if m[2] == "SKIP" {
			if !r.tcx && strings.Contains(log, needsTCX) {
				part[top] = true
			} else {
				missing[top] = m[3]
			}
		}
		log = ""
		if m[1] == "" {
			cells = append(cells, testCell(name, top, m[2], missing[top], part[top]))
		}
	}
	if got.Exit != 0 && !anyBad(cells) {
		cells = append(cells, cell{name, fmt.Sprintf("exit %d", got.Exit), true})
	}
	return cells
}

func testCell(name, test, end, missing string, part bool) cell {
	c := cell{row: name + " " + test}
	switch {
	case end == "FAIL":
		c.text, c.bad = "FAILED", true
	case missing != "":
		c.text, c.bad = "SKIPPED", true
	case end == "SKIP":
		c.text = "needs TCX"
	case part:
		c.text = "ok, without TCX"
	default:
		c.text = "ok"
	}
	return c
}

func anyBad(cells []cell) bool {
	for _, c := range cells {
		if c.bad {
			return true
		}
	}
	return false
}
