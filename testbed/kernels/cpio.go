package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// cpio writes an initramfs: the "newc" format of cpio (kernel:
// Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	w     *bufio.Writer
	inode int
	dirs  map[string]bool
	err   error
}

func newCpio(w io.Writer) *cpio {
	return &cpio{w: bufio.NewWriter(w), dirs: map[string]bool{".": true}}
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
	modeLink = 0o120777
	modeChar = 0o020600
)

func (a *cpio) entry(name string, mode, major, minor int, data []byte) {
	if a.err != nil {
		return
	}
	a.inode++
	head := "070701"
	for _, n := range []int{a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0} {
		head += fmt.Sprintf("%08X", n)
	}
	a.write(head + name + "\x00" + pad(len(head)+len(name)+1))
	if _, err := a.w.Write(data); err != nil {
		a.err = err
	}
	a.write(pad(len(data)))
}

func (a *cpio) write(s string) {
	if _, err := a.w.WriteString(s); err != nil {
		a.err = err
	}
}

// pad fills up to four bytes.
func pad(n int) string { return strings.Repeat("\x00", -n&3) }

// dir adds a folder and those above it.
func (a *cpio) dir(name string) {
	if a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name, modeDir, 0, 0, nil)
}

func (a *cpio) file(name string, data []byte) {
	name = strings.TrimPrefix(name, "/")
	a.dir(path.Dir(name))
	a.entry(name, modeFile, 0, 0, data)
}

func (a *cpio) copy(name, from string) {
	data, err := os.ReadFile(from)
	if err != nil {
		a.err = err
		return
	}
	a.file(name, data)
}

// link adds a symbolic link.
func (a *cpio) link(name, to string) {
	name = strings.TrimPrefix(name, "/")
	a.dir(path.Dir(name))
	a.entry(name, modeLink, 0, 0, []byte(to))
}

// console is what the kernel gives the first process as its output.
func (a *cpio) console() {
	a.dir("dev")
	a.entry("dev/console", modeChar, 5, 1, nil)
}

func (a *cpio) close() error {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		return fmt.Errorf("write initramfs: %w", a.err)
	}
	if err := a.w.Flush(); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return nil
}
