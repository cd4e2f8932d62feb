package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json` (go doc test2json, go help buildjson).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

type key struct{ pkg, test string }

type summary struct {
	out     io.Writer
	output  map[key][]string // of tests and packages that are not done
	passed  int
	failed  []string
	skipped []string
	reports []string
	// packages with at least one test, and those that failed outside of one
	packages, broken int
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, output: make(map[key][]string)}
}

// read consumes a stream to its end. Lines that are not JSON, such as what a
// crashing tool prints, are shown as they are.
func (s *summary) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				s.printf("%s", line)
			} else {
				s.event(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read test output: %w", err)
		}
	}
}

func (s *summary) event(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "output":
		s.output[k] = append(s.output[k], e.Output)
	case "build-output":
		s.printf("%s", e.Output)
	case "build-fail":
		s.broken++
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e, k)
		} else {
			s.endTest(e, k)
		}
		delete(s.output, k)
	}
}

func (s *summary) endTest(e event, k key) {
	name := e.Package + " " + e.Test
	switch e.Action {
	case "pass":
		s.passed++
		s.keepReports(s.output[k])
	case "fail":
		s.failed = append(s.failed, name)
		s.printf("%s", strings.Join(s.output[k], ""))
		s.keepReports(s.output[k])
	case "skip":
		s.skipped = append(s.skipped, name+": "+reason(s.output[k]))
	}
}

// endPackage prints the line that go test closes a package with; of a failed
// one everything that no test printed, such as a panic.
func (s *summary) endPackage(e event, k key) {
	lines := s.output[k]
	if e.Action == "fail" {
		s.broken++
		for t, rest := range s.output { // tests that never ended
			if t.pkg == e.Package && t.test != "" {
				s.failed = append(s.failed, e.Package+" "+t.test+" (did not end)")
				s.printf("%s", strings.Join(rest, ""))
				delete(s.output, t)
			}
		}
		s.printf("%s", strings.Join(lines, ""))
		return
	}
	s.packages++
	for _, l := range slices.Backward(lines) {
		if strings.HasPrefix(l, "ok ") || strings.HasPrefix(l, "? ") || strings.HasPrefix(l, "?\t") {
			s.printf("%s", l)
			return
		}
	}
}

// keepReports remembers what tests say that a person wants to know of a run that
// passed, too: what they log after "report: ".
func (s *summary) keepReports(lines []string) {
	for _, l := range lines {
		if _, text, ok := strings.Cut(l, ": report: "); ok {
			s.reports = append(s.reports, strings.TrimSpace(text))
		}
	}
}

// reason is what t.Skip said.
func reason(lines []string) string {
	for _, l := range lines {
		if strings.HasPrefix(l, "===") || strings.HasPrefix(strings.TrimSpace(l), "---") {
			continue
		}
		return strings.TrimSpace(l)
	}
	return "no reason given"
}

func (s *summary) ok() bool {
	return len(s.failed) == 0 && s.broken == 0 && s.passed > 0
}

func (s *summary) print() {
	s.printf("\n")
	for _, t := range s.reports {
		s.printf("report   %s\n", t)
	}
	for _, t := range s.skipped {
		s.printf("skipped  %s\n", t)
	}
	for _, t := range s.failed {
		s.printf("FAILED   %s\n", t)
	}
	word := "PASS"
	if !s.ok() {
		word = "FAIL"
	}
	s.printf("%s: %d tests passed, %d failed, %d skipped; %d packages good, %d broken\n",
		word, s.passed, len(s.failed), len(s.skipped), s.packages, s.broken)
}

func (s *summary) printf(format string, args ...any) {
	// Nobody can be told that stdout is gone; the exit code still says it all.
	_, _ = fmt.Fprintf(s.out, format, args...)
}
