package main

import (
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

func TestRehearsal(t *testing.T) {
	now := time.Unix(1000, 0)
	asked := make(chan struct{}, 9)
	takes := time.Duration(0)
	r := &rehearsal{now: func() time.Time { return now }}
	r.ask = func(tracer.Query) {
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
		{"before a second try", 800 * time.Millisecond, 0, false},
		{"at a second try", 100 * time.Millisecond, 0, true},
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
	r.ask = func(tracer.Query) { close(begun); <-let }
	r.begin(func() tracer.Query { return tracer.Query{} })
	<-begun
	r.begin(func() tracer.Query { t.Error("two at a time"); return tracer.Query{} })
	close(let)
	r.wait()
}
