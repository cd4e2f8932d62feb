package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// TestVanish: namespaces end while podpath looks for them, enters them and
// attaches to them. That is no error and nobody's fault, and what stays is judged
// rightly.
func TestVanish(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"tcx", "tracepoint"} {
		t.Run(hook, func(t *testing.T) {
			s := newScene(t, 62)
			ctx, cancel := context.WithCancel(t.Context())
			answered := s.from.askUntil(ctx, "tcp", s.vip, 50*time.Millisecond)
			vanished, ended := s.vanish(ctx, 3)
			for range 3 {
				s.amid(t, hook)
			}
			n := vanished.Load()
			cancel()
			<-answered
			<-ended
			if n < 10 {
				t.Errorf("only %d namespaces ended meanwhile", n)
			}
			t.Logf("%d namespaces ended", n)
		})
	}
}

// amid runs one trace of everything.
func (s *scene) amid(t *testing.T, hook string) {
	t.Helper()
	began := time.Now()
	tr := s.trace("any", "any", "--hook", hook, "--duration", "700ms")
	t.Logf("ready after %v", time.Since(began).Round(time.Millisecond))
	if code := tr.wait(); code != exitHealthy {
		t.Errorf("exit %d\n%s", code, &tr.err)
	}
	for _, v := range tr.verdicts() {
		if v.Code != tracer.CodeOK {
			t.Errorf("%s: %s", v.Code, v.Summary)
		}
	}
	for line := range strings.Lines(tr.err.String()) {
		if !strings.HasPrefix(line, "ready") && !strings.HasPrefix(line, "note") {
			t.Errorf("said: %s", line)
		}
	}
}

// vanish makes namespaces that end as soon as they are plugged in, on so many
// workers, until the context ends.
func (s *scene) vanish(ctx context.Context, workers int) (n *atomic.Int64, ended <-chan struct{}) {
	n = &atomic.Int64{}
	addrs := s.freeAddrs()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				b, err := s.bear(fmt.Sprintf("vv%d", n.Add(1)), addrs[w])
				if err != nil {
					s.t.Errorf("make a namespace: %v", err)
					return
				}
				b.die()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	return n, done
}
