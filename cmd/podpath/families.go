package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/verdict"
)

// families finds the two tries of one request by a client that has the other family
// to fall back on ("happy eyeballs", RFC 8305): over one the connection fails, or
// hangs, over the other it is made.
type families struct {
	recent map[try][]began
}

// try is what both have in common but for the addresses.
type try struct {
	proto uint8
	port  uint16
}

// began is one of the flows.
type began struct {
	id       uint64
	src, dst netip.Addr
	at       time.Time
}

const (
	// atFailure is how soon after a try was refused the next one begins, onSilence
	// how soon while it has no answer: 0.25 s is recommended, and 2 s the most
	// (RFC 8305 §5).
	atFailure = 150 * time.Millisecond
	onSilence = 2 * time.Second
	// maxTries and maxTried bound what is remembered.
	maxTries = 64
	maxTried = 1024
)

// note takes in a flow that was just seen for the first time.
func (f *families) note(j *tracer.Journey) {
	if j.Flow.Proto != tracer.ProtoTCP || j.Mid {
		return
	}
	k := try{j.Flow.Proto, j.Flow.Dst.Port()}
	if f.recent == nil || len(f.recent) > maxTried {
		f.recent = map[try][]began{}
	}
	list := append(f.recent[k], began{j.ID, j.Flow.Src.Addr(), j.Flow.Dst.Addr(), j.First})
	f.recent[k] = list[max(0, len(list)-maxTries):]
}

// others are the flows of the other family to the same port by a client that has
// these addresses: those that follow a try if after, those before it otherwise. The
// nearest comes first.
func (f *families) others(j *tracer.Journey, own []netip.Addr, after bool) []uint64 {
	var out []began
	for _, b := range f.recent[try{j.Flow.Proto, j.Flow.Dst.Port()}] {
		d := b.at.Sub(j.First)
		if !after {
			d = -d
		}
		if d >= 0 && b.dst.Is4() != j.Flow.Dst.Addr().Is4() && slices.Contains(own, b.src) {
			out = append(out, b)
		}
	}
	slices.SortStableFunc(out, func(a, b began) int {
		return int(a.at.Sub(j.First).Abs() - b.at.Sub(j.First).Abs())
	})
	ids := make([]uint64, len(out))
	for i, b := range out {
		ids[i] = b.id
	}
	return ids
}

// fellBack reports whether a connection that was never made is tried by its client
// over the other family, and that has not failed so far: then both are one request,
// and the verdict is the other one's: unless that one is to be spared, so that it may
// have none.
func (a *analyser) fellBack(j *tracer.Journey, outcome tracer.Outcome, now time.Time, spare bool) bool {
	if a.untried == nil || !neverMade(j, outcome) {
		return false
	}
	for _, id := range a.families.others(j, a.joiner.Addresses(j.Flow.Src.Addr()), true) {
		o, ok := a.joiner.Peek(id)
		if !ok || !nextTry(j, o) {
			continue
		}
		// The first that follows is the same request's.
		switch a.known[id] {
		case isHealthy, isReopened:
			return true
		case isJudged:
			return false
		}
		other, settled := verdict.Settle(o, now, false)
		if spare && other != tracer.OutcomeDelivered && underWay(o, now) {
			return false
		}
		return !settled || other == tracer.OutcomeDelivered
	}
	return false
}

// neverMade: the client gave one address up, and may have taken the next.
func neverMade(j *tracer.Journey, o tracer.Outcome) bool {
	switch o {
	case tracer.OutcomeRefused, tracer.OutcomeNoAnswer, tracer.OutcomeICMPError:
		return j.Flow.Proto == tracer.ProtoTCP && !j.Established && !j.Mid
	}
	return false
}

// nextTry: the second connection began as one does that takes over from the first.
func nextTry(first, second *tracer.Journey) bool {
	if len(first.Answers) > 0 {
		return second.First.Sub(first.Last) <= atFailure
	}
	return second.First.Sub(first.First) <= onSilence
}

// firstTry finds the try over the other family that failed before this connection
// was made, and that has no verdict of its own: it is this request's, and stands
// beside it.
func (a *analyser) firstTry(j *tracer.Journey, now time.Time) *tracer.AlsoSeen {
	if a.untried == nil {
		return nil
	}
	for _, id := range a.families.others(j, a.joiner.Addresses(j.Flow.Src.Addr()), false) {
		state, known := a.known[id]
		p, ok := a.joiner.Peek(id)
		if !ok || !known || state != isOpen || !nextTry(p, j) {
			continue
		}
		outcome, _ := verdict.Settle(p, now, true)
		if !neverMade(p, outcome) {
			continue
		}
		a.known[id] = isJudged
		first, _ := a.joiner.Journey(id)
		v := a.engine.Decide(a.input(first, outcome, now))
		return inVain(v, now)
	}
	return nil
}

// inVain is the verdict on a first try as it stands beside the second one's. The
// client may have given it up before it could be judged: then what was seen so far
// is told, and if nothing was, for how long there was no answer.
func inVain(v *tracer.Verdict, now time.Time) *tracer.AlsoSeen {
	family := "IPv4"
	if v.Journey.Flow.Dst.Addr().Is6() {
		family = "IPv6"
	}
	also := tracer.AlsoSeen{Component: v.Component, Code: v.Code, Why: v.Summary}
	if v.Code == tracer.CodeUnknown {
		switch {
		case len(v.AlsoSeen) > 0:
			also = v.AlsoSeen[0]
		case v.Outcome == tracer.OutcomeNoAnswer:
			also.Why = fmt.Sprintf("no answer was seen in %s, and nothing that explains it", now.Sub(v.Journey.First).Round(10*time.Millisecond))
		}
	}
	also.Why = fmt.Sprintf("the same request was tried over %s before, in vain: %s", family, also.Why)
	return &also
}
