package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	if err := goBuild(ctx, a, "build", "-o", p[guestInit], guestPkg); err != nil {
		return nil, err
	}
	for _, s := range all {
		p[s.file()] = filepath.Join(dir, s.file())
		if err := goBuild(ctx, a, "test", "-c", "-o", p[s.file()], s.pkg); err != nil {
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
