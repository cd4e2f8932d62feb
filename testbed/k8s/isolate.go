package k8s

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
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
// It needs root. run is the run folder; it is made. If the process that holds
// the namespaces is killed, run is removed, too. The result is a name for
// cgroups, which are removed in any case.
func Isolate(run string) (group string) {
	switch os.Getenv(insideEnv) {
	case "":
		os.Exit(outside(run))
	case insideInit:
		os.Exit(first(run))
	case insideSweep:
		os.Exit(sweep(run))
	}
	return os.Getenv(groupEnv)
}

// outside starts the first process of the new namespaces and waits for it.
func outside(run string) int {
	if err := os.Setenv(groupEnv, fmt.Sprintf("podpath-testbed-%d", os.Getpid())); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	sweeper, err := startSweeper()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the sweeper:", err)
		return 2
	}
	code, killed := hold(run)
	if err := clean(run, killed); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 2
	}
	// Nothing is left to do for it.
	_, _ = sweeper.Write([]byte{0})
	return code
}

// hold runs the first process of the new namespaces, and says whether that was
// killed.
func hold(run string) (code int, killed bool) {
	cmd := again(insideInit)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		// With the process that asked, all of it ends.
		Pdeathsig: unix.SIGKILL,
	}
	// The death signal is sent when the thread ends that started the process.
	lockThread()
	err := runForwarding(cmd, func() error {
		if err := os.MkdirAll(run, 0o755); err != nil {
			return err
		}
		return os.WriteFile(firstFile(run), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644)
	})
	return exitCode(err), cmd.ProcessState != nil && !cmd.ProcessState.Exited()
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
func runForwarding(cmd *exec.Cmd, started func() error) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "new namespaces:", err)
		return err
	}
	if err := started(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	return cmd.Wait()
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
