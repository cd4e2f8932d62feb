package main

import (
	"testing"
	"time"
)

// The kernel may begin or cease to measure programs during a trace, by a setting
// of the node: what the total jumps by then is no load.
func TestLoadWhenMeasuringChanges(t *testing.T) {
	const second = time.Second
	for _, tt := range []struct {
		name   string
		before usage
		now    usage
		want   time.Duration
	}{
		{"estimated", usage{programs: 2 * second, sys: second}, usage{programs: 5 * second, sys: 2 * second}, 4 * second},
		{"measured", usage{programs: 2 * second, measured: true}, usage{programs: 3 * second, measured: true}, second},
		{"begun, less", usage{programs: 9 * second}, usage{programs: second, measured: true, user: second}, second},
		{"begun, more", usage{programs: second}, usage{programs: 9 * second, measured: true}, 0},
		{"ceased", usage{programs: second, measured: true, user: second}, usage{programs: 9 * second, user: 2 * second, sys: second}, 2 * second},
	} {
		if got := tt.now.since(&tt.before).CPU; got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
