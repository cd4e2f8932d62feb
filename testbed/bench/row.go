package main

import "math"

// rates are in the units of the load.
func (r *row) rates(of []rate) []float64 {
	var out []float64
	for _, m := range of {
		out = append(out, m.perSecond()/r.load.scale)
	}
	return out
}

// ratios of the rate while traced to the rate while not.
func (r *row) ratios() []float64 { return pairwise(r.traced, r.untraced, rate.perSecond, divide) }

// bestRatio compares the best rounds: what disturbs a machine only slows.
func (r *row) bestRatio() float64 {
	return quantile(r.rates(r.traced), 1) / quantile(r.rates(r.untraced), 1)
}

// addedNS is what tracing adds to the sender's CPU time for each packet.
func (r *row) addedNS() []float64 { return pairwise(r.traced, r.untraced, rate.cpuNS, subtract) }

// cpuRatios are ratios, had the sender had its CPU for itself.
func (r *row) cpuRatios() []float64 { return pairwise(r.untraced, r.traced, rate.cpuNS, divide) }

// basis is what numbers of a run may be compared by.
type basis struct {
	inline bool // packets are on their sender's account
	noisy  bool // rates are not to be relied on
}

// worth is the one number to compare by: the ratio of rates or, if the rate is
// given or in doubt, of the sender's CPU time.
func (r *row) worth(b basis) float64 {
	switch {
	case b.inline && (b.noisy || r.load.paced):
		return median(r.cpuRatios())
	case r.load.paced:
		return math.NaN()
	}
	return median(r.ratios())
}

// missing is how much of what a tool should have told of it did not, in percent,
// and how much of it the tool says.
func (s *totals) missing(tr *tracer) (missing, said float64) {
	if tr.peer != nil {
		return percent(s.due-min(s.due, s.captured), s.due), percent(s.admitted, s.due)
	}
	x := percent(s.lost+s.unwatched, max(s.due, s.drops))
	return x, x // or verify would have failed
}

func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
