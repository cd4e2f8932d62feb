package caps

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/render"
)

// patience is far above what any step takes.
const patience = 90 * time.Second

// program builds podpath where any user may run it.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "podpath-caps-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "podpath")
	build := exec.Command("go", "build", "-o", path, "../../cmd/podpath")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build podpath: %v\n%s", err, out)
	}
	return path
}

// broken is a lab with a fault.
type broken struct {
	*lab.Lab
	program  string
	scenario lab.Scenario
	dump     string
}

func breakLab(t *testing.T, program, fault string) *broken {
	t.Helper()
	l, err := lab.New(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("remove the lab: %v", err)
		}
	})
	sc, err := l.Break(t.Context(), fault)
	if err != nil {
		t.Fatal(err)
	}
	dump, err := l.ClusterDump()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(program), "dump.json")
	if err := os.WriteFile(file, dump, 0o644); err != nil {
		t.Fatal(err)
	}
	return &broken{l, program, sc, file}
}

// answer is what podpath said and how it ended.
type answer struct {
	code    int
	stderr  string
	verdict *render.Verdict
	summary *render.Summary
}

// trace runs podpath in the lab's node with limited privilege, and sends the
// traffic once it is ready.
func (b *broken) trace(t *testing.T, l Limits, args ...string) answer {
	t.Helper()
	args = append([]string{"trace", "--node", b.NodeName(), "--cluster-dump", b.dump, "--from", b.scenario.From, "--to", b.scenario.To,
		"--until-verdict", "--duration", "20s", "-o", "json"}, args...)
	cmd := exec.Command(b.program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout = &out
	progress, w := io.Pipe()
	cmd.Stderr = w
	l.NetNS = b.NodeNetNS()
	if err := l.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	kill := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer kill()
	var wg sync.WaitGroup
	wg.Go(func() {
		lines := bufio.NewScanner(progress)
		for lines.Scan() {
			errs.WriteString(lines.Text() + "\n")
			if strings.HasPrefix(lines.Text(), "ready") {
				wg.Go(func() { _, _ = b.Traffic(ctx) })
			}
		}
	})
	err := cmd.Wait()
	_ = w.Close()
	cancel()
	wg.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	a := answer{code: cmd.ProcessState.ExitCode(), stderr: errs.String()}
	for line := range bytes.Lines(out.Bytes()) {
		a.read(t, line)
	}
	return a
}

func (a *answer) read(t *testing.T, line []byte) {
	t.Helper()
	var kind struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	var err error
	switch kind.Kind {
	case "Verdict":
		a.verdict = &render.Verdict{}
		err = json.Unmarshal(line, a.verdict)
	case "Summary":
		a.summary = &render.Summary{}
		err = json.Unmarshal(line, a.summary)
	}
	if err != nil {
		t.Fatalf("%v in %s", err, line)
	}
}

func (a *answer) blind(what string) bool {
	return a.verdict != nil && slices.ContainsFunc(a.verdict.Blind, func(b tracer.Blind) bool { return strings.Contains(b.What, what) })
}

func without(all []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(c string) bool { return slices.Contains(names, c) })
}

// full is everything that docs/requirements.md lists, one by one.
func full() []string {
	return []string{"BPF", "PERFMON", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "SYSLOG"}
}

// What the documentation calls lost is said to be not visible, and lowers the
// verdict or not, as it says there. The sockets of a pod are seen inside only.
func TestTraceInsidePods(t *testing.T) {
	needRoot(t)
	b := breakLab(t, program(t), "not-listening")
	const inside, unknown = "the inside of pods' network namespaces", "network namespaces that cannot be found"
	for _, tc := range []struct {
		name   string
		limits Limits
		code   int
		said   string // code and confidence
		tier   string
		blind  []string
	}{
		{"full", Limits{Capabilities: full()}, 1, "app-no-listener confirmed", "tcx", nil},
		{"SYS_ADMIN includes two", Limits{Capabilities: without(full(), "BPF", "PERFMON")}, 1, "app-no-listener confirmed", "tcx", nil},
		{"full, no new privileges", Limits{Capabilities: full(), NoNewPrivs: true}, 1, "app-no-listener confirmed", "tcx", nil},
		{"not SYS_ADMIN", Limits{Capabilities: without(full(), "SYS_ADMIN")}, 1, "app-no-listener probable", "tracepoint", []string{inside, "CAP_SYS_ADMIN is missing"}},
		{"not SYS_PTRACE", Limits{Capabilities: without(full(), "SYS_PTRACE")}, 3, "unknown suspected", "tcx", []string{unknown}},
		{"not SYSLOG", Limits{Capabilities: without(full(), "SYSLOG")}, 1, "app-no-listener confirmed", "tcx", nil},
		{"not NET_ADMIN", Limits{Capabilities: without(full(), "NET_ADMIN")}, 1, "app-no-listener confirmed", "tcx", []string{"nf_tables rules"}},
		{"least", Limits{Capabilities: []string{"BPF", "PERFMON", "NET_ADMIN"}}, 3, "unknown suspected", "tracepoint", []string{inside, unknown}},
		{"least, no rules", Limits{Capabilities: []string{"BPF", "PERFMON"}}, 3, "unknown suspected", "tracepoint", []string{inside, unknown, "nf_tables rules", "CAP_NET_ADMIN is missing"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := b.trace(t, tc.limits)
			a.expect(t, tc.code, tc.said, tc.tier)
			for _, what := range []string{inside, unknown, "nf_tables rules", "CAP_SYS_ADMIN is missing", "CAP_NET_ADMIN is missing"} {
				listed := slices.ContainsFunc(tc.blind, func(b string) bool { return strings.Contains(what, b) || strings.Contains(b, what) })
				if a.blind(what) && !listed && !(what == "CAP_SYS_ADMIN is missing" && slices.Contains(tc.blind, inside)) {
					t.Errorf("%s is said to be hidden", what)
				}
			}
			for _, what := range tc.blind {
				if !a.blind(what) {
					t.Errorf("%s is not said to be hidden: %v", what, a.verdict.Blind)
				}
			}
		})
	}
}

func (a *answer) expect(t *testing.T, code int, said, tier string) {
	t.Helper()
	if a.code != code || a.verdict == nil || a.summary == nil {
		t.Fatalf("exit %d, want %d\n%s", a.code, code, a.stderr)
	}
	if got := a.verdict.Code + " " + string(a.verdict.Confidence); got != said || a.summary.Tier != tier {
		t.Errorf("%s by %s, want %s by %s: %s", got, a.summary.Tier, said, tier, a.verdict.Summary)
	}
}

// The rule that dropped is named with NET_ADMIN, and with the symbols that say
// at which hook. Without it a policy is probable: that an enforcer of policies
// dropped is then not shown.
func TestTraceRules(t *testing.T) {
	needRoot(t)
	b := breakLab(t, program(t), "policy-ingress")
	for _, missing := range []string{"", "SYS_ADMIN", "NET_ADMIN", "SYSLOG"} {
		t.Run("without "+missing, func(t *testing.T) {
			a := b.trace(t, Limits{Capabilities: without(full(), missing)})
			tier := "tcx"
			if missing == "SYS_ADMIN" {
				tier = "tracepoint"
			}
			hidden := symbolsHidden(t, missing != "SYSLOG")
			found := missing != "NET_ADMIN" && !hidden
			said := "pol-ingress-deny probable"
			if found {
				said = "pol-ingress-deny confirmed"
			}
			a.expect(t, 1, said, tier)
			if named := a.verdict.Rule != nil; named != found {
				t.Errorf("rule named: %v, symbols hidden: %v", named, hidden)
			}
			if a.blind("kernel symbol addresses") != hidden {
				t.Errorf("symbols hidden: %v, said: %v", hidden, a.verdict.Blind)
			}
		})
	}
}

// symbolsHidden is kallsyms_show_value of kernel/ksyms_common.c (6.4).
func symbolsHidden(t *testing.T, syslog bool) bool {
	t.Helper()
	setting := func(name string) string {
		v, err := os.ReadFile("/proc/sys/kernel/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(v))
	}
	restrict, paranoid := setting("kptr_restrict"), setting("perf_event_paranoid")
	if restrict == "0" && (paranoid == "1" || paranoid == "0" || paranoid == "-1") {
		return false
	}
	return restrict == "2" || !syslog
}

// Capabilities count, the user does not; no_new_privs takes away what would
// come with the file.
func TestTraceAsAnotherUser(t *testing.T) {
	needRoot(t)
	path := program(t)
	b := breakLab(t, path, "not-listening")
	const nobody = 65534
	for _, tc := range []struct {
		name   string
		limits Limits
		fails  string
	}{
		{"ambient", Limits{User: nobody}, ""},
		{"ambient, no new privileges", Limits{User: nobody, NoNewPrivs: true}, ""},
		{"on the file", Limits{User: nobody, OnFile: true}, ""},
		{"on the file, no new privileges", Limits{User: nobody, OnFile: true, NoNewPrivs: true}, "CAP_BPF and CAP_PERFMON are missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.limits.OnFile {
				if err := OnFile(path, full()); err != nil {
					t.Fatal(err)
				}
			}
			tc.limits.Capabilities = full()
			a := b.trace(t, tc.limits)
			if tc.fails == "" {
				a.expect(t, 1, "app-no-listener confirmed", "tcx")
				return
			}
			if a.code != 2 || !strings.Contains(a.stderr, tc.fails) || strings.Contains(a.stderr, "ready") {
				t.Errorf("exit %d\n%s", a.code, a.stderr)
			}
		})
	}
}

// What cannot be done at all is one line that names what is missing.
func TestTraceCannotStart(t *testing.T) {
	needRoot(t)
	b := breakLab(t, program(t), "not-listening")
	for name, tc := range map[string]struct {
		limits Limits
		args   []string
		says   string
	}{
		"no BPF":      {Limits{Capabilities: without(full(), "BPF", "SYS_ADMIN")}, nil, "CAP_BPF is missing"},
		"no PERFMON":  {Limits{Capabilities: without(full(), "PERFMON", "SYS_ADMIN")}, nil, "CAP_PERFMON is missing"},
		"nothing":     {Limits{}, nil, "CAP_BPF and CAP_PERFMON are missing"},
		"other node":  {Limits{Capabilities: without(full(), "SYS_ADMIN")}, []string{"--host-netns", fmt.Sprintf("/proc/%d/ns/net", os.Getpid())}, "entering a network namespace needs CAP_SYS_ADMIN"},
		"TCX wanted":  {Limits{Capabilities: without(full(), "SYS_ADMIN")}, []string{"--hook", "tcx"}, "entering a network namespace needs CAP_SYS_ADMIN"},
		"TCX no caps": {Limits{Capabilities: []string{"BPF", "PERFMON"}}, []string{"--hook", "tcx"}, "CAP_NET_ADMIN is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.trace(t, tc.limits, tc.args...)
			var said []string
			for line := range strings.Lines(a.stderr) {
				if strings.HasPrefix(line, "podpath: ") {
					said = append(said, line)
				}
			}
			if a.code != 2 || len(said) != 1 || !strings.Contains(said[0], tc.says) || a.verdict != nil {
				t.Errorf("exit %d, said %q\n%s", a.code, said, a.stderr)
			}
		})
	}
}

// Rules of iptables-legacy are read by its own tool, which wants one capability
// more; who may not even see whether there are any is told so.
func TestTraceLegacyRules(t *testing.T) {
	needRoot(t)
	tool, err := exec.LookPath("iptables-legacy")
	if err != nil {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	b := breakLab(t, program(t), "policy-ingress")
	add := exec.Command(tool, "-A", "FORWARD", "-j", "ACCEPT")
	if err := (Limits{Capabilities: []string{"NET_ADMIN", "NET_RAW"}, NetNS: b.NodeNetNS()}).Start(add); err != nil {
		t.Fatal(err)
	}
	if err := add.Wait(); err != nil {
		t.Fatalf("%s: %v", add, err)
	}
	for name, tc := range map[string]struct {
		limits Limits
		why    string
	}{
		"root":             {Limits{Capabilities: append(full(), "NET_RAW")}, ""},
		"root, no NET_RAW": {Limits{Capabilities: full()}, "run iptables-legacy-save"},
		"another user":     {Limits{Capabilities: append(full(), "NET_RAW"), User: 65534}, "only root may see which tables exist"},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.trace(t, tc.limits)
			a.expect(t, 1, "pol-ingress-deny confirmed", "tcx")
			why := ""
			for _, x := range a.verdict.Blind {
				if x.What == "iptables-legacy rules" {
					why = x.Effect
				}
			}
			if (why == "") != (tc.why == "") || !strings.Contains(why, tc.why) {
				t.Errorf("said to be hidden: %q, want %q", why, tc.why)
			}
		})
	}
}
