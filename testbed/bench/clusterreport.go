package main

import (
	"fmt"
	"slices"
	"strings"
)

// fromAPI tells an API server from a file, which has no moment of its own at
// which everything is loaded.
func (row *clusterRow) fromAPI() bool { return median(row.synced) > 0 }

// afterSync is the time from the loaded state to ready, of each try.
func (row *clusterRow) afterSync() []float64 {
	out := make([]float64, len(row.ready))
	for i := range out {
		out[i] = row.ready[i] - row.synced[i]
	}
	return out
}

func (c *clusterReport) markdown(w *strings.Builder) {
	s := c.size
	fmt.Fprintf(w, "\n### A large cluster\n\n")
	fmt.Fprintf(w, "%d pods, %d Services, %d NetworkPolicies, %d nodes, %d namespaces; %d pods on this node, each with its veth. ",
		s.Pods, s.Services, s.Policies, s.Nodes, s.Namespaces, s.Local)
	fmt.Fprintf(w, "`podpath trace` of one of them to any. The API server is the benchmark's own, on the same CPUs. Medians of %d tries; memory is resident, the most of any try.\n\n", clusterTries)
	fmt.Fprintln(w, "| cluster data from | start to loaded, s | loaded to ready, s | start to ready, s | CPU until ready, s | peak, MiB | at rest, MiB |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|---:|")
	for _, row := range c.rows {
		synced, after := "", ""
		if row.fromAPI() {
			synced, after = fmt.Sprintf("%.2f", median(row.synced)), fmt.Sprintf("%.2f", median(row.afterSync()))
		}
		fmt.Fprintf(w, "| %s | %s | %s | %.2f | %.2f | %.0f | %.0f |\n", row.what, synced, after,
			median(row.ready), median(row.cpu), slices.Max(row.peak), slices.Max(row.rest))
	}
	fmt.Fprintf(w, "\nA storm of %.0f changes of pods per second (created, running with an address, deleted) for %s: %.0f %% of one CPU; %.0f MiB before, %.0f MiB at its end.\n",
		float64(c.storm.sent)/c.storm.took.Seconds(), c.storm.took.Round(100_000_000), 100*c.storm.cpu, c.storm.before, c.storm.after)
	fmt.Fprintf(w, "\nEvaluating the policies for a flow between two pods: median %.1f µs, 99 of 100 within %.1f µs, 999 of 1000 within %.1f µs.\n",
		median(c.policies), quantile(c.policies, .99), quantile(c.policies, .999))
}
