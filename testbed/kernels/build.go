package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// programs are what runs in the machines.
type programs struct {
	files  map[string]string // by the name in the machine
	tests  []string          // of the probe
	faults []fault           // of the lab
}

const (
	guestInit   = "/init"
	probeTests  = "/probe.test"
	podpathFile = "/podpath"
)

// build makes static programs.
func build(ctx context.Context, dir string) (*programs, error) {
	p := &programs{files: map[string]string{}}
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
		p.files[name] = file
	}
	if err := p.listFaults(ctx); err != nil {
		return nil, err
	}
	return p, p.listTests(ctx)
}

// childTest is started by another test, and does nothing alone.
const childTest = "TestKilledChild"

func (p *programs) listTests(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, p.files[probeTests], "-test.list", ".").Output()
	if err != nil {
		return fmt.Errorf("list the probe's tests: %w", err)
	}
	for _, name := range strings.Fields(string(out)) {
		if strings.HasPrefix(name, "Test") && name != childTest {
			p.tests = append(p.tests, name)
		}
	}
	return nil
}

// fault is what the lab can break, with the verdict that it must give.
type fault struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Component string `json:"component"`
	Code      string `json:"code"`
	Healthy   bool   `json:"healthy"`
}

// listFaults asks the program that will be tested.
func (p *programs) listFaults(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, p.files[podpathFile], "demo", "--list", "-o", "json").Output()
	if err != nil {
		return fmt.Errorf("list the lab's faults: %w", err)
	}
	for line := range bytes.Lines(out) {
		var f fault
		if err := json.Unmarshal(line, &f); err != nil {
			return fmt.Errorf("list the lab's faults: %w", err)
		}
		p.faults = append(p.faults, f)
	}
	return nil
}
