package path

import (
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// record adds one event to a flow.
func (jn *Joiner) record(f *flow, ev *tracer.Event, dir tracer.Direction) {
	j := &f.j
	jn.touch(f, ev.Time)
	rest(j, ev.Time)
	if ev.Time.After(j.Last) {
		j.Last = ev.Time
	}
	jn.translate(f, ev)
	if dir == tracer.DirRequest && opensTCP(ev) {
		jn.begin(f, ev)
	}
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
	case aside(j, ev):
		return
	}
	jn.hop(f, ev, dir)
	if dir == tracer.DirRequest {
		jn.request(f, ev)
	} else {
		jn.replied(f, ev)
	}
	jn.lookup(f, ev, dir)
}

// aside: an ICMP message that conntrack takes for one about the flow, and that is
// neither its packet nor an error: a redirect (RFC 792, RFC 4861 §4.5). Of a flow that
// is translated the kernel drops it (nf_nat_icmpv6_reply_translation, 6.18).
func aside(j *tracer.Journey, ev *tracer.Event) bool {
	return ofICMP(ev.Tuple.Proto) && !ofICMP(j.Flow.Proto)
}

func ofICMP(proto uint8) bool { return proto == tracer.ProtoICMP || proto == tracer.ProtoICMPv6 }

// shortestPause is the least that counts as one: what a client or a server thinks
// about takes less.
const shortestPause = time.Second

// rest notes that a flow was quiet until now.
func rest(j *tracer.Journey, now time.Time) {
	if quiet := now.Sub(j.Last); quiet >= shortestPause {
		j.Pause = &tracer.Pause{Quiet: quiet, Ended: now}
	}
}

// begin notes the first sequence number. A SYN that was sent before anything
// else that was seen shows the beginning after all: the rings of two CPUs are
// not read in order.
func (jn *Joiner) begin(f *flow, ev *tracer.Event) {
	if !f.haveISN {
		f.isn, f.haveISN = ev.TCPSeq, true
	}
	if f.j.Mid {
		f.j.Mid, f.j.Established = false, false
	}
}

// translate learns the flow's other tuples from the conntrack entry that a
// packet carries: what an answer will look like, and what the request looks
// like after translation. An ICMP error carries the entry of the flow that it is
// about, and is all that tells where the packet that died was not seen to die. A pod's namespace has a conntrack of its own: the one
// that does not translate must not hide the one that does, and what a target
// pod does with packets it has received is its own affair.
func (jn *Joiner) translate(f *flow, ev *tracer.Event) {
	ct, j := ev.CT, &f.j
	if ct == nil || ev.Inner != nil || !ct.Reply.IsValid() {
		return
	}
	again := ct.Orig == j.Translated && ct.Orig != j.Flow && ev.NetNS == jn.inv.HostNetNS
	if ct.Orig != j.Flow && !again {
		return
	}
	j.CTSeen = true
	jn.adopt(f, ct.Reply.Reverse(), ev.Time)
	jn.learn(f, ct.Reply, tracer.DirReply)
	jn.learn(f, ct.Reply.Reverse(), tracer.DirRequest)
	if !ct.DNAT() && !ct.SNAT() || jn.inTarget(ev, j) {
		return
	}
	if d, ok := jn.inv.Owner(j.Flow.Src.Addr()); ok && d.NetNS == ev.NetNS {
		f.ownNAT = true
	}
	j.Translated = ct.Reply.Reverse()
	jn.ask(f)
	if ct.DNAT() {
		jn.note(j, "dnat", ct.Orig.Dst, ct.Reply.Src, ev.Seq)
	}
	if ct.SNAT() {
		jn.note(j, "snat", ct.Orig.Src, ct.Reply.Dst, ev.Seq)
	}
}

// adoptWindow is how long ago a packet may have been seen to belong to the flow
// of which only now is known what it is translated to.
const adoptWindow = 2 * time.Second

// adopt takes over what was seen of the flow under its translated tuple before
// the translation was known: the rings of two CPUs are not read in order, and a
// trace can begin with an answer.
func (jn *Joiner) adopt(f *flow, translated tracer.Tuple, now time.Time) {
	r, ok := jn.index[translated]
	o := jn.flows[r.id]
	if !ok || o == nil || o == f || o.j.CTSeen || o.j.Flow != translated || now.Sub(o.j.Last) > adoptWindow {
		return
	}
	j := &f.j
	j.Hops = append(j.Hops, o.j.Hops...)
	j.Drops = append(j.Drops, o.j.Drops...)
	for _, a := range o.j.Answers {
		a.ReachedClient = a.ReachedClient && translated == j.Flow
		j.Answers = append(j.Answers, a)
	}
	j.ReachedTarget = j.ReachedTarget || o.j.ReachedTarget
	j.Established = j.Established || o.j.Established && o.j.Mid && j.Mid
	if o.j.First.Before(j.First) {
		j.First = o.j.First
	}
	f.opened = min(f.opened, o.opened)
	if !f.haveISN {
		f.isn, f.haveISN = o.isn, o.haveISN
	}
	if !f.replyOK {
		f.reply, f.replyK, f.replyOK = o.reply, o.replyK, o.replyOK
		j.ReplyBytes, j.ReplyPackets = o.j.ReplyBytes, o.j.ReplyPackets
	}
	jn.Forget(o.j.ID)
}

// inTarget: seen inside the pod that is the target, and not also the client.
func (jn *Joiner) inTarget(ev *tracer.Event, j *tracer.Journey) bool {
	d, ok := jn.inv.Owner(j.Translated.Dst.Addr())
	return ok && d.NetNS == ev.NetNS && d.NetNS != jn.inv.HostNetNS && j.Translated.Dst.Addr() != j.Flow.Src.Addr()
}

// note keeps the newest translation of its kind last: a flow of datagrams can be
// translated anew when its conntrack entry is gone.
func (jn *Joiner) note(j *tracer.Journey, kind string, from, to netip.AddrPort, ev uint64) {
	for i := len(j.Translations) - 1; i >= 0; i-- {
		t := j.Translations[i]
		if t.Kind != kind {
			continue
		}
		if t.From == from && t.To == to {
			return
		}
		break
	}
	known := func(t tracer.Translation) bool { return t.Kind == kind && t.From == from && t.To == to }
	j.Translations = slices.DeleteFunc(j.Translations, known)
	if len(j.Translations) < maxTranslations {
		j.Translations = append(j.Translations, tracer.Translation{Kind: kind, From: from, To: to, Event: ev})
	}
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
	if len(j.Hops) >= maxHops {
		return
	}
	j.Hops = append(j.Hops, tracer.Hop{
		Direction: dir, Kind: ev.Kind, Device: k, Tuple: ev.Tuple, Inner: ev.Inner,
		First: ev.Time, Last: ev.Time, FirstMonoNS: ev.MonoNS, Packets: 1, MaxLen: ev.Len, Event: ev.Seq,
	})
}

// request updates what the client sent.
func (jn *Joiner) request(f *flow, ev *tracer.Event) {
	j, k := &f.j, key(ev)
	bare := f.firstIn && ev.Inner == nil
	if bare || f.first == (tracer.DeviceKey{}) {
		f.first, f.firstK, f.firstIn = k, ev.Kind, ev.Inner != nil
	}
	flags := flagsOf(ev)
	if k == f.first && ev.Kind == f.firstK {
		// The packet that comes out of a tunnel was counted as it went in.
		jn.count(f, ev, !bare && opens(j, flags))
	}
	if flags&tracer.TCPFin != 0 {
		f.fin[0] = true
	}
	if flags&tracer.TCPRst != 0 {
		j.ClientReset, j.Closed = true, true
	}
	j.Closed = j.Closed || f.fin[0] && f.fin[1]
	jn.reaches(f, ev)
}

// reaches notes how far the request got.
func (jn *Joiner) reaches(f *flow, ev *tracer.Event) {
	j := &f.j
	if jn.leaves(ev) {
		j.LeftNode, j.LeftAs, j.LeftBy = true, ev.Tuple, key(ev)
	}
	if ev.Kind == tracer.EventRX && ev.Inner == nil {
		f.atHost = f.atHost || ev.NetNS == jn.inv.HostNetNS
		j.ReachedTarget = j.ReachedTarget || jn.arrives(ev, j.Translated.Dst.Addr())
	}
}

// count is what is counted once per packet, at the first place it is seen.
func (jn *Joiner) count(f *flow, ev *tracer.Event, attempt bool) {
	j := &f.j
	j.RequestBytes += payload(ev)
	if ev.Retransmit {
		j.Retransmits++
	}
	if attempt {
		j.Attempts++
	}
	acked := flagsOf(ev)&(tracer.TCPAck|tracer.TCPSyn|tracer.TCPRst) == tracer.TCPAck
	if acked && ev.Inner == nil {
		jn.acknowledged(f, ev)
	}
	if acked && hasAnswer(j, tracer.AnswerSynAck) || j.Mid {
		j.Established = true
	}
}

// opens: the packet is an attempt of its own.
func opens(j *tracer.Journey, flags uint8) bool {
	return j.Flow.Proto != tracer.ProtoTCP || flags&(tracer.TCPSyn|tracer.TCPAck) == tracer.TCPSyn
}

// flagsOf are the flow's own TCP flags, also inside a tunnel.
func flagsOf(ev *tracer.Event) uint8 {
	if ev.Inner != nil {
		return ev.Inner.TCPFlags
	}
	return ev.TCPFlags
}

// payload is what the packet carries of the flow's data. That of a tunnel packet
// is the whole inner packet, of which a bare acknowledgement is one as well.
func payload(ev *tracer.Event) uint64 {
	if ev.Inner != nil {
		return 0
	}
	return uint64(ev.Payload)
}

// leaves: handed to an uplink, or to a tunnel that hides what it carries, so
// that the packet is not seen again on the uplink.
func (jn *Joiner) leaves(ev *tracer.Event) bool {
	d := jn.roles[key(ev)]
	return ev.Kind == tracer.EventTX && d != nil && (d.Role == tracer.RoleUplink || opaque(d))
}

func opaque(d *tracer.Device) bool {
	switch d.Kind {
	case "vxlan", "geneve", "ipip":
		return false
	}
	return d.Role == tracer.RoleTunnel
}

// arrives: received in the pod that owns the address.
func (jn *Joiner) arrives(ev *tracer.Event, a netip.Addr) bool {
	d, ok := jn.inv.Owner(a)
	return ok && d.NetNS == ev.NetNS && d.NetNS != jn.inv.HostNetNS
}

// replied updates what came back.
func (jn *Joiner) replied(f *flow, ev *tracer.Event) {
	j, k := &f.j, key(ev)
	bare := f.replyIn && ev.Inner == nil
	if bare || !f.replyOK {
		f.reply, f.replyK, f.replyOK, f.replyIn = k, ev.Kind, true, ev.Inner != nil
	}
	if k == f.reply && ev.Kind == f.replyK {
		j.ReplyBytes += payload(ev)
		if !bare {
			j.ReplyPackets++
		}
	}
	flags := flagsOf(ev)
	if ev.Inner == nil && j.Mid && !f.haveISN && flags&tracer.TCPAck != 0 && flags&(tracer.TCPSyn|tracer.TCPRst) != 0 && j.RequestBytes == 0 {
		// The answer to a SYN that was sent before the trace began, or that is
		// read after it: it acknowledges the SYN's number.
		f.isn, f.haveISN = ev.TCPAck-1, true
	}
	switch {
	case j.Flow.Proto != tracer.ProtoTCP:
		jn.answer(f, ev, tracer.AnswerReply)
	case flags&tracer.TCPRst != 0 && f.fin[0] && j.ReplyBytes > 0:
		// The client has closed, and has its answer: this ends the connection as
		// a FIN would, and no program sees it.
		jn.answer(f, ev, tracer.AnswerFin)
		j.Closed = true
	case flags&tracer.TCPRst != 0:
		jn.answer(f, ev, tracer.AnswerRST)
		j.Closed = true
	case flags&(tracer.TCPSyn|tracer.TCPAck) == tracer.TCPSyn|tracer.TCPAck:
		jn.answer(f, ev, tracer.AnswerSynAck)
	default:
		if payload(ev) > 0 {
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
	reached := jn.atClient(ev, j.Flow.Src.Addr()) && (ev.Quoted != nil || ev.Inner != nil || jn.forClient(f, ev))
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
	if len(j.Answers) >= maxAnswers {
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
		Bare: kind == tracer.AnswerRST && flagsOf(ev)&tracer.TCPAck == 0,
	})
}

// forClient: the answer carries the addresses that the client asked, so that
// its socket takes it; one that was not translated back does not. Where the
// client's own namespace translates, it is seen before it is translated back.
// The namespaces of a client elsewhere are not seen.
func (jn *Joiner) forClient(f *flow, ev *tracer.Event) bool {
	if _, here := jn.inv.Owner(f.j.Flow.Src.Addr()); !here {
		return true
	}
	return ev.Tuple == f.j.Flow.Reverse() || f.ownNAT && ev.Tuple == f.j.Translated.Reverse()
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
	icmp := ev.IsICMPError() || aside(j, ev)
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
	if len(j.Drops) >= maxDrops {
		return
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
	if len(list) == 0 && len(jn.arp) >= maxAskers {
		jn.forgetARP(ev.Time.Add(-arpWindow))
	}
	if len(list) >= maxARP || len(list) == 0 && len(jn.arp) >= maxAskers {
		return
	}
	jn.arp[src] = append(list, tracer.DropSeen{
		DropSite: jn.site(ev), Direction: tracer.DirRequest, Count: 1,
		First: ev.Time, Last: ev.Time, MonoNS: ev.MonoNS, Len: ev.Len, Event: ev.Seq, ARP: true,
	})
}

// forgetARP drops what no flow can have waited for any more.
func (jn *Joiner) forgetARP(before time.Time) {
	for a, list := range jn.arp {
		if !slices.ContainsFunc(list, func(d tracer.DropSeen) bool { return d.Last.After(before) }) {
			delete(jn.arp, a)
		}
	}
}

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
