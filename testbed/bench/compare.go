package main

import (
	"context"
	"fmt"
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
	peakKiB   int64
	// totals are shared by the rows of one tracer.
	totals *totals
}

func (r *row) rates(of []rate) []float64 {
	var out []float64
	for _, m := range of {
		out = append(out, m.perSecond())
	}
	return out
}

// ratios of the rate while traced to the rate while not.
func (r *row) ratios() []float64 { return pairwise(r.traced, r.untraced, rate.perSecond, divide) }

// bestRatio compares the best rounds: what disturbs a machine only slows.
func (r *row) bestRatio() float64 {
	return quantile(r.rates(r.traced), 1) / quantile(r.rates(r.untraced), 1)
}

// addedNS is what tracing adds to the sender's CPU time for each packet.
func (r *row) addedNS() []float64 { return pairwise(r.traced, r.untraced, rate.cpuNS, subtract) }

// cpuRatios are ratios, had the sender had its CPU for itself.
func (r *row) cpuRatios() []float64 { return pairwise(r.untraced, r.traced, rate.cpuNS, divide) }

// totals is what a tracer had to say, over all of its runs.
type totals struct {
	events, lost uint64 // podpath: reported or wanted to, of these lost
	truth        uint64 // tcpdump: packets that it should have got
	captured     uint64 // of these written
	admitted     uint64 // of those missing, how many it says
	drops        uint64 // counted by the rule
	runs         int
	attach       []float64 // seconds from start until ready
	ending       []float64 // seconds from interrupt until gone
}

// compare measures every tracer in every round. Each window with a tracer has
// one without it right before or after, so that a slow minute of the machine
// hits both; which comes first alternates, and so does who begins a round.
func (b *bench) compare(ctx context.Context) ([]*row, error) {
	loads := b.top.loads()
	tracers := b.tracers()
	rows := map[*tracer][]*row{}
	for _, tr := range tracers {
		sum := &totals{}
		for i, l := range loads {
			if tr.loads&(1<<i) != 0 {
				rows[tr] = append(rows[tr], &row{tracer: tr, load: l, totals: sum})
			}
		}
	}
	for _, l := range loads { // fill caches, and show that packets arrive
		if _, err := b.top.measure(ctx, l, b.opts.window, 0, 1); err != nil {
			return nil, fmt.Errorf("warm up: %w", err)
		}
	}
	for round := range b.opts.rounds {
		b.progress("round %d of %d", round+1, b.opts.rounds)
		for i := range tracers {
			tr := tracers[(i+round)%len(tracers)]
			if err := b.pair(ctx, tr, rows[tr], (i+round)%2 == 0); err != nil {
				return nil, fmt.Errorf("round %d: %w", round+1, err)
			}
		}
	}
	return inOrder(tracers, loads, rows), nil
}

func inOrder(tracers []*tracer, loads []*load, rows map[*tracer][]*row) []*row {
	var out []*row
	for _, l := range loads {
		for _, tr := range tracers {
			for _, r := range rows[tr] {
				if r.load == l {
					out = append(out, r)
				}
			}
		}
	}
	return out
}

// pair measures the rows of one tracer, with and without it.
func (b *bench) pair(ctx context.Context, tr *tracer, rows []*row, tracedFirst bool) error {
	steps := []func() error{
		func() error { return b.untraced(ctx, rows) },
		func() error { return b.traced(ctx, tr, rows) },
	}
	if tracedFirst {
		steps[0], steps[1] = steps[1], steps[0]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("%s: %w", tr.name, err)
		}
	}
	return nil
}

func (b *bench) untraced(ctx context.Context, rows []*row) error {
	for _, r := range rows {
		m, err := b.top.measure(ctx, r.load, b.opts.window, 0, 1)
		if err != nil {
			return err
		}
		r.untraced = append(r.untraced, m)
	}
	return nil
}

func (b *bench) traced(ctx context.Context, tr *tracer, rows []*row) error {
	if tr.command == nil {
		for _, r := range rows {
			m, err := b.top.measure(ctx, r.load, b.opts.window, 0, 1)
			if err != nil {
				return err
			}
			r.traced = append(r.traced, m)
		}
		return nil
	}
	return b.watch(ctx, tr, rows[0].totals, func(t *tool) error {
		for _, r := range rows {
			if err := b.window(ctx, t, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// window measures one row while its tracer runs.
func (b *bench) window(ctx context.Context, t *tool, r *row) error {
	before, err := t.cpu()
	if err != nil {
		return err
	}
	m, err := b.top.measure(ctx, r.load, b.opts.window, 0, 1)
	if err != nil {
		return err
	}
	after, err := t.cpu()
	if err != nil {
		return err
	}
	r.traced = append(r.traced, m)
	r.cpu, r.wall = r.cpu+after-before, r.wall+m.wall
	peak, err := t.peakKiB()
	r.peakKiB = max(r.peakKiB, peak)
	return err
}

// watch runs f while the tracer runs, and then holds what it said against the
// counters of devices and rule.
func (b *bench) watch(ctx context.Context, tr *tracer, sum *totals, f func(*tool) error) error {
	before, err := b.truth(ctx, tr)
	if err != nil {
		return err
	}
	t, err := startTool(ctx, b.top.spawn, b.top.node, *tr.command)
	if err != nil {
		return err
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
	if err := t.stop(); err != nil {
		return err
	}
	said, err := tr.parse(t)
	if err != nil {
		return err
	}
	want := after.minus(before)
	sum.add(tr, t, said, want)
	return tr.verify(said, want)
}

func (s *totals) add(tr *tracer, t *tool, f *found, want truth) {
	s.runs++
	s.attach = append(s.attach, t.attach.Seconds())
	s.ending = append(s.ending, t.ending.Seconds())
	s.drops += want.ruleDrops
	switch {
	case f.summary != nil:
		s.events += f.summary.Events
		s.lost += f.summary.Lost
	case tr.selected:
		s.truth += want.rx + want.tx
		s.captured += f.captured
		s.admitted += f.dropped
	}
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
	watched := tr.watched
	if tr.kind == tcpdump {
		watched = []int{0, 1, 2, 3}
	}
	for _, i := range watched {
		p := b.top.pods[i]
		if err := add(b.top.node, p.veth); err != nil {
			return truth{}, err
		}
		if tr.kind == tcpdump { // stays in the node's namespace
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
	out.ruleDrops, err = b.top.ruleCount(ctx)
	return out, err
}
