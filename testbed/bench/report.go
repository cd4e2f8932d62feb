package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// report is what one run found.
type report struct {
	opts    options
	machine machine
	begun   time.Time
	took    time.Duration
	loadEnd string
	version string

	// tracers that were compared, and what they gave under which load.
	tracers []*tracer
	rows    []*row
	limits  []*limit
	costs   []cost
	attach  []*attaching
	facts   []*factRow
	cluster *clusterReport
}

func (r *report) finish() *report {
	r.took, r.loadEnd = time.Since(r.begun), loadAverage()
	return r
}

// markdown is the whole report.
func (r *report) markdown() string {
	var w strings.Builder
	r.head(&w)
	if len(r.rows) > 0 {
		r.overview(&w)
		r.accounts(&w)
		r.details(&w)
	}
	if len(r.limits) > 0 {
		r.events(&w)
	}
	if len(r.costs) > 0 {
		r.programs(&w)
	}
	if len(r.attach) > 0 {
		r.attached(&w)
	}
	if r.cluster != nil {
		r.cluster.markdown(&w)
	}
	if len(r.facts) > 0 {
		r.factsTable(&w)
	}
	r.judged(&w)
	return w.String()
}

func (r *report) head(w *strings.Builder) {
	fmt.Fprintf(w, "- measured: %s\n- machine: %s\n- kernel: %s\n- date: %s\n", r.version, r.machine.cpu, r.machine.kernel, r.begun.UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(w, "- command: `%s` (took %s)\n", r.opts.command(), r.took.Round(time.Second))
	fmt.Fprintf(w, "- load average of the minute before: %s, of the last minute: %s\n", r.machine.load, r.loadEnd)
	if noise, ok := r.noise(); ok {
		fmt.Fprintf(w, "- error of the method (nothing against nothing): half of the ratios lie within ±%.2f of 1\n", noise)
		if noise > quietNoise {
			fmt.Fprintln(w, "- **a noisy run**: other work took part of the CPUs. The ratio by CPU and the best windows of programs stand; other ratios are no finer than the error, and times and rates are too slow")
		}
	}
}

// quietNoise is the error beyond which a run says that it was disturbed.
const quietNoise = 0.03

// noise is how far from 1 half of the ratios of nothing against nothing lie.
func (r *report) noise() (float64, bool) { return r.noiseOf((*row).ratios) }

func (r *report) noiseOf(ratios func(*row) []float64) (float64, bool) {
	var off []float64
	for _, row := range r.rows {
		if row.tracer.kind != nobody {
			continue
		}
		for _, x := range ratios(row) {
			off = append(off, math.Abs(x-1))
		}
	}
	return median(off), len(off) > 0
}

// inline: packets are processed on their sender's account. Where interrupts are
// accounted apart, most of the time that a sender has a CPU is on nobody's.
func (r *report) inline() bool {
	var share []float64
	for _, row := range r.rows {
		for _, m := range row.untraced {
			share = append(share, m.cpuShare())
		}
	}
	return median(share) > 0.8
}

func (r *report) events(w *strings.Builder) {
	fmt.Fprintf(w, "\n### Events per second\n\nEvery packet is an event at %d hooks (`--first-packets %[2]s --max-events %[2]s --max-cpu 100`), for %s at each rate, raised until some are lost or one CPU cannot send faster; the best of up to %d tries.\n\n", hooksPodToPod, allPackets, limitWindow, limitTries)
	fmt.Fprintln(w, "| flows | events/s offered | events | lost | lost in worse tries | podpath's CPU % | interrupt to end, s |")
	fmt.Fprintln(w, "|---:|---:|---:|---:|---:|---:|---:|")
	for _, l := range r.limits {
		for _, s := range l.steps {
			fmt.Fprintf(w, "| %d | %.0f | %d | %d | %d | %.0f | %.2f |\n", l.flows, s.offered, s.events, s.lost, s.lostWorse, 100*s.cpu, s.ending)
		}
	}
}

// base is what the kernel's statistics add to a run, by the hook of a program.
func (r *report) base(program string) (float64, bool) {
	want := "idle_tcx"
	if program == "kfree_skb" {
		want = "idle_kfree_skb"
	}
	for _, c := range r.costs {
		if c.program == want {
			return c.best, true
		}
	}
	return 0, false
}

func (r *report) programs(w *strings.Builder) {
	fmt.Fprintf(w, "\n### One run of a program\n\nFrom the kernel's statistics, the best and the median of %d short windows; and the best less that of a program that does nothing, which is the price of measuring.\n\n", costWindows-1)
	fmt.Fprintln(w, "| packet | program | runs | best, ns | median, ns | best less measuring, ns |")
	fmt.Fprintln(w, "|---|---|---:|---:|---:|---:|")
	for _, c := range r.costs {
		net := ""
		if n, ok := r.net(c); ok {
			net = fmt.Sprintf("%.0f", n)
		}
		fmt.Fprintf(w, "| %s | %s | %d | %.0f | %.0f | %s |\n", c.what, c.program, c.runs, c.best, c.median, net)
	}
}

func (r *report) net(c cost) (float64, bool) {
	base, ok := r.base(c.program)
	return c.best - base, ok && c.what != idle
}

func (r *report) attached(w *strings.Builder) {
	fmt.Fprintf(w, "\n### Starting and ending on a node with %d pods\n\n", r.attach[0].pods)
	fmt.Fprintln(w, "| command | start to ready, s | interrupt to end, s | memory until ready, at most, MiB | when ready, MiB |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|")
	for _, a := range r.attach {
		fmt.Fprintf(w, "| %s | %.2f | %.2f | %.0f | %.0f |\n", a.what, median(a.ready), median(a.ended), slices.Max(a.peak), median(a.rest))
	}
	fmt.Fprintln(w, "\nMedian of the tries, the most memory of any; resident, with the rings and maps that are in use. A BPF program that is left afterwards fails the run.")
}

const (
	beginMark = "<!-- results -->\n"
	endMark   = "<!-- end of results -->\n"
)

// replaceResults puts the report between the marks of a document.
func replaceResults(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	before, rest, ok := bytes.Cut(old, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return fmt.Errorf("replace the results in %s: the marks %q and %q are not there", path, beginMark, endMark)
	}
	var w bytes.Buffer
	w.Write(before)
	w.WriteString(beginMark + "\n" + text + "\n" + endMark)
	w.Write(after)
	if err := os.WriteFile(path, w.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
