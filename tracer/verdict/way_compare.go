package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// parting is where a direction of a flow and the way that was expected of it part.
type parting struct {
	way way
	// next is the stop that was expected, nil if the way was at its end.
	next *stop
	// stray is the hop seen in its stead, nil if none was: the way ends there.
	stray *tracer.Hop
	// how the stray looks that it should not, "" if the place is wrong.
	how string
	// passed counts the stops up to there.
	passed int
}

// parting compares a direction with the ways of the networks that are known here,
// and takes the one that it follows longest. Nil without a way to compare with, or
// if every hop lies on one and the last was reached.
func (in *Input) parting(dir tracer.Direction) *parting {
	hops := in.flowHops(dir)
	if in.partial() || in.Lost > 0 || len(hops) == 0 {
		return nil // what was not seen may have been there
	}
	var best *parting
	for _, w := range in.ways(dir) {
		p := in.follow(w, dir, hops)
		if p == nil {
			return nil
		}
		if best == nil || best.stray != nil && p.stray == nil || (best.stray == nil) == (p.stray == nil) && p.passed > best.passed {
			best = p
		}
	}
	return best
}

// flowHops are the hops of a direction, without ICMP errors about the flow.
func (in *Input) flowHops(dir tracer.Direction) []*tracer.Hop {
	var out []*tracer.Hop
	for i := range in.Journey.Hops {
		h := &in.Journey.Hops[i]
		if h.Direction == dir && (h.Inner != nil || h.Tuple.Proto == in.Journey.Flow.Proto) {
			out = append(out, h)
		}
	}
	return out
}

// follow goes along a way, hop by hop. Stops that were passed by prove nothing: not
// every device is watched. A hop at an earlier stop is a repetition.
func (in *Input) follow(w way, dir tracer.Direction, hops []*tracer.Hop) *parting {
	at := 0
	for _, h := range hops {
		i := slices.IndexFunc(w.stops, func(s stop) bool { return in.stopsAt(s, h) })
		if i < 0 {
			if in.leads(h) {
				return &parting{way: w, next: w.after(at), stray: h, passed: at}
			}
			continue
		}
		if how := in.differs(w.stops[i], dir, h); how != "" {
			return &parting{way: w, next: &w.stops[i], stray: h, how: how, passed: at}
		}
		at = max(at, i+1)
	}
	if next := w.after(at); next != nil {
		return &parting{way: w, next: next, passed: at}
	}
	return nil
}

// after is the next stop that has to be seen.
func (w way) after(at int) *stop {
	for i := at; i < len(w.stops); i++ {
		if !w.stops[i].may {
			return &w.stops[i]
		}
	}
	return nil
}

func (in *Input) stopsAt(s stop, h *tracer.Hop) bool {
	d := in.device(h.Device)
	inside := ""
	if h.Inner != nil {
		inside = h.Inner.Tunnel
	}
	return s.hook == h.Kind && s.role == d.Role && named(d.Name, s.device) && s.inside == inside
}

// leads: the device decides where a packet goes. Others see copies (ports of a
// bridge that looks for an address) or are unknown to the table.
func (in *Input) leads(h *tracer.Hop) bool {
	r := in.device(h.Device).Role
	return in.onHost(h.Device) && (r == tracer.RoleUplink || r == tracer.RoleTunnel)
}

// differs says what is wrong with how the request looks at its stop, "" if nothing.
func (in *Input) differs(s stop, dir tracer.Direction, h *tracer.Hop) string {
	if dir != tracer.DirRequest || h.Kind != tracer.EventTX {
		return ""
	}
	t, j := h.Tuple, in.Journey
	switch {
	case s.routed && in.byDefault():
		return "by the default route"
	case s.as == asEnclosed:
		node, to := in.targetNode(), in.holder(t.Dst.Addr())
		if node != nil && to != "" && to != node.Name {
			return "to node " + to + ", which is not the target's"
		}
	case s.as == "" || !in.onHost(h.Device):
	case t.Dst == j.Flow.Dst && in.unserved() && in.byKubeProxy():
		return "with the Service's address"
	}
	return ""
}

func (in *Input) byDefault() bool {
	r := in.route("forward")
	return r != nil && isDefault(r)
}

// astray is seenAstray of both directions.
func (in *Input) astray() []tracer.Evidence {
	return append(in.seenAstray(tracer.DirRequest), in.seenAstray(tracer.DirReply)...)
}

// seenAstray is what is known of the way that a direction should have taken and
// did not, as evidence: nothing if it went where a packet may go here.
func (in *Input) seenAstray(dir tracer.Direction) []tracer.Evidence {
	p := in.parting(dir)
	if p == nil || p.stray == nil {
		return nil
	}
	did := map[tracer.EventKind]string{tracer.EventTX: "it left by ", tracer.EventRX: "it came in by "}[p.stray.Kind] + in.nameOf(p.stray.Device)
	var what string
	switch {
	case p.how != "" && p.next.routed:
		what = fmt.Sprintf("expected it to leave by %s; %s %s", p.way.by, did, p.how)
	case p.how != "":
		what = fmt.Sprintf("expected %s; %s %s", p.next.as.words(), did, p.how)
	case p.next == nil:
		what = "expected no further hop here; " + did
	default:
		what = fmt.Sprintf("expected %s next%s; %s%s", in.stopName(p.next), p.reason(), did, wrapping(p.stray))
	}
	return []tracer.Evidence{{Time: p.stray.First, Where: in.where(p.stray.Device), What: what, Event: p.stray.Event}}
}

func (p *parting) reason() string {
	if p.way.by == "" {
		return ""
	}
	return ", by " + p.way.by
}

func wrapping(h *tracer.Hop) string {
	if h.Inner != nil {
		return " in " + tunnelName(h.Inner.Tunnel)
	}
	return " un-encapsulated"
}

// seenEnd is where the way of a direction that was lost goes on.
func (in *Input) seenEnd(dir tracer.Direction) []tracer.Evidence {
	p := in.parting(dir)
	if p == nil || p.stray != nil || p.passed == 0 || in.unserved() {
		return nil
	}
	return []tracer.Evidence{in.seenState(in.NodeName, "the %s's next hop would have been %s%s", dir, in.stopName(p.next), p.reason())}
}

// stopName names the device of a stop, as far as there is one only.
func (in *Input) stopName(s *stop) string {
	var found []string
	for _, d := range in.Inventory.Devices {
		if in.onHost(d.DeviceKey) && d.Role == s.role && named(d.Name, s.device) {
			found = append(found, d.Name)
		}
	}
	name := map[tracer.DeviceRole]string{
		tracer.RolePod: "the pod's device", tracer.RolePodHost: "the node's end of the pod's veth pair",
		tracer.RoleUplink: "an uplink", tracer.RoleTunnel: "the tunnel", tracer.RoleBridge: "the bridge",
	}[s.role]
	if len(found) == 1 && s.role != tracer.RolePodHost {
		name = found[0]
	}
	if s.inside != "" {
		name += " in " + tunnelName(s.inside)
	}
	return name
}

// seenNetwork says which networks and which translation of Services are at work.
func (in *Input) seenNetwork() []tracer.Evidence {
	var parts []string
	if list := networkNames(in.networksHere()); len(list) > 0 {
		parts = append(parts, "pods are connected by "+strings.Join(list, " and "))
	}
	if list := in.proxies(); len(list) > 0 && in.Cluster.Service != nil {
		parts = append(parts, "Services are translated by "+strings.Join(list, " and "))
	}
	if len(parts) == 0 {
		return nil
	}
	return []tracer.Evidence{in.seenState(in.NodeName, "%s", strings.Join(parts, "; "))}
}
