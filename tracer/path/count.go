package path

import (
	"time"

	"github.com/podpath/podpath/tracer"
)

// Count takes the kernel's own counts, so that a flow of which no more packets
// come as events is still known to be alive, and what was held back as an event
// is still known to have passed.
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
	jn.touch(f, c.Last)
	j := &f.j
	known := jn.countHops(j, c, r.dir)
	if c.Held > 0 && !c.Last.Before(j.First) {
		if !known {
			addCountedHop(f, c, r.dir)
		}
		jn.fromCount(f, c, r.dir)
	}
	if r.dir == tracer.DirReply && !ofEarlier(f, c) && c.TCPFlags&tracer.TCPPsh != 0 && !hasAnswer(j, tracer.AnswerData) {
		// Data came back after the packets that were followed one by one.
		j.ReplyBytes = max(j.ReplyBytes, 1)
		j.Answers = append(j.Answers, tracer.Answer{
			Kind: tracer.AnswerData, From: c.Tuple.Src.Addr(), Device: c.Device, Hook: c.Kind, Proto: c.Tuple.Proto, Time: c.Last, Count: 1,
		})
	}
}

// countHops brings the hops at the counted place up to date; false: none is known.
func (jn *Joiner) countHops(j *tracer.Journey, c *tracer.FlowCount, dir tracer.Direction) (known bool) {
	for i := range j.Hops {
		h := &j.Hops[i]
		if h.Direction == dir && h.Kind == c.Kind && h.Device == c.Device && h.Tuple == c.Tuple && h.Inner == nil {
			known = true
			h.Packets = max(h.Packets, c.Packets)
			if c.Last.After(h.Last) {
				h.Last = c.Last
			}
			rest(j, h.Last)
			if h.Last.After(j.Last) {
				j.Last = h.Last
			}
		}
	}
	return known
}

// addCountedHop: the flow passed a place from which no event came. An earlier
// connection with the same ports may have begun the count.
func addCountedHop(f *flow, c *tracer.FlowCount, dir tracer.Direction) {
	j := &f.j
	if len(j.Hops) >= maxHops {
		return
	}
	mono := max(c.FirstMonoNS, f.opened)
	j.Hops = append(j.Hops, tracer.Hop{
		Direction: dir, Kind: c.Kind, Device: c.Device, Tuple: c.Tuple, Packets: c.Packets,
		First: j.First.Add(time.Duration(mono - f.opened)), Last: c.Last, FirstMonoNS: mono,
	})
	if c.Last.After(j.Last) {
		j.Last = c.Last
	}
}

// fromCount concludes what the packets must have been that were held back. All
// flags are known, but not their order. Resets and errors are not held back.
func (jn *Joiner) fromCount(f *flow, c *tracer.FlowCount, dir tracer.Direction) {
	j := &f.j
	ev := &tracer.Event{
		Kind: c.Kind, NetNS: c.Device.NetNS, IfIndex: c.Device.IfIndex, Tuple: c.Tuple, Time: c.Last, MonoNS: c.FirstMonoNS, TCPFlags: c.TCPFlags,
	}
	all := func(flags uint8) bool { return c.TCPFlags&flags == flags }
	if dir == tracer.DirRequest {
		jn.reaches(f, ev)
		f.acked = f.acked || all(tracer.TCPAck)
		f.fin[0] = f.fin[0] || all(tracer.TCPFin)
		if all(tracer.TCPPsh) {
			j.RequestBytes = max(j.RequestBytes, 1)
		}
	} else if !ofEarlier(f, c) {
		jn.answersFromCount(f, ev, c.Packets)
	}
	j.Established = j.Established || f.acked && hasAnswer(j, tracer.AnswerSynAck)
	if f.fin[0] && j.ReplyBytes > 0 && hasAnswer(j, tracer.AnswerRST) && !hasAnswer(j, tracer.AnswerFin) {
		j.Answers = append(j.Answers, tracer.Answer{Kind: tracer.AnswerFin, From: j.Translated.Dst.Addr(), Proto: j.Flow.Proto, Time: c.Last, Count: 1})
	}
	j.Closed = j.Closed || f.fin[0] && f.fin[1]
}

// ofEarlier: the count of answers began before the connection did, so that its
// flags may be those of an earlier one with the same ports.
func ofEarlier(f *flow, c *tracer.FlowCount) bool {
	return c.FirstMonoNS != 0 && f.haveISN && !f.j.Mid && c.FirstMonoNS < f.opened
}

func (jn *Joiner) answersFromCount(f *flow, ev *tracer.Event, packets uint64) {
	j, flags := &f.j, ev.TCPFlags
	if j.Flow.Proto != tracer.ProtoTCP {
		jn.answer(f, ev, tracer.AnswerReply)
		j.ReplyPackets = max(j.ReplyPackets, packets)
		return
	}
	if flags&(tracer.TCPSyn|tracer.TCPAck) == tracer.TCPSyn|tracer.TCPAck {
		jn.answer(f, ev, tracer.AnswerSynAck)
	}
	if flags&tracer.TCPPsh != 0 {
		jn.answer(f, ev, tracer.AnswerData)
		j.ReplyBytes = max(j.ReplyBytes, 1)
	}
	if flags&tracer.TCPFin != 0 {
		jn.answer(f, ev, tracer.AnswerFin)
		f.fin[1] = true
	}
}
