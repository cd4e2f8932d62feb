package session

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the kernel's own limit (MAXSYMLINKS).
const maxLinks = 40

// errForeignLink: somebody else could have made the link on the way.
var errForeignLink = errors.New("a symbolic link of another user, in a directory that others may write to")

// openDirectory opens a directory as O_PATH, component by component, so that
// nobody can exchange one while it is looked at. The caller closes it.
func openDirectory(path string) (int, error) {
	w := walk{todo: split(path)}
	if err := w.begin(strings.HasPrefix(path, "/")); err != nil {
		return -1, err
	}
	for len(w.todo) > 0 {
		name := w.todo[0]
		w.todo = w.todo[1:]
		if err := w.step(name); err != nil {
			return -1, errors.Join(err, unix.Close(w.dir))
		}
	}
	return w.dir, nil
}

func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

// walk is a look-up under way.
type walk struct {
	dir   int
	todo  []string
	links int
}

func (w *walk) begin(root bool) (err error) {
	path := "."
	if root {
		path = "/"
	}
	w.dir, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return err
}

// step goes to the next component, or exchanges it for what a link says.
func (w *walk) step(name string) error {
	fd, err := unix.Openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		w.enter(fd)
		return nil
	case unix.S_IFLNK:
		return errors.Join(w.follow(fd, name, &st), unix.Close(fd))
	}
	return errors.Join(unix.ENOTDIR, unix.Close(fd))
}

func (w *walk) enter(fd int) {
	_ = unix.Close(w.dir) // nothing was written to it
	w.dir = fd
}

func (w *walk) follow(link int, name string, st *unix.Stat_t) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	if !w.trusted(st) {
		return errForeignLink
	}
	if onProc(w.dir) { // /proc/1/root leads where its text does not say
		fd, err := unix.Openat(w.dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			w.enter(fd)
		}
		return err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", buf)
	if err != nil {
		return err
	}
	target := string(buf[:n])
	w.todo = append(split(target), w.todo...)
	if strings.HasPrefix(target, "/") {
		_ = unix.Close(w.dir) // nothing was written to it
		return w.begin(true)
	}
	return nil
}

// trusted: the link is ours or root's, or nobody but the directory's owner can
// have made it.
func (w *walk) trusted(link *unix.Stat_t) bool {
	if ours(link, true) {
		return true
	}
	var dir unix.Stat_t
	return unix.Fstat(w.dir, &dir) == nil && dir.Mode&0o022 == 0
}

func onProc(dir int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(dir, &st) == nil && st.Type == unix.PROC_SUPER_MAGIC
}
