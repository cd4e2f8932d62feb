package rules

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// ctZone is the zone of conntrack that a rule puts packets into: connections of one
// are not known in another. 0 is everybody's who is in none.
type ctZone int

// unknownZone depends on a mark, or on what else the packet has.
const unknownZone ctZone = -1

// enum of xt_ct_target_info's flags (include/uapi/linux/netfilter/xt_CT.h).
const (
	xtCTNotrack  = 1 << 0
	xtCTZoneOrig = 1 << 2
	xtCTZoneRepl = 1 << 3
	xtCTZoneMark = 1 << 4
)

// xtZone reads the flags and the zone. One that counts for one direction only is there
// to be translated back by the other, which finds it.
func xtZone(flags, zone uint16) ctZone {
	switch {
	case flags&xtCTZoneMark != 0:
		return unknownZone
	case flags&(xtCTZoneOrig|xtCTZoneRepl) != 0:
		return 0
	}
	return ctZone(zone)
}

// zoned is the rule for which the flow's answers are in another zone of conntrack than
// what they answer, so that none of them is known there, or translated back.
func zoned(s *space, q tracer.Query) []tracer.RuleFact {
	if !q.Translated.Dst.IsValid() {
		return nil
	}
	back := q
	back.Flow, back.SrcNetNS, back.DstNetNS = q.Translated.Reverse(), q.DstNetNS, q.SrcNetNS
	there, asked := zoneOf(s, q)
	here, answered := zoneOf(s, back)
	if there == here || there == unknownZone || here == unknownZone {
		return nil
	}
	h := answered
	if h == nil {
		h = asked
	}
	f := h.fact("computed")
	f.Verdict = "zone"
	return []tracer.RuleFact{f}
}

// zoneOf is the zone in which conntrack looks for a flow's first packet, and the rule
// that says so: the last one does.
func zoneOf(s *space, q tracer.Query) (zone ctZone, by *hit) {
	p, hook := s.opening(q)
	w := &walk{m: newMachine(p, s)}
	early := func(c *chain) bool { return c.base.prio < conntrackPriority }
	for _, c := range s.all().hookChains(p.family(), hook, early) {
		before := len(w.visited)
		dropped := w.run(c)
		for _, r := range w.visited[before:] {
			if z, ok := r.zone(); ok {
				zone, by = z, &hit{base: c, rule: r, path: []*chain{r.chain}}
			}
		}
		if dropped {
			break
		}
	}
	return zone, by
}

// zone is the zone that a rule sets, false if it sets none.
func (r *rule) zone() (z ctZone, ok bool) {
	all := r.expressions()
	for _, x := range all {
		switch x := x.(type) {
		case untrack:
			if !x.whole && x.zone != 0 {
				z, ok = x.zone, true
			}
		case ct:
			if x.key == unix.NFT_CT_ZONE && x.sreg >= 0 && x.dir < 0 {
				z, ok = constant(all, x.sreg), true
			}
		}
	}
	return z, ok
}

// constant is the number that a rule's expressions load into a register.
func constant(all []any, reg int) ctZone {
	i := slices.IndexFunc(all, func(x any) bool {
		v, ok := x.(immediate)
		return ok && v.dreg == reg && len(v.data) >= 2
	})
	if i < 0 {
		return unknownZone
	}
	return ctZone(native.Uint16(all[i].(immediate).data))
}
