// Package accuracy counts how often podpath was right about what was built, and
// keeps the outcome in a document.
package accuracy

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

// Answer says what is at fault. The zero object stands for none.
type Answer struct{ Component, Code, Kind, Namespace, Name string }

// String is the answer in a table.
func (a Answer) String() string {
	said := a.Component + "/" + a.Code + " "
	switch {
	case a.Kind == "" && a.Name == "":
		return said + "none"
	case a.Namespace == "":
		return said + a.Kind + " " + a.Name
	}
	return said + a.Kind + " " + a.Namespace + "/" + a.Name
}

// undecidable is how young a flow may be at the end of a trace and be left open:
// podpath calls silence after 3.5 s, three tries and a grace, and a SYN that was
// sent just before may have its third try that much later.
const undecidable = 4500 * time.Millisecond

// Decided are the verdicts that have to be right. With traffic of others that goes
// on, the last flow may be as young as it likes when the trace ends, and of that one
// it is right to say that it is too early to say. An older one has to be judged.
func Decided(verdicts []render.Verdict, goesOn bool) []render.Verdict {
	return slices.DeleteFunc(slices.Clone(verdicts), func(v render.Verdict) bool { return goesOn && tooYoung(&v) })
}

// Answers are what decided verdicts say.
func Answers(verdicts []render.Verdict, goesOn bool) []Answer {
	var all []Answer
	for _, v := range Decided(verdicts, goesOn) {
		a := Answer{Component: string(v.Component), Code: v.Code}
		if v.Object != nil {
			a.Kind, a.Namespace, a.Name = v.Object.Kind, v.Object.Namespace, v.Object.Name
		}
		all = append(all, a)
	}
	return all
}

// tooYoung: the verdict leaves open what could not be known yet.
func tooYoung(v *render.Verdict) bool {
	var begun time.Time
	for _, h := range v.Hops {
		if h.Time != nil && (begun.IsZero() || h.Time.Before(begun)) {
			begun = *h.Time
		}
	}
	ended := func(b tracer.Blind) bool { return strings.HasPrefix(b.What, "the trace ended") }
	return v.Code == tracer.CodeUnknown && slices.ContainsFunc(v.Blind, ended) && !begun.IsZero() && v.Time.Sub(begun) < undecidable
}

// Broken are the verdicts that do not say that all is well: where a part of the
// connections fails, the others are answered.
func Broken(verdicts []render.Verdict) []render.Verdict {
	return slices.DeleteFunc(slices.Clone(verdicts), func(v render.Verdict) bool { return v.Code == tracer.CodeOK })
}

// Judge holds what podpath said about every flow against the right answer. Each
// has to be right, and there has to be one.
func Judge(name string, want Answer, said []Answer) Case {
	some := len(said) > 0
	c := Case{Name: name, Control: want.Code == "ok", Code: want.Code, Want: want.String(), Component: some, Coded: some, Named: some}
	var got []string
	for _, a := range said {
		c.Component = c.Component && a.Component == want.Component
		c.Coded = c.Coded && a.Code == want.Code
		c.Named = c.Named && a.Kind == want.Kind && a.Namespace == want.Namespace && a.Name == want.Name
		c.Blamed = c.Blamed || c.Control && a.Code != "ok" && a.Code != "unknown"
		if s := a.String(); !slices.Contains(got, s) {
			got = append(got, s)
		}
	}
	c.Got = cmp.Or(strings.Join(got, "; "), "no verdict")
	return c
}

// Case is one fault, or one healthy control, that podpath was held against.
type Case struct {
	Name string
	// Control: nothing was broken.
	Control bool
	// Double: something else was broken as well, that the flow does not meet, or does
	// not get as far as.
	Double bool
	// Code is the right one. Want and Got are whole answers: component, code,
	// object.
	Code, Want, Got string
	// What is right, of every verdict that was given. Named: the object.
	Component, Coded, Named bool
	// Misnamed is what is wrong with the names on the path: pods, Services, nodes,
	// owners; "" if nothing is, or nobody looked.
	Misnamed string
	// Otherwise is what else is wrong: how many verdicts there are, how sure they
	// are; "" if nothing is, or nobody looked.
	Otherwise string
	// Blamed: a control was blamed.
	Blamed bool
	// Broken is why the case itself did not work; it says nothing about podpath
	// then. Failing is why it is known to be wrong.
	Broken, Failing string
}

// Right says whether everything was.
func (c Case) Right() bool {
	return c.Broken == "" && c.Component && c.Coded && c.Named && c.Misnamed == "" && c.Otherwise == ""
}

// Score counts cases.
type Score struct {
	Faults, Component, Coded, Named int
	Controls, Blamed                int
	// Doubles are the faults and controls with a second fault present.
	Doubles int
	// Misnamed are the paths, of faults and controls, with a name that is wrong
	// or missing.
	Misnamed, Broken int
	// Codes are those of the faults and controls that were right, sorted.
	Codes []string
}

// Of counts cases.
func Of(cases []Case) Score {
	var s Score
	for _, c := range cases {
		if c.Broken != "" {
			s.Broken++
			continue
		}
		if c.Right() {
			s.Codes = append(s.Codes, c.Code)
		}
		s.Misnamed += one(c.Misnamed != "")
		s.Doubles += one(c.Double)
		if c.Control {
			s.Controls++
			s.Blamed += one(c.Blamed)
			continue
		}
		s.Faults++
		s.Component += one(c.Component)
		s.Coded += one(c.Coded)
		s.Named += one(c.Named)
	}
	slices.Sort(s.Codes)
	s.Codes = slices.Compact(s.Codes)
	return s
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// String is the score in one line.
func (s Score) String() string {
	line := fmt.Sprintf("%s; %d of all with a second fault present; %d codes shown", s.shares(), s.Doubles, len(s.Codes))
	if s.Misnamed > 0 {
		line += fmt.Sprintf("; names on the path wrong %d times", s.Misnamed)
	}
	if s.Broken > 0 {
		line += fmt.Sprintf("; %d did not work themselves, and count for nothing", s.Broken)
	}
	return line
}

// shares is how many were right of how many.
func (s Score) shares() string {
	return fmt.Sprintf("%d faults: component right %s, code right %s, object named %s; %d controls, falsely blamed %s",
		s.Faults, percent(s.Component, s.Faults), percent(s.Coded, s.Faults), percent(s.Named, s.Faults),
		s.Controls, percent(s.Blamed, s.Controls))
}

func percent(n, of int) string {
	if of == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of))
}

// markdown writes the cases' part of the document: the score, what is wrong and
// which codes were shown.
func markdown(w io.Writer, cases []Case) {
	s := Of(cases)
	fmt.Fprintln(w, "| | faults | component right | code right | object named | controls | falsely blamed |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|")
	fmt.Fprintf(w, "| count | %d | %d | %d | %d | %d | %d |\n", s.Faults, s.Component, s.Coded, s.Named, s.Controls, s.Blamed)
	fmt.Fprintf(w, "| share | | %s | %s | %s | | %s |\n\n", percent(s.Component, s.Faults), percent(s.Coded, s.Faults),
		percent(s.Named, s.Faults), percent(s.Blamed, s.Controls))
	fmt.Fprintf(w, "Of these, %d had a second fault present, that the flow does not meet or does not get as far as.\n\n", s.Doubles)
	wrong(w, cases)
	fmt.Fprintf(w, "%s%s\n", shownPrefix(len(s.Codes)), quoted(s.Codes))
}

// shown begins the line that lists codes; Record finds them there again.
const shown = "Codes shown"

func shownPrefix(n int) string { return fmt.Sprintf("%s (%d): ", shown, n) }

func wrong(w io.Writer, cases []Case) {
	var rows []string
	for _, c := range cases {
		if !c.Right() {
			rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s |", c.Name, cell(c.Want), cell(cmp.Or(c.Got, "–")), cell(cmp.Or(c.Broken, c.Misnamed, c.Otherwise, c.Failing, "not looked into yet"))))
		}
	}
	if len(rows) == 0 {
		fmt.Fprint(w, "Nothing was wrong.\n\n")
		return
	}
	fmt.Fprintf(w, "| wrong | built | podpath said | why |\n|---|---|---|---|\n%s\n\n", strings.Join(rows, "\n"))
}

// cell is text that fits into a table.
func cell(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return strings.ReplaceAll(first, "|", `\|`)
}

func quoted(codes []string) string {
	if len(codes) == 0 {
		return "none"
	}
	return "`" + strings.Join(codes, "` `") + "`"
}
