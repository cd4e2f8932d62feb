package accuracy

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Run is one run of many cases.
type Run struct {
	// Name says of what, as the document's headings have it. A later run of the
	// same name replaces it.
	Name string
	// Command is what a person types to have the same.
	Command string
	// Inside is what the machine was itself run in, "" for nothing.
	Inside string
	When   time.Time
	Cases  []Case
	// Elsewhere names the cases that this run did not build, and that one in a machine
	// of its own does.
	Elsewhere []string
}

// The document's last part, which sums up the others.
const whole = "all"

// Record puts a run into the document, and counts again which of the
// catalogue's codes all its runs together show.
func Record(file string, run Run, catalogue []string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("record accuracy: %w", err)
	}
	machine, err := thisMachine()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if run.Inside != "" {
		machine = run.Inside + " on " + machine
	}
	fmt.Fprintf(&text, "%s, %s: `%s`\n\n", run.When.UTC().Format(time.DateOnly), machine, run.Command)
	if len(run.Elsewhere) > 0 {
		fmt.Fprintf(&text, "Not built in this run, as it changes the whole machine or takes a minute, but by `make test-kernels` in a machine of its own: %s.\n\n", quoted(run.Elsewhere))
	}
	markdown(&text, run.Cases)
	doc := put(string(b), run.Name, text.String())
	doc = put(doc, whole, sum(doc, catalogue))
	if err := os.WriteFile(file, []byte(doc), 0o644); err != nil {
		return fmt.Errorf("record accuracy: %w", err)
	}
	return nil
}

// put replaces a part of the document, or adds it before the last one.
func put(doc, name, text string) string {
	begin, end := fmt.Sprintf("<!-- %s: written by a run -->\n", name), fmt.Sprintf("<!-- end of %s -->\n", name)
	before, rest, ok := strings.Cut(doc, begin)
	_, after, ended := strings.Cut(rest, end)
	if ok && ended {
		return before + begin + text + end + after
	}
	part := begin + text + end
	if name == whole {
		return doc + "\n## All codes\n\n" + part
	}
	part = "\n## " + name + "\n\n" + part
	before, after, ok = strings.Cut(doc, "\n## All codes\n")
	if !ok {
		return doc + part
	}
	return before + part + "\n## All codes\n" + after
}

// sum adds up what the parts of the document count, and reads which codes they
// show.
func sum(doc string, catalogue []string) string {
	total := counts(doc)
	code := regexp.MustCompile("`([a-z0-9-]+)`")
	var all []string
	for line := range strings.Lines(doc) {
		if !strings.HasPrefix(line, shown) {
			continue
		}
		for _, m := range code.FindAllStringSubmatch(line, -1) {
			all = append(all, m[1])
		}
	}
	missing := slices.DeleteFunc(slices.Clone(catalogue), func(c string) bool { return slices.Contains(all, c) })
	slices.Sort(missing)
	return fmt.Sprintf("All runs together: %s.\n\n%d of the catalogue's %d codes were built and named right by at least one of these runs.\nNot shown: %s\n",
		total.shares(), len(catalogue)-len(missing), len(catalogue), quoted(missing))
}

// counts adds up the rows that markdown wrote.
func counts(doc string) (s Score) {
	row := regexp.MustCompile(`(?m)^\| count \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$`)
	for _, m := range row.FindAllStringSubmatch(doc, -1) {
		for i, at := range []*int{&s.Faults, &s.Component, &s.Coded, &s.Named, &s.Controls, &s.Blamed} {
			n, _ := strconv.Atoi(m[i+1]) // digits, as the pattern says
			*at += n
		}
	}
	return s
}

// thisMachine is what numbers depend on.
func thisMachine() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}
	return fmt.Sprintf("%d CPUs, Linux %s", runtime.NumCPU(), unix.ByteSliceToString(u.Release[:])), nil
}
