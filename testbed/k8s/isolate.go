package k8s

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	insideEnv  = "PODPATH_TESTBED_INSIDE"
	insideInit = "init"
	insideMain = "main"
)

// Isolate runs this program again, with the same arguments, as a process in
// new process and mount namespaces, and ends with its exit code. There it
// returns, with scratch mounts in place: what daemons write outside of the run
// folder is forgotten.
//
// It needs root. run is the run folder; it is made.
func Isolate(run string) error {
	switch os.Getenv(insideEnv) {
	case "":
		os.Exit(outside())
	case insideInit:
		os.Exit(first(run))
	}
	return nil
}

// outside starts the first process of the new namespaces and waits for it.
func outside() int {
	cmd := again(insideInit)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		// With the process that asked, all of it ends.
		Pdeathsig: unix.SIGKILL,
	}
	// The death signal is sent when the thread ends that started the process.
	lockThread()
	return runForwarding(cmd)
}

func again(stage string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// runForwarding passes signals on, so that Ctrl-C and kill reach the program
// that cleans up.
func runForwarding(cmd *exec.Cmd) int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "new namespaces:", err)
		return 2
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	return exitCode(cmd.Wait())
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode()
	}
	return 2
}

// first is process 1: it mounts, starts the program proper, and waits for
// every orphan. When it ends, the kernel ends all others.
func first(run string) int {
	if err := mounts(run); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	cmd := again(insideMain)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		return 2
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 2
		}
		if pid != cmd.Process.Pid {
			continue
		}
		if status.Signaled() {
			return 128 + int(status.Signal())
		}
		return status.ExitStatus()
	}
}

// scratched are the folders outside of the run folder that daemons write to.
var scratched = []string{"/var/lib", "/var/log", "/opt", "/usr/libexec"}

func mounts(run string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	scratch := filepath.Join(run, "scratch")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("scratch", scratch, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", scratch, err)
	}
	for i, dir := range scratched {
		if err := overlay(dir, filepath.Join(scratch, fmt.Sprint(i))); err != nil {
			return err
		}
	}
	if err := unix.Mount("run", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return os.MkdirAll("/run/netns", 0o755)
}

// overlay sends writes to dir elsewhere. A run folder below dir stays what it
// is.
func overlay(dir, scratch string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	upper, work := scratch+"/upper", scratch+"/work"
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	opts := "lowerdir=" + dir + ",upperdir=" + upper + ",workdir=" + work
	if err := unix.Mount("overlay", dir, "overlay", 0, opts); err != nil {
		return fmt.Errorf("mount an overlay on %s: %w", dir, err)
	}
	return nil
}
