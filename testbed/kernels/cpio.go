package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// archive writes an initramfs: the "newc" format of cpio (kernel:
// Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w     *bufio.Writer
	inode int
	dirs  map[string]bool
	err   error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriter(w), dirs: map[string]bool{".": true}}
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
	modeChar = 0o020600
)

func (a *archive) entry(name string, mode, major, minor int, data []byte) {
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

func (a *archive) write(s string) {
	if _, err := a.w.WriteString(s); err != nil {
		a.err = err
	}
}

// pad fills up to four bytes.
func pad(n int) string { return strings.Repeat("\x00", -n&3) }

// dir adds a folder and those above it.
func (a *archive) dir(name string) {
	if a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name, modeDir, 0, 0, nil)
}

func (a *archive) file(name string, data []byte) {
	name = strings.TrimPrefix(name, "/")
	a.dir(path.Dir(name))
	a.entry(name, modeFile, 0, 0, data)
}

func (a *archive) copy(name, from string) {
	data, err := os.ReadFile(from)
	if err != nil {
		a.err = err
		return
	}
	a.file(name, data)
}

// console is what the kernel gives the first process as its output.
func (a *archive) console() {
	a.dir("dev")
	a.entry("dev/console", modeChar, 5, 1, nil)
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		return fmt.Errorf("write initramfs: %w", a.err)
	}
	if err := a.w.Flush(); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return nil
}
