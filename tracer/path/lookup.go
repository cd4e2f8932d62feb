package path

import (
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

const (
	// maxQuestions bounds how many of one flow are told apart.
	maxQuestions = 64
	// searchWindow is how soon after a failed try of its search list a client has
	// tried the rest of it.
	searchWindow = 2 * time.Second
	// searchGap is how soon after one try has failed a resolver makes the next.
	searchGap = 200 * time.Millisecond
	// atOnce is how close together a resolver sends what it asks at the same time.
	atOnce = time.Millisecond
	// slowAnswer: resolvers that answer from a cache, or ask once, take less.
	slowAnswer = time.Second
	// maxResolved bounds the clients of whom a success is remembered.
	maxResolved = 4096
)

// question is one of a flow's, by its identifier.
type question struct {
	sent, answered time.Time
	again          int
	rcode          uint8
	records        uint16
	truncated      bool
}

// lookup notes a DNS message of a flow: the question where it is seen first, the
// answer where it is seen last, which is nearest to the client.
func (jn *Joiner) lookup(f *flow, ev *tracer.Event, dir tracer.Direction) {
	d := ev.DNS
	if d == nil || ev.Drop != nil || ev.Inner != nil || d.Response != (dir == tracer.DirReply) {
		return
	}
	q := f.questions[d.ID]
	if q == nil {
		if d.Response {
			f.answeredUnasked(d.RCode)
			return
		}
		q = &question{sent: ev.Time}
		f.addQuestion(d.ID, q)
	}
	if !d.Response {
		if key(ev) == f.first && ev.Kind == f.firstK && ev.Time.After(q.sent) {
			q.again++
		}
		return
	}
	q.answered, q.rcode, q.records, q.truncated = ev.Time, d.RCode, d.Answers, d.Truncated
	if d.RCode == tracer.RCodeNoError && d.Answers > 0 {
		jn.found(f.j.Flow.Src.Addr(), ev.Time)
	}
}

// answeredUnasked notes a failure that answers a question which was not seen, as
// it was sent before the trace began. A name that does not exist may be one try of
// a search list, of which the rest was not seen either.
func (f *flow) answeredUnasked(rcode uint8) {
	if rcode != tracer.RCodeNXDomain && graver(rcode, f.unasked) {
		f.unasked = rcode
	}
}

// addQuestion forgets the oldest where there are too many: a socket that is used
// for long has many.
func (f *flow) addQuestion(id uint16, q *question) {
	if f.questions == nil {
		f.questions = map[uint16]*question{}
	}
	if len(f.questions) >= maxQuestions {
		oldest, at := id, q.sent
		for i, o := range f.questions {
			if o.sent.Before(at) || o.sent.Equal(at) && i < oldest {
				oldest, at = i, o.sent
			}
		}
		delete(f.questions, oldest)
	}
	f.questions[id] = q
}

// found remembers when a client last got records.
func (jn *Joiner) found(client netip.Addr, at time.Time) {
	if len(jn.resolved) >= maxResolved {
		for a, t := range jn.resolved {
			if at.Sub(t) > searchWindow {
				delete(jn.resolved, a)
			}
		}
	}
	if _, known := jn.resolved[client]; known || len(jn.resolved) < maxResolved {
		jn.resolved[client] = at
	}
}

// Lookup sums up what a flow asked of DNS, nil if it did not ask. If no question of
// it was seen, that is an answer that failed, if there was one.
func (jn *Joiner) Lookup(id uint64) *tracer.Lookup {
	f := jn.flows[id]
	switch {
	case f == nil, len(f.questions) == 0 && f.unasked == tracer.RCodeNoError:
		return nil
	case len(f.questions) == 0:
		return &tracer.Lookup{Asked: 1, Answered: 1, RCode: f.unasked, Unasked: true}
	}
	l := &tracer.Lookup{Asked: len(f.questions), Together: f.together()}
	var failed time.Time
	var good span
	for _, q := range f.questions {
		if q.again > 0 {
			l.Repeated++
		}
		if q.answered.IsZero() {
			continue
		}
		sumUp(l, q)
		if q.rcode != tracer.RCodeNoError && q.answered.After(failed) {
			failed = q.answered
		}
		if q.answered.After(good.to) {
			good = span{q.sent, q.answered}
		}
	}
	if at, ok := jn.resolved[f.j.Flow.Src.Addr()]; ok && !failed.IsZero() {
		l.FoundLater = at.After(failed) && at.Sub(failed) <= searchWindow || l.Together && l.Records > 0
	}
	l.AskedOn = l.RCode == tracer.RCodeNXDomain && !l.FoundLater && jn.askedOn(f, failed)
	if failed.IsZero() && l.Records > 0 {
		l.Misses, l.Took = jn.misses(f, good)
	}
	if l.Misses == 0 {
		l.Took = 0
	}
	return l
}

// askedOn: from a failed try on, the client asked on without a pause, and came to a
// question that was answered with another failure, or is not answered.
func (jn *Joiner) askedOn(f *flow, failed time.Time) bool {
	var next []*question
	if a := jn.askers[f.j.Flow.Src.Addr()]; a != nil {
		i, _ := slices.BinarySearch(a.ids, f.j.ID)
		for _, id := range a.ids[i:min(len(a.ids), i+maxTries)] {
			for _, q := range jn.flows[id].questions {
				if !q.sent.Before(failed) {
					next = append(next, q)
				}
			}
		}
	}
	slices.SortFunc(next, func(a, b *question) int { return a.sent.Compare(b.sent) })
	for _, q := range next {
		switch {
		case q.sent.Sub(failed) > searchGap:
			return false
		case q.answered.IsZero():
			return true
		case q.rcode != tracer.RCodeNoError && q.rcode != tracer.RCodeNXDomain:
			return true
		case q.answered.After(failed):
			failed = q.answered
		}
	}
	return false
}

func sumUp(l *tracer.Lookup, q *question) {
	l.Answered++
	l.Slowest = max(l.Slowest, q.answered.Sub(q.sent))
	l.Records = max(l.Records, q.records)
	l.Truncated = l.Truncated || q.truncated
	if graver(q.rcode, l.RCode) {
		l.RCode = q.rcode
	}
}

// together: the socket asked for two things at once.
func (f *flow) together() bool {
	for a, p := range f.questions {
		for b, q := range f.questions {
			if a < b && p.sent.Sub(q.sent).Abs() <= atOnce {
				return true
			}
		}
	}
	return false
}

// graver orders response codes: a failure, then a name that is not there, then
// success.
func graver(a, b uint8) bool {
	rank := func(r uint8) int {
		switch r {
		case tracer.RCodeNoError:
			return 0
		case tracer.RCodeNXDomain:
			return 1
		}
		return 2
	}
	return rank(a) > rank(b) || rank(a) == rank(b) && a < b
}
