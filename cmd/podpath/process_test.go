package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer/lab"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stream collects what a process writes, while it runs.
type stream struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// program is the real program, running.
type program struct {
	cmd      *exec.Cmd
	out, err stream
	ended    chan error
}

// launch starts it; the test's end kills what is left.
func launch(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{cmd: podpath(t, args...), ended: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.start(t)
	return p
}

func (p *program) start(t *testing.T) {
	t.Helper()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("%q\nstdout:\n%s\nstderr:\n%s", p.cmd.Args[1:], &p.out, &p.err)
		}
	})
}

// ready waits for the line that says that everything is attached.
func (p *program) ready(t *testing.T) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^ready`)
	eventually(t, "the ready line", func() bool { return line.MatchString(p.err.String()) })
}

// code waits for the end; -1 is a death by signal.
func (p *program) code(t *testing.T) int {
	t.Helper()
	select {
	case err := <-p.ended:
		var e *exec.ExitError
		if err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("did not end within %s", patience)
	}
	return 0
}

// damaged is a lab with a fault, and what to give podpath to trace it.
type damaged struct {
	*lab.Lab
	scenario lab.Scenario
	args     []string
}

// breakLab builds a lab in this process and breaks it. alter, if not nil,
// changes the dump of the cluster's state.
func damagedLab(t *testing.T, fault string, alter func([]byte) []byte) *damaged {
	t.Helper()
	privileged(t)
	l, err := lab.New(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("remove the lab: %v", err)
		}
	})
	sc, err := l.Break(t.Context(), fault)
	if err != nil {
		t.Fatal(err)
	}
	dump, err := l.ClusterDump()
	if err != nil {
		t.Fatal(err)
	}
	if alter != nil {
		dump = alter(dump)
	}
	file := filepath.Join(t.TempDir(), "dump.json")
	if err := os.WriteFile(file, dump, 0o600); err != nil {
		t.Fatal(err)
	}
	return &damaged{l, sc, []string{
		"trace", "--host-netns", l.NodeNetNS(), "--node", l.NodeName(), "--cluster-dump", file, "--from", sc.From, "--to", sc.To,
	}}
}

// show sends what shows the fault, once.
func (l *damaged) show(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := l.Traffic(ctx); err != nil {
		t.Fatal(err)
	}
}

func interrupt(t *testing.T, p *program) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}
