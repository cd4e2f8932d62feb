package node

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/tracer"
)

// programOwners recognises who a BPF program belongs to by its naming. Names
// are cut to 15 bytes by the kernel (BPF_OBJ_NAME_LEN), so prefixes are short.
var programOwners = []struct{ prefix, owner string }{
	{"cil_", "cilium"}, {"tail_", "cilium"}, {"handle_policy", "cilium"},
	{"cali_", "calico"}, {"calico_", "calico"},
	{"handle_ingress", "aws-network-policy-agent"}, {"handle_egress", "aws-network-policy-agent"},
	{"antrea_", "antrea"}, {"kubearmor", "kubearmor"},
	{"tetragon", "tetragon"}, {"generic_", "tetragon"},
	{"inspektor", "inspektor-gadget"}, {"ig_", "inspektor-gadget"},
	{"netobserv", "netobserv"}, {"beyla", "beyla"}, {"retina", "retina"},
}

func programOwner(name string) string {
	for _, o := range programOwners {
		if strings.HasPrefix(name, o.prefix) {
			return o.owner
		}
	}
	return ""
}

// attachPoint is one BPF hook of a device.
type attachPoint struct {
	typ  ebpf.AttachType
	name string
}

// programs lists what is attached to one device, in the calling thread's
// namespace, without podpath's own. blind names what could not be asked.
func (n *Node) programs(d tracer.Device, l netlink.Link, sides []tcSide) (out []tracer.BPFProgram, blind []error) {
	add := func(attach string, id uint32, name string) {
		if n.own(id) {
			return
		}
		p := tracer.BPFProgram{Device: d.DeviceKey, Dev: d.Name, Attach: attach, ID: id, Name: name}
		describe(&p)
		out = append(out, p)
	}
	points := []attachPoint{{ebpf.AttachTCXIngress, "tcx ingress"}, {ebpf.AttachTCXEgress, "tcx egress"}}
	if d.Kind == "netkit" {
		points = append(points, attachPoint{ebpf.AttachNetkitPrimary, "netkit primary"}, attachPoint{ebpf.AttachNetkitPeer, "netkit peer"})
	}
	for _, pt := range points {
		res, err := link.QueryPrograms(link.QueryOptions{Target: int(d.IfIndex), Attach: pt.typ})
		if err != nil {
			// Kernels before 6.6 have no TCX, hence nothing attached by it.
			if !errors.Is(err, ebpf.ErrNotSupported) && !isInvalid(err) {
				blind = append(blind, fmt.Errorf("list %s programs of %s: %w", pt.name, d.Name, err))
			}
			continue
		}
		for _, p := range res.Programs {
			add(pt.name, uint32(p.ID), "")
		}
	}
	for _, s := range sides {
		name := "tc " + s.name
		filters, _, err := dumped(func() ([]netlink.Filter, error) { return netlink.FilterList(l, s.parent) })
		if err != nil {
			if !isInvalid(err) { // no clsact on this device
				blind = append(blind, fmt.Errorf("list %s filters of %s: %w", name, d.Name, err))
			}
			continue
		}
		for _, f := range filters {
			if b, ok := f.(*netlink.BpfFilter); ok && b.Id != 0 {
				add(name, uint32(b.Id), b.Name)
			}
		}
	}
	if x := l.Attrs().Xdp; x != nil && x.Attached && x.ProgId != 0 {
		add("xdp", x.ProgId, "")
	}
	return out, blind
}

// describe adds name and tag. Both are unknown if the program went away
// meanwhile or may not be opened.
func describe(p *tracer.BPFProgram) {
	if prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(p.ID)); err == nil {
		defer prog.Close()
		if info, err := prog.Info(); err == nil {
			p.Tag = info.Tag
			if info.Name != "" {
				p.Name = info.Name
			}
		}
	}
	p.Owner = programOwner(p.Name)
}
