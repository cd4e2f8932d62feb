// Command kernels runs podpath's privileged tests, and the lab's faults, on
// Debian's kernels, each in a virtual machine that is emulated in software, and
// prints a table of kernels and tests. It must be started in the repository.
//
// Kernels come from Debian through apt, verified, and are kept in the user's
// cache. It exits 1 if anything is not as it has to be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/podpath/podpath/testbed/kernels/job"
)

type options struct {
	kernels string
	tests   pattern
	demos   pattern
	keep    string
	record  string
	verbose bool
	offline bool
	limit   time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.kernels, "kernels", "", "kernels to test, separated by commas; empty for all: 5.10,6.1,6.12,6.18,7")
	flag.Var(&o.tests, "tests", "tests of the probe to run, a regular expression; '-' for none")
	flag.Var(&o.demos, "demos", "faults of the lab to show, a regular expression; '-' for none")
	flag.StringVar(&o.keep, "logs", "", "folder that keeps the output of what went wrong")
	flag.StringVar(&o.record, "record", "", "document whose table takes the outcomes")
	flag.BoolVar(&o.verbose, "v", false, "print the output of what went wrong")
	flag.BoolVar(&o.offline, "offline", false, "use the package lists as they are")
	flag.DurationVar(&o.limit, "timeout", 2*time.Hour, "for one kernel")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		stop()
		os.Exit(1)
	}
}

// matrix is one run over the kernels.
type matrix struct {
	options
	apt   *apt
	cache string
	work  string
	progs *programs
	table *table
}

func run(ctx context.Context, o options) error {
	list, err := chosen(o.kernels)
	if err != nil {
		return err
	}
	m := &matrix{options: o, table: newTable()}
	if m.work, err = os.MkdirTemp("", "podpath-kernels-"); err != nil {
		return fmt.Errorf("make work folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(m.work) }()
	if err := m.prepare(ctx); err != nil {
		return err
	}
	names, err := m.apt.images(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range list {
		if err := m.kernel(ctx, r, names); err != nil {
			errs = append(errs, fmt.Errorf("kernel %s: %w", r.name, err))
		}
	}
	errs = append(errs, m.table.markdown(os.Stdout))
	if m.record != "" {
		errs = append(errs, m.table.record(m.record, time.Now()))
	}
	if n := m.table.bad(); n > 0 {
		errs = append(errs, fmt.Errorf("%d cells of the table are not as they have to be", n))
	}
	return errors.Join(errs...)
}

func (m *matrix) prepare(ctx context.Context) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find the cache: %w", err)
	}
	m.cache = filepath.Join(cache, "podpath", "kernels")
	if m.apt, err = newApt(filepath.Join(m.cache, "apt")); err != nil {
		return err
	}
	if !m.offline {
		if err := m.apt.update(ctx); err != nil {
			return err
		}
	}
	m.progs, err = build(ctx, m.work)
	return err
}

// pattern is a regular expression as a flag. The zero value matches all.
type pattern struct {
	re   *regexp.Regexp
	none bool
}

// String is part of flag.Value.
func (p *pattern) String() string {
	switch {
	case p.none:
		return "-"
	case p.re == nil:
		return ""
	}
	return p.re.String()
}

// Set is part of flag.Value.
func (p *pattern) Set(s string) (err error) {
	if p.none = s == "-"; p.none {
		return nil
	}
	p.re, err = regexp.Compile(s)
	return err
}

func (p *pattern) matches(s string) bool {
	return !p.none && (p.re == nil || p.re.MatchString(s))
}

func (m *matrix) kernel(ctx context.Context, r release, names []string) error {
	image, err := r.newest(names)
	if err != nil {
		return err
	}
	root := filepath.Join(m.cache, image)
	if err := m.apt.unpack(ctx, image, root); err != nil {
		return err
	}
	steps := m.plan(r)
	vm, err := newMachine(ctx, m.work, root, m.progs, jobs(steps))
	if err != nil {
		return err
	}
	vm.limit = m.limit
	version := strings.TrimSuffix(strings.TrimPrefix(image, "linux-image-"), "-cloud-amd64")
	m.table.column(version)
	fmt.Fprintf(os.Stderr, "== %s\n", version)
	next := 0
	return vm.run(ctx, func(line job.Line) {
		switch {
		case line.Ready != nil:
			fmt.Fprintf(os.Stderr, "up after %.1f s: %s\n", line.Ready.Uptime, line.Ready.Version)
			for _, refused := range line.Ready.Refused {
				fmt.Fprintf(os.Stderr, "module refused: %s\n", refused)
			}
		case line.Failed != "":
			m.table.add(version, cell{"machine", line.Failed, true})
		case line.Result != nil && next < len(steps):
			m.result(version, steps[next].judge(r, *line.Result), *line.Result)
			next++
		}
	})
}

func (m *matrix) result(version string, c cell, got job.Result) {
	m.table.add(version, c)
	mark := ""
	if c.bad {
		mark = "  <--"
		m.show(version, c.row, got)
	}
	fmt.Fprintf(os.Stderr, "%-60s %6.1f s  %s%s\n", c.row, got.Seconds, c.text, mark)
}

// show keeps what a person needs who looks for the reason.
func (m *matrix) show(version, row string, got job.Result) {
	text := fmt.Sprintf("exit %d, %.1f s\n--- standard output\n%s\n--- standard error\n%s\n", got.Exit, got.Seconds, got.Stdout, got.Stderr)
	if m.verbose {
		fmt.Fprint(os.Stderr, text)
	}
	if m.keep == "" {
		return
	}
	name := strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(version + "-" + row)
	if err := os.WriteFile(filepath.Join(m.keep, name+".log"), []byte(text), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "kernels: keep output:", err)
	}
}
