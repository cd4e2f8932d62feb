package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/podpath/podpath/testbed/kernels/job"
)

// kernel runs the checks on one kernel.
func (m *matrix) kernel(ctx context.Context, r release, names []string) error {
	image, err := r.newest(names)
	if err != nil {
		return err
	}
	root := filepath.Join(m.cache, image)
	if err := m.apt.unpack(ctx, image, root); err != nil {
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
	plan := tasks(m.checks)
	var list []job.Job
	for _, t := range plan {
		list = append(list, t.job())
	}
	vm, err := newMachine(ctx, dir, root, tree, m.progs, list)
	if err != nil {
		return err
	}
	vm.limit = m.limit
	version := strings.TrimSuffix(strings.TrimPrefix(image, "linux-image-"), "-cloud-amd64")
	m.table.column(version)
	log := func(format string, args ...any) { m.say(version, format, args...) }
	sit := &sitting{tasks: plan, lacks: r.lacks(tree), say: log, report: func(c cell, o outcome) { m.result(version, c, o) }}
	err = vm.run(ctx, sit.line)
	log("ended; it took this computer %.0f s of CPU time", vm.spent.Seconds())
	return errors.Join(err, sit.close())
}

// say prints a line about one kernel.
func (m *matrix) say(version, format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%-16s "+format+"\n", append([]any{version}, args...)...)
}

func (m *matrix) result(version string, c cell, got outcome) {
	m.table.add(version, c)
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
