package scenario

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/tracer/render"
)

// podpath is one run of the program.
type podpath struct {
	cmd      *exec.Cmd
	out      bytes.Buffer
	errors   bytes.Buffer
	verdicts []render.Verdict
	read     chan struct{}
}

// startPodpath runs podpath on a node, and returns when it says that it is
// ready.
func startPodpath(ctx context.Context, program string, scene *Scene, kubeconfig string) (*podpath, error) {
	p := &podpath{read: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, program, "trace", "--kubeconfig", kubeconfig, "--node", scene.Node.Name,
		"--from", scene.From, "--to", scene.To, "-o", "json", "--flows")
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	p.cmd.Stdout = &p.out
	progress, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := scene.Node.Start(p.cmd); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go p.follow(progress, ready)
	select {
	case <-ready:
		return p, nil
	case <-p.read:
		_ = p.cmd.Wait()
		return nil, fmt.Errorf("podpath ended before it was ready:\n%s", &p.errors)
	case <-time.After(60 * time.Second):
		return nil, fmt.Errorf("podpath is not ready after 60 s: %w", p.cmd.Process.Kill())
	}
}

func (p *podpath) follow(progress io.Reader, ready chan<- struct{}) {
	defer close(p.read)
	lines := bufio.NewScanner(progress)
	for lines.Scan() {
		fmt.Fprintln(&p.errors, lines.Text())
		if strings.HasPrefix(lines.Text(), "ready") {
			close(ready)
			ready = make(chan struct{})
		}
	}
}

// stop ends it as Ctrl-C does, and reads what it said.
func (p *podpath) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("interrupt podpath: %w", err)
	}
	<-p.read
	err := p.cmd.Wait()
	if code := p.cmd.ProcessState.ExitCode(); code == 2 || code < 0 {
		return fmt.Errorf("podpath: %w:\n%s", err, &p.errors)
	}
	for line := range bytes.Lines(p.out.Bytes()) {
		var v render.Verdict
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("podpath said %q: %w", line, err)
		}
		if v.Kind == "Verdict" {
			p.verdicts = append(p.verdicts, v)
		}
	}
	return nil
}

// answers are what its verdicts say.
func (p *podpath) answers() []accuracy.Answer {
	var all []accuracy.Answer
	for _, v := range p.verdicts {
		a := accuracy.Answer{Component: string(v.Component), Code: v.Code}
		if v.Object != nil {
			a.Kind, a.Namespace, a.Name = v.Object.Kind, v.Object.Namespace, v.Object.Name
		}
		all = append(all, a)
	}
	return all
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
