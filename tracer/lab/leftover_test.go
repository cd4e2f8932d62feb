package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// victimEnv makes the test binary a program that builds a lab and then ends in
// the way that the variable names.
const victimEnv = "PODPATH_LAB_TEST_VICTIM"

// victim builds a lab, prints its namespaces, and waits for a line.
func victim(end string) {
	l, err := New(context.Background(), Options{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if _, err := l.Break(context.Background(), "tc-drop"); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for _, s := range l.spaces {
		id, err := identify(s.path())
		if err != nil {
			fmt.Println("error", err)
		}
		fmt.Println(id)
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	switch end {
	case "close":
		if err := l.Close(); err != nil {
			panic(err)
		}
		os.Exit(0)
	case "panic":
		panic("as the test wants it")
	case "exit":
		os.Exit(3)
	}
	select {} // until killed
}

// TestNothingIsLeft ends a program with a lab in every way there is, and looks
// for what it left.
func TestNothingIsLeft(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			t.Fatal("needs CAP_SYS_ADMIN and CAP_NET_ADMIN")
		}
		t.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN")
	}
	for _, end := range []string{"close", "panic", "exit", "kill"} {
		t.Run(end, func(t *testing.T) {
			links := linkNames(t)
			spaces := runVictim(t, end)
			eventually(t, func() error { return noneOf(spaces) })
			if now := linkNames(t); !slices.Equal(links, now) {
				t.Errorf("links before %q, after %q", links, now)
			}
		})
	}
}

// runVictim runs a victim to its end and returns the namespaces it had.
func runVictim(t *testing.T, end string) []string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), victimEnv+"="+end)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var spaces []string
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
		if strings.HasPrefix(lines.Text(), "error") {
			t.Error(lines.Text())
		}
		spaces = append(spaces, lines.Text())
	}
	if noneOf(spaces) == nil {
		t.Error("the check for namespaces sees none while the lab is there")
	}
	if end == "kill" {
		err = cmd.Process.Signal(syscall.SIGKILL)
	} else {
		_, err = io.WriteString(in, "\n")
	}
	if err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // most of these ends are failures
	return spaces
}

// noneOf says which of the namespaces is still held by a process, an open file
// or a mount.
func noneOf(spaces []string) error {
	for _, glob := range []string{"/proc/[0-9]*/ns/net", "/proc/[0-9]*/task/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
		files, err := filepath.Glob(glob)
		if err != nil {
			return err
		}
		for _, f := range files {
			ns, err := os.Readlink(f)
			if err != nil || !slices.ContainsFunc(spaces, func(id string) bool { return strings.HasPrefix(id, ns+" ") }) {
				continue
			}
			if id, err := identify(f); err == nil && slices.Contains(spaces, id) {
				return fmt.Errorf("%s still holds %s: %s", f, id, describe(f))
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, id := range spaces {
		ns, _, _ := strings.Cut(id, " ")
		if strings.Contains(string(mounts), ns) {
			return fmt.Errorf("%s is mounted", ns)
		}
	}
	return nil
}

// describe says which process a file below /proc belongs to.
func describe(file string) string {
	dir := filepath.Join("/proc", strings.Split(file, "/")[2])
	cmd, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
	return fmt.Sprintf("%q %s", cmd, stat)
}

// identify names a network namespace for good. The number that /proc shows is
// given again to the next one, at once; the cookie (socket(7)) never is.
func identify(path string) (string, error) {
	ns, err := os.Readlink(path)
	if err != nil || !strings.HasPrefix(ns, "net:") {
		return "", fmt.Errorf("%s is no network namespace: %w", path, err)
	}
	fd, err := netns.GetFromPath(path)
	if err != nil {
		return "", err
	}
	defer fd.Close()
	var cookie uint64
	err = (&space{ns: fd}).inside(func() error {
		sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(sock)
		cookie, err = unix.GetsockoptUint64(sock, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
	return fmt.Sprintf("%s cookie %d", ns, cookie), err
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Error(err)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func linkNames(t *testing.T) []string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range links {
		out = append(out, l.Attrs().Name)
	}
	return out
}

// TestCloseTwice closes a lab twice and finds no process of it.
func TestCloseTwice(t *testing.T) {
	l := newLab(t, Options{Seed: 3})
	var spaces []string
	for _, s := range l.spaces {
		id, err := identify(s.path())
		if err != nil {
			t.Fatal(err)
		}
		spaces = append(spaces, id)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	eventually(t, func() error { return noneOf(spaces) })
}

// TestInsideComesBack: no thread of this program stays in a namespace that it
// worked in. A thread that was left there to end with its goroutine may be the
// program's first, which never ends.
func TestInsideComesBack(t *testing.T) {
	l := newLab(t, Options{Seed: 4})
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if err := l.node.inside(func() error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	away, err := identify(l.node.path())
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if id, err := identify(task); err == nil && id == away {
			t.Errorf("%s is still in the node's namespace", task)
		}
	}
}
