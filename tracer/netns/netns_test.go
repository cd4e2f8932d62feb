package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func own(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// other is a new namespace, kept by its descriptor.
func other(t *testing.T) *os.File {
	t.Helper()
	var f *os.File
	err := onThread(func(int) (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			t.Fatalf("needs CAP_SYS_ADMIN: %v", err)
		}
		t.Skipf("needs CAP_SYS_ADMIN: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func inode(t *testing.T, f *os.File) uint32 {
	t.Helper()
	n, err := Inode(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func here() (uint32, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return Inode(int(f.Fd()))
}

func TestDoEntersAndComesHome(t *testing.T) {
	o := other(t)
	broken := errors.New("broken")
	for range 100 {
		err := Do(int(o.Fd()), func() error {
			got, err := here()
			if err == nil && got != inode(t, o) {
				err = fmt.Errorf("in netns %d, not %d", got, inode(t, o))
			}
			return errors.Join(err, broken)
		})
		if !errors.Is(err, broken) || err.Error() != broken.Error() {
			t.Fatal(err)
		}
	}
	home := inode(t, own(t))
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		link, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net")
		if err == nil && link != fmt.Sprintf("net:[%d]", home) {
			t.Errorf("thread %s stayed in %s", task.Name(), link)
		}
	}
}

func TestDoAtHome(t *testing.T) {
	thread := 0
	err := Do(int(own(t).Fd()), func() error { thread = unix.Gettid(); return nil })
	if err != nil || thread == 0 {
		t.Errorf("thread %d, %v", thread, err)
	}
}

func TestNotANamespace(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	mnt, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	defer mnt.Close()
	for _, f := range []*os.File{null, mnt} {
		if err := Do(int(f.Fd()), func() error { return nil }); !errors.Is(err, ErrOther) {
			t.Errorf("%s: %v", f.Name(), err)
		}
	}
}

// Without CAP_SYS_ADMIN the process's own namespace remains.
func TestForbidden(t *testing.T) {
	o := other(t)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and ends: it has lost its capabilities
		done <- func() error {
			hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var none [2]unix.CapUserData
			if err := unix.Capset(&hdr, &none[0]); err != nil {
				return err
			}
			// onThread takes a thread of its own, which has them still.
			home, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer home.Close()
			for _, f := range []*os.File{o, home} {
				if err := enter(int(f.Fd())); !errors.Is(err, ErrForbidden) {
					return fmt.Errorf("entered: %w", err)
				}
			}
			if !isHome(int(home.Fd())) {
				return errors.New("not at home")
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := Allowed(); err != nil {
		t.Error(err)
	}
}
