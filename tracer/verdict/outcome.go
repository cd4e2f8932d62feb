package verdict

import (
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// How long evidence is waited for before a flow counts as decided. An answer or
// a drop can be followed within microseconds by the event that explains it (the
// other CPU's ring, the ICMP error of a REJECT): grace. A datagram has no
// retransmission of its own to wait for: silence is called after silentUDP, or
// when a second request also went unanswered.
const (
	grace     = 60 * time.Millisecond
	silentUDP = 3500 * time.Millisecond
	// silentTCP: the kernel frees a packet whose next hop does not answer after
	// three questions, a second apart, and that must be heard first. With
	// tcp_syn_linear_timeouts (6.5) the second retransmission comes earlier.
	silentTCP   = 3500 * time.Millisecond
	noData      = 5 * time.Second
	quietIsDone = time.Second
	silentSYNs  = 3 // the SYN and two retransmissions
	// stallWait covers the counts' interval and the next retransmissions.
	stallWait = 2500 * time.Millisecond
	// retryTCP is the initial retransmission time-out (RFC 6298) with slack:
	// before that, a packet that was dropped has had no second chance.
	retryTCP = 1200 * time.Millisecond
	// minRTO is TCP_RTO_MIN of the kernel, less scheduling slack.
	minRTO = 150 * time.Millisecond
)

// Settle classifies what the client saw and says whether the flow can be
// judged now. With ending, nothing more will come and every flow is judged.
func Settle(j *tracer.Journey, now time.Time, ending bool) (tracer.Outcome, bool) {
	if len(j.Hops) == 0 && len(j.Drops) == 0 {
		return tracer.OutcomeNotSeen, ending
	}
	o, due := outcome(j, now)
	return o, ending || due
}

func outcome(j *tracer.Journey, now time.Time) (tracer.Outcome, bool) {
	settled := now.Sub(j.Last) >= grace
	if o, ok := refused(j); ok {
		return o, settled
	}
	if j.Flow.Proto == tracer.ProtoTCP {
		return tcpOutcome(j, now, settled)
	}
	stall := stalled(j, now)
	if has(j, tracer.AnswerReply) && replyArrived(j) && stall != stallProven {
		return tracer.OutcomeDelivered, now.Sub(j.Last) >= quietIsDone && stall == stallNone
	}
	if strikes(j) >= 2 || final(j) {
		return tracer.OutcomeNoAnswer, settled
	}
	waited := now.Sub(j.First)
	return tracer.OutcomeNoAnswer, waited >= silentUDP && (j.Attempts >= 2 || dropped(j)) || waited >= silentUDP+2*time.Second
}

// refused: an RST or a fatal ICMP error ended the attempt before it was a
// connection.
func refused(j *tracer.Journey) (tracer.Outcome, bool) {
	if j.Established && j.Flow.Proto == tracer.ProtoTCP {
		return "", false
	}
	for i := range j.Answers {
		a := &j.Answers[i]
		switch {
		case a.Kind == tracer.AnswerRST && !has(j, tracer.AnswerSynAck) && !unheard(j, a):
			return tracer.OutcomeRefused, true
		case a.Kind == tracer.AnswerICMP && fatal(a):
			if portUnreachable(a) {
				return tracer.OutcomeRefused, true
			}
			return tracer.OutcomeICMPError, true
		}
	}
	if j.ClientReset && has(j, tracer.AnswerSynAck) && !has(j, tracer.AnswerData) {
		if arrived(j, tracer.AnswerSynAck) {
			return tracer.OutcomeDelivered, true // it knows now that somebody listens, as health checks do
		}
		return tracer.OutcomeReset, true
	}
	return "", false
}

// unheard: the client's socket did not take the answer for its own.
func unheard(j *tracer.Journey, a *tracer.Answer) bool {
	if a.ReachedClient {
		return false
	}
	for i := range j.Drops {
		d := &j.Drops[i]
		if d.Direction == tracer.DirReply && d.Drop.Stage == tracer.StageSocket && d.Device.NetNS == j.SrcDevice.NetNS && d.Tuple != j.Flow.Reverse() {
			return true
		}
	}
	return false
}

func tcpOutcome(j *tracer.Journey, now time.Time, settled bool) (tracer.Outcome, bool) {
	quiet := now.Sub(j.Last)
	stall := stalled(j, now)
	switch {
	case !j.Established:
		silent := j.Attempts >= silentSYNs && quiet >= grace && now.Sub(j.First) >= silentTCP
		return tracer.OutcomeNoAnswer, silent || settled && (strikes(j) >= 2 || final(j))
	case has(j, tracer.AnswerRST) && !has(j, tracer.AnswerFin) && !has(j, tracer.AnswerData):
		return tracer.OutcomeReset, settled
	case has(j, tracer.AnswerRST) && !has(j, tracer.AnswerFin) && j.RequestBytes > 0:
		return tracer.OutcomeResetMidFlow, settled
	case stall == stallProven, answersLost(j):
		return tracer.OutcomeConnectedNoData, settled
	case j.ReplyBytes > 0:
		return tracer.OutcomeDelivered, j.Closed && settled || quiet >= quietIsDone && stall == stallNone
	case j.RequestBytes > 0 && j.Closed && has(j, tracer.AnswerFin) && j.Last.Sub(j.First) < noData:
		return tracer.OutcomeDelivered, settled // one side spoke, both closed in order
	case j.RequestBytes > 0:
		// What is sent again and again keeps it from being quiet.
		return tracer.OutcomeConnectedNoData, quiet >= noData || j.Retransmits >= 3 && now.Sub(j.First) >= noData
	}
	if neverSent(j) {
		return tracer.OutcomeConnectedNoData, settled
	}
	// A connection on which nothing was sent is healthy as far as it went.
	return tracer.OutcomeDelivered, j.Closed && settled || quiet >= noData
}

// neverSent: the client had something to say, and no next hop for it any more.
func neverSent(j *tracer.Journey) bool {
	last := lastReply(j)
	return !j.Closed && slices.ContainsFunc(j.Drops, func(d tracer.DropSeen) bool {
		return d.Direction == tracer.DirRequest && !d.ARP && !d.ICMPError && neighbourFailed(&d) && d.Last.After(last)
	})
}

// stall says whether a flow that once worked has come to a stop.
type stall int

const (
	stallNone stall = iota
	stallMaybe
	stallProven
)

// stalled looks for packets that were dropped again and again at one place, over
// more than one retransmission time-out, and of which nothing came back since.
// Two random losses, recovered long ago and just now, must not look like it: what
// did come back is known only from counts that arrive now and then, so that
// fewer than three in a row have to stand for stallWait.
func stalled(j *tracer.Journey, now time.Time) stall {
	worst := stallNone
	last := lastReply(j)
	for i := range j.Drops {
		d := &j.Drops[i]
		if d.ARP || d.ICMPError || d.Count < 2 || d.Last.Sub(d.First) < minRTO || last.After(d.Last) {
			continue
		}
		inARow := !last.After(d.First.Add(minRTO)) // the window's other segments are still acknowledged
		if d.Count >= 3 && inARow || now.Sub(d.Last) >= stallWait {
			return stallProven
		}
		worst = stallMaybe
	}
	return worst
}

// answersLost: the target sent data and the client got none of it as its own: it
// was dropped again and again, or reset by the client, to whom it did not belong.
// Acknowledgements that get through do not make up for that.
func answersLost(j *tracer.Journey) bool {
	if j.Mid || j.Partial || !has(j, tracer.AnswerData) || arrived(j, tracer.AnswerData) {
		return false
	}
	for i := range j.Drops {
		d := &j.Drops[i]
		if d.Direction == tracer.DirReply && !d.ARP && !d.ICMPError && (d.Count >= 3 || j.ClientReset) {
			return true
		}
	}
	return false
}

// lastReply is when the flow's own answers were last seen; an ICMP error about
// it is none.
func lastReply(j *tracer.Journey) time.Time {
	var last time.Time
	for i := range j.Hops {
		h := &j.Hops[i]
		if h.Direction == tracer.DirReply && (h.Inner != nil || h.Tuple.Proto == j.Flow.Proto) && h.Last.After(last) {
			last = h.Last
		}
	}
	return last
}

// strikes counts how often the flow itself was dropped, at the worst place.
func strikes(j *tracer.Journey) uint64 {
	var n uint64
	for i := range j.Drops {
		if d := &j.Drops[i]; !d.ARP && !d.ICMPError {
			n = max(n, d.Count)
		}
	}
	return n
}

// final: a drop that stands for several tries: neighbour resolution gives up
// after three requests.
func final(j *tracer.Journey) bool {
	for i := range j.Drops {
		if d := &j.Drops[i]; !d.ARP && neighbourFailed(d) {
			return true
		}
	}
	return false
}

func dropped(j *tracer.Journey) bool { return strikes(j) > 0 }

func has(j *tracer.Journey, k tracer.AnswerKind) bool {
	for i := range j.Answers {
		if j.Answers[i].Kind == k {
			return true
		}
	}
	return false
}

// replyArrived: answers came to the client, and were not all dropped on the way
// from its device to its socket.
func replyArrived(j *tracer.Journey) bool {
	var dropped uint64
	for i := range j.Drops {
		d := &j.Drops[i]
		if d.Direction == tracer.DirReply && !d.ARP && !d.ICMPError && d.Drop.Stage != tracer.StageSocket {
			dropped = max(dropped, d.Count)
		}
	}
	return arrived(j, tracer.AnswerReply) && (dropped == 0 || dropped < j.ReplyPackets)
}

func arrived(j *tracer.Journey, k tracer.AnswerKind) bool {
	for i := range j.Answers {
		if a := &j.Answers[i]; a.Kind == k && a.ReachedClient {
			return true
		}
	}
	return false
}

// fatal: errors that make connect or a connected datagram socket fail; a
// "fragmentation needed" is not one (RFC 1122 §4.2.3.9, RFC 1191).
func fatal(a *tracer.Answer) bool {
	if a.Proto == tracer.ProtoICMPv6 {
		return a.ICMPType == 1 || a.ICMPType == 3
	}
	return a.ICMPType == 3 && a.ICMPCode != 4 || a.ICMPType == 11
}

func portUnreachable(a *tracer.Answer) bool {
	if a.Proto == tracer.ProtoICMPv6 {
		return a.ICMPType == 1 && a.ICMPCode == 4
	}
	return a.ICMPType == 3 && a.ICMPCode == 3
}

// hostUnreachable: what a router answers when the next hop does not.
func hostUnreachable(a *tracer.Answer) bool {
	if a.Proto == tracer.ProtoICMPv6 {
		return a.ICMPType == 1 && a.ICMPCode == 3
	}
	return a.ICMPType == 3 && a.ICMPCode == 1
}

// prohibited: "administratively prohibited", the mark of a firewall.
func prohibited(a *tracer.Answer) bool {
	if a.Proto == tracer.ProtoICMPv6 {
		return a.ICMPType == 1 && (a.ICMPCode == 1 || a.ICMPCode == 5 || a.ICMPCode == 6)
	}
	return a.ICMPType == 3 && (a.ICMPCode == 9 || a.ICMPCode == 10 || a.ICMPCode == 13)
}

func tooBig(a *tracer.Answer) bool {
	if a.Proto == tracer.ProtoICMPv6 {
		return a.ICMPType == 2
	}
	return a.ICMPType == 3 && a.ICMPCode == 4
}

func timeExceeded(a *tracer.Answer) bool {
	if a.Proto == tracer.ProtoICMPv6 {
		return a.ICMPType == 3
	}
	return a.ICMPType == 11
}
