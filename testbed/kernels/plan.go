package main

import (
	"github.com/podpath/podpath/testbed/kernels/job"
)

const (
	// Software emulation is some ten times slower than the machine; a limit is
	// there to end what hangs.
	testSeconds = 900
	demoSeconds = 120
)

// tiers are the ways of seeing packets, by the name that --hook takes.
func (r release) tiers() []string {
	if r.tcx {
		return []string{"tcx", "tracepoint"}
	}
	return []string{"tracepoint"}
}

// step is a job, with the row of the table that it fills.
type step struct {
	job  job.Job
	row  string
	want *fault // of a demo; nil for a test
}

// plan is what runs on one kernel.
func (m *matrix) plan(r release) []step {
	var steps []step
	for _, test := range m.progs.tests {
		if m.tests.matches(test) {
			steps = append(steps, testStep(test))
		}
	}
	for _, tier := range r.tiers() {
		for _, f := range m.progs.faults {
			if m.demos.matches(f.Name) {
				steps = append(steps, demoStep(f, tier))
			}
		}
	}
	return steps
}

// testStep runs one test in a process of its own, so that one that hangs does
// not take the others with it.
func testStep(test string) step {
	return step{row: "probe " + test, job: job.Job{
		Name:    test,
		Argv:    []string{probeTests, "-test.v", "-test.run", "^" + test + "$"},
		Env:     []string{"PODPATH_REQUIRE_PRIVILEGED=1"},
		Seconds: testSeconds,
	}}
}

func demoStep(f fault, tier string) step {
	return step{row: "demo " + f.Name + ", " + tier, want: &f, job: job.Job{
		Name:    f.Name,
		Argv:    []string{podpathFile, "demo", f.Name, "--hook", tier, "-o", "json"},
		Seconds: demoSeconds,
	}}
}

func jobs(steps []step) []job.Job {
	var out []job.Job
	for _, s := range steps {
		out = append(out, s.job)
	}
	return out
}
