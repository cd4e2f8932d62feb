package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/render"
	"github.com/podpath/podpath/tracer/verdict"
)

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [CODE]",
		Short: "What a verdict code means: evidence, look-alikes, remedy",
		Args:  cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return verdict.NewCatalogue().Codes(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c := verdict.NewCatalogue()
			p, err := a.printer()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if !c.Has(args[0]) {
					return &hinted{fmt.Errorf("no verdict has the code %q%s", args[0], nearest(args[0], c.Codes())), "podpath explain lists all codes"}
				}
				return p.Print(render.NewExplanation(explanation(c.Get(args[0]))))
			}
			for _, code := range c.Codes() {
				x := explanation(c.Get(code))
				if a.output == "text" || a.output == "wide" {
					x = render.Explanation{Code: x.Code, Component: x.Component, Title: x.Title}
				}
				if err := p.Print(render.NewExplanation(x)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// placeholder is a name of the case at hand in a remedy.
var placeholder = regexp.MustCompile(`\{([a-z]+(?:\.[a-z]+)?)\}`)

func explanation(e verdict.Entry) render.Explanation {
	for i, r := range e.Remedy {
		e.Remedy[i] = placeholder.ReplaceAllString(r, "<$1>")
	}
	x := render.Explanation{
		Code: e.Code, Component: e.Component, Title: e.Title, Meaning: e.Meaning, Evidence: e.Evidence,
		LookAlikes: e.LookAlikes, Remedy: e.Remedy, Shown: e.Shown,
	}
	for _, f := range lab.Faults() {
		if f.Code == e.Code && !f.Machine {
			x.Demos = append(x.Demos, f.Name)
		}
	}
	return x
}

// nearest suggests the name that differs least, if one is close.
func nearest(name string, names []string) string {
	best, distance := "", min(4, len(name)/3+2)
	for _, n := range names {
		if d := editDistance(name, n); d < distance {
			best, distance = n, d
		}
	}
	if best == "" {
		for _, n := range names {
			if len(name) > 2 && strings.Contains(n, name) {
				best = n
				break
			}
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
