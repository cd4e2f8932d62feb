package path

import "github.com/podpath/podpath/tracer"

// acknowledged takes what the client says that it got for answers, where no answer
// passes a hook: as where what a macvlan device receives is seen in its lower
// device's namespace only. Who acknowledges in a connection that it began has got a
// SYN-ACK (RFC 9293 §3.10.7.3), and then as much as the number grows, of which one
// may be a FIN.
func (jn *Joiner) acknowledged(f *flow, ev *tracer.Event) {
	j := &f.j
	if f.replyOK || j.Mid || !f.haveISN || ev.TCPSeq-f.isn-1 > maxWindow {
		return
	}
	if !f.ackSeen {
		f.ackSeen, f.ackBase = true, ev.TCPAck
	}
	jn.presume(f, ev, tracer.AnswerSynAck)
	switch n := ev.TCPAck - f.ackBase; {
	case n == 0 || n > maxWindow:
	case n == 1:
		jn.presume(f, ev, tracer.AnswerFin)
		f.fin[1] = true
	default:
		jn.presume(f, ev, tracer.AnswerData)
		j.ReplyBytes = max(j.ReplyBytes, uint64(n))
	}
}

// maxWindow is how far two sequence numbers of a connection lie apart at most (RFC
// 7323 §2.3).
const maxWindow = 1 << 30

// presume adds an answer that was seen nowhere. It is of no device.
func (jn *Joiner) presume(f *flow, ev *tracer.Event, kind tracer.AnswerKind) {
	j := &f.j
	if hasAnswer(j, kind) {
		return
	}
	j.Answers = append(j.Answers, tracer.Answer{
		Kind: kind, From: j.Flow.Dst.Addr(), ReachedClient: true, Proto: j.Flow.Proto, Time: ev.Time, MonoNS: ev.MonoNS, Count: 1, Event: ev.Seq,
	})
}
