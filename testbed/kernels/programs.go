package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

const (
	guestInit = "/init"
	guestPkg  = "./testbed/kernels/guest"
)

// programs are what runs in the machines of one architecture: files outside,
// by their names inside.
type programs map[string]string

func buildPrograms(ctx context.Context, dir string, a arch, all []*suite) (programs, error) {
	p := programs{guestInit: filepath.Join(dir, "init")}
	if err := p.build(ctx, a, guestInit, "build", guestPkg); err != nil {
		return nil, err
	}
	for _, s := range all {
		p[s.file()] = filepath.Join(dir, s.file())
		if err := p.build(ctx, a, s.file(), "test", "-c", s.pkg); err != nil {
			return nil, fmt.Errorf("tests of %s: %w", s.pkg, err)
		}
		for _, dir := range s.reads() {
			if err := p.folder(dir); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// build makes a program, unless it is there.
func (p programs) build(ctx context.Context, a arch, name, verb string, args ...string) error {
	if _, err := os.Stat(p[name]); err == nil {
		return nil
	}
	return goBuild(ctx, a, append([]string{verb, "-o", p[name]}, args...)...)
}

// folder takes the files of a folder, if it is there.
func (p programs) folder(dir string) error {
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			p[path.Join("/src", file)] = file
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take the files of the tests: %w", err)
	}
	return nil
}
