package probe

import (
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// The programs' time is the kernel's, unless it did not measure all of the runs.
func TestProgramTime(t *testing.T) {
	rx := func(packets, selected, events uint64) map[tracer.EventKind]map[string]uint64 {
		return map[tracer.EventKind]map[string]uint64{tracer.EventRX: {"packets": packets, "selected": selected, "events": events}}
	}
	drop := func(c map[string]uint64) map[tracer.EventKind]map[string]uint64 {
		return map[tracer.EventKind]map[string]uint64{tracer.EventDrop: c}
	}
	for _, tt := range []struct {
		name     string
		stats    Stats
		want     time.Duration
		measured bool
	}{
		{"nothing", Stats{}, 0, false},
		{"passed over", Stats{Hooks: rx(1000, 0, 0)}, 40 * time.Microsecond, false},
		{"counted", Stats{Hooks: rx(1000, 1000, 0)}, 100 * time.Microsecond, false},
		{"events", Stats{Hooks: rx(1000, 1000, 1000)}, 260 * time.Microsecond, false},
		{"drops passed over", Stats{Hooks: drop(map[string]uint64{"packets": 1000})}, 40 * time.Microsecond, false},
		{"drops selected", Stats{Hooks: drop(map[string]uint64{"packets": 1000, "selected": 1000})}, 350 * time.Microsecond, false},
		{"drops of the node", Stats{Hooks: drop(map[string]uint64{"packets": 1000, "sampled": 1000})}, 350 * time.Microsecond, false},
		{"measured", Stats{Hooks: rx(1000, 0, 0), Programs: []ProgramStats{{Runs: 600, RunTime: 1}, {Runs: 400, RunTime: 2}}}, 3, true},
		{"measured in part", Stats{Hooks: rx(1000, 0, 0), Programs: []ProgramStats{{Runs: 999, RunTime: time.Second}}}, 40 * time.Microsecond, false},
	} {
		if got, measured := tt.stats.ProgramTime(); got != tt.want || measured != tt.measured {
			t.Errorf("%s: %s, measured %t; want %s, %t", tt.name, got, measured, tt.want, tt.measured)
		}
	}
}
