package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// overview is one number for each tool and load, by what the tool is for.
func (r *report) overview(w *strings.Builder) {
	fmt.Fprintf(w, "\n### Rate while traced\n\n")
	fmt.Fprintf(w, "Ratio %s, median of %d pairs; 1.00 is no cost. At a fixed rate it is always by CPU time. ", r.basis(), r.opts.rounds)
	fmt.Fprintln(w, "**Bold**: ahead of podpath at the same job. Missing: of what the tool should have told of, in all of its runs and under all loads. Everything behind these numbers is in the tables further down.")
	loads := r.loads()
	fmt.Fprintln(w)
	for _, l := range loads {
		fmt.Fprintf(w, "- *%s*: %s\n", l.short, l.name)
	}
	for _, job := range []job{passOver, follow, drops} {
		r.ofJob(w, job, loads)
	}
	r.standings(w)
}

// byCPU: other work makes rates worthless, but not the sender's own CPU time.
func (r *report) byCPU() basis {
	noise, _ := r.noise()
	return basis{inline: r.inline(), noisy: noise > quietNoise}
}

func (r *report) basis() string {
	if b := r.byCPU(); b.inline && b.noisy {
		return "of the sender's CPU time for each packet (the run was noisy, and rates are in doubt)"
	}
	return "to the untraced rate"
}

// ofJob is the table of the tools that do one job, and of nothing.
func (r *report) ofJob(w *strings.Builder, job job, loads []*load) {
	tracers := r.doing(job)
	if len(tracers) == 0 {
		return
	}
	fmt.Fprintf(w, "\n#### Tool that %s\n\n| meanwhile |", job)
	for _, l := range loads {
		fmt.Fprintf(w, " %s |", l.short)
	}
	fmt.Fprintf(w, " missing |\n|---|%s---:|\n", strings.Repeat("---:|", len(loads)))
	for _, tr := range append(r.doing(nothing), tracers...) {
		fmt.Fprintf(w, "| %s |", tr.name)
		for _, l := range loads {
			fmt.Fprintf(w, " %s |", r.cell(tr, l))
		}
		fmt.Fprintf(w, " %s |\n", r.missing(tr))
	}
}

// loads are those that were measured, each once.
func (r *report) loads() []*load {
	var out []*load
	for _, row := range r.rows {
		if !slices.Contains(out, row.load) {
			out = append(out, row.load)
		}
	}
	return out
}

func (r *report) doing(job job) []*tracer {
	var out []*tracer
	for _, tr := range r.tracers {
		if tr.job == job {
			out = append(out, tr)
		}
	}
	return out
}

func (r *report) row(tr *tracer, l *load) *row {
	for _, row := range r.rows {
		if row.tracer == tr && row.load == l && len(row.traced) > 0 {
			return row
		}
	}
	return nil
}

func (r *report) cell(tr *tracer, l *load) string {
	row := r.row(tr, l)
	if row == nil {
		return ""
	}
	text := number("%.2f", row.worth(r.byCPU()))
	if r.standing(row) == behind {
		return "**" + text + "**"
	}
	return text
}

func (r *report) missing(tr *tracer) string {
	t := r.totals(tr)
	switch {
	case t.runs == 0 && t.failures > 0:
		return "did not run here"
	case tr.kind == nobody, tr.peer != nil && t.due == 0:
		return ""
	}
	missing, _ := t.missing(tr)
	return fmt.Sprintf("%.1f %%", missing)
}

func number(format string, x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return fmt.Sprintf(format, x)
}

// level is how near two ratios may lie without one being ahead.
const level = 0.02

// standing is how podpath fares beside another tool.
type standing int

const (
	alone standing = iota
	ahead
	even
	behind
)

// within is how near two ratios are the same.
func (r *report) within() float64 {
	noise, _ := r.noise()
	if b := r.byCPU(); b.inline && b.noisy {
		noise, _ = r.noiseOf((*row).cpuRatios)
	}
	return max(level, noise)
}

// standing sets podpath beside a row of another tool.
func (r *report) standing(peer *row) standing {
	if peer.tracer.peer == nil {
		return alone
	}
	ours := r.ours(peer)
	if ours == nil {
		return alone
	}
	mine, theirs := ours.worth(r.byCPU()), peer.worth(r.byCPU())
	switch {
	case math.IsNaN(mine - theirs):
		return alone
	case mine > theirs+r.within():
		return ahead
	case mine >= theirs-r.within():
		return even
	}
	return behind
}

// ours is podpath at the same job under the same load, as it is by default.
func (r *report) ours(peer *row) *row {
	for _, row := range r.rows {
		tr := row.tracer
		if tr.kind != nobody && tr.peer == nil && tr.job == peer.tracer.job && row.load == peer.load && !tr.wide && !tr.everyPacket && len(row.traced) > 0 {
			return row
		}
	}
	return nil
}

// standings counts where podpath is ahead, and names where it is not.
func (r *report) standings(w *strings.Builder) {
	count := map[standing]int{}
	var lines []string
	for _, row := range r.rows {
		if len(row.traced) == 0 {
			continue
		}
		how := r.standing(row)
		count[how]++
		if how == behind {
			ours := r.ours(row)
			lines = append(lines, fmt.Sprintf("- %s: %s is at %.2f, %s at %.2f", row.load.short, ours.tracer.name, ours.worth(r.byCPU()), row.tracer.name, row.worth(r.byCPU())))
		}
	}
	all := count[ahead] + count[even] + count[behind]
	if all == 0 {
		return
	}
	fmt.Fprintf(w, "\nBeside another tool at the same job, podpath as it is by default is ahead in %d of %d rows, level (within %.2f) in %d, and behind in %d:\n\n", count[ahead], all, r.within(), count[even], count[behind])
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
}

// accounts says what each tool made of the packets, against the truth.
func (r *report) accounts(w *strings.Builder) {
	fmt.Fprintf(w, "\n### Seen and lost\n\nTruth is what the devices' and the rules' counters say; a run of podpath that differs from it by one packet fails.\n\n")
	fmt.Fprintln(w, "| tool | runs | start to ready, s | largest RSS, MiB | in truth | told | missing | said to be lost |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---|---|---:|---:|")
	for _, tr := range r.tracers {
		t := r.totals(tr)
		if t.failures > 0 {
			fmt.Fprintf(w, "| %s | %d failed | %s |\n", tr.name, t.failures, strings.ReplaceAll(t.failure, "|", "\\|"))
		}
		if t.runs > 0 {
			missing, said := t.missing(tr)
			fmt.Fprintf(w, "| %s | %d | %.2f | %.0f | %s | %s | %.1f %% | %.1f %% |\n", tr.name, t.runs, median(t.attach), t.peakMiB, t.inTruth(tr), t.told(tr), missing, said)
		}
	}
}

func (r *report) totals(tr *tracer) *totals {
	for _, row := range r.rows {
		if row.tracer == tr {
			return row.totals
		}
	}
	return &totals{}
}

func (s *totals) inTruth(tr *tracer) string {
	switch {
	case tr.peer != nil && s.due > 0:
		return fmt.Sprintf("%d %s", s.due, tr.peer.what)
	case tr.kind == podpathTrace && tr.selected:
		return fmt.Sprintf("%d packets at hooks, %d drops", s.due, s.drops)
	case tr.kind == podpathTrace:
		return fmt.Sprintf("%d packets at hooks", s.due)
	case tr.kind == podpathDrops:
		return fmt.Sprintf("%d drops", s.drops)
	}
	return "nothing"
}

func (s *totals) told(tr *tracer) string {
	switch {
	case tr.peer != nil && s.due > 0:
		return fmt.Sprint(s.captured)
	case tr.kind == podpathTrace && !tr.selected:
		return "all passed over" + s.less()
	case tr.kind == podpathTrace:
		return fmt.Sprintf("all counted, %d as events%s", s.events-s.lost, s.less())
	case tr.kind == podpathDrops:
		return "all counted" + s.less()
	}
	return ""
}

// less says how often the budget made podpath do less than it could.
func (s *totals) less() string {
	text := ""
	if s.held > 0 {
		text += fmt.Sprintf(", %d not, for its budget", s.held)
	}
	if s.stepped > 0 {
		text += fmt.Sprintf("; stepped back in %d runs", s.stepped)
	}
	if s.unwatched > 0 {
		text += fmt.Sprintf(", and left %d packets unwatched", s.unwatched)
	}
	return text
}

// details are all numbers of all rows, a table for each load.
func (r *report) details(w *strings.Builder) {
	fmt.Fprintf(w, "\n### Rates in full\n\n")
	fmt.Fprintln(w, "One sender on one CPU. Ratio by CPU, and the nanoseconds added to each packet, round trip, connection or MB, are")
	fmt.Fprintln(w, "from the sender's CPU time, which leaves out what other processes took of that CPU: medians of the same pairs.")
	fmt.Fprintln(w, "CPU % is the tool's own, of one CPU, while packets are sent; what its programs do is in the ratio.")
	for _, l := range r.loads() {
		r.detail(w, l)
	}
}

func (r *report) detail(w *strings.Builder, l *load) {
	fmt.Fprintf(w, "\n#### %s\n\n", l.name)
	fmt.Fprintf(w, "| meanwhile | untraced, %s | traced | ratio, median | quartiles | best/best | ratio by CPU | added, ns | CPU %% | RSS MiB |\n", l.unit)
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	inline := r.inline()
	for _, row := range r.rows {
		if row.load != l || len(row.traced) == 0 {
			continue
		}
		x := row.ratios()
		cpu, rss := "", ""
		if row.wall > 0 {
			cpu = fmt.Sprintf("%.0f", 100*row.cpu.Seconds()/row.wall.Seconds())
			rss = fmt.Sprintf("%.0f", row.rssMiB)
		}
		byCPU, added := "", ""
		if inline {
			byCPU, added = fmt.Sprintf("%.2f", median(row.cpuRatios())), fmt.Sprintf("%+.0f", median(row.addedNS())*l.each())
		}
		fmt.Fprintf(w, "| %s | %s | %s | **%.2f** | %.2f–%.2f | %.2f | %s | %s | %s | %s |\n", row.tracer.name,
			rounded(median(row.rates(row.untraced))), rounded(median(row.rates(row.traced))), median(x), quantile(x, .25), quantile(x, .75), row.bestRatio(), byCPU, added, cpu, rss)
	}
}

func rounded(x float64) string {
	if x < 100 {
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.0f", x)
}
