package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// overlay: the tunnel device or its receiver could not pass the packet on.
func overlay(in *Input) *Finding {
	d := in.cause()
	if d == nil || in.onTheWay(d.Device) {
		return nil
	}
	f := &Finding{Confidence: tracer.Confirmed, Object: in.nodeRef(), Evidence: []tracer.Evidence{in.seenDrop(d)}}
	peer := in.Cluster.InPodCIDR
	if peer == "" {
		peer = in.Journey.Translated.Dst.Addr().String()
	}
	tunnel := in.device(d.Device).Role == tracer.RoleTunnel
	switch {
	case at(d, "", "vxlan_xmit") && (d.Drop.Reason == "NO_TX_TARGET" || noReason(d) && tunnel):
		return in.noForwarding(f, d, peer)
	case at(d, "VXLAN_VNI_NOT_FOUND"):
		f.Code = "cni-overlay-vni-mismatch"
		f.Summary = fmt.Sprintf("node %s received tunnel packets with a VNI that no device here has", in.NodeName)
		f.Evidence = append(f.Evidence, in.seenTunnels()...)
	case at(d, "IP_OUTNOROUTES", "vxlan_xmit_one"):
		f.Code = "node-link-down"
		f.Summary = fmt.Sprintf("the tunnel on node %s has no route to the other node: the uplink is down or unrouted", in.NodeName)
	case at(d, "OTHERHOST") && tunnel:
		f.Code = "cni-overlay-stale-vtep-mac"
		f.Summary = fmt.Sprintf("tunnel packets arrive on %s with another machine's MAC address: the sender's entry for this node is stale", in.where(d.Device))
	case neighbourFailed(d) && tunnel:
		f.Code = "cni-overlay-neigh-missing"
		f.Summary = fmt.Sprintf("node %s has no neighbour entry on %s for the tunnel end of %s", in.NodeName, in.nameOf(d.Device), peer)
	default:
		return nil
	}
	return f
}

// noForwarding: the VXLAN device found nowhere to send the packet. Before 6.12 the
// kernel gives no reason there; a device that is not driven by metadata drops there
// for the lack of an entry only (Linux 5.10).
func (in *Input) noForwarding(f *Finding, d *tracer.DropSeen, peer string) *Finding {
	f.Code = "cni-overlay-fdb-missing"
	f.Summary = fmt.Sprintf("%s has no forwarding entry for the tunnel end of %s", in.where(d.Device), peer)
	named := d.Drop.Reason == "NO_TX_TARGET"
	if t := in.tunnel(d.Device); !named && t != nil && t.External {
		return nil
	}
	e, mac, known := in.remoteEntry(in.device(d.Device))
	switch {
	case !known && !named:
		f.Confidence = tracer.Probable
	case !known:
	case e == nil:
		f.Evidence = append(f.Evidence, in.seenState(in.where(d.Device), "no forwarding entry for %s, the next hop's address", mac))
	case !named:
		return nil
	default:
		f.Confidence = tracer.Probable
		f.Evidence = append(f.Evidence, in.seenState(in.where(d.Device), "forwarding entry now: %s to %s", e.MAC, e.Remote))
		f.Blind = append(f.Blind, tracer.Blind{What: "a forwarding entry is there now", Effect: "it came after the packets were dropped, or another one is missing"})
	}
	return f
}

func noReason(d *tracer.DropSeen) bool {
	return d.Drop.Reason == "" || d.Drop.Reason == "NOT_SPECIFIED"
}

// neighbourFailed: freed because address resolution gave up. IPv6 gives no
// reason (seen on 6.18), and before 5.17 there is none at all: the place tells.
func neighbourFailed(d *tracer.DropSeen) bool {
	switch d.Drop.Location {
	case "neigh_invalidate", "arp_error_report", "ndisc_error_report":
		return true
	}
	return d.Drop.Reason == "NEIGH_FAILED"
}

// neighbour: nobody answered for the next hop, asked three times.
func neighbour(in *Input) *Finding {
	d := in.causeIf(neighbourFailed)
	if d == nil || in.onTheWay(d.Device) {
		return nil
	}
	dev := in.device(d.Device)
	f := &Finding{Confidence: tracer.Probable, Object: in.nodeRef(), Evidence: []tracer.Evidence{in.seenDrop(d)}}
	switch inPod := in.inSource(d.Device) || in.inTarget(d.Device); {
	case dev.Role == tracer.RoleTunnel:
		return nil // overlay has it
	case dev.Role == tracer.RoleUplink:
		return in.gatewayDead(f, d, dev)
	case inPod && in.asksGateway(d):
		return in.gatewayARP(d)
	default:
		return in.silentPod(f, d)
	}
}

// asksGateway: the pod's next hop is a gateway, and not the other end itself.
func (in *Input) asksGateway(d *tracer.DropSeen) bool {
	question := "src-pod"
	if in.inTarget(d.Device) && !in.inSource(d.Device) {
		question = "dst-pod"
	}
	r := in.route(question)
	return r == nil || r.Via.IsValid()
}

// silentPod: the pod that the dropped packet was for does not answer on its own
// link. An address that no running pod has is not judged: undecided says so.
func (in *Input) silentPod(f *Finding, d *tracer.DropSeen) *Finding {
	pod, who, here := in.Cluster.TargetPod, in.target(), in.targetHere()
	if d.Direction == tracer.DirReply {
		pod, who, here = in.Cluster.SourcePod, in.source(), in.Journey.SrcDevice != (tracer.DeviceKey{})
	} else if d.Tuple.Dst.Addr() != in.Journey.Translated.Dst.Addr() {
		return nil // it was for where an earlier translation led
	}
	if pod == nil || pod.Terminating || pod.Phase != "" && pod.Phase != "Running" {
		return nil
	}
	f.Object = podRef(pod)
	switch {
	case here && in.ledAstray(f, d, who):
	case here:
		f.Code = "cni-stale-neigh"
		f.Summary = fmt.Sprintf("pod %s does not answer address resolution on %s", who, in.where(d.Device))
	case pod.Node == in.NodeName && in.onHost(d.Device):
		f.Code = "cni-host-route-missing"
		f.Summary = fmt.Sprintf("pod %s should be on node %s, but no device here has %s", who, in.NodeName, d.Tuple.Dst.Addr())
	default:
		return nil
	}
	return f
}

// gatewayDead: the next hop on an uplink does not answer: another node, a
// gateway, or the destination itself.
func (in *Input) gatewayDead(f *Finding, d *tracer.DropSeen, dev tracer.Device) *Finding {
	hop, gateway := d.Tuple.Dst.Addr(), false
	r := in.way(d)
	if r != nil && r.Via.IsValid() {
		hop, gateway = r.Via, true
	}
	if r != nil && len(r.Hops) > 1 {
		silent := in.silentHops(r, dev)
		if len(silent) != 1 {
			return in.someGateway(f, r, dev)
		}
		hop, gateway = silent[0].Via, true
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "the route to %s has %d next hops, of which each flow takes one", r.Prefix, len(r.Hops)))
	}
	for _, n := range in.Node.Neighbours {
		if n.Addr == hop && unresolved(n.State) {
			f.Confidence = tracer.Confirmed
			f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "neighbour %s dev %s: %s", n.Addr, n.Dev, n.State))
		}
	}
	if n := in.nodeOf(hop); n != "" {
		f.Code, f.Object = "node-down", &tracer.Ref{Kind: "Node", Name: n}
		f.Summary = fmt.Sprintf("node %s (%s) does not answer address resolution on %s of node %s", n, hop, dev.Name, in.NodeName)
		return f
	}
	switch {
	case r == nil && !in.outward(d):
		return nil // whether that was a gateway is not known
	case r == nil || gateway:
		f.Code, f.Object = "egr-gateway-dead", &tracer.Ref{Kind: "Gateway", Name: hop.String()}
		f.Summary = fmt.Sprintf("gateway %s of node %s does not answer address resolution on %s", hop, in.NodeName, dev.Name)
		if r == nil {
			f.Object, f.Summary = in.nodeRef(), fmt.Sprintf("the next hop of node %s on %s does not answer address resolution", in.NodeName, dev.Name)
		}
	case in.outward(d):
		f.Code, f.Object = "egr-remote-down", &tracer.Ref{Kind: "ExternalHost", Name: hop.String()}
		f.Summary = fmt.Sprintf("%s is on the network of %s of node %s, and does not answer address resolution", hop, dev.Name, in.NodeName)
	default:
		return nil
	}
	return f
}

func unresolved(state string) bool { return state == "FAILED" || state == "INCOMPLETE" }

// silentHops are those of a route's next hops on a device that did not answer.
func (in *Input) silentHops(r *tracer.RouteFact, dev tracer.Device) []tracer.NextHop {
	var list []tracer.NextHop
	for _, h := range r.Hops {
		if h.OIF == dev.IfIndex && h.Via.IsValid() && slices.ContainsFunc(in.Node.Neighbours, func(n tracer.NeighbourFact) bool {
			return n.Addr == h.Via && n.Dev == h.Dev && unresolved(n.State)
		}) {
			list = append(list, h)
		}
	}
	return list
}

// someGateway: which of a route's next hops the flow took is not known, and none
// or several of them are known to be silent.
func (in *Input) someGateway(f *Finding, r *tracer.RouteFact, dev tracer.Device) *Finding {
	if !in.Cluster.Known || !isDefault(r) {
		return nil
	}
	var vias []string
	for _, h := range r.Hops {
		vias = append(vias, h.Via.String())
	}
	f.Code = "egr-gateway-dead"
	f.Summary = fmt.Sprintf("a gateway of node %s does not answer address resolution on %s: one of %s, of which each flow takes one",
		in.NodeName, dev.Name, strings.Join(vias, ", "))
	return f
}

// nodeOf names another node that has an address.
func (in *Input) nodeOf(a netip.Addr) string {
	for _, n := range in.Cluster.Nodes {
		if n.Name != in.NodeName && slices.Contains(n.IPs, a) {
			return n.Name
		}
	}
	return ""
}

// gatewayARP: a pod's question for its gateway stays unanswered although its
// link is up (a down link is podLink's).
func (in *Input) gatewayARP(d *tracer.DropSeen) *Finding {
	pod, who, peer := in.Cluster.SourcePod, in.source(), in.Node.SrcPeer
	if in.inTarget(d.Device) && !in.inSource(d.Device) {
		pod, who, peer = in.Cluster.TargetPod, in.target(), in.Node.DstPeer
	}
	f := &Finding{
		Code: "cni-gateway-arp", Confidence: tracer.Probable, Object: podRef(pod),
		Summary:  fmt.Sprintf("the node does not answer when pod %s asks for its gateway", who),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
	if peer != nil && peer.Up {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName+" "+peer.Name, "the node's end of the veth is up"))
	}
	return f
}

// otherHost: a unicast packet of the flow reached a machine whose MAC address
// it does not carry, and nobody else took it. That others get a copy is how a
// bridge looks for a port that it does not know; that the target's own namespace
// turned it away is not.
func otherHost(in *Input) *Finding {
	turnedAway := in.drop(func(d *tracer.DropSeen) bool {
		return d.Direction == tracer.DirRequest && in.inTarget(d.Device) &&
			(d.Drop.Reason == "OTHERHOST" || unnamed(d, "ip_rcv_core", "ip6_rcv_core"))
	})
	if turnedAway != nil && !in.delivered() && len(in.Journey.Answers) == 0 {
		f := in.wrongMAC(turnedAway)
		// Without a reason it may be a broken header, unless the node says so.
		if turnedAway.Drop.Reason == "OTHERHOST" || f.Confidence == tracer.Confirmed {
			return f
		}
	}
	d := in.cause()
	if !at(d, "OTHERHOST") || in.Journey.ReachedTarget || in.Journey.LeftNode {
		return nil
	}
	if in.flooded(d) && podLink(in) != nil {
		return nil // nobody's MAC address is wrong: the bridge has lost the pod
	}
	f := &Finding{Confidence: tracer.Probable, Evidence: []tracer.Evidence{in.seenDrop(d)}}
	if in.device(d.Device).Role == tracer.RoleUplink {
		return in.underlayARP(f, d)
	}
	f.Code, f.Object = "cni-stale-neigh", podRef(in.Cluster.TargetPod)
	f.Summary = fmt.Sprintf("packets for %s are sent to a MAC address that is not its own", in.target())
	return f
}

// underlayARP: what is for this node, or for a pod of it, has another machine's MAC
// address, which is the doing of who sends it here. What is for another machine is a
// copy: a switch sends by all of its ports to an address that it does not know.
func (in *Input) underlayARP(f *Finding, d *tracer.DropSeen) *Finding {
	if _, own := in.Inventory.Owner(d.Tuple.Dst.Addr()); !own && !in.targetHere() {
		return nil
	}
	f.Code = "node-underlay-arp"
	f.Summary = fmt.Sprintf("packets for %s arrive on %s with another machine's MAC address", d.Tuple.Dst.Addr(), in.where(d.Device))
	if n := in.sentBy(d); n != "" {
		f.Object = &tracer.Ref{Kind: "Node", Name: n}
		f.Summary += fmt.Sprintf(": node %s has a wrong neighbour entry for its next hop", n)
	}
	return f
}

// wrongMAC: the packet came to the target's interface with another's address.
func (in *Input) wrongMAC(d *tracer.DropSeen) *Finding {
	f := &Finding{
		Code: "cni-stale-neigh", Confidence: tracer.Probable, Object: podRef(in.Cluster.TargetPod),
		Summary:  fmt.Sprintf("packets for %s reach it with a MAC address that is not its own", in.target()),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
	own := in.Node.DstDevice
	if own == nil || own.MAC == "" {
		return f
	}
	for _, n := range in.Node.Neighbours {
		if n.Addr == in.Journey.Translated.Dst.Addr() && n.NetNS == in.Inventory.HostNetNS && n.MAC != "" && n.MAC != own.MAC {
			f.Confidence = tracer.Confirmed
			f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "neighbour %s dev %s: %s (%s), and the pod has %s", n.Addr, n.Dev, n.MAC, n.State, own.MAC))
		}
	}
	return f
}
