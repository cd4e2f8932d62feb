package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer/netns"
)

// ErrNetNSGone is returned when a namespace cannot be found any more.
var ErrNetNSGone = errors.New("network namespace is gone")

// OpenNetNS opens a namespace of this kernel by inode. The caller closes it
// soon: an open descriptor keeps the namespace alive. The error is ErrNetNSGone
// if no process and no mount leads to it.
func (n *Node) OpenNetNS(inode uint32) (*os.File, error) {
	if inode == n.hostInode {
		fd, err := unix.FcntlInt(n.host.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("duplicate the node's namespace: %w", err)
		}
		return os.NewFile(uintptr(fd), "netns"), nil
	}
	n.mu.Lock()
	path := n.paths[inode]
	n.mu.Unlock()
	if f := openAs(path, inode); f != nil {
		return f, nil
	}
	// The process it was found by may have gone while the namespace lives on.
	if f := openAs(n.scan()[inode], inode); f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("open netns %d: %w", inode, ErrNetNSGone)
}

func openAs(path string, inode uint32) *os.File {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	if got, err := netns.Inode(int(f.Fd())); err != nil || got != inode {
		_ = f.Close()
		return nil
	}
	return f
}

// scan finds every namespace that a mount or a process leads to. It costs one
// readlink a process and opens nothing. Threads that left their process's
// namespace are not looked at.
func (n *Node) scan() map[uint32]string {
	found := map[uint32]string{}
	// Mounts first: they outlive the process that a pod began with.
	for _, dir := range n.mountDirs() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if f, err := os.Open(path); err == nil {
				if inode, err := netns.Inode(int(f.Fd())); err == nil && found[inode] == "" {
					found[inode] = path
				}
				_ = f.Close()
			}
		}
	}
	for _, pid := range pids(n.proc) {
		path := n.proc + "/" + strconv.Itoa(pid) + "/ns/net"
		inode, ok := linkInode(path)
		if ok && found[inode] == "" {
			found[inode] = path
		}
	}
	n.mu.Lock()
	n.paths = found
	n.mu.Unlock()
	return found
}

// mountDirs are where runtimes mount namespaces. From inside a debug pod the
// node's are reached through its init process; on the node itself that is the
// same directory, and looked at once.
func (n *Node) mountDirs() []string {
	var out []string
	var seen []os.FileInfo
	for _, root := range []string{"", n.proc + "/1/root"} {
		for _, d := range []string{"/run/netns", "/var/run/docker/netns"} {
			st, err := os.Stat(root + d)
			if err != nil || slices.ContainsFunc(seen, func(x os.FileInfo) bool { return os.SameFile(x, st) }) {
				continue
			}
			seen, out = append(seen, st), append(out, root+d)
		}
	}
	return out
}

func pids(proc string) []int {
	d, err := os.Open(proc)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	out := make([]int, 0, len(names))
	for _, s := range names {
		if pid, err := strconv.Atoi(s); err == nil {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

// linkInode reads "net:[4026531840]"; false if the process is gone.
func linkInode(path string) (uint32, bool) {
	s, err := os.Readlink(path)
	if err != nil {
		return 0, false
	}
	return parseNSLink(s)
}

func parseNSLink(s string) (uint32, bool) {
	s, ok := strings.CutPrefix(s, "net:[")
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, "]")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 10, 32)
	return uint32(v), err == nil
}
