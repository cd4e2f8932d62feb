package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"

	"github.com/podpath/podpath/testbed/kernels/job"
)

// trial reads what one job prints, and judges each test as it ends.
type trial struct {
	suite  *suite
	checks task
	lacks  []lack
	report func(cell, outcome)

	tests  map[string]*outcome
	order  []string // in which they began
	failed bool     // a cell says why

	cmd    *exec.Cmd
	stdin  io.WriteCloser
	parsed chan error
}

// outcome is what became of a test, or of a part of one.
type outcome struct {
	action  string // pass, fail or skip; empty if it did not end
	output  []string
	seconds float64
}

// event is a line that test2json writes (go doc test2json).
type event struct {
	Action, Test, Output string
	Elapsed              float64
}

func (t *trial) start() error {
	t.tests, t.parsed = map[string]*outcome{}, make(chan error, 1)
	t.cmd = exec.Command("go", "tool", "test2json", "-t")
	out, err := t.cmd.StdoutPipe()
	if err == nil {
		t.stdin, err = t.cmd.StdinPipe()
	}
	if err == nil {
		err = t.cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start test2json: %w", err)
	}
	go func() { t.parsed <- t.events(json.NewDecoder(out)) }()
	return nil
}

// write takes what the job printed.
func (t *trial) write(text []byte) error {
	_, err := t.stdin.Write(text)
	return err
}

func (t *trial) events(d *json.Decoder) error {
	for {
		var e event
		switch err := d.Decode(&e); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read the tests' output: %w", err)
		}
		t.event(e)
	}
}

func (t *trial) event(e event) {
	o := t.tests[e.Test]
	if o == nil {
		o = &outcome{}
		t.tests[e.Test], t.order = o, append(t.order, e.Test)
	}
	switch e.Action {
	case "output":
		o.output = append(o.output, e.Output)
	case "pass", "fail", "skip":
		o.action, o.seconds = e.Action, e.Elapsed
		if t.hasRow(e.Test) {
			t.tell(e.Test, t.judge(e.Test))
		}
	}
}

// tiers are the ways of seeing packets. A test that has a part for each has a
// row for each.
func tiers() []string { return []string{"tcx", "tracepoint"} }

func (t *trial) hasRow(test string) bool {
	switch {
	case t.isCheck(above(test)):
		return slices.Contains(tiers(), path.Base(test))
	case !t.isCheck(test):
		return false
	}
	var parts []string
	for _, tier := range tiers() {
		if p := t.tests[test+"/"+tier]; p != nil {
			parts = append(parts, p.action)
		}
	}
	// What failed beside its parts is not told by their rows.
	return len(parts) == 0 || t.tests[test].action == "fail" && !slices.Contains(parts, "fail")
}

func (t *trial) isCheck(test string) bool {
	return slices.ContainsFunc(t.checks, func(c check) bool { return c.name == test })
}

func (t *trial) tell(test string, c cell) {
	o := outcome{seconds: t.tests[test].seconds}
	for _, name := range t.order {
		if name == test || strings.HasPrefix(name, test+"/") {
			o.output = append(o.output, t.tests[name].output...)
		}
	}
	t.failed = t.failed || c.bad
	t.report(c, o)
}

// end adds what the job did not get to.
func (t *trial) end(r job.Result) error {
	if err := t.stdin.Close(); err != nil {
		return fmt.Errorf("read the tests' output: %w", err)
	}
	if err := <-t.parsed; err != nil {
		return err
	}
	if err := t.cmd.Wait(); err != nil {
		return fmt.Errorf("read the tests' output: %w", err)
	}
	for _, c := range t.checks {
		o := t.tests[c.name]
		switch {
		case o == nil:
			t.lost(c.name, "did not run")
		case o.action == "" && r.TimedOut:
			t.lost(c.name, "hangs")
		case o.action == "":
			t.lost(c.name, "ended the process")
		}
	}
	if (r.Exit != 0 || r.Error != "") && !t.failed {
		t.lost("process", strings.TrimSuffix(fmt.Sprintf("exit %d: %s", r.Exit, r.Error), ": "))
	}
	return nil
}

func (t *trial) lost(test, why string) {
	if t.tests[test] == nil {
		t.tests[test] = &outcome{}
	}
	t.tell(test, cell{row: t.suite.row(test), text: why, bad: true})
}
