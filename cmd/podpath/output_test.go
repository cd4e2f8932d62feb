package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The disk is full: the recording ends, which is said once with the moment, the
// trace goes on, and what was written until then can be replayed.
func TestDiskFullWhileRecording(t *testing.T) {
	t.Parallel()
	l := damagedLab(t, "not-listening", nil)
	dir := t.TempDir()
	p := &program{cmd: podpath(t), ended: make(chan error, 1)}
	// A file system that only this program sees, and that ends with it.
	script := `mount -t tmpfs -o size=24k none "$1" && shift && exec "$0" "$@"`
	args := append([]string{"sh", "-c", script, p.cmd.Path, dir}, l.args...)
	p.cmd.Args = append(args, "-o", "json", "--write", filepath.Join(dir, "session"))
	p.cmd.Path = "/bin/sh"
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.start(t)
	p.ready(t)
	verdicts := func() int { return strings.Count(p.out.String(), `"kind":"Verdict"`) }
	said := regexp.MustCompile(`(?m)^warning: the recording ends at \d\d:\d\d:\d\d, .*no space left on device$`)
	eventually(t, "the end of the recording", func() bool {
		l.show(t)
		return said.MatchString(p.err.String())
	})
	before := verdicts()
	l.show(t)
	eventually(t, "a verdict after the recording has ended", func() bool { return verdicts() > before })
	// While the program runs, its file system can be looked into.
	written, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s/session", p.cmd.Process.Pid, dir))
	if err != nil {
		t.Fatal(err)
	}
	interrupt(t, p)
	if code := p.code(t); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(p.err.String(), "the recording ends"); n != 1 {
		t.Errorf("said %d times", n)
	}
	r := replayBytes(t, filepath.Join(t.TempDir(), "session"), written, "-o", "json")
	r.decode(t)
	if !strings.Contains(r.err, "warning: session is cut off after") || len(r.verdicts) == 0 || r.verdicts[0].Code != l.scenario.Code {
		t.Errorf("replay of %d bytes: %d, %d verdicts: %s", len(written), r.code, len(r.verdicts), r.err)
	}
}

// full is a pipe that takes nothing more. Writers block until release is called,
// which gives what came after.
func full(t *testing.T) (w *os.File, release func() *stream) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	size, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	return w, func() *stream {
		s := &stream{}
		go func() {
			_, _ = r.Read(make([]byte, size))
			_, _ = io.Copy(s, r)
		}()
		return s
	}
}

// Nobody reads the output: podpath waits, and what came meanwhile is told when
// somebody does, with every loss counted.
func TestOutputBlocked(t *testing.T) {
	t.Parallel()
	l := damagedLab(t, "not-listening", nil)
	w, release := full(t)
	p := &program{cmd: podpath(t, append(l.args, "-o", "json", "--count", "3")...), ended: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = w, &p.err
	p.start(t)
	_ = w.Close()
	p.ready(t)
	for range 3 {
		l.show(t)
	}
	eventually(t, "the program waiting for its reader", func() bool { return writing(t, p.cmd.Process.Pid) })
	out := release()
	eventually(t, "the verdicts", func() bool {
		l.show(t)
		return strings.Contains(out.String(), `"kind":"Summary"`)
	})
	if code := p.code(t); code != exitFault {
		t.Errorf("exit code %d", code)
	}
	if n := strings.Count(out.String(), `"code":"`+l.scenario.Code+`"`); n != 3 {
		t.Errorf("%d verdicts: %s", n, out)
	}
	if !strings.Contains(out.String(), `"lost":`) {
		t.Error("the summary has no count of what was lost")
	}
}

// Nobody reads the output, and the second Ctrl-C does not wait for that.
func TestOutputBlockedInterrupted(t *testing.T) {
	t.Parallel()
	l := damagedLab(t, "not-listening", nil)
	w, _ := full(t)
	p := &program{cmd: podpath(t, append(l.args, "-o", "json")...), ended: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = w, &p.err
	p.start(t)
	p.ready(t)
	l.show(t)
	eventually(t, "the program waiting for its reader", func() bool { return writing(t, p.cmd.Process.Pid) })
	before := kernelObjects(t, p.cmd.Process.Pid)
	interrupt(t, p)
	eventually(t, "the end", func() bool {
		_ = p.cmd.Process.Signal(syscall.SIGINT)
		return p.cmd.Process.Signal(syscall.Signal(0)) != nil
	})
	if code := p.code(t); code != exitInterrupted && code != -1 {
		t.Errorf("exit code %d", code)
	}
	before.gone(t)
}

// writing: a thread of the process is held up writing to a pipe.
func writing(t *testing.T, pid int) bool {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "pipe_write") {
			return true
		}
	}
	return false
}

// The standard error is gone before there was anything to say: it does not
// matter, the results come.
func TestProgressGoesNowhere(t *testing.T) {
	t.Parallel()
	l := damagedLab(t, "not-listening", nil)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	p := &program{cmd: podpath(t, append(l.args, "-o", "json", "--until-verdict")...), ended: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, w
	p.start(t)
	_ = w.Close()
	eventually(t, "the verdict", func() bool {
		l.show(t)
		return strings.Contains(p.out.String(), `"kind":"Summary"`)
	})
	if code := p.code(t); code != exitFault {
		t.Errorf("exit code %d", code)
	}
}
