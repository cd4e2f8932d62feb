package main

import (
	"regexp"

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

// step is a job and what its output has to say.
type step struct {
	job   job.Job
	tests bool   // prints what tests print
	row   string // of a demo
	want  fault
}

// plan is what runs on one kernel.
func plan(r release, faults []fault, tests, demos *regexp.Regexp) []step {
	var steps []step
	if tests != nil {
		steps = append(steps, step{tests: true, job: job.Job{
			Name:    "probe",
			Argv:    []string{probeTests, "-test.v", "-test.run", tests.String(), "-test.timeout", "850s"},
			Env:     []string{"PODPATH_REQUIRE_PRIVILEGED=1"},
			Seconds: testSeconds,
		}})
	}
	for _, tier := range r.tiers() {
		for _, f := range faults {
			if demos == nil || !demos.MatchString(f.Name) {
				continue
			}
			steps = append(steps, step{row: demoRow(f.Name, tier), want: f, job: job.Job{
				Name:    demoRow(f.Name, tier),
				Argv:    []string{podpathFile, "demo", f.Name, "--hook", tier, "-o", "json"},
				Seconds: demoSeconds,
			}})
		}
	}
	return steps
}

func demoRow(fault, tier string) string { return "demo " + fault + ", " + tier }

func jobs(steps []step) []job.Job {
	var out []job.Job
	for _, s := range steps {
		out = append(out, s.job)
	}
	return out
}
