package render

import (
	"strings"
	"unicode/utf8"
)

// wrap writes a paragraph, broken at spaces to fit the terminal. first and rest
// are what its first line and the others begin with, and safe to print.
func (p *textPrinter) wrap(first, rest, s string) { p.para(first, rest, "", s) }

// para is wrap with a style for the text.
func (p *textPrinter) para(first, rest, style, s string) {
	s = Escape(s)
	if p.o.Width <= 0 {
		p.b.WriteString(first + p.colour(style, s) + "\n")
		return
	}
	begin, column := first, visible(first)
	var line strings.Builder
	for word := range strings.FieldsSeq(s) {
		n := utf8.RuneCountInString(word)
		used := column + utf8.RuneCountInString(line.String())
		if line.Len() > 0 {
			used++
		}
		// A line that has nothing but its indent takes any word: it would be
		// as wide on the next.
		if used+n > p.o.Width && (line.Len() > 0 || column > visible(rest)) {
			p.b.WriteString(strings.TrimRight(begin+p.colour(style, line.String()), " ") + "\n")
			begin, column = rest, visible(rest)
			line.Reset()
		}
		if line.Len() > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(word)
	}
	p.b.WriteString(strings.TrimRight(begin+p.colour(style, line.String()), " ") + "\n")
}

// row writes columns of fixed widths and a text after them, or, where the
// terminal is too narrow for that, all of it as one paragraph.
func (p *textPrinter) row(columns []column, text string) {
	width := 0
	var row, plain strings.Builder
	for _, c := range columns {
		s := Escape(c.text)
		n := utf8.RuneCountInString(s)
		row.WriteString(s + strings.Repeat(" ", max(0, c.width-n)) + " ")
		plain.WriteString(c.text + " ")
		width += max(c.width, n) + 1
	}
	if p.o.Width > 0 && p.o.Width-width < minText {
		p.wrap("", "    ", plain.String()+text)
		return
	}
	p.wrap(row.String(), "    ", text)
}

// column is one cell of a row; longer texts push the next ones to the right.
type column struct {
	text  string
	width int
}

// minText is the least room for a text next to its columns.
const minText = 20

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
