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
	"runtime"
	"syscall"
	"time"
)

type options struct {
	kernels string
	only    pattern
	full    bool
	keep    string
	record  string
	// recordings is a folder of recordings, and accuracy a document: both take what
	// is built in these machines only.
	recordings, accuracy string

	verbose bool
	offline bool
	built   string
	atOnce  int
	limit   time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.kernels, "kernels", "", "kernels to test, separated by commas; empty for all: 5.10,6.1,6.12,6.18,7")
	flag.Var(&o.only, "only", "rows of the table to run, a regular expression")
	flag.BoolVar(&o.full, "full", false, "run all of it; otherwise what covers every path once")
	flag.StringVar(&o.keep, "logs", "", "folder that keeps the output of what went wrong")
	flag.StringVar(&o.record, "record", "", "document whose table takes the outcomes")
	flag.StringVar(&o.recordings, "recordings", "", "folder that takes the recordings of what is built in these machines only, such as testbed/replays")
	flag.StringVar(&o.accuracy, "accuracy", "", "document that takes how often the verdict on that was right")
	flag.BoolVar(&o.verbose, "v", false, "print the output of what went wrong")
	flag.BoolVar(&o.offline, "offline", false, "use the package lists as they are")
	flag.StringVar(&o.built, "programs", "", "folder of programs to use as they are; what is not there is built")
	flag.IntVar(&o.atOnce, "at-once", runtime.NumCPU(), "machines at once; each has one CPU")
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

func run(ctx context.Context, o options) error {
	list, err := chosen(o.kernels)
	if err != nil {
		return err
	}
	m := &matrix{options: o, table: newTable(), platforms: map[arch]*platform{}, apart: newApart()}
	if m.work, err = os.MkdirTemp("", "podpath-kernels-"); err != nil {
		return fmt.Errorf("make work folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(m.work) }()
	m.apart.dir = filepath.Join(m.work, "recordings")
	if err := m.prepare(ctx, list); err != nil {
		return err
	}
	errs := m.each(m.shares(list), func(r share) error { return m.kernel(ctx, r) })
	m.table.sort()
	errs = append(errs, m.table.markdown(os.Stdout))
	if m.record != "" {
		errs = append(errs, m.table.record(m.record, time.Now()))
	}
	errs = append(errs, m.apart.finish(m.options))
	if n := m.table.bad(); n > 0 {
		errs = append(errs, fmt.Errorf("%d cells of the table are not as they have to be", n))
	}
	return errors.Join(errs...)
}

// pattern is a regular expression as a flag. The zero value matches all.
type pattern struct{ re *regexp.Regexp }

// String is part of flag.Value.
func (p *pattern) String() string {
	if p.re == nil {
		return ""
	}
	return p.re.String()
}

// Set is part of flag.Value.
func (p *pattern) Set(s string) (err error) {
	p.re, err = regexp.Compile(s)
	return err
}

func (p *pattern) matches(s string) bool { return p.re == nil || p.re.MatchString(s) }
