package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/testbed/kernels/job"
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

func TestJudgeDemo(t *testing.T) {
	want := fault{Component: "policy", Code: "pol-ingress-deny"}
	right := `{"kind":"Verdict","component":"policy","code":"pol-ingress-deny"}` + "\n"
	for name, tc := range map[string]struct {
		out  string
		text string
	}{
		"right":         {right + `{"kind":"Summary"}`, "ok"},
		"none":          {`{"kind":"Summary"}`, "no verdict, exit 0"},
		"not told":      {`{"kind":"Verdict","component":"unknown","code":"unknown"}`, "not told: unknown"},
		"wrong":         {`{"kind":"Verdict","component":"node","code":"node-forward-drop"}`, "WRONG: node-forward-drop"},
		"then wrong":    {right + `{"kind":"Verdict","component":"cni","code":"cni-veth-down"}`, "WRONG: cni-veth-down"},
		"not of a kind": {"chatter\n" + right, "ok"},
	} {
		s := step{want: &want}
		if c := s.judge(release{}, job.Result{Stdout: tc.out}); c.text != tc.text || c.bad != (tc.text != "ok") {
			t.Errorf("%s: %+v, want %q", name, c, tc.text)
		}
	}
}

func TestJudgeTest(t *testing.T) {
	part := "=== RUN   TestA/tcx\n    lab_test.go:56: needs TCX (kernel 6.6)\n--- PASS: TestA (1.0s)\n    --- SKIP: TestA/tcx (0.2s)\n"
	whole := "    lab_test.go:56: needs TCX (kernel 6.6)\n--- SKIP: TestA (0.2s)\nPASS\n"
	for name, tc := range map[string]struct {
		tcx  bool
		got  job.Result
		text string
		bad  bool
	}{
		"passes":                {true, job.Result{Stdout: "--- PASS: TestA (1.0s)\nPASS\n"}, "ok", false},
		"fails":                 {true, job.Result{Stdout: "--- FAIL: TestA (1.0s)\n", Exit: 1}, "FAILED, exit 1", true},
		"a part lacks TCX":      {false, job.Result{Stdout: part}, "ok, without TCX", false},
		"a part says it does":   {true, job.Result{Stdout: part}, "SKIPPED", true},
		"lacks TCX":             {false, job.Result{Stdout: whole}, "needs TCX", false},
		"says it lacks TCX":     {true, job.Result{Stdout: whole}, "SKIPPED", true},
		"skipped for no reason": {false, job.Result{Stdout: "    x_test.go:1: needs root\n--- SKIP: TestA (0.2s)\n"}, "SKIPPED", true},
		"no such test":          {false, job.Result{Stdout: "testing: warning: no tests to run\nPASS\n"}, "did not run", true},
		"hangs":                 {false, job.Result{Stdout: "--- PASS: TestA", TimedOut: true}, "hangs", true},
	} {
		if c := (step{}).judge(release{tcx: tc.tcx}, tc.got); c.text != tc.text || c.bad != tc.bad {
			t.Errorf("%s: %+v, want %q", name, c, tc.text)
		}
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
	a := newArchive(&b)
	a.console()
	a.file("/init", []byte("hello"))
	a.file("/modules/a.ko", []byte("module"))
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 {
		t.Errorf("%d bytes are not aligned", b.Len())
	}
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			t.Fatal("needs cpio")
		}
		t.Skip("needs cpio")
	}
	cmd := exec.Command(cpio, "-t", "--quiet")
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	if got := strings.Fields(string(out)); err != nil || strings.Join(got, " ") != "dev dev/console init modules modules/a.ko" {
		t.Errorf("%v, %v", got, err)
	}
}
