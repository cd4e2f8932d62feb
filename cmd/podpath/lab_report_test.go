package main

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/verdict"
)

// labReport is what podpath said about all of the lab. It may be used
// concurrently.
type labReport struct {
	mu    sync.Mutex
	cases []accuracy.Case
	// elsewhere are the faults that this run does not build.
	elsewhere []string
	// keep takes the recordings; nil if they are not wanted.
	keep *replays.Folder
}

// newLabReport keeps recordings if PODPATH_RECORDINGS names a directory.
func newLabReport() *labReport {
	l := &labReport{}
	if dir := os.Getenv("PODPATH_RECORDINGS"); dir != "" {
		l.keep = replays.NewFolder(filepath.Join(dir, "lab"))
	}
	return l
}

// caseName is what a fault is called in one of the runs.
func caseName(f lab.Fault, r labRun) string {
	if r.name == defaultRun {
		return f.Name
	}
	return f.Name + " (" + r.name + ")"
}

func (l *labReport) add(f lab.Fault, r labRun, c accuracy.Case) {
	c.Name, c.Double = caseName(f, r), f.Double
	l.take(c)
}

func (l *labReport) take(c accuracy.Case) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cases = append(l.cases, c)
}

// leave notes a fault that is built in a machine of its own.
func (l *labReport) leave(f lab.Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.elsewhere, f.Name) {
		l.elsewhere = append(l.elsewhere, f.Name)
	}
}

// kept says which runs have a recording that is kept: one of each fault, and all
// of those where more than one thing is wrong.
func kept(f lab.Fault, r labRun) bool { return r.name == defaultRun || f.Double }

// record keeps the recording of a verdict that was right.
func (l *labReport) record(t *testing.T, r labRun, f lab.Fault, sc lab.Scenario, file string) {
	t.Helper()
	if l.keep == nil || t.Failed() {
		return
	}
	c := replays.Of(caseName(f, r), replays.Confidence(f.Confidence), built(sc))
	c.Part = sc.Part || sc.Prelude
	if err := l.keep.Keep(c, file); err != nil {
		t.Error(err)
	}
}

// end prints the accuracy, and keeps it in the document that PODPATH_RECORD
// names.
func (l *labReport) end(t *testing.T) {
	t.Logf("report: the lab: %s", accuracy.Of(l.cases))
	if len(l.elsewhere) > 0 {
		t.Logf("report: the lab: %d faults were not built here, but are by make test-kernels, in a machine of its own: %s", len(l.elsewhere), strings.Join(l.elsewhere, " "))
	}
	file := os.Getenv("PODPATH_RECORD")
	if file == "" {
		return
	}
	command := "make test RECORD=docs/accuracy.md"
	if only := flag.Lookup("test.run").Value.String(); only != "" {
		command = "go test -run '" + only + "' ./cmd/podpath" // a part of it
	}
	run := accuracy.Run{Name: "The lab", Command: command, When: time.Now(), Cases: l.cases, Elsewhere: l.elsewhere}
	if err := accuracy.Record(file, run, verdict.NewCatalogue().Codes()); err != nil {
		t.Error(err)
	}
}
