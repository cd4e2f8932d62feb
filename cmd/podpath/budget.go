package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/render"
)

// What podpath may take up unless told otherwise (docs/limits.md has the
// measurements behind it).
const (
	defaultMaxCPU    cpus      = 0.5
	defaultMaxEvents eventRate = 20000
)

// cpus is a number of CPUs, written as in Kubernetes: 0.5 or 500m.
type cpus float64

func (c *cpus) String() string { return strconv.FormatFloat(float64(*c), 'g', -1, 64) }
func (c *cpus) Type() string   { return "cpus" }

func (c *cpus) Set(s string) error {
	number, milli := strings.CutSuffix(s, "m")
	f, err := strconv.ParseFloat(number, 64)
	if milli {
		f /= 1000
	}
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || f <= 0 {
		return errors.New("write a number of CPUs above 0, such as 0.5 or 500m")
	}
	*c = cpus(f)
	return nil
}

// eventRate is a number of events a second.
type eventRate uint32

func (r *eventRate) String() string { return strconv.FormatUint(uint64(*r), 10) }
func (r *eventRate) Type() string   { return "events" }

func (r *eventRate) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 {
		return errors.New("write a number of events a second above 0")
	}
	*r = eventRate(n)
	return nil
}

// budgetFlags are the options of the verbs that load programs.
type budgetFlags struct {
	cpu    cpus
	events eventRate
}

func defaultBudget() budgetFlags { return budgetFlags{defaultMaxCPU, defaultMaxEvents} }

func (f *budgetFlags) add(c *cobra.Command) {
	*f = defaultBudget()
	fs := c.Flags()
	fs.Var(&f.cpu, "max-cpu", "CPUs that podpath may use, its programs included; beyond, it shows less and says so")
	fs.Var(&f.events, "max-events", "events a second that the kernel may hand over; the rest is counted")
}

func (f *budgetFlags) limits() probe.Limits {
	return probe.Limits{CPU: float64(f.cpu), Events: uint32(f.events)}
}

// budget keeps the probe within its limits, and remembers what that took.
type budget struct {
	limits   probe.Limits
	probe    *probe.Probe
	governor *probe.Governor
	say      func(format string, args ...any)
	// took, if set, takes each step.
	took  func(tracer.BudgetStep)
	steps []tracer.BudgetStep
	begun usage
	last  usage
}

// usage is what was used up to a moment.
type usage struct {
	at         time.Time
	user, sys  time.Duration
	maxRSSKiB  int64
	programs   time.Duration // of the programs, as far as known
	measured   bool          // programs is by the kernel, and no estimate
	seen, lost uint64
	held       uint64
	refused    uint64
}

func newBudget(f budgetFlags, p *probe.Probe, say func(string, ...any)) *budget {
	return &budget{limits: f.limits(), probe: p, say: say}
}

// begin starts to count: what it took to load and attach was no load of the
// trace's.
func (b *budget) begin(st *probe.Stats) {
	b.governor = probe.NewGovernor(b.limits, b.probe.BudgetLevels())
	b.begun = used(b.probe.Now(), st)
	b.last = b.begun
}

// look steps back or forward if the load since the last look asks for it.
func (b *budget) look(st *probe.Stats) {
	if b.governor == nil {
		b.begin(st)
		return
	}
	u := used(b.probe.Now(), st)
	load := u.since(&b.last)
	b.last = u
	was := b.governor.Level()
	level, why := b.governor.Look(load)
	if level == was {
		return
	}
	if err := b.probe.SetBudgetLevel(level); err != nil {
		b.say("warning: budget: step to %s: %v", level, err)
	}
	step := tracer.BudgetStep{Time: u.at.UTC().Round(0), Level: level, Why: why}
	b.steps = append(b.steps, step)
	b.say("%s", announcement(&step))
	if b.took != nil {
		b.took(step)
	}
}

func announcement(s *tracer.BudgetStep) string {
	what := map[tracer.BudgetLevel]string{
		tracer.BudgetFull:     "all events are shown again",
		tracer.BudgetFlows:    "plain packets are limited per flow",
		tracer.BudgetCounting: "plain packets are only counted; drops, resets, ICMP errors and retransmissions are shown",
		tracer.BudgetPods:     "only the pods' own devices are watched",
		tracer.BudgetDrops:    "no device is watched, only drops",
		tracer.BudgetFewDrops: "drops are counted, and few are shown",
	}[s.Level]
	return fmt.Sprintf("budget: %s (%s): %s", what, s.Level, s.Why)
}

// used reads what this process and its programs have used. It cannot fail: the
// call takes no argument that could be wrong.
func used(now time.Time, st *probe.Stats) usage {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	u := usage{at: now, user: duration(r.Utime), sys: duration(r.Stime), maxRSSKiB: r.Maxrss}
	u.programs, u.measured = st.ProgramTime()
	u.seen, u.lost, u.held, u.refused = st.Seen, st.Lost, st.Held, st.Refused
	return u
}

func duration(t unix.Timeval) time.Duration {
	return time.Duration(t.Sec)*time.Second + time.Duration(t.Usec)*time.Microsecond
}

// since is the load between two moments. If the kernel began or ceased to measure
// the programs between them, the two totals have nothing to do with each other, and
// the programs' share is left out.
func (u *usage) since(before *usage) probe.Load {
	var programs time.Duration
	if u.measured == before.measured {
		programs = u.programs - before.programs
	}
	return probe.Load{
		Over:    u.at.Sub(before.at),
		CPU:     u.user + u.sys - before.user - before.sys + programs,
		Events:  u.seen - before.seen,
		Refused: u.refused - before.refused,
		Wanted:  u.seen + u.held - before.seen - before.held,
		Lost:    u.lost - before.lost,
	}
}

// cost is what podpath took up from begin until now.
func (b *budget) cost(st *probe.Stats) *render.Cost {
	u := used(b.probe.Now(), st)
	c := &render.Cost{
		CPUSeconds: (u.user + u.sys).Seconds(), UserSeconds: u.user.Seconds(), SystemSeconds: u.sys.Seconds(),
		MaxRSSKiB: u.maxRSSKiB, Runs: map[string]uint64{},
	}
	if over := u.at.Sub(b.begun.at).Seconds(); b.governor != nil && over > 0 {
		c.CPUPercent = 100 * (u.user + u.sys - b.begun.user - b.begun.sys).Seconds() / over
		c.EventsPerSecond = float64(u.seen-u.lost-b.begun.seen+b.begun.lost) / over
	}
	for kind, counters := range st.Hooks {
		c.Runs[string(kind)] = counters["packets"]
	}
	for i := range st.Programs {
		p := &st.Programs[i]
		if p.Runs == 0 {
			continue
		}
		if c.Programs == nil {
			c.Programs, c.MeasuredRuns = map[string]uint64{}, map[string]uint64{}
		}
		c.Programs[p.Name], c.MeasuredRuns[p.Name] = uint64(p.RunTime), p.Runs
	}
	return c
}

// report is what the summary says of the budget.
func (b *budget) report(st *probe.Stats) *render.Budget {
	return &render.Budget{MaxCPU: b.limits.CPU, MaxEvents: uint64(b.limits.Events), Held: st.Held, Steps: append([]tracer.BudgetStep{}, b.steps...)}
}
