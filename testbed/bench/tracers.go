package main

import (
	"fmt"
	"strings"
)

// tracer is one thing to run while packets flow, or nothing.
type tracer struct {
	name    string
	job     job
	command *command // nil: untraced against untraced, the error of the method
	loads   int
	// watched are the pods whose devices it attaches to; the node's bridge and
	// uplink are watched by every podpath trace.
	watched []int
	// wide: its programs run for every packet of the machine, not just these.
	wide bool
	// selected: the measured packets are what it looks for.
	selected bool
	// everyPacket is an event.
	everyPacket bool
	kind        tracerKind
	// peer is what podpath is compared with; nil if it is podpath.
	peer *peer
}

// job is what somebody wants to know, so that like is compared with like.
type job string

const (
	nothing  job = "nothing"
	passOver job = "looks for other packets"
	follow   job = "follows these packets"
	drops    job = "reports drops"
)

type tracerKind int

const (
	nobody tracerKind = iota
	podpathTrace
	podpathDrops
	otherTool
)

// tracers are compared with each other. pods[2] and pods[3] are the other pods.
func (b *bench) tracers() []*tracer {
	all := append(b.ours(), b.peers()...)
	var out []*tracer
	for _, tr := range all {
		if tr.kind == nobody || b.opts.match.MatchString(tr.name) {
			out = append(out, tr)
		}
	}
	return out
}

func (b *bench) ours() []*tracer {
	pod := func(i int) string { return b.top.pods[i].ip.String() }
	everyPod := []int{0, 1, 2, 3}
	const wide = onUDP | onStorm | onPingPong | onServiceConnect
	return []*tracer{
		{name: "nothing (error of the method)", job: nothing, loads: onAll},
		{name: "podpath trace, other pods", job: passOver, kind: podpathTrace, loads: onAll,
			command: b.trace(pod(2), pod(3)), watched: []int{2, 3}},
		{name: "podpath trace --wide, other pods", job: passOver, kind: podpathTrace, loads: wide,
			command: b.trace(pod(2), pod(3), "--wide"), watched: everyPod, wide: true},
		{name: "podpath trace, both pods", job: follow, kind: podpathTrace, loads: onPods,
			command: b.trace(pod(0), pod(1)), watched: []int{0, 1}, selected: true},
		{name: "podpath trace, this pod to any", job: follow, kind: podpathTrace, loads: onServices | onDrops,
			command: b.trace(pod(0), "any"), watched: []int{0}, selected: true},
		{name: "podpath trace, both pods, every packet an event", job: follow, kind: podpathTrace, loads: onPodToPod | onPingPong | onConnect,
			command: b.trace(pod(0), pod(1), everyPacket()...), watched: []int{0, 1}, selected: true, everyPacket: true},
		{name: "podpath trace, this pod to any, every packet an event", job: follow, kind: podpathTrace, loads: onService | onServicePingPong | onServiceConnect,
			command: b.trace(pod(0), "any", everyPacket()...), watched: []int{0}, selected: true, everyPacket: true},
		{name: "podpath trace --wide, this pod to any", job: follow, kind: podpathTrace, loads: wide,
			command: b.trace(pod(0), "any", "--wide"), watched: everyPod, wide: true, selected: true},
		{name: "podpath drops, whole node", job: drops, kind: podpathDrops, loads: onAll,
			command: b.podpath("drops")},
	}
}

// everyPacket makes each packet an event, and lets no budget come between.
func everyPacket() []string {
	return []string{"--first-packets", allPackets, "--max-events", allPackets, "--max-cpu", "100"}
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

// truth is what devices and rules counted while a tracer ran.
type truth struct {
	rx, tx, ruleDrops, refused, traced uint64
	// resent by TCP: where the first one had come, the kernel frees the second.
	resent uint64
}

func (t truth) minus(o truth) truth {
	return truth{t.rx - o.rx, t.tx - o.tx, t.ruleDrops - o.ruleDrops, t.refused - o.refused, t.traced - o.traced, t.resent - o.resent}
}

// parse reads what the tracer printed.
func (tr *tracer) parse(t *tool) (*found, error) {
	if tr.peer != nil {
		return tr.peer.parse(t)
	}
	return parsePodpath(t.output())
}

// verify holds podpath's numbers against the truth: nothing may be missing that
// it does not call lost. The others are not ours to judge.
func (tr *tracer) verify(f *found, want truth) error {
	var wrong []string
	equal := func(what string, got, want uint64) {
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%s: %d, in truth %d", what, got, want))
		}
	}
	// What passed while no device was watched is not counted, and that is said.
	packets := func(what string, got, want uint64) {
		if !f.unwatched() || got > want {
			equal(what, got, want)
		}
	}
	switch {
	case tr.kind == podpathTrace && tr.selected:
		packets("packets received, seen and lost", f.accounted("rx"), want.rx)
		packets("packets sent, seen and lost", f.accounted("tx"), want.tx)
		// Between the two, as near to the packets in doubt as it is.
		least := want.ruleDrops + want.refused
		equal("drops, seen and lost", f.accounted("drop"), min(max(least, f.accounted("drop")), least+want.resent))
		equal("events lost", f.summary.Lost, f.counter("rx.ring_full")+f.counter("tx.ring_full")+f.counter("drop.ring_full")+f.counter("drop.sample_ring_full"))
	case tr.kind == podpathTrace:
		if tr.wide {
			want.rx, want.tx = max(want.rx, f.counter("rx.packets")), max(want.tx, f.counter("tx.packets"))
		}
		packets("packets received, passed over", f.passedOver("rx"), want.rx)
		packets("packets sent, passed over", f.passedOver("tx"), want.tx)
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
