package main

import (
	"fmt"
	"slices"
	"strings"
)

// factsTable is the part on the facts of a verdict.
func (r *report) factsTable(w *strings.Builder) {
	fmt.Fprintf(w, "\n### The facts of a verdict\n\n")
	fmt.Fprintf(w, "%d rules: %d Services with %d endpoints each, and a firewall; each set of rules on a node of its own with two pods. Asked: which of the firewall's rules drops a packet, what the last Service is translated to, and what would masquerade it. ",
		benchRules, benchServices, benchEndpoints)
	fmt.Fprintf(w, "Every answer is checked. It is read in a process of its own. \"Again\" is the fastest of %d verdicts whose rules did not change; \"trace begins\" reads every counter. Memory is resident.\n\n", factTries-1)
	fmt.Fprintln(w, "| node | rules, first verdict, ms | of it on the CPU, ms | rules, again, ms | trace begins, ms | other facts of the node, ms | memory before, MiB | at most, MiB |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|---:|---:|")
	for _, f := range r.facts {
		fmt.Fprintf(w, "| %s | %.1f | %.1f | %.1f | %.1f | %.1f | %.0f | %.0f |\n", f.what, 1000*f.First, 1000*f.FirstCPU, 1000*f.Again, 1000*f.Baseline, 1000*f.NodeFacts, f.Rest, f.Peak)
	}
	r.latencyTable(w)
	r.partsTable(w)
}

// latencyTable is how long a person waits.
func (r *report) latencyTable(w *strings.Builder) {
	fmt.Fprintf(w, "\n#### From the last packet to the verdict\n\n`podpath trace` of a pod on these nodes. The pod sends %d datagrams that a rule of the node drops, which is all that the verdict needs; the time is from then until the verdict, which names that rule, is printed. It includes the %s that podpath waits for an answer. %d flows one after the other, each with facts of its own; the first has the most to read.\n\n",
		latencyPackets, "60 ms", latencyTries)
	fmt.Fprintln(w, "| node | first, ms | then, median, ms | then, longest, ms |")
	fmt.Fprintln(w, "|---|---:|---:|---:|")
	for _, f := range r.facts {
		if len(f.latency) > 1 {
			then := f.latency[1:]
			fmt.Fprintf(w, "| %s | %.0f | %.0f | %.0f |\n", f.what, 1000*f.latency[0], 1000*median(then), 1000*slices.Max(then))
		}
	}
}

// partsTable is what the facts consist of.
func (r *report) partsTable(w *strings.Builder) {
	fmt.Fprintf(w, "\n#### By part\n\nMilliseconds, the fastest of %d times; rules that did not change are not read again.\n\n| part |", factTries)
	for _, f := range r.facts {
		fmt.Fprintf(w, " %s |", f.what)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(r.facts)))
	for _, part := range factParts {
		fmt.Fprintf(w, "| %s |", part.what)
		for _, f := range r.facts {
			fmt.Fprintf(w, " %.2f |", 1000*f.Parts[part.what])
		}
		fmt.Fprintln(w)
	}
	if r.cluster != nil {
		fmt.Fprintln(w, "\nThe cluster's policies are evaluated in the time that stands under \"A large cluster\".")
	}
}

func (r *report) factTargets() []target {
	const seconds, memory, answer = 2.0, 150.0, 0.1
	var out []target
	for _, f := range r.facts {
		if len(f.latency) > 1 {
			out = append(out, target{"verdict after the last packet, " + f.what, fmt.Sprintf("≤ %.0f ms", 1000*answer), fmt.Sprintf("%.0f ms, the first %.0f ms", 1000*median(f.latency[1:]), 1000*f.latency[0]),
				r.unlessNoisy(max(f.latency[0], median(f.latency[1:])) <= answer)})
		}
		if !f.rules {
			continue
		}
		where := fmt.Sprintf("%d rules, %s", benchRules, f.what)
		out = append(out,
			target{where + ", read and evaluated", fmt.Sprintf("≤ %.0f s", seconds), fmt.Sprintf("%.2f s", f.First), r.unlessNoisy(f.First <= seconds)},
			target{where + ", most memory", fmt.Sprintf("≤ %.0f MiB", memory), fmt.Sprintf("%.0f MiB", f.Peak), yesNo(f.Peak <= memory)})
	}
	return out
}
