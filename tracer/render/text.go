package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/podpath/podpath/tracer"
)

type textPrinter struct {
	w    io.Writer
	o    Options
	wide bool
	b    strings.Builder
	rows int
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	dim    = "2"
)

func (p *textPrinter) colour(code, s string) string {
	if !p.o.Colour || s == "" {
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
	mark, c := "✗", red
	switch {
	case v.Component == tracer.ComponentNone:
		mark, c = "✓", green
	case v.Component == tracer.ComponentUnknown || v.Code == tracer.CodeBeyondNode:
		mark, c = "?", yellow
	}
	head := string(v.Component)
	switch v.Code {
	case tracer.CodeOK:
		head = "healthy"
	case tracer.CodeUnknown:
		head = "undecided"
	case tracer.CodeBeyondNode:
		head = "beyond this node"
	}
	fmt.Fprintf(&p.b, "%s  %s\n", p.colour(bold+";"+c, mark+" "+strings.ToUpper(head)),
		p.colour(dim, fmt.Sprintf("%s, %s, client saw: %s", v.Code, v.Confidence, v.Outcome)))
	p.wrap("  ", "  ", v.Summary)
	if v.Component == tracer.ComponentNone && !p.wide {
		p.hops(v)
		return
	}
	p.hops(v)
	p.list("Evidence", evidence(v))
	if v.Rule != nil {
		p.section("Rule")
		p.wrap("    ", "      ", fmt.Sprintf("%s table %s chain %s: %s (%s)", v.Rule.Engine, v.Rule.Table, v.Rule.Chain, v.Rule.Text, v.Rule.How))
	}
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

func evidence(v *Verdict) []string {
	var s []string
	for _, e := range v.Evidence {
		s = append(s, e.Where+": "+e.What)
	}
	return s
}

// remedy keeps the line breaks of commands that span lines.
func (p *textPrinter) remedy(remedy []string) {
	if len(remedy) == 0 {
		return
	}
	p.section("What to do")
	for i, r := range remedy {
		lines := strings.Split(r, "\n")
		p.wrap(fmt.Sprintf("    %d. ", i+1), "       ", lines[0])
		for _, l := range lines[1:] {
			p.b.WriteString("       " + Escape(l) + "\n")
		}
	}
}

func (p *textPrinter) section(title string) {
	p.b.WriteString("  " + p.colour(bold, title) + "\n")
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
	p.section("Path  " + flowTitle(&v.Flow))
	p.hopLines(v.Hops)
}

func flowTitle(f *FlowRef) string {
	return Escape(fmt.Sprintf("%s %s → %s", f.Protocol, end(f.Source), end(f.Destination)))
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

func (p *textPrinter) hopLines(hops []HopLine) {
	width := 0
	for i := range hops {
		width = max(width, utf8.RuneCountInString(hops[i].Where))
	}
	width = min(width, 40)
	last := ""
	for i := range hops {
		h := &hops[i]
		mark := map[string]string{"ok": p.colour(green, "✓"), "drop": p.colour(red, "✗"), "missing": p.colour(dim, "·"), "answer": p.colour(green, "↩")}[h.Mark]
		what := h.What
		if h.Packets > 1 {
			what += fmt.Sprintf(" ×%d", h.Packets)
		}
		if h.Tuple != last && h.Tuple != "" || p.wide {
			what += "  " + h.Tuple
			last = h.Tuple
		}
		if p.wide && h.Time != nil {
			what = h.Time.Format("15:04:05.000000") + "  " + what
		}
		where := Escape(h.Where)
		pad := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(where)))
		p.wrap("    "+mark+" "+where+pad+"  ", strings.Repeat(" ", 6+width+2), what)
	}
}

// wrap writes a paragraph, broken at spaces to fit the terminal.
func (p *textPrinter) wrap(first, rest, s string) {
	s = Escape(s)
	if p.o.Width <= 0 {
		p.b.WriteString(first + s + "\n")
		return
	}
	indent := visible(first)
	if p.o.Width-indent < 24 { // too narrow for columns: go to a line of its own
		p.b.WriteString(strings.TrimRight(first, " ") + "\n")
		first, rest, indent = "        ", "        ", 8
	}
	room := max(p.o.Width-indent, 16)
	line := first
	used := 0
	for word := range strings.FieldsSeq(s) {
		n := utf8.RuneCountInString(word)
		if used > 0 && used+1+n > room {
			p.b.WriteString(line + "\n")
			line, used = rest, 0
		}
		if used > 0 {
			line += " "
			used++
		}
		line += word
		used += n
	}
	p.b.WriteString(line + "\n")
}

// visible counts columns, without colour sequences.
func visible(s string) int {
	n, esc := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			esc = true
		case esc && r == 'm':
			esc = false
		case !esc:
			n++
		}
	}
	return n
}

func (p *textPrinter) flow(f *Flow) {
	fmt.Fprintf(&p.b, "%s  %s  %s\n", f.Time.Format("15:04:05.000"), flowTitle(&f.Flow), p.colour(dim, string(f.Outcome)))
	p.hopLines(f.Hops)
}

func (p *textPrinter) summary(s *Summary) {
	p.rows = 0
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
	text += fmt.Sprintf("; %d events seen, %d lost (%s)", s.Events, s.Lost, s.Tier)
	p.wrap("", "  ", text)
}

func plural(noun string, n int) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}
