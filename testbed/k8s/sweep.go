package k8s

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What the kernel does not take away with the namespaces: cgroups, and the run
// folder. A process of its own session waits for the end of the one that holds
// the namespaces, and so cleans up after that was killed, too.

const (
	insideSweep = "sweep"
	groupEnv    = "PODPATH_TESTBED_CGROUP"
	sweepFor    = 20 * time.Second
)

// FirstProcess is the process, as seen from outside, that holds the namespaces
// of the cluster with that run folder.
func FirstProcess(run string) (int, error) {
	b, err := os.ReadFile(firstFile(run))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(b))
}

func firstFile(run string) string { return filepath.Join(run, "first") }

// startSweeper starts it. It cleans up when the pipe is closed, unless a byte
// came before that.
func startSweeper() (io.WriteCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := again(insideSweep)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, nil, nil
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// sweep is the sweeper's whole life.
func sweep(run string) int {
	pipe := os.NewFile(3, "pipe")
	if n, _ := pipe.Read(make([]byte, 1)); n > 0 {
		return 0
	}
	if pid, err := FirstProcess(run); err == nil {
		awaitEnd(pid)
	}
	if err := clean(run, true); err != nil {
		return 2
	}
	return 0
}

// awaitEnd waits for a process that is not ours, and so for all in its
// namespace: the kernel ends those first.
func awaitEnd(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(sweepFor.Milliseconds()))
		if err != unix.EINTR {
			return
		}
	}
}

// clean removes the cgroups, and the run folder if all is lost anyway.
func clean(run string, folder bool) error {
	err := removeGroup(os.Getenv(groupEnv), sweepFor)
	if err != nil {
		err = fmt.Errorf("clean up: %w", err)
	}
	if folder {
		err = errors.Join(err, os.RemoveAll(run))
	}
	return err
}
