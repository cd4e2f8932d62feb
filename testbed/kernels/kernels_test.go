package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/testbed/kernels/job"
	"github.com/podpath/podpath/tracer/lab"
)

func TestNewest(t *testing.T) {
	names := []string{
		"linux-image-6.1-cloud-amd64", "linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64",
		"linux-image-6.1.0-0.deb11.48-cloud-amd64", "linux-image-6.12.90+deb13.1-cloud-amd64",
		"linux-image-6.12.117+deb12-cloud-amd64", "linux-image-6.12.117+deb13-cloud-amd64",
		"linux-image-7.2.12+deb13-cloud-amd64", "linux-image-7.10.1+deb13-cloud-amd64", "linux-image-7.10.1+deb13-amd64",
	}
	want := map[string]string{
		"6.1":  "linux-image-6.1.0-56-cloud-amd64",
		"6.12": "linux-image-6.12.117+deb13-cloud-amd64",
		"7":    "linux-image-7.10.1+deb13-cloud-amd64",
		"5.10": "",
	}
	for _, r := range releases() {
		expected, asked := want[r.name]
		if !asked {
			continue
		}
		if got, _ := r.newest(names); got != expected {
			t.Errorf("%s: %q, want %q", r.name, got, expected)
		}
	}
}

func TestChosen(t *testing.T) {
	if list, err := chosen("6.1,7"); err != nil || len(list) != 2 || list[1].name != "7" {
		t.Errorf("got %v, %v", list, err)
	}
	if _, err := chosen("2.4"); err == nil {
		t.Error("an unknown kernel is no error")
	}
}

// tried feeds what a test program printed.
func tried(t *testing.T, lacks []lack, output string, r job.Result) map[string]string {
	t.Helper()
	s := &suite{name: "x"}
	cells := map[string]string{}
	sit := &sitting{
		tasks: []task{{{suite: s, name: "TestA"}, {suite: s, name: "TestB"}}}, lacks: lacks,
		say: func(string, ...any) {},
		report: func(c cell, _ outcome) {
			if _, twice := cells[c.row]; twice {
				t.Errorf("%s has two cells", c.row)
			}
			cells[c.row] = c.text
			if good := c.text == "ok" || strings.Contains(c.text, notHere); good == c.bad {
				t.Errorf("bad %v: %+v", c.bad, c)
			}
		},
	}
	for _, l := range []job.Line{{Output: []byte(output)}, {Result: &r}} {
		if err := sit.line(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := sit.close(); err != nil {
		t.Fatal(err)
	}
	return cells
}

func TestTrial(t *testing.T) {
	const (
		a       = "\x16=== RUN   TestA\n\x16--- PASS: TestA (1.00s)\n"
		b       = "\x16=== RUN   TestB\n\x16--- PASS: TestB (1.00s)\n"
		skipB   = "\x16=== RUN   TestB\n    lab_test.go:56: needs TCX (kernel 6.6)\n\x16--- SKIP: TestB (0.00s)\n"
		partB   = "\x16=== RUN   TestB\n\x16=== RUN   TestB/v4\n    lab_test.go:56: needs TCX (kernel 6.6)\n\x16--- SKIP: TestB/v4 (0.00s)\n\x16=== NAME  TestB\n\x16--- PASS: TestB (1.00s)\n"
		tiersB  = "\x16=== RUN   TestB\n\x16=== RUN   TestB/tcx\n    lab_test.go:56: needs TCX (kernel 6.6)\n\x16--- SKIP: TestB/tcx (0.00s)\n\x16=== RUN   TestB/tracepoint\n\x16--- PASS: TestB/tracepoint (0.10s)\n\x16=== NAME  TestB\n\x16--- PASS: TestB (1.00s)\n"
		failedB = "\x16=== RUN   TestB\n    x_test.go:1: wrong\n\x16--- FAIL: TestB (0.00s)\n"
	)
	lacks := []lack{{"TCX", "needs TCX"}}
	for name, tc := range map[string]struct {
		lacks  []lack
		output string
		result job.Result
		want   map[string]string
	}{
		"pass":                  {nil, a + b + "\x16PASS\n", job.Result{}, map[string]string{"x TestA": "ok", "x TestB": "ok"}},
		"fail":                  {nil, a + failedB + "\x16FAIL\n", job.Result{Exit: 1}, map[string]string{"x TestA": "ok", "x TestB": "FAILED"}},
		"lacks TCX":             {lacks, a + skipB + "\x16PASS\n", job.Result{}, map[string]string{"x TestA": "ok", "x TestB": "not in this kernel: TCX"}},
		"says it lacks TCX":     {nil, a + skipB + "\x16PASS\n", job.Result{}, map[string]string{"x TestA": "ok", "x TestB": "SKIPPED: needs TCX (kernel 6.6)"}},
		"a part lacks TCX":      {lacks, a + partB + "\x16PASS\n", job.Result{}, map[string]string{"x TestA": "ok", "x TestB": "ok; not in this kernel: TCX"}},
		"a part says it does":   {nil, a + partB + "\x16PASS\n", job.Result{}, map[string]string{"x TestA": "ok", "x TestB": "SKIPPED: needs TCX (kernel 6.6)"}},
		"tiers":                 {lacks, a + tiersB + "\x16PASS\n", job.Result{}, map[string]string{"x TestA": "ok", "x TestB, tcx": "not in this kernel: TCX", "x TestB, tracepoint": "ok"}},
		"does not run":          {nil, a + "\x16PASS\n", job.Result{}, map[string]string{"x TestA": "ok", "x TestB": "did not run"}},
		"hangs":                 {nil, a + "\x16=== RUN   TestB\n", job.Result{Exit: -1, TimedOut: true}, map[string]string{"x TestA": "ok", "x TestB": "hangs"}},
		"panics":                {nil, a + "\x16=== RUN   TestB\npanic: x\n", job.Result{Exit: 2}, map[string]string{"x TestA": "ok", "x TestB": "ended the process"}},
		"the process goes away": {nil, a + b + "\x16PASS\n", job.Result{Exit: 3}, map[string]string{"x TestA": "ok", "x TestB": "ok", "x process": "exit 3"}},
	} {
		got := tried(t, tc.lacks, tc.output, tc.result)
		if !maps.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestTasks(t *testing.T) {
	a, b := &suite{name: "a"}, &suite{name: "podpath", atOnce: 4}
	var got []string
	for _, task := range tasks([]check{{suite: a, name: "TestA"}, {suite: a, name: "TestB"}, {suite: b, name: "TestA"}, {suite: b, name: "TestLabFaults/other_names,_IPv6/rp-filter"}, {suite: b, name: "TestLabFaults/other_names,_IPv6/mtu"}}) {
		argv := task.job().Argv
		got = append(got, argv[0]+" "+argv[len(argv)-1])
	}
	want := []string{
		"/a.test -test.run=^(TestA|TestB)$",
		"/podpath.test -test.run=^(TestA)$",
		"/podpath.test -test.run=^TestLabFaults$/^other_names,_IPv6$/^(rp-filter|mtu)$",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if row := b.row("TestLabFaults/other_names,_IPv6/rp-filter"); row != "lab rp-filter, IPv6" {
		t.Errorf("row %q", row)
	}
}

// Every check is in one share of its kernel, and the long shares come first.
func TestShares(t *testing.T) {
	all := suites()
	m := &matrix{}
	for _, s := range all {
		m.checks = append(m.checks, check{suite: s, name: "TestA"})
	}
	var got []string
	for _, s := range m.shares(releases()[:2]) {
		for _, c := range s.checks {
			got = append(got, s.name+" "+c.suite.name)
		}
	}
	want := []string{
		"5.10-probe probe", "6.1-probe probe",
		"5.10-rest node", "5.10-rest netns", "5.10-rest rules", "5.10-rest podpath", "5.10-rest lab",
		"6.1-rest node", "6.1-rest netns", "6.1-rest rules", "6.1-rest podpath", "6.1-rest lab",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The faults of every change are faults of the lab.
func TestQuickFaults(t *testing.T) {
	if len(quickFaults()) != len(labRuns()) {
		t.Error("not one list for each run")
	}
	for run, names := range quickFaults() {
		for _, name := range names {
			f, ok := lab.FindFault(name)
			if !ok || f.IPv4Only && strings.Contains(run, "IPv6") {
				t.Errorf("%s: %s", run, name)
			}
		}
	}
}

// What the lab builds apart is part of every change on one kernel, of a full run on
// those that say why they drop, and of no other.
func TestApart(t *testing.T) {
	all := suites()
	for _, s := range all {
		s.tests = nil // but for what the lab's own are
		if s.name == labSuite {
			s.tests = []string{"TestFaultsApart"}
		}
	}
	for _, full := range []bool{false, true} {
		m := &matrix{options: options{full: full}, checks: checks(all, full)}
		for _, r := range releases() {
			var rows []string
			for _, c := range m.checksOf(r) {
				if c.apart && !strings.Contains(c.row(), ", ") {
					rows = append(rows, c.row())
				}
			}
			want := 0
			if r.name == "6.12" || full && r.name != "5.10" {
				want = 1
				for _, f := range lab.Faults() {
					if f.Apart() {
						want++
					}
				}
			}
			if len(rows) != want {
				t.Errorf("%s, full %t: %q, want %d", r.name, full, rows, want)
			}
		}
	}
}

// What a job left behind comes out of the machine.
func TestKept(t *testing.T) {
	got := map[string]string{}
	s := &sitting{keep: func(f job.File) error { got[f.Name] = string(f.Data); return nil }}
	if err := s.line(job.Line{File: &job.File{Name: "lab/a.podpath", Data: []byte("x")}}); err != nil || got["lab/a.podpath"] != "x" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTable(t *testing.T) {
	tab := newTable()
	tab.column("5.10")
	tab.add("5.10", cell{"a", "ok", false})
	tab.column("7.3")
	tab.add("7.3", cell{"a", "FAILED", true})
	tab.add("7.3", cell{"b", "ok", false})
	var b bytes.Buffer
	if err := tab.markdown(&b); err != nil {
		t.Fatal(err)
	}
	want := "| test | 5.10 | 7.3 |\n|---|---|---|\n| a | ok | **FAILED** |\n| b | – | ok |\n"
	if b.String() != want || tab.bad() != 1 {
		t.Errorf("%d bad in\n%s", tab.bad(), &b)
	}
}

func TestRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "compat.md")
	if err := os.WriteFile(file, []byte("# Kernels\n"+tableBegins+tableEnds+"end\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for i, add := range []struct {
		column string
		cell   cell
	}{
		{"6.1", cell{"a", "FAILED", true}},
		{"7.3", cell{"a", "ok", false}},
		{"6.1", cell{"b", "ok", false}},
	} {
		tab := newTable()
		tab.column(add.column)
		tab.add(add.column, add.cell)
		if err := tab.record(file, day.AddDate(0, 0, i)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	want := "# Kernels\n" + tableBegins +
		"| test | 6.1, 2026-11-25 | 7.3, 2026-11-24 |\n|---|---|---|\n| a | – | ok |\n| b | ok | – |\n" + tableEnds + "end\n"
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
}

// The archive is one that cpio reads.
func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := newCpio(&b)
	a.console()
	a.file("/init", []byte("hello"))
	a.file("/modules/a.ko", []byte("module"))
	a.link("/usr/sbin/b", "a")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 {
		t.Errorf("%d bytes are not aligned", b.Len())
	}
	program, err := exec.LookPath("cpio")
	if err != nil {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			t.Fatal("needs cpio")
		}
		t.Skip("needs cpio")
	}
	cmd := exec.Command(program, "-t", "--quiet")
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	if got := strings.Fields(string(out)); err != nil || strings.Join(got, " ") != "dev dev/console init modules modules/a.ko usr usr/sbin usr/sbin/b" {
		t.Errorf("%v, %v", got, err)
	}
}
