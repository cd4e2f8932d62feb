package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Programs are measured in short windows, of which the best counts: whatever
// interrupts a program is on its bill. eventWindow is too short for the events
// of one to fill the ring buffer. Each window is a new flow, whose first drops of
// a second are events with a stack: stormWindow is long enough for the rest, which
// is counted, to be what is measured.
const (
	costWindows = 12
	costWindow  = 50 * time.Millisecond
	stormWindow = 250 * time.Millisecond
	eventWindow = 10 * time.Millisecond
)

// cost is what one run of a program took on average, by the kernel's own clock.
type cost struct {
	what         string
	program      string
	runs         uint64  // in all windows
	best, median float64 // ns per run, of the windows
}

// costs reads the kernel's statistics of podpath's programs. They are on only
// here, because keeping them costs as much as a program itself; what they add
// is measured with programs that do nothing, and listed first.
func (b *bench) costs(ctx context.Context) ([]cost, error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return nil, fmt.Errorf("enable BPF statistics: %w", err)
	}
	defer stats.Close()
	out, err := b.idleCosts(ctx)
	if err != nil {
		return nil, err
	}
	pod := func(i int) string { return b.top.pods[i].ip.String() }
	loads := b.top.loads()
	podToPod, external, storm, connections := loads[0], loads[1], loads[2], loads[6]
	cases := []struct {
		what    string
		command *command
		load    *load
		window  time.Duration
		program string // "" for every one that runs
	}{
		// On the pod's own devices, where conntrack has not seen the packet yet.
		{notSelected, b.trace(pod(0), nobodysIP), podToPod, costWindow, ""},
		// On bridge and uplink: the translated addresses must be looked at too.
		{notSelectedCT, b.trace(pod(2), pod(3)), external, costWindow, ""},
		{counted, b.trace(pod(0), "any"), external, costWindow, ""},
		{anEvent, b.trace(pod(0), "any", everyPacket()...), external, eventWindow, ""},
		{notSelectedCT, b.trace(pod(2), pod(3), "--hook", "tracepoint"), external, costWindow, ""},
		{counted, b.trace(pod(0), "any", "--hook", "tracepoint"), external, costWindow, ""},
		{newConnections, b.trace(pod(0), pod(1), "--max-events", "1"), connections, costWindow, ""},
		{dropNotSelected, b.trace(pod(2), pod(3)), storm, costWindow, "kfree_skb"},
		{"drop, selected", b.trace(pod(0), "any"), storm, stormWindow, "kfree_skb"},
		{"drop, counted for the whole node", b.podpath("drops"), storm, stormWindow, "kfree_skb"},
	}
	for _, c := range cases {
		got, err := b.costOf(ctx, c.what, c.command, c.load, c.window)
		if err != nil {
			return out, fmt.Errorf("%s: %w", c.what, err)
		}
		for _, x := range got {
			if c.program == "" || c.program == x.program {
				out = append(out, x)
			}
		}
	}
	return out, nil
}

func (b *bench) costOf(ctx context.Context, what string, c *command, l *load, d time.Duration) ([]cost, error) {
	t, err := startTool(ctx, b.top.spawn, b.top.node, *c)
	if err != nil {
		return nil, err
	}
	defer t.close()
	ids, err := t.programs()
	if err != nil {
		t.kill()
		return nil, err
	}
	out, err := b.runCosts(ctx, what, ids, l, d)
	if err != nil {
		t.kill()
		return nil, err
	}
	return out, t.stop()
}

// runCosts sends packets and returns the programs that ran because of them.
func (b *bench) runCosts(ctx context.Context, what string, ids []uint32, l *load, d time.Duration) ([]cost, error) {
	perRun := map[string][]float64{}
	runs := map[string]uint64{}
	for i := range costWindows {
		before, err := readStats(ids)
		if err != nil {
			return nil, err
		}
		m, err := l.send(ctx, d)
		if err != nil {
			return nil, err
		}
		after, err := readStats(ids)
		if err != nil {
			return nil, err
		}
		for k, a := range after {
			n := a.runs - before[k].runs
			if i == 0 || n < m.done/2 { // warming up, or not on the way of these packets
				continue
			}
			runs[a.name] += n
			perRun[a.name] = append(perRun[a.name], float64((a.time-before[k].time).Nanoseconds())/float64(n))
		}
	}
	var out []cost
	for _, name := range slices.Sorted(maps.Keys(runs)) {
		out = append(out, cost{what, name, runs[name], quantile(perRun[name], 0), median(perRun[name])})
	}
	return out, nil
}

type programStats struct {
	name string
	runs uint64
	time time.Duration
}

func readStats(ids []uint32) ([]programStats, error) {
	out := make([]programStats, len(ids))
	for i, id := range ids {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if err != nil {
			return nil, fmt.Errorf("open program %d: %w", id, err)
		}
		info, err := p.Info()
		if err == nil {
			var st *ebpf.ProgramStats
			if st, err = p.Stats(); err == nil {
				out[i] = programStats{info.Name, st.RunCount, st.Runtime}
			}
		}
		_ = p.Close()
		if err != nil {
			return nil, fmt.Errorf("read statistics of program %d: %w", id, err)
		}
	}
	return out, nil
}

// idleCosts measures programs that do nothing, at the same hooks.
func (b *bench) idleCosts(ctx context.Context) ([]cost, error) {
	tcx, err := idleProgram(&ebpf.ProgramSpec{Name: "idle_tcx", Type: ebpf.SchedCLS}, -1)
	if err != nil {
		return nil, err
	}
	defer tcx.Close()
	kfree, err := idleProgram(&ebpf.ProgramSpec{Name: "idle_kfree_skb", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "kfree_skb"}, 0)
	if err != nil {
		return nil, err
	}
	defer kfree.Close()
	uplink, err := b.top.node.nl.LinkByName("eth0")
	if err != nil {
		return nil, fmt.Errorf("find uplink: %w", err)
	}
	var onDevice link.Link
	err = b.top.node.inside(func() (err error) {
		onDevice, err = link.AttachTCX(link.TCXOptions{Interface: uplink.Attrs().Index, Program: tcx, Attach: ebpf.AttachTCXEgress})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attach a program that does nothing: %w", err)
	}
	defer onDevice.Close()
	onDrop, err := link.AttachTracing(link.TracingOptions{Program: kfree, AttachType: ebpf.AttachTraceRawTp})
	if err != nil {
		return nil, fmt.Errorf("attach a program that does nothing: %w", err)
	}
	defer onDrop.Close()
	var out []cost
	loads := b.top.loads()
	for i, prog := range []*ebpf.Program{tcx, kfree} {
		got, err := b.idleCost(ctx, prog, loads[1+i])
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}

func (b *bench) idleCost(ctx context.Context, prog *ebpf.Program, l *load) ([]cost, error) {
	info, err := prog.Info()
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return nil, errors.New("read program: no id")
	}
	return b.runCosts(ctx, idle, []uint32{uint32(id)}, l, costWindow)
}

// nobodysIP is of a range that documentation uses (RFC 5737).
const nobodysIP = "192.0.2.1"

// What a program is measured with.
const (
	idle            = "a program that does nothing"
	notSelected     = "not selected, without conntrack entry"
	notSelectedCT   = "not selected, with conntrack entry"
	counted         = "selected, counted"
	anEvent         = "selected, every packet an event"
	dropNotSelected = "drop, not selected"
	newConnections  = "selected, counted, eight new flows for each connection"
)

func idleProgram(spec *ebpf.ProgramSpec, answer int32) (*ebpf.Program, error) {
	spec.License = "Dual BSD/GPL"
	spec.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, answer), asm.Return()}
	p, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, fmt.Errorf("load a program that does nothing: %w", err)
	}
	return p, nil
}
