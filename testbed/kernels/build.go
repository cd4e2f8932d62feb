package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// programs are what runs in the machines, by their name in there.
type programs map[string]string

const (
	guestInit   = "/init"
	probeTests  = "/probe.test"
	podpathFile = "/podpath"
)

// build makes static programs.
func build(ctx context.Context, dir string) (programs, error) {
	p := programs{}
	for name, args := range map[string][]string{
		guestInit:   {"build", "./testbed/kernels/guest"},
		podpathFile: {"build", "./cmd/podpath"},
		probeTests:  {"test", "-c", "./tracer/probe"},
	} {
		file := filepath.Join(dir, filepath.Base(name))
		argv := append([]string{args[0], "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", file}, args[1:]...)
		cmd := exec.CommandContext(ctx, "go", argv...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, out)
		}
		p[name] = file
	}
	return p, nil
}

// fault is what the lab can break, with the verdict that it must give.
type fault struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Component string `json:"component"`
	Code      string `json:"code"`
	Healthy   bool   `json:"healthy"`
}

// faults asks the program that will be tested.
func (p programs) faults(ctx context.Context) ([]fault, error) {
	out, err := exec.CommandContext(ctx, p[podpathFile], "demo", "--list", "-o", "json").Output()
	if err != nil {
		return nil, fmt.Errorf("list the lab's faults: %w", err)
	}
	var list []fault
	for line := range bytes.Lines(out) {
		var f fault
		if err := json.Unmarshal(line, &f); err != nil {
			return nil, fmt.Errorf("list the lab's faults: %w", err)
		}
		list = append(list, f)
	}
	return list, nil
}
