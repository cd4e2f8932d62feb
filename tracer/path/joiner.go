package path

import (
	"container/list"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// DefaultMaxFlows bounds how many flows a Joiner keeps.
const DefaultMaxFlows = 65536

// What one flow, and the address resolutions, may take up: far more than a path
// on one node has, so that only forged packets reach it.
const (
	maxHops         = 128
	maxDrops        = 64
	maxAnswers      = 32
	maxTranslations = 16
	maxTuples       = 32
	maxAskers       = 4096 // addresses whose dropped resolutions are kept
	maxARP          = 16   // of each
	maxGone         = 4096 // devices that vanished
)

// Want says whether a flow, in its original direction, is one that was asked for.
// It is asked about the flow as the client sent it and, once a translation of the
// destination is known, about the flow from that client to where it goes then: who
// asks for a pod means what comes by its Service or hostPort, too.
type Want func(flow tracer.Tuple) bool

// Joiner collects events into journeys. It is not safe for concurrent use.
type Joiner struct {
	want  Want
	inv   tracer.Inventory
	roles map[tracer.DeviceKey]*tracer.Device
	index map[tracer.Tuple]ref
	flows map[uint64]*flow
	order []uint64 // flow ids, oldest first
	last  uint64
	max   int
	// Evicted counts flows that were forgotten because there were too many.
	Evicted uint64
	// arp holds dropped address resolutions, by asking address.
	arp map[netip.Addr][]tracer.DropSeen
	// resolved is when a client last got an answer with records from DNS.
	resolved map[netip.Addr]time.Time
	// askers are the flows by which addresses ask DNS, newest the latest moment of
	// a packet of any of them.
	askers map[netip.Addr]*askers
	newest time.Time
	// errorsOpen: see SetErrorsOpen.
	errorsOpen bool
}

type ref struct {
	id  uint64
	dir tracer.Direction
}

// flow is a journey in the making.
type flow struct {
	j       tracer.Journey
	wanted  bool
	isn     uint32
	haveISN bool
	first   tracer.DeviceKey // where the opening packet is counted
	firstK  tracer.EventKind
	reply   tracer.DeviceKey // where the reply direction is counted
	replyK  tracer.EventKind
	replyOK bool
	// firstIn and replyIn: that was inside a tunnel, where the sizes are not the
	// flow's own; the first sighting outside takes its place.
	firstIn, replyIn bool
	fin              [2]bool
	acked            bool // an ACK of the client's was counted
	// ackBase is the first number that the client acknowledged, if ackSeen.
	ackSeen   bool
	ackBase   uint32
	tuples    []tracer.Tuple
	opened    uint64 // MonoNS of the event that opened it
	questions map[uint16]*question
	unasked   uint8 // the gravest failure among answers to questions from before
	// asker is its place in askers.moved, nil if it does not ask DNS. Its last
	// packet passed at touched, or before.
	asker   *list.Element
	touched time.Time
	// atHost: a request packet was received in the node's own namespace.
	atHost bool
	// ownNAT: the client's own namespace translates, and takes answers that
	// still carry the translated addresses.
	ownNAT bool
}

// New makes a Joiner. want may be nil: every flow is wanted.
func New(want Want) *Joiner {
	if want == nil {
		want = func(tracer.Tuple) bool { return true }
	}
	return &Joiner{
		want: want, max: DefaultMaxFlows,
		index: map[tracer.Tuple]ref{}, flows: map[uint64]*flow{},
		roles: map[tracer.DeviceKey]*tracer.Device{},
		arp:   map[netip.Addr][]tracer.DropSeen{}, resolved: map[netip.Addr]time.Time{},
		askers: map[netip.Addr]*askers{},
	}
}

// SetWant replaces the selection; flows already known keep their answer, except
// that an unwanted one is asked again.
func (jn *Joiner) SetWant(want Want) {
	jn.want = want
	for _, f := range jn.flows {
		jn.ask(f)
	}
}

func (jn *Joiner) ask(f *flow) {
	to := f.j.Flow
	to.Dst = f.j.Translated.Dst
	f.wanted = f.wanted || jn.want(f.j.Flow) || to != f.j.Flow && jn.want(to)
}

// SetInventory tells which device is what. Devices that vanished stay known for
// their last events, which may be read later, until there are too many of them.
func (jn *Joiner) SetInventory(inv tracer.Inventory) {
	jn.inv = inv
	if len(jn.roles) > maxGone+len(inv.Devices) {
		clear(jn.roles)
	}
	for i := range inv.Devices {
		d := inv.Devices[i]
		jn.roles[d.DeviceKey] = &d
	}
}

// SetErrorsOpen says whether an ICMP error may be the first that is seen of a
// flow, because plain packets are held back.
func (jn *Joiner) SetErrorsOpen(open bool) { jn.errorsOpen = open }

// Device returns what is known of a device.
func (jn *Joiner) Device(k tracer.DeviceKey) (tracer.Device, bool) {
	if d := jn.roles[k]; d != nil {
		return *d, true
	}
	return tracer.Device{}, false
}

// Add takes one event and returns the id of the wanted flow that it belongs
// to, or 0.
func (jn *Joiner) Add(ev *tracer.Event) uint64 {
	if ev.Drop != nil && ev.Drop.Noise != "" {
		return 0
	}
	if ev.ARP {
		jn.addARP(ev)
		return 0
	}
	t, quoted, ok := subject(ev)
	if !ok {
		return 0
	}
	f, dir := jn.find(ev, t)
	if f == nil {
		switch {
		case ev.Quoted == nil:
			f, dir = jn.open(ev, t)
		case jn.errorsOpen:
			f, dir = jn.openByError(ev, t)
		default:
			return 0 // an error about a flow that was never seen
		}
	}
	if quoted { // an ICMP error travels against the packet it quotes
		dir = opposite(dir)
	}
	jn.record(f, ev, dir)
	if !f.wanted {
		return 0
	}
	return f.j.ID
}

// subject picks the tuple that identifies the flow of an event: the quoted one
// of an ICMP error, the inner one of a tunnel packet, else the header's.
func subject(ev *tracer.Event) (t tracer.Tuple, quoted, ok bool) {
	switch {
	case ev.Quoted != nil && ev.Quoted.IsValid():
		return *ev.Quoted, true, true
	case ev.Inner != nil && ev.Inner.Tuple.IsValid():
		return ev.Inner.Tuple, false, true
	case ev.Tuple.IsValid() && (!ev.IsICMPError() || ev.CT != nil):
		return ev.Tuple, false, true // conntrack knows what an unreadable error is about
	}
	return tracer.Tuple{}, false, false
}

// find looks the flow up by what conntrack calls it first, because a tuple on
// the wire can belong to an older, translated flow.
func (jn *Joiner) find(ev *tracer.Event, t tracer.Tuple) (*flow, tracer.Direction) {
	if ev.CT != nil && ev.CT.Orig.IsValid() && ev.Inner == nil && ev.Quoted == nil {
		if r, ok := jn.index[ev.CT.Orig]; ok && r.dir == tracer.DirRequest {
			dir := tracer.DirRequest
			if ev.CT.IsReply() {
				dir = tracer.DirReply
			}
			if f := jn.flows[r.id]; f != nil && !jn.restarts(f, ev, dir) {
				return f, dir
			}
			return nil, dir
		}
	}
	r, ok := jn.index[t]
	if !ok {
		if r, ok = jn.index[t.Reverse()]; !ok {
			return nil, ""
		}
		r.dir = opposite(r.dir)
	}
	f := jn.flows[r.id]
	if f == nil || jn.restarts(f, ev, r.dir) {
		return nil, ""
	}
	return f, r.dir
}

// restarts reports whether the event opens a new connection on a used tuple:
// a SYN whose initial sequence number differs from the flow's, or that follows
// packets of a connection whose beginning was not seen.
func (jn *Joiner) restarts(f *flow, ev *tracer.Event, dir tracer.Direction) bool {
	if dir != tracer.DirRequest || !opensTCP(ev) {
		return false
	}
	if f.haveISN {
		return f.isn != ev.TCPSeq
	}
	return f.j.Mid && ev.MonoNS > f.opened
}

// opensTCP: a SYN, but not one in a tunnel, whose sequence number is not known.
func opensTCP(ev *tracer.Event) bool {
	return ev.Quoted == nil && ev.Inner == nil && ev.Tuple.Proto == tracer.ProtoTCP &&
		ev.TCPFlags&(tracer.TCPSyn|tracer.TCPAck) == tracer.TCPSyn
}

// open starts a flow with the event's tuple, in the direction it most likely has.
func (jn *Joiner) open(ev *tracer.Event, t tracer.Tuple) (*flow, tracer.Direction) {
	dir, mid := jn.orient(ev, t)
	orig := t
	if dir == tracer.DirReply {
		orig = t.Reverse()
	}
	if ev.CT != nil && ev.CT.Orig.IsValid() && ev.Inner == nil {
		orig = ev.CT.Orig
	}
	jn.last++
	f := &flow{wanted: jn.want(orig), opened: ev.MonoNS}
	f.j = tracer.Journey{ID: jn.last, Flow: orig, Translated: orig, First: ev.Time, Last: ev.Time, Mid: mid}
	jn.flows[f.j.ID] = f
	jn.order = append(jn.order, f.j.ID)
	jn.learn(f, orig, tracer.DirRequest)
	jn.noteAsker(f)
	jn.evict()
	return f, dir
}

// openByError starts a flow with the packet that an ICMP error quotes. The error
// carries the conntrack entry of the flow that it is about.
func (jn *Joiner) openByError(ev *tracer.Event, quoted tracer.Tuple) (*flow, tracer.Direction) {
	f, dir := jn.open(ev, quoted)
	ct := ev.CT
	if ct == nil || !ct.Orig.IsValid() || !ct.Reply.IsValid() {
		return f, dir
	}
	jn.learn(f, ct.Reply, tracer.DirReply)
	jn.learn(f, ct.Reply.Reverse(), tracer.DirRequest)
	if quoted == ct.Orig || quoted == ct.Reply.Reverse() {
		return f, tracer.DirRequest
	}
	return f, tracer.DirReply
}

// orient decides whether a packet of an unknown flow travels with its request
// or its reply. Conntrack knows; a SYN tells; otherwise the side that was asked
// for is the client, and failing that the lower port is the server.
func (jn *Joiner) orient(ev *tracer.Event, t tracer.Tuple) (dir tracer.Direction, mid bool) {
	flags := ev.TCPFlags
	if ev.Inner != nil {
		flags = ev.Inner.TCPFlags
	}
	tcp := t.Proto == tracer.ProtoTCP
	mid = tcp && flags&tracer.TCPSyn == 0
	switch {
	case ev.CT != nil && ev.Inner == nil:
		if ev.CT.IsReply() {
			return tracer.DirReply, true
		}
		return tracer.DirRequest, mid
	case tcp && flags&(tracer.TCPSyn|tracer.TCPAck) == tracer.TCPSyn|tracer.TCPAck:
		return tracer.DirReply, true
	case tcp && flags&tracer.TCPSyn != 0:
		return tracer.DirRequest, false
	case isEchoReply(ev):
		return tracer.DirReply, true
	case mid && jn.want(t) != jn.want(t.Reverse()):
		if jn.want(t) {
			return tracer.DirRequest, true
		}
		return tracer.DirReply, true
	case mid && t.Src.Port() < t.Dst.Port():
		return tracer.DirReply, true
	case !tcp && t.Src.Port() < t.Dst.Port() && !jn.want(t) && jn.want(t.Reverse()):
		return tracer.DirReply, true // the question was sent before the trace began
	}
	return tracer.DirRequest, mid
}

func isEchoReply(ev *tracer.Event) bool {
	return ev.Tuple.Proto == tracer.ProtoICMP && ev.ICMPType == 0 ||
		ev.Tuple.Proto == tracer.ProtoICMPv6 && ev.ICMPType == 129
}

// learn makes a tuple lead to the flow.
func (jn *Joiner) learn(f *flow, t tracer.Tuple, dir tracer.Direction) {
	if !t.IsValid() {
		return
	}
	if r, ok := jn.index[t]; ok && r.id == f.j.ID {
		return
	}
	if len(f.tuples) >= maxTuples {
		return
	}
	jn.index[t] = ref{f.j.ID, dir}
	f.tuples = append(f.tuples, t)
}

func (jn *Joiner) evict() {
	for len(jn.order) > jn.max {
		jn.Forget(jn.order[0])
		jn.Evicted++
	}
}

// Forget drops a flow, for example once its verdict is out and it is closed.
func (jn *Joiner) Forget(id uint64) {
	f := jn.flows[id]
	if f == nil {
		return
	}
	for _, t := range f.tuples {
		if jn.index[t].id == id {
			delete(jn.index, t)
		}
	}
	delete(jn.flows, id)
	jn.forgetAsker(f)
	if i := slices.Index(jn.order, id); i >= 0 {
		jn.order = slices.Delete(jn.order, i, i+1)
	}
}

// IDs lists the wanted flows, oldest first.
func (jn *Joiner) IDs() []uint64 {
	ids := make([]uint64, 0, len(jn.order))
	for _, id := range jn.order {
		if jn.flows[id].wanted {
			ids = append(ids, id)
		}
	}
	return ids
}

// Peek returns a flow as it stands, without a copy and without what Journey adds
// to it: for a look before the next Add. The caller must not change it.
func (jn *Joiner) Peek(id uint64) (*tracer.Journey, bool) {
	f := jn.flows[id]
	if f == nil {
		return nil, false
	}
	return &f.j, true
}

// Journey returns what is known of a flow now; the copy is the caller's.
func (jn *Joiner) Journey(id uint64) (*tracer.Journey, bool) {
	f := jn.flows[id]
	if f == nil {
		return nil, false
	}
	j := f.j
	j.Hops = slices.Clone(f.j.Hops)
	j.Answers = slices.Clone(f.j.Answers)
	j.Translations = slices.Clone(f.j.Translations)
	j.Drops = append(slices.Clone(f.j.Drops), jn.arpDrops(&f.j)...)
	slices.SortStableFunc(j.Hops, func(a, b tracer.Hop) int { return cmpU64(a.FirstMonoNS, b.FirstMonoNS) })
	slices.SortStableFunc(j.Drops, func(a, b tracer.DropSeen) int { return cmpU64(a.MonoNS, b.MonoNS) })
	jn.place(f, &j)
	j.Lookup, j.OverUDP, j.Upstream = jn.Lookup(id), jn.overUDP(f), jn.upstream(f)
	return &j, true
}

// place fills in the devices that own the two ends. Whether the node itself is
// the target is known only now: a NodePort's packets are received by the node,
// and go on to a pod.
func (jn *Joiner) place(f *flow, j *tracer.Journey) {
	if d, ok := jn.inv.Owner(j.Flow.Src.Addr()); ok {
		j.SrcDevice = d.DeviceKey
	}
	if d, ok := jn.inv.Owner(j.Translated.Dst.Addr()); ok {
		j.DstDevice = d.DeviceKey
		j.ReachedTarget = j.ReachedTarget || f.atHost && d.NetNS == jn.inv.HostNetNS
	}
}

func cmpU64(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func opposite(d tracer.Direction) tracer.Direction {
	if d == tracer.DirRequest {
		return tracer.DirReply
	}
	return tracer.DirRequest
}

// arpWindow is how long before a flow's first packet a dropped address
// resolution still belongs to it: the kernel asks up to three times, a second
// apart, before it gives the packet up.
const arpWindow = 5 * time.Second
