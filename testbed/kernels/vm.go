package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/podpath/podpath/testbed/kernels/job"
)

// machine is a kernel with what it is to run.
type machine struct {
	arch    arch
	kernel  string // the image
	initrd  string
	memory  int // MiB
	limit   time.Duration
	spent   time.Duration // of CPU, when it has ended
	console string        // file that takes what the kernel prints
}

// newMachine puts the kernel's modules and the programs into an initramfs.
func newMachine(ctx context.Context, a arch, dir, root string, tree *moduleTree, progs programs, jobs []job.Job) (*machine, error) {
	m := &machine{arch: a, initrd: filepath.Join(dir, "initrd"), console: filepath.Join(dir, "console.log"), memory: 2048}
	var err error
	if m.kernel, err = findKernel(root); err != nil {
		return nil, err
	}
	modules, err := tree.loadOrder(ctx)
	if err != nil {
		return nil, err
	}
	list, err := json.Marshal(jobs)
	if err != nil {
		return nil, fmt.Errorf("encode jobs: %w", err)
	}
	f, err := os.Create(m.initrd)
	if err != nil {
		return nil, fmt.Errorf("write initramfs: %w", err)
	}
	defer f.Close()
	c := newCpio(f)
	c.console()
	c.dir("root")
	for _, j := range jobs {
		c.dir(strings.TrimPrefix(j.Dir, "/"))
	}
	for name, file := range progs {
		c.copy(name, file)
	}
	for name, to := range toolLinks() {
		c.link(name, to)
	}
	var names strings.Builder
	for _, mod := range modules {
		c.file(mod.file, mod.image)
		fmt.Fprintln(&names, mod.file)
	}
	c.file(job.ModulesFile, []byte(names.String()))
	c.file(job.ListFile, list)
	if err := c.close(); err != nil {
		return nil, err
	}
	return m, f.Close()
}

func findKernel(root string) (string, error) {
	var found string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasPrefix(d.Name(), "vmlinuz") {
			found = p
		}
		return err
	})
	if err == nil && found == "" {
		err = errors.New("no vmlinuz")
	}
	if err != nil {
		return "", fmt.Errorf("find the kernel in %s: %w", root, err)
	}
	return found, nil
}

func (m *machine) argv() []string {
	messages, answers := m.arch.lines()
	return append(m.arch.emulator(m.console),
		// The machine's clock counts its instructions, a nanosecond each, and skips
		// what it sleeps: no test waits longer than it has to, and none is late
		// because this computer is busy.
		"-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm",
		"-smp", "1", "-m", fmt.Sprint(m.memory),
		"-nodefaults", "-no-reboot", "-display", "none", "-nic", "none",
		"-kernel", m.kernel, "-initrd", m.initrd,
		// The kernel hands what it does not know to its first process.
		"-append", "console="+messages+" "+job.Answers+"=/dev/"+answers+
			" quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_cpu=on")
}

// run boots the machine and hands over its answers as they come. It returns
// nil only if all jobs were run.
func (m *machine) run(ctx context.Context, each func(job.Line) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.limit, fmt.Errorf("the machine did not end within %v", m.limit))
	defer cancel()
	argv := m.argv()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	// Held open, or the serial line ends at once.
	if _, err := cmd.StdinPipe(); err != nil {
		return fmt.Errorf("start the machine: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start the machine: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the machine: %w", err)
	}
	done, failed := m.read(bufio.NewReader(out), each)
	if failed != nil {
		cancel()
	}
	err = cmd.Wait()
	m.spent = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	switch {
	case failed != nil:
		return failed
	case done:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return errors.Join(fmt.Errorf("the machine ended early: %w", err), m.lastWords())
	}
}

// lastWords are what the kernel printed at the end.
func (m *machine) lastWords() error {
	text, err := os.ReadFile(m.console)
	if err != nil {
		return err
	}
	return errors.New(strings.TrimSpace(string(text[max(0, len(text)-4096):])))
}

func (m *machine) read(r *bufio.Reader, each func(job.Line) error) (done bool, err error) {
	for {
		text, err := r.ReadBytes('\n')
		var line job.Line
		if json.Unmarshal(text, &line) == nil {
			if err := each(line); err != nil {
				return false, err
			}
			done = done || line.Done
		}
		if err != nil {
			return done, nil
		}
	}
}
