package main

import (
	"context"
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
	ask func(context.Context, tracer.Query)
	now func() time.Time

	mu   sync.Mutex
	busy bool
	end  context.CancelFunc // of the last one
	next time.Time
	wg   sync.WaitGroup
}

const (
	// After one that took so long, and that no verdict made use of, there is none for
	// rehearsalShare times as long: where a network only loses packets, they take no
	// more than that part of the time.
	rehearsalShare = 20
	rehearsalRest  = 100 * time.Millisecond // at the least
	// rehearsalGrace is how long a verdict waits for one that reads the same.
	rehearsalGrace = time.Second
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
	ctx, cancel := context.WithTimeout(context.Background(), factsTime)
	r.end = cancel
	r.wg.Go(func() {
		defer cancel()
		r.ask(ctx, q)
		r.mu.Lock()
		defer r.mu.Unlock()
		end := r.now()
		r.busy, r.next = false, end.Add(max(rehearsalShare*end.Sub(began), rehearsalRest))
	})
}

// performed: a verdict has asked, so that the last one was of use.
func (r *rehearsal) performed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = time.Time{}
}

// giveWay returns when none is held any more. One that is held reads what the caller
// is about to read, so that it is waited for; one that takes longer than that is ended.
// It may not be called at the same time as begin.
func (r *rehearsal) giveWay(within time.Duration) {
	r.mu.Lock()
	end, busy := r.end, r.busy
	r.mu.Unlock()
	if busy {
		defer time.AfterFunc(within, end).Stop()
	}
	r.wg.Wait()
}

// wait returns when none is held any more.
func (r *rehearsal) wait() { r.wg.Wait() }
