package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// row is one tracer under one load.
type row struct {
	tracer *tracer
	load   *load
	// Of each round, while traced and while not, one right after the other.
	traced, untraced []rate
	// cpu is the tracer's own time in wall, the time that packets were sent.
	cpu, wall time.Duration
	rssMiB    float64 // the most of all windows
	// totals are shared by the rows of one tracer.
	totals *totals
}

// totals is what a tracer had to say, over all of its runs.
type totals struct {
	events, lost uint64  // podpath: reported or wanted to, of these lost
	unwatched    uint64  // podpath: passed where its budget had let it look away
	held         uint64  // podpath: only counted, for its budget
	stepped      int     // podpath: runs in which its budget made it do less
	due          uint64  // what it should have told of
	captured     uint64  // of these told
	admitted     uint64  // of those missing, how many it says
	drops        uint64  // counted by the rule
	peakMiB      float64 // since it was started
	runs         int
	failures     int       // runs of another tool that came to nothing
	failure      string    // the last of these
	attach       []float64 // seconds from start until ready
	ending       []float64 // seconds from interrupt until gone
}

// compare measures every tracer in every round. Each window with a tracer has
// one without it right before or after, so that a slow minute of the machine
// hits both; which comes first alternates, and so does who begins a round.
func (b *bench) compare(ctx context.Context) ([]*tracer, []*row, error) {
	loads, tracers := b.top.loads(), b.tracers()
	rows := newRows(tracers, loads)
	for _, l := range loads { // fill caches, and show that packets arrive
		if _, err := l.send(ctx, b.opts.window); err != nil {
			return nil, nil, fmt.Errorf("warm up: %s: %w", l.name, err)
		}
	}
	for round := range b.opts.rounds {
		b.progress("round %d of %d", round+1, b.opts.rounds)
		at := round % len(tracers)
		order := slices.Concat(tracers[at:], tracers[:at])
		for two := range slices.Chunk(order, 2) {
			if err := b.two(ctx, two, rows, round%2 == 0); err != nil {
				return nil, nil, fmt.Errorf("round %d: %w", round+1, err)
			}
		}
	}
	return tracers, inOrder(loads, rows), nil
}

func newRows(tracers []*tracer, loads []*load) []*row {
	var rows []*row
	for _, tr := range tracers {
		sum := &totals{}
		for _, l := range loads {
			if tr.loads&l.bit != 0 {
				rows = append(rows, &row{tracer: tr, load: l, totals: sum})
			}
		}
	}
	return rows
}

func of(tr *tracer, rows []*row) []*row {
	var out []*row
	for _, r := range rows {
		if r.tracer == tr {
			out = append(out, r)
		}
	}
	return out
}

func inOrder(loads []*load, rows []*row) []*row {
	var out []*row
	for _, l := range loads {
		for _, r := range rows {
			if r.load == l {
				out = append(out, r)
			}
		}
	}
	return out
}

// two measures the rows of two tracers; the windows without them lie between.
// One that is left over comes first or last.
func (b *bench) two(ctx context.Context, two []*tracer, rows []*row, tracedFirst bool) error {
	between := of(two[0], rows)
	steps := []func() error{
		func() error { return b.traced(ctx, two[0], of(two[0], rows)) },
		func() error { return b.untraced(ctx, between) },
	}
	switch {
	case len(two) == 2:
		between = append(between, of(two[1], rows)...)
		steps = append(steps, func() error { return b.traced(ctx, two[1], of(two[1], rows)) })
	case !tracedFirst:
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	for _, r := range between { // a tool that failed has no window to pair
		n := min(len(r.traced), len(r.untraced))
		r.traced, r.untraced = r.traced[:n], r.untraced[:n]
	}
	return nil
}

// untraced measures each load of the rows once.
func (b *bench) untraced(ctx context.Context, rows []*row) error {
	got := map[*load]rate{}
	for _, r := range rows {
		m, ok := got[r.load]
		if !ok {
			var err error
			if m, err = r.load.send(ctx, b.opts.window); err != nil {
				return fmt.Errorf("untraced: %s: %w", r.load.name, err)
			}
			got[r.load] = m
		}
		r.untraced = append(r.untraced, m)
	}
	return nil
}

func (b *bench) traced(ctx context.Context, tr *tracer, rows []*row) error {
	if len(rows) == 0 {
		return nil
	}
	err := b.watch(ctx, tr, rows[0].totals, func(t *tool) error {
		for _, r := range rows {
			if err := b.window(ctx, t, r); err != nil {
				return fmt.Errorf("%s: %w", r.load.name, err)
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	if tr.peer != nil && ctx.Err() == nil {
		rows[0].totals.failed(err)
		b.progress("%s failed: %v", tr.name, err)
		return nil
	}
	return fmt.Errorf("%s: %w", tr.name, err)
}

// window measures one row while its tracer runs, if there is one.
func (b *bench) window(ctx context.Context, t *tool, r *row) error {
	if t == nil {
		m, err := r.load.send(ctx, b.opts.window)
		r.traced = append(r.traced, m)
		return err
	}
	before, err := t.cpu()
	if err != nil {
		return err
	}
	m, err := r.load.send(ctx, b.opts.window)
	if err != nil {
		return err
	}
	after, err := t.cpu()
	if err != nil {
		return err
	}
	r.traced = append(r.traced, m)
	r.cpu, r.wall = r.cpu+after-before, r.wall+m.wall
	peak, now, err := t.memory()
	r.rssMiB, r.totals.peakMiB = max(r.rssMiB, now), max(r.totals.peakMiB, peak)
	return err
}

// watch runs f while the tracer runs, and then holds what it said against the
// counters of devices and rules.
func (b *bench) watch(ctx context.Context, tr *tracer, sum *totals, f func(*tool) error) (err error) {
	if tr.command == nil {
		return f(nil)
	}
	if tr.peer != nil && tr.peer.arm != "" {
		if err := b.top.nft(ctx, tr.peer.arm); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.top.nft(ctx, tr.peer.disarm)) }()
	}
	before, err := b.truth(ctx, tr)
	if err != nil {
		return err
	}
	t, err := startTool(ctx, b.top.spawn, b.top.node, *tr.command)
	if err != nil {
		return err
	}
	defer t.close()
	if tr.peer != nil {
		t.stopTime = peerStopTime
	}
	if err := f(t); err != nil {
		t.kill()
		return err
	}
	after, err := b.truth(ctx, tr)
	if err != nil {
		t.kill()
		return err
	}
	ids, err := t.programs()
	if err != nil {
		t.kill()
		return err
	}
	if err := t.stop(); err != nil {
		return err
	}
	if tr.peer == nil {
		if err := untilGone(ctx, ids); err != nil {
			return err
		}
	}
	said, err := tr.parse(t)
	if err != nil {
		return err
	}
	want := after.minus(before)
	sum.add(tr, t, said, want)
	return tr.verify(said, want)
}

// failed keeps why another tool could not be measured in a round.
func (s *totals) failed(err error) {
	s.failures++
	s.failure = err.Error()
}

func (s *totals) add(tr *tracer, t *tool, f *found, want truth) {
	s.runs++
	s.attach = append(s.attach, t.attach.Seconds())
	s.ending = append(s.ending, t.ending.Seconds())
	s.drops += want.ruleDrops
	if tr.peer == nil {
		s.events += f.summary.Events
		s.lost += f.summary.Lost
		s.due += want.rx + want.tx
		s.held += f.held("rx") + f.held("tx") + f.held("drop")
		if f.steppedBack() {
			s.stepped++
		}
		if f.unwatched() {
			s.unwatched += want.rx + want.tx - min(want.rx+want.tx, f.seenAt("rx")+f.seenAt("tx"))
		}
		return
	}
	s.due += tr.peer.due(want)
	s.captured += f.captured
	s.admitted += f.dropped
}

// truth reads the counters of the devices that a tracer watches.
func (b *bench) truth(ctx context.Context, tr *tracer) (truth, error) {
	var out truth
	add := func(s *space, name string) error {
		c, err := s.device(name)
		out.rx += c.rx
		out.tx += c.tx + c.refused // hooks see it before it is refused
		return err
	}
	for _, name := range []string{"cni0", "eth0"} {
		if err := add(b.top.node, name); err != nil {
			return truth{}, err
		}
	}
	for i, p := range b.top.pods {
		if tr.peer == nil && !slices.Contains(tr.watched, i) {
			continue
		}
		if err := add(b.top.node, p.veth); err != nil {
			return truth{}, err
		}
		if tr.peer != nil { // stays in the node's namespace
			continue
		}
		if err := add(p.space, "eth0"); err != nil {
			return truth{}, err
		}
	}
	var err error
	if out.refused, err = b.top.refused(); err != nil {
		return truth{}, err
	}
	if out.resent, err = b.top.resent(); err != nil {
		return truth{}, err
	}
	if tr.peer != nil && tr.peer.arm != "" {
		if out.traced, err = b.top.counter(ctx, "bench-trace", "traced"); err != nil {
			return truth{}, err
		}
	}
	out.ruleDrops, err = b.top.ruleCount(ctx)
	return out, err
}
