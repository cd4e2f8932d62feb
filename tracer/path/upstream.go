package path

import (
	"cmp"
	"container/list"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Ports on which DNS is asked: in the clear (RFC 1035), and over TLS (RFC 7858).
const (
	dnsPort    = 53
	dnsTLSPort = 853
)

// cutWindow is how soon after a truncated answer a client asks again over TCP.
const cutWindow = 5 * time.Second

// asking: the flow asks DNS for something.
func asking(t tracer.Tuple) bool {
	p := t.Dst.Port()
	return (p == dnsPort || p == dnsTLSPort) && (t.Proto == tracer.ProtoUDP || t.Proto == tracer.ProtoTCP)
}

// askers are the flows by which an address asks DNS.
type askers struct {
	ids []uint64 // in the order in which they began
	// moved holds the same flows, the one whose packet came last at the back.
	moved *list.List
}

// noteAsker remembers who asks DNS, so that what a server asked while its client
// waited is found without a look at every flow.
func (jn *Joiner) noteAsker(f *flow) {
	if !asking(f.j.Flow) {
		return
	}
	a := jn.askers[f.j.Flow.Src.Addr()]
	if a == nil {
		a = &askers{moved: list.New()}
		jn.askers[f.j.Flow.Src.Addr()] = a
	}
	a.ids = append(a.ids, f.j.ID)
	f.asker = a.moved.PushBack(f)
	jn.touch(f, f.j.First)
}

// touch notes that a packet of the flow came. The rings of two CPUs are not read in
// order, and counts come late: what is kept is the newest moment of any packet so
// far, which never goes back from one flow of the list to the next.
func (jn *Joiner) touch(f *flow, at time.Time) {
	if f.asker == nil {
		return
	}
	if at.After(jn.newest) {
		jn.newest = at
	}
	f.touched = jn.newest
	jn.askers[f.j.Flow.Src.Addr()].moved.MoveToBack(f.asker)
}

// movedSince are the flows by which an address asks DNS that may have moved since
// then, in the order in which they began: no other one has.
func (jn *Joiner) movedSince(a netip.Addr, from time.Time) []*flow {
	all := jn.askers[a]
	if all == nil {
		return nil
	}
	var out []*flow
	for e := all.moved.Back(); e != nil; e = e.Prev() {
		f, ok := e.Value.(*flow)
		if !ok || f.touched.Before(from) {
			break
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *flow) int { return cmp.Compare(a.j.ID, b.j.ID) })
	return out
}

func (jn *Joiner) forgetAsker(f *flow) {
	a := jn.askers[f.j.Flow.Src.Addr()]
	if a == nil || f.asker == nil {
		return
	}
	a.moved.Remove(f.asker)
	if i, ok := slices.BinarySearch(a.ids, f.j.ID); ok {
		a.ids = slices.Delete(a.ids, i, i+1)
	}
	if len(a.ids) == 0 {
		delete(jn.askers, f.j.Flow.Src.Addr())
	}
}

// span is a stretch of time; one without an end lasts.
type span struct{ from, to time.Time }

func (s span) holds(t time.Time) bool {
	return !t.Before(s.from) && (s.to.IsZero() || !t.After(s.to))
}

// waited is how long the client waited for what did not go well: a question
// without an answer, with a failure for one, or with one that took long.
func (f *flow) waited() (s span, ok bool) {
	open := false
	for _, q := range f.questions {
		if !q.answered.IsZero() && q.rcode == tracer.RCodeNoError && q.answered.Sub(q.sent) < slowAnswer {
			continue
		}
		if !ok || q.sent.Before(s.from) {
			s.from = q.sent
		}
		ok, open = true, open || q.answered.IsZero()
		if q.answered.After(s.to) {
			s.to = q.answered
		}
	}
	if open {
		s.to = time.Time{}
	}
	return s, ok
}

// upstream is what the server that a flow asked did ask others, while the client
// waited.
func (jn *Joiner) upstream(f *flow) []tracer.Upstream {
	s, ok := f.waited()
	if !ok {
		return nil
	}
	var out []tracer.Upstream
	for _, own := range jn.addrsWith(f.j.Translated.Dst.Addr()) {
		for _, g := range jn.movedSince(own, s.from) {
			u := tracer.Upstream{Resolver: g.j.Flow.Dst, Proto: g.j.Flow.Proto, Flow: g.j.ID}
			if g == f || !g.during(s, &u) {
				continue
			}
			i := slices.IndexFunc(out, func(o tracer.Upstream) bool { return o.Resolver == u.Resolver && o.Proto == u.Proto })
			if i < 0 {
				out = append(out, u)
				continue
			}
			join(&out[i], &u)
		}
	}
	return out
}

// addrsWith are all addresses of the pod that has this one: asked over IPv6, it
// may ask others over IPv4.
func (jn *Joiner) addrsWith(a netip.Addr) []netip.Addr {
	out := []netip.Addr{a}
	owner, ok := jn.inv.Owner(a)
	if !ok || owner.NetNS == jn.inv.HostNetNS {
		return out
	}
	for i := range jn.inv.Devices {
		if jn.inv.Devices[i].NetNS != owner.NetNS {
			continue
		}
		for _, p := range jn.inv.Devices[i].Addrs {
			if !slices.Contains(out, p.Addr()) {
				out = append(out, p.Addr())
			}
		}
	}
	return out
}

func join(u, more *tracer.Upstream) {
	u.Asked += more.Asked
	u.Answered += more.Answered
	if graver(more.RCode, u.RCode) {
		u.RCode = more.RCode
	}
	u.Slowest = max(u.Slowest, more.Slowest)
	u.Refused, u.Unshown = u.Refused || more.Refused, u.Unshown || more.Unshown
	if more.First.Before(u.First) {
		u.First = more.First
	}
}

// during sums up what a flow asked in a stretch of time; false: nothing.
func (f *flow) during(s span, u *tracer.Upstream) bool {
	if f.j.Flow.Proto == tracer.ProtoTCP {
		f.connected(s, u)
	} else {
		f.asked(s, u)
	}
	if u.Asked > 0 {
		u.Refused = slices.ContainsFunc(f.j.Answers, func(a tracer.Answer) bool {
			return (a.Kind == tracer.AnswerICMP || a.Kind == tracer.AnswerRST && !f.j.Established) && s.holds(a.Time)
		})
	}
	return u.Asked > 0 || u.Unshown
}

func (f *flow) connected(s span, u *tracer.Upstream) {
	switch {
	case s.holds(f.j.First):
		u.Asked, u.First = 1, f.j.First
		if f.j.Established || hasAnswer(&f.j, tracer.AnswerSynAck) {
			u.Answered = 1
		}
	case f.j.First.Before(s.from):
		u.Unshown, u.First = f.movedIn(s), s.from
	}
}

func (f *flow) asked(s span, u *tracer.Upstream) {
	known := false
	for _, q := range f.questions {
		known = known || s.holds(q.answered)
		if !s.holds(q.sent) {
			continue
		}
		if u.Asked == 0 || q.sent.Before(u.First) {
			u.First = q.sent
		}
		u.Asked++
		if q.answered.IsZero() {
			continue
		}
		u.Answered++
		u.Slowest = max(u.Slowest, q.answered.Sub(q.sent))
		if graver(q.rcode, u.RCode) {
			u.RCode = q.rcode
		}
	}
	if u.Asked == 0 && !known && f.j.First.Before(s.from) {
		u.Unshown, u.First = f.movedIn(s), s.from
	}
}

// movedIn: a packet of the flow passed in that stretch, the last at some place.
func (f *flow) movedIn(s span) bool {
	return slices.ContainsFunc(f.j.Hops, func(h tracer.Hop) bool { return s.holds(h.Last) })
}

// overUDP is the lookup that the client made at the same server shortly before it
// connected to it, nil if it made none.
func (jn *Joiner) overUDP(f *flow) *tracer.Lookup {
	t := f.j.Flow
	if t.Proto != tracer.ProtoTCP || t.Dst.Port() != dnsPort {
		return nil
	}
	var last *flow
	for _, g := range jn.movedSince(t.Src.Addr(), f.j.First.Add(-cutWindow)) {
		before := f.j.First.Sub(g.j.Last)
		if g.j.Flow.Proto == tracer.ProtoUDP && g.j.Flow.Dst == t.Dst && before >= 0 && before <= cutWindow && (last == nil || g.j.Last.After(last.j.Last)) {
			last = g
		}
	}
	if last == nil {
		return nil
	}
	return jn.Lookup(last.j.ID)
}

// exchange is a question with its answer.
type exchange struct {
	span
	rcode uint8
}

// maxTries bounds the flows among which the tries of a search list are looked for.
const maxTries = 32

// exchanges are the answered questions of a flow and of those that its client
// began before it, by UDP, the newest first.
func (jn *Joiner) exchanges(f *flow) []exchange {
	var ids []uint64
	if a := jn.askers[f.j.Flow.Src.Addr()]; a != nil {
		ids = a.ids
	}
	for len(ids) > 0 && ids[len(ids)-1] > f.j.ID {
		ids = ids[:len(ids)-1]
	}
	var out []exchange
	for _, id := range ids[max(0, len(ids)-maxTries):] {
		for _, q := range jn.flows[id].questions {
			if !q.answered.IsZero() {
				out = append(out, exchange{span{q.sent, q.answered}, q.rcode})
			}
		}
	}
	slices.SortFunc(out, func(a, b exchange) int {
		return cmp.Or(b.from.Compare(a.from), b.to.Compare(a.to))
	})
	return out
}

// misses counts the questions that a client asked right before one that was
// answered, and that found nothing: the tries of its search list, or of other
// names. took is how long it was occupied with all of them.
func (jn *Joiner) misses(f *flow, answered span) (n int, took time.Duration) {
	took = answered.to.Sub(answered.from)
	next := answered.from
	for _, x := range jn.exchanges(f) {
		if !x.from.Before(answered.from) {
			continue
		}
		if x.rcode != tracer.RCodeNXDomain || next.Sub(x.to) > searchGap {
			break
		}
		n++
		if x.to.After(next) {
			x.to = next // asked at the same time as the next
		}
		took += x.to.Sub(x.from)
		next = x.from
	}
	return n, took
}

// Asks are the flows that were not asked for and by which a client asks DNS, the
// oldest first, the last few of them.
func (jn *Joiner) Asks(client netip.Addr) []uint64 {
	a := jn.askers[client]
	if a == nil {
		return nil
	}
	var out []uint64
	for _, id := range a.ids[max(0, len(a.ids)-maxTries):] {
		if !jn.flows[id].wanted {
			out = append(out, id)
		}
	}
	return out
}

// Addresses are all addresses of the pod that has this one.
func (jn *Joiner) Addresses(a netip.Addr) []netip.Addr { return jn.addrsWith(a) }
