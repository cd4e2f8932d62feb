package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/render"
)

// lineBuffer is a stream of a running trace that a test may read meanwhile.
type lineBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lineBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lineBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// liveTrace is a whole podpath trace in this process.
type liveTrace struct {
	t        *testing.T
	out, err lineBuffer
	cancel   context.CancelFunc
	done     chan int
	code     int
	ended    bool
}

// startTrace runs podpath trace and waits until it is ready.
func startTrace(t *testing.T, args ...string) *liveTrace {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &liveTrace{t: t, cancel: cancel, done: make(chan int, 1)}
	// This process holds every trace that runs beside this one: what it uses is
	// not what one podpath uses.
	args = append([]string{"trace", "-o", "json", "--flows", "--max-cpu", "1000"}, args...)
	go func() { l.done <- run(ctx, args, stdio{out: &l.out, err: &l.err}) }()
	t.Cleanup(func() { l.stop() })
	l.await("the ready line", func() bool {
		return strings.HasPrefix(l.err.String(), "ready") || strings.Contains(l.err.String(), "\nready")
	})
	return l
}

// await polls until something is so, the trace has ended, or 20 s are over.
func (l *liveTrace) await(what string, ok func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		select {
		case l.code = <-l.done:
			l.ended = true
			if ok() {
				return
			}
			l.t.Fatalf("%s: the trace has ended with %d\n%s\n%s", what, l.code, &l.err, &l.out)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%s: not within 20 s\n%s\n%s", what, &l.err, &l.out)
		}
	}
}

// stop is Ctrl-C. It returns the exit code.
func (l *liveTrace) stop() int {
	l.cancel()
	return l.wait()
}

// wait waits until the trace ends by itself.
func (l *liveTrace) wait() int {
	l.t.Helper()
	if l.ended {
		return l.code
	}
	select {
	case l.code = <-l.done:
		l.ended = true
	case <-time.After(40 * time.Second):
		l.t.Fatalf("the trace does not end\n%s", &l.err)
	}
	return l.code
}

// said counts lines of standard error that contain a text.
func (l *liveTrace) said(text string) int {
	n := 0
	for line := range strings.Lines(l.err.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func objects[T any](l *liveTrace, kind string) []T {
	l.t.Helper()
	return objectsIn[T](l.t, l.out.String(), kind)
}

// objectsIn reads the objects of one kind in the output of -o json.
func objectsIn[T any](t *testing.T, text, kind string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(text) {
		var k struct{ Kind string }
		if !strings.HasSuffix(line, "\n") { // still being written
			continue
		}
		if err := json.Unmarshal([]byte(line), &k); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if k.Kind != kind {
			continue
		}
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, v)
	}
	return all
}

func (l *liveTrace) verdicts() []render.Verdict { return objects[render.Verdict](l, "Verdict") }
func (l *liveTrace) flows() []render.Flow       { return objects[render.Flow](l, "Flow") }

// verdict waits for the first verdict that fits.
func (l *liveTrace) verdict(what string, fits func(*render.Verdict) bool) render.Verdict {
	l.t.Helper()
	var found render.Verdict
	l.await(what, func() bool {
		for _, v := range l.verdicts() {
			if fits(&v) {
				found = v
				return true
			}
		}
		return false
	})
	return found
}

// newLab builds a lab that is removed when the test ends.
func newLab(t *testing.T, o lab.Options) *lab.Lab {
	t.Helper()
	privileged(t)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	l, err := lab.New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("remove the lab: %v", err)
		}
	})
	return l
}

// breakLab makes a lab show a fault.
func breakLab(t *testing.T, l *lab.Lab, fault string) lab.Scenario {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	sc, err := l.Break(ctx, fault)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// send sends the fault's traffic in the background until the test ends.
func send(t *testing.T, l *lab.Lab) (done <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, err := l.Traffic(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("traffic: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return ended
}

// nodeArgs are the flags that make a trace run on the lab's node.
func nodeArgs(l *lab.Lab, more ...string) []string {
	return append([]string{"--node", l.NodeName(), "--host-netns", l.NodeNetNS()}, more...)
}

// dumpArgs are nodeArgs with the cluster's state from a file.
func clusterDump(t *testing.T, l *lab.Lab) []byte {
	t.Helper()
	dump, err := l.ClusterDump()
	if err != nil {
		t.Fatal(err)
	}
	return dump
}
