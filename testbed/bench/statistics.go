package main

import (
	"math"
	"slices"
)

// median of the values; NaN of none.
func median(values []float64) float64 { return quantile(values, 0.5) }

// quantile interpolates linearly between the two values next to it.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	at := q * float64(len(s)-1)
	low := int(at)
	if low+1 == len(s) {
		return s[low]
	}
	return s[low] + (at-float64(low))*(s[low+1]-s[low])
}

// ratios pairs what was measured in one round.
func ratios(traced, untraced []float64) []float64 {
	out := make([]float64, min(len(traced), len(untraced)))
	for i := range out {
		out[i] = traced[i] / untraced[i]
	}
	return out
}

// bestRatio compares the best rounds: what disturbs a machine only slows.
func bestRatio(traced, untraced []float64) float64 {
	if len(traced) == 0 || len(untraced) == 0 {
		return math.NaN()
	}
	return slices.Max(traced) / slices.Max(untraced)
}
