package main

import (
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/verdict"
)

// byName is what is watched besides when the destination was given by a name that
// clients look up: whom they ask for it. A lookup that fails leaves nothing to be
// seen of the connection.
type byName struct {
	to        string // the destination, in words
	resolvers []netip.Prefix
}

// nodeLocalDNS is where pods ask the cache on their node, unless it is configured
// otherwise (NodeLocal DNSCache).
var nodeLocalDNS = netip.MustParsePrefix("169.254.20.10/32")

// namedBy finds whom a client asks for a destination: the cluster's DNS. What else a
// pod's resolv.conf may say is not known to the cluster.
//
// Where the sources are many, as of a namespace, most of them may have nothing to do
// with the destination, and their lookups neither.
func namedBy(view *kube.Snapshot, a *aim, from kube.EndpointSpec, to kube.SpecKind) *byName {
	if to != kube.SpecService && to != kube.SpecDNS || !oneClient(from) {
		return nil
	}
	n := &byName{to: a.to.Description, resolvers: []netip.Prefix{nodeLocalDNS}}
	add := func(ip netip.Addr) {
		if p := netip.PrefixFrom(ip, ip.BitLen()); !slices.Contains(n.resolvers, p) {
			n.resolvers = append(n.resolvers, p)
		}
	}
	for s := range view.Services() {
		if !s.IsDNS() {
			continue
		}
		for _, ip := range s.ClusterIPs {
			add(ip)
		}
		for _, slice := range view.Slices(s.Key()) {
			for i := range slice.Endpoints {
				for _, ip := range slice.Endpoints[i].Addrs {
					add(ip)
				}
			}
		}
	}
	slices.SortFunc(n.resolvers, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return n
}

// oneClient: the sources are one client, or alike.
func oneClient(from kube.EndpointSpec) bool {
	switch from.Kind {
	case kube.SpecPod, kube.SpecDeployment, kube.SpecStatefulSet, kube.SpecDaemonSet:
		return true
	case kube.SpecPrefix:
		return from.Prefix.IsSingleIP()
	}
	return false
}

// untried follows the clients that have not sent anything to a named destination.
type untried struct {
	to     string
	client func(netip.Addr) bool
	// waiting asked DNS, and have not tried to connect; tried have, told have got
	// their verdict.
	waiting, tried, told map[netip.Addr]bool
	looked               time.Time
}

const (
	// lookEvery is how often the lookups of waiting clients are looked at.
	lookEvery = 500 * time.Millisecond
	// triedBy is how soon after a lookup failed the rest of a search list has been
	// tried, or the next resolver asked, and a connection has followed.
	triedBy = 2 * time.Second
	// maxWaiting bounds the clients that are followed.
	maxWaiting = 1024
)

// expect says what the clients of these addresses were asked to be seen connecting
// to; nil if that has no name.
func (a *analyser) expect(aim *aim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.untried = a.untried.of(aim)
}

// of is what is followed when the ends stand for something else now.
func (u *untried) of(aim *aim) *untried {
	if aim.named == nil {
		return nil
	}
	if u == nil {
		u = &untried{waiting: map[netip.Addr]bool{}, tried: map[netip.Addr]bool{}, told: map[netip.Addr]bool{}}
	}
	u.to = aim.named.to
	u.client = func(ip netip.Addr) bool { return aim.side(&aim.from, netip.AddrPortFrom(ip, 0), 0) }
	return u
}

// note takes in an event: one of a flow that was asked for, or a lookup.
func (u *untried) note(ev *tracer.Event, wanted *tracer.Journey) {
	if u == nil {
		return
	}
	if wanted != nil {
		if len(u.tried) < maxWaiting {
			u.tried[wanted.Flow.Src.Addr()] = true
		}
		delete(u.waiting, wanted.Flow.Src.Addr())
		return
	}
	from := ev.Tuple.Src.Addr()
	if ev.DNS != nil && !ev.DNS.Response && !u.tried[from] && !u.told[from] && len(u.waiting) < maxWaiting && u.client(from) {
		u.waiting[from] = true
	}
}

// looks reports whether it is time to look at the lookups. That it was has to be
// recorded, so that a replay looks at the same moments.
func (u *untried) looks(now time.Time, ending bool) bool {
	if u == nil || len(u.waiting) == 0 || now.Sub(u.looked) < lookEvery && !ending {
		return false
	}
	u.looked = now
	return true
}

// lookups gives verdicts for the lookups that nothing followed; ticked: this moment
// is in the recording.
func (a *analyser) lookups(now time.Time, ending, ticked bool) {
	if a.enough || !a.untried.looks(now, ending) {
		return
	}
	if !ticked {
		a.rec.tick(now)
	}
	for _, f := range a.failedLookups(now) {
		a.decideLookup(f, now)
	}
}

// failedLookups are the lookups of clients that all failed, with nothing that
// followed them.
func (a *analyser) failedLookups(now time.Time) []failedLookup {
	var out []failedLookup
	clients := make([]netip.Addr, 0, len(a.untried.waiting))
	for c := range a.untried.waiting {
		clients = append(clients, c)
	}
	slices.SortFunc(clients, netip.Addr.Compare)
	for _, c := range clients {
		own := a.joiner.Addresses(c)
		if slices.ContainsFunc(own, func(ip netip.Addr) bool { return a.untried.tried[ip] || a.untried.told[ip] }) {
			delete(a.untried.waiting, c)
			continue
		}
		if f, ok := a.failedLookup(own, now); ok {
			out = append(out, f)
			a.untried.told[c] = true
		}
	}
	return out
}

// failedLookup is the last of a client's lookups that failed.
type failedLookup struct {
	id      uint64
	outcome tracer.Outcome
	since   time.Duration
}

// failedLookup judges what one client asked, by any of its addresses: nothing, if
// something was found, or if there was no time yet to try on.
func (a *analyser) failedLookup(own []netip.Addr, now time.Time) (out failedLookup, ok bool) {
	var first time.Time
	for _, c := range own {
		for _, id := range a.joiner.Asks(c) {
			j, found := a.joiner.Peek(id)
			if !found {
				continue
			}
			outcome, settled := verdict.Settle(j, now, false)
			if outcome = a.answered(id, outcome); outcome == tracer.OutcomeSlow || outcome == tracer.OutcomeDelivered && a.foundSomething(id) {
				return out, false // the name is known, whether late or not
			}
			if !settled || outcome == tracer.OutcomeDelivered {
				continue
			}
			if at := failedAt(j); first.IsZero() || at.Before(first) {
				first = at
			}
			if id > out.id {
				out.id, out.outcome = id, outcome
			}
		}
	}
	out.since = now.Sub(first)
	return out, out.id != 0 && out.since >= triedBy
}

// failedAt is when a lookup had failed: with its answer, or, without one, as soon as
// it was sent.
func failedAt(j *tracer.Journey) time.Time {
	if len(j.Answers) > 0 {
		return j.Last
	}
	return j.First
}

// foundSomething: the lookup was answered with records, or the try after it was.
func (a *analyser) foundSomething(id uint64) bool {
	l := a.joiner.Lookup(id)
	return l == nil || l.Records > 0 || l.FoundLater
}

// decideLookup gives the verdict for a lookup that nothing followed.
func (a *analyser) decideLookup(f failedLookup, now time.Time) {
	j, ok := a.joiner.Journey(f.id)
	if !ok || a.enough {
		return
	}
	in := a.input(j, f.outcome, now)
	in.Behind = a.behind(j, now)
	in.Untried = &verdict.Untried{To: a.untried.to, For: f.since}
	a.give(a.engine.Decide(in), now)
}
