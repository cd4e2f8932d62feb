package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// An interrupted trace prints what it found, and the summary.
func TestInterrupted(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"Ctrl-C": syscall.SIGINT, "termination": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			l := damagedLab(t, "not-listening", nil)
			p := launch(t, append(l.args, "-o", "json")...)
			p.ready(t)
			l.show(t)
			eventually(t, "a verdict", func() bool { return strings.Contains(p.out.String(), `"kind":"Verdict"`) })
			before := kernelObjects(t, p.cmd.Process.Pid)
			if err := p.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if code := p.code(t); code != exitInterrupted {
				t.Errorf("exit code %d", code)
			}
			kinds, err := compileSchemas(t).checkAll("json", p.out.String())
			if err != nil || !slices.Equal(kinds, []string{"Summary", "Verdict"}) {
				t.Errorf("got %v: %v", kinds, err)
			}
			before.gone(t)
		})
	}
}

// Also where nothing was seen yet, and in the demo, which removes its cluster.
func TestInterruptedEarly(t *testing.T) {
	l := damagedLab(t, "external-silent", nil)
	p := launch(t, l.args...)
	p.ready(t)
	interrupt(t, p)
	if code := p.code(t); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(p.out.String(), "0 flows in ") {
		t.Error("no summary")
	}
}

func TestInterruptedDemo(t *testing.T) {
	privileged(t)
	p := launch(t, "demo", "external-silent")
	p.ready(t)
	before, spaces := kernelObjects(t, p.cmd.Process.Pid), namespacesOf(t, p.cmd.Process.Pid)
	interrupt(t, p)
	if code := p.code(t); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	before.gone(t)
	spaces.gone(t)
}

// The second Ctrl-C does not wait for anything.
func TestInterruptedTwice(t *testing.T) {
	l := damagedLab(t, "external-silent", nil)
	p := launch(t, l.args...)
	p.ready(t)
	before := kernelObjects(t, p.cmd.Process.Pid)
	for range 2 {
		if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	}
	if code := p.code(t); code != exitInterrupted && code != -1 {
		t.Errorf("exit code %d", code)
	}
	before.gone(t)
}

// A killed podpath cannot clean up: the kernel must.
func TestKilledLeavesNothing(t *testing.T) {
	l := damagedLab(t, "not-listening", nil)
	p := launch(t, l.args...)
	p.ready(t)
	before := kernelObjects(t, p.cmd.Process.Pid)
	if len(before.programs) == 0 || len(before.links) == 0 {
		t.Fatalf("a running trace holds %+v", before)
	}
	if n := before.tcx(t); n == 0 {
		t.Error("a running trace is attached to no device")
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if code := p.code(t); code != -1 {
		t.Errorf("exit code %d", code)
	}
	before.gone(t)
	l.show(t) // the traced node still works
}

func TestKilledDemoLeavesNothing(t *testing.T) {
	privileged(t)
	p := launch(t, "demo", "external-silent")
	p.ready(t)
	before, spaces := kernelObjects(t, p.cmd.Process.Pid), namespacesOf(t, p.cmd.Process.Pid)
	if len(before.programs) == 0 || len(spaces.inodes) < 4 {
		t.Fatalf("a running demo holds %+v and the namespaces %v", before, spaces.inodes)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.code(t)
	before.gone(t)
	spaces.gone(t)
}

// The reader of the output goes away: no message, no signal, and the exit code
// of what was found.
func TestReaderGoesAway(t *testing.T) {
	l := damagedLab(t, "not-listening", nil)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: podpath(t, append(l.args, "-o", "json")...), ended: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = w, &p.err
	p.start(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p.ready(t)
	l.show(t)
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || !strings.Contains(line, l.scenario.Code) {
		t.Errorf("first line %q: %v", line, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	l.show(t)
	if code := p.code(t); code != exitFault {
		t.Errorf("exit code %d", code)
	}
	if regexp.MustCompile(`(?i)pipe|panic|goroutine`).MatchString(p.err.String()) {
		t.Error("it did not end quietly")
	}
}

// held is what one process holds in the kernel, by number; others may have more
// of the same at the same time.
type held struct {
	programs, maps, links []uint32
}

// kernelObjects reads them from the process's descriptors.
func kernelObjects(t *testing.T, pid int) *held {
	t.Helper()
	h := &held{}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("descriptors of %d: %v", pid, err)
	}
	field := regexp.MustCompile(`(?m)^(prog_id|map_id|link_id):\s*(\d+)$`)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // closed since
		}
		for _, m := range field.FindAllStringSubmatch(string(b), -1) {
			n, _ := strconv.ParseUint(m[2], 10, 32)
			switch m[1] {
			case "prog_id":
				h.programs = append(h.programs, uint32(n))
			case "map_id":
				h.maps = append(h.maps, uint32(n))
			case "link_id":
				h.links = append(h.links, uint32(n))
			}
		}
	}
	return h
}

// tcx counts the links that are attached to devices.
func (h *held) tcx(t *testing.T) int {
	t.Helper()
	n := 0
	for _, id := range h.links {
		l, err := link.NewFromID(link.ID(id))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := l.Info(); err == nil && info.TCX() != nil {
			n++
		}
		_ = l.Close()
	}
	return n
}

func (h *held) gone(t *testing.T) {
	t.Helper()
	absent := func(c interface{ Close() error }, err error) bool {
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, os.ErrNotExist)
	}
	eventually(t, "everything of the process gone from the kernel", func() bool {
		h.programs = slices.DeleteFunc(h.programs, func(id uint32) bool { return absent(ebpf.NewProgramFromID(ebpf.ProgramID(id))) })
		h.maps = slices.DeleteFunc(h.maps, func(id uint32) bool { return absent(ebpf.NewMapFromID(ebpf.MapID(id))) })
		h.links = slices.DeleteFunc(h.links, func(id uint32) bool { return absent(link.NewFromID(link.ID(id))) })
		return len(h.programs)+len(h.maps)+len(h.links) == 0
	})
}

// spaces are network namespaces, by inode.
type spaces struct{ inodes []string }

// namespacesOf lists those that the children of a process live in.
func namespacesOf(t *testing.T, pid int) *spaces {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	s := &spaces{}
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for child := range strings.FieldsSeq(string(b)) {
			ns, err := os.Readlink("/proc/" + child + "/ns/net")
			if err == nil && ns != own {
				s.inodes = append(s.inodes, ns)
			}
		}
	}
	return s
}

// gone waits until no process lives in them and no descriptor or mount keeps
// them.
func (s *spaces) gone(t *testing.T) {
	t.Helper()
	eventually(t, "the namespaces gone", func() bool {
		kept := map[string]bool{}
		for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
			files, _ := filepath.Glob(pattern)
			for _, f := range files {
				if to, err := os.Readlink(f); err == nil {
					kept[to] = true
				}
			}
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		return err == nil && !slices.ContainsFunc(s.inodes, func(ns string) bool { return kept[ns] || strings.Contains(string(mounts), ns) })
	})
}
