package verdict

import (
	"net/netip"

	"github.com/podpath/podpath/tracer"
)

// An entry of conntrack that outlives the rules keeps datagrams on their old way.
// These rules look at it before they say so.

// madeAnew: the entry is as young as the flow, so that the rules of that moment made
// it and nothing older pins the flow.
func (in *Input) madeAnew() bool {
	e, _ := in.entryOf()
	if e == nil {
		return false
	}
	older, known := in.older(e)
	return known && !older
}

// holdToEntry adds the flow's entry to a finding that rests on where it leads. One
// that is gone by now, or leads elsewhere, leaves that unproven.
func (in *Input) holdToEntry(f *Finding, leads netip.AddrPort) {
	e, asked := in.entryOf()
	if e != nil {
		f.Evidence = append(f.Evidence, in.seenEntry(e))
	}
	if e != nil && e.Reply.Src == leads || e == nil && !asked {
		return
	}
	f.Confidence = lower(f.Confidence)
	f.Blind = append(f.Blind, tracer.Blind{What: "conntrack has no such entry of the flow any more", Effect: "that it was an entry which kept the packets on this way is inferred from them"})
}
