package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// What policy agents call their programs at a pod's veth: Amazon's
// (aws-network-policy-agent, pkg/ebpf/c), Cilium's (bpf/bpf_lxc.c).
const (
	awsEgress   = "handle_egress"
	awsIngress  = "handle_ingress"
	ciliumToPod = "cil_to_container"
)

// Where an address stands in the header of either family.
type addressAt struct{ four, six int32 }

var (
	saddrAt = addressAt{four: 12, six: 8}
	daddrAt = addressAt{four: 16, six: 24}
)

// guard attaches a policy agent's program to the node's side of a pod's veth.
func (l *Lab) guard(x *pod, name string, at ebpf.AttachType, body asm.Instructions) error {
	port, err := l.port(x)
	if err != nil {
		return err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: body})
	if err != nil {
		return fmt.Errorf("load program %s: %w", name, err)
	}
	defer prog.Close()
	return l.attach(prog, name, port, at)
}

// addressIn compares an address with a prefix and goes on at one of two labels.
// A packet of the other family goes where one does that is not in it.
func addressIn(at addressAt, p netip.Prefix, in, out string) asm.Instructions {
	const ether = 14
	offset, typ := at.four, int32(unix.ETH_P_IP)
	if p.Addr().Is6() {
		offset, typ = at.six, unix.ETH_P_IPV6
	}
	code := asm.Instructions{asm.LoadAbs(12, asm.Half), asm.JNE.Imm(asm.R0, typ, out)}
	address := p.Masked().Addr().AsSlice()
	for i := 0; i*32 < p.Bits(); i++ {
		code = append(code, asm.LoadAbs(ether+offset+int32(4*i), asm.Word))
		if bits := p.Bits() - 32*i; bits < 32 {
			code = append(code, asm.And.Imm32(asm.R0, int32(^uint32(0)<<(32-bits))))
		}
		code = append(code, asm.JNE.Imm32(asm.R0, int32(binary.BigEndian.Uint32(address[4*i:])), out))
	}
	return append(code, asm.Ja.Label(in))
}

// dropWhere drops the TCP and UDP packets for which a test goes to "drop".
func dropWhere(test asm.Instructions) asm.Instructions {
	test[0] = test[0].WithSymbol("test")
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1), // the packet loads below want it there
		asm.LoadAbs(12, asm.Half),   // EtherType
		asm.JEq.Imm(asm.R0, unix.ETH_P_IP, "v4"),
		asm.JEq.Imm(asm.R0, unix.ETH_P_IPV6, "v6"),
		asm.Ja.Label("pass"),
		asm.LoadAbs(14+9, asm.Byte).WithSymbol("v4"),
		asm.Ja.Label("proto"),
		asm.LoadAbs(14+6, asm.Byte).WithSymbol("v6"),
		asm.JEq.Imm(asm.R0, unix.IPPROTO_TCP, "test").WithSymbol("proto"),
		asm.JEq.Imm(asm.R0, unix.IPPROTO_UDP, "test"),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("pass"), // TCX_NEXT, TC_ACT_UNSPEC
		asm.Return(),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("drop"), // TCX_DROP, TC_ACT_SHOT
		asm.Return(),
	}
	return append(code, test...)
}
