package main

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/tracer/verdict"
)

// labReport is what podpath said about all of the lab. It may be used
// concurrently.
type labReport struct {
	mu    sync.Mutex
	cases []accuracy.Case
}

func (l *labReport) add(r labRun, c accuracy.Case) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.name != "default" {
		c.Name += " (" + r.name + ")"
	}
	l.cases = append(l.cases, c)
}

// end prints the accuracy, and keeps it in the document that PODPATH_RECORD
// names.
func (l *labReport) end(t *testing.T) {
	t.Logf("report: the lab: %s", accuracy.Of(l.cases))
	file := os.Getenv("PODPATH_RECORD")
	if file == "" {
		return
	}
	run := accuracy.Run{Name: "The lab", Command: "make test RECORD=docs/accuracy.md", When: time.Now(), Cases: l.cases}
	if err := accuracy.Record(file, run, verdict.NewCatalogue().Codes()); err != nil {
		t.Error(err)
	}
}
