package rules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// readLegacy reads what ip_tables and ip6_tables hold in a namespace, with
// their own tools: the kernel's interface is a private C structure. It returns
// nil if there are no such tables, without starting anything.
func readLegacy(ctx context.Context, netns *os.File, proc string) (*ruleset, error) {
	type kind struct {
		names, tool string
		family      family
	}
	rs := &ruleset{}
	var errs []error
	err := inNetNS(int(netns.Fd()), func() error {
		for _, k := range []kind{{"ip_tables_names", "iptables-legacy-save", famIP}, {"ip6_tables_names", "ip6tables-legacy-save", famIP6}} {
			b, err := os.ReadFile(proc + "/thread-self/net/" + k.names)
			if err != nil || strings.TrimSpace(string(b)) == "" {
				continue
			}
			path, err := exec.LookPath(k.tool)
			if err != nil {
				errs = append(errs, fmt.Errorf("tables %s exist, and %s is not installed to read them", strings.Join(strings.Fields(string(b)), ", "), k.tool))
				continue
			}
			// The child inherits the namespace of this thread.
			out, err := exec.CommandContext(ctx, path, "-c").Output()
			if err != nil {
				errs = append(errs, fmt.Errorf("run %s: %w", k.tool, err))
				continue
			}
			parseSave(rs, string(out), k.family)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(rs.tables) == 0 {
		rs = nil
	}
	return rs, errors.Join(errs...)
}

// inNetNS runs fn on a thread of its own inside a namespace and brings the thread
// home. It does not rest on a locked thread ending with its goroutine: the
// process's first thread is parked instead (runtime.mexit), and would hold the
// namespace, and show it as the process's own in /proc/PID/ns/net. A thread that
// cannot come home stays locked, so that no other code runs in there.
func inNetNS(fd int, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open this thread's network namespace: %w", err)
			return
		}
		defer unix.Close(home)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = fn()
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
