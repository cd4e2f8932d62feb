package verdict

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/tracer"
)

// rank puts causes before what follows from them. Of findings that do not follow
// from another, the order of the rules decides: the more specific component
// first. What only the state suggests does not stand before what the packets and
// the state prove.
func (e *Engine) rank(in *Input, found []*Finding) []*Finding {
	rest := slices.Clone(found)
	ranked := make([]*Finding, 0, len(rest))
	for len(rest) > 0 {
		i := slices.IndexFunc(rest, func(f *Finding) bool {
			return !slices.ContainsFunc(rest, func(c *Finding) bool { return c != f && e.before(in, c, f, found) })
		})
		i = max(i, 0) // each follows from another: the rules' order stands
		ranked = append(ranked, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return surestFirst(ranked)
}

// before: the one causes the other. Two that may each follow from the other keep
// the order of the rules.
func (e *Engine) before(in *Input, cause, sign *Finding, found []*Finding) bool {
	if cause.Confidence == tracer.Suspected && sign.Confidence != tracer.Suspected || e.effectOf(in, cause, sign) == "" {
		return false
	}
	return e.effectOf(in, sign, cause) == "" || slices.Index(found, cause) < slices.Index(found, sign)
}

// surestFirst does not let what only the state suggests stand before what the
// packets and the state prove.
func surestFirst(found []*Finding) []*Finding {
	if len(found) == 0 || found[0].Confidence != tracer.Suspected {
		return found
	}
	i := slices.IndexFunc(found, func(f *Finding) bool { return f.Confidence == tracer.Confirmed })
	if i <= 0 {
		return found
	}
	return slices.Concat(found[i:i+1], found[:i], found[i+1:])
}

// effectOf says what the cause does that makes the sign be found, "" if the sign
// does not follow from it.
func (e *Engine) effectOf(in *Input, cause, sign *Finding) string {
	for i := range e.effects {
		x := &e.effects[i]
		if cause.Code != sign.Code && slices.Contains(x.causes, cause.Code) && slices.Contains(x.signs, sign.Code) && x.holds(in, cause, sign) {
			return x.does
		}
	}
	return ""
}

// why says in words how a finding stands to the verdict, or to one that is ranked
// before it.
func (e *Engine) why(in *Input, ranked []*Finding, at int) string {
	f := ranked[at]
	for _, c := range ranked[:at] {
		if does := e.effectOf(in, c, f); does != "" {
			return fmt.Sprintf("follows from %s, %s: %s", c.Code, does, f.Summary)
		}
	}
	if e.effectOf(in, f, ranked[0]) != "" {
		return "may be the cause, but is only suspected: " + f.Summary
	}
	return in.beside(ranked[0], f) + ": " + f.Summary
}

// beside says how a finding that does not follow from the verdict stands to it.
func (in *Input) beside(first, f *Finding) string {
	mine, on := in.rests(first), in.rests(f)
	if slices.ContainsFunc(on, func(d *tracer.DropSeen) bool { return among(d, mine) }) {
		return "another reading of the same packets"
	}
	if first.Code == tracer.CodeUnknown {
		return "would explain it"
	}
	if len(on) == 0 || len(mine) == 0 {
		return "another fault of the same flow"
	}
	if a, b := drops(on), drops(mine); a < b {
		return fmt.Sprintf("seen, but did not touch most of the failing packets (%d of %d dropped)", a, a+b)
	}
	return "another fault of the same flow"
}

// resent says that what was sent again follows from the drops.
func (in *Input) resent(f *Finding) []tracer.Evidence {
	n := in.Journey.Retransmits
	if n == 0 || len(in.rests(f)) == 0 {
		return nil
	}
	return []tracer.Evidence{in.seenState(in.source(), "%d retransmissions, which follow from the drops", n)}
}

// rests are the drops that a finding names as evidence.
func (in *Input) rests(f *Finding) []*tracer.DropSeen {
	var on []*tracer.DropSeen
	for i := range in.Journey.Drops {
		d := &in.Journey.Drops[i]
		if slices.ContainsFunc(f.Evidence, func(e tracer.Evidence) bool { return e.Event != 0 && e.Event == d.Event }) {
			on = append(on, d)
		}
	}
	return on
}

func among(d *tracer.DropSeen, list []*tracer.DropSeen) bool { return slices.Contains(list, d) }

func drops(list []*tracer.DropSeen) (n uint64) {
	for _, d := range list {
		n += d.Count
	}
	return n
}
