package verdict

import (
	"net/netip"

	"github.com/podpath/podpath/tracer"
)

// reportedDrop is the drop that this node's own ICMP error reports, where none of the
// flow was recorded: the kernel can skip the program that looks at drops
// (docs/limits.md), and what waits for a neighbour is dropped once. A router says
// "host unreachable" when a neighbour does not answer (RFC 1812 §5.2.7.1, RFC 4443
// §3.1), but also for a rule or a route; that it was the neighbour, its entry says.
func (in *Input) reportedDrop() *tracer.DropSeen {
	if in.Outcome != tracer.OutcomeICMPError || in.drop(func(*tracer.DropSeen) bool { return true }) != nil {
		return nil
	}
	a, r := in.unresolved(), in.route("forward")
	if a == nil || r == nil || r.Type != "unicast" {
		return nil
	}
	dev := tracer.DeviceKey{NetNS: r.NetNS, IfIndex: r.OIF}
	if !in.onHost(dev) || !in.awaits(r, dev) {
		return nil
	}
	j := in.Journey
	return &tracer.DropSeen{
		DropSite: tracer.DropSite{
			Device: dev, Tuple: j.Translated,
			Drop: tracer.Drop{Reason: "NEIGH_FAILED", Stage: tracer.StageNeighbour},
		},
		Direction: tracer.DirRequest, Count: a.Count, First: a.Time, Last: a.Time, MonoNS: a.MonoNS, Event: a.Event, Reported: true,
	}
}

// awaits: the neighbour that the route leads to, or one of them, does not answer.
func (in *Input) awaits(r *tracer.RouteFact, dev tracer.DeviceKey) bool {
	if len(r.Hops) > 1 {
		return len(in.silentHops(r, in.device(dev))) > 0
	}
	hop := r.Via
	if !hop.IsValid() {
		hop = in.Journey.Translated.Dst.Addr()
	}
	return in.neighbourSilent(r.Dev, hop)
}

// neighbourSilent: the node asked for a neighbour's address and got no answer.
func (in *Input) neighbourSilent(dev string, hop netip.Addr) bool {
	for _, n := range in.Node.Neighbours {
		if n.NetNS == in.Inventory.HostNetNS && n.Dev == dev && n.Addr == hop && unresolved(n.State) {
			return true
		}
	}
	return false
}
