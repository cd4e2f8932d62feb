package lab

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// arrangeTCDrop attaches a program like a security agent's to the node's side
// of the pod's veth. Its egress is the pod's ingress.
func arrangeTCDrop(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	x := l.server(0)
	port, err := l.port(x)
	if err != nil {
		return nil, err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: tcProgram, Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: dropTransport(),
	})
	if err != nil {
		return nil, fmt.Errorf("load program: %w", err)
	}
	defer prog.Close()
	return l.toService().blames("BPFProgram", "", tcProgram).shows(Timeout), l.attach(prog, port)
}

// tcProgram is what a security agent might call its program.
const tcProgram = "edr_quarantine"

// dropTransport drops TCP and UDP, and lets ARP and neighbour discovery pass.
func dropTransport() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1), // the packet loads below want it there
		asm.LoadAbs(12, asm.Half),   // EtherType
		asm.JEq.Imm(asm.R0, unix.ETH_P_IP, "v4"),
		asm.JEq.Imm(asm.R0, unix.ETH_P_IPV6, "v6"),
		asm.Ja.Label("pass"),
		asm.LoadAbs(14+9, asm.Byte).WithSymbol("v4"),
		asm.Ja.Label("proto"),
		asm.LoadAbs(14+6, asm.Byte).WithSymbol("v6"),
		asm.JEq.Imm(asm.R0, unix.IPPROTO_TCP, "drop").WithSymbol("proto"),
		asm.JEq.Imm(asm.R0, unix.IPPROTO_UDP, "drop"),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("pass"), // TCX_NEXT, TC_ACT_UNSPEC
		asm.Return(),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("drop"), // TCX_DROP, TC_ACT_SHOT
		asm.Return(),
	}
}

// attach uses TCX (kernel 6.6), whose link ends with this process at the
// latest, or else clsact, whose filter ends with the device.
func (l *Lab) attach(prog *ebpf.Program, to netlink.Link) error {
	var lnk link.Link
	err := l.node.inside(func() (err error) {
		lnk, err = link.AttachTCX(link.TCXOptions{
			Program: prog, Attach: ebpf.AttachTCXEgress, Interface: to.Attrs().Index,
		})
		return err
	})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return l.attachClsact(prog, to)
	}
	if err != nil {
		return fmt.Errorf("attach tcx to %s: %w", to.Attrs().Name, err)
	}
	l.keep(lnk)
	return nil
}

func (l *Lab) attachClsact(prog *ebpf.Program, to netlink.Link) error {
	attrs := netlink.QdiscAttrs{LinkIndex: to.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	clsact := &netlink.Clsact{QdiscAttrs: attrs}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: attrs.LinkIndex, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          prog.FD(), Name: tcProgram, DirectAction: true,
	}
	return l.do(
		func() error {
			return errors.Join(l.node.nl.QdiscAdd(clsact), l.node.nl.FilterAdd(filter))
		},
		func() error { return l.node.nl.QdiscDel(clsact) },
	)
}

// inside runs f on a thread that is in this namespace meanwhile. The thread goes
// back: to let it end instead would not do, since Go never ends a program's
// first thread, and that one would hold the namespace, and show it to everyone
// who looks at /proc/PID/ns/net.
func (s *space) inside(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.GetFromPath("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(s.ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s: %w", s.name, err)
	}
	err = f()
	if back := netns.Set(home); back != nil {
		// Stay locked: nobody else may run on this thread any more.
		return errors.Join(err, fmt.Errorf("leave namespace %s: %w", s.name, back))
	}
	runtime.UnlockOSThread()
	return err
}
