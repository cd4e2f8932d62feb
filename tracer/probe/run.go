package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
)

const (
	// pollInterval bounds how long an event waits in the ring buffer: the
	// kernel wakes the reader only when many have gathered.
	pollInterval = 10 * time.Millisecond
	// drainTime bounds reading on after the end was asked for.
	drainTime = 500 * time.Millisecond
	// busyCheck is how many events may pass between looks at the context.
	busyCheck = 256
)

// Run reads events in order, numbers them from 1 and hands each to f, until
// the context ends; what is in the ring buffer by then is still handed over.
// f runs on Run's goroutine: while it blocks, the ring buffer fills.
func (p *Probe) Run(ctx context.Context, f func(tracer.Event)) error {
	r := run{probe: p, handle: f}
	for {
		if ctx.Err() != nil {
			return r.drain()
		}
		began := p.clock.now()
		p.reader.SetDeadline(began.Add(pollInterval))
		empty, err := r.batch()
		if err != nil {
			return err
		}
		if empty {
			p.caughtUp.Store(int64(began.Sub(p.clock.began)))
		}
		p.refreshLearned()
	}
}

type run struct {
	probe  *Probe
	handle func(tracer.Event)
	record ringbuf.Record
	seq    uint64
	last   time.Time // of the last event
}

// CaughtUp is the moment up to which Run has handed over every event. A clock
// that judges silence must not run ahead of it.
func (p *Probe) CaughtUp() time.Time {
	return p.clock.began.Add(time.Duration(p.caughtUp.Load()))
}

// batch reads until nothing is left or it has been busy for long enough.
func (r *run) batch() (empty bool, err error) {
	for range busyCheck {
		err := r.probe.reader.ReadInto(&r.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("read ring buffer: %w", err)
		}
		r.one(r.record.RawSample)
	}
	r.probe.caughtUp.Store(int64(r.last.Sub(r.probe.clock.began)))
	return false, nil
}

// drain hands over what was there when it began.
func (r *run) drain() error {
	began, end := r.probe.clock.now(), time.Now().Add(drainTime)
	if err := r.probe.reader.Flush(); err != nil {
		return fmt.Errorf("flush ring buffer: %w", err)
	}
	for time.Now().Before(end) {
		r.probe.reader.SetDeadline(end)
		err := r.probe.reader.ReadInto(&r.record)
		if errors.Is(err, ringbuf.ErrFlushed) {
			r.caughtUp(began)
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return fmt.Errorf("drain ring buffer: %w", err)
		}
		r.one(r.record.RawSample)
	}
	r.caughtUp(r.last)
	return nil
}

// caughtUp moves the clock that judges to a moment, or to the last event, if that
// was later: one may have come between looking at the clock and the end of the ring.
func (r *run) caughtUp(until time.Time) {
	if r.last.After(until) {
		until = r.last
	}
	if at := int64(until.Sub(r.probe.clock.began)); at > r.probe.caughtUp.Load() {
		r.probe.caughtUp.Store(at)
	}
}

func (r *run) one(data []byte) {
	raw, err := decode(data)
	if err != nil {
		r.probe.log.Error("event not decoded", "bytes", len(data), "error", err)
		return
	}
	e := event(&raw.Event)
	if raw.Event.Kind == bpf.TraceKindKIND_DROP {
		e.Drop = r.probe.drop(raw)
		r.probe.samples.add(raw, e)
	}
	r.seq++
	e.Seq = r.seq
	e.Time = r.probe.clock.wall(raw.Event.MonoNs)
	r.last = e.Time
	r.handle(e)
}
