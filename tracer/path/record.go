package path

import (
	"net/netip"

	"github.com/podpath/podpath/tracer"
)

// record adds one event to a flow.
func (jn *Joiner) record(f *flow, ev *tracer.Event, dir tracer.Direction) {
	j := &f.j
	if ev.Time.After(j.Last) {
		j.Last = ev.Time
	}
	jn.translate(f, ev)
	switch {
	case ev.Drop != nil:
		jn.drop(f, ev, dir)
		return
	case ev.IsICMPError():
		if dir == tracer.DirReply {
			jn.answer(f, ev, tracer.AnswerICMP)
			jn.hop(f, ev, dir)
		}
		return
	}
	jn.hop(f, ev, dir)
	if dir == tracer.DirRequest {
		jn.request(f, ev)
	} else {
		jn.replied(f, ev)
	}
}

// translate learns the flow's other tuples from the conntrack entry that a
// packet carries: what an answer will look like, and what the request looks
// like after translation.
func (jn *Joiner) translate(f *flow, ev *tracer.Event) {
	ct := ev.CT
	if ct == nil || ev.Inner != nil || ct.Orig != f.j.Flow || !ct.Reply.IsValid() {
		return
	}
	j := &f.j
	j.CTSeen = true
	jn.learn(f, ct.Reply, tracer.DirReply)
	jn.learn(f, ct.Reply.Reverse(), tracer.DirRequest)
	j.Translated = ct.Reply.Reverse()
	if ct.DNAT() {
		jn.note(j, "dnat", ct.Orig.Dst, ct.Reply.Src, ev.Seq)
	}
	if ct.SNAT() {
		jn.note(j, "snat", ct.Orig.Src, ct.Reply.Dst, ev.Seq)
	}
}

func (jn *Joiner) note(j *tracer.Journey, kind string, from, to netip.AddrPort, ev uint64) {
	for _, t := range j.Translations {
		if t.Kind == kind && t.From == from && t.To == to {
			return
		}
	}
	j.Translations = append(j.Translations, tracer.Translation{Kind: kind, From: from, To: to, Event: ev})
}

func key(ev *tracer.Event) tracer.DeviceKey {
	return tracer.DeviceKey{NetNS: ev.NetNS, IfIndex: ev.IfIndex}
}

func (jn *Joiner) hop(f *flow, ev *tracer.Event, dir tracer.Direction) {
	j, k := &f.j, key(ev)
	for i := range j.Hops {
		h := &j.Hops[i]
		if h.Direction == dir && h.Kind == ev.Kind && h.Device == k && h.Tuple == ev.Tuple && (h.Inner == nil) == (ev.Inner == nil) {
			h.Last = ev.Time
			h.Packets++
			h.MaxLen = max(h.MaxLen, ev.Len)
			return
		}
	}
	j.Hops = append(j.Hops, tracer.Hop{
		Direction: dir, Kind: ev.Kind, Device: k, Tuple: ev.Tuple, Inner: ev.Inner,
		First: ev.Time, Last: ev.Time, FirstMonoNS: ev.MonoNS, Packets: 1, MaxLen: ev.Len, Event: ev.Seq,
	})
}

// request updates what the client sent.
func (jn *Joiner) request(f *flow, ev *tracer.Event) {
	j, k := &f.j, key(ev)
	if f.first == (tracer.DeviceKey{}) {
		f.first, f.firstK = k, ev.Kind
	}
	flags := ev.TCPFlags
	syn := ev.Tuple.Proto == tracer.ProtoTCP && flags&(tracer.TCPSyn|tracer.TCPAck) == tracer.TCPSyn
	if syn && !f.haveISN {
		f.isn, f.haveISN = ev.TCPSeq, true
	}
	if k == f.first && ev.Kind == f.firstK {
		jn.count(f, ev, syn)
	}
	if flags&tracer.TCPFin != 0 {
		f.fin[0] = true
	}
	if flags&tracer.TCPRst != 0 {
		j.ClientReset, j.Closed = true, true
	}
	j.Closed = j.Closed || f.fin[0] && f.fin[1]
	if jn.leaves(ev) {
		j.LeftNode, j.LeftAs, j.LeftBy = true, ev.Tuple, k
	}
	if jn.arrives(ev, j.Translated.Dst.Addr()) {
		j.ReachedTarget = true
	}
}

// count is what is counted once per packet, at the first place it is seen.
func (jn *Joiner) count(f *flow, ev *tracer.Event, syn bool) {
	j := &f.j
	j.RequestBytes += uint64(ev.Payload)
	if ev.Retransmit {
		j.Retransmits++
	}
	if ev.Tuple.Proto != tracer.ProtoTCP || syn {
		j.Attempts++
	}
	acked := ev.TCPFlags&(tracer.TCPAck|tracer.TCPSyn|tracer.TCPRst) == tracer.TCPAck
	if acked && hasAnswer(j, tracer.AnswerSynAck) || j.Mid {
		j.Established = true
	}
}

// leaves: handed to an uplink.
func (jn *Joiner) leaves(ev *tracer.Event) bool {
	d := jn.roles[key(ev)]
	return ev.Kind == tracer.EventTX && d != nil && d.Role == tracer.RoleUplink
}

// arrives: received by a device of the namespace that owns the address.
func (jn *Joiner) arrives(ev *tracer.Event, a netip.Addr) bool {
	if ev.Kind != tracer.EventRX || ev.Inner != nil {
		return false
	}
	d, ok := jn.inv.Owner(a)
	return ok && d.NetNS == ev.NetNS
}

// replied updates what came back.
func (jn *Joiner) replied(f *flow, ev *tracer.Event) {
	j, k := &f.j, key(ev)
	if !f.replyOK {
		f.reply, f.replyK, f.replyOK = k, ev.Kind, true
	}
	if k == f.reply && ev.Kind == f.replyK {
		j.ReplyBytes += uint64(ev.Payload)
		j.ReplyPackets++
	}
	flags := ev.TCPFlags
	if ev.Inner != nil {
		flags = ev.Inner.TCPFlags
	}
	switch {
	case j.Flow.Proto != tracer.ProtoTCP:
		jn.answer(f, ev, tracer.AnswerReply)
	case flags&tracer.TCPRst != 0:
		jn.answer(f, ev, tracer.AnswerRST)
		j.Closed = true
	case flags&(tracer.TCPSyn|tracer.TCPAck) == tracer.TCPSyn|tracer.TCPAck:
		jn.answer(f, ev, tracer.AnswerSynAck)
	default:
		if ev.Payload > 0 {
			jn.answer(f, ev, tracer.AnswerData)
		}
		if flags&tracer.TCPFin != 0 {
			jn.answer(f, ev, tracer.AnswerFin)
			f.fin[1] = true
		}
	}
	j.Closed = j.Closed || f.fin[0] && f.fin[1]
}

func hasAnswer(j *tracer.Journey, k tracer.AnswerKind) bool {
	for i := range j.Answers {
		if j.Answers[i].Kind == k {
			return true
		}
	}
	return false
}

// answer records one kind of answer, once per kind and ICMP code, and whether
// it got back to the client.
func (jn *Joiner) answer(f *flow, ev *tracer.Event, kind tracer.AnswerKind) {
	j := &f.j
	reached := jn.atClient(ev, j.Flow.Src.Addr()) && (ev.Quoted != nil || ev.Inner != nil || forClient(j, ev, here(jn, j)))
	for i := range j.Answers {
		a := &j.Answers[i]
		if a.Kind != kind || kind == tracer.AnswerICMP && (a.ICMPType != ev.ICMPType || a.ICMPCode != ev.ICMPCode) {
			continue
		}
		if a.Device == key(ev) && a.Hook == ev.Kind {
			a.Count++
		}
		a.ReachedClient = a.ReachedClient || reached
		return
	}
	from := ev.Tuple.Src.Addr()
	if ev.Inner != nil {
		from = ev.Inner.Tuple.Src.Addr()
	}
	j.Answers = append(j.Answers, tracer.Answer{
		Kind: kind, From: from, Device: key(ev), Hook: ev.Kind, ReachedClient: reached,
		ICMPType: ev.ICMPType, ICMPCode: ev.ICMPCode, ICMPMTU: ev.ICMPMTU, Proto: ev.Tuple.Proto,
		Time: ev.Time, MonoNS: ev.MonoNS, Count: 1, Event: ev.Seq,
	})
}

// here: the client is on this node, in whose namespaces the client's own view
// of the flow can be seen.
func here(jn *Joiner, j *tracer.Journey) bool {
	_, ok := jn.inv.Owner(j.Flow.Src.Addr())
	return ok
}

// forClient: the answer carries the addresses that the client asked, so that
// its socket takes it. One that was not translated back does not.
func forClient(j *tracer.Journey, ev *tracer.Event, here bool) bool {
	return !here || ev.Tuple == j.Flow.Reverse()
}

// atClient: the packet is where the client can take it: received in the
// client's namespace; handed to the node's end of its veth, if its own device
// is not watched; or, for a client off this node, handed to an uplink.
func (jn *Joiner) atClient(ev *tracer.Event, client netip.Addr) bool {
	owner, here := jn.inv.Owner(client)
	if !here {
		return jn.leaves(ev)
	}
	if owner.NetNS == ev.NetNS {
		return ev.Kind == tracer.EventRX || owner.NetNS == jn.inv.HostNetNS
	}
	d := jn.roles[key(ev)]
	return ev.Kind == tracer.EventTX && d != nil && d.Peer == owner.DeviceKey
}

func (jn *Joiner) drop(f *flow, ev *tracer.Event, dir tracer.Direction) {
	j := &f.j
	site := jn.site(ev)
	icmp := ev.IsICMPError()
	if dir == tracer.DirRequest && !icmp {
		if d, ok := jn.inv.Owner(j.Translated.Dst.Addr()); ok && d.NetNS == ev.NetNS && d.NetNS != jn.inv.HostNetNS {
			j.ReachedTarget = true
		}
		if len(j.Hops) == 0 { // never reached a device: count it as sent
			j.Attempts++
		}
	}
	for i := range j.Drops {
		d := &j.Drops[i]
		if d.Direction == dir && d.Device == site.Device && d.Drop.Reason == site.Drop.Reason &&
			d.Drop.Location == site.Drop.Location && d.Drop.Stage == site.Drop.Stage &&
			d.Tuple == site.Tuple && d.ICMPError == icmp {
			d.Count++
			d.Last = ev.Time
			d.Len = max(d.Len, ev.Len)
			return
		}
	}
	j.Drops = append(j.Drops, tracer.DropSeen{
		DropSite: site, Direction: dir, Count: 1, First: ev.Time, Last: ev.Time,
		MonoNS: ev.MonoNS, Len: ev.Len, Event: ev.Seq, CT: ev.CT, ICMPError: icmp,
	})
}

func (jn *Joiner) site(ev *tracer.Event) tracer.DropSite {
	s := tracer.DropSite{Device: key(ev), Tuple: ev.Tuple, Mark: ev.Mark, TCPFlags: ev.TCPFlags, Conn: ev.CT, Drop: *ev.Drop}
	if ev.InIfIndex != 0 {
		s.InDevice = tracer.DeviceKey{NetNS: ev.NetNS, IfIndex: ev.InIfIndex}
	}
	return s
}

// addARP remembers a dropped address resolution by who asked.
func (jn *Joiner) addARP(ev *tracer.Event) {
	if ev.Drop == nil {
		return
	}
	src := ev.Tuple.Src.Addr()
	list := jn.arp[src]
	for i := range list {
		d := &list[i]
		if d.Device == key(ev) && d.Tuple == ev.Tuple && d.Drop.Reason == ev.Drop.Reason {
			d.Count++
			d.Last = ev.Time
			return
		}
	}
	if len(list) >= maxARP || len(jn.arp) >= jn.max {
		return
	}
	jn.arp[src] = append(list, tracer.DropSeen{
		DropSite: jn.site(ev), Direction: tracer.DirRequest, Count: 1,
		First: ev.Time, Last: ev.Time, MonoNS: ev.MonoNS, Len: ev.Len, Event: ev.Seq, ARP: true,
	})
}

const maxARP = 16

// arpDrops are the dropped address resolutions that the flow waited for: its
// client asking for a next hop.
func (jn *Joiner) arpDrops(j *tracer.Journey) []tracer.DropSeen {
	var out []tracer.DropSeen
	for _, d := range jn.arp[j.Flow.Src.Addr()] {
		if d.Last.After(j.First.Add(-arpWindow)) {
			out = append(out, d)
		}
	}
	return out
}

// Count takes the kernel's own counts, so that a flow of which no more packets
// come as events is still known to be alive.
func (jn *Joiner) Count(c *tracer.FlowCount) {
	r, ok := jn.index[c.Tuple]
	if !ok {
		if r, ok = jn.index[c.Tuple.Reverse()]; !ok {
			return
		}
		r.dir = opposite(r.dir)
	}
	f := jn.flows[r.id]
	if f == nil {
		return
	}
	j := &f.j
	for i := range j.Hops {
		h := &j.Hops[i]
		if h.Direction == r.dir && h.Kind == c.Kind && h.Device == c.Device && h.Tuple == c.Tuple && h.Inner == nil {
			h.Packets = max(h.Packets, c.Packets)
			if c.Last.After(h.Last) {
				h.Last = c.Last
			}
			if h.Last.After(j.Last) {
				j.Last = h.Last
			}
		}
	}
	if r.dir == tracer.DirReply && c.TCPFlags&tracer.TCPPsh != 0 && !hasAnswer(j, tracer.AnswerData) {
		// Data came back after the packets that were followed one by one.
		j.ReplyBytes = max(j.ReplyBytes, 1)
		j.Answers = append(j.Answers, tracer.Answer{
			Kind: tracer.AnswerData, From: c.Tuple.Src.Addr(), Device: c.Device, Hook: c.Kind, Proto: c.Tuple.Proto, Time: c.Last, Count: 1,
		})
	}
}
