package main

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
)

// Verdicts of programs at the traffic control hooks (include/uapi/linux/bpf.h):
// TC_ACT_UNSPEC, which is TCX_NEXT too, and TC_ACT_SHOT, which is TCX_DROP.
const (
	goOn = -1
	shot = 2
)

// gate loads a program that answers shut for IPv4 TCP to one port, and lets
// everything else go on.
func gate(t *testing.T, name string, port uint16, shut int32) *ebpf.Program {
	t.Helper()
	const ether, ip = 14, 20
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(12, asm.Half),
		asm.JNE.Imm(asm.R0, unix.ETH_P_IP, "on"),
		asm.LoadAbs(ether+9, asm.Byte),
		asm.JNE.Imm(asm.R0, unix.IPPROTO_TCP, "on"),
		asm.LoadAbs(ether+ip+2, asm.Half),
		asm.JNE.Imm(asm.R0, int32(port), "on"),
		asm.Mov.Imm(asm.R0, shut),
		asm.Return(),
		asm.Mov.Imm(asm.R0, goOn).WithSymbol("on"),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = prog.Close() })
	return prog
}

// portOf is the node's device that leads to a pod.
func (s *scene) portOf(p *place) int {
	s.t.Helper()
	eth0, err := p.nl.LinkByName("eth0")
	p.must(err)
	return eth0.Attrs().ParentIndex
}

// tcx attaches a program where the packets of a pod come into the node.
func (s *scene) tcx(dev int, prog *ebpf.Program, at link.Anchor) link.Link {
	s.t.Helper()
	var l link.Link
	s.node.must(s.node.do(func() (err error) {
		l, err = link.AttachTCX(link.TCXOptions{Interface: dev, Program: prog, Attach: ebpf.AttachTCXIngress, Anchor: at})
		return err
	}))
	return l
}

// raw attaches a program without a link, as older tools do, and takes it away
// with detach.
func (s *scene) raw(dev int, prog *ebpf.Program, at link.Anchor) (detach func()) {
	s.t.Helper()
	s.node.must(s.node.do(func() error {
		return link.RawAttachProgram(link.RawAttachProgramOptions{Target: dev, Program: prog, Attach: ebpf.AttachTCXIngress, Anchor: at})
	}))
	return func() {
		s.node.must(s.node.do(func() error {
			return link.RawDetachProgram(link.RawDetachProgramOptions{Target: dev, Program: prog, Attach: ebpf.AttachTCXIngress})
		}))
	}
}

// clsact attaches a filter in the classic way.
func (s *scene) clsact(dev int, prog *ebpf.Program) (remove func()) {
	s.t.Helper()
	qdisc := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: dev, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
	s.node.must(s.node.nl.QdiscAdd(qdisc))
	s.node.must(s.node.nl.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: dev, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:          prog.FD(), Name: "other", DirectAction: true,
	}))
	return func() { s.node.must(s.node.nl.QdiscDel(qdisc)) }
}

// TestLiveForeignDrop: another tool's program drops at a device that podpath is
// attached to, whichever of the two came first and whichever runs first. It is
// named, and without it the traffic is as it was.
func TestLiveForeignDrop(t *testing.T) {
	t.Parallel()
	s := newScene(t, 63)
	dev := s.portOf(s.from)
	const name = "their_gate"
	before := map[string]func(shut *ebpf.Program) (open func()){
		"TCX, attached before": func(shut *ebpf.Program) func() { return closing(t, s.tcx(dev, shut, nil)) },
		"clsact, before":       func(shut *ebpf.Program) func() { return s.clsact(dev, shut) },
	}
	after := map[string]func(shut, open *ebpf.Program) (end func()){
		"TCX, at the head after us": func(shut, _ *ebpf.Program) func() { return closing(t, s.tcx(dev, shut, link.Head())) },
		"TCX, at the tail after us": func(shut, _ *ebpf.Program) func() { return closing(t, s.tcx(dev, shut, link.Tail())) },
		"clsact, after":             func(shut, _ *ebpf.Program) func() { return s.clsact(dev, shut) },
		"a link that is updated": func(shut, open *ebpf.Program) func() {
			l := s.tcx(dev, open, link.Head())
			s.must(l.Update(shut))
			return closing(t, l)
		},
		"a program that is replaced": func(shut, open *ebpf.Program) func() {
			s.raw(dev, open, link.Head())
			return s.raw(dev, shut, link.ReplaceProgram(open))
		},
	}
	port := uint16(7100)
	for how, attach := range before {
		t.Run(how, func(t *testing.T) {
			port++
			end := attach(gate(t, name, port, shot))
			tr := s.trace(ref(s.client), ref(s.server))
			s.blamed(t, tr, port, name)
			end()
			s.blamedNoMore(t, tr, port+1000)
			tr.stop()
		})
	}
	tr := s.trace(ref(s.client), ref(s.server))
	for how, attach := range after {
		t.Run(how, func(t *testing.T) {
			port++
			end := attach(gate(t, name, port, shot), gate(t, "their_open_gate", port, goOn))
			s.blamed(t, tr, port, name)
			end()
			s.blamedNoMore(t, tr, port+1000)
		})
	}
	tr.stop()
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func closing(t *testing.T, l link.Link) func() {
	return func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// blamed: the drop is seen, at the device, and the program named for it.
func (s *scene) blamed(t *testing.T, tr *liveTrace, port uint16, program string) {
	t.Helper()
	to := net.JoinHostPort(s.ip(s.server).String(), strconv.Itoa(int(port)))
	if err := s.from.ask("tcp", to, 1500*time.Millisecond); err == nil {
		t.Error("the packets get through")
	}
	v := tr.verdict("a verdict about the drop", func(v *render.Verdict) bool { return v.Flow.Destination.Port == port })
	if v.Code != "pol-foreign-bpf" || v.Object == nil || v.Object.Name != program || v.Confidence != tracer.Confirmed {
		t.Errorf("got %s %s about %+v: %s", v.Code, v.Confidence, v.Object, v.Summary)
	}
	for _, h := range v.Hops {
		if h.Mark == "drop" && !strings.HasPrefix(h.Device, "veth") {
			t.Errorf("dropped at %s", h.Where)
		}
	}
}

// blamedNoMore: the traffic is what it is without the program.
func (s *scene) blamedNoMore(t *testing.T, tr *liveTrace, port uint16) {
	t.Helper()
	if err := s.from.ask("tcp", s.serverAddr(), time.Second); err != nil {
		t.Errorf("healthy traffic: %v", err)
	}
	_ = s.from.ask("tcp", net.JoinHostPort(s.ip(s.server).String(), strconv.Itoa(int(port))), time.Second)
	v := tr.verdict("a verdict without the program", func(v *render.Verdict) bool { return v.Flow.Destination.Port == port })
	if v.Code != "app-no-listener" {
		t.Errorf("got %s: %s", v.Code, v.Summary)
	}
}
