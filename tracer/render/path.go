package render

import (
	"fmt"
	"sort"

	"github.com/podpath/podpath/tracer"
)

// Path turns a journey into the steps that a person reads: the request's hops
// in order, with translations where the tuple changes, the drops where they
// happened, and then the answer.
func Path(j *tracer.Journey, c *tracer.ClusterFacts, inv *tracer.Inventory, node string) []HopLine {
	p := pather{j: j, c: c, inv: inv, node: node}
	p.direction(tracer.DirRequest, "")
	if !j.ReachedTarget && len(p.lines) > 0 && j.DstDevice != (tracer.DeviceKey{}) {
		l := p.line("missing", tracer.DirRequest, j.DstDevice)
		l.What = "not reached"
		p.lines = append(p.lines, l)
	}
	p.direction(tracer.DirReply, "")
	return p.lines
}

type pather struct {
	j     *tracer.Journey
	c     *tracer.ClusterFacts
	inv   *tracer.Inventory
	node  string
	lines []HopLine
}

type step struct {
	mono uint64
	hop  *tracer.Hop
	drop *tracer.DropSeen
}

func (p *pather) direction(dir tracer.Direction, last string) {
	var steps []step
	for i := range p.j.Hops {
		if h := &p.j.Hops[i]; h.Direction == dir {
			steps = append(steps, step{h.FirstMonoNS, h, nil})
		}
	}
	for i := range p.j.Drops {
		if d := &p.j.Drops[i]; d.Direction == dir {
			steps = append(steps, step{d.MonoNS, nil, d})
		}
	}
	sort.SliceStable(steps, func(a, b int) bool { return steps[a].mono < steps[b].mono })
	for _, s := range steps {
		if s.hop != nil {
			last = p.hop(s.hop, last)
		} else {
			p.drop(s.drop, last)
		}
	}
}

func (p *pather) hop(h *tracer.Hop, last string) string {
	l := p.line("ok", h.Direction, h.Device)
	if h.Direction == tracer.DirReply {
		l.Mark = "answer"
	}
	t := h.Tuple
	if h.Inner != nil {
		t = h.Inner.Tuple
	}
	l.Tuple, l.Packets, l.Event = ends(t), h.Packets, h.Event
	first := h.First
	l.Time = &first
	l.What = map[tracer.EventKind]string{tracer.EventRX: "received", tracer.EventTX: "sent"}[h.Kind]
	if h.Inner != nil {
		l.What += fmt.Sprintf(" in %s to %s", h.Inner.Tunnel, h.Tuple.Dst.Addr())
	}
	if last != "" && last != l.Tuple {
		l.Before = last
		l.What += p.change(h.Direction, t)
	}
	p.lines = append(p.lines, l)
	return l.Tuple
}

// change names the translation between two hops.
func (p *pather) change(dir tracer.Direction, t tracer.Tuple) string {
	s := ""
	for _, tr := range p.j.Translations {
		switch {
		case dir == tracer.DirRequest && tr.Kind == "dnat" && t.Dst == tr.To:
			s += fmt.Sprintf(", DNAT %s → %s", tr.From, tr.To)
		case dir == tracer.DirRequest && tr.Kind == "snat" && t.Src == tr.To:
			s += fmt.Sprintf(", SNAT %s → %s", tr.From, tr.To)
		}
	}
	if s == "" && dir == tracer.DirReply {
		s = ", translated back"
	}
	return s
}

func (p *pather) drop(d *tracer.DropSeen, last string) {
	l := p.line("drop", d.Direction, d.Device)
	reason := d.Drop.Reason
	if reason == "" {
		reason = "dropped"
	}
	l.What = fmt.Sprintf("DROPPED %s@%s", reason, d.Drop.Location)
	if d.Drop.Stage != "" {
		l.What += fmt.Sprintf(" (%s", d.Drop.Stage)
		if d.Drop.Engine != "" {
			l.What += ", " + d.Drop.Engine
		}
		l.What += ")"
	}
	switch {
	case d.ARP:
		l.What += ", address resolution"
	case d.ICMPError:
		l.What += ", ICMP error about this flow"
	}
	l.Tuple, l.Packets, l.Event = ends(d.Tuple), d.Count, d.Event
	if !d.ARP && !d.ICMPError && last != "" && last != l.Tuple {
		l.Before = last
		l.What += p.change(d.Direction, d.Tuple)
	}
	first := d.First
	l.Time = &first
	p.lines = append(p.lines, l)
}

func (p *pather) line(mark string, dir tracer.Direction, k tracer.DeviceKey) HopLine {
	l := HopLine{Mark: mark, Direction: dir, Node: p.node, NetNS: k.NetNS, IfIndex: k.IfIndex}
	d, _ := p.inv.Device(k)
	l.Device = d.Name
	name := d.Name
	if name == "" {
		name = "(no device)"
	}
	l.Pod = p.podOf(k)
	switch {
	case k.NetNS != p.inv.HostNetNS && l.Pod != "":
		l.Where = l.Pod + " " + name
	case k.NetNS != p.inv.HostNetNS && k.NetNS != 0:
		l.Where = "pod? " + name
	case d.Role == tracer.RolePodHost && p.podOf(d.Peer) != "":
		l.Pod = p.podOf(d.Peer)
		l.Where = p.node + " " + name
	default:
		l.Pod = ""
		l.Where = p.node + " " + name
	}
	return l
}

// podOf names the pod that owns a namespace, as far as this flow knows it.
func (p *pather) podOf(k tracer.DeviceKey) string {
	switch {
	case k.NetNS == 0 || k.NetNS == p.inv.HostNetNS:
		return ""
	case k.NetNS == p.j.SrcDevice.NetNS && p.c.SourcePod != nil:
		return p.c.SourcePod.Namespace + "/" + p.c.SourcePod.Name
	case k.NetNS == p.j.DstDevice.NetNS && p.c.TargetPod != nil:
		return p.c.TargetPod.Namespace + "/" + p.c.TargetPod.Name
	}
	return ""
}

func ends(t tracer.Tuple) string { return t.Src.String() + " > " + t.Dst.String() }
