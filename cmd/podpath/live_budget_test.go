package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

// budgetLevels are the levels after the first, in their order, with what is said.
func budgetLevels() []tracer.BudgetLevel { return tracer.BudgetLevels()[1:] }

func (p *program) steppedTo(t *testing.T, level tracer.BudgetLevel) {
	t.Helper()
	eventually(t, "the step to "+string(level), func() bool { return strings.Contains(p.err.String(), "("+string(level)+")") })
}

func (p *program) verdicts(t *testing.T) []render.Verdict {
	return objectsIn[render.Verdict](t, p.out.String(), "Verdict")
}

// TestBudgetEachLevel: a budget of CPU time that cannot be kept takes podpath
// through all of its levels. At each of them a flow that is dropped gets the same
// verdict, and a healthy one, which also loses a packet, is not blamed. A replay
// says the same.
func TestBudgetEachLevel(t *testing.T) {
	for _, fault := range []string{"policy-ingress", "healthy"} {
		for _, hook := range []string{"tcx", "tracepoint"} {
			t.Run(fault+" "+hook, func(t *testing.T) {
				t.Parallel()
				l := damagedLab(t, fault, nil)
				file := filepath.Join(t.TempDir(), "session")
				p := launch(t, append(l.args, "-o", "json", "--hook", hook, "--max-cpu", "0.0001", "--write", file)...)
				p.ready(t)
				levels := budgetLevels()
				if hook == "tracepoint" { // all devices share two programs
					levels = slices.DeleteFunc(levels, func(l tracer.BudgetLevel) bool { return l == tracer.BudgetPods })
				}
				for _, level := range levels {
					p.steppedTo(t, level)
					before := len(p.verdicts(t))
					l.show(t)
					if l.scenario.Code == tracer.CodeOK {
						continue
					}
					eventually(t, "a verdict at "+string(level), func() bool { return len(p.verdicts(t)) > before })
				}
				interrupt(t, p)
				p.code(t)
				blamed := 0
				for _, v := range p.verdicts(t) {
					switch {
					case v.Code == l.scenario.Code:
						blamed++
					case v.Code != tracer.CodeUnknown:
						t.Errorf("%s: %s", v.Code, v.Summary)
					}
				}
				if l.scenario.Code != tracer.CodeOK && blamed < len(levels) {
					t.Errorf("%d of %d verdicts are %s", blamed, len(p.verdicts(t)), l.scenario.Code)
				}
				sameSteps(t, p, file, levels)
			})
		}
	}
}

// sameSteps: the summary lists the steps, and a replay says what was said.
func sameSteps(t *testing.T, p *program, file string, levels []tracer.BudgetLevel) {
	t.Helper()
	sum := objectsIn[render.Summary](t, p.out.String(), "Summary")[0]
	var got []tracer.BudgetLevel
	for _, s := range sum.Budget.Steps {
		if got = append(got, s.Level); s.Why == "" || s.Time.IsZero() {
			t.Errorf("step %+v", s)
		}
	}
	if !slices.Equal(got, levels) {
		t.Errorf("steps %q, want %q", got, levels)
	}
	if !slices.ContainsFunc(sum.Blind, func(b tracer.Blind) bool { return strings.HasPrefix(b.What, "budget: ") }) {
		t.Errorf("the summary does not say what is hidden: %+v", sum.Blind)
	}
	r := launch(t, "replay", file, "-o", "json")
	r.code(t)
	if a, b := fingerprint(p.verdicts(t)), fingerprint(r.verdicts(t)); a != b {
		t.Errorf("replay differs:\nlive\n%s\nreplay\n%s", a, b)
	}
	again := objectsIn[render.Summary](t, r.out.String(), "Summary")[0]
	if len(again.Budget.Steps) != len(sum.Budget.Steps) || again.Budget.Held != sum.Budget.Held || again.Budget.MaxCPU != sum.Budget.MaxCPU {
		t.Errorf("budget %+v, in the replay %+v", sum.Budget, again.Budget)
	}
	for _, said := range budgetLines(p) {
		if !strings.Contains(r.err.String(), said) {
			t.Errorf("the replay does not say %q", said)
		}
	}
}

func budgetLines(p *program) (lines []string) {
	for line := range strings.Lines(p.err.String()) {
		if strings.HasPrefix(line, "budget: ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestBudgetUnderFlood: many more packets than the budget allows, which the node
// turns away besides. What is handed over stays within it, and what podpath says of
// its own cost is what the kernel says of it.
func TestBudgetUnderFlood(t *testing.T) {
	t.Parallel()
	const limit = 300
	l := damagedLab(t, "policy-ingress", nil)
	v := viewLab(t, l.Lab)
	api := serveAPI(t, clusterDump(t, l.Lab))
	client := v.at(netip.MustParseAddr(podOf(t, api, l.scenario.From).Status.PodIP))
	file := filepath.Join(t.TempDir(), "session")
	p := launch(t, append(l.args, "-o", "json", "--first-packets", "1000000", "--max-events", fmt.Sprint(limit), "--max-cpu", "100", "--write", file)...)
	p.ready(t)
	service, _, err := net.SplitHostPort(serviceAddr(t, api, l.scenario.To))
	if err != nil {
		t.Fatal(err)
	}
	stop := client.flood(net.JoinHostPort(service, "9999")) // not a port of it
	defer stop()
	p.steppedTo(t, tracer.BudgetCounting)
	stop()
	used := cpuSeconds(t, p.cmd.Process.Pid)
	interrupt(t, p)
	p.code(t)
	sum := objectsIn[render.Summary](t, p.out.String(), "Summary")[0]
	recorded := recordedEvents(t, file)
	took, err := time.ParseDuration(sum.Duration)
	if err != nil {
		t.Fatal(err)
	}
	// Each second of the kernel's begins with an event, and may be cut at both ends.
	most := uint64(took.Seconds()+2) * (limit + 10)
	if sum.Events > most || recorded+sum.Lost != sum.Events {
		t.Errorf("%d events in %s, %d allowed; %d recorded, %d lost", sum.Events, took, most, recorded, sum.Lost)
	}
	if sum.Budget.Held < 10*limit || sum.Cost.EventsPerSecond <= 0 || sum.Cost.EventsPerSecond > float64(most)/took.Seconds() {
		t.Errorf("held back %d, %f events a second", sum.Budget.Held, sum.Cost.EventsPerSecond)
	}
	if c := sum.Cost; c.CPUSeconds < used || c.CPUSeconds > used+5 || c.CPUPercent <= 0 || c.Runs["rx"] == 0 {
		t.Errorf("cost %+v, by /proc %.2f s", c, used)
	}
}

// flood sends datagrams to one address, some thousands a second, until stopped:
// from so many ports that a few packets of each are still too many.
func (p *place) flood(to string) (stop func()) {
	p.t.Helper()
	var conns []net.Conn
	for range 256 {
		c, err := p.dial("udp", to, time.Second)
		p.must(err)
		conns = append(conns, c)
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for next := 0; ; {
			for range 20 {
				_, _ = conns[next].Write([]byte("flood")) // refused or not, the next one follows
				next = (next + 1) % len(conns)
			}
			select {
			case <-end:
				return
			case <-pace.C:
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(end)
		<-ended
		for _, c := range conns {
			_ = c.Close()
		}
	})
}

// cpuSeconds is what a process has used, by /proc/PID/stat (proc_pid_stat(5),
// fields 14 and 15, in hundredths of a second).
func cpuSeconds(t *testing.T, pid int) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var user, system float64
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		t.Fatal(err)
	}
	return (user + system) / 100
}
