package probe

import (
	"errors"
	"fmt"
	"slices"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
)

const (
	// plainOf is the share of the events that plain ones may take: the rest is
	// kept for drops and what else is urgent.
	plainOf = 0.75
	// levelFlowEvents is enough for a flow's opening, answer and first data.
	levelFlowEvents = 4
	// fewOf is what is left of the events at the last level.
	fewOf = 0.1
	// defaultEvents is what fewOf is of if the events are not limited.
	defaultEvents = 20000
)

// BudgetLevels lists the levels that this probe has, from the first to the last:
// without programs on devices there is nothing to detach but those. As long as the
// first devices may still bring tracepoints, that counts as without.
func (p *Probe) BudgetLevels() []tracer.BudgetLevel {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.config.DropsOnly:
		return []tracer.BudgetLevel{tracer.BudgetFull, tracer.BudgetFewDrops}
	case p.tier == TierTracepoint || p.config.Tier == TierAuto && !p.settled:
		return slices.DeleteFunc(tracer.BudgetLevels(), func(l tracer.BudgetLevel) bool { return l == tracer.BudgetPods })
	}
	return tracer.BudgetLevels()
}

// SetBudgetLevel steps back, or forward again: what the programs hand over, and
// which devices are watched. Blind tells what that hides. Devices that are
// watched again miss what passed meanwhile.
func (p *Probe) SetBudgetLevel(level tracer.BudgetLevel) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	was := p.level
	p.level = level
	err := p.setBudgetLocked(levelBudget(level, p.config.MaxEvents))
	if level.DevicesOff() || was.DevicesOff() {
		err = errors.Join(err, p.rewatch())
	}
	return err
}

// levelBudget is what a level lets through of so many events a second.
func levelBudget(level tracer.BudgetLevel, most uint32) Budget {
	at := slices.Index(tracer.BudgetLevels(), level)
	reached := func(l tracer.BudgetLevel) bool { return at >= slices.Index(tracer.BudgetLevels(), l) }
	b := Budget{Events: most}
	if reached(tracer.BudgetFewDrops) {
		b.Events = max(1, uint32(fewOf*float64(orDefault(most, uint32(defaultEvents)))))
	}
	b.PlainEvents = min(b.Events, uint32(plainOf*float64(b.Events))+1)
	if reached(tracer.BudgetFlows) {
		b.FlowEvents = levelFlowEvents
	}
	b.Counting = reached(tracer.BudgetCounting)
	return b
}

// rewatch attaches and detaches what the level asks for.
func (p *Probe) rewatch() error {
	if p.tier == TierTCX {
		return p.watchDevices(p.inventory)
	}
	coll := p.coll
	if p.taps != nil {
		coll = p.taps
	}
	if !p.level.DevicesOff() {
		return p.attachTracing(coll)
	}
	var errs []error
	for _, name := range []string{bpf.TraceProgNetifReceiveSkb, bpf.TraceProgNetDevQueue} {
		l, ok := p.links[name]
		if !ok {
			continue
		}
		if err := l.Close(); err != nil {
			errs = append(errs, fmt.Errorf("detach tracepoint program %s: %w", name, err))
		}
		delete(p.links, name)
	}
	return errors.Join(errs...)
}

// watches reports whether the level leaves a device watched.
func (p *Probe) watches(d *tracer.Device) bool {
	switch {
	case p.level == tracer.BudgetPods:
		return d.Role == tracer.RolePod || d.Role == tracer.RolePodHost
	case p.level.DevicesOff():
		return false
	}
	return true
}

// levelBlind says what the level hides.
func (p *Probe) levelBlind() []tracer.Blind {
	flows := tracer.Blind{
		What:   fmt.Sprintf("budget: of each flow and device %d plain packets a second are shown", levelFlowEvents),
		Effect: "later ones are only counted; drops, resets, ICMP errors and retransmissions are shown",
	}
	counting := tracer.Blind{
		What:   "budget: plain packets are only counted",
		Effect: "a flow shows by its drops, resets, ICMP errors and retransmissions; that something else was not seen proves nothing",
	}
	pods := tracer.Blind{
		What:   "budget: only the pods' own devices are watched, no uplink, bridge or tunnel",
		Effect: "that a packet was not seen there proves nothing",
	}
	drops := tracer.Blind{
		What:   "budget: no device is watched",
		Effect: "only drops are seen: whether a packet got through, or was answered, is not known",
	}
	few := tracer.Blind{
		What:   fmt.Sprintf("budget: %d drops a second are shown", levelBudget(tracer.BudgetFewDrops, p.config.MaxEvents).Events),
		Effect: "the others are only counted",
	}
	switch p.level {
	case tracer.BudgetFlows:
		return []tracer.Blind{flows}
	case tracer.BudgetCounting:
		return []tracer.Blind{counting}
	case tracer.BudgetPods:
		return []tracer.Blind{counting, pods}
	case tracer.BudgetDrops:
		return []tracer.Blind{drops}
	case tracer.BudgetFewDrops:
		if p.config.DropsOnly {
			return []tracer.Blind{few}
		}
		return []tracer.Blind{drops, few}
	}
	return nil
}
