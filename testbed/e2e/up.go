package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/podpath/podpath/testbed/k8s"
)

func buildCommand() *cobra.Command {
	return &cobra.Command{
		Use: "build", Short: "Build the cluster's programs into the cache", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			bin, err := k8s.Build(c.Context(), ".", k8s.Flavours(), os.Stderr)
			if err == nil {
				fmt.Println(bin)
			}
			return err
		},
	}
}

// runEnv, if set, is another run folder. Every process of the cluster has it.
const runEnv = "PODPATH_TESTBED_RUN"

// runFolder is where the one cluster that stays up keeps its files.
func runFolder() (string, error) {
	if run := os.Getenv(runEnv); run != "" {
		return run, nil
	}
	cache, err := k8s.Cache()
	return filepath.Join(cache, "run"), err
}

func upCommand() *cobra.Command {
	var flavour string
	c := &cobra.Command{
		Use: "up", Short: "Bring a cluster up and leave it running", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return up(c.Context(), flavour) },
	}
	c.Flags().StringVar(&flavour, "flavour", "flannel", "which cluster")
	return c
}

// up starts a process of its own session that holds the cluster, and waits
// until that says that it is ready.
func up(ctx context.Context, flavour string) error {
	f, err := k8s.FlavourOf(flavour)
	if err != nil {
		return err
	}
	run, err := runFolder()
	if err != nil {
		return err
	}
	if pid := servant(run); pid != 0 {
		return fmt.Errorf("a cluster is up already (process %d): take it down first", pid)
	}
	bin, err := k8s.Build(ctx, ".", []k8s.Flavour{f}, os.Stderr)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	if err := os.MkdirAll(run, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(run, "bin"), []byte(bin), 0o644); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(run, "up.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "serve", "--flavour", flavour)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(run, "pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return awaitReady(ctx, run, ended)
}

func awaitReady(ctx context.Context, run string, ended <-chan error) error {
	for {
		if _, err := os.Stat(filepath.Join(run, "ready")); err == nil {
			fmt.Printf("ready. Go in with: bin/e2e exec n1 COMMAND\n")
			return nil
		}
		select {
		case err := <-ended:
			b, _ := os.ReadFile(filepath.Join(run, "up.log"))
			return errors.Join(fmt.Errorf("the cluster did not come up: %w\n%s", err, b), os.RemoveAll(run))
		case <-ctx.Done():
			return errors.Join(ctx.Err(), down(run))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// servant is the process that holds the cluster, 0 if there is none.
func servant(run string) int {
	b, err := os.ReadFile(filepath.Join(run, "pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		return 0
	}
	// The number may be another process's by now.
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(args), "\x00serve\x00") {
		return 0
	}
	return pid
}

func serveCommand() *cobra.Command {
	var flavour string
	c := &cobra.Command{Use: "serve", Hidden: true, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		run, err := runFolder()
		if err != nil {
			return err
		}
		f, err := k8s.FlavourOf(flavour)
		if err != nil {
			return err
		}
		bin, err := k8s.Build(c.Context(), ".", []k8s.Flavour{f}, os.Stderr)
		if err != nil {
			return err
		}
		group := k8s.Isolate(run)
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if _, err := k8s.Up(c.Context(), k8s.Config{Flavour: f, Tree: ".", Bin: bin, Run: run, Group: group, Workload: self, Say: os.Stderr}); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(run, "ready"), nil, 0o644); err != nil {
			return err
		}
		<-c.Context().Done()
		return nil
	}}
	c.Flags().StringVar(&flavour, "flavour", "flannel", "which cluster")
	return c
}

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Take the cluster down", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			run, err := runFolder()
			if err != nil {
				return err
			}
			return down(run)
		},
	}
}

// down ends the process that holds the cluster. The kernel ends the rest, and
// the sweeper takes away what the kernel leaves, the run folder last.
func down(run string) error {
	pid := servant(run)
	if pid == 0 {
		return os.RemoveAll(run)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(run); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if time.Since(begun) > 30*time.Second {
			return fmt.Errorf("process %d does not end, or its files and cgroups do not go away", pid)
		}
	}
}

func execCommand() *cobra.Command {
	return &cobra.Command{
		Use: "exec NODE COMMAND...", Short: "Run a command on a node (n1, n2), in the control plane (control) or outside (outside)",
		Args: cobra.MinimumNArgs(2), DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			run, err := runFolder()
			if err != nil {
				return err
			}
			return enter(run, args[0], args[1:])
		},
	}
}

// enter runs a command in the cluster's namespaces and in the node's network.
func enter(run, node string, argv []string) error {
	holder := servant(run)
	if holder == 0 {
		return errors.New("no cluster is up")
	}
	pid, err := k8s.FirstProcess(run)
	if err != nil {
		return err
	}
	first := strconv.Itoa(pid)
	args := []string{"nsenter", "--target", first, "--mount", "--pid",
		"--net=/proc/" + first + "/root/run/netns/" + node, "--wd=."}
	bin, err := os.ReadFile(filepath.Join(run, "bin"))
	if err != nil {
		return err
	}
	cmd := exec.Command(args[0], append(args[1:], argv...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// kubectl keeps what it has learnt at home.
	cmd.Env = append(os.Environ(), "HOME="+run, "KUBECONFIG="+filepath.Join(run, "kubeconfig"), "PATH="+string(bin)+":"+os.Getenv("PATH"))
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitError(exit.ExitCode())
	}
	return err
}
