package probe

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
)

// Stats is what the programs did since Open.
type Stats struct {
	// Hooks holds the kernel's counters by hook, under the names of enum stat
	// (bpf/include/types.h) in lower case: "packets", "miss", "ring_full", ...
	Hooks map[tracer.EventKind]map[string]uint64
	// Seen is how many events the kernel wanted to hand over, Lost how many of
	// these the ring buffer had no room for. Read = Seen - Lost.
	Seen uint64
	Lost uint64
	// Limited is how many packets were counted but held back as events by a
	// rate limit.
	Limited uint64
	// Held is how many packets were counted but held back as events by the budget.
	Held uint64
	// Refused is the part of Held that exceeded the budget, and was not held back
	// by a level's limit per flow or because plain packets are only counted.
	Refused uint64
	// Uncounted is how often a table had no room for a flow or a drop.
	Uncounted uint64
	// Unwatched is how many devices of the inventory take no program.
	Unwatched int
	Programs  []ProgramStats
}

// ProgramStats is a program's own cost. Runs and RunTime are only kept by the
// kernel while BPF statistics are enabled (kernel.bpf_stats_enabled).
type ProgramStats struct {
	Name    string
	Runs    uint64
	RunTime time.Duration
	// Missed counts runs that the kernel skipped because the program was
	// already running on that CPU (5.12 and later).
	Missed uint64
}

// Stats reads the counters.
func (p *Probe) Stats() (Stats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return Stats{}, errClosed
	}
	s := Stats{Hooks: map[tracer.EventKind]map[string]uint64{}, Unwatched: len(p.unwatched)}
	for _, kind := range []bpf.TraceKind{bpf.TraceKindKIND_RX, bpf.TraceKindKIND_TX, bpf.TraceKindKIND_DROP} {
		var perCPU []bpf.TraceHookStats
		if err := p.coll.Maps[bpf.TraceMapStats].Lookup(uint32(kind), &perCPU); err != nil {
			return Stats{}, fmt.Errorf("read counters: %w", err)
		}
		s.add(kindName(kind), p.counters, perCPU)
	}
	for name, prog := range p.programs() {
		ps, err := programStats(name, prog)
		if err != nil {
			return Stats{}, err
		}
		s.Programs = append(s.Programs, ps)
	}
	return s, nil
}

// programs are all that are loaded.
func (p *Probe) programs() map[string]*ebpf.Program {
	all := maps.Clone(p.coll.Programs)
	if p.taps != nil {
		maps.Copy(all, p.taps.Programs)
	}
	return all
}

func (s *Stats) add(kind tracer.EventKind, names []string, perCPU []bpf.TraceHookStats) {
	var sum [bpf.TraceStatSTAT_MAX]uint64
	for _, cpu := range perCPU {
		for i, n := range cpu.Count {
			sum[i] += n
		}
	}
	named := make(map[string]uint64, len(names))
	for i, name := range names {
		named[name] = sum[i]
	}
	s.Hooks[kind] = named
	lost := sum[bpf.TraceStatSTAT_RING_FULL] + sum[bpf.TraceStatSTAT_SAMPLE_RING_FULL]
	s.Lost += lost
	s.Seen += lost + sum[bpf.TraceStatSTAT_EVENTS] + sum[bpf.TraceStatSTAT_SAMPLE_EVENTS]
	s.Limited += sum[bpf.TraceStatSTAT_RATE_LIMITED] + sum[bpf.TraceStatSTAT_SAMPLE_LIMITED]
	refused := sum[bpf.TraceStatSTAT_HELD_PLAIN] + sum[bpf.TraceStatSTAT_HELD_URGENT] + sum[bpf.TraceStatSTAT_SAMPLE_HELD]
	s.Refused += refused
	s.Held += refused + sum[bpf.TraceStatSTAT_HELD_FLOW] + sum[bpf.TraceStatSTAT_HELD_COUNTING]
	s.Uncounted += sum[bpf.TraceStatSTAT_FLOW_FULL] + sum[bpf.TraceStatSTAT_DROP_FULL] + sum[bpf.TraceStatSTAT_DROP_TOTAL_FULL]
}

// What one packet costs in a program, where the kernel does not measure it, in
// nanoseconds (docs/bench.md, rounded up): passed over; on top of that if it is
// counted, 100 in all; on top again if it becomes an event, 260 in all. A drop
// that is counted costs dropNS more, 350 in all.
const (
	passNS  = 40
	countNS = 60
	eventNS = 160
	dropNS  = 250
)

// ProgramTime is the CPU time of the programs since Open: what the kernel
// measured, or an estimate from the packets they saw.
func (s *Stats) ProgramTime() (d time.Duration, measured bool) {
	var runs, packets, counted, events, drops uint64
	for i := range s.Programs {
		runs += s.Programs[i].Runs
		d += s.Programs[i].RunTime
	}
	for kind, c := range s.Hooks {
		packets += c["packets"]
		n := c["selected"] + c["sampled"]
		counted += n
		if kind == tracer.EventDrop {
			drops += n
		}
		events += c["events"] + c["sample_events"]
	}
	if runs > 0 && runs >= packets {
		return d, true
	}
	return time.Duration(passNS*packets + countNS*counted + eventNS*events + dropNS*drops), false
}

func programStats(name string, prog *ebpf.Program) (ProgramStats, error) {
	st, err := prog.Stats()
	if err != nil {
		return ProgramStats{}, fmt.Errorf("read statistics of program %s: %w", name, err)
	}
	return ProgramStats{Name: name, Runs: st.RunCount, RunTime: st.Runtime, Missed: st.RecursionMisses}, nil
}

// counterNames reads enum stat from the programs' own type information, so
// that no list of names has to be kept in step.
func counterNames(spec *ebpf.CollectionSpec) ([]string, error) {
	var enum *btf.Enum
	if err := spec.Types.TypeByName("stat", &enum); err != nil {
		return nil, fmt.Errorf("read counter names: %w", err)
	}
	names := make([]string, bpf.TraceStatSTAT_MAX)
	for _, v := range enum.Values {
		if v.Value < uint64(len(names)) {
			names[v.Value] = strings.ToLower(strings.TrimPrefix(v.Name, "STAT_"))
		}
	}
	return names, nil
}
