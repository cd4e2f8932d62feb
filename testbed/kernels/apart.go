package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/testbed/kernels/job"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/verdict"
)

// apart is what only machines of their own build: how often the verdict was right,
// and the recordings. It may be used concurrently.
type apart struct {
	dir string // that takes what comes out of the machines

	mu       sync.Mutex
	cases    []accuracy.Case
	versions []string // of the kernels
}

func newApart() *apart { return &apart{} }

// inside is where recordings are left in a machine.
const inside = "/recordings"

// job is what a machine is to run; recordings are kept if they are wanted.
func (m *matrix) job(t task) job.Job {
	j := t.job()
	if m.recordings != "" && t[0].suite.name == commandSuite {
		j.Env, j.Keep = append(j.Env, "PODPATH_RECORDINGS="+inside), inside
	}
	return j
}

// keep takes a file out of a machine.
func (a *apart) keep(f job.File) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	to := filepath.Join(a.dir, filepath.Clean("/"+f.Name))
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("keep %s: %w", f.Name, err)
	}
	if err := os.WriteFile(to, f.Data, 0o644); err != nil {
		return fmt.Errorf("keep %s: %w", f.Name, err)
	}
	return nil
}

// judge counts a row that is such a fault's.
func (a *apart) judge(version string, c cell) {
	name, _, _ := strings.Cut(strings.TrimPrefix(c.row, "lab "), ",")
	f, ok := lab.FindFault(name)
	if !ok || !f.Apart() || !strings.HasPrefix(c.row, "lab ") {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	want := f.Component + "/" + f.Code
	x := accuracy.Case{Name: c.row + " (" + version + ")", Code: f.Code, Want: want, Component: !c.bad, Coded: !c.bad, Named: !c.bad}
	if x.Got = want; c.bad {
		x.Got = c.text
	}
	a.cases = append(a.cases, x)
	if !slices.Contains(a.versions, version) {
		a.versions = append(a.versions, version)
	}
}

// finish puts the recordings among the others, and the outcome into the document.
func (a *apart) finish(o options) error {
	var errs []error
	if o.recordings != "" {
		errs = append(errs, a.record(o.recordings))
	}
	if o.accuracy != "" && len(a.cases) > 0 {
		run := accuracy.Run{
			Name: "The lab, in machines of its own", Command: "make test-kernels KERNEL_FLAGS='-accuracy docs/accuracy.md'",
			Inside: "Linux " + strings.Join(a.versions, ", ") + " of Debian in QEMU", When: time.Now(), Cases: a.cases,
		}
		errs = append(errs, accuracy.Record(o.accuracy, run, verdict.NewCatalogue().Codes()))
	}
	return errors.Join(errs...)
}

func (a *apart) record(root string) error {
	from, to := replays.NewFolder(filepath.Join(a.dir, "lab")), replays.NewFolder(filepath.Join(root, "lab"))
	cases, err := from.Cases()
	if err != nil {
		return err
	}
	for _, c := range cases {
		name, _, _ := strings.Cut(c.Name, " ")
		if f, ok := lab.FindFault(name); ok && f.Apart() {
			if err := to.Keep(c, from.File(c.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}
