package probe

import (
	"fmt"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Limits are what the tracer may take up; 0 is no limit.
type Limits struct {
	CPU    float64 // CPUs, user and system time: 0.5 is half of one
	Events uint32  // handed over, a second
}

// Load is what the tracer took up since the look before.
type Load struct {
	Over time.Duration // since that look
	CPU  time.Duration // its own, and that of its programs as far as known
	// Events counts what was handed over or lost, Refused what exceeded
	// Budget.Events or Budget.PlainEvents, and Wanted what would have been handed
	// over without a budget.
	Events, Refused, Wanted uint64
	// Lost counts events that the ring buffer had no room for.
	Lost uint64
}

const (
	// cpuWindow is how long the CPU time is averaged: reading a node's rules for
	// one verdict is a burst, not a load.
	cpuWindow = 3 * time.Second
	// refusedWindow is how long events have to exceed the budget; a burst that
	// the programs cut short needs no step.
	refusedWindow = time.Second
	// firstCalm is how long the load has to be low before a step is taken back,
	// and maxCalm what that grows to if it had to be taken again soon.
	firstCalm = 10 * time.Second
	maxCalm   = 5 * time.Minute
	// lowPart of the budget is low: well below it, because what is held back
	// comes on top again.
	lowPart = 0.5
)

// Governor decides how far to step back, from the load alone: it has no clock,
// and does nothing itself. It is not safe for concurrent use.
type Governor struct {
	limits Limits
	levels []tracer.BudgetLevel
	at     int

	window  []Load        // since the last step, cpuWindow at most
	since   time.Duration // at this level
	refused time.Duration // in a row
	low     time.Duration // in a row
	calm    time.Duration // how long low has to last
	relaxed bool          // the last step was back
}

// NewGovernor starts at the first of the levels that the probe has
// (Probe.BudgetLevels).
func NewGovernor(l Limits, levels []tracer.BudgetLevel) *Governor {
	return &Governor{limits: l, levels: slices.Clone(levels), calm: firstCalm}
}

// Level is the present one.
func (g *Governor) Level() tracer.BudgetLevel { return g.levels[g.at] }

// Look takes the load since the look before, and returns the level from now on
// and, if it changed, why.
func (g *Governor) Look(l Load) (level tracer.BudgetLevel, why string) {
	if l.Over <= 0 {
		return g.Level(), ""
	}
	g.observe(l)
	switch why := g.tooMuch(l); {
	case why != "" && g.at < len(g.levels)-1:
		if g.relaxed && g.since < g.calm {
			g.calm = min(2*g.calm, maxCalm) // it was taken back too soon
		}
		g.step(g.at+1, false)
		return g.Level(), why
	case why != "":
		g.low = 0
	case g.at > 0 && g.low >= g.calm:
		why := fmt.Sprintf("the load was below half of the budget for %s", g.low.Round(time.Second))
		g.step(g.at-1, true)
		return g.Level(), why
	}
	return g.Level(), ""
}

func (g *Governor) observe(l Load) {
	g.window = append(g.window, l)
	for span(g.window[1:]) >= cpuWindow {
		g.window = g.window[1:]
	}
	g.since += l.Over
	g.refused = during(l.Refused > 0, g.refused, l.Over)
	g.low = during(g.isLow(l), g.low, l.Over)
	if g.relaxed && g.since >= maxCalm {
		g.calm = firstCalm
	}
}

func during(is bool, so, over time.Duration) time.Duration {
	if !is {
		return 0
	}
	return so + over
}

func (g *Governor) step(to int, back bool) {
	g.at, g.relaxed = to, back
	g.since, g.refused, g.low, g.window = 0, 0, 0, nil
}

// tooMuch says what exceeds the budget, or "". Events cannot exceed it for long,
// as the programs hold them back: it is whose events come through that gets
// better by counting plain packets, and by nothing further.
func (g *Governor) tooMuch(l Load) string {
	const most = "%s; the budget is %s"
	switch {
	case l.Lost > 0:
		return fmt.Sprintf("%d events were lost because they came faster than they were read", l.Lost)
	case g.limits.CPU > 0 && span(g.window) >= cpuWindow && g.cpu() > g.limits.CPU:
		return fmt.Sprintf(most, fmt.Sprintf("podpath used %.2f CPUs for %s", g.cpu(), span(g.window).Round(100*time.Millisecond)), fmt.Sprintf("%.2f", g.limits.CPU))
	case g.refused >= refusedWindow && g.countsHelp():
		return fmt.Sprintf(most, fmt.Sprintf("%.0f events a second were due", rate(l.Wanted, l.Over)), fmt.Sprint(g.limits.Events))
	}
	return ""
}

// countsHelp: a level at which plain packets are counted is still ahead.
func (g *Governor) countsHelp() bool {
	return g.at < slices.Index(g.levels, tracer.BudgetCounting)
}

func (g *Governor) isLow(l Load) bool {
	return l.Lost == 0 && l.Refused == 0 &&
		(g.limits.CPU <= 0 || l.CPU.Seconds() < lowPart*g.limits.CPU*l.Over.Seconds()) &&
		(g.limits.Events == 0 || rate(l.Wanted, l.Over) < lowPart*float64(g.limits.Events))
}

// cpu is the average of the window, in CPUs.
func (g *Governor) cpu() float64 {
	var used time.Duration
	for _, l := range g.window {
		used += l.CPU
	}
	return used.Seconds() / span(g.window).Seconds()
}

func span(list []Load) time.Duration {
	var d time.Duration
	for _, l := range list {
		d += l.Over
	}
	return d
}

func rate(n uint64, over time.Duration) float64 { return float64(n) / over.Seconds() }
