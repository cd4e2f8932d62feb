package main

import (
	"fmt"
	"slices"
	"strings"
)

// target is a design target with what this run measured for it.
type target struct {
	what     string
	want     string
	measured string
	reached  string
}

// judged compares the design's targets with what was measured.
func (r *report) judged(w *strings.Builder) {
	targets := slices.Concat(r.rateTargets(), r.costTargets(), r.eventTargets(), r.attachTargets(), r.clusterTargets(), r.factTargets())
	if len(targets) == 0 {
		return
	}
	fmt.Fprintf(w, "\n### Targets\n\n| target | wanted | measured | reached |\n|---|---:|---:|---|\n")
	for _, t := range targets {
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", t.what, t.want, t.measured, t.reached)
	}
}

func yesNo(reached bool) string {
	if reached {
		return "yes"
	}
	return "no"
}

// unlessNoisy does not call a target missed on a machine that was busy.
func (r *report) unlessNoisy(reached bool) string {
	if noise, ok := r.noise(); !reached && ok && noise > quietNoise {
		return "not in a noisy run"
	}
	return yesNo(reached)
}

// withinError does not call a target missed that a quarter of the pairs reach.
func withinError(x []float64, want float64) string {
	if median(x) < want && quantile(x, .75) >= want {
		return "within the error"
	}
	return yesNo(median(x) >= want)
}

func (r *report) rateTargets() []target {
	least := map[int]float64{onPodToPod: 0.99, onService: 0.97}
	var out []target
	for _, row := range r.rows {
		want, ok := least[row.load.bit]
		if !ok || row.tracer.kind != podpathTrace || row.tracer.selected || row.tracer.wide {
			continue
		}
		x := row.ratios()
		measured := fmt.Sprintf("%.2f (best/best %.2f)", median(x), row.bestRatio())
		if r.inline() { // the same on a quiet machine, and still true on a busy one
			x = row.cpuRatios()
			measured = fmt.Sprintf("%.2f by CPU", median(x))
		}
		out = append(out, target{"rate of pods not selected, " + row.load.name, fmt.Sprintf("≥ %.2f", want), measured, withinError(x, want)})
	}
	return out
}

func (r *report) costTargets() []target {
	var out []target
	for _, c := range r.costs {
		net, ok := r.net(c)
		most := map[string]float64{
			notSelected: 50, notSelectedCT: 50, counted: 130, anEvent: 200, dropNotSelected: 40,
		}[c.what]
		if !ok || most == 0 {
			continue
		}
		out = append(out, target{c.program + ", " + c.what, fmt.Sprintf("≤ %.0f ns", most), fmt.Sprintf("%.0f ns", net), yesNo(net <= most)})
	}
	return out
}

func (r *report) eventTargets() []target {
	const want = 300_000
	var out []target
	for _, l := range r.limits {
		best := l.best()
		measured, reached := fmt.Sprintf("%.0f", best), r.unlessNoisy(best >= want)
		if l.exhausted() {
			measured += ", as fast as the sender got"
			if best < want {
				reached = "not shown"
			}
		}
		out = append(out, target{fmt.Sprintf("events per second without loss, %d flows", l.flows), fmt.Sprintf("≥ %d", want), measured, reached})
	}
	return out
}

func (r *report) attachTargets() []target {
	const want = 0.5
	var out []target
	for _, a := range r.attach {
		got := median(a.ready)
		out = append(out, target{fmt.Sprintf("start to ready with %d pods, %s", a.pods, a.what), fmt.Sprintf("≤ %.1f s", want), fmt.Sprintf("%.2f s", got), r.unlessNoisy(got <= want)})
	}
	return out
}

func (r *report) clusterTargets() []target {
	c := r.cluster
	if c == nil {
		return nil
	}
	const ready, memory, decision = 2.0, 150.0, 1000.0
	where := fmt.Sprintf("%d pods, %d Services, %d policies", c.size.Pods, c.size.Services, c.size.Policies)
	var out []target
	for _, row := range c.rows {
		if row.fromAPI() {
			got := median(row.afterSync())
			out = append(out, target{where + ", cache synced to ready, " + row.what, fmt.Sprintf("≤ %.0f s", ready), fmt.Sprintf("%.2f s", got), r.unlessNoisy(got <= ready)})
		}
		peak := slices.Max(row.peak)
		out = append(out, target{where + ", most memory, " + row.what, fmt.Sprintf("≤ %.0f MiB", memory), fmt.Sprintf("%.0f MiB", peak), yesNo(peak <= memory)})
	}
	got := quantile(c.policies, .99)
	return append(out, target{where + ", policy evaluation of a flow, 99 of 100", "≤ 1 ms", fmt.Sprintf("%.3f ms", got/1000), yesNo(got <= decision)})
}
