package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/render"
)

// privileged skips where the lab cannot be built, and fails instead where it
// must be possible.
func privileged(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") != "" {
		t.Fatal("not root, although PODPATH_REQUIRE_PRIVILEGED is set")
	}
	t.Skip("needs root: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN")
}

// labRun is one way of showing every fault.
type labRun struct {
	name    string
	opts    lab.Options
	hook    string
	symbols *probe.Symbols
}

const defaultRun = "default"

// labRuns: the readable names, and others with different names, addresses and
// ports, so that no rule can rest on any of them; both families; both kinds of
// hooks. PODPATH_LAB_ROUNDS repeats the first.
func labRuns() []labRun {
	symbols, own := probe.NewSymbols(), ownMachine()
	runs := []labRun{
		{defaultRun, lab.Options{OwnMachine: own}, "auto", symbols},
		{"other names, IPv6", lab.Options{Seed: 7, IPv6: true, OwnMachine: own}, "auto", symbols},
		{"other names, UDP, tracepoints", lab.Options{Seed: 23, Protocol: "udp", OwnMachine: own}, "tracepoint", symbols},
	}
	rounds, _ := strconv.Atoi(os.Getenv("PODPATH_LAB_ROUNDS"))
	for i := 1; i < rounds; i++ {
		runs = append(runs, labRun{fmt.Sprintf("round %d", i+1), lab.Options{Seed: uint64(i%3) * 31}, "auto", symbols})
	}
	return runs
}

// ownMachine: nobody else uses this machine, and its clock skips what is slept.
func ownMachine() bool { return os.Getenv("PODPATH_OWN_MACHINE") != "" }

func TestLabFaults(t *testing.T) {
	privileged(t)
	report := newLabReport()
	t.Cleanup(func() { report.end(t) })
	for _, r := range labRuns() {
		t.Run(r.name, func(t *testing.T) {
			for _, f := range lab.Faults() {
				switch {
				case f.IPv4Only && r.opts.IPv6, report.keep != nil && !kept(f, r):
					continue
				case f.Apart() && !ownMachine():
					report.leave(f)
					continue
				}
				t.Run(f.Name, func(t *testing.T) {
					if !f.Machine { // that one is done before the others begin
						t.Parallel()
					}
					showFault(t, f, r, report)
				})
			}
		})
	}
}

// showFault shows a fault, and once more if the kernel is known to have skipped
// drops (docs/limits.md) and podpath therefore said that it does not know.
func showFault(t *testing.T, f lab.Fault, r labRun, report *labReport) {
	if again := tryFault(t, f, r, report, true); again {
		tryFault(t, f, r, report, false)
	}
}

// tryFault builds the fault, traces it as demo does, and compares with what was
// built. again: there is nothing to compare, because the kernel skipped drops.
func tryFault(t *testing.T, f lab.Fault, r labRun, report *labReport, mayRepeat bool) (again bool) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second+2*f.Visible)
	defer cancel()
	l, err := lab.New(ctx, r.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Errorf("remove the lab: %v", err)
		}
	}()
	sc, err := l.Break(ctx, f.Name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	live, skipped := traceScenario(ctx, t, l, sc, r.symbols, traceFlags{hook: r.hook, firstPackets: 8, duration: demoFor(f), write: dir + "/session"})
	unknown := slices.ContainsFunc(live, func(v render.Verdict) bool { return v.Code == "unknown" })
	if mayRepeat && unknown && skipped > 0 {
		t.Logf("the kernel skipped the drop program %d times: once more", skipped)
		return true
	}
	compare(t, sc, live)
	beside(t, sc, live)
	report.add(f, r, judge(sc, live))
	if t.Failed() {
		for _, v := range live {
			b, _ := json.MarshalIndent(v, "", " ")
			t.Logf("%s", b)
		}
	}
	replayed := replayFile(t, dir+"/session")
	if a, b := fingerprint(live), fingerprint(replayed); a != b {
		t.Errorf("replay differs:\nlive\n%s\nreplay\n%s", a, b)
	}
	redactRecording(t, dir+"/session", live)
	report.record(t, r, f, sc, dir+"/session")
	return false
}

// traceScenario gives the verdicts, and how often the kernel skipped the drop
// program.
func traceScenario(ctx context.Context, t *testing.T, l *lab.Lab, sc lab.Scenario, symbols *probe.Symbols, tf traceFlags) ([]render.Verdict, uint64) {
	t.Helper()
	var out, progress bytes.Buffer
	a := newApp(stdio{out: &out, err: &progress})
	a.output, a.symbols = "json", symbols
	printer, err := a.printer()
	if err != nil {
		t.Fatal(err)
	}
	err = a.demoTrace(ctx, l, sc, tf, printer)
	if code := exitCode(err); code == exitUsage || code == exitInterrupted {
		t.Fatalf("exit %d: %v\n%s", code, err, &progress)
	}
	if !strings.Contains(progress.String(), "\nready") {
		t.Errorf("no ready line on standard error:\n%s", &progress)
	}
	part(t, sc, out.Bytes())
	return verdicts(t, &out), lastSummary(t, out.Bytes()).Counters["missed.kfree_skb"]
}

func lastSummary(t *testing.T, out []byte) (s render.Summary) {
	t.Helper()
	for line := range bytes.Lines(out) {
		var one render.Summary
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatal(err)
		}
		if one.Kind == "Summary" {
			s = one
		}
	}
	return s
}

func replayFile(t *testing.T, file string) []render.Verdict {
	t.Helper()
	var out, progress bytes.Buffer
	if code := run(t.Context(), []string{"replay", file, "-o", "json"}, stdio{out: &out, err: &progress}); code == exitUsage {
		t.Fatalf("replay: exit %d\n%s", code, &progress)
	}
	return verdicts(t, &out)
}

func verdicts(t *testing.T, out *bytes.Buffer) []render.Verdict {
	t.Helper()
	var vs []render.Verdict
	for line := range bytes.Lines(out.Bytes()) {
		var v render.Verdict
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if v.Kind == "Verdict" {
			vs = append(vs, v)
		}
	}
	return vs
}

func compare(t *testing.T, sc lab.Scenario, vs []render.Verdict) {
	t.Helper()
	if c := judge(sc, vs); !c.Right() {
		t.Errorf("got %s, built %s", c.Got, c.Want)
	}
}

// beside looks for what is to be seen beside the cause: what follows from it, and
// which part of the connections is broken.
func beside(t *testing.T, sc lab.Scenario, vs []render.Verdict) {
	t.Helper()
	for _, want := range sc.Also {
		for _, v := range vs {
			i := slices.IndexFunc(v.AlsoSeen, func(a tracer.AlsoSeen) bool { return a.Code == want.Code })
			if i < 0 || strings.HasPrefix(v.AlsoSeen[i].Why, "follows from "+sc.Code) != want.Follows {
				t.Errorf("also seen %+v, want %+v", v.AlsoSeen, want)
			}
		}
	}
	said := func(what string) bool {
		return slices.ContainsFunc(vs, func(v render.Verdict) bool {
			return slices.ContainsFunc(v.Evidence, func(e tracer.Evidence) bool { return strings.Contains(e.What, what) })
		})
	}
	const shared = "and none that was answered, was of endpoint "
	end := sharedEnd(sc)
	if said(shared+end) != (end != "") || said(" connections to ") != sc.Part {
		t.Errorf("that a part failed, and what it shares, is said: %t %t, built: %t %q", said(" connections to "), said(shared+end), sc.Part, end)
	}
}

// sharedEnd is how the endpoint begins that all which fail have in common, "" if
// they have none.
func sharedEnd(sc lab.Scenario) string {
	switch {
	case sc.Shared != "":
		return sc.Shared
	case sc.Part && sc.Object.Kind == "Pod":
		return sc.Object.Namespace + "/" + sc.Object.Name + " ("
	}
	return ""
}

// part holds the summary of a recording against what was built: which part of the
// connections failed.
func part(t *testing.T, sc lab.Scenario, out []byte) {
	t.Helper()
	shares := lastSummary(t, out).Shares
	if len(shares) > 0 != sc.Part {
		t.Errorf("shares %+v, built a part: %t", shares, sc.Part)
	}
	for _, s := range shares {
		if s.Outcome != tracer.OutcomeIntermittent || s.Failed == 0 || s.Failed == s.Flows {
			t.Errorf("shares %+v, built a part", s)
		}
		if sharedEnd(sc) == "" {
			continue
		}
		ends := slices.DeleteFunc(s.By, func(x tracer.Share) bool { return x.Kind != "endpoint" })
		dead := slices.DeleteFunc(slices.Clone(ends), func(x tracer.Share) bool { return x.Failed == 0 })
		if len(ends) != 3 || len(dead) != 1 || !strings.HasPrefix(dead[0].Name, sharedEnd(sc)) || dead[0].Failed != dead[0].Flows {
			t.Errorf("shares %+v, built: all of %s", s, sharedEnd(sc))
		}
	}
}

// judge holds the verdicts against what was built.
func judge(sc lab.Scenario, vs []render.Verdict) accuracy.Case {
	if sc.Part || sc.Prelude {
		vs = accuracy.Broken(vs)
	}
	return accuracy.Judge(sc.Fault, built(sc), accuracy.Answers(vs, false))
}

// built is the right answer.
func built(sc lab.Scenario) accuracy.Answer {
	return accuracy.Answer{Component: sc.Component, Code: sc.Code, Kind: sc.Object.Kind, Namespace: sc.Object.Namespace, Name: sc.Object.Name}
}

// fingerprint is what a replay must repeat.
func fingerprint(vs []render.Verdict) string {
	var b strings.Builder
	for _, v := range vs {
		fmt.Fprintf(&b, "%s %s %s %s %s %s\n", v.Time.Format(time.RFC3339Nano), v.Component, v.Code, v.Confidence, v.Outcome, v.Summary)
	}
	return b.String()
}
