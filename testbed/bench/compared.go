package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// overview is one number for each tool and load.
func (r *report) overview(w *strings.Builder) {
	fmt.Fprintf(w, "\n### Rate while traced\n\n")
	fmt.Fprintf(w, "Ratio to the untraced rate, median of %d pairs; 1.00 is no cost. At a fixed rate: ratio of the sender's CPU time for each packet. Details are at the end.\n\n", r.opts.rounds)
	loads, tracers := r.columns()
	fmt.Fprint(w, "| meanwhile |")
	for _, l := range loads {
		fmt.Fprintf(w, " %s |", l.short)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(loads)))
	for _, tr := range tracers {
		fmt.Fprintf(w, "| %s |", tr.name)
		for _, l := range loads {
			fmt.Fprintf(w, " %s |", r.cell(tr, l))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	for _, l := range loads {
		fmt.Fprintf(w, "- %s: %s\n", l.short, l.name)
	}
}

// columns are the loads and the tracers of the rows, each once.
func (r *report) columns() (loads []*load, tracers []*tracer) {
	for _, row := range r.rows {
		if !slices.Contains(loads, row.load) {
			loads = append(loads, row.load)
		}
		if !slices.Contains(tracers, row.tracer) {
			tracers = append(tracers, row.tracer)
		}
	}
	return loads, tracers
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
	return number("%.2f", row.worth(r.inline()))
}

func number(format string, x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return fmt.Sprintf(format, x)
}

// level is how near two ratios may lie without one being ahead.
const level = 0.02

// against sets podpath beside each other tool that does the same job.
func (r *report) against(w *strings.Builder) {
	noise, _ := r.noise()
	within := max(level, noise)
	fmt.Fprintf(w, "\n### Beside other tools\n\n")
	fmt.Fprintf(w, "The same ratios, by what one wants to know. \"Level\" is within %.2f. Missing: of what the tool should have told of in all of its runs, under all loads.\n\n", within)
	fmt.Fprintln(w, "| traffic | other tool | ratio | missing | podpath | ratio | every packet an event | missing | podpath is |")
	fmt.Fprintln(w, "|---|---|---:|---:|---|---:|---:|---:|---|")
	for _, row := range r.rows {
		if row.tracer.peer == nil || len(row.traced) == 0 {
			continue
		}
		ours := r.ours(row, false)
		if ours == nil {
			continue
		}
		theirs, mine := row.worth(r.inline()), ours.worth(r.inline())
		events := ""
		lossOf := ours
		if all := r.ours(row, true); all != nil {
			events, lossOf = number("%.2f", all.worth(r.inline())), all
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", row.load.short, row.tracer.name, number("%.2f", theirs), loss(row),
			ours.tracer.name, number("%.2f", mine), events, loss(lossOf), standing(mine, theirs, within))
	}
}

func standing(mine, theirs, within float64) string {
	switch {
	case mine > theirs+within:
		return "ahead"
	case mine >= theirs-within:
		return "level"
	case math.IsNaN(mine - theirs):
		return "–"
	}
	return "**behind**"
}

// ours is podpath at the same job under the same load.
func (r *report) ours(peer *row, everyPacket bool) *row {
	for _, row := range r.rows {
		tr := row.tracer
		if tr.kind != nobody && tr.peer == nil && tr.job == peer.tracer.job && row.load == peer.load && !tr.wide && tr.everyPacket == everyPacket && len(row.traced) > 0 {
			return row
		}
	}
	return nil
}

func loss(row *row) string {
	missing, _ := row.totals.missing(row.tracer)
	if row.tracer.peer != nil && row.totals.due == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f %%", missing)
}

// accounts says what each tool made of the packets, against the truth.
func (r *report) accounts(w *strings.Builder) {
	fmt.Fprintf(w, "\n### Seen and lost\n\nTruth is what the devices' and the rules' counters say; a run of podpath that differs from it by one packet fails.\n\n")
	fmt.Fprintln(w, "| tool | runs | start to ready, s | largest RSS, MiB | in truth | told | missing | said to be lost |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---|---|---:|---:|")
	_, tracers := r.columns()
	for _, tr := range tracers {
		t := r.totals(tr)
		switch {
		case tr.absent != "":
			fmt.Fprintf(w, "| %s | 0 | did not run here: %s |\n", tr.name, strings.ReplaceAll(tr.absent, "|", "\\|"))
		case t.runs > 0:
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
		return "all passed over"
	case tr.kind == podpathTrace:
		return fmt.Sprintf("all counted, %d as events", s.events-s.lost)
	case tr.kind == podpathDrops:
		return "all counted"
	}
	return ""
}

// details are all numbers of all rows, a table for each load.
func (r *report) details(w *strings.Builder) {
	fmt.Fprintf(w, "\n### Rates in full\n\n")
	fmt.Fprintln(w, "One sender on one CPU. Ratio by CPU, and the nanoseconds added to each packet, round trip, connection or MB, are")
	fmt.Fprintln(w, "from the sender's CPU time, which leaves out what other processes took of that CPU: medians of the same pairs.")
	fmt.Fprintln(w, "CPU % is the tool's own, of one CPU, while packets are sent; what its programs do is in the ratio.")
	loads, _ := r.columns()
	for _, l := range loads {
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
