package main

import (
	"context"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

func TestRehearsal(t *testing.T) {
	now := time.Unix(1000, 0)
	asked := make(chan struct{}, 9)
	takes := time.Duration(0)
	r := &rehearsal{now: func() time.Time { return now }}
	r.ask = func(context.Context, tracer.Query) {
		now = now.Add(takes)
		asked <- struct{}{}
	}
	held := func() bool {
		t.Helper()
		before := len(asked)
		r.begin(func() tracer.Query { return tracer.Query{} })
		r.wait()
		return len(asked) > before
	}
	for _, step := range []struct {
		what  string
		after time.Duration
		takes time.Duration
		want  bool
	}{
		{"the first", 0, time.Millisecond, true},
		{"at once again, for nothing", 0, time.Millisecond, false},
		{"after a rest", rehearsalRest, 20 * time.Millisecond, true},
		{"after the same rest, of one that took longer", rehearsalRest, 0, false},
		{"after its share", 300 * time.Millisecond, 300 * time.Millisecond, true},
		{"at a second try, when it took long", time.Second, 0, false},
		{"just before its share", 4999 * time.Millisecond, 0, false},
		{"after its share of that", time.Millisecond, 0, true},
	} {
		now = now.Add(step.after)
		takes = step.takes
		if got := held(); got != step.want {
			t.Errorf("%s: %v", step.what, got)
		}
	}
	r.performed()
	if !held() {
		t.Error("after a verdict made use of it: none")
	}
	// Another is not held while one is.
	r.performed()
	let, begun := make(chan struct{}), make(chan struct{})
	r.ask = func(context.Context, tracer.Query) { close(begun); <-let }
	r.begin(func() tracer.Query { return tracer.Query{} })
	<-begun
	r.begin(func() tracer.Query { t.Error("two at a time"); return tracer.Query{} })
	close(let)
	r.wait()
}

// However long each takes, those of no use take no more than their part of the time.
func TestRehearsalShare(t *testing.T) {
	for _, takes := range []time.Duration{time.Millisecond, 45 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second} {
		began := time.Unix(1000, 0)
		now, spent := began, time.Duration(0)
		r := &rehearsal{now: func() time.Time { return now }}
		r.ask = func(context.Context, tracer.Query) { now, spent = now.Add(takes), spent+takes }
		for now.Before(began.Add(10 * time.Minute)) {
			r.begin(func() tracer.Query { return tracer.Query{} })
			r.wait()
			now = now.Add(10 * time.Millisecond)
		}
		if most := now.Sub(began)/rehearsalShare + takes; spent > most || spent == 0 {
			t.Errorf("%s each: %s of %s", takes, spent, now.Sub(began))
		}
	}
}

// A verdict waits for what is read anyway, and not for long.
func TestRehearsalGivesWay(t *testing.T) {
	r := &rehearsal{now: time.Now}
	r.giveWay(time.Hour) // none was ever held
	let, ended := make(chan struct{}), make(chan error, 1)
	r.ask = func(ctx context.Context, _ tracer.Query) {
		select {
		case <-ctx.Done():
		case <-let:
		}
		ended <- ctx.Err()
	}
	r.begin(func() tracer.Query { return tracer.Query{} })
	r.giveWay(time.Millisecond)
	if err := <-ended; err == nil {
		t.Error("it was not ended")
	}
	r.performed()
	r.begin(func() tracer.Query { return tracer.Query{} })
	close(let)
	r.giveWay(time.Hour)
	if err := <-ended; err != nil {
		t.Errorf("one that comes to its end in time: %v", err)
	}
	r.giveWay(time.Hour)
}
