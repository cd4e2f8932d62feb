package scenario

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/tracer/render"
)

// podpath is one run of the program.
type podpath struct {
	cmd    *exec.Cmd
	errors bytes.Buffer
	ended  sync.WaitGroup // of what reads its output

	mu       sync.Mutex
	verdicts []render.Verdict
	flows    []render.Flow
	drops    []render.Drop
	summary  render.Summary
	bad      error // what it said that is no JSON
}

// startPodpath runs podpath on a node, and returns when it says that it is
// ready.
func startPodpath(ctx context.Context, program string, node *k8s.Node, kubeconfig string, args ...string) (*podpath, error) {
	ready := make(chan struct{})
	ended := make(chan struct{})
	p, err := launchPodpath(ctx, program, node, kubeconfig, ready, args...)
	if err != nil {
		return nil, err
	}
	go func() { p.ended.Wait(); close(ended) }()
	select {
	case <-ready:
		return p, nil
	case <-ended:
		_ = p.cmd.Wait()
		return nil, fmt.Errorf("podpath ended before it was ready:\n%s", &p.errors)
	case <-time.After(60 * time.Second):
		return nil, fmt.Errorf("podpath is not ready after 60 s: %w", p.cmd.Process.Kill())
	}
}

// runPodpath runs podpath on a node until it ends by itself, and returns its exit
// code.
func runPodpath(ctx context.Context, program string, node *k8s.Node, kubeconfig string, args ...string) (p *podpath, code int, err error) {
	p, err = launchPodpath(ctx, program, node, kubeconfig, make(chan struct{}), args...)
	if err != nil {
		return nil, 0, err
	}
	p.ended.Wait()
	err = p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return p, 0, fmt.Errorf("podpath: %w", err)
	}
	return p, p.cmd.ProcessState.ExitCode(), p.bad
}

// launchPodpath starts it, and follows what it says.
func launchPodpath(ctx context.Context, program string, node *k8s.Node, kubeconfig string, ready chan<- struct{}, args ...string) (*podpath, error) {
	p := &podpath{}
	p.cmd = exec.CommandContext(ctx, program, append(args, "--kubeconfig", kubeconfig, "--node", node.Name, "-o", "json")...)
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	progress, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := node.Start(p.cmd); err != nil {
		return nil, err
	}
	p.ended.Go(func() { p.follow(progress, ready) })
	p.ended.Go(func() { p.read(out) })
	return p, nil
}

func (p *podpath) follow(progress io.Reader, ready chan<- struct{}) {
	lines := bufio.NewScanner(progress)
	for lines.Scan() {
		fmt.Fprintln(&p.errors, lines.Text())
		if strings.HasPrefix(lines.Text(), "ready") {
			close(ready)
			ready = make(chan struct{})
		}
	}
}

// read takes in what it says, as it says it.
func (p *podpath) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			p.take(line)
		}
		if err != nil {
			return
		}
	}
}

func (p *podpath) take(line []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var kind render.TypeMeta
	err := json.Unmarshal(line, &kind)
	if err == nil {
		switch kind.Kind {
		case "Verdict":
			p.verdicts, err = taken(p.verdicts, line)
		case "Flow":
			p.flows, err = taken(p.flows, line)
		case "Drop":
			p.drops, err = taken(p.drops, line)
		case "Summary":
			err = json.Unmarshal(line, &p.summary)
		}
	}
	if err != nil {
		p.bad = fmt.Errorf("podpath said %q: %w", line, err)
	}
}

func taken[T any](all []T, line []byte) ([]T, error) {
	var one T
	err := json.Unmarshal(line, &one)
	return append(all, one), err
}

// settle waits until there are so many verdicts, but no longer than a person
// would after the last try.
func (p *podpath) settle(ctx context.Context, verdicts int) {
	ctx, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer cancel()
	for p.decided() < verdicts {
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *podpath) decided() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.verdicts)
}

// stop ends it as Ctrl-C does. Then all that it said is there.
func (p *podpath) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("interrupt podpath: %w", err)
	}
	p.ended.Wait()
	err := p.cmd.Wait()
	if code := p.cmd.ProcessState.ExitCode(); code == 2 || code < 0 {
		return fmt.Errorf("podpath: %w:\n%s", err, &p.errors)
	}
	return p.bad
}

// text is everything that it said, for a person who looks for the reason.
func (p *podpath) text() string {
	var b strings.Builder
	for _, v := range p.verdicts {
		j, _ := json.MarshalIndent(v, "", " ")
		b.Write(j)
	}
	return b.String()
}
