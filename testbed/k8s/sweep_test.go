package k8s

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const runEnv = "PODPATH_TEST_RUN"

// TestMain is also the program that Isolate starts again and again.
func TestMain(m *testing.M) {
	if run := os.Getenv(runEnv); run != "" {
		if err := occupy(run, Isolate(run)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// occupy leaves what a cluster leaves: groups with processes of sessions of
// their own in them, mounts, namespaces, files. Then it waits.
func occupy(run, group string) error {
	nested := group + "/node/pod"
	if err := makeGroup(nested); err != nil {
		return err
	}
	if err := os.MkdirAll(run+"/mounted", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("none", run+"/mounted", "tmpfs", 0, ""); err != nil {
		return err
	}
	if _, err := newSpace("left"); err != nil {
		return err
	}
	daemon := exec.Command("sleep", "1000")
	daemon.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := daemon.Start(); err != nil {
		return err
	}
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, top := range all {
		if err := os.WriteFile(filepath.Join(top, nested, "cgroup.procs"), []byte(strconv.Itoa(daemon.Process.Pid)), 0); err != nil {
			return err
		}
	}
	if err := os.WriteFile(run+"/group", []byte(group), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(run+"/ready", nil, 0o644); err != nil {
		return err
	}
	return unix.Pause()
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
		t.Fatal("not root: no namespaces, mounts and cgroups")
	}
	t.Skip("needs root: namespaces, mounts and cgroups")
}

// Whichever of the processes that hold a cluster is killed, nothing is left.
func TestNothingIsLeft(t *testing.T) {
	needRoot(t)
	for name, victim := range map[string]func(run string, holder *exec.Cmd) (int, error){
		"the process that asked": func(_ string, holder *exec.Cmd) (int, error) { return holder.Process.Pid, nil },
		"the first of the namespaces": func(run string, _ *exec.Cmd) (int, error) {
			return FirstProcess(run)
		},
	} {
		t.Run(name, func(t *testing.T) {
			run := filepath.Join(t.TempDir(), "run")
			holder := exec.Command("/proc/self/exe")
			holder.Env = append(os.Environ(), runEnv+"="+run)
			holder.Stderr = os.Stderr
			if err := holder.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { _ = holder.Wait(); close(ended) }()
			t.Cleanup(func() { _ = holder.Process.Kill(); <-ended })
			eventually(t, "it is up", func() bool { return exists(run+"/ready") || closed(ended) })
			group, err := os.ReadFile(run + "/group")
			if err != nil {
				t.Fatal(err)
			}
			tasks := tasksOf(t, string(group)+"/node/pod")
			if len(tasks) == 0 {
				t.Fatal("no process in the group")
			}
			pid, err := victim(run, holder)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the holder ends", func() bool { return closed(ended) })
			eventually(t, "the run folder is gone", func() bool { return !exists(run) })
			for _, task := range tasks {
				if exists("/proc/" + task) {
					t.Errorf("process %s is left", task)
				}
			}
			if left := groupsNamed(t, string(group)); len(left) > 0 {
				t.Errorf("cgroups are left: %v", left)
			}
			if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), run) {
				t.Errorf("mounts are left, or cannot be read: %v", err)
			}
		})
	}
}

func tasksOf(t *testing.T, group string) []string {
	t.Helper()
	all, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(all[0], group, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

func groupsNamed(t *testing.T, group string) []string {
	t.Helper()
	all, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, top := range all {
		if exists(filepath.Join(top, group)) {
			found = append(found, filepath.Join(top, group))
		}
	}
	return found
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begun := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > 30*time.Second {
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}
