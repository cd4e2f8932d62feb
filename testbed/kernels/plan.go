package main

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/podpath/podpath/testbed/kernels/job"
	"github.com/podpath/podpath/tracer/lab"
)

// Software emulation is some ten times slower than the machine; the limit is
// there to end what hangs.
const jobSeconds = 3600

// check is a test that has a row in the table, or one for each tier.
type check struct {
	suite *suite
	name  string // in Go's words: parts are separated by slashes
	// apart: of the lab's faults that are built in such machines only. Their reasons
	// are the kernel's own, and one kernel is enough for every change.
	apart bool
}

func (c check) row() string { return c.suite.row(c.name) }

// row is what the table calls a test, or a part of one.
func (s *suite) row(name string) string {
	parts := strings.Split(name, "/")
	if parts[0] == labTest && len(parts) == 3 {
		return "lab " + parts[2] + labRuns()[parts[1]]
	}
	return s.name + " " + strings.Join(parts, ", ")
}

// labTest shows the lab's faults: labTest/run/fault.
const labTest = "TestLabFaults"

// labRuns are the parts of labTest, with what the table adds to a fault's name.
// "default" takes TCX where the kernel has it.
func labRuns() map[string]string {
	return map[string]string{
		"default":                       "",
		"other_names,_IPv6":             ", IPv6",
		"other_names,_UDP,_tracepoints": ", UDP, tracepoints",
	}
}

// checks lists what is to run on every kernel.
func checks(all []*suite, full bool) []check {
	var list []check
	for _, s := range all {
		for _, test := range s.tests {
			if full || s.quick.MatchString(test) {
				list = append(list, check{suite: s, name: test, apart: s.name == labSuite})
			}
		}
		if s.name == commandSuite {
			list = append(list, labChecks(s, full)...)
		}
	}
	return list
}

func labChecks(s *suite, full bool) []check {
	var list []check
	for _, run := range []string{"default", "other_names,_IPv6", "other_names,_UDP,_tracepoints"} {
		for _, f := range lab.Faults() {
			if f.IPv4Only && strings.Contains(run, "IPv6") || !full && !slices.Contains(quickFaults()[run], f.Name) && !(f.Apart() && run == "default") {
				continue
			}
			list = append(list, check{suite: s, name: strings.Join([]string{labTest, run, f.Name}, "/"), apart: f.Apart()})
		}
	}
	return list
}

// quickFaults are those of every change: a few of each kind, as emulation is
// slow. Filters, routing and sockets, both families, both kinds of hooks, and the
// tunnel between two nodes; what else drops packets the tests of the probe have.
func quickFaults() map[string][]string {
	return map[string][]string{
		"default": {
			"healthy", "policy-ingress", "stale-endpoint-iptables", "overlay-fdb-missing",
		},
		"other_names,_IPv6":             {"foreign-drop"},
		"other_names,_UDP,_tracepoints": {"rp-filter"},
	}
}

// task is what one process runs: checks that differ only in the last part of
// their names.
type task []check

func tasks(list []check) []task {
	var out []task
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].suite == list[0].suite && above(list[n].name) == above(list[0].name) {
			n++
		}
		out = append(out, list[:n])
		list = list[n:]
	}
	return out
}

// above is the name of the test that one is a part of.
func above(name string) string { return name[:max(strings.LastIndex(name, "/"), 0)] }

func (t task) job() job.Job {
	s, parent := t[0].suite, above(t[0].name)
	var pattern, names []string
	if parent != "" {
		for part := range strings.SplitSeq(parent, "/") {
			pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
		}
	}
	for _, c := range t {
		names = append(names, regexp.QuoteMeta(path.Base(c.name)))
	}
	pattern = append(pattern, "^("+strings.Join(names, "|")+")$")
	return job.Job{
		Name: s.name,
		Dir:  s.dir(),
		Argv: []string{
			s.file(), "-test.v=test2json", "-test.timeout=0", fmt.Sprintf("-test.parallel=%d", s.atOnce),
			"-test.run=" + strings.Join(pattern, "/"),
		},
		// Emulated instructions are dear, and the machine has memory to spare.
		Env:     []string{"PODPATH_REQUIRE_PRIVILEGED=1", "PODPATH_OWN_MACHINE=1", "GOGC=400"},
		Seconds: jobSeconds,
	}
}
