package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

func at(d *tracer.DropSeen, reason string, locations ...string) bool {
	if d == nil || reason != "" && d.Drop.Reason != reason {
		return false
	}
	for _, l := range locations {
		if d.Drop.Location == l {
			return true
		}
	}
	return len(locations) == 0
}

// unnamed: a kernel without drop reasons (before 5.17) dropped the packet at
// one of these places. More than one reason leads there: state must tell which.
func unnamed(d *tracer.DropSeen, locations ...string) bool {
	return at(d, "", locations...) && d.Drop.Reason == ""
}

// forwardingOff: IPv4 answers a packet to be forwarded with ip_error and
// IP_INADDRERRORS if forwarding is off; IPv6 drops it in ip6_forward.
func forwardingOff(in *Input) *Finding {
	d := in.cause()
	if d == nil || !in.onHost(d.Device) {
		return nil
	}
	off := in.forwardingKeys(d)
	if !at(d, "IP_INADDRERRORS", "ip_error", "ip6_forward") && (!unnamed(d, "ip_error", "ip6_forward") || len(off) == 0) {
		return nil
	}
	if len(off) == 0 && in.family6() && in.Node.Sysctls["net.ipv6.conf.all.forwarding"] == "1" {
		return nil // IPv6 drops other bad addresses there for the same reason
	}
	f := &Finding{
		Code: "node-ip-forward-off", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary:  fmt.Sprintf("IP forwarding is off on node %s: packets of %s to %s are dropped at %s", in.NodeName, in.source(), in.target(), in.where(d.Device)),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
	for _, k := range off {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "%s = 0", k))
	}
	return f
}

// forwardingKeys are the settings that keep the node from forwarding what came
// in there.
func (in *Input) forwardingKeys(d *tracer.DropSeen) []string {
	dev := in.nameOf(d.Device)
	keys := []string{"net.ipv4.ip_forward", "net.ipv4.conf." + dev + ".forwarding"}
	if in.family6() {
		keys = []string{"net.ipv6.conf.all.forwarding", "net.ipv6.conf." + dev + ".forwarding"}
	}
	var off []string
	for _, k := range keys {
		if v, ok := in.Node.Sysctls[k]; ok && v == "0" {
			off = append(off, k)
		}
	}
	return off
}

// isRouteError: places where the kernel frees a packet because of its route.
func isRouteError(d *tracer.DropSeen) bool {
	return at(d, "", "ip_error", "ip6_pkt_discard", "ip6_pkt_prohibit", "ip6_pkt_drop", "ip6_pkt_discard_out", "ip6_pkt_prohibit_out", "dst_discard", "dst_discard_out", "ip6_forward") &&
		d.Drop.Reason != "IP_INADDRERRORS" && d.Drop.Reason != "PKT_TOO_BIG"
}

// specialRoute: the best route is a blackhole, unreachable or prohibit one.
func specialRoute(in *Input) *Finding {
	d := in.cause()
	if !isRouteError(d) || !in.onHost(d.Device) {
		return nil
	}
	r := in.way(d)
	if r == nil || r.Type != "blackhole" && r.Type != "unreachable" && r.Type != "prohibit" {
		return nil
	}
	f := &Finding{
		Code: "cni-route-blackhole", Confidence: tracer.Confirmed, Object: &tracer.Ref{Kind: "Route", Name: r.Type + " " + r.Prefix},
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState(in.NodeName, "route to %s: %s %s%s", r.Dst, r.Type, r.Prefix, routeOrigin(r))},
	}
	covers := ""
	if n := in.Cluster.InPodCIDR; n != "" && d.Direction == tracer.DirRequest {
		covers = fmt.Sprintf(", the pod range of node %s", n)
	}
	what := fmt.Sprintf("%s route %s%s", r.Type, r.Prefix, routeOrigin(r))
	if r.Prefix == "" { // "ip rule ... prohibit" has no destination of its own
		what = fmt.Sprintf("routing rule (ip rule) of type %s", r.Type)
		f.Object = &tracer.Ref{Kind: "RoutingRule", Name: r.Type}
	}
	f.Summary = fmt.Sprintf("node %s has a %s that covers %s%s", in.NodeName, what, r.Dst, covers)
	if in.outward(d) {
		f.Code = "egr-no-default-route"
	}
	return f
}

// outward: the dropped packet was on its way out of the cluster, as the request
// of a pod or as the answer to a client outside.
func (in *Input) outward(d *tracer.DropSeen) bool {
	if d.Direction == tracer.DirReply {
		return in.Cluster.Known && in.Cluster.Source.Kind == tracer.KindExternal
	}
	return in.external()
}

// way is the route that the dropped packet looked for.
func (in *Input) way(d *tracer.DropSeen) *tracer.RouteFact {
	if d.Direction == tracer.DirReply {
		return in.route("reverse")
	}
	return in.route("forward")
}

func routeOrigin(r *tracer.RouteFact) string {
	switch {
	case r.Protocol != "" && r.Table != "" && r.Table != "main":
		return fmt.Sprintf(" (proto %s, table %s)", r.Protocol, r.Table)
	case r.Protocol != "":
		return fmt.Sprintf(" (proto %s)", r.Protocol)
	}
	return ""
}

// noRoute: the FIB has nothing for the destination.
func noRoute(in *Input) *Finding {
	d := in.cause()
	if !in.noRouteDrop(d) {
		return nil
	}
	f := &Finding{Confidence: tracer.Probable, Object: in.nodeRef(), Evidence: []tracer.Evidence{in.seenDrop(d)}}
	if a := in.icmp(func(a *tracer.Answer) bool { return fatal(a) && in.madeHere(a) }); a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
	}
	if r := in.way(d); r != nil && r.Type == "none" {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "FIB look-up for %s: no route", r.Dst))
	}
	dst := d.Tuple.Dst.Addr()
	if in.outward(d) || !in.Cluster.Known {
		f.Code = "egr-no-default-route"
		f.Summary = fmt.Sprintf("node %s has no route to %s: it has no default route", in.NodeName, dst)
		return f
	}
	f.Code = "cni-route-none"
	f.Summary = fmt.Sprintf("node %s has no route to %s (%s)", in.NodeName, dst, in.to(d))
	if n := in.Cluster.InPodCIDR; n != "" && d.Direction == tracer.DirRequest {
		f.Summary = fmt.Sprintf("node %s has no route to the pod range of node %s, which holds %s", in.NodeName, n, dst)
	}
	return f
}

// uplinkDown: there is no route because the device that had it is down.
func uplinkDown(in *Input) *Finding {
	d := in.cause()
	if !in.noRouteDrop(d) {
		return nil
	}
	var down []string
	for i := range in.Inventory.Devices {
		u := &in.Inventory.Devices[i]
		if u.Role != tracer.RoleUplink || !in.onHost(u.DeviceKey) {
			continue
		}
		if u.Up && u.Carrier {
			return nil // another way out is there: what is missing is the route
		}
		down = append(down, u.Name)
	}
	if len(down) == 0 {
		return nil
	}
	devs := strings.Join(down, ", ")
	return &Finding{
		Code: "node-link-down", Confidence: tracer.Confirmed, Object: in.nodeRef(),
		Summary:  fmt.Sprintf("the uplink of node %s (%s) is down, and its routes are gone: nothing leads to %s", in.NodeName, devs, in.Journey.Translated.Dst.Addr()),
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState(in.NodeName, "%s: down or without carrier", devs)},
	}
}

func (in *Input) noRouteDrop(d *tracer.DropSeen) bool {
	if d == nil || !in.onHost(d.Device) {
		return false
	}
	if d.Drop.Reason == "IP_INNOROUTES" || d.Drop.Reason == "IP_OUTNOROUTES" && !at(d, "", "vxlan_xmit_one") {
		return true
	}
	r := in.way(d)
	return isRouteError(d) && r != nil && r.Type == "none"
}

// reversePath: strict source validation, in either direction.
func reversePath(in *Input) *Finding {
	d := in.cause()
	refused := in.counter(in.Inventory.HostNetNS, "IPReversePathFilter")
	if !at(d, "IP_RPFILTER") && (!unnamed(d, "ip_rcv_finish_core") || !in.onHost(d.Device) || refused == 0) {
		return nil
	}
	dev := in.device(d.Device)
	if !in.onHost(d.Device) {
		return nil // a pod's own setting
	}
	f := &Finding{
		Code: "node-rp-filter", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary: fmt.Sprintf("rp_filter on node %s dropped packets from %s that arrived on %s: the route back to that source leaves by another device",
			in.NodeName, d.Tuple.Src.Addr(), dev.Name),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
	for _, k := range []string{"net.ipv4.conf.all.rp_filter", "net.ipv4.conf." + dev.Name + ".rp_filter"} {
		if v := in.Node.Sysctls[k]; v == "1" {
			f.Confidence = tracer.Confirmed
			f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "%s = 1", k))
		}
	}
	if refused > 0 {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "IPReversePathFilter +%d", refused))
	}
	return f
}

// martian: an impossible source or destination.
func martian(in *Input) *Finding {
	d := in.cause()
	if !at(d, "IP_LOCALNET") && !at(d, "IP_INVALID_SOURCE") && !at(d, "IP_LOCAL_SOURCE") || in.onTheWay(d.Device) {
		return nil
	}
	return &Finding{
		Code: "node-martian", Confidence: tracer.Confirmed, Object: in.nodeRef(),
		Summary:  fmt.Sprintf("%s refused a packet with the impossible source %s (%s)", in.where(d.Device), d.Tuple.Src.Addr(), d.Drop.Reason),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
}

// routingLoop: what left this node came back to it from outside, just as it had
// left or with its time to live used up. That it runs out elsewhere, or at its
// first hop, proves no loop: traceroute sends such packets.
func routingLoop(in *Input) *Finding {
	a := in.icmp(timeExceeded)
	d := in.cause()
	expired := at(d, "IP_INHDR", "ip_forward", "ip6_forward") && in.Journey.LeftNode && in.device(d.Device).Role == tracer.RoleUplink
	back := in.returned()
	if !expired && back == nil && !in.ownPacket(d) || in.delivered() {
		return nil
	}
	f := &Finding{Code: "node-routing-loop", Confidence: tracer.Confirmed, Object: in.nodeRef()}
	f.Summary = fmt.Sprintf("packets to %s travel in a loop until their TTL runs out", in.Journey.Translated.Dst.Addr())
	if back != nil || in.ownPacket(d) {
		f.Summary = fmt.Sprintf("packets to %s travel in a loop: what node %s sends by %s comes back to it", in.Journey.Translated.Dst.Addr(), in.NodeName, in.nameOf(in.Journey.LeftBy))
		f.Evidence = append(f.Evidence, in.seenLeft())
	}
	if back != nil {
		f.Evidence = append(f.Evidence, tracer.Evidence{Time: back.First, Where: in.where(back.Device), What: "received again: " + back.Tuple.String(), Event: back.Event})
	}
	if d != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	}
	if a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
	}
	return f
}

// ownPacket: the kernel refused the packet for its source, an address of the
// node, since the node itself had sent it just so.
func (in *Input) ownPacket(d *tracer.DropSeen) bool {
	j := in.Journey
	return at(d, "IP_LOCAL_SOURCE") && in.onHost(d.Device) && j.LeftNode && d.Tuple == j.LeftAs
}

// returned finds the sighting of a request that came in by an uplink after it
// had left by one, with the same addresses.
func (in *Input) returned() *tracer.Hop {
	j := in.Journey
	var left uint64
	for i := range j.Hops {
		h := &j.Hops[i]
		if h.Direction != tracer.DirRequest || h.Inner != nil || !j.LeftNode || h.Tuple != j.LeftAs {
			continue
		}
		switch {
		case h.Kind == tracer.EventTX && h.Device == j.LeftBy:
			left = h.FirstMonoNS
		case h.Kind == tracer.EventRX && left != 0 && h.FirstMonoNS > left && in.device(h.Device).Role == tracer.RoleUplink:
			return h
		}
	}
	return nil
}

// mtu: too big for the next link and not to be fragmented. If the sender was
// told, its MTU is wrong but the path works for senders that listen; if it was
// not, large packets vanish.
func mtu(in *Input) *Finding {
	d := in.cause()
	// Without a reason the kernel's message tells: ip_forward frees for others too.
	said := unnamed(d, "ip_forward", "ip6_forward") && in.icmp(tooBig) != nil
	if d == nil || d.Drop.Reason != "PKT_TOO_BIG" && !said {
		return nil
	}
	f := &Finding{Confidence: tracer.Confirmed, Evidence: []tracer.Evidence{in.seenDrop(d)}}
	if p := in.senderPod(d); p != nil {
		f.Object = podRef(p)
	}
	limit := in.nextMTU(d)
	f.Evidence = append(f.Evidence, in.seenMTUs(d)...)
	told := in.icmp(func(a *tracer.Answer) bool { return tooBig(a) && a.ReachedClient })
	lost := slices.ContainsFunc(in.Journey.Drops, func(e tracer.DropSeen) bool { return e.ICMPError })
	if d.Direction == tracer.DirReply && !lost { // the messages to the other side are not followed
		f.Code, f.Confidence = "cni-mtu-pod-too-big", tracer.Probable
		f.Summary = fmt.Sprintf("packets of %d bytes from %s do not fit the next link%s and must not be fragmented, again and again: the pod's MTU is too big",
			d.Len, d.Tuple.Src.Addr(), ofMTU(limit))
		return f
	}
	if told != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(told))
		limit = told.ICMPMTU
		f.Code = "cni-mtu-pod-too-big"
		f.Summary = fmt.Sprintf("packets of %d bytes from %s do not fit the next link%s and must not be fragmented; the sender was told but keeps its size: the pod's MTU is too big",
			d.Len, d.Tuple.Src.Addr(), ofMTU(limit))
		return f
	}
	f.Code = "cni-mtu-blackhole"
	f.Summary = fmt.Sprintf("packets of %d bytes from %s do not fit the next link%s, and the ICMP message that says so never reached the sender",
		d.Len, d.Tuple.Src.Addr(), ofMTU(limit))
	if known := in.rememberedMTU(d); known > 0 && uint32(known) <= limit {
		f.Confidence = tracer.Probable
		f.Evidence = append(f.Evidence, in.seenState(in.senderName(d), "its kernel sends at most %d bytes that way", known))
		f.Blind = append(f.Blind, tracer.Blind{What: "from where the sender knows the smaller MTU", Effect: "it may have been told after all, and keep its size"})
	}
	for i := range in.Journey.Drops {
		if e := &in.Journey.Drops[i]; e.ICMPError {
			f.Evidence = append(f.Evidence, in.seenDrop(e))
			f.Rule = in.ruleFor(e)
		}
	}
	return f
}

func ofMTU(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (MTU %d)", n)
}

func (in *Input) senderPod(d *tracer.DropSeen) *tracer.PodFacts {
	if d.Direction == tracer.DirReply {
		return in.Cluster.TargetPod
	}
	return in.Cluster.SourcePod
}

func (in *Input) senderName(d *tracer.DropSeen) string {
	if d.Direction == tracer.DirReply {
		return in.target()
	}
	return in.source()
}

// rememberedMTU is what the sender's own kernel knows of the path to the other end:
// what a route says, or an ICMP message that came; 0 if nothing.
func (in *Input) rememberedMTU(d *tracer.DropSeen) int {
	question := "src-pod"
	if d.Direction == tracer.DirReply {
		question = "dst-pod"
	}
	if r := in.route(question); r != nil {
		return r.PathMTU
	}
	return 0
}

// seenMTUs are those of the sender's interface and of the device that the packet
// would have left by.
func (in *Input) seenMTUs(d *tracer.DropSeen) []tracer.Evidence {
	sender := in.Node.SrcDevice
	if d.Direction == tracer.DirReply {
		sender = in.Node.DstDevice
	}
	var ev []tracer.Evidence
	seen := func(k tracer.DeviceKey) {
		if m := in.mtuOf(k); m != nil {
			ev = append(ev, in.seenState(in.where(k), "MTU %d", m.MTU))
		}
	}
	if sender != nil {
		seen(sender.DeviceKey)
	}
	if r := in.way(d); r != nil && r.OIF != 0 {
		seen(tracer.DeviceKey{NetNS: r.NetNS, IfIndex: r.OIF})
	}
	return ev
}

// nextMTU is the MTU of the device the packet would have left by, or of the route if
// only that is too small; 0 if unknown.
func (in *Input) nextMTU(d *tracer.DropSeen) uint32 {
	r := in.way(d)
	switch {
	case r == nil:
		return 0
	case r.PathMTU > 0 && r.PathMTU < r.MTU && int(d.Len) <= r.MTU:
		return uint32(r.PathMTU)
	}
	return uint32(r.MTU)
}
