package node

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

func classifier(t *testing.T, name string) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}})
	if err != nil {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			t.Fatalf("needs CAP_BPF: %v", err)
		}
		t.Skipf("needs CAP_BPF: %v", err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestCollectPrograms(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	foreign, own := classifier(t, "cil_from_contai"), classifier(t, "ours")
	ownInfo, err := own.Info()
	c.n1.must(err)
	ownID, _ := ownInfo.ID()

	// One by TCX with ours beside it, one by a clsact filter.
	err = netns.Do(int(c.n1.fd), func() error {
		for _, p := range []*ebpf.Program{foreign, own} {
			l, err := link.AttachTCX(link.TCXOptions{Interface: int(c.n1.index("veth1")), Program: p, Attach: ebpf.AttachTCXIngress})
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = l.Close() })
		}
		return nil
	})
	if errors.Is(err, ebpf.ErrNotSupported) {
		if os.Getenv("PODPATH_REQUIRE_TCX") == "1" {
			t.Fatal("no TCX, although PODPATH_REQUIRE_TCX is set")
		}
		t.Skip("needs TCX (kernel 6.6)")
	}
	c.n1.must(err)
	attrs := netlink.QdiscAttrs{LinkIndex: int(c.n1.index("veth2")), Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	c.n1.must(c.n1.h.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: "clsact"}))
	c.n1.must(c.n1.h.FilterAdd(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{LinkIndex: attrs.LinkIndex, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd: foreign.FD(), Name: "whatever", DirectAction: true}))

	n, err := New(Config{HostNetNS: c.n1.path(), OwnProgram: func(id uint32) bool { return id == uint32(ownID) }})
	c.n1.must(err)
	t.Cleanup(func() { _ = n.Close() })
	inventory(t, n)
	f := collect(t, n, tracer.Query{Flow: tcp("10.91.1.10:40000", "10.91.1.11:80"), SrcNetNS: c.p1.inode, DstNetNS: c.p2.inode})
	got := map[string]string{}
	for _, p := range f.Programs {
		got[p.Dev+" "+p.Attach] = p.Owner
		if p.ID == 0 || p.Name == "" {
			t.Errorf("%+v", p)
		}
	}
	if len(got) != 2 || got["veth1 tcx ingress"] != "cilium" || got["veth2 tc egress"] != "cilium" {
		t.Errorf("programs %+v", f.Programs)
	}
}
