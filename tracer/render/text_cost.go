package render

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ownCost says what podpath itself took up, and what it did to take up no more.
func (p *textPrinter) ownCost(s *Summary) {
	if s.Cost != nil {
		p.wrap("", "  ", costText(s.Cost))
	}
	if b := s.Budget; b != nil && (len(b.Steps) > 0 || b.Held > 0) {
		p.wrap("", "  ", budgetText(b))
	}
}

func costText(c *Cost) string {
	text := fmt.Sprintf("podpath itself: %.2f s of CPU, %.1f %% of one CPU while it traced; %d MiB; %.0f events/s handed over",
		c.CPUSeconds, c.CPUPercent, c.MaxRSSKiB>>10, c.EventsPerSecond)
	var runs, measured, ns uint64
	var by []string
	for _, hook := range slices.Sorted(maps.Keys(c.Runs)) {
		runs += c.Runs[hook]
		by = append(by, fmt.Sprintf("%s %d", hook, c.Runs[hook]))
	}
	if runs == 0 {
		return text
	}
	text += fmt.Sprintf("; its programs ran %d times%s", runs, among(by))
	for name, n := range c.MeasuredRuns {
		measured += n
		ns += c.Programs[name]
	}
	if measured == 0 {
		return text + ", the time of which the kernel does not measure (kernel.bpf_stats_enabled is 0)"
	}
	return text + fmt.Sprintf(", of which %d measured: %s, %d ns each", measured, time.Duration(ns).Round(time.Microsecond), ns/measured)
}

func budgetText(b *Budget) string {
	text := fmt.Sprintf("budget of %d events/s and %g CPUs: %d packets were counted but not shown", b.MaxEvents, b.MaxCPU, b.Held)
	var steps []string
	for _, s := range b.Steps {
		steps = append(steps, s.Time.Format(time.TimeOnly)+" "+string(s.Level))
	}
	if len(steps) > 0 {
		text += "; " + strings.Join(steps, ", ")
	}
	return text
}
