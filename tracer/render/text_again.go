package render

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

const (
	// countEvery is how long repetitions are only counted before the count is said.
	countEvery = 10 * time.Second
	// maxRepeats bounds the pairs of ends that are remembered, and what was said of
	// each; beyond that every verdict is shown in full.
	maxRepeats = 1024
	maxSaid    = 32
)

// repeats keeps text short where a client tries again and again: what was said of
// the same two ends before is counted, or said in short. Each flow still has its own
// verdict in JSON, YAML and wide text.
type repeats struct {
	of    map[string]*repeat
	order []string

	causes     map[string]*cause
	causeOrder []*cause
}

// repeat is what was said of two ends.
type repeat struct {
	said []string // what each of the verdicts in full says, without what differs each time
	last string   // of them, that of the newest verdict
	more int      // verdicts since that say it too, and were not told
	at   time.Time
	told time.Time
	like *Verdict // one of them
	// under is the cause with whose flows these are counted, nil for none.
	under *cause
}

// telling is how a verdict is to be told.
type telling int

const (
	inFull  telling = iota
	inShort         // it was told before, and something else since
	counted         // it is what was told last
	inLine          // its cause was told of another flow
)

func (r *repeats) take(v *Verdict) telling {
	key, says := bothEnds(v), saying(v)
	g := r.of[key]
	switch {
	case g == nil && len(r.of) >= maxRepeats:
		return inFull
	case g == nil:
		if r.of == nil {
			r.of = map[string]*repeat{}
		}
		g = &repeat{}
		r.of[key] = g
		r.order = append(r.order, key)
	case g.last == says && g.under != nil:
		g.under.add(v, false)
		return counted
	case g.last == says:
		g.more++
		g.at, g.like = v.Time, v
		return counted
	}
	g.under = nil
	how := inFull
	switch {
	case slices.Contains(g.said, says):
		how = inShort
	case len(g.said) < maxSaid:
		g.said = append(g.said, says)
	}
	if how == inFull {
		how = r.ofCause(g, v)
	}
	g.last, g.at, g.told, g.like = says, v.Time, v.Time, v
	return how
}

// ofCause is how what was not told of these ends is to be told.
func (r *repeats) ofCause(g *repeat, v *Verdict) telling {
	c, first := r.kin(v)
	switch {
	case first:
		return inFull
	case c.named < maxNamed:
		c.named++
		return inLine
	}
	g.under = c
	c.add(v, true)
	return counted
}

// due are those whose repetitions have to be told now: all of them at the end, else
// those of the verdict's own ends, if it says something else, and those that were
// kept back for long.
func (r *repeats) due(v *Verdict) []*repeat {
	var list []*repeat
	for _, key := range r.order {
		g := r.of[key]
		if g.more > 0 && (v == nil || key == bothEnds(v) && g.last != saying(v) || v.Time.Sub(g.told) >= countEvery) {
			list = append(list, g)
		}
	}
	return list
}

// bothEnds are the two ends of a flow as people know them: a client's source port is
// another each time.
func bothEnds(v *Verdict) string {
	from := v.Flow.Source.IP.String()
	if s := v.Flow.Source; s.Name != "" {
		from = fmt.Sprintf("%s %s/%s", s.Kind, s.Namespace, s.Name)
	}
	to := v.Flow.Destination
	return strings.Join([]string{v.Node, v.Flow.Protocol, from, to.IP.String(), fmt.Sprint(to.Port)}, "\n")
}

// saying is what a verdict says: who is at fault and why, how sure that is, what the
// client saw, and, if it failed, where it was sent.
func saying(v *Verdict) string {
	parts := []string{string(v.Component), v.Code, string(v.Confidence), string(v.Outcome)}
	if v.Lookup != nil {
		parts = append(parts, v.Lookup.RCode)
	}
	for _, a := range v.AlsoSeen {
		parts = append(parts, a.Code)
	}
	if v.Component == tracer.ComponentNone {
		return strings.Join(parts, "\n")
	}
	if o := v.Object; o != nil {
		parts = append(parts, o.Kind, o.Namespace, o.Name)
	}
	if r := v.Rule; r != nil {
		parts = append(parts, r.Engine, r.Table, r.Chain, r.Text)
	}
	for _, t := range v.Flow.Translations {
		if t.Kind == "dnat" {
			parts = append(parts, t.To)
		}
	}
	return strings.Join(append(parts, lasting(v.Summary)), "\n")
}

// lasting is a sentence without what differs from one flow to the next: ports beside
// an address, times and counts. A name, an address, and the number that stands after
// what it is the number of (port 8080, MTU 1450) say another thing if they differ.
func lasting(sentence string) string {
	words := strings.Fields(sentence)
	named := false
	for i, w := range words {
		core := strings.Trim(w, "()[]{},;:\"'")
		// An IPv6 address with a port begins with a bracket.
		if a, err := netip.ParseAddrPort(strings.Trim(w, "(){},;:\"'")); err == nil {
			words[i] = a.Addr().String()
		} else if passing(core) && !named {
			words[i] = strings.Replace(w, core, "", 1)
		}
		named = slices.Contains(numbered(), core)
	}
	return strings.Join(words, " ")
}

// numbered are the words after which a number is a name.
func numbered() []string {
	return []string{"port", "ports", "MTU", "VNI", "TCP", "UDP", "SCTP", "table", "netns", "code", "type"}
}

// passing: the word is a count, a part, a length of time, or a time of day.
func passing(w string) bool {
	if _, err := strconv.ParseFloat(strings.TrimSuffix(w, "%"), 64); err == nil {
		return strings.ContainsAny(w, "0123456789")
	}
	if _, err := time.ParseDuration(w); err == nil {
		return true
	}
	_, err := time.Parse(time.TimeOnly, w)
	return err == nil
}

// again tells how often the same was found since it was told.
func (p *textPrinter) again(list []*repeat) {
	for _, g := range list {
		mark, c, head := headOf(g.like)
		text := fmt.Sprintf("%s, %s: %d more %s %s from %s to %s ended the same way, the last at %s", g.like.Code, g.like.Confidence, g.more,
			g.like.Flow.Protocol, plural("flow", g.more), who(g.like.Flow.Source), end(g.like.Flow.Destination), g.at.Format("15:04:05.000"))
		p.para(p.colour(bold+";"+c, mark+" "+strings.ToUpper(Escape(head)))+"  ", "  ", dim, text)
		p.b.WriteByte('\n')
		g.more, g.told = 0, g.at
	}
}

// who is an end without its port.
func who(e tracer.Endpoint) string {
	e.Port = 0
	return end(e)
}

// short tells a verdict that was shown in full before.
func (p *textPrinter) short(v *Verdict) {
	p.head(v, " again")
	p.wrap("  ", "  ", v.Summary)
	p.b.WriteByte('\n')
}
