package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	vocabulary "github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/node"
	noderules "github.com/podpath/podpath/tracer/rules"
)

// factRow is what the facts of one verdict cost on a node with such rules.
type factRow struct {
	what string
	// rules: there are many, and they are checked.
	rules bool
	// latency is from the last packet that a verdict needs to the verdict, of each
	// try, the first of which has everything to read: seconds.
	latency []float64
	measured
}

// measured is what the process that measures says.
type measured struct {
	// First is reading and evaluating everything, Again evaluating what did not
	// change (the fastest of the next tries), Baseline reading every counter at
	// the start of a trace: seconds.
	First, Again, Baseline float64
	// FirstCPU is what the first took of a CPU, the kernel's part and the tools'
	// included: seconds.
	FirstCPU float64
	// NodeFacts are those of package node alone; the fastest.
	NodeFacts float64
	// Parts are what each part took, at the fastest.
	Parts map[string]float64
	// Rest and Peak are resident memory before anything was read and at most, MiB.
	Rest, Peak float64
	Named      string
	// Tracked is whether the conntrack entry of the flow was found.
	Tracked bool
	Targets int
}

const (
	factTries = 5
	factTime  = 120 * time.Second
)

// facts measures reading and evaluating large rule sets.
func (b *bench) facts(ctx context.Context) ([]*factRow, error) {
	writers := append([]ruleWriter{{what: "few rules"}, {what: "few rules, much conntrack", entries: benchEntries}}, ruleWriters()...)
	var out []*factRow
	for _, w := range writers {
		row, err := b.factsWith(ctx, w)
		if err != nil {
			return out, fmt.Errorf("%s: %w", w.what, err)
		}
		out = append(out, row)
	}
	return out, nil
}

func (b *bench) factsWith(ctx context.Context, w ruleWriter) (*factRow, error) {
	on := &bench{opts: b.opts, spawn: b.spawn, out: b.out, begun: b.begun}
	var err error
	if on.top, err = newTopology(ctx, b.spawn, 2); err != nil {
		return nil, fmt.Errorf("build a node: %w", err)
	}
	defer on.top.close()
	s := on.top.node
	row := &factRow{what: w.what, rules: w.text != nil}
	if w.text != nil {
		b.progress("%s: loading %d rules", w.what, benchRules)
		if _, err := s.command(ctx, b.spawn, w.text(), w.tool...); err != nil {
			return nil, err
		}
	}
	if w.entries > 0 {
		b.progress("%s: adding %d entries", w.what, w.entries)
		n, err := s.track(w.entries)
		if err != nil {
			return nil, err
		}
		row.what = fmt.Sprintf("few rules, %d conntrack entries", n)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var said, complaint strings.Builder
	cmd := exec.CommandContext(ctx, self, "-facts-of", fmt.Sprintf("/proc/%d/ns/net", s.cmd.Process.Pid))
	cmd.Stdout, cmd.Stderr = &said, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("measure in a process of its own: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	if err := json.Unmarshal([]byte(said.String()), &row.measured); err != nil {
		return nil, fmt.Errorf("read what was measured: %w", err)
	}
	if w.text != nil && (!strings.Contains(row.Named, "the last") || row.Targets != benchEndpoints) {
		return nil, fmt.Errorf("the rule that was named is %q and the Service has %d targets, want the last rule and %d", row.Named, row.Targets, benchEndpoints)
	}
	if row.Tracked != (w.entries > 0) {
		return nil, fmt.Errorf("a conntrack entry of the flow was found: %v", row.Tracked)
	}
	row.latency, err = on.verdictLatency(ctx)
	return row, err
}

// factsOf measures in this process, which has done nothing else.
func factsOf(ctx context.Context, path string) (*measured, error) {
	ctx, cancel := context.WithTimeout(ctx, factTime)
	defer cancel()
	var spent partsLog
	log := spent.logger()
	n, err := node.New(node.Config{HostNetNS: path, Logger: log})
	if err != nil {
		return nil, err
	}
	r, err := noderules.New(noderules.Config{HostNetNS: path, Logger: log})
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	defer func() { _ = errors.Join(n.Close(), r.Close()) }()
	m := &measured{Rest: memoryOf("VmRSS")}
	q := dropQuery(n.HostNetNS())
	for i := range factTries {
		var res noderules.Result
		before := processorTime()
		took, _ := timed(func() error { res = r.Collect(ctx, q); return nil })
		if i == 0 {
			m.First, m.FirstCPU = took, processorTime()-before
			if len(res.Rules) > 0 {
				m.Named = res.Rules[0].Text
			}
			m.Targets = len(res.Services.Targets)
		} else if m.Again == 0 || took < m.Again {
			m.Again = took
		}
	}
	// Only now: no packet moves a counter here, and a rule whose counter stood
	// still since the baseline dropped nothing.
	if m.Baseline, err = timed(func() error { return r.Baseline(ctx) }); err != nil {
		return nil, err
	}
	for range factTries {
		took, _ := timed(func() error { m.Tracked = len(n.Collect(ctx, q).Tracked) > 0; return nil })
		if m.NodeFacts == 0 || took < m.NodeFacts {
			m.NodeFacts = took
		}
	}
	m.Peak = memoryOf("VmHWM")
	m.Parts, err = spent.fastest()
	return m, err
}

func timed(f func() error) (float64, error) {
	begun := time.Now()
	err := f()
	return time.Since(begun).Seconds(), err
}

// processorTime is what this process and the tools it ran used, in seconds.
func processorTime() float64 {
	var sum float64
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			sum += float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
		}
	}
	return sum
}

// dropQuery asks for the last Service, and for a packet that the last rule of
// the firewall dropped. The client is the first pod.
func dropQuery(netns uint32) vocabulary.Query {
	flow := askedFlow()
	dropped := flow
	dropped.Dst = netip.MustParseAddrPort("10.130.0.9:81")
	return vocabulary.Query{Flow: flow, Drops: []vocabulary.DropSite{{Device: vocabulary.DeviceKey{NetNS: netns, IfIndex: 1}, Tuple: dropped, TCPFlags: vocabulary.TCPSyn,
		Drop: vocabulary.Drop{Reason: "NETFILTER_DROP", Stage: vocabulary.StageForward}}}}
}

func askedFlow() vocabulary.Tuple {
	return vocabulary.Tuple{Src: netip.MustParseAddrPort("10.244.1.10:40000"), Dst: netip.MustParseAddrPort(vipOf(benchServices-1) + ":80"), Proto: vocabulary.ProtoTCP}
}

// memoryOf is a field of this process's status, MiB.
func memoryOf(field string) float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			kib, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")), 64)
			return kib / 1024
		}
	}
	return 0
}
