package main

import (
	"context"
	"fmt"
	"path/filepath"
)

const (
	guestInit = "/init"
	guestPkg  = "./testbed/kernels/guest"
)

// programs are what runs in the machines of one architecture: files outside,
// by their names inside.
type programs map[string]string

func buildPrograms(ctx context.Context, dir, arch string, all []*suite) (programs, error) {
	p := programs{guestInit: filepath.Join(dir, "init")}
	if err := goBuild(ctx, arch, "build", "-o", p[guestInit], guestPkg); err != nil {
		return nil, err
	}
	for _, s := range all {
		p[s.file()] = filepath.Join(dir, s.file())
		if err := goBuild(ctx, arch, "test", "-c", "-o", p[s.file()], s.pkg); err != nil {
			return nil, fmt.Errorf("tests of %s: %w", s.pkg, err)
		}
	}
	return p, nil
}
