package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// platform is what all machines of one architecture share.
type platform struct {
	apt    *apt
	images []string // names of all kernel packages
	progs  programs
}

// platform prepares an architecture for the checks.
func (m *matrix) platform(ctx context.Context, a arch, list []check) (*platform, error) {
	var p platform
	var err error
	if p.apt, err = newApt(filepath.Join(m.cache, "apt-"+string(a)), a); err != nil {
		return nil, err
	}
	if !m.offline {
		if err := p.apt.update(ctx); err != nil {
			return nil, err
		}
	}
	if p.images, err = p.apt.images(ctx); err != nil {
		return nil, err
	}
	dir := filepath.Join(cmp.Or(m.built, m.work), "programs-"+string(a))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make work folder: %w", err)
	}
	if p.progs, err = buildPrograms(ctx, dir, a, used(list)); err != nil {
		return nil, err
	}
	tools, err := p.apt.tools(ctx, m.cache)
	maps.Copy(p.progs, tools)
	return &p, err
}

// used are the suites that the checks are of.
func used(list []check) []*suite {
	var out []*suite
	for _, c := range list {
		if !slices.Contains(out, c.suite) {
			out = append(out, c.suite)
		}
	}
	return out
}
