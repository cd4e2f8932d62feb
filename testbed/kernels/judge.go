package main

import (
	"slices"
	"strings"
)

// cell is one outcome in the table.
type cell struct {
	row  string
	text string
	bad  bool
}

// lack is what a kernel does not have.
type lack struct {
	what   string
	reason string // how a test that needs it begins its reason for being skipped
}

const notHere = "not in this kernel: "

// judge turns a test's end into a cell. A skip, of the test or of a part of it,
// is right only where the kernel is known to lack what is needed.
func (t *trial) judge(test string) cell {
	c := cell{row: t.suite.row(test), text: "ok"}
	if t.tests[test].action == "fail" {
		c.text, c.bad = "FAILED", true
		return c
	}
	var lacking []string
	for _, name := range t.order {
		o := t.tests[name]
		if o.action != "skip" || name != test && !strings.HasPrefix(name, test+"/") {
			continue
		}
		reason := o.reason()
		i := slices.IndexFunc(t.lacks, func(l lack) bool { return strings.HasPrefix(reason, l.reason) })
		if i < 0 {
			c.text, c.bad = "SKIPPED: "+reason, true
			return c
		}
		if what := t.lacks[i].what; !slices.Contains(lacking, what) {
			lacking = append(lacking, what)
		}
	}
	switch {
	case t.tests[test].action == "skip":
		c.text = notHere + strings.Join(lacking, ", ")
	case len(lacking) > 0:
		c.text = "ok; " + notHere + strings.Join(lacking, ", ")
	}
	return c
}

// reason is what a skipped test said last, without the place in the source.
func (o *outcome) reason() string {
	for _, line := range slices.Backward(o.output) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if _, text, ok := strings.Cut(line, ": "); ok {
			return text
		}
		return line
	}
	return "no reason given"
}
