package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// hookFaults drop packets at places where no firewall rule says "drop".
func hookFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange func(context.Context, *Lab) (*scene, error)) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	return []Fault{
		f("policy", "pol-nfqueue-down", "nfqueue-down", "nobody reads the queue", "Packets are queued to a policy agent in user space that does not run.", silence, arrangeQueue),
		f("node", "pol-xdp-drop", "xdp-drop", "an XDP program drops", "An XDP program on the node's side of the client's veth drops what the pod sends.", silence, arrangeXDP),
	}
}

// queueNumber is the one that kube-network-policies uses by default.
const queueNumber = 100

func arrangeQueue(_ context.Context, l *Lab) (*scene, error) {
	s := l.blamesNode(l.toService()).shows(Timeout)
	for _, fam := range families() {
		err := l.addTable(fam, "kube-network-policies", func(t *table) {
			fwd := t.filter("FORWARD", nftables.ChainHookForward, -10)
			t.rule(fwd, "", ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
			t.rule(fwd, "", neighbourDiscovery(), accept())
			t.rule(fwd, "", counter(), queue(queueNumber))
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// queue is iptables' "-j NFQUEUE --queue-num N", as iptables-nft writes it:
// struct xt_NFQ_info, padded to a multiple of 8 bytes.
func queue(n uint16) exprs {
	info := xt.Unknown(append(binary.NativeEndian.AppendUint16(nil, n), make([]byte, 6)...))
	return exprs{&expr.Target{Name: "NFQUEUE", Info: &info}}
}

const xdpProgram = "ddos_guard"

func arrangeXDP(_ context.Context, l *Lab) (*scene, error) {
	port, err := l.port(l.client())
	if err != nil {
		return nil, err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: xdpProgram, Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: xdpDropTransport()})
	if err != nil {
		return nil, fmt.Errorf("load program: %w", err)
	}
	defer prog.Close()
	var lnk link.Link
	err = l.node.inside(func() (err error) {
		lnk, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: port.Attrs().Index, Flags: link.XDPGenericMode})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attach xdp to %s: %w", port.Attrs().Name, err)
	}
	l.keep(lnk)
	return l.toService().blames("BPFProgram", "", xdpProgram).shows(Timeout), nil
}

// keep holds a link until the fault is undone, or Close.
func (l *Lab) keep(lnk link.Link) {
	l.links = append(l.links, lnk)
	l.undo = append(l.undo, func() error {
		l.links = nil
		return lnk.Close()
	})
}

// xdpDropTransport drops TCP and UDP, and lets ARP and neighbour discovery pass.
func xdpDropTransport() asm.Instructions {
	const ether, data, end = 14, 0, 4
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, data, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, end, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, ether+10),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R5, asm.R2, 12, asm.Half),
		asm.HostTo(asm.BE, asm.R5, asm.Half),
		asm.JEq.Imm(asm.R5, unix.ETH_P_IP, "v4"),
		asm.JEq.Imm(asm.R5, unix.ETH_P_IPV6, "v6"),
		asm.Ja.Label("pass"),
		asm.LoadMem(asm.R5, asm.R2, ether+9, asm.Byte).WithSymbol("v4"),
		asm.Ja.Label("proto"),
		asm.LoadMem(asm.R5, asm.R2, ether+6, asm.Byte).WithSymbol("v6"),
		asm.JEq.Imm(asm.R5, unix.IPPROTO_TCP, "drop").WithSymbol("proto"),
		asm.JEq.Imm(asm.R5, unix.IPPROTO_UDP, "drop"),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"), // XDP_PASS
		asm.Return(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("drop"), // XDP_DROP
		asm.Return(),
	}
}
