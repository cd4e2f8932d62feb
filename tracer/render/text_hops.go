package render

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/podpath/podpath/tracer"
)

const (
	hopIndent  = 6  // "    ✓ "
	whereWidth = 56 // longer names push what follows to the right
	headWidth  = 14 // "  received ×12"
)

// hopLines shows a path: one line a step if it fits, and below it what does
// not. A tuple is shown where it is news: not when the title or the translation
// just named says it already.
func (p *textPrinter) hopLines(f *FlowRef, hops []HopLine) {
	width := 0
	for i := range hops {
		width = max(width, utf8.RuneCountInString(Escape(hops[i].Where)))
	}
	width = min(width, whereWidth)
	if p.o.Width > 0 && width > p.o.Width-hopIndent-headWidth {
		width = 0 // no room for columns
	}
	known := map[string]bool{tuple(f.Source, f.Destination): true, tuple(f.Destination, f.Source): true}
	for i := range hops {
		h := &hops[i]
		var more []string
		if h.Detail != "" {
			more = append(more, h.Detail)
		}
		if h.Tuple != "" && (p.wide || !known[h.Tuple] && !h.told) {
			more = append(more, h.Tuple)
		}
		known[h.Tuple] = true
		p.hop(h, width, more)
	}
}

func tuple(src, dst tracer.Endpoint) string {
	return netip.AddrPortFrom(src.IP, src.Port).String() + " > " + netip.AddrPortFrom(dst.IP, dst.Port).String()
}

func (p *textPrinter) hop(h *HopLine, width int, more []string) {
	mark := map[string]string{
		"ok": p.colour(green, "✓"), "drop": p.colour(red, "✗"), "missing": p.colour(dim, "·"), "answer": p.colour(green, "↩"),
	}[h.Mark]
	prefix := "    " + mark + " "
	where, head := Escape(h.Where), Escape(h.What)
	if h.Packets > 1 {
		head += fmt.Sprintf(" ×%d", h.Packets)
	}
	if p.wide && h.Time != nil {
		head = h.Time.Format("15:04:05.000000") + "  " + head
	}
	line := prefix + where + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(where))) + "  " + head
	all := line
	for _, m := range more {
		all += "  " + Escape(m)
	}
	switch {
	case p.o.Width <= 0 || visible(all) <= p.o.Width:
		p.b.WriteString(all + "\n")
		return
	case visible(line) <= p.o.Width:
		p.b.WriteString(line + "\n")
	default:
		p.wrap(prefix, strings.Repeat(" ", hopIndent), h.Where+" "+head)
	}
	for _, m := range more {
		p.wrap("        ", "          ", m)
	}
}
