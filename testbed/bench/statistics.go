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

// pairwise combines what was measured in the same round.
func pairwise(a, b []rate, of func(rate) float64, combine func(x, y float64) float64) []float64 {
	out := make([]float64, min(len(a), len(b)))
	for i := range out {
		out[i] = combine(of(a[i]), of(b[i]))
	}
	return out
}

func divide(x, y float64) float64   { return x / y }
func subtract(x, y float64) float64 { return x - y }
