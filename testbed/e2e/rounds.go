package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/machine"
)

type rounds struct {
	flavour, podpath, run string
	count                 int
	before                machine.State
}

func roundsCommand() *cobra.Command {
	var r rounds
	c := &cobra.Command{
		Use: "rounds", Short: "Bring clusters up and down, gently and not, and see that nothing is left of them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return r.all(c.Context()) },
	}
	c.Flags().StringVar(&r.flavour, "flavour", "flannel", "which cluster")
	c.Flags().StringVar(&r.podpath, "podpath", "bin/podpath", "the program that traces when a run is interrupted")
	c.Flags().IntVar(&r.count, "count", 10, "rounds")
	return c
}

// limit is how long the kernel may take to remove namespaces, and others on the
// machine to end what they do meanwhile.
const limit = time.Minute

func (r *rounds) all(ctx context.Context) error {
	f, err := k8s.FlavourOf(r.flavour)
	if err != nil {
		return err
	}
	if _, err := k8s.Build(ctx, ".", []k8s.Flavour{f}, os.Stderr); err != nil {
		return err
	}
	parent, err := os.MkdirTemp("", "podpath-rounds-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(parent) }()
	r.run = filepath.Join(parent, "run")
	if err := os.Setenv(runEnv, r.run); err != nil {
		return err
	}
	if r.before, err = machine.Look(r.mark()); err != nil {
		return err
	}
	kinds := r.kinds()
	var wrong []string
	for i := range r.count {
		k := kinds[i%len(kinds)]
		begun := time.Now()
		if err := k.do(ctx); err != nil {
			return errors.Join(fmt.Errorf("round %d, %s: %w", i+1, k.name, err), down(r.run))
		}
		left, err := r.before.Await(r.mark(), limit)
		if err != nil {
			return err
		}
		fmt.Printf("round %d, %s: %.1f s, %d things left\n", i+1, k.name, time.Since(begun).Seconds(), len(left))
		for _, l := range left {
			fmt.Println("  " + l)
			wrong = append(wrong, l)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d things were left behind", len(wrong))
	}
	return nil
}

// mark is in the environment of every process that a round starts.
func (r *rounds) mark() string { return runEnv + "=" + r.run }

// kind is a way for a cluster to end.
type kind struct {
	name string
	do   func(context.Context) error
}

func (r *rounds) kinds() []kind {
	return []kind{
		{"up and down", func(ctx context.Context) error { return r.upAnd(ctx, func(int) error { return nil }) }},
		{"its holder killed", func(ctx context.Context) error {
			return r.upAnd(ctx, func(holder int) error { return syscall.Kill(holder, syscall.SIGKILL) })
		}},
		{"its first process killed", func(ctx context.Context) error {
			return r.upAnd(ctx, func(int) error {
				pid, err := k8s.FirstProcess(r.run)
				if err != nil {
					return err
				}
				return syscall.Kill(pid, syscall.SIGKILL)
			})
		}},
		{"interrupted on its way up", r.interruptUp},
		{"interrupted while podpath traces", r.interruptRun},
	}
}

// upAnd brings a cluster up, has pods in it, ends it with end, and takes away
// what may stay: the run folder.
func (r *rounds) upAnd(ctx context.Context, end func(holder int) error) error {
	if err := r.self(ctx, "up", "--flavour", r.flavour).Run(); err != nil {
		return err
	}
	if err := r.self(ctx, "exec", "n1", "kubectl", "get", "pods", "-A").Run(); err != nil {
		return err
	}
	holder := servant(r.run)
	if holder == 0 {
		return errors.New("nobody holds the cluster")
	}
	if err := end(holder); err != nil {
		return err
	}
	return r.self(ctx, "down").Run()
}

func (r *rounds) self(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
	// As a shell does, so that an interrupt reaches all of it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// interruptUp presses Ctrl-C when the control plane is up and the nodes are not.
func (r *rounds) interruptUp(ctx context.Context) error {
	up := r.self(ctx, "up", "--flavour", r.flavour)
	up.Stderr = io.Discard
	return r.interrupt(ctx, up, "the control plane", func() bool {
		b, err := os.ReadFile(filepath.Join(r.run, "up.log"))
		return err == nil && strings.Contains(string(b), "control plane: ")
	})
}

// interruptRun presses Ctrl-C while podpath traces a flow that gets no answer.
func (r *rounds) interruptRun(ctx context.Context) error {
	run := r.self(ctx, "run", "--flavours", r.flavour, "--only", "^egr-remote-silent$", "--podpath", r.podpath)
	run.Stderr = io.Discard
	return r.interrupt(ctx, run, "podpath", func() bool {
		now, err := machine.Look(r.mark())
		if err != nil {
			return false
		}
		for what := range now {
			if strings.HasPrefix(what, "process ") && strings.Contains(what, " trace --from ") {
				return true
			}
		}
		return false
	})
}

// interrupt starts a command, and interrupts it when the moment has come.
func (r *rounds) interrupt(ctx context.Context, cmd *exec.Cmd, what string, moment func() bool) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for !moment() {
		select {
		case err := <-ended:
			return fmt.Errorf("it ended before %s was there: %w", what, err)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: %w", what, ctx.Err()), syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		return err
	}
	select {
	case err := <-ended:
		if err == nil {
			return errors.New("it was interrupted, and says that all is well")
		}
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("it goes on after an interrupt"), syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
	}
}
