package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// eatUDP makes a device swallow every UDP packet that it receives, with a tc
// program that answers "stolen". That is the cheapest end a packet can have
// that the kernel does not count as a drop; a closed port, a full socket or a
// rule would each free it with a reason. TCX knows no such answer.
func (s *space) eatUDP(dev string) error {
	link, err := s.nl.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", dev, s.name, err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "bench_eat", Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: stealUDP()})
	if err != nil {
		return fmt.Errorf("load the eating program: %w", err)
	}
	defer prog.Close() // the filter holds it
	qdisc := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	filter := netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL}
	err = errors.Join(
		s.nl.QdiscAdd(&netlink.Clsact{QdiscAttrs: qdisc}),
		s.nl.FilterAdd(&netlink.BpfFilter{FilterAttrs: filter, Fd: prog.FD(), Name: "bench_eat", DirectAction: true}),
	)
	if err != nil {
		return fmt.Errorf("attach the eating program to %s in %s: %w", dev, s.name, err)
	}
	return nil
}

func stealUDP() asm.Instructions {
	const stolen, unspecified = 4, -1 // TC_ACT_*, linux/pkt_cls.h
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1), // the packet loads want it there
		asm.LoadAbs(12, asm.Half),
		asm.JNE.Imm(asm.R0, unix.ETH_P_IP, "pass"),
		asm.LoadAbs(14+9, asm.Byte),
		asm.JNE.Imm(asm.R0, unix.IPPROTO_UDP, "pass"),
		asm.Mov.Imm(asm.R0, stolen),
		asm.Return(),
		asm.Mov.Imm(asm.R0, unspecified).WithSymbol("pass"),
		asm.Return(),
	}
}
