package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// kills is at how many moments podpath is killed: most of them spread over killSpan
// from the exec on, in which it becomes ready on an idle machine, and every third
// after it was ready.
const (
	kills    = 50
	killSpan = 1500 * time.Millisecond
)

// TestKilledAtAnyMoment: wherever SIGKILL finds podpath, nothing stays behind: no
// program, link or map, no namespace, and no file but the recording, which is read
// up to where it ends.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	l := damagedLab(t, "not-listening", nil)
	v := viewLab(t, l.Lab)
	first := newestProgram(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	traffic := make(chan struct{})
	go func() {
		defer close(traffic)
		for ctx.Err() == nil {
			_, _ = l.Traffic(ctx)
		}
	}()
	t.Run("trace", func(t *testing.T) {
		for n := range kills {
			// One in each slice of the time, so that no stretch of it is left out.
			moment := (time.Duration(n)*killSpan + rand.N(killSpan)) / kills
			t.Run(moment.Round(time.Millisecond).String(), func(t *testing.T) {
				t.Parallel()
				killTrace(t, l, moment, n%3 == 0, n%2 == 0)
			})
		}
	})
	t.Run("demo", func(t *testing.T) {
		for n := range kills / 10 {
			moment := time.Duration(n)*killSpan/(kills/10) + rand.N(killSpan)/(kills/10)
			t.Run(moment.Round(time.Millisecond).String(), func(t *testing.T) {
				t.Parallel()
				killDemo(t, moment)
			})
		}
	})
	cancel()
	<-traffic
	v.noPrograms(t)
	noOrphans(t, first)
	l.show(t) // the traced node still works
}

// killTrace starts a trace that records and kills it at a moment. To know what it
// held, it is stopped first; but then a system call that the kill would have
// broken off comes to its end, so that is done for a half only.
func killTrace(t *testing.T, l *damaged, after time.Duration, ready, look bool) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "session")
	p := &program{cmd: podpath(t, append(slices.Clone(l.args), "-o", "json", "--write", file)...), ended: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.start(t)
	if ready {
		p.ready(t)
	}
	time.Sleep(after) // the moment itself is the point
	held := &held{}
	if look {
		held = p.freeze(t)
	}
	p.signal(t, syscall.SIGKILL)
	if code := p.code(t); code != -1 {
		t.Fatalf("it ended by itself, with %d", code)
	}
	held.gone(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(file) {
			t.Errorf("left behind: %s", e.Name())
			continue
		}
		readable(t, file)
	}
}

// freeze stops the process and reads what it holds.
func (p *program) freeze(t *testing.T) *held {
	t.Helper()
	pid := p.cmd.Process.Pid
	p.signal(t, syscall.SIGSTOP)
	running := regexp.MustCompile(`(?m)^State:\s*[^tT\s]`)
	eventually(t, "every thread stopped", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		return !slices.ContainsFunc(tasks, func(f string) bool {
			b, err := os.ReadFile(f)
			return err == nil && running.Match(b)
		})
	})
	return kernelObjects(t, pid)
}

// readable: a replay reads a recording up to its end, and says where that is.
func readable(t *testing.T, file string) {
	t.Helper()
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := podpath(t, "replay", file, "-o", "json").CombinedOutput()
	code := 0
	if err != nil {
		code = -1
		if x := exitOf(err); x != nil {
			code = *x
		}
	}
	text := string(out)
	switch {
	case strings.Contains(text, "panic") || code < 0:
		t.Errorf("replay of %d bytes: exit %d\n%s", st.Size(), code, text)
	case code == exitUsage && !strings.Contains(text, "cut off") && !strings.Contains(text, "not a podpath session"):
		t.Errorf("replay of %d bytes: exit %d\n%s", st.Size(), code, text)
	case code != exitUsage && !strings.Contains(text, `"kind":"Summary"`):
		t.Errorf("replay of %d bytes has no summary: exit %d\n%s", st.Size(), code, text)
	}
	t.Logf("%d bytes recorded, replay exits %d", st.Size(), code)
}

// exitOf is the exit code of a process that ended.
func exitOf(err error) *int {
	var e interface{ ExitCode() int }
	if !errors.As(err, &e) {
		return nil
	}
	code := e.ExitCode()
	return &code
}

// killDemo kills a demo, whose namespaces have to go with it.
func killDemo(t *testing.T, after time.Duration) {
	t.Helper()
	p := launch(t, "demo", "external-silent")
	time.Sleep(after) // the moment itself is the point
	held := p.freeze(t)
	spaces := namespacesOf(t, p.cmd.Process.Pid)
	p.signal(t, syscall.SIGKILL)
	if code := p.code(t); code != -1 {
		t.Fatalf("it ended by itself, with %d", code)
	}
	held.gone(t)
	spaces.gone(t)
}

// noPrograms: nothing is attached to the devices of the node.
func (v *labView) noPrograms(t *testing.T) {
	t.Helper()
	eventually(t, "no program on the node's devices", func() bool {
		left := 0
		v.node.must(v.node.do(func() error {
			links, err := netlink.LinkList()
			for _, l := range links {
				for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
					res, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: at})
					if err == nil {
						left += len(res.Programs)
					}
				}
			}
			return err
		}))
		return left == 0
	})
}

// newestProgram is the highest number of a program there is: later ones have
// higher ones.
func newestProgram(t *testing.T) ebpf.ProgramID {
	t.Helper()
	var last ebpf.ProgramID
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		last = id
	}
	return last
}

// noOrphans: of the programs that were loaded since, none that has a name of ours
// is there without a process that holds it. Other tests may run podpath now.
func noOrphans(t *testing.T, since ebpf.ProgramID) {
	t.Helper()
	ours := regexp.MustCompile(`^(kfree_skb|tcx_ingress|tcx_egress|netif_receive_s|netif_receive_skb|net_dev_queue)$`)
	eventually(t, "no program without a process", func() bool {
		holders := heldPrograms()
		for id, err := ebpf.ProgramGetNextID(since); err == nil; id, err = ebpf.ProgramGetNextID(id) {
			if holders[uint32(id)] {
				continue
			}
			prog, err := ebpf.NewProgramFromID(id)
			if err != nil {
				continue // gone meanwhile
			}
			info, err := prog.Info()
			_ = prog.Close()
			if err == nil && ours.MatchString(info.Name) {
				return false
			}
		}
		return true
	})
}

// heldPrograms are those that any process has a descriptor of.
func heldPrograms() map[uint32]bool {
	out := map[uint32]bool{}
	files, _ := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	field := regexp.MustCompile(`(?m)^prog_id:\s*(\d+)$`)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if m := field.FindSubmatch(b); m != nil {
			n, _ := strconv.ParseUint(string(m[1]), 10, 32)
			out[uint32(n)] = true
		}
	}
	return out
}
