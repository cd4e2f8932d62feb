package main

import (
	"fmt"
	"strings"
)

// factsTable is the part on the facts of a verdict.
func (r *report) factsTable(w *strings.Builder) {
	fmt.Fprintf(w, "\n### The facts of a verdict\n\n")
	fmt.Fprintf(w, "%d rules: %d Services with %d endpoints each, and a firewall. Asked: which of the firewall's rules drops a packet, what the last Service is translated to, and what would masquerade it. ",
		benchRules, benchServices, benchEndpoints)
	fmt.Fprintf(w, "Every answer is checked. Each set of rules is read in a process and a network namespace of its own. \"Again\" is the fastest of %d verdicts whose rules did not change; \"trace begins\" reads every counter. Memory is resident.\n\n", factTries-1)
	fmt.Fprintln(w, "| rules | first verdict, ms | of it on the CPU, ms | again, ms | trace begins, ms | facts of the node, ms | memory before, MiB | at most, MiB |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|---:|---:|")
	for _, f := range r.facts {
		fmt.Fprintf(w, "| %s | %.1f | %.1f | %.1f | %.1f | %.1f | %.0f | %.0f |\n", f.what, 1000*f.First, 1000*f.FirstCPU, 1000*f.Again, 1000*f.Baseline, 1000*f.NodeFacts, f.Rest, f.Peak)
	}
}

func (r *report) factTargets() []target {
	const seconds, memory = 2.0, 150.0
	var out []target
	for _, f := range r.facts {
		if f.loading == 0 {
			continue
		}
		where := fmt.Sprintf("%d rules, %s", benchRules, f.what)
		out = append(out,
			target{where + ", read and evaluated", fmt.Sprintf("≤ %.0f s", seconds), fmt.Sprintf("%.2f s", f.First), r.unlessNoisy(f.First <= seconds)},
			target{where + ", most memory", fmt.Sprintf("≤ %.0f MiB", memory), fmt.Sprintf("%.0f MiB", f.Peak), yesNo(f.Peak <= memory)})
	}
	return out
}
