package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// maxNamed is how many flows are named that fail for a cause that was told; of the
// others only the number is.
const maxNamed = 3

// cause is what is wrong with the node or with what is next to it, and was told of one
// flow: that others end for the same is told in a line, and not all over again.
type cause struct {
	named int // pairs of ends that were told in a line
	// flows of the other pairs since told, and the titles of the first of those pairs.
	flows  int
	pairs  int
	titles []string
	at     time.Time
	told   time.Time
	like   *Verdict
}

// kin finds what was told of the cause of a verdict before; first is true where nothing
// was, and nil stands for a cause that is told of each flow.
func (r *repeats) kin(v *Verdict) (c *cause, first bool) {
	key := causeOf(v)
	if key == "" {
		return nil, true
	}
	if c := r.causes[key]; c != nil {
		return c, false
	}
	if len(r.causes) >= maxRepeats {
		return nil, true
	}
	if r.causes == nil {
		r.causes = map[string]*cause{}
	}
	c = &cause{told: v.Time}
	r.causes[key] = c
	r.causeOrder = append(r.causeOrder, c)
	return c, true
}

// add counts a flow of a pair of ends that is not named.
func (c *cause) add(v *Verdict, another bool) {
	c.flows++
	c.at, c.like = v.Time, v
	if another {
		if c.pairs++; len(c.titles) < maxNamed {
			c.titles = append(c.titles, flowOf(v))
		}
	}
}

// causeOf tells verdicts apart by what is at fault, if that belongs to neither end of
// the flow; else "". What a verdict says of its own flow's ends does not count.
func causeOf(v *Verdict) string {
	o := v.Object
	switch {
	case o == nil || v.Lookup != nil || v.Component == tracer.ComponentNone || v.Component == tracer.ComponentUnknown || v.Component == tracer.ComponentPolicy || v.Code == tracer.CodeBeyondNode:
		return ""
	case !slices.Contains([]string{"Node", "Gateway", "Route", "RoutingRule"}, o.Kind):
		return ""
	}
	parts := []string{v.Node, string(v.Component), v.Code, string(v.Confidence), o.Kind, o.Name}
	if r := v.Rule; r != nil {
		parts = append(parts, r.Engine, r.Table, r.Chain, r.Text)
	}
	for _, a := range v.AlsoSeen {
		parts = append(parts, a.Code)
	}
	return strings.Join(append(parts, lasting(withoutEnds(v))), "\n")
}

// withoutEnds is the sentence without the names and addresses of the flow's ends.
func withoutEnds(v *Verdict) string {
	ends := map[string]bool{v.Flow.Source.IP.String(): true, v.Flow.Destination.IP.String(): true}
	for _, e := range []tracer.Endpoint{v.Flow.Source, v.Flow.Destination} {
		if e.Name != "" {
			ends[e.Namespace+"/"+e.Name] = true
		}
	}
	words := strings.Fields(v.Summary)
	for i, w := range words {
		if core := strings.Trim(w, "()[]{},;:\"'"); ends[core] {
			words[i] = strings.Replace(w, core, "", 1)
		}
	}
	return strings.Join(words, " ")
}

// flowOf is a flow by its ends, without the client's port.
func flowOf(v *Verdict) string {
	return fmt.Sprintf("%s %s → %s", v.Flow.Protocol, who(v.Flow.Source), end(v.Flow.Destination))
}

// likewise tells of another flow that fails for a cause that was told.
func (p *textPrinter) likewise(v *Verdict) {
	p.ofCause(v, fmt.Sprintf("the same for %s, %s", flowOf(v), clientSaw(v.Outcome)))
}

func (p *textPrinter) ofCause(v *Verdict, text string) {
	mark, c, head := headOf(v)
	p.para(p.colour(bold+";"+c, mark+" "+strings.ToUpper(Escape(head)))+"  ", "  ", dim, fmt.Sprintf("%s, %s: %s", v.Code, v.Confidence, text))
	p.b.WriteByte('\n')
}

// dueCauses are those of which flows are to be told now: all at the end, else those
// kept back for long.
func (r *repeats) dueCauses(v *Verdict) []*cause {
	var list []*cause
	for _, c := range r.causeOrder {
		if c.flows > 0 && (v == nil || v.Time.Sub(c.told) >= countEvery) {
			list = append(list, c)
		}
	}
	return list
}

// others tells how many flows more ended for a cause.
func (p *textPrinter) others(list []*cause) {
	for _, c := range list {
		names := strings.Join(c.titles, ", ")
		if n := c.pairs - len(c.titles); n > 0 && names != "" {
			names += fmt.Sprintf(" and %d more", n)
		}
		if names != "" {
			names = " (" + names + ")"
		}
		p.ofCause(c.like, fmt.Sprintf("the same for %d more %s%s, the last at %s", c.flows, plural("flow", c.flows), names, c.at.Format("15:04:05.000")))
		c.flows, c.pairs, c.titles, c.told = 0, 0, nil, c.at
	}
}
