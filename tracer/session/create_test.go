package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// as makes the files belong to somebody else, which only root can.
func as(t *testing.T, uid int, paths ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			t.Fatal("needs root, to make files of another user")
		}
		t.Skip("needs root, to make files of another user")
	}
	for _, p := range paths {
		if err := os.Lchown(p, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
}

func writes(path, text string) error {
	f, err := CreateFile(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// The mode is 0600 whatever the umask, which may neither add nor take away.
func TestCreateFileIgnoresTheUmask(t *testing.T) {
	dir := t.TempDir()
	for _, mask := range []int{0, 0o022, 0o777} {
		old := syscall.Umask(mask)
		path := filepath.Join(dir, fmt.Sprintf("mask%o", mask))
		err := writes(path, "x")
		syscall.Umask(old)
		st, statErr := os.Lstat(path)
		if err != nil || statErr != nil || st.Mode() != 0o600 {
			t.Errorf("umask %03o: mode %v, %v, %v", mask, st.Mode(), err, statErr)
		}
	}
}

func TestCreateFileLeavesOthersFilesAlone(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(file, []byte("theirs"), 0o666), syscall.Mkfifo(pipe, 0o666)); err != nil {
		t.Fatal(err)
	}
	as(t, nobody, file, pipe)
	reader, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, path := range []string{file, pipe} {
		if err := writes(path, "ours"); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "theirs" {
		t.Errorf("now %q, %v", b, err)
	}
	if n, err := reader.Read(make([]byte, 10)); n > 0 {
		t.Errorf("%d bytes went into the pipe, %v", n, err)
	}
}

// A link on the way is followed where nobody else can have put it there.
func TestCreateFileBelowLinks(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.Mkdir(at("real"), 0o700), os.Mkdir(at("shared"), 0o700), os.Mkdir(at("private"), 0o700),
		os.Symlink(at("real"), at("mine")), os.Symlink("mine", at("twice")), os.Symlink("loop", at("loop")),
		os.Symlink("../real", at("shared/mine")), os.Symlink("../real", at("shared/theirs")),
		os.Symlink("../real", at("private/theirs")), os.Chmod(at("shared"), 0o777),
	); err != nil {
		t.Fatal(err)
	}
	as(t, nobody, at("shared/theirs"), at("private/theirs"))
	for _, name := range []string{"mine/a", "twice/b", "shared/mine/c", "private/theirs/d", "real/../real/./e", "shared//f"} {
		if err := writes(at(name), "x"); err != nil {
			t.Error(err)
		}
		if st, err := os.Lstat(at(name)); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	for name, want := range map[string]error{"shared/theirs/x": errForeignLink, "loop/x": unix.ELOOP, "real/e/x": unix.ENOTDIR, "none/x": unix.ENOENT} {
		if err := writes(at(name), "x"); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := os.Lstat(at("real/x")); err == nil {
		t.Error("written through somebody else's link")
	}
}

// A name is taken as the kernel takes it: what ends in a slash is a directory,
// and .. leads out of where a link leads to.
func TestCreateFileTakesNamesAsTheKernelDoes(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return dir + "/" + name } // not cleaned
	if err := errors.Join(os.MkdirAll(at("real/sub"), 0o700), os.Symlink("real/sub", at("link"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"real/", "link/", "free/", "free//", "real/.", "real/sub/.."} {
		if err := writes(at(name), "x"); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	for _, path := range []string{"", "/", ".", "..", "/dev/stdout/"} {
		if f, err := CreateFile(path); err == nil {
			t.Errorf("%q was opened: %v", path, f.Close())
		}
	}
	if err := writes(at("link/../out"), "x"); err != nil {
		t.Error(err)
	}
	var found []string
	for _, pattern := range []string{"*", "real/*", "real/sub/*", ".*", "real/.*", "real/sub/.*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, names...)
	}
	if want := []string{at("link"), at("real"), at("real/out"), at("real/sub")}; !slices.Equal(found, want) {
		t.Errorf("there are %v, want %v", found, want)
	}
}

// Between the look at a pipe and its opening, the name can come to stand for
// another file, which must not be written into even if it is ours or root's.
func TestCreateFileLooksAgainAtWhatItOpened(t *testing.T) {
	parent := t.TempDir()
	file := filepath.Join(parent, "was-a-pipe")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := openDirectory(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	if f, err := openExisting(dir, "was-a-pipe", file); err == nil || !strings.Contains(err.Error(), "is another file now") {
		t.Errorf("opened %v, %v", f, err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("now %q, %v", b, err)
	}
}

func TestCreateFileRelativeAndOnProc(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, path := range []string{"here", "./also", "/proc/self/cwd/byproc"} {
		if err := writes(path, "x"); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, filepath.Base(path))); err != nil {
			t.Error(err)
		}
	}
}

func TestCreateFileIntoPipesAndDevices(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := writes(pipe, "through"); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(reader); err != nil || string(b) != "through" {
		t.Errorf("read %q, %v", b, err)
	}
	if err := writes("/dev/null", "x"); err != nil {
		t.Error(err)
	}
	if _, err := Create("/dev/full", header(t)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("/dev/full: %v", err)
	}
}

// The names of this process's own descriptors are links, and meant.
func TestCreateFileOnOwnDescriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/dev/fd", "/proc/self/fd"} {
		if err := writes(fmt.Sprintf("%s/%d", dir, w.Fd()), dir); err != nil {
			t.Error(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, []byte("/dev/fd/proc/self/fd")) {
		t.Errorf("read %q, %v", b, err)
	}
	if err := writes("/dev/fd/999", "x"); !errors.Is(err, unix.EBADF) {
		t.Errorf("a descriptor that is not open: %v", err)
	}
}

func TestCreateFileRefusesATerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	n, err := unix.IoctlGetUint32(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := writes(fmt.Sprintf("/dev/pts/%d", n), "x"); err == nil || !strings.Contains(err.Error(), "is a terminal") {
		t.Errorf("got %v", err)
	}
}
