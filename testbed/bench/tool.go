package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readyTime = 30 * time.Second
	stopTime  = 60 * time.Second
	// peerStopTime is for tools that have nothing to decide at their end.
	peerStopTime = 10 * time.Second
)

// command says how to start a tracer.
type command struct {
	argv  []string
	stdin string
	// ready recognises the line of standard error after which it sees packets.
	// A tool that says none is ready when it waits for events.
	ready func(line string) bool
	// capture gives it a file in memory as descriptor 3.
	capture bool
}

// tool is a running tracer.
type tool struct {
	cmd     *exec.Cmd
	attach  time.Duration // from its start until it was ready
	ending  time.Duration // from the interrupt until it was gone
	out     *os.File      // its standard output
	capture *os.File
	exited  chan struct{}
	// stopTime is how long it may take to end.
	stopTime time.Duration

	mu     sync.Mutex
	stderr []string
}

// startTool starts a tracer in a namespace and waits until it is ready.
func startTool(ctx context.Context, sp *spawner, in *space, c command) (*tool, error) {
	path, err := find(c.argv[0])
	if err != nil {
		return nil, err
	}
	t := &tool{cmd: exec.Command(path, c.argv[1:]...), exited: make(chan struct{}), stopTime: stopTime}
	// Files in memory: nobody has to read what is written while packets flow.
	if t.out, err = memoryFile(); err != nil {
		return nil, err
	}
	t.cmd.Stdin, t.cmd.Stdout = strings.NewReader(c.stdin), t.out
	// Ctrl-C is for the benchmark, which then stops its tools in order.
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	if c.capture {
		if t.capture, err = memoryFile(); err != nil {
			return nil, errors.Join(err, t.closeFiles())
		}
		t.cmd.ExtraFiles = []*os.File{t.capture}
	}
	stderr, err := t.cmd.StderrPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.argv[0], err), t.closeFiles())
	}
	begun := time.Now()
	if err := sp.start(t.cmd, in); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.argv[0], err), t.closeFiles())
	}
	ready := make(chan time.Time, 1)
	go t.read(stderr, c.ready, ready)
	if c.ready == nil {
		go t.untilWaiting(ready)
	}
	select {
	case at := <-ready:
		t.attach = at.Sub(begun)
		return t, nil
	case <-t.exited:
		err = fmt.Errorf("%s ended before it was ready: %s", strings.Join(c.argv, " "), t.complaint())
	case <-time.After(readyTime):
		err = fmt.Errorf("%s was not ready in %s: %s", strings.Join(c.argv, " "), readyTime, t.complaint())
	case <-ctx.Done():
		err = ctx.Err()
	}
	t.kill()
	t.close()
	return nil, err
}

// untilWaiting looks where in the kernel the tool sleeps: bpftrace, perf and nft
// first attach, and then wait in one of the kernel's ways to poll.
func (t *tool) untilWaiting(ready chan<- time.Time) {
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", t.cmd.Process.Pid))
		if err == nil && strings.Contains(string(b), "poll") {
			ready <- time.Now()
			return
		}
		select {
		case <-t.exited:
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// memoryFile is a file on tmpfs without a name, so that nothing can be left.
func memoryFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("bench-capture", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	return os.NewFile(uintptr(fd), "bench-capture"), nil
}

func (t *tool) read(stderr io.Reader, isReady func(string) bool, ready chan<- time.Time) {
	defer close(t.exited)
	lines := bufio.NewScanner(stderr)
	told := false
	for lines.Scan() {
		t.mu.Lock()
		t.stderr = append(t.stderr, lines.Text())
		t.mu.Unlock()
		if !told && isReady != nil && isReady(lines.Text()) {
			told = true
			ready <- time.Now()
		}
	}
	_, _ = io.Copy(io.Discard, stderr) // a line too long for the scanner
}

func (t *tool) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.stderr...)
}

func (t *tool) complaint() string { return strings.Join(t.lines(), " | ") }

// stop interrupts it, as Ctrl-C would, and waits until it has said everything.
func (t *tool) stop() error {
	begun := time.Now()
	if err := t.cmd.Process.Signal(unix.SIGINT); err != nil {
		return fmt.Errorf("interrupt %s: %w", t.cmd.Path, err)
	}
	select {
	case <-t.exited:
	case <-time.After(t.stopTime):
		t.kill()
		return fmt.Errorf("%s did not end in %s after an interrupt: %s", t.cmd.Path, t.stopTime, t.complaint())
	}
	err := t.cmd.Wait()
	t.ending = time.Since(begun)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited() && exit.ExitCode() != 2:
		return nil // found something, or was interrupted
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == unix.SIGINT:
		return nil // has no better way to end
	case err != nil:
		return fmt.Errorf("%s: %w: %s", t.cmd.Path, err, t.complaint())
	}
	return nil
}

func (t *tool) kill() {
	_ = t.cmd.Process.Kill()
	<-t.exited
	_ = t.cmd.Wait()
}

// close frees what it wrote.
func (t *tool) close() { _ = t.closeFiles() }

func (t *tool) closeFiles() error {
	err := t.out.Close()
	if t.capture != nil {
		err = errors.Join(err, t.capture.Close())
	}
	return err
}

// output is what it printed, from the beginning.
func (t *tool) output() io.Reader { return io.NewSectionReader(t.out, 0, math.MaxInt64) }

// cpu is how long its threads have run so far. What its BPF programs do is not
// in there: that is done by whoever sends the packet.
func (t *tool) cpu() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", t.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		field, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", name, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// memory is the largest resident size since it was started, and the present
// one, in MiB. getrusage would not do: a process inherits the peak of the one
// that forked it.
func (t *tool) memory() (peak, now float64, err error) {
	high, err := t.statusKiB("VmHWM")
	if err != nil {
		return 0, 0, err
	}
	rss, err := t.statusKiB("VmRSS")
	return float64(high) / 1024, float64(rss) / 1024, err
}

func (t *tool) statusKiB(key string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", t.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the tool's memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		}
	}
	return 0, fmt.Errorf("read the tool's memory: no %s", key)
}

// programs are the ids of the BPF programs that it holds.
func (t *tool) programs() ([]uint32, error) {
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", t.cmd.Process.Pid))
	if err != nil {
		return nil, err
	}
	seen := map[uint32]bool{}
	var out []uint32
	for _, name := range infos {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // closed meanwhile
		}
		for line := range strings.Lines(string(b)) {
			rest, ok := strings.CutPrefix(line, "prog_id:")
			id, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 32)
			if ok && err == nil && !seen[uint32(id)] {
				seen[uint32(id)] = true
				out = append(out, uint32(id))
			}
		}
	}
	return out, nil
}
