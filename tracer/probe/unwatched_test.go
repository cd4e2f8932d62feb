package probe

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// mprogMax is more programs than the kernel lets one TCX hook have (BPF_MPROG_MAX in
// include/linux/bpf_mprog.h).
const mprogMax = 128

// occupy leaves no room for another program at the ingress of a device.
func (s *space) occupy(dev string) (free func()) {
	s.t.Helper()
	index := s.link(dev).Attrs().Index
	var links []link.Link
	for i, full := 0, false; !full; i++ {
		if i > mprogMax {
			s.t.Fatalf("%s takes any number of programs", dev)
		}
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "their_own", Type: ebpf.SchedCLS, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R1, int32(i)), asm.Mov.Imm(asm.R0, -1), asm.Return()}})
		s.must(err)
		s.do(func() error {
			l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: prog, Attach: ebpf.AttachTCXIngress})
			if full = errors.Is(err, unix.ERANGE); full {
				return nil
			}
			links = append(links, l)
			return err
		})
		s.must(prog.Close())
	}
	free = func() {
		for _, l := range links {
			s.must(l.Close())
		}
		links = nil
	}
	s.t.Cleanup(free)
	return free
}

// A device that takes no program keeps none of the others from being watched, is
// told of, and is watched as soon as it takes one.
func TestDeviceThatTakesNoProgram(t *testing.T) {
	needPrivilege(t)
	needTCX(t)
	n := newTopology(t)
	n.server.listenUDP(server4 + ":7000")
	free := n.node.occupy("toc")
	r := record(t, Config{Tier: TierTCX}, selectPair(), n.all()...)
	unwatched := func() int {
		st, err := r.probe.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return st.Unwatched
	}
	blind := func() (list []tracer.Blind) {
		for _, b := range r.probe.Blind() {
			if strings.Contains(b.What, "toc") {
				list = append(list, b)
			}
		}
		return list
	}
	if unwatched() != 1 || len(blind()) != 1 {
		t.Fatalf("%d devices are not watched, said to be: %+v", unwatched(), blind())
	}
	n.client.sendUDP(server4+":7000", 1)
	r.wait("the packet at the next device", at(tracer.EventTX, n.node.key("tos")))
	free()
	if err := r.probe.SetInventory(inventory(t, n.all()...)); err != nil {
		t.Fatal(err)
	}
	if unwatched() != 0 || len(blind()) != 0 {
		t.Fatalf("%d devices are not watched, said to be: %+v", unwatched(), blind())
	}
	n.client.sendUDP(server4+":7000", 1)
	r.wait("a packet at the device", at(tracer.EventRX, n.node.key("toc")))
}

// Where nothing at all can be watched that is an error.
func TestNoDeviceTakesAProgram(t *testing.T) {
	needPrivilege(t)
	needTCX(t)
	s := newSpace(t)
	s.must(addVeth(s, "one", int(s.fd), "two"))
	s.occupy("one")
	s.occupy("two")
	p, err := Open(Config{Tier: TierTCX})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	inv := inventory(t, s)
	// Modules of tunnels give each namespace devices of their own.
	inv.Devices = slices.DeleteFunc(inv.Devices, func(d tracer.Device) bool { return d.Name != "one" && d.Name != "two" })
	if err := p.SetInventory(inv); err == nil || !strings.Contains(err.Error(), "one") {
		t.Errorf("got %v", err)
	}
}
