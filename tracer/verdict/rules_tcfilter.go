package verdict

import (
	"fmt"

	"github.com/podpath/podpath/tracer"
)

// metFilter is a tc filter that may have dropped the packet, and the action by which.
type metFilter struct {
	*tracer.FilterFact
	action *tracer.FilterAction
}

// filtersMet are the filters, on the device and the side of a drop, that dropped
// packets: over the trace, or ever where that is not known. Whether one matches the
// packet is not evaluated.
func (in *Input) filtersMet(d *tracer.DropSeen) []metFilter {
	if d.Drop.Engine != "tc" {
		return nil
	}
	var out []metFilter
	for i := range in.Node.Filters {
		f := &in.Node.Filters[i]
		if f.Device != d.Device || f.Side != string(d.Drop.Stage) {
			continue
		}
		for j := range f.Actions {
			if a := &f.Actions[j]; a.Lost > 0 && (a.Moved > 0 || !a.Counted) {
				out = append(out, metFilter{f, a})
				break
			}
		}
	}
	return out
}

// enough: it dropped as many packets over the trace as are missing here.
func (m *metFilter) enough(d *tracer.DropSeen) bool {
	return m.action.Counted && m.action.Moved >= max(d.Count, 1)
}

// theFilter is the one that dropped the packet: the only thing there that drops, or the
// only one that dropped enough, beside agents' programs of which no policy is known
// that denies the flow. nil if it may have been another.
func (in *Input) theFilter(met []metFilter, progs []tracer.BPFProgram, d *tracer.DropSeen) *metFilter {
	for i := range progs {
		owner := progs[i].Owner
		if owner == "" || !in.policiesKnown() || len(in.unevaluated(owner, in.side(d))) > 0 {
			return nil
		}
	}
	if len(met) == 1 && len(progs) == 0 {
		return &met[0]
	}
	var found *metFilter
	for i := range met {
		if !met[i].enough(d) {
			continue
		}
		if found != nil {
			return nil
		}
		found = &met[i]
	}
	return found
}

// filterDrop: a tc filter's action dropped the packet.
func (in *Input) filterDrop(m *metFilter, met []metFilter, progs []tracer.BPFProgram, d *tracer.DropSeen) *Finding {
	f := &Finding{
		Code: "pol-foreign-bpf", Confidence: tracer.Probable,
		Object:   &tracer.Ref{Kind: "TCFilter", Name: m.Dev + " " + m.name()},
		Rule:     m.rule(),
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenFilter(m)},
	}
	if m.enough(d) && len(met)+len(progs) == 1 && in.policiesKnown() {
		f.Confidence = tracer.Confirmed
	}
	if n := len(met) + len(progs); n > 1 {
		f.Blind = append(f.Blind, tracer.Blind{What: fmt.Sprintf("%d filters and programs there may drop", n), Effect: "which of them dropped the packet is not known; this one's counter fits"})
	}
	if m.action.Kind == "police" {
		f.Code, f.Object = "cni-bandwidth-shaper", in.limitedBy(d)
		f.Summary = fmt.Sprintf("the tc policer on %s (%s) drops packets of %s to %s: a bandwidth limit of %d bytes a second is set there, and it is exceeded or smaller than a packet (%d bytes)",
			in.where(d.Device), m.name(), in.from(d), in.to(d), m.action.RateBytes, d.Len)
		return f
	}
	f.Summary = fmt.Sprintf("tc filter %q on %s dropped the packets of %s to %s (%s); no NetworkPolicy denies them",
		m.name(), in.where(d.Device), in.from(d), in.to(d), m.does())
	if !in.policiesKnown() {
		f.Summary = fmt.Sprintf("tc filter %q on %s dropped the packets of %s to %s (%s)", m.name(), in.where(d.Device), in.from(d), in.to(d), m.does())
	}
	return f
}

// name is how tc tells a filter of a device from the others.
func (m *metFilter) name() string {
	s := m.Side
	if m.Chain != 0 {
		s += fmt.Sprintf(" chain %d", m.Chain)
	}
	s += fmt.Sprintf(" pref %d %s", m.Priority, m.Kind)
	switch {
	case m.Kind == "u32" && m.Handle>>12&0xff == 0: // tables, buckets and nodes, as tc writes them
		s += fmt.Sprintf(" handle %x::%x", m.Handle>>20, m.Handle&0xfff)
	case m.Kind == "u32":
		s += fmt.Sprintf(" handle %x:%x:%x", m.Handle>>20, m.Handle>>12&0xff, m.Handle&0xfff)
	case m.Handle != 0:
		s += fmt.Sprintf(" handle 0x%x", m.Handle)
	}
	return s
}

// does is the action that dropped, in words.
func (m *metFilter) does() string {
	a := m.action
	switch {
	case a.Kind == "police":
		return fmt.Sprintf("action police, %d bytes a second", a.RateBytes)
	case a.Kind == "gact":
		return "action drop"
	case a.Drops && a.To != "":
		return fmt.Sprintf("action %s to %s, and drop", a.Kind, a.To)
	case a.Drops:
		return fmt.Sprintf("action %s, and drop", a.Kind)
	case a.To != "" && a.ToDown:
		return fmt.Sprintf("action %s to %s, which is not up", a.Kind, a.To)
	case a.To != "":
		return fmt.Sprintf("action %s to %s, which failed", a.Kind, a.To)
	}
	return fmt.Sprintf("action %s, which failed", a.Kind)
}

func (m *metFilter) rule() *tracer.RuleFact {
	r := &tracer.RuleFact{Engine: "tc", Table: m.Dev, Chain: m.Side, Handle: uint64(m.Handle), Text: m.name() + ", " + m.does(), Verdict: "drop", How: "computed"}
	if m.action.Counted {
		r.How, r.Packets = "counter", m.action.Moved
	}
	return r
}

func (in *Input) seenFilter(m *metFilter) tracer.Evidence {
	if m.action.Counted {
		return in.seenState(in.where(m.Device), "tc filter %s: %s (+%d packets dropped)", m.name(), m.does(), m.action.Moved)
	}
	return in.seenState(in.where(m.Device), "tc filter %s: %s (%d packets dropped since it was made)", m.name(), m.does(), m.action.Lost)
}
