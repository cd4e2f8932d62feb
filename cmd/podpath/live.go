package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/rules"
	"github.com/podpath/podpath/tracer/session"
)

// How often the analyser's clock moves, the kernel's counts are read, and a
// line is written while nothing happens.
const (
	tickEvery  = 25 * time.Millisecond
	tickSoon   = 10 * time.Millisecond // while there are flows to judge
	tickShare  = 20                    // the part of the time that a tick may take to be followed that soon
	countEvery = 500 * time.Millisecond
	heartbeat  = 30 * time.Second
	factsTime  = 5 * time.Second
	factsAge   = time.Second
	maxAsked   = 1024
	maxRest    = 400 * time.Millisecond // between changes of the selection
)

// live traces this node.
type live struct {
	onNode
	log   *slog.Logger
	say   func(format string, args ...any) // progress, to standard error
	rules *rules.Reader
	// rehearsal reads the rules ahead of a verdict.
	rehearsal rehearsal
	// ruleTrace is nil unless it was asked for.
	ruleTrace *ruleTrace
	analyser  *analyser
	cluster   *clusterSource
	aim       func(*kube.Snapshot) (*aim, error) // resolves the endpoints anew
	wide      bool

	mu      sync.Mutex
	current *aim
	counted map[countKey]uint64
	blind   []tracer.Blind // as the analyser knows it
	gone    string         // why the endpoints cannot be resolved any more
	asked   answers
	alarmed bool
	stepped time.Duration // of the wall clock, as it was said last

	// countAfter is when reading the flow counts is due again.
	countAfter time.Time
}

type countKey struct {
	dev   tracer.DeviceKey
	kind  tracer.EventKind
	tuple tracer.Tuple
}

// start attaches everything; when it returns nil, every selection is in place.
// The kernel traces rules for that long, if at all.
func (l *live) start(ctx context.Context, traceRules time.Duration) error {
	if err := l.retarget(ctx); err != nil {
		return err
	}
	if traceRules > 0 {
		if err := l.traceRules(ctx, traceRules); err != nil {
			return err
		}
	}
	if err := l.node.Baseline(ctx); err != nil {
		l.log.Warn("counters are not available as a baseline", "error", err)
	}
	if err := l.rules.Baseline(ctx); err != nil {
		l.log.Warn("rule counters are not available as a baseline", "error", err)
	}
	l.outlook()
	return nil
}

// outlook tells the analyser what cannot be seen now, if that changed: devices
// come and go, and so does the API server.
func (l *live) outlook() {
	blind := append(l.hidden(), l.cluster.blind()...)
	if l.blind == nil || !slices.Equal(blind, l.blind) {
		l.analyser.visibility(blind)
		l.blind = append([]tracer.Blind{}, blind...)
	}
}

// hidden is what cannot be seen on this node, or of what was asked for.
func (l *live) hidden() []tracer.Blind {
	list := l.onNode.hidden()
	if l.current != nil && l.current.upstream.tooMany {
		list = append(list, unfollowed)
	}
	return list
}

// retarget resolves the endpoints against the cluster as it is now, and brings
// selection and attachments up to date.
func (l *live) retarget(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	aim, err := l.aim(l.cluster.current())
	if err != nil {
		if l.current == nil {
			return err
		}
		aim = l.current
	}
	l.lose(err)
	l.current = aim
	inv, err := l.node.Inventory(ctx, aim.podIPs...)
	if err != nil {
		return fmt.Errorf("read this node's namespaces and devices: %w", err)
	}
	aim.addHost(l.cluster.current(), &inv, l.analyser.node)
	if l.cluster.store != nil {
		l.analyser.snapshot(l.probe.Now(), l.cluster.current())
	}
	l.analyser.want(aim.want)
	l.analyser.inventory(inv)
	// Devices first: a flow that is selected before all of them are watched
	// would seem to end at the last one that is.
	if err := l.probe.SetInventory(aim.watched(inv, l.wide)); err != nil {
		return fmt.Errorf("attach to this node's devices: %w", err)
	}
	if err := aim.choose(l.probe.Select); err != nil {
		return err
	}
	l.analyser.follow(aim.upstream.pods)
	l.analyser.expect(aim)
	return l.ruleTrace.follow(aim)
}

// renew is retarget in the middle of a trace, which goes on if it fails; what is
// not seen from then on is said with every verdict.
func (l *live) renew(ctx context.Context) {
	err := l.retarget(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		l.log.Warn("selection is out of date", "error", err)
	}
	l.outdated = err
	l.outlook()
}

// lose says, once, that the endpoints are not found any more, and when they are
// again.
func (l *live) lose(err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	switch {
	case why == l.gone:
	case why == "":
		l.say("the endpoints are found again")
	default:
		l.say("warning: %s: going on with what is known", why)
	}
	l.gone = why
}

// run traces until the context ends or done says that it is enough.
func (l *live) run(ctx context.Context, done <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	errs := make(chan error, 3)
	start := func(f func() error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := f(); err != nil && !errors.Is(err, context.Canceled) {
				errs <- err
			}
		}()
	}
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	if st, err := l.probe.Stats(); err == nil {
		l.budget.begin(&st)
	}
	l.analyser.rehearse = l.rehearsal.begin
	start(func() error { return l.probe.Run(ctx, func(ev tracer.Event) { l.analyser.event(&ev) }) })
	start(func() error { return l.node.Watch(ctx, poke) })
	start(func() error { return l.cluster.watch(ctx, poke) })
	start(func() error { return l.readCounters(ctx) })
	err := l.loop(ctx, done, changed, errs)
	cancel()
	wg.Wait() // the ring buffer is drained here
	l.rehearsal.wait()
	return err
}

func (l *live) loop(ctx context.Context, done <-chan struct{}, changed <-chan struct{}, errs <-chan error) error {
	tick, count, beat := time.NewTimer(tickEvery), time.NewTicker(countEvery), time.NewTicker(heartbeat)
	defer tick.Stop()
	defer count.Stop()
	defer beat.Stop()
	wake := changed
	var rested <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-done:
			return nil
		case err := <-errs:
			return err
		case <-tick.C:
			began := time.Now()
			l.analyser.tick(l.probe.CaughtUp(), false)
			tick.Reset(nextTick(time.Since(began), l.analyser.waiting()))
		case <-count.C:
			l.clock()
			l.counts(l.probe.Now())
		case <-beat.C:
			l.heartbeat()
			if l.outdated != nil { // perhaps nothing changes any more
				l.renew(ctx)
			}
		case <-wake:
			began := time.Now()
			l.renew(ctx)
			// Where pods come and go all the time, most of the time is for verdicts.
			wake, rested = nil, time.After(min(2*time.Since(began), maxRest))
		case <-rested:
			wake, rested = changed, nil
		}
	}
}

// nextTick is when the clock moves again after a tick that took so long: soon, if
// flows wait for their verdict and are not so many that looking at them takes more
// than one part of tickShare of the time; never later than while nothing waits.
func nextTick(took time.Duration, waiting bool) time.Duration {
	if !waiting {
		return tickEvery
	}
	return min(max(tickSoon, tickShare*took), tickEvery)
}

// clockSlack is how far the wall clock may be off before that is worth a word.
const clockSlack = 500 * time.Millisecond

// clock tells when the wall clock was set: the trace keeps the one it began with,
// or a flow would seem to last for as long as the step.
func (l *live) clock() {
	step, suspended := l.probe.ClockStep()
	if (step - l.stepped).Abs() < clockSlack {
		return
	}
	l.stepped = step
	text := clockNote(step, suspended)
	l.say("note: %s", text)
	l.analyser.note(l.probe.Now(), text)
}

// clockNote says how far the wall clock is from that of the trace.
func clockNote(step, suspended time.Duration) string {
	text := fmt.Sprintf("the node's clock was set forward by %s", step.Round(time.Millisecond))
	if step < 0 {
		text = fmt.Sprintf("the node's clock was set back by %s", -step.Round(time.Millisecond))
	}
	if step.Abs() < clockSlack {
		text = "the node's clock is again as it was"
	}
	if suspended > clockSlack {
		text += fmt.Sprintf(" (it slept for %s)", suspended.Round(time.Millisecond))
	}
	return text + ": the times of this trace go on from its start"
}

// counts hands the kernel's counts of flows that moved to the analyser, and
// takes note of losses.
func (l *live) counts(now time.Time) {
	st, err := l.probe.Stats()
	if err != nil {
		l.log.Debug("counters are not available", "error", err)
		return
	}
	l.budget.look(&st)
	l.outlook()
	s := l.stats(&st)
	s.Counted = now.After(l.countAfter) && l.flows(now)
	l.analyser.stats(now, s)
	l.analyser.flush()
}

// countShare is the part of the time that reading the flow counts may take.
const countShare = 20

// flows hands on the counts of the flows that moved.
func (l *live) flows(now time.Time) bool {
	began := time.Now()
	defer func() { l.countAfter = now.Add(countShare * time.Since(began)) }()
	flows, err := l.probe.FlowCounts()
	if err != nil {
		l.log.Debug("flow counts are not available", "error", err)
		return false
	}
	before := l.counted
	l.counted = make(map[countKey]uint64, len(before)) // without the flows that the kernel forgot
	for i := range flows {
		f := &flows[i]
		k := countKey{f.DeviceKey, f.Kind, f.Tuple}
		if f.ARP || f.Tunnel != "" || f.Kind == tracer.EventDrop || f.Packets == f.Events {
			continue
		}
		l.counted[k] = f.Packets
		if before[k] == f.Packets {
			continue
		}
		l.analyser.count(&tracer.FlowCount{Kind: f.Kind, Device: f.DeviceKey, Tuple: f.Tuple, Packets: f.Packets, Bytes: f.Bytes, Held: f.Held, TCPFlags: f.TCPFlags, Last: f.Last, FirstMonoNS: f.FirstMonoNS})
	}
	return true
}

// The node's counters are read again so often that a flow's begin close to it, and
// so seldom that this takes no more than one part of readShare of the time.
const (
	readEvery = 5 * time.Second
	readShare = 200
)

// readCounters does that until the context ends. On a node with many namespaces it
// takes longer than verdicts may wait, so that it is not for the loop.
func (l *live) readCounters(ctx context.Context) error {
	rest := time.NewTimer(readEvery)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rest.C:
		}
		began := time.Now()
		if err := l.node.Baseline(ctx); err != nil {
			l.log.Debug("counters were not read again", "error", err)
		}
		rest.Reset(max(readEvery, readShare*time.Since(began)))
	}
}

// recount reads the counters at this moment.
func (l *live) recount() session.Stats {
	st, err := l.probe.Stats()
	if err != nil {
		return session.Stats{}
	}
	return l.stats(&st)
}

func (l *live) stats(st *probe.Stats) session.Stats {
	s := session.Stats{Seen: st.Seen, Lost: st.Lost, Held: st.Held, Unwatched: st.Unwatched, Counters: map[string]uint64{}}
	for kind, counters := range st.Hooks {
		for name, n := range counters {
			if n > 0 {
				s.Counters[string(kind)+"."+name] = n
			}
		}
	}
	for _, p := range st.Programs {
		if p.Missed > 0 { // skipped by the kernel: the program was interrupted by itself
			s.Counters["missed."+p.Name] = p.Missed
		}
	}
	if st.Lost > 0 && !l.alarmed {
		l.alarmed = true
		l.say("warning: %d events were lost so far; counts stay exact, but what was not seen may have happened", st.Lost)
	}
	return s
}

func (l *live) heartbeat() {
	l.analyser.mu.Lock()
	open := len(l.analyser.open)
	l.analyser.mu.Unlock()
	l.say("still tracing: %d flows open", open)
}

// ask reads the node's facts about one flow, within a bounded time. Many flows
// that fail alike (a client that tries again and again) share one answer for a
// moment, so that a storm of failures does not become a storm of questions.
func (l *live) ask(_ uint64, q tracer.Query) *tracer.NodeFacts {
	// The trace has a clock of its own, and the node's readings have Go's.
	if !q.Since.IsZero() {
		q.Since = time.Now().Add(q.Since.Sub(l.probe.Now()))
	}
	return l.asked.ask(fmt.Sprintf("%d %s", l.node.CountedFrom(q.Since).UnixNano(), askKey(q)), q)
}

// answers are the node's facts that are shared for a moment.
type answers struct {
	// read asks for all of them; retrack gives those of another flow with what
	// belongs to this one alone.
	read    func(tracer.Query) *tracer.NodeFacts
	retrack func(tracer.Query, *tracer.NodeFacts) *tracer.NodeFacts
	byKey   map[string]answer
}

type answer struct {
	flow  tracer.Tuple // that it was read for
	facts *tracer.NodeFacts
}

func (s *answers) ask(key string, q tracer.Query) *tracer.NodeFacts {
	if had, ok := s.byKey[key]; ok && time.Since(had.facts.At) < factsAge {
		if had.flow == q.Flow {
			return had.facts
		}
		return s.retrack(q, had.facts)
	}
	if s.byKey == nil || len(s.byKey) > maxAsked {
		s.byKey = map[string]answer{}
	}
	f := s.read(q)
	s.byKey[key] = answer{q.Flow, f}
	return f
}

// askKey is what two queries have in common if their flows differ in nothing
// but the client's port.
func askKey(q tracer.Query) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s %s %s %d %d", q.Flow.Proto, q.Flow.Src.Addr(), q.Flow.Dst, q.Translated.Dst, q.SrcNetNS, q.DstNetNS)
	for i := range q.Drops {
		d := &q.Drops[i]
		fmt.Fprintf(&b, " %v %v %x %s %s %s", d.Device, d.InDevice, d.Mark, d.Drop.Reason, d.Drop.Location, d.Drop.Stage)
	}
	return b.String()
}

func (l *live) read(q tracer.Query) *tracer.NodeFacts {
	read := make(chan rules.Result, 1)
	go func() {
		// The time that is bounded begins when the rules are free to be read.
		l.rehearsal.giveWay(rehearsalGrace)
		ctx, cancel := context.WithTimeout(context.Background(), factsTime)
		defer cancel()
		read <- l.rules.Collect(ctx, q)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), factsTime)
	defer cancel()
	f := l.node.Collect(ctx, q)
	r := <-read
	l.rehearsal.performed()
	r.AddTo(&f)
	return &f
}

// rehearse asks the rules and throws the answer away.
func (l *live) rehearse(ctx context.Context, q tracer.Query) { l.rules.Collect(ctx, q) }

// finish judges what is open after the events have been drained.
func (l *live) finish() {
	l.countAfter = time.Time{}
	l.counts(l.probe.Now())
	// Not now: what came since the last event was read is not known.
	l.analyser.end(l.probe.CaughtUp())
}
