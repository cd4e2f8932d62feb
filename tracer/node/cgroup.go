package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// cgroupHooks are where programs see, translate or refuse a pod's traffic.
var cgroupHooks = []attachPoint{
	{ebpf.AttachCGroupInetIngress, "cgroup ingress"}, {ebpf.AttachCGroupInetEgress, "cgroup egress"},
	{ebpf.AttachCGroupInet4Connect, "cgroup connect4"}, {ebpf.AttachCGroupInet6Connect, "cgroup connect6"},
	{ebpf.AttachCGroupUDP4Sendmsg, "cgroup sendmsg4"}, {ebpf.AttachCGroupUDP6Sendmsg, "cgroup sendmsg6"},
	{ebpf.AttachCGroupInet4Bind, "cgroup bind4"}, {ebpf.AttachCGroupInet6Bind, "cgroup bind6"},
}

// cgroupPrograms are those of the control groups of the flow's ends: the root's,
// and, where a process of the namespace is known, those on the way to its own.
func (c *collector) cgroupPrograms() {
	root, ok := c.n.cgroupRoot()
	if !ok {
		return // no cgroup2, so there is nothing to attach to
	}
	done := map[string]bool{}
	for _, inode := range []uint32{c.q.SrcNetNS, c.q.DstNetNS} {
		if inode == 0 {
			continue
		}
		for _, group := range c.n.cgroupsOf(inode) {
			if group == "/" && done[group] {
				continue
			}
			done[group] = true
			ps, err := c.n.attachedTo(filepath.Join(root, group))
			if err != nil {
				c.blind("BPF programs of control group "+group, err)
				continue
			}
			for _, p := range ps {
				p.Device.NetNS, p.Cgroup = inode, group
				if group == "/" {
					p.Device.NetNS = 0 // of both ends, and of the node
				}
				c.facts.Programs = append(c.facts.Programs, p)
			}
		}
	}
}

// cgroupRoot is where the node's cgroup2 is mounted.
func (n *Node) cgroupRoot() (string, bool) {
	for _, dir := range []string{n.proc + "/1/root/sys/fs/cgroup", "/sys/fs/cgroup"} {
		for _, sub := range []string{"", "/unified"} {
			var fs unix.Statfs_t
			if unix.Statfs(dir+sub, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
				return dir + sub, true
			}
		}
	}
	return "", false
}

// cgroupsOf lists the groups from the root to that of a process in a namespace.
func (n *Node) cgroupsOf(inode uint32) []string {
	n.mu.Lock()
	path := n.paths[inode]
	n.mu.Unlock()
	out := []string{"/"}
	dir, ok := strings.CutSuffix(path, "/ns/net")
	if !ok || inode == n.hostInode {
		return out
	}
	b, err := os.ReadFile(dir + "/cgroup")
	if err != nil {
		return out
	}
	for line := range strings.Lines(string(b)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !ok || group == "" || strings.Contains(group, "..") {
			continue
		}
		at := ""
		for part := range strings.SplitSeq(group, "/") {
			at += "/" + part
			out = append(out, at)
		}
	}
	return out
}

// attachedTo lists the programs of one group, without podpath's own.
func (n *Node) attachedTo(dir string) ([]tracer.BPFProgram, error) {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []tracer.BPFProgram
	for _, h := range cgroupHooks {
		res, err := link.QueryPrograms(link.QueryOptions{Target: int(f.Fd()), Attach: h.typ})
		if errors.Is(err, ebpf.ErrNotSupported) || isInvalid(err) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("list %s programs: %w", h.name, err)
		}
		for _, p := range res.Programs {
			if n.own(uint32(p.ID)) {
				continue
			}
			one := tracer.BPFProgram{Attach: h.name, ID: uint32(p.ID)}
			describe(&one)
			out = append(out, one)
		}
	}
	return out, nil
}
