package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/podpath/podpath/testbed/kernels/job"
)

// matrix is one run over the kernels.
type matrix struct {
	options
	cache     string
	work      string
	checks    []check
	platforms map[arch]*platform
	table     *table
	apart     *apart
}

// prepare lists what is to run, and builds it for each architecture.
func (m *matrix) prepare(ctx context.Context, list []release) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find the cache: %w", err)
	}
	m.cache = filepath.Join(cache, "podpath", "kernels")
	all := suites()
	for _, s := range all {
		if err := s.list(); err != nil {
			return err
		}
	}
	m.checks = slices.DeleteFunc(checks(all, m.full), func(c check) bool { return !m.only.matches(c.row()) })
	for _, r := range list {
		if m.platforms[r.arch] != nil || len(m.checksOf(r)) == 0 {
			continue
		}
		if m.platforms[r.arch], err = m.platform(ctx, r.arch, m.checks); err != nil {
			return err
		}
	}
	if len(m.platforms) == 0 {
		return errors.New("no row matches")
	}
	return nil
}

func (m *matrix) checksOf(r release) []check {
	return slices.DeleteFunc(slices.Clone(m.checks), func(c check) bool {
		if c.apart && (!r.reasons || !m.full && !r.apart) {
			return true
		}
		return !m.full && r.quick != nil && !r.quick.MatchString(c.row())
	})
}

// share is what one machine runs of a kernel's checks.
type share struct {
	release
	name   string // of the work folder
	checks []check
}

// shares gives each kernel two machines, so that the computer's CPUs all have
// something to do until the end. The tests of the probe take longest, and come
// first.
func (m *matrix) shares(list []release) []share {
	var long, short []share
	for _, r := range list {
		probe := share{release: r, name: r.name + "-probe"}
		rest := share{release: r, name: r.name + "-rest"}
		for _, c := range m.checksOf(r) {
			if c.suite.name == probeSuite {
				probe.checks = append(probe.checks, c)
			} else {
				rest.checks = append(rest.checks, c)
			}
		}
		long, short = append(long, probe), append(short, rest)
	}
	return slices.DeleteFunc(append(long, short...), func(s share) bool { return len(s.checks) == 0 })
}

// each runs f for the shares, a few at once.
func (m *matrix) each(list []share, f func(share) error) []error {
	errs := make([]error, len(list))
	next := make(chan int)
	var all sync.WaitGroup
	for range max(1, m.atOnce) {
		all.Go(func() {
			for i := range next {
				if err := f(list[i]); err != nil {
					errs[i] = fmt.Errorf("kernel %s: %w", list[i].release.name, err)
				}
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	all.Wait()
	return errs
}

// kernel runs a share of the checks on its kernel.
func (m *matrix) kernel(ctx context.Context, r share) error {
	todo, p := r.checks, m.platforms[r.arch]
	image, err := r.newest(p.images)
	if err != nil {
		return err
	}
	root := filepath.Join(m.cache, image)
	if err := p.apt.kernel(ctx, image, root); err != nil {
		return err
	}
	tree, err := readTree(root)
	if err != nil {
		return err
	}
	dir := filepath.Join(m.work, r.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make work folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	plan := tasks(todo)
	var list []job.Job
	for _, t := range plan {
		list = append(list, m.job(t))
	}
	vm, err := newMachine(ctx, r.arch, dir, root, tree, p.progs, list)
	if err != nil {
		return err
	}
	vm.limit = m.limit
	version := r.version(image)
	m.table.column(version)
	say := func(format string, args ...any) { m.say(version, format, args...) }
	sit := &sitting{tasks: plan, lacks: r.lacks(tree), say: say, report: func(c cell, o outcome) { m.result(version, c, o) }, keep: m.apart.keep}
	err = vm.run(ctx, sit.line)
	say("ended; it took this computer %.0f s of CPU time", vm.spent.Seconds())
	if ctx.Err() != nil {
		return err // what was not run says nothing about the kernel
	}
	return errors.Join(err, sit.close())
}

// say prints a line about one kernel.
func (m *matrix) say(version, format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%-16s "+format+"\n", append([]any{version}, args...)...)
}

func (m *matrix) result(version string, c cell, got outcome) {
	m.table.add(version, c)
	m.apart.judge(version, c)
	mark := ""
	if c.bad {
		mark = "  <--"
	}
	m.say(version, "%-50s %6.1f s  %s%s", c.row, got.seconds, c.text, mark)
	if c.bad {
		m.show(version, c.row, got)
	}
}

// show keeps what a person needs who looks for the reason.
func (m *matrix) show(version, row string, got outcome) {
	text := strings.Join(got.output, "")
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
