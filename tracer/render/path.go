package render

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// Path turns a journey into the steps that a person reads: the request's hops
// in order, with translations where the tuple changes, the drops where they
// happened, and then the answer.
func Path(j *tracer.Journey, c *tracer.ClusterFacts, inv *tracer.Inventory, node string) []HopLine {
	p := pather{j: j, c: c, inv: inv, node: node}
	p.direction(tracer.DirRequest)
	if !j.ReachedTarget && !j.Partial && len(p.lines) > 0 && j.DstDevice != (tracer.DeviceKey{}) {
		l := p.line("missing", tracer.DirRequest, j.DstDevice)
		l.What = "not reached"
		p.lines = append(p.lines, l)
	}
	p.direction(tracer.DirReply)
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

func (p *pather) direction(dir tracer.Direction) {
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
	var seen []tracer.Tuple // of the flow, the newest last
	errors := 0
	for _, s := range steps {
		switch {
		case s.drop != nil:
			p.drop(s.drop, seen)
		case p.isError(s.hop):
			p.errorHop(s.hop, errors == 0)
			errors++
		default:
			seen = append(seen, p.hop(s.hop, seen))
		}
	}
}

// before is the tuple that t came from by translation, if t is new: a later
// packet at an earlier place is not translated back.
func before(seen []tracer.Tuple, t tracer.Tuple) (tracer.Tuple, bool) {
	if len(seen) == 0 || slices.Contains(seen, t) {
		return tracer.Tuple{}, false
	}
	return seen[len(seen)-1], true
}

// isError: the hop is of ICMP errors about the flow, not of the flow's packets.
func (p *pather) isError(h *tracer.Hop) bool {
	icmp := h.Tuple.Proto == tracer.ProtoICMP || h.Tuple.Proto == tracer.ProtoICMPv6
	return h.Inner == nil && icmp && (h.Tuple.Proto != p.j.Flow.Proto || h.Tuple.Src.Port() == 0 && p.j.Flow.Src.Port() != 0)
}

func (p *pather) hop(h *tracer.Hop, seen []tracer.Tuple) tracer.Tuple {
	l := p.hopLine(h)
	t := h.Tuple
	if h.Inner != nil {
		t = h.Inner.Tuple
		l.What += fmt.Sprintf(" in %s to %s", h.Inner.Tunnel, h.Tuple.Dst.Addr())
	}
	l.Tuple = ends(t)
	if last, ok := before(seen, t); ok {
		l.Before = ends(last)
		l.Detail, l.told = p.change(h.Direction, last, t)
	}
	p.lines = append(p.lines, l)
	return t
}

// errorHop names the ICMP error, and, where it was seen first, who made it: its
// source address says little, because the answer is translated like any other.
func (p *pather) errorHop(h *tracer.Hop, first bool) {
	l := p.hopLine(h)
	l.Tuple, l.told = addresses(h.Tuple), true
	a := p.icmpAnswer(h)
	if a == nil {
		l.Detail = "ICMP error about this flow"
		p.lines = append(p.lines, l)
		return
	}
	l.Detail = "ICMP " + icmpName(a)
	if first {
		l.Detail += ", " + p.maker(a, h)
	}
	p.lines = append(p.lines, l)
}

// icmpAnswer is the message that the hop is about: by its sender, or, where
// translation changed that, the only one.
func (p *pather) icmpAnswer(h *tracer.Hop) *tracer.Answer {
	var found []*tracer.Answer
	for i := range p.j.Answers {
		a := &p.j.Answers[i]
		if a.Kind != tracer.AnswerICMP || a.Proto != h.Tuple.Proto {
			continue
		}
		if a.From == h.Tuple.Src.Addr() {
			return a
		}
		found = append(found, a)
	}
	if len(found) == 1 {
		return found[0]
	}
	return nil
}

// maker: a message whose first sighting is that it is sent was made right there.
func (p *pather) maker(a *tracer.Answer, h *tracer.Hop) string {
	from := h.Tuple.Src.Addr().String()
	if a.Hook != tracer.EventTX || a.Device != h.Device {
		return "from " + from
	}
	by := p.node
	if pod, _ := p.podOf(h.Device); pod != "" {
		by = "pod " + pod
	}
	return "made by " + by + " as " + from
}

func (p *pather) hopLine(h *tracer.Hop) HopLine {
	l := p.line("ok", h.Direction, h.Device)
	if h.Direction == tracer.DirReply {
		l.Mark = "answer"
	}
	l.Packets, l.Event = h.Packets, h.Event
	first := h.First.UTC()
	l.Time = &first
	l.What = map[tracer.EventKind]string{tracer.EventRX: "received", tracer.EventTX: "sent"}[h.Kind]
	return l
}

// change names the translation between two sightings; whole means that it tells
// all of what changed.
func (p *pather) change(dir tracer.Direction, before, now tracer.Tuple) (text string, whole bool) {
	var found []string
	for _, tr := range p.j.Translations {
		switch {
		case dir != tracer.DirRequest:
		case tr.Kind == "dnat" && now.Dst == tr.To && now.Dst != before.Dst:
			found = append(found, fmt.Sprintf("DNAT %s → %s", tr.From, tr.To))
		case tr.Kind == "snat" && now.Src == tr.To && now.Src != before.Src:
			found = append(found, fmt.Sprintf("SNAT %s → %s", tr.From, tr.To))
		}
	}
	switch {
	case len(found) > 0:
		changed := 0
		if now.Src != before.Src {
			changed++
		}
		if now.Dst != before.Dst {
			changed++
		}
		return strings.Join(found, ", "), len(found) == changed
	case dir == tracer.DirReply:
		return "translated back", false
	}
	return "translated", false
}

func (p *pather) drop(d *tracer.DropSeen, seen []tracer.Tuple) {
	l := p.line("drop", d.Direction, d.Device)
	l.What, l.Detail, l.Tuple = "DROPPED", dropPlace(&d.Drop), ends(d.Tuple)
	last, changed := before(seen, d.Tuple)
	switch {
	case d.ARP:
		l.Detail += ", address resolution"
	case d.ICMPError:
		l.Detail += fmt.Sprintf(", ICMP error from %s about this flow", d.Tuple.Src.Addr())
		l.Tuple, l.told = addresses(d.Tuple), true
	case changed:
		l.Before = ends(last)
		change, whole := p.change(d.Direction, last, d.Tuple)
		if whole {
			change = "after " + change
		}
		l.Detail += ", " + change
		l.told = whole
	}
	l.Packets, l.Event = d.Count, d.Event
	first := d.First.UTC()
	l.Time = &first
	p.lines = append(p.lines, l)
}

// dropPlace says why and where: "NETFILTER_DROP in nft_do_chain (forward,
// nftables)".
func dropPlace(d *tracer.Drop) string {
	s := d.Reason
	if s == "" {
		s = "no reason given"
	}
	if d.Location != "" {
		s += " in " + d.Location
	}
	switch {
	case d.Stage != "" && d.Engine != "":
		s += fmt.Sprintf(" (%s, %s)", d.Stage, d.Engine)
	case d.Stage != "":
		s += fmt.Sprintf(" (%s)", d.Stage)
	}
	return s
}

func (p *pather) line(mark string, dir tracer.Direction, k tracer.DeviceKey) HopLine {
	l := HopLine{Mark: mark, Direction: dir, Node: p.node, NetNS: k.NetNS, IfIndex: k.IfIndex}
	d, _ := p.inv.Device(k)
	l.Device = d.Name
	name := ""
	switch {
	case d.Name != "":
		name = " " + d.Name
	case k.IfIndex != 0:
		name = fmt.Sprintf(" device %d", k.IfIndex)
	}
	l.Pod, l.Owner = p.podOf(k)
	switch {
	case k.NetNS != p.inv.HostNetNS && l.Pod != "":
		l.Where = l.Pod + name
	case k.NetNS != p.inv.HostNetNS && k.NetNS != 0:
		l.Where = fmt.Sprintf("netns %d%s", k.NetNS, name)
	case d.Role == tracer.RolePodHost:
		l.Pod, l.Owner = p.podOf(d.Peer)
		l.Where = p.node + name
	default:
		l.Where = p.node + name
	}
	return l
}

// podOf names the pod that owns a namespace, and its workload, as far as this
// flow knows them.
func (p *pather) podOf(k tracer.DeviceKey) (pod, owner string) {
	switch {
	case k.NetNS == 0 || k.NetNS == p.inv.HostNetNS:
		return "", ""
	case k.NetNS == p.j.SrcDevice.NetNS && p.c.SourcePod != nil:
		return nameOf(p.c.SourcePod)
	case k.NetNS == p.j.DstDevice.NetNS && p.c.TargetPod != nil:
		return nameOf(p.c.TargetPod)
	}
	for i := range p.c.Bystanders {
		if b := &p.c.Bystanders[i]; b.NetNS == k.NetNS {
			return b.Namespace + "/" + b.Name, b.Owner
		}
	}
	return "", ""
}

func nameOf(p *tracer.PodFacts) (pod, owner string) { return p.Namespace + "/" + p.Name, p.Owner }

// addresses is for packets without ports.
func addresses(t tracer.Tuple) string { return t.Src.Addr().String() + " > " + t.Dst.Addr().String() }

func ends(t tracer.Tuple) string { return t.Src.String() + " > " + t.Dst.String() }
