package main

import (
	"math"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{3}, 0.5, 3},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 2, 3}, 0.5, 2.5},
		{[]float64{4, 1, 2, 3}, 0, 1},
		{[]float64{4, 1, 2, 3}, 1, 4},
		{[]float64{0, 10, 20, 30, 40}, 0.25, 10},
	} {
		if got := quantile(tc.values, tc.q); got != tc.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", tc.values, tc.q, got, tc.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing = %v, want NaN", got)
	}
}

// A round in which the machine was slow for both leaves the ratio alone.
func TestRatiosPairRounds(t *testing.T) {
	window := func(packets uint64, cpu time.Duration) rate {
		return rate{packets, spent{wall: time.Second, cpu: cpu}}
	}
	r := &row{
		load:     &load{scale: 1},
		untraced: []rate{window(1000, time.Second), window(100, 100*time.Millisecond)},
		traced:   []rate{window(800, time.Second), window(80, 100*time.Millisecond)},
	}
	for i, x := range r.ratios() {
		if x != 0.8 {
			t.Errorf("round %d: ratio %v, want 0.8", i, x)
		}
	}
	if got := r.bestRatio(); got != 0.8 {
		t.Errorf("best against best: %v, want 0.8", got)
	}
	for i, x := range r.addedNS() {
		if math.Round(x) != 250_000 {
			t.Errorf("round %d: %v ns added to a packet, want 250000", i, x)
		}
	}
	for i, x := range r.cpuRatios() {
		if math.Abs(x-0.8) > 1e-9 {
			t.Errorf("round %d: ratio by CPU %v, want 0.8", i, x)
		}
	}
}
