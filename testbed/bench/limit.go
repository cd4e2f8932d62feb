package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Every packet passes four hooks between two pods of one bridge: out of the one
// and into the node, out of the node and into the other.
const hooksPodToPod = 4

const (
	allPackets  = "4294967295" // as many as there are
	limitWindow = 2 * time.Second
	limitTries  = 3
)

// limit is how many events per second got through, for a number of flows.
type limit struct {
	flows int
	steps []limitStep
}

// limitStep is one rate that was tried.
type limitStep struct {
	wanted  float64 // events per second
	offered float64 // in truth, by device counters
	events  uint64
	lost    uint64
	// lostWorse were lost in the tries that were not better.
	lostWorse uint64
	cpu       float64 // of podpath, in CPUs
	ending    float64 // seconds until podpath had judged every flow
}

// exhausted: the sender could not go fast enough for a loss.
func (l *limit) exhausted() bool {
	n := len(l.steps)
	return n > 0 && l.steps[n-1].lost == 0
}

// best is the highest rate without a loss; 0 if there was none.
func (l *limit) best() float64 {
	var best float64
	for _, s := range l.steps {
		if s.lost == 0 {
			best = max(best, s.offered)
		}
	}
	return best
}

// eventLimits raises the rate of packets, each of which is an event at every
// hook, until podpath loses some or the sender cannot go faster.
func (b *bench) eventLimits(ctx context.Context) ([]*limit, error) {
	rates := []float64{50e3, 100e3, 200e3, 300e3, 400e3, 600e3, 800e3, 1200e3}
	var out []*limit
	for _, flows := range []int{1, 256} {
		l := &limit{flows: flows}
		out = append(out, l)
		for _, wanted := range rates {
			step, ok, err := b.tryRate(ctx, wanted, flows)
			if err != nil {
				return out, err
			}
			l.steps = append(l.steps, step)
			if !ok {
				break
			}
		}
	}
	return out, nil
}

// tryRate tries one rate a few times, since a busy machine may have kept the
// sender or the reader from its CPU; ok if the rate was reached without a loss.
func (b *bench) tryRate(ctx context.Context, wanted float64, flows int) (best limitStep, ok bool, err error) {
	var worse uint64
	for i := range limitTries {
		step, err := b.limitStep(ctx, wanted, flows)
		if err != nil {
			return best, false, err
		}
		b.progress("%d flows, %.0f events/s: %d lost of %d", flows, step.offered, step.lost, step.events)
		ok = step.lost == 0 && step.offered >= 0.8*wanted
		switch {
		case i == 0:
			best = step
		case ok || step.lost < best.lost || step.lost == best.lost && step.offered > best.offered:
			worse, best = worse+best.lost, step
		default:
			worse += step.lost
		}
		if ok {
			break
		}
	}
	best.lostWorse = worse
	return best, ok, nil
}

func (b *bench) limitStep(ctx context.Context, perSecond float64, flows int) (limitStep, error) {
	pods := b.top.pods
	tr := &tracer{name: "podpath trace, every packet an event", kind: podpathTrace, selected: true, watched: []int{0, 1},
		command: b.trace(pods[0].ip.String(), pods[1].ip.String(), everyPacket()...)}
	path := udpPath{netip.AddrPortFrom(pods[1].ip, podPort), received(pods[1].space)}
	var m rate
	var used time.Duration
	sum := &totals{}
	err := b.watch(ctx, tr, sum, func(t *tool) error {
		before, err := t.cpu()
		if err != nil {
			return err
		}
		if m, err = b.top.blast(ctx, path, limitWindow, perSecond/hooksPodToPod, flows); err != nil {
			return err
		}
		used, err = t.cpu()
		used -= before
		return err
	})
	if err != nil {
		return limitStep{}, fmt.Errorf("at %.0f events per second: %w", perSecond, err)
	}
	return limitStep{
		wanted: perSecond, offered: m.perSecond() * hooksPodToPod, events: sum.events, lost: sum.lost,
		cpu: used.Seconds() / m.wall.Seconds(), ending: sum.ending[0],
	}, nil
}
