package kube

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits of the history, chosen so that a trace can look back over its own
// delays (events in flight, late reports) and a rollout, at a few tens of
// megabytes in a cluster of 10,000 pods.
const (
	historyAge     = 10 * time.Minute
	historyChanges = 2048
)

// Store holds the newest snapshot and the recent ones. It is safe for
// concurrent use.
type Store struct {
	cur  atomic.Pointer[Snapshot]
	kick chan struct{} // capacity 1: there is something to build
	wait time.Duration // the least time between two snapshots

	mu      sync.Mutex
	pending []op
	history []past // oldest first; the last one is the current snapshot
	changes int    // the sum over history, without the first snapshot's
	formers []formerIP
	subs    map[chan Change]struct{}

	link    *link       // nil for a dump
	events  eventLister // nil for a dump
	refused []*AccessError
}

// past is a snapshot of the history with what it cost.
type past struct {
	snap    *Snapshot
	changes int
}

type formerIP struct {
	ip   netip.Addr
	gone time.Time
}

// Change tells a subscriber that the cluster's state moved on, in which kinds
// of objects. Changes that say nothing new to podpath are not told.
type Change struct {
	Snapshot                                               *Snapshot
	Pods, Services, Endpoints, Nodes, Namespaces, Policies bool
}

func (c *Change) merge(o Change) {
	c.Pods = c.Pods || o.Pods
	c.Services = c.Services || o.Services
	c.Endpoints = c.Endpoints || o.Endpoints
	c.Nodes = c.Nodes || o.Nodes
	c.Namespaces = c.Namespaces || o.Namespaces
	c.Policies = c.Policies || o.Policies
}

// NewStore returns a Store whose state is one snapshot, for ever: a dump.
func NewStore(s *Snapshot) *Store { return newStore(s, 0) }

func newStore(s *Snapshot, wait time.Duration) *Store {
	st := &Store{
		kick: make(chan struct{}, 1), wait: wait, subs: make(map[chan Change]struct{}),
		history: []past{{snap: s}},
	}
	st.cur.Store(s)
	return st
}

// Current returns the newest snapshot.
func (s *Store) Current() *Snapshot { return s.cur.Load() }

// At returns the cluster as it was at a moment: the newest state learned not
// after it, or the oldest one still kept. A pod whose address the API reported
// only after the moment is found too, if the pod existed.
func (s *Store) At(t time.Time) *Snapshot {
	cur := s.cur.Load()
	if !t.Before(cur.taken) {
		return cur
	}
	s.mu.Lock()
	found := s.history[0].snap
	for i := len(s.history) - 1; i >= 0; i-- {
		if !s.history[i].snap.taken.After(t) {
			found = s.history[i].snap
			break
		}
	}
	s.mu.Unlock()
	if found == cur {
		return cur
	}
	view := *found
	view.at, view.later = t, cur
	return &view
}

// Subscribe returns a channel that gets a Change after each new snapshot. A
// slow reader gets one Change that stands for all it missed. Stop must be
// called when done; it closes the channel.
func (s *Store) Subscribe() (changes <-chan Change, stop func()) {
	ch := make(chan Change, 1)
	s.mu.Lock()
	s.subs[ch] = struct{}{}
	s.mu.Unlock()
	var once sync.Once
	return ch, func() {
		once.Do(func() {
			s.mu.Lock()
			delete(s.subs, ch)
			close(ch)
			s.mu.Unlock()
		})
	}
}

// put takes a change in; it shows in the next snapshot.
func (s *Store) put(o op) {
	s.mu.Lock()
	s.pending = append(s.pending, o)
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// gather is how long the changes that come together are collected: those of one
// request to the API server reach the informers within milliseconds.
const gather = 20 * time.Millisecond

// maxRest bounds how long a change waits for the snapshot that shows it.
const maxRest = 400 * time.Millisecond

// run builds snapshots until the context ends: the first soon after a change, the
// next after a rest of at least wait, and at least as long as makes building cost
// at most a twentieth of one core.
func (s *Store) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
		}
		if !sleep(ctx, min(gather, s.wait)) {
			return
		}
		cost := s.timedFlush()
		if !sleep(ctx, max(s.wait, min(20*cost, maxRest))) {
			return
		}
	}
}

// timedFlush is the CPU time that a flush took: on a busy machine the time on the
// clock is several times that.
func (s *Store) timedFlush() time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := threadTime()
	s.flush()
	return threadTime() - began
}

func threadTime() time.Duration {
	var u syscall.Rusage
	// Cannot fail with these arguments (getrusage(2)).
	_ = syscall.Getrusage(syscall.RUSAGE_THREAD, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// flush makes a snapshot of the pending changes, if they say anything new.
func (s *Store) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return
	}
	batch := s.pending
	s.pending = nil
	b := newBuilder(s.cur.Load())
	for _, o := range batch {
		b.apply(o)
	}
	if b.count == 0 {
		return
	}
	// The first change of the batch dates the snapshot: what the API tells
	// happened a little earlier, never later.
	s.forget(b, batch)
	next := b.done(batch[0].at)
	s.history = append(s.history, past{next, b.count})
	s.changes += b.count
	s.trim(next.taken)
	s.cur.Store(next)
	s.tell(b.changeFor(next))
}

// forget bounds the memory of former addresses.
func (s *Store) forget(b *builder, batch []op) {
	for ip, f := range b.formerSet {
		s.formers = append(s.formers, formerIP{ip, f})
	}
	now := batch[len(batch)-1].at
	for len(s.formers) > 0 {
		oldest := s.formers[0]
		if len(s.formers) <= historyChanges && now.Sub(oldest.gone) <= historyAge {
			return
		}
		if f, ok := b.former.get(oldest.ip); ok && f.Gone.Equal(oldest.gone) {
			b.former.del(oldest.ip)
		}
		s.formers = s.formers[1:]
	}
}

// trim drops history beyond the limits, but never the newest snapshot. The
// front is cut off in place; append moves the rest when it next grows.
func (s *Store) trim(now time.Time) {
	for len(s.history) > 1 {
		// The oldest snapshot is needed until the next one is past the age.
		if s.changes <= historyChanges && now.Sub(s.history[1].snap.taken) <= historyAge {
			return
		}
		s.changes -= s.history[1].changes
		s.history[0] = past{}
		s.history = s.history[1:]
	}
}

func (b *builder) changeFor(s *Snapshot) Change {
	return Change{
		Snapshot: s, Pods: b.changed[kindPod] || b.changed[kindReplicaSet],
		Services: b.changed[kindService] || b.changed[kindServiceCIDR], Endpoints: b.changed[kindSlice],
		Nodes: b.changed[kindNode], Namespaces: b.changed[kindNamespace], Policies: b.changedPolicies(),
	}
}

// tell hands a change to every subscriber without waiting for any.
func (s *Store) tell(c Change) {
	for ch := range s.subs {
		own := c
		select {
		case missed := <-ch:
			own.merge(missed)
		default:
		}
		ch <- own // only tell sends, under the lock, so there is room now
	}
}
