package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Bounds of what the ledger keeps: destinations, and values of one kind for each.
// What exceeds them is not counted apart.
const (
	maxDestinations = 1024
	maxShares       = 64
)

// Ledger counts the connections of one trace by destination and by what may
// differ between them, so that a verdict can say which part of them fails. The
// zero value is ready; it is not safe for concurrent use.
type Ledger struct {
	groups map[string]*Group
	order  []string
	left   exits // flows that left the node
}

// Group is the connections to one destination: a port of a Service in any address
// family, or an address and port.
type Group struct {
	name, proto string
	all         tally
	by          map[shareKey]*tally
	order       []shareKey
	failedPorts portSpan
	okPorts     portSpan
	outcome     tracer.Outcome // of the last that failed
}

// Kinds of shares. A path is a node and a family, for what breaks all of it, an
// asker a client in a family, for what it is answered over time, and a pair a client
// and an endpoint, for what is between these two only. A source address is what a
// flow to the outside has when it leaves.
const (
	byEndpoint   = "endpoint"
	byNode       = "node"
	byClient     = "client"
	byClientNode = "client-node"
	byFamily     = "family"
	byPath       = "path"
	byAsker      = "asker"
	byPair       = "pair"
	byLeftAs     = "source-address"
)

type shareKey struct{ kind, name string }

// tally counts connections, with the beginnings of the first and last of either
// fate.
type tally struct {
	flows, failed             int
	firstFailed, lastFailed   time.Time
	firstAnswered, lastAnswer time.Time
}

func (t *tally) answered() int { return t.flows - t.failed }

func (t *tally) add(begun time.Time, failed bool) {
	t.flows++
	first, last := &t.firstAnswered, &t.lastAnswer
	if failed {
		t.failed++
		first, last = &t.firstFailed, &t.lastFailed
	}
	if first.IsZero() || begun.Before(*first) {
		*first = begun
	}
	if begun.After(*last) {
		*last = begun
	}
}

// mixed: some began and were answered between others that failed, or the other
// way round, so that neither is how it is from a moment on.
func (t *tally) mixed() bool {
	return t.failed > 0 && t.answered() > 0 && t.lastAnswer.After(t.firstFailed) && t.lastFailed.After(t.firstAnswered)
}

// portSpan is the range of the clients' ports.
type portSpan struct {
	n      int
	lo, hi uint16
}

func (s *portSpan) add(p uint16) {
	if s.n == 0 || p < s.lo {
		s.lo = p
	}
	s.n++
	s.hi = max(s.hi, p)
}

// Beside is what the trace has judged so far of the connections to where this one
// goes, this one included as one that failed. It is nil if this one was not seen
// to fail. again: it had been well at first, and was counted so.
func (l *Ledger) Beside(in *Input, again bool) *Group {
	if !in.failed() || !in.counts() {
		return nil
	}
	g := &Group{by: map[shareKey]*tally{}}
	if old := l.groups[in.groupKey()]; old != nil {
		*g = *old
		g.order = slices.Clone(old.order)
		g.by = make(map[shareKey]*tally, len(old.by))
		for k, t := range old.by {
			c := *t
			g.by[k] = &c
		}
		if again {
			g.forget(in)
		}
	}
	g.add(in, true)
	return g
}

// Add takes note of a flow that was judged. again: it had been well at first.
func (l *Ledger) Add(in *Input, again bool) {
	if !in.counts() {
		return
	}
	l.leaves(in)
	key := in.groupKey()
	g := l.groups[key]
	if g == nil {
		if len(l.groups) >= maxDestinations {
			return
		}
		if l.groups == nil {
			l.groups = map[string]*Group{}
		}
		g = &Group{by: map[shareKey]*tally{}}
		l.groups[key] = g
		l.order = append(l.order, key)
	}
	if again {
		g.forget(in)
	}
	g.add(in, in.failed())
}

// counts: what became of the flow is known, and is not the affair of what it asks
// for: a name that does not exist does not exist at any endpoint.
func (in *Input) counts() bool {
	l := in.Journey.Lookup
	if in.unseen() || l != nil && l.RCode == tracer.RCodeNXDomain && (in.Outcome == tracer.OutcomeDNSError || l.AskedOn) {
		return false
	}
	return in.delivered() || in.early() == inTime
}

// failed: the client did not get its answer. A late one is one.
func (in *Input) failed() bool { return !in.delivered() && in.Outcome != tracer.OutcomeSlow }

func (in *Input) groupKey() string {
	proto := in.Journey.Flow.Proto
	if s := in.Cluster.Service; s != nil {
		return fmt.Sprintf("%d %s/%s:%s:%d", proto, s.Namespace, s.Name, s.Frontend, in.Journey.Flow.Dst.Port())
	}
	return fmt.Sprintf("%d %s", proto, in.Journey.Flow.Dst)
}

func (g *Group) add(in *Input, failed bool) {
	g.proto = tracer.ProtoName(in.Journey.Flow.Proto)
	g.name = in.Journey.Flow.Dst.String()
	if s := in.Cluster.Service; s != nil {
		g.name = fmt.Sprintf("%s/svc/%s:%d", s.Namespace, s.Name, in.Journey.Flow.Dst.Port())
	}
	g.all.add(in.Journey.First, failed)
	for _, k := range in.shareKeys() {
		if t := g.share(k); t != nil {
			t.add(in.Journey.First, failed)
		}
	}
	ports := &g.okPorts
	if failed {
		ports, g.outcome = &g.failedPorts, in.Outcome
	}
	ports.add(in.Journey.Flow.Src.Port())
}

// forget takes back that the flow was answered. The moments stay: something began
// then, and was answered for a while.
func (g *Group) forget(in *Input) {
	g.all.flows--
	for _, k := range in.shareKeys() {
		if t := g.by[k]; t != nil && t.answered() > 0 {
			t.flows--
		}
	}
}

func (g *Group) share(k shareKey) *tally {
	t := g.by[k]
	if t == nil && len(g.kind(k.kind)) < maxShares {
		t = &tally{}
		g.by[k] = t
		g.order = append(g.order, k)
	}
	return t
}

// kind lists the values of one kind, in the order in which they were met.
func (g *Group) kind(kind string) []shareKey {
	var keys []shareKey
	for _, k := range g.order {
		if k.kind == kind {
			keys = append(keys, k)
		}
	}
	return keys
}

func (in *Input) familyName() string {
	if in.family6() {
		return "IPv6"
	}
	return "IPv4"
}

// shareKeys are what the flow is counted under.
func (in *Input) shareKeys() []shareKey {
	family, to := in.familyName(), in.endpoint()
	keys := []shareKey{{byClient, in.source()}, {byFamily, family}, {byEndpoint, to}, {byPair, in.source() + " " + to}, in.asker()}
	if n := in.Cluster.Target.Node; n != "" {
		keys = append(keys, shareKey{byNode, n}, shareKey{byPath, family + " " + n})
	}
	if n := in.Cluster.Source.Node; n != "" {
		keys = append(keys, shareKey{byClientNode, n})
	}
	// Of the cluster's own destinations who asks says more.
	if in.Journey.LeftNode && in.external() {
		keys = append(keys, shareKey{byLeftAs, in.Journey.LeftAs.Src.Addr().String()})
	}
	return keys
}

func (in *Input) asker() shareKey { return shareKey{byAsker, in.familyName() + " " + in.source()} }

// endpoint is where the flow was sent in the end.
func (in *Input) endpoint() string {
	if in.Cluster.Service != nil && in.untranslated() && !in.targetHere() {
		return "(none was chosen)"
	}
	to := in.Journey.Translated.Dst.String()
	if in.Cluster.Target.Name == "" || in.Cluster.Target.Kind == tracer.KindService {
		return to
	}
	return in.target() + " (" + to + ")"
}

// Shares lists the destinations at which some connections failed and others were
// answered, in the order in which they were met.
func (l *Ledger) Shares() []tracer.Shares {
	var list []tracer.Shares
	for _, key := range l.order {
		if g := l.groups[key]; g.partly() {
			list = append(list, g.shares())
		}
	}
	return list
}

// partly: some failed, and some were answered.
func (g *Group) partly() bool { return g != nil && g.all.failed > 0 && g.all.answered() > 0 }

func (g *Group) shares() tracer.Shares {
	s := tracer.Shares{
		Destination: g.name, Protocol: g.proto, Outcome: g.outcome, Flows: g.all.flows, Failed: g.all.failed,
		By: []tracer.Share{}, Shared: g.shared(),
	}
	if g.comesAndGoes() {
		s.Outcome = tracer.OutcomeIntermittent
	}
	for _, kind := range shownKinds() {
		keys := g.kind(kind)
		if len(keys) < 2 {
			continue
		}
		slices.SortStableFunc(keys, func(a, b shareKey) int { return cmp.Compare(g.by[b].failed, g.by[a].failed) })
		for _, k := range keys {
			s.By = append(s.By, tracer.Share{Kind: k.kind, Name: k.name, Flows: g.by[k].flows, Failed: g.by[k].failed})
		}
	}
	return s
}

// comesAndGoes: one client at least was answered between failures. That one fails
// always and another never is not that.
func (g *Group) comesAndGoes() bool {
	return slices.ContainsFunc(g.kind(byAsker), func(k shareKey) bool { return g.by[k].mixed() })
}

func shownKinds() []string {
	return []string{byEndpoint, byNode, byClient, byClientNode, byFamily, byLeftAs}
}

// enough connections of either fate for what they have in common to be worth a
// word; ports are chosen one after the other, and need more.
const (
	enoughShared = 2
	enoughPorts  = 5
)

// shared is what all those that failed have in common, and none of the others.
func (g *Group) shared() []string {
	said := []string{}
	if min(g.all.failed, g.all.answered()) < enoughShared {
		return said
	}
	for _, kind := range shownKinds() {
		if k, ok := g.only(kind); ok {
			said = append(said, fmt.Sprintf("every one that failed, and none that was answered, was of %s %s", kindText()[kind], k.name))
		}
	}
	switch t := &g.all; {
	case t.firstFailed.After(t.lastAnswer):
		said = append(said, fmt.Sprintf("all since %s failed, and all before were answered", t.firstFailed.UTC().Format(clock)))
	case t.firstAnswered.After(t.lastFailed):
		said = append(said, fmt.Sprintf("all until %s failed, and all since %s were answered", t.lastFailed.UTC().Format(clock), t.firstAnswered.UTC().Format(clock)))
	default:
		if a, b := g.failedPorts, g.okPorts; min(a.n, b.n) >= enoughPorts && (a.hi < b.lo || b.hi < a.lo) {
			said = append(said, fmt.Sprintf("every one that failed had a source port of %d to %d, and none that was answered had", a.lo, a.hi))
		}
	}
	return said
}

const clock = "15:04:05.000"

func kindText() map[string]string {
	return map[string]string{byEndpoint: "endpoint", byNode: "the endpoints on node", byClient: "client", byClientNode: "the clients on node", byFamily: "family", byLeftAs: "the connections that left the node as"}
}

// only is the value of a kind that all which failed have, and none of the others.
func (g *Group) only(kind string) (shareKey, bool) {
	var found shareKey
	n := 0
	for _, k := range g.kind(kind) {
		if t := g.by[k]; t.failed > 0 {
			found = k
			if n++; t.answered() > 0 {
				return shareKey{}, false
			}
		}
	}
	return found, n == 1 && g.by[found].failed == g.all.failed
}
