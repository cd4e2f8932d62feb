package main

import (
	"sync"
	"time"

	"github.com/podpath/podpath/tracer"
)

// rehearsal asks ahead of a verdict what it will ask: as soon as a flow is in
// trouble, while it is still waited for what explains it. Its answer is thrown away.
// What it leaves is that the node's rules were read, if they had changed, and long
// chains with them. One is held at a time, and not so often that it costs much where
// no verdict comes of it.
type rehearsal struct {
	ask func(tracer.Query)
	now func() time.Time

	mu   sync.Mutex
	busy bool
	next time.Time
	wg   sync.WaitGroup
}

const (
	// rehearsalShare is the part of the time that it may take for nothing.
	rehearsalShare = 20
	// A connection that is dropped is tried again after a second: once for each try.
	rehearsalRest  = 100 * time.Millisecond
	rehearsalPause = 900 * time.Millisecond
)

// begin holds one, unless it is too early.
func (r *rehearsal) begin(query func() tracer.Query) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy || r.now().Before(r.next) {
		return
	}
	r.busy = true
	q, began := query(), r.now()
	r.wg.Go(func() {
		r.ask(q)
		r.mu.Lock()
		defer r.mu.Unlock()
		end := r.now()
		r.busy, r.next = false, end.Add(min(max(rehearsalShare*end.Sub(began), rehearsalRest), rehearsalPause))
	})
}

// performed: a verdict has asked, so that the last one was of use.
func (r *rehearsal) performed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = time.Time{}
}

// wait returns when none is held any more.
func (r *rehearsal) wait() { r.wg.Wait() }
