package main

import (
	"slices"
	"sync"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/path"
	"github.com/podpath/podpath/tracer/session"
	"github.com/podpath/podpath/tracer/verdict"
)

// analyser is the one way from events to verdicts, for live traffic and for
// recordings alike: whatever it consumes, in that order, can be recorded and
// given to it again. Its methods may be called from several goroutines.
type analyser struct {
	mu     sync.Mutex
	joiner *path.Joiner
	engine *verdict.Engine
	node   string
	inv    tracer.Inventory
	blind  []tracer.Blind
	lost   uint64
	open   []uint64 // flows without a verdict, oldest first
	known  map[uint64]flowState

	rec recorder
	// view gives the cluster at a moment; nil results mean "not known".
	view func(time.Time) *kube.Snapshot
	// stale is how old the cluster data is because the API server is away.
	stale func() time.Duration
	// ask reads the node's facts about one flow.
	ask func(id uint64, q tracer.Query) *tracer.NodeFacts
	// recount reads the kernel's counters, so that a verdict knows of every loss
	// before it; nil in a replay, where they are records.
	recount func() session.Stats
	// emit takes the verdicts and says whether it wants more; it is called with
	// the lock held.
	emit func(*tracer.Verdict) (more bool)
	// said is set when a verdict was given.
	said bool
	// enough is set when no more verdicts are wanted.
	enough bool
}

func newAnalyser(node string, want path.Want) *analyser {
	return &analyser{
		joiner: path.New(want), engine: verdict.NewEngine(), node: node, known: map[uint64]flowState{},
		view:  func(time.Time) *kube.Snapshot { return nil },
		stale: func() time.Duration { return 0 },
		ask:   func(uint64, tracer.Query) *tracer.NodeFacts { return nil },
		emit:  func(*tracer.Verdict) bool { return true },
	}
}

func (a *analyser) event(ev *tracer.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.event(ev)
	id := a.joiner.Add(ev)
	if id == 0 {
		return
	}
	state, known := a.known[id]
	switch {
	case !known:
		a.known[id] = isOpen
		a.open = append(a.open, id)
		a.prune()
	case state == isHealthy && (ev.Drop != nil || ev.Retransmit || ev.TCPFlags&tracer.TCPRst != 0 || ev.IsICMPError()):
		// It was well; what comes now may say otherwise.
		a.known[id] = isReopened
		a.open = append(a.open, id)
	}
}

// flowState is what the analyser has said of a flow.
type flowState uint8

const (
	isOpen     flowState = iota // nothing yet
	isHealthy                   // answered
	isReopened                  // answered, and then there was trouble
	isJudged                    // at fault, or undecided
)

// prune forgets flows that the joiner has forgotten.
func (a *analyser) prune() {
	if len(a.known) < 2*path.DefaultMaxFlows {
		return
	}
	for id := range a.known {
		if _, ok := a.joiner.Peek(id); !ok {
			delete(a.known, id)
		}
	}
}

func (a *analyser) inventory(inv tracer.Inventory) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.inventory(&inv)
	a.inv = inv
	a.joiner.SetInventory(inv)
}

// snapshot records the cluster's state that the selection rests on.
func (a *analyser) snapshot(view *kube.Snapshot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.cluster(time.Now().Round(0), view)
}

func (a *analyser) want(w path.Want) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.joiner.SetWant(w)
}

func (a *analyser) count(c *tracer.FlowCount) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.count(c)
	a.joiner.Count(c)
}

func (a *analyser) visibility(blind []tracer.Blind) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.blind(blind)
	a.blind = blind
}

func (a *analyser) stats(now time.Time, s session.Stats) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.stats(now, s)
	a.lost = s.Lost
}

// learnLoss takes note of losses since stats was called last.
func (a *analyser) learnLoss(now time.Time) {
	if a.recount == nil {
		return
	}
	if s := a.recount(); s.Lost > a.lost {
		a.rec.stats(now, s)
		a.lost = s.Lost
	}
}

// flush writes out what was recorded so far.
func (a *analyser) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.flush()
}

// tick moves the clock and decides what can be decided.
func (a *analyser) tick(now time.Time, ending bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.enough {
		return
	}
	if ending {
		a.settle(now, true, true)
	}
	if !ending || !a.said { // rather an open answer than none
		a.settle(now, ending, false)
	}
}

// settle judges the flows that are due: at the end those are all, but for the
// ones under way that are to be spared.
func (a *analyser) settle(now time.Time, ending, spare bool) {
	ticked := false
	a.open = slices.DeleteFunc(a.open, func(id uint64) bool {
		j, ok := a.joiner.Peek(id)
		if !ok {
			return true
		}
		outcome, settled := verdict.Settle(j, now, ending)
		if !settled || spare && outcome != tracer.OutcomeDelivered && underWay(j, now) {
			return false
		}
		if outcome == tracer.OutcomeDelivered {
			again := a.known[id] == isReopened
			a.known[id] = isHealthy
			if again {
				return true // said already
			}
		} else {
			a.known[id] = isJudged
		}
		j, _ = a.joiner.Journey(id)
		if !ticked { // a tick at which nothing is decided changes nothing
			a.learnLoss(now)
			a.rec.tick(now)
			ticked = true
		}
		a.decide(j, outcome, now)
		return true
	})
}

// underWay: the end of the trace came between a flow's packets, and nothing
// speaks against it so far.
func underWay(j *tracer.Journey, now time.Time) bool {
	_, due := verdict.Settle(j, now, false)
	return !due && now.Sub(j.Last) < stillMoving && j.Attempts <= 1 && j.Retransmits == 0 && len(j.Drops) == 0
}

// stillMoving is how recent a packet of a flow under way is: well below a
// retransmission time-out, so that a silent loss is not taken for one.
const stillMoving = 150 * time.Millisecond

// end judges what is still open; nothing more will come.
func (a *analyser) end(now time.Time) {
	a.mu.Lock()
	a.rec.end(now)
	a.mu.Unlock()
	a.tick(now, true)
}

// unseen gives a verdict for a flow that was asked for but never seen.
func (a *analyser) unseen(t tracer.Tuple, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j := &tracer.Journey{Flow: t, Translated: t, First: now, Last: now}
	if d, ok := a.inv.Owner(t.Src.Addr()); ok {
		j.SrcDevice = d.DeviceKey
	}
	if d, ok := a.inv.Owner(t.Dst.Addr()); ok {
		j.DstDevice = d.DeviceKey
	}
	a.decide(j, tracer.OutcomeNotSeen, now)
}

func (a *analyser) decide(j *tracer.Journey, outcome tracer.Outcome, now time.Time) {
	if a.enough {
		return
	}
	in := &verdict.Input{
		Journey: j, Outcome: outcome, Inventory: &a.inv, NodeName: a.node, Now: now, Lost: a.lost,
		Blind: a.blind, Cluster: a.cluster(j),
	}
	if outcome != tracer.OutcomeDelivered {
		in.Node = a.ask(j.ID, a.joiner.Query(j))
		a.rec.facts(j.ID, in.Node)
	}
	a.said = true
	if !a.emit(a.engine.Decide(in)) {
		a.enough = true
		a.rec.enough(now)
	}
}

func (a *analyser) cluster(j *tracer.Journey) *tracer.ClusterFacts {
	view := a.view(j.First)
	if view == nil {
		return &tracer.ClusterFacts{}
	}
	a.rec.cluster(j.Last, view)
	c := clusterFacts(view, j, a.node)
	nameHost(c, &a.inv)
	c.Stale = a.stale()
	return c
}
