package k8s

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a daemon of the cluster. Its output is in a file of the run
// folder's log folder.
type Process struct {
	Name  string
	Log   string
	space *Space
	cmd   *exec.Cmd
	// inner, if set, is a file with the number of the process in a container
	// that cmd started.
	inner string
	ended chan struct{}
}

// start runs a daemon in a namespace; env is added to this process's own.
func (c *Cluster) start(s *Space, name string, env []string, argv ...string) (*Process, error) {
	p := &Process{Name: name, Log: filepath.Join(c.run, "log", name+".log"), space: s, ended: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(append(os.Environ(), "HOME="+c.run), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := s.Start(p.cmd); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Kill ends the daemon as a crash does. It may have ended: a kubelet or a
// controller may have taken a container's process away already.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

// Freeze stops the daemon where it is; Thaw lets it go on.
func (p *Process) Freeze() error { return p.signal(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (p *Process) Thaw() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(sig syscall.Signal) error {
	process := p.cmd.Process
	if p.inner != "" {
		b, err := os.ReadFile(p.inner)
		if err != nil {
			return err
		}
		pid, err := strconv.Atoi(string(b))
		if err != nil {
			return err
		}
		if process, err = os.FindProcess(pid); err != nil {
			return err
		}
	}
	if err := process.Signal(sig); err != nil {
		return fmt.Errorf("send %s to %s: %w", sig, p.Name, err)
	}
	return nil
}

// await asks until ready says yes. An end of the process, or of the time, is
// an error that shows the last lines of its output.
func (p *Process) await(ctx context.Context, what string, ready func() bool) error {
	return poll(ctx, what, func() (bool, error) {
		select {
		case <-p.ended:
			return false, fmt.Errorf("%s ended:\n%s", p.Name, p.tail())
		default:
			return ready(), nil
		}
	}, p.tail)
}

func (p *Process) tail() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

const (
	pollEvery = 50 * time.Millisecond
	pollFor   = 90 * time.Second
)

// poll calls done until it is true or fails.
func poll(ctx context.Context, what string, done func() (bool, error), detail func() string) error {
	ctx, cancel := context.WithTimeout(ctx, pollFor)
	defer cancel()
	for {
		ok, err := done()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w\n%s", what, ctx.Err(), detail())
		case <-time.After(pollEvery):
		}
	}
}
