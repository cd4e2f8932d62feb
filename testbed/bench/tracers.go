package main

import (
	"bytes"
	"fmt"
	"strings"
)

// loads that a tracer is measured under, in the order that topology.loads has.
const (
	onPodToPod = 1 << iota
	onExternal
	onStorm
)

// tracer is one thing to run while packets flow, or nothing.
type tracer struct {
	name    string
	command *command // nil: untraced against untraced, the error of the method
	loads   int
	// watched are the pods whose devices it attaches to; the node's bridge and
	// uplink are watched by every podpath trace.
	watched []int
	// selected: the measured packets are what it looks for.
	selected bool
	kind     tracerKind
}

type tracerKind int

const (
	nobody tracerKind = iota
	podpathTrace
	podpathDrops
	tcpdump
)

// tracers are compared with each other. pods[2] and pods[3] are the other pods.
func (b *bench) tracers() []*tracer {
	pod := func(i int) string { return b.top.pods[i].ip.String() }
	dump := func(filter string) *command {
		return &command{
			argv:    []string{"tcpdump", "-i", "any", "-n", "-Z", "root", "-w", "/proc/self/fd/3", filter},
			ready:   func(line string) bool { return strings.Contains(line, "listening on any") },
			capture: true,
		}
	}
	return []*tracer{
		{name: "nothing (error of the method)", loads: onPodToPod | onExternal | onStorm},
		{name: "podpath trace, other pods", kind: podpathTrace, loads: onPodToPod | onExternal,
			command: b.trace(pod(2), pod(3)), watched: []int{2, 3}},
		{name: "podpath trace, both pods", kind: podpathTrace, loads: onPodToPod,
			command: b.trace(pod(0), pod(1)), watched: []int{0, 1}, selected: true},
		{name: "podpath trace, this pod to any", kind: podpathTrace, loads: onExternal | onStorm,
			command: b.trace(pod(0), "any"), watched: []int{0}, selected: true},
		{name: "podpath drops, whole node", kind: podpathDrops, loads: onPodToPod | onExternal | onStorm,
			command: b.podpath("drops")},
		{name: "tcpdump -i any -w, nothing matches", kind: tcpdump, loads: onPodToPod | onExternal,
			command: dump("udp port 9")},
		{name: "tcpdump -i any -w, all matches", kind: tcpdump, loads: onPodToPod | onExternal,
			command: dump("udp"), selected: true},
	}
}

func (b *bench) trace(from, to string, more ...string) *command {
	return b.podpath("trace", append([]string{"--from", from, "--to", to}, more...)...)
}

func (b *bench) podpath(verb string, args ...string) *command {
	return &command{
		argv:  append([]string{b.opts.podpath, verb, "-o", "json", "--node", nodeName, "--cluster-dump", "-"}, args...),
		stdin: b.top.clusterDump(),
		ready: func(line string) bool { return strings.HasPrefix(line, "ready") },
	}
}

// truth is what devices and the rule counted while a tracer ran.
type truth struct{ rx, tx, ruleDrops, refused uint64 }

func (t truth) minus(o truth) truth {
	return truth{t.rx - o.rx, t.tx - o.tx, t.ruleDrops - o.ruleDrops, t.refused - o.refused}
}

// parse reads what the tracer printed.
func (tr *tracer) parse(t *tool) (*found, error) {
	if tr.kind == tcpdump {
		return parseTCPDump(t.lines())
	}
	return parsePodpath(bytes.NewReader(t.out.Bytes()))
}

// verify holds the tracer's numbers against the truth: nothing may be missing
// that it does not call lost. tcpdump is not ours to judge.
func (tr *tracer) verify(f *found, want truth) error {
	var wrong []string
	equal := func(what string, got, want uint64) {
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%s: %d, in truth %d", what, got, want))
		}
	}
	switch {
	case tr.kind == podpathTrace && tr.selected:
		equal("packets received, seen and lost", f.accounted("rx"), want.rx)
		equal("packets sent, seen and lost", f.accounted("tx"), want.tx)
		equal("drops, seen and lost", f.accounted("drop"), want.ruleDrops+want.refused)
		equal("events lost", f.summary.Lost, f.counter("rx.ring_full")+f.counter("tx.ring_full")+f.counter("drop.ring_full")+f.counter("drop.sample_ring_full"))
	case tr.kind == podpathTrace:
		equal("packets received, passed over", f.counter("rx.miss"), want.rx)
		equal("packets sent, passed over", f.counter("tx.miss"), want.tx)
		equal("packets taken for others", f.counter("rx.selected")+f.counter("tx.selected"), 0)
	case tr.kind == podpathDrops:
		equal("drops by the rule", f.byReason["NETFILTER_DROP"], want.ruleDrops)
		if f.summary.Drops == nil {
			wrong = append(wrong, "no totals")
			break
		}
		equal("drops in total", f.summary.Drops.Total, want.ruleDrops+want.refused)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s does not add up: %s", tr.name, strings.Join(wrong, "; "))
	}
	return nil
}
