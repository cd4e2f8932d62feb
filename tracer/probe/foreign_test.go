package probe

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// counting is a program of another tool that counts every packet and lets it go
// on.
type counting struct {
	name string
	prog *ebpf.Program
	hits *ebpf.Map
}

func newCounting(t *testing.T, name string) *counting {
	t.Helper()
	hits, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hits.Close() })
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, hits.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "on"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("on"), // TCX_NEXT, TC_ACT_UNSPEC
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = prog.Close() })
	return &counting{name, prog, hits}
}

func (c *counting) count(t *testing.T) uint64 {
	t.Helper()
	var n uint64
	if err := c.hits.Lookup(uint32(0), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// order lists the programs of a TCX hook, in the order in which they run.
func (s *space) order(dev string, at ebpf.AttachType) []string {
	s.t.Helper()
	var out []string
	index := s.link(dev).Attrs().Index
	s.do(func() error {
		res, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: at})
		if err != nil {
			return err
		}
		for _, p := range res.Programs {
			prog, err := ebpf.NewProgramFromID(p.ID)
			if err != nil {
				return err
			}
			info, err := prog.Info()
			_ = prog.Close()
			if err != nil {
				return err
			}
			out = append(out, info.Name)
		}
		return nil
	})
	return out
}

// Programs that others attached to both hooks of a device, before us and after us,
// at the head, at the tail, without a link and by clsact: each goes on seeing every
// packet, in the order in which they stood, and so do we.
func TestOthersSeeEveryPacket(t *testing.T) {
	needPrivilege(t)
	needTCX(t)
	for _, hook := range []struct {
		at     ebpf.AttachType
		ours   string
		kind   tracer.EventKind
		parent uint32
		packed func(netlink.LinkStatistics) uint64
	}{
		{ebpf.AttachTCXIngress, "tcx_ingress", tracer.EventRX, netlink.HANDLE_MIN_INGRESS, func(s netlink.LinkStatistics) uint64 { return s.RxPackets }},
		{ebpf.AttachTCXEgress, "tcx_egress", tracer.EventTX, netlink.HANDLE_MIN_EGRESS, func(s netlink.LinkStatistics) uint64 { return s.TxPackets }},
	} {
		t.Run(hook.ours, func(t *testing.T) {
			n := newTopology(t)
			n.server.listenUDP(server4 + ":7000")
			index := n.node.link("toc").Attrs().Index
			first, last, raw, classic := newCounting(t, "their_first"), newCounting(t, "their_last"), newCounting(t, "their_raw"), newCounting(t, "their_classic")
			all := []*counting{first, last, raw, classic}
			n.attachTCX(index, hook.at, last.prog, nil)
			r := record(t, Config{Tier: TierTCX}, selectPair(), n.all()...)
			n.attachTCX(index, hook.at, first.prog, link.Head())
			n.node.do(func() error {
				return link.RawAttachProgram(link.RawAttachProgramOptions{Target: index, Program: raw.prog, Attach: hook.at, Anchor: link.BeforeProgram(last.prog)})
			})
			n.attachClsact(index, hook.parent, classic.prog)
			if got, want := n.node.order("toc", hook.at), []string{first.name, hook.ours, raw.name, last.name}; !slices.Equal(got, want) {
				t.Fatalf("order %v, want %v", got, want)
			}
			n.quiet(t)
			seen := func() uint64 {
				st, err := r.probe.Stats()
				if err != nil {
					t.Fatal(err)
				}
				return st.Hooks[hook.kind]["selected"]
			}
			counts := func() []uint64 {
				out := []uint64{hook.packed(*n.node.link("toc").Attrs().Statistics)}
				for _, c := range all {
					out = append(out, c.count(t))
				}
				return out
			}
			send := func() []uint64 {
				before := counts()
				n.client.sendUDP(server4+":7000", 200)
				var after []uint64
				// A packet of the kernel's own may come between two of the looks.
				for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
					after = counts()
					for i := range after {
						after[i] -= before[i]
					}
					if after[0] >= 200 && slices.Min(after) == slices.Max(after) || time.Now().After(end) {
						return after
					}
				}
			}
			had := seen()
			if got := send(); slices.Min(got) != slices.Max(got) || got[0] < 200 {
				t.Errorf("the device and the other programs counted %v packets", got)
			}
			if seen() < had+200 {
				t.Errorf("we saw %d packets", seen()-had)
			}
			r.stop()
			if err := r.probe.Close(); err != nil {
				t.Fatal(err)
			}
			if got, want := n.node.order("toc", hook.at), []string{first.name, raw.name, last.name}; !slices.Equal(got, want) {
				t.Errorf("order after us %v, want %v", got, want)
			}
			if got := send(); slices.Min(got) != slices.Max(got) {
				t.Errorf("after us the device and the other programs counted %v packets", got)
			}
		})
	}
}

func (n topology) attachTCX(index int, at ebpf.AttachType, prog *ebpf.Program, where link.Anchor) {
	t := n.node.t
	t.Helper()
	var l link.Link
	n.node.do(func() (err error) {
		l, err = link.AttachTCX(link.TCXOptions{Interface: index, Program: prog, Attach: at, Anchor: where})
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
}

func (n topology) attachClsact(index int, parent uint32, prog *ebpf.Program) {
	n.node.must(n.node.nl.QdiscAdd(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}))
	n.node.must(n.node.nl.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:          prog.FD(), Name: "their_classic", DirectAction: true,
	}))
}

// quiet waits until the kernel's own packets (neighbour and multicast discovery of
// a device that just came up) are over: they would be counted between two looks.
func (n topology) quiet(t *testing.T) {
	t.Helper()
	look := func() string {
		s := n.node.link("toc").Attrs().Statistics
		return fmt.Sprint(s.RxPackets, s.TxPackets)
	}
	last, since := look(), time.Now()
	for end := time.Now().Add(2 * patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if now := look(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > 300*time.Millisecond {
			return
		}
	}
	t.Fatal("the device does not come to rest")
}
