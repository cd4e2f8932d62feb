package verdict

import (
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

const (
	// outsideWindow is how long before a flow another one may have begun to be
	// compared with it: a client that tries one host after the other waits ten
	// seconds for each, or more.
	outsideWindow = time.Minute
	// maxDepartures bounds what is remembered for that, of each kind.
	maxDepartures = 1024
)

// exits are the flows that left the node. Each kind has room of its own, so that
// many silent ones, as of a crawler, push out none that was answered.
type exits struct {
	silent, answered, inside room
}

// room keeps the newest flows of a kind, by their ID.
type room struct {
	of    map[uint64]*departure
	order []uint64 // oldest first
	// gone counts those that there was no room for, and newest is when the last of
	// them began.
	gone   int
	newest time.Time
}

func (k *room) put(d *departure) {
	if _, known := k.of[d.id]; !known {
		if len(k.order) >= maxDepartures {
			old := k.order[0]
			k.gone++
			if at := k.of[old].begun; at.After(k.newest) {
				k.newest = at
			}
			delete(k.of, old)
			k.order = slices.Delete(k.order, 0, 1)
		}
		if k.of == nil {
			k.of = map[uint64]*departure{}
		}
		k.order = append(k.order, d.id)
	}
	k.of[d.id] = d
}

func (k *room) drop(id uint64) {
	if _, known := k.of[id]; known {
		delete(k.of, id)
		k.order = slices.DeleteFunc(k.order, func(x uint64) bool { return x == id })
	}
}

// departure is a flow that left the node by an uplink.
type departure struct {
	id    uint64
	begun time.Time
	who   string     // the client, as people know it
	from  netip.Addr // its address
	own   bool       // the node itself, or a pod in its network
	dst   netip.AddrPort
	proto uint8
	by    tracer.DeviceKey
	as    netip.Addr // its source there
	// world: to a public address that is nothing of the cluster's; inside: to a private
	// one that is nothing of it either, nor of the uplink's own network, so that the
	// gateway had to pass it on. Pods and nodes may have routes of their own.
	world, inside bool
	// answered: the destination said something, be it a refusal; the last time that
	// is known of at heard.
	answered bool
	heard    time.Time
}

// leaves takes note of a flow that was judged, if it left the node.
func (l *Ledger) leaves(in *Input) {
	d, ok := in.departure()
	// That it was silent is taken back by what came later, and never the other way
	// round: what was answered once had its way out.
	switch {
	case !ok:
	case d.world && d.answered:
		l.left.silent.drop(d.id)
		l.left.answered.put(&d)
	case d.world:
		if _, known := l.left.answered.of[d.id]; !known {
			l.left.silent.put(&d)
		}
	case d.inside && d.answered:
		l.left.inside.put(&d)
	}
}

// departure is the flow as it left the node, answered or silent; ok is false if it
// did not leave by an uplink, or if it is not known which of both it was.
func (in *Input) departure() (d departure, ok bool) {
	j := in.Journey
	out := in.device(j.LeftBy)
	if !j.LeftNode || out.Role != tracer.RoleUplink || !in.servicesKnown() {
		return d, false
	}
	to := j.LeftAs.Dst.Addr()
	d = departure{
		id: j.ID, begun: j.First, who: in.source(), from: j.Flow.Src.Addr(), own: in.Cluster.Source.Kind == tracer.KindNode || in.Cluster.Source.HostNetwork,
		dst: j.Flow.Dst, proto: j.Flow.Proto, by: j.LeftBy, as: j.LeftAs.Src.Addr(),
		world: in.external() && !private(j.Flow.Dst.Addr()),
		inside: in.Cluster.Target.Kind == tracer.KindExternal && in.Cluster.InPodCIDR == "" && private(to) &&
			!slices.ContainsFunc(out.Addrs, func(p netip.Prefix) bool { return p.Contains(to) }),
	}
	d.heard, d.answered = in.heard(j)
	if in.delivered() && !d.answered {
		d.heard, d.answered = later(lastReply(j), j.First), true
	}
	return d, d.answered || in.silent() && wantsAnswer(j)
}

// heard is when the last known answer came in from the destination. An ICMP error of a
// router on the way says nothing of what is behind it.
func (in *Input) heard(j *tracer.Journey) (last time.Time, ok bool) {
	for i := range j.Answers {
		a := &j.Answers[i]
		there := !in.madeHere(a)
		if a.Kind == tracer.AnswerICMP {
			there = a.From == j.LeftAs.Dst.Addr()
		}
		if there {
			last, ok = later(last, a.Time), true
		}
	}
	if ok {
		last = later(last, lastReply(j))
	}
	return last, ok
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// silent: the packets left, and nothing came back; nor did anything here keep it
// from the client.
func (in *Input) silent() bool {
	return in.Outcome == tracer.OutcomeNoAnswer && len(in.Journey.Answers) == 0 && in.cause() == nil && !in.partial() && in.Lost == 0
}

// wantsAnswer: the protocol asks for an answer. Datagrams may be sent to whom it may
// concern, and many hosts answer no pings.
func wantsAnswer(j *tracer.Journey) bool {
	return j.Flow.Proto == tracer.ProtoTCP && !j.Established || j.Lookup != nil
}

// underWay is a flow that was not judged yet, if it left the node for a public address,
// and was answered, or has been silent for so long that it was sent again.
func (in *Input) underWay(j *tracer.Journey) (d departure, ok bool) {
	to := j.LeftAs.Dst.Addr()
	if !j.LeftNode || to != j.Flow.Dst.Addr() || private(to) {
		return d, false
	}
	own := in.onHost(j.SrcDevice)
	d = departure{id: j.ID, begun: j.First, who: j.Flow.Src.Addr().String(), from: j.Flow.Src.Addr(), own: own, dst: j.Flow.Dst, proto: j.Flow.Proto,
		by: j.LeftBy, as: j.LeftAs.Src.Addr(), world: true}
	d.heard, d.answered = in.heard(j)
	if j.Flow.Src.Addr() == in.Journey.Flow.Src.Addr() {
		d.who = in.source()
	}
	// What the cluster calls it is not asked: a public address that is reached with
	// another source than its own is not the cluster's.
	foreign := own || j.LeftAs.Src.Addr() != j.Flow.Src.Addr()
	return d, d.answered || foreign && j.Attempts >= 2 && len(j.Answers) == 0 && len(j.Drops) == 0 && !j.Partial && wantsAnswer(j)
}

// Departures are what became of flows that left the node as a silent one did: by the
// same uplink, in the same address family, at about the same time.
type Departures struct {
	// silent and answered went to public addresses; the flow itself is the first of
	// the silent.
	silent, answered []*departure
	// inside were answered too, from private addresses behind the gateway.
	inside []*departure
	// more silent ones, and more that were answered before, are not remembered.
	moreSilent, moreAnswered bool
}

// Flows are those that the trace follows.
type Flows interface {
	// Unjudged are flows without a verdict so far.
	Unjudged() []*tracer.Journey
	// Peek is what is known of a flow now.
	Peek(id uint64) (*tracer.Journey, bool)
}

// Outside compares a flow that left for the world and was not answered with the
// others, nil if it is none.
func (l *Ledger) Outside(in *Input, flows Flows) *Departures {
	self, ok := in.departure()
	if !ok || self.answered || !self.world {
		return nil
	}
	o := &Departures{
		silent:       []*departure{&self},
		moreSilent:   l.left.silent.gone > 0 && self.begun.Sub(l.left.silent.newest) <= outsideWindow,
		moreAnswered: l.left.answered.gone > 0,
	}
	for _, k := range []*room{&l.left.silent, &l.left.answered, &l.left.inside} {
		for _, id := range k.order {
			d := k.of[id]
			if d.answered && d.heard.Before(self.begun) {
				// One of long ago may still be answered.
				if j, ok := flows.Peek(id); ok {
					d.heard = later(d.heard, lastReply(j))
				}
			}
			o.take(&self, d)
		}
	}
	for _, j := range flows.Unjudged() {
		if d, ok := in.underWay(j); ok {
			o.take(&self, &d)
		}
	}
	return o
}

// take adds a flow that left as the other one did, and began, or was answered, not
// long before it.
func (o *Departures) take(self, d *departure) {
	at := later(d.begun, d.heard)
	if d.id == self.id || d.by != self.by || d.dst.Addr().Is4() != self.dst.Addr().Is4() || self.begun.Sub(at) > outsideWindow {
		return
	}
	switch {
	case d.world && d.answered:
		o.answered = append(o.answered, d)
	case d.world:
		o.silent = append(o.silent, d)
	case d.answered && d.inside:
		o.inside = append(o.inside, d)
	}
}
