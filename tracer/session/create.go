package session

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CreateFile makes what a recording, or an export of one, is written to. These
// hold a cluster's objects and are made by root, often in /tmp, so that nothing
// that somebody else prepared is ever written into:
//
//   - A new file gets mode 0600 whatever the umask. It is created under a fresh
//     name and moved to path, so that a regular file that stood there, which
//     has to be ours, is replaced and not written through.
//   - A character device or a named pipe is opened, if it is ours or root's and
//     no terminal; a pipe must have a reader already.
//   - /dev/stdout, /dev/stderr, /dev/fd/N and /proc/self/fd/N are this process's
//     own descriptors.
//   - Anything else, above all a symbolic link, is refused, and so is a name
//     that ends in a slash: it is a directory's, there or not. On the way to the
//     directory, links are followed only where the kernel would with
//     fs.protected_symlinks (proc_sys_fs(5)), or stricter.
func CreateFile(path string) (*os.File, error) {
	if path == "" || strings.HasSuffix(path, "/") {
		return nil, fmt.Errorf("%q is no name of a file", path)
	}
	if fd, ok := ownDescriptor(path); ok {
		return reopen(fd, path)
	}
	// Dir and Base would take a/.. for where a stands, which it is not if a is a
	// link.
	parent, name := filepath.Split(path)
	dir, err := openDirectory(parent)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: cmp.Or(parent, "."), Err: err}
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	switch err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	case st.Mode&unix.S_IFMT == unix.S_IFREG && !ours(&st, false):
		return nil, fmt.Errorf("%s belongs to user %d: remove it first, or choose another name", path, st.Uid)
	case st.Mode&unix.S_IFMT == unix.S_IFCHR, st.Mode&unix.S_IFMT == unix.S_IFIFO:
		return openExisting(dir, name, path)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%s is %s, not a regular file", path, typeName(st.Mode))
	}
	return replace(dir, name, path)
}

func ours(st *unix.Stat_t, orRoot bool) bool {
	return int(st.Uid) == os.Geteuid() || orRoot && st.Uid == 0
}

// replace puts a new, empty file at name.
func replace(dir int, name, path string) (*os.File, error) {
	for try := 0; ; try++ {
		fresh := fmt.Sprintf(".%s.%d-%d", name, os.Getpid(), try)
		fd, err := unix.Openat(dir, fresh, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, unix.EEXIST) && try < 100 {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "create", Path: path, Err: err}
		}
		f := os.NewFile(uintptr(fd), path)
		// rename replaces a link that appeared meanwhile, it does not follow it.
		if err = f.Chmod(0o600); err == nil {
			err = unix.Renameat(dir, fresh, dir, name)
		}
		if err != nil {
			return nil, errors.Join(&fs.PathError{Op: "create", Path: path, Err: err}, f.Close(), unix.Unlinkat(dir, fresh, 0))
		}
		return f, nil
	}
}

// openExisting opens a named pipe or a character device.
func openExisting(dir int, name, path string) (*os.File, error) {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("nobody reads from %s yet: start the reader first", path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return checked(fd, path)
}

// checked takes over fd, unless somebody else made the file, it is a terminal,
// or the name has come to stand for a file of another type since it was looked
// at: a hard link to one of root's, say.
func checked(fd int, path string) (*os.File, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && !ours(&st, true) {
		err = fmt.Errorf("%s belongs to user %d", path, st.Uid)
	}
	if typ := st.Mode & unix.S_IFMT; err == nil && typ != unix.S_IFCHR && typ != unix.S_IFIFO {
		err = fmt.Errorf("%s was a pipe or a device, and is another file now", path)
	}
	if err == nil {
		err = noTerminal(fd, path)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

func noTerminal(fd int, path string) error {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		return fmt.Errorf("%s is a terminal, and a recording is binary", path)
	}
	return nil
}

// ownDescriptor recognises the names of this process's open files.
func ownDescriptor(path string) (int, bool) {
	switch path = filepath.Clean(path); path {
	case "/dev/stdin":
		return 0, true
	case "/dev/stdout":
		return 1, true
	case "/dev/stderr":
		return 2, true
	}
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
		if rest, ok := strings.CutPrefix(path, dir); ok {
			n, err := strconv.ParseUint(rest, 10, 31)
			return int(n), err == nil
		}
	}
	return 0, false
}

func reopen(own int, path string) (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if err := noTerminal(fd, path); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

func typeName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFBLK:
		return "a block device"
	}
	return "something else"
}
