package main

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/path"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/session"
	"github.com/podpath/podpath/tracer/verdict"
)

// analyser is the one way from events to verdicts, for live traffic and for
// recordings alike: whatever it consumes, in that order, can be recorded and
// given to it again. Its methods may be called from several goroutines.
type analyser struct {
	mu        sync.Mutex
	joiner    *path.Joiner
	engine    *verdict.Engine
	ledger    verdict.Ledger
	trail     verdict.Trail
	node      string
	inv       tracer.Inventory
	blind     []tracer.Blind
	lost      uint64
	budget    seenLess
	unwatched unwatched
	// followed are the DNS pods whose questions to servers outside are watched.
	followed []netip.Addr
	// untried follows the lookups for a destination that was given by name; nil if it
	// was not.
	untried *untried
	// families finds what is one request over both.
	families families
	// told is what was found out in this tick of what DNS servers asked of others
	// in vain. It is not kept where behindOnce is false: older recordings have the
	// facts for each.
	told       map[asked]*tracer.Verdict
	behindOnce bool
	// counted is the moment whose counts were handed on last.
	counted time.Time
	open    []uint64 // flows without a verdict, oldest first
	// deciding are those that are due in this tick, and not judged yet.
	deciding []due
	known    map[uint64]flowState

	rec recorder
	// view gives the cluster at a moment; nil results mean "not known".
	view func(time.Time) *kube.Snapshot
	// stale is how old the cluster data is because the API server is away.
	stale func() time.Duration
	// ask reads the node's facts about one flow.
	ask func(id uint64, q tracer.Query) *tracer.NodeFacts
	// rehearse is told of a flow that may be asked about soon; nil in a replay.
	rehearse func(func() tracer.Query)
	// recount reads the kernel's counters, so that a verdict knows of every event
	// before it that was lost or held back; nil in a replay, where they are records.
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
		told: map[asked]*tracer.Verdict{}, behindOnce: true,
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
		a.untried.note(ev, nil)
		return
	}
	state, known := a.known[id]
	switch {
	case !known:
		a.known[id] = isOpen
		a.open = append(a.open, id)
		if j, ok := a.joiner.Peek(id); ok {
			a.untried.note(ev, j)
			a.families.note(j)
		}
		a.prune()
	case state == isHealthy && troubled(ev):
		// It was well; what comes now may say otherwise.
		a.known[id] = isReopened
		a.open = append(a.open, id)
	}
	if state = a.known[id]; a.rehearse != nil && (state == isOpen || state == isReopened) && troubled(ev) {
		if j, ok := a.joiner.Peek(id); ok {
			a.rehearse(func() tracer.Query { return a.joiner.Query(j) })
		}
	}
}

// troubled: the event tells of something that failed, of one packet at least.
func troubled(ev *tracer.Event) bool {
	return ev.Drop != nil || ev.Retransmit || ev.TCPFlags&tracer.TCPRst != 0 || ev.IsICMPError()
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
func (a *analyser) snapshot(now time.Time, view *kube.Snapshot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.cluster(now, view)
}

// note records a remark for whoever reads the recording.
func (a *analyser) note(now time.Time, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.note(now, text)
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
	a.budget.held(now, s.Held)
	a.unwatched.note(now, s.Unwatched)
	if s.Counted {
		a.counted = now
	}
}

// step takes note of what the budget lets the probe show from now on.
func (a *analyser) step(s tracer.BudgetStep) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.budget(&s)
	a.budget.step(&s)
	a.joiner.SetErrorsOpen(s.Level != tracer.BudgetFull && s.Level != tracer.BudgetFlows)
}

// unwatched is how many devices took no program, of late.
type unwatched struct {
	devices int
	onAt    time.Time // when there were some last
}

func (u *unwatched) note(now time.Time, devices int) {
	if devices > 0 || u.devices > 0 {
		u.onAt = now
	}
	u.devices = devices
}

// since reports whether that was so at any time from a moment on.
func (u *unwatched) since(from time.Time) bool { return u.devices > 0 || u.onAt.After(from) }

// seenLess is what the budget has kept from being seen so far.
type seenLess struct {
	total uint64    // packets held back
	last  time.Time // when that was last found to have grown
	level tracer.BudgetLevel
	onAt  time.Time // when devices were watched again
	steps []tracer.BudgetStep
}

func (b *seenLess) held(now time.Time, total uint64) {
	if total > b.total {
		b.total, b.last = total, now
	}
}

func (b *seenLess) step(s *tracer.BudgetStep) {
	if b.level.DevicesOff() && !s.Level.DevicesOff() {
		b.onAt = s.Time
	}
	b.level = s.Level
	b.steps = append(b.steps, *s)
}

// holding: packets are held back at this time, as far as is known.
func (b *seenLess) holding(now time.Time) bool {
	return b.level != "" && b.level != tracer.BudgetFull || b.total > 0 && now.Sub(b.last) < heldRecently
}

// heldRecently covers a few looks at the counters.
const heldRecently = 2 * time.Second

// during is what was held back, of all flows, if any was since a moment, and
// whether devices were not watched since then.
func (b *seenLess) during(from time.Time) (held uint64, off bool) {
	if b.total > 0 && !b.last.Before(from) {
		held = b.total
	}
	return held, b.level.DevicesOff() || b.onAt.After(from)
}

// learnLoss takes note of events lost or held back since stats was called last.
func (a *analyser) learnLoss(now time.Time) {
	if a.recount == nil {
		return
	}
	if s := a.recount(); s.Lost > a.lost || s.Held > a.budget.total {
		a.rec.stats(now, s)
		a.lost = s.Lost
		a.budget.held(now, s.Held)
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
	clear(a.told)
	decided := ending && a.settle(now, true, true)
	if !ending || !a.said { // rather an open answer than none
		decided = a.settle(now, ending, false) || decided
	}
	a.lookups(now, ending, decided)
}

// settle judges the flows that are due, if any are: at the end those are all, but for
// the ones under way that are to be spared.
func (a *analyser) settle(now time.Time, ending, spare bool) (decided bool) {
	learned := false
	var list []due
	asking := sync.OnceValue(func() map[netip.Addr][]*tracer.Journey { return a.asking(now) })
	a.open = slices.DeleteFunc(a.open, func(id uint64) bool {
		j, ok := a.joiner.Peek(id)
		if !ok {
			return true
		}
		if a.known[id] == isJudged {
			return true // with another flow of the same request
		}
		outcome, settled := verdict.Settle(j, now, ending)
		if !settled {
			return false
		}
		if a.fellBack(j, outcome, now, spare) {
			return ending // it is told with the other one, or not at all
		}
		outcome = a.answered(id, outcome)
		if !learned {
			a.learnLoss(now)
			learned = true
		}
		if !ending && (a.awaitsCounts(j, outcome, now) || verdict.Waits(outcome) && awaitsOwn(j, asking())) || spare && outcome != tracer.OutcomeDelivered && underWay(j, now) {
			return false
		}
		again := a.known[id] == isReopened
		if outcome == tracer.OutcomeDelivered {
			a.known[id] = isHealthy
			if again {
				return true // said already
			}
		} else {
			a.known[id] = isJudged
		}
		list = append(list, due{id: id, target: j.Translated.Dst.Addr(), source: j.Flow.Src.Addr(), outcome: outcome, again: again})
		return true
	})
	if len(list) > 0 { // a tick at which nothing is decided changes nothing
		a.rec.tick(now)
	}
	list = causesFirst(list)
	for i, d := range list {
		a.deciding = list[i+1:]
		j, _ := a.joiner.Journey(d.id)
		a.decide(j, d.outcome, now, d.again)
	}
	return len(list) > 0
}

// due is a flow that can be judged now.
type due struct {
	id             uint64
	source, target netip.Addr
	outcome        tracer.Outcome
	again          bool
}

// causesFirst puts flows after those that failed and that their targets had begun:
// a server may not answer because it is not answered itself, nor may who asked that
// one. Those that wait for each other keep their order.
func causesFirst(list []due) []due {
	failing := map[netip.Addr]int{} // flows still to be placed, by their source
	for _, d := range list {
		if d.outcome != tracer.OutcomeDelivered {
			failing[d.source]++
		}
	}
	placed := make([]due, 0, len(list))
	for len(list) > 0 {
		var ready, waiting []due
		for _, d := range list {
			if d.outcome != tracer.OutcomeDelivered && d.source != d.target && failing[d.target] > 0 {
				waiting = append(waiting, d)
			} else {
				ready = append(ready, d)
			}
		}
		if len(ready) == 0 {
			return append(placed, waiting...)
		}
		for _, d := range ready {
			if d.outcome != tracer.OutcomeDelivered {
				failing[d.source]--
			}
		}
		placed, list = append(placed, ready...), waiting
	}
	return placed
}

// asking are the open flows that have had no answer and are not due, by their
// source.
func (a *analyser) asking(now time.Time) map[netip.Addr][]*tracer.Journey {
	by := map[netip.Addr][]*tracer.Journey{}
	for _, id := range a.open {
		j, ok := a.joiner.Peek(id)
		if !ok || len(j.Answers) > 0 {
			continue
		}
		if _, settled := verdict.Settle(j, now, false); !settled {
			by[j.Flow.Src.Addr()] = append(by[j.Flow.Src.Addr()], j)
		}
	}
	return by
}

// awaitsOwn: the target asked somebody itself for this flow's request, and whether
// it will be answered is not known yet.
func awaitsOwn(j *tracer.Journey, asking map[netip.Addr][]*tracer.Journey) bool {
	return slices.ContainsFunc(asking[j.Translated.Dst.Addr()], func(own *tracer.Journey) bool { return verdict.Awaits(j, own) })
}

// answered looks at what the answers to lookups say. How a search list ended is
// known only now, when the flow is due.
func (a *analyser) answered(id uint64, o tracer.Outcome) tracer.Outcome {
	if o != tracer.OutcomeDelivered {
		return o
	}
	j, ok := a.joiner.Peek(id)
	if !ok {
		return o
	}
	return verdict.Answered(j, a.joiner.Lookup(id))
}

// awaitsCounts: what the events suggest is to be compared with the counts first,
// because packets were held back that may have told another story. A reset with
// nothing before it can end a connection that was never shown.
func (a *analyser) awaitsCounts(j *tracer.Journey, o tracer.Outcome, now time.Time) bool {
	if o == tracer.OutcomeDelivered || a.counted.After(j.Last) {
		return false
	}
	return a.budget.holding(now) || j.Mid && o == tracer.OutcomeRefused
}

// underWay: the end of the trace came between a flow's packets, and nothing
// speaks against it so far.
func underWay(j *tracer.Journey, now time.Time) bool {
	_, due := verdict.Settle(j, now, false)
	return !due && now.Sub(j.Last) < stillMoving && j.Attempts <= 1 && (j.Retransmits == 0 || probed(j, now)) &&
		!slices.ContainsFunc(j.Drops, func(d tracer.DropSeen) bool { return !repeated(&d) })
}

// probed: one packet was sent again, sooner than a time-out makes a sender do. It
// asks like that for an acknowledgement that is late (tcp_send_loss_probe), as it may
// be on a machine with much to do. The first sending was seen, too, or the second
// would not be known for one.
func probed(j *tracer.Journey, now time.Time) bool {
	return j.Retransmits == 1 && now.Sub(j.First) < leastRTO
}

// leastRTO is TCP_RTO_MIN (include/net/tcp.h).
const leastRTO = 200 * time.Millisecond

// repeated: a socket has no use for a packet that it has had before.
func repeated(d *tracer.DropSeen) bool {
	return d.Drop.Stage == tracer.StageSocket && d.Drop.Reason == "TCP_OLD_SEQUENCE" && d.Count == 1
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

// unseen gives a verdict for what was asked for but never seen. Of flows that stand
// for any other only a fault is told.
func (a *analyser) unseen(flows []tracer.Tuple, standIn bool, now time.Time) (given bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.note(now, unseenNote)
	for _, t := range flows {
		j := &tracer.Journey{Flow: t, Translated: t, First: now, Last: now}
		if d, ok := a.inv.Owner(t.Src.Addr()); ok {
			j.SrcDevice = d.DeviceKey
		}
		if d, ok := a.inv.Owner(t.Dst.Addr()); ok {
			j.DstDevice = d.DeviceKey
		}
		if !standIn {
			a.decide(j, tracer.OutcomeNotSeen, now, false)
			return true
		}
		in := a.input(j, tracer.OutcomeNotSeen, now)
		in.StandIn = true
		v := a.engine.Decide(in)
		// Of two families one may be without a route on purpose, until it is tried.
		if v.Code != tracer.CodeUnknown && (len(flows) == 1 || v.Confidence == tracer.Confirmed) {
			a.emit(v)
			return true
		}
	}
	return false
}

// decide gives the verdict for a flow; again: it was said to be well before.
func (a *analyser) decide(j *tracer.Journey, outcome tracer.Outcome, now time.Time, again bool) {
	if a.enough {
		return
	}
	in := a.input(j, outcome, now)
	if outcome != tracer.OutcomeDelivered {
		in.Behind = a.behind(j, now)
	}
	in.Beside = a.ledger.Beside(in, again)
	a.ledger.Add(in, again)
	in.Outside = a.ledger.Outside(in, flows{a})
	in.Within = a.trail.Within(j)
	v := a.engine.Decide(in)
	if outcome == tracer.OutcomeDelivered && !again {
		if also := a.firstTry(j, now); also != nil {
			v.AlsoSeen = append(v.AlsoSeen, *also)
		}
	}
	a.trail.Add(v)
	a.give(v, now)
}

// maxBeside bounds the flows without a verdict that one which gets its own is held
// against.
const maxBeside = 512

// flows are the analyser's, with its lock held.
type flows struct{ *analyser }

// Peek is what is known of a flow now.
func (a flows) Peek(id uint64) (*tracer.Journey, bool) { return a.joiner.Peek(id) }

// Unjudged are the flows that have no verdict yet, those that are due first, then the
// oldest.
func (a flows) Unjudged() []*tracer.Journey {
	var list []*tracer.Journey
	take := func(id uint64) {
		if j, ok := a.joiner.Peek(id); ok && len(list) < maxBeside {
			list = append(list, j)
		}
	}
	for _, d := range a.deciding[:min(len(a.deciding), maxBeside)] {
		take(d.id)
	}
	for _, id := range a.open[:min(len(a.open), maxBeside)] {
		take(id)
	}
	return list
}

// give hands a verdict out.
func (a *analyser) give(v *tracer.Verdict, now time.Time) {
	a.said = true
	if !a.emit(v) {
		a.enough = true
		a.rec.enough(now)
	}
}

// waiting: there are flows without a verdict.
func (a *analyser) waiting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.open) > 0
}

// shares are the destinations that a part of the connections failed to reach.
func (a *analyser) shares() []tracer.Shares {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ledger.Shares()
}

// input is all that is known of a flow; of one that failed, the node's facts too.
func (a *analyser) input(j *tracer.Journey, outcome tracer.Outcome, now time.Time) *verdict.Input {
	in := &verdict.Input{
		Journey: j, Outcome: outcome, Inventory: &a.inv, NodeName: a.node, Now: now, Lost: a.lost,
		Blind: a.blind, Cluster: a.cluster(j),
	}
	in.Held, in.DevicesOff = a.budget.during(j.First)
	in.Unwatched = a.unwatched.since(j.First)
	in.Unheard = a.unheard(j)
	// In a replay, only the recorder's word tells that there was no room for it.
	in.Followed = slices.Contains(a.followed, j.Translated.Dst.Addr()) && !slices.Contains(a.blind, unfollowed)
	j.Partial = in.Held > 0 || in.DevicesOff || in.Unwatched || in.Unheard
	if outcome != tracer.OutcomeDelivered {
		in.Node = a.ask(j.ID, a.joiner.Query(j))
		a.rec.facts(j.ID, in.Node)
	}
	return in
}

// unheard: what an end of the flow receives passes no hook, and nothing that it
// sends, nor a drop, tells of it.
func (a *analyser) unheard(j *tracer.Journey) bool {
	if len(j.Answers)+len(j.Drops) > 0 || !slices.Contains(a.blind, probe.BlindTakenOver) {
		return false
	}
	takesOver := func(addr netip.Addr) bool {
		d, ok := a.inv.Owner(addr)
		return ok && d.TakesOver()
	}
	return j.Flow.Proto != tracer.ProtoTCP && takesOver(j.Flow.Src.Addr()) || !j.ReachedTarget && takesOver(j.Translated.Dst.Addr())
}

func (a *analyser) cluster(j *tracer.Journey) *tracer.ClusterFacts {
	view := a.view(j.First)
	if view == nil {
		return &tracer.ClusterFacts{}
	}
	a.rec.cluster(j.Last, view)
	c := clusterFacts(view, j, a.node)
	nameHost(c, &a.inv)
	c.Bystanders = bystanders(view, c, j, &a.inv)
	c.Stale = a.stale()
	return c
}
