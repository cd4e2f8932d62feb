package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

type textPrinter struct {
	w    io.Writer
	o    Options
	wide bool
	b    strings.Builder
	rows int
	// repeats is for the default text.
	repeats repeats
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	dim    = "2"
)

func (p *textPrinter) colour(code, s string) string {
	if !p.o.Colour || s == "" || code == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *textPrinter) Print(object any) error {
	p.b.Reset()
	switch v := object.(type) {
	case *Verdict:
		p.verdict(v)
	case *Flow:
		p.flow(v)
	case *Drop:
		p.drop(v)
	case *Fault:
		p.fault(v)
	case *Explanation:
		p.explanation(v)
	case *Summary:
		p.summary(v)
	default:
		return fmt.Errorf("cannot show a %T as text", object)
	}
	_, err := io.WriteString(p.w, p.b.String())
	return err
}

func (p *textPrinter) verdict(v *Verdict) {
	if !p.wide {
		p.again(p.repeats.due(v))
		p.others(p.repeats.dueCauses(v))
		switch p.repeats.take(v) {
		case counted:
			return
		case inShort:
			p.short(v)
			return
		case inLine:
			p.likewise(v)
			return
		}
	}
	p.head(v, "")
	p.wrap("  ", "  ", v.Summary)
	p.hops(v)
	if v.Component == tracer.ComponentNone && !p.wide {
		p.b.WriteByte('\n')
		return
	}
	p.list("Evidence", evidence(v))
	p.rule(v)
	p.remedy(v.Remedy)
	var also []string
	for _, a := range v.AlsoSeen {
		also = append(also, fmt.Sprintf("%s (%s): %s", a.Component, a.Code, a.Why))
	}
	p.list("Also seen, not the cause", also)
	var blind []string
	for _, b := range v.Blind {
		blind = append(blind, b.What+": "+b.Effect)
	}
	if v.LostEvents > 0 {
		blind = append(blind, fmt.Sprintf("%d events were lost: what was not seen may have happened all the same", v.LostEvents))
	}
	p.list("Not visible", blind)
	p.b.WriteByte('\n')
}

// head answers the question: who is it, how sure is that, and what did the client see.
func (p *textPrinter) head(v *Verdict, more string) {
	mark, c, who := headOf(v)
	p.para(p.colour(bold+";"+c, mark+" "+strings.ToUpper(Escape(who+more)))+"  ", "  ", dim,
		fmt.Sprintf("%s, %s, %s", v.Code, v.Confidence, clientSaw(v.Outcome)))
}

func headOf(v *Verdict) (mark, colour, who string) {
	mark, colour, who = "✗", red, string(v.Component)
	switch {
	case v.Component == tracer.ComponentNone:
		mark, colour = "✓", green
	case v.Component == tracer.ComponentUnknown || v.Code == tracer.CodeBeyondNode:
		mark, colour = "?", yellow
	}
	switch v.Code {
	case tracer.CodeOK:
		who = "healthy"
	case tracer.CodeUnknown:
		who = "undecided"
	case tracer.CodeBeyondNode:
		who = "beyond this node"
	}
	return mark, colour, who
}

// rule shows the rule, if the evidence has not done so.
func (p *textPrinter) rule(v *Verdict) {
	r := v.Rule
	if r == nil || !p.wide && slices.ContainsFunc(v.Evidence, func(e tracer.Evidence) bool { return strings.Contains(e.What, r.Text) }) {
		return
	}
	p.section("Rule")
	p.wrap("    ", "      ", fmt.Sprintf("%s table %s chain %s: %s (%s)", r.Engine, r.Table, r.Chain, r.Text, r.How))
}

// clientSaw puts the outcome as the client would.
func clientSaw(o tracer.Outcome) string {
	words := map[tracer.Outcome]string{
		tracer.OutcomeDelivered:       "the client got its answer",
		tracer.OutcomeNoAnswer:        "the client got no answer",
		tracer.OutcomeReset:           "the client got a reset",
		tracer.OutcomeRefused:         "the client was refused",
		tracer.OutcomeICMPError:       "the client got an ICMP error",
		tracer.OutcomeConnectedNoData: "the client was connected and got no data",
		tracer.OutcomeResetMidFlow:    "the client was cut off by a reset",
		tracer.OutcomeIntermittent:    "the client got some answers",
		tracer.OutcomeSlow:            "the client got a slow answer",
		tracer.OutcomeDNSError:        "the client got a DNS error",
		tracer.OutcomeNotSent:         "the client sent nothing",
		tracer.OutcomeNotSeen:         "no packet was seen",
	}
	if s := words[o]; s != "" {
		return s
	}
	return "client saw: " + string(o)
}

func evidence(v *Verdict) []string {
	var s []string
	for _, e := range v.Evidence {
		s = append(s, e.Where+": "+e.What)
	}
	return s
}

// remedy leaves commands that span lines as they are and at the margin, so that
// they can be pasted: a shell finds the end of a here-document nowhere else.
func (p *textPrinter) remedy(remedy []string) {
	if len(remedy) == 0 {
		return
	}
	p.section("What to do")
	for i, r := range remedy {
		lines := strings.Split(r, "\n")
		p.wrap(fmt.Sprintf("    %d. ", i+1), "       ", lines[0])
		for _, l := range lines[1:] {
			p.b.WriteString(Escape(l) + "\n")
		}
	}
}

func (p *textPrinter) section(title string) {
	p.para("  ", "  ", bold, title)
}

func (p *textPrinter) list(title string, items []string) {
	if len(items) == 0 {
		return
	}
	p.section(title)
	for _, s := range items {
		p.wrap("    - ", "      ", s)
	}
}

func (p *textPrinter) hops(v *Verdict) {
	if len(v.Hops) == 0 {
		return
	}
	p.wrap("  "+p.colour(bold, "Path")+"  ", "        ", flowTitle(&v.Flow))
	p.hopLines(&v.Flow, v.Hops)
}

func flowTitle(f *FlowRef) string {
	return fmt.Sprintf("%s %s → %s", f.Protocol, end(f.Source), end(f.Destination))
}

func end(e tracer.Endpoint) string {
	addr := e.IP.String()
	if e.Port != 0 {
		addr += fmt.Sprintf(":%d", e.Port)
		if e.IP.Is6() {
			addr = fmt.Sprintf("[%s]:%d", e.IP, e.Port)
		}
	}
	switch {
	case e.Name == "":
		return addr
	case e.Kind == tracer.KindNode:
		return "node/" + e.Name + " (" + addr + ")"
	case e.Kind == tracer.KindService:
		return e.Namespace + "/svc/" + e.Name + " (" + addr + ")"
	}
	return e.Namespace + "/" + e.Name + " (" + addr + ")"
}

func (p *textPrinter) flow(f *Flow) {
	p.wrap(f.Time.Format("15:04:05.000")+"  ", "    ", flowTitle(&f.Flow)+": "+clientSaw(f.Outcome))
	p.hopLines(&f.Flow, f.Hops)
	p.b.WriteByte('\n')
}

func (p *textPrinter) summary(s *Summary) {
	p.rows = 0
	p.again(p.repeats.due(nil))
	p.others(p.repeats.dueCauses(nil))
	if s.Drops != nil {
		p.dropTotals(s)
		return
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(s.Verdicts)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, s.Verdicts[k]))
	}
	text := fmt.Sprintf("%d %s in %s", s.Flows, plural("flow", s.Flows), s.Duration)
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	if s.Tier == "" {
		text += "; no packets were watched for"
	} else {
		text += fmt.Sprintf("; %d events seen, %d lost (%s)", s.Events, s.Lost, s.Tier)
	}
	p.wrap("", "  ", text)
	p.shares(s.Shares)
	p.ownCost(s)
}

func plural(noun string, n int) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// shares says which destinations a part of the connections failed to reach.
func (p *textPrinter) shares(list []tracer.Shares) {
	for i := range list {
		text := list[i].String()
		for _, same := range list[i].Shared {
			text += "; " + same
		}
		p.wrap("", "  ", text)
	}
}
