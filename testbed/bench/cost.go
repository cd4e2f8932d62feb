package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// eventRate keeps the ring buffer from filling, in packets per second.
const eventRate = 15_000

// cost is what one run of a program took on average, by the kernel's own clock.
type cost struct {
	what    string
	program string
	runs    uint64
	perRun  time.Duration
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
	external, storm := loads[1], loads[2]
	cases := []struct {
		what    string
		command *command
		load    *load
		pps     float64
	}{
		{"not selected", b.trace(pod(2), pod(3)), external, 0},
		{"selected, counted", b.trace(pod(0), "any"), external, 0},
		{"selected, every packet an event", b.trace(pod(0), "any", "--first-packets", allPackets), external, eventRate},
		{"not selected", b.trace(pod(2), pod(3), "--hook", "tracepoint"), external, 0},
		{"selected, counted", b.trace(pod(0), "any", "--hook", "tracepoint"), external, 0},
		{"drop, not selected", b.trace(pod(2), pod(3)), storm, 0},
		{"drop, selected", b.trace(pod(0), "any"), storm, 0},
		{"drop, counted for the whole node", b.podpath("drops"), storm, 0},
	}
	for _, c := range cases {
		got, err := b.costOf(ctx, c.what, c.command, c.load, c.pps)
		if err != nil {
			return out, fmt.Errorf("%s: %w", c.what, err)
		}
		out = append(out, got...)
	}
	return out, nil
}

func (b *bench) costOf(ctx context.Context, what string, c *command, l *load, pps float64) ([]cost, error) {
	t, err := startTool(ctx, b.top.spawn, b.top.node, *c)
	if err != nil {
		return nil, err
	}
	ids, err := t.programs()
	if err != nil {
		t.kill()
		return nil, err
	}
	out, err := b.runCosts(ctx, what, ids, l, pps)
	if err != nil {
		t.kill()
		return nil, err
	}
	return out, t.stop()
}

// runCosts sends packets and returns the programs that ran because of them.
func (b *bench) runCosts(ctx context.Context, what string, ids []uint32, l *load, pps float64) ([]cost, error) {
	if _, err := b.top.measure(ctx, l, b.opts.window/4, pps, 1); err != nil { // a flow's first packets are not typical
		return nil, err
	}
	before, err := readStats(ids)
	if err != nil {
		return nil, err
	}
	m, err := b.top.measure(ctx, l, b.opts.window, pps, 1)
	if err != nil {
		return nil, err
	}
	after, err := readStats(ids)
	if err != nil {
		return nil, err
	}
	var out []cost
	for i, a := range after {
		runs := a.runs - before[i].runs
		if runs < m.packets/2 { // not on the way of these packets
			continue
		}
		out = append(out, cost{what, a.name, runs, (a.time - before[i].time) / time.Duration(runs)})
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
	return b.runCosts(ctx, idle, []uint32{uint32(id)}, l, 0)
}

const idle = "a program that does nothing"

func idleProgram(spec *ebpf.ProgramSpec, answer int32) (*ebpf.Program, error) {
	spec.License = "Dual BSD/GPL"
	spec.Instructions = asm.Instructions{asm.Mov.Imm(asm.R0, answer), asm.Return()}
	p, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, fmt.Errorf("load a program that does nothing: %w", err)
	}
	return p, nil
}
