package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
)

// attaching is how long podpath took on a full node, and how much memory.
type attaching struct {
	what         string
	pods         int
	ready, ended []float64 // seconds, of each try
	peak, rest   []float64 // resident, MiB: the most, and when ready, of each try
}

const (
	attachTries = 3
	detachTime  = 5 * time.Second
)

// fullNode measures starting and ending on a node with many pods, each with a
// namespace and a veth of its own.
func (b *bench) fullNode(ctx context.Context) ([]*attaching, error) {
	if b.opts.pods < 2 {
		return nil, nil
	}
	b.progress("building a node with %d pods", b.opts.pods)
	full := &bench{opts: b.opts, spawn: b.spawn, out: b.out, begun: b.begun}
	var err error
	if full.top, err = newTopology(ctx, b.spawn, b.opts.pods); err != nil {
		return nil, fmt.Errorf("build a node with %d pods: %w", b.opts.pods, err)
	}
	defer full.top.close()
	pod := full.top.pods[0].ip.String()
	var out []*attaching
	for _, c := range []struct {
		what    string
		command *command
	}{
		{"trace one pod to any", full.trace(pod, "any")},
		{"trace any to any: every pod's devices", full.trace("any", "any")},
		{"drops, whole node", full.podpath("drops")},
	} {
		a := &attaching{what: c.what, pods: b.opts.pods}
		for range attachTries {
			if err := full.attachOnce(ctx, a, c.command); err != nil {
				return out, fmt.Errorf("%s: %w", c.what, err)
			}
		}
		out = append(out, a)
	}
	return out, nil
}

// attachOnce starts and ends podpath, and fails if one of its programs is left.
func (b *bench) attachOnce(ctx context.Context, a *attaching, c *command) error {
	t, err := startTool(ctx, b.spawn, b.top.node, *c)
	if err != nil {
		return err
	}
	defer t.close()
	ids, err := t.programs()
	if err != nil {
		t.kill()
		return err
	}
	if len(ids) == 0 {
		t.kill()
		return errors.New("no BPF program is attached")
	}
	peak, now, err := t.memory()
	if err != nil {
		t.kill()
		return err
	}
	if err := t.stop(); err != nil {
		return err
	}
	a.peak, a.rest = append(a.peak, peak), append(a.rest, now)
	a.ready = append(a.ready, t.attach.Seconds())
	a.ended = append(a.ended, t.ending.Seconds())
	return untilGone(ctx, ids)
}

// untilGone waits for programs to go: the kernel frees them after a grace period.
func untilGone(ctx context.Context, ids []uint32) error {
	for deadline := time.Now().Add(detachTime); ; {
		left := leftover(ids)
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d BPF programs are still there %s after podpath ended", left, len(ids), detachTime)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func leftover(ids []uint32) int {
	n := 0
	for _, id := range ids {
		p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		n++
		if err == nil {
			_ = p.Close()
		}
	}
	return n
}
