package kube

import (
	"errors"
	"sync"
	"time"
)

// Status tells how well the API server can be followed.
type Status struct {
	// Connected is false while anything that is watched cannot be.
	Connected bool
	// Since is when that began. For a lost connection it is the last moment at
	// which the state was surely current.
	Since time.Time
	// Err is the latest reason, nil if connected.
	Err error
}

// link keeps track of the connection to the API server. Each watched resource
// and the heartbeat have a say; one that fails makes the state stale.
type link struct {
	notify func(Status) // may be nil; called without the lock, in order

	mu     sync.Mutex
	say    sync.Mutex // orders the calls of notify
	failed map[string]error
	lastOK time.Time
	status Status
}

func newLink(now time.Time, notify func(Status)) *link {
	return &link{
		notify: notify, failed: make(map[string]error), lastOK: now,
		status: Status{Connected: true, Since: now},
	}
}

// ok notes that one part worked.
func (l *link) ok(part string, now time.Time) {
	l.update(func() {
		delete(l.failed, part)
		if len(l.failed) > 0 {
			return
		}
		l.lastOK = now
		if !l.status.Connected {
			l.status = Status{Connected: true, Since: now}
		}
	})
}

// fail notes that one part did not.
func (l *link) fail(part string, err error) {
	l.update(func() {
		l.failed[part] = err
		if l.status.Connected {
			l.status = Status{Since: l.lastOK, Err: err}
		}
		l.status.Err = err
	})
}

// update changes the state and tells about a change between connected and not.
func (l *link) update(change func()) {
	l.say.Lock()
	defer l.say.Unlock()
	l.mu.Lock()
	before := l.status.Connected
	change()
	after := l.status
	l.mu.Unlock()
	if after.Connected != before && l.notify != nil {
		l.notify(after)
	}
}

func (l *link) get() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// Status returns the state of the connection. A Store of a dump is always
// connected: it is as current as it will ever be.
func (s *Store) Status() Status {
	if s.link == nil {
		return Status{Connected: true, Since: s.Current().Taken()}
	}
	return s.link.get()
}

// Staleness is how long the API server has not been followed, 0 if it is.
func (s *Store) Staleness() time.Duration {
	st := s.Status()
	if st.Connected {
		return 0
	}
	return time.Since(st.Since)
}

// Lost reports whether the error of a Status means that the API server gave no
// answer at all, rather than a refusal.
func (s Status) Lost() bool {
	var access *AccessError
	return !s.Connected && !errors.As(s.Err, &access)
}
