package scenario

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/podpath/podpath/testbed/accuracy"
)

// Surprising says whether the result is not what the table says: wrong without
// a reason, or right although it is listed as failing.
func (r Result) Surprising() bool { return r.Right() == (r.Failing != "") }

func (r Result) verdict() string {
	switch {
	case r.Broken != "":
		return "BROKEN"
	case r.Right() && r.Failing != "":
		return "right, listed as failing"
	case r.Right():
		return "right"
	case r.Failing != "":
		return "failing"
	}
	return "WRONG"
}

// Report prints one result as it comes.
func (r Result) Report(w io.Writer, verbose bool) {
	fmt.Fprintf(w, "%-9s %s/%s (%.1f s)", r.verdict(), r.Flavour, r.Name, r.Seconds)
	switch {
	case r.Broken != "":
		fmt.Fprintf(w, ": %s", r.Broken)
	case !r.Right():
		fmt.Fprintf(w, ": want %s, got %s%s", r.Want, r.Got, r.also())
	}
	fmt.Fprintln(w)
	if verbose && !r.Right() {
		fmt.Fprintln(w, r.Detail)
	}
}

// also is what is wrong besides the answer.
func (r Result) also() string {
	var all string
	for _, s := range []string{r.Misnamed, r.Otherwise} {
		if s != "" {
			all += "; " + s
		}
	}
	return all
}

// Print prints the table and the accuracy.
func Print(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SCENARIO\tFLAVOUR\tRESULT\tBUILT\tPODPATH SAID")
	for _, r := range results {
		said := "the same"
		switch {
		case r.Broken != "":
			said = "– (the scenario itself: " + firstLine(r.Broken) + ")"
		case !r.Right():
			said = r.Got
		}
		said += r.also()
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Flavour, r.verdict(), r.Want, said)
		if r.Failing != "" {
			fmt.Fprintf(t, "\t\t\t\tbecause %s\n", r.Failing)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", accuracy.Of(Cases(results)))
	return err
}

// Cases are the results as the accuracy counts them.
func Cases(results []Result) []accuracy.Case {
	var all []accuracy.Case
	for _, r := range results {
		all = append(all, r.Case)
	}
	return all
}

func firstLine(s string) string {
	for i, c := range s {
		if c == '\n' {
			return s[:i]
		}
	}
	return s
}
