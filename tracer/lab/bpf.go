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
	drop := dropWhere(asm.Instructions{asm.Ja.Label("drop")})
	return l.toService().blames("BPFProgram", "", tcProgram).shows(Timeout), l.guard(x, tcProgram, ebpf.AttachTCXEgress, drop)
}

// tcProgram is what a security agent might call its program.
const tcProgram = "edr_quarantine"

// attach uses TCX (kernel 6.6), whose link ends with this process at the
// latest, or else clsact, whose filter ends with the device.
func (l *Lab) attach(prog *ebpf.Program, name string, to netlink.Link, at ebpf.AttachType) error {
	var lnk link.Link
	err := l.node.inside(func() (err error) {
		lnk, err = link.AttachTCX(link.TCXOptions{
			Program: prog, Attach: at, Interface: to.Attrs().Index,
		})
		return err
	})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return l.attachClsact(prog, name, to, at)
	}
	if err != nil {
		return fmt.Errorf("attach tcx to %s: %w", to.Attrs().Name, err)
	}
	l.keep(lnk)
	return nil
}

func (l *Lab) attachClsact(prog *ebpf.Program, name string, to netlink.Link, at ebpf.AttachType) error {
	parent := uint32(netlink.HANDLE_MIN_EGRESS)
	if at == ebpf.AttachTCXIngress {
		parent = netlink.HANDLE_MIN_INGRESS
	}
	attrs := netlink.QdiscAttrs{LinkIndex: to.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	clsact := &netlink.Clsact{QdiscAttrs: attrs}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: attrs.LinkIndex, Parent: parent, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          prog.FD(), Name: name, DirectAction: true,
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
