package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/podpath/podpath/tracer/render"
)

// nodeTables lists the nftables tables of a lab's node, with their rules, so that
// a change of any is seen.
func nodeTables(t *testing.T, node string) (all, ours []string) {
	t.Helper()
	f, err := os.Open(node)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(f.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	chains, err := c.ListChains()
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range chains {
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			continue // the chain went away with its table
		}
		line := fmt.Sprintf("%d %s %s:", ch.Table.Family, ch.Table.Name, ch.Name)
		for _, r := range rules {
			line += fmt.Sprintf(" %d", r.Handle)
		}
		if strings.HasPrefix(ch.Table.Name, "podpath_trace_") {
			ours = append(ours, line)
			continue
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all, ours
}

func verdictsIn(t *testing.T, out string) (vs []render.Verdict) {
	t.Helper()
	for line := range strings.Lines(out) {
		var v render.Verdict
		if json.Unmarshal([]byte(line), &v) == nil && v.Kind == "Verdict" {
			vs = append(vs, v)
		}
	}
	return vs
}

// TestTraceRules: with --trace-rules the rule is named by the kernel, it is said
// what is added to the node, and nothing of it is left.
func TestTraceRules(t *testing.T) {
	t.Parallel()
	l := damagedLab(t, "foreign-drop", nil)
	before, _ := nodeTables(t, l.NodeNetNS())
	args := append(slices.Clone(l.args), "-o", "json", "--count", "1")
	run := func(more ...string) (string, string, string) {
		t.Helper()
		p := launch(t, append(slices.Clone(args), more...)...)
		p.ready(t)
		_, ours := nodeTables(t, l.NodeNetNS())
		if len(more) > 0 && len(ours) != 2 {
			t.Errorf("chains of the trace: %v", ours)
		}
		l.show(t)
		if code := p.code(t); code != exitFault {
			t.Fatalf("exit %d", code)
		}
		vs := verdictsIn(t, p.out.String())
		if len(vs) != 1 || vs[0].Code != "node-forward-drop" || vs[0].Rule == nil {
			t.Fatalf("verdicts %+v", vs)
		}
		return vs[0].Rule.How, vs[0].Rule.Table + " " + vs[0].Rule.Chain + " " + vs[0].Rule.Text, p.err.String()
	}
	how, plain, _ := run()
	if how == "observed" {
		t.Error("observed without --trace-rules")
	}
	how, traced, said := run("--trace-rules")
	if how != "observed" || traced != plain {
		t.Errorf("%s: %s, want what was named without a trace: %s", how, traced, plain)
	}
	for _, want := range []string{"note: --trace-rules added the nftables table inet podpath_trace_", "for 1m0s", "removed on exit"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said", want)
		}
	}
	after, ours := nodeTables(t, l.NodeNetNS())
	if !slices.Equal(before, after) || len(ours) > 0 {
		t.Errorf("rules %v %v, before %v", after, ours, before)
	}
}

// TestTraceRulesInTime: the table goes when its time is over, the trace goes on.
func TestTraceRulesInTime(t *testing.T) {
	t.Parallel()
	l := damagedLab(t, "foreign-drop", nil)
	p := launch(t, append(slices.Clone(l.args), "-o", "json", "--count", "1", "--trace-rules=200ms")...)
	p.ready(t)
	eventually(t, "the end of the rule trace", func() bool { return strings.Contains(p.err.String(), "the rule trace ended after 200ms") })
	if _, ours := nodeTables(t, l.NodeNetNS()); len(ours) > 0 {
		t.Errorf("left behind: %v", ours)
	}
	l.show(t)
	if code := p.code(t); code != exitFault {
		t.Errorf("exit %d", code)
	}
	if vs := verdictsIn(t, p.out.String()); len(vs) != 1 || vs[0].Rule == nil || vs[0].Rule.How == "observed" {
		t.Errorf("verdicts %+v", vs)
	}
}

// TestKilledTracingRules: wherever SIGKILL finds podpath, its table goes, and no
// other was touched.
func TestKilledTracingRules(t *testing.T) {
	t.Parallel()
	l := damagedLab(t, "policy-ingress", nil)
	before, _ := nodeTables(t, l.NodeNetNS())
	const moments = 10
	t.Run("kill", func(t *testing.T) {
		for n := range moments {
			moment := (time.Duration(n)*killSpan + rand.N(killSpan)) / moments
			t.Run(moment.Round(time.Millisecond).String(), func(t *testing.T) {
				t.Parallel()
				p := &program{cmd: podpath(t, append(slices.Clone(l.args), "-o", "json", "--trace-rules", "--write", filepath.Join(t.TempDir(), "session"))...), ended: make(chan error, 1)}
				p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
				p.start(t)
				if n%2 == 0 {
					p.ready(t)
				}
				time.Sleep(moment) // the moment itself is the point
				p.signal(t, syscall.SIGKILL)
				if code := p.code(t); code != -1 {
					t.Fatalf("it ended by itself, with %d", code)
				}
			})
		}
	})
	eventually(t, "no table of podpath", func() bool {
		_, ours := nodeTables(t, l.NodeNetNS())
		return len(ours) == 0
	})
	if after, _ := nodeTables(t, l.NodeNetNS()); !slices.Equal(before, after) {
		t.Errorf("rules %v, before %v", after, before)
	}
}
