package verdict

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/tracer"
)

// tunnelEnd: the packet was put into a tunnel to an address that is not the node
// of the target, or to that node, which nobody answers for on the wire.
func tunnelEnd(in *Input) *Finding {
	node := in.targetNode()
	if in.delivered() || node == nil || node.Name == in.NodeName || !in.byTunnel() || in.Journey.ReachedTarget {
		return nil
	}
	if d := in.cause(); d != nil && neighbourFailed(d) && in.outer(d) {
		return in.silentEnd(d, node)
	}
	h := in.leftInTunnel()
	if h == nil || len(in.Journey.Answers) > 0 || slices.Contains(node.IPs, h.Tuple.Dst.Addr()) {
		return nil
	}
	// An address that no Node object has may be the node's on another network.
	other := in.holder(h.Tuple.Dst.Addr())
	if other == "" {
		return nil
	}
	return &Finding{
		Code: "cni-overlay-fdb-wrong-node", Confidence: tracer.Confirmed, Object: in.nodeRef(),
		Summary: fmt.Sprintf("the tunnel of node %s sends packets for the pods of node %s to %s, which is node %s",
			in.NodeName, node.Name, h.Tuple.Dst.Addr(), other),
		Evidence: []tracer.Evidence{{Time: h.First, Where: in.where(h.Device), What: "left in a tunnel as " + h.Tuple.String(), Event: h.Event}},
	}
}

// silentEnd: nobody answers address resolution for the tunnel's far end.
func (in *Input) silentEnd(d *tracer.DropSeen, node *tracer.NodeInfo) *Finding {
	end := d.Tuple.Dst.Addr()
	f := &Finding{Confidence: tracer.Confirmed, Evidence: []tracer.Evidence{in.seenDrop(d),
		in.seenState("Node", "%s has the addresses %v", node.Name, node.IPs)}}
	if slices.Contains(node.IPs, end) {
		f.Code, f.Object = "node-down", &tracer.Ref{Kind: "Node", Name: node.Name}
		f.Summary = fmt.Sprintf("node %s (%s), where the tunnel to %s ends, does not answer address resolution on %s",
			node.Name, end, in.target(), in.where(d.Device))
		return f
	}
	f.Code, f.Object = "cni-overlay-fdb-wrong-node", in.nodeRef()
	if in.holder(end) == "" {
		f.Confidence = tracer.Probable
	}
	f.Summary = fmt.Sprintf("the tunnel of node %s sends packets for the pods of node %s to %s, which is not its address, and nobody answers for it",
		in.NodeName, node.Name, end)
	return f
}

// targetNode is the node that holds the target.
func (in *Input) targetNode() *tracer.NodeInfo {
	name := in.Cluster.InPodCIDR
	if p := in.Cluster.TargetPod; p != nil && p.Node != "" {
		name = p.Node
	}
	for i := range in.Cluster.Nodes {
		if n := &in.Cluster.Nodes[i]; n.Name == name {
			return n
		}
	}
	return nil
}

// holder names the node that has an address, "" if none.
func (in *Input) holder(a netip.Addr) string {
	for i := range in.Cluster.Nodes {
		if slices.Contains(in.Cluster.Nodes[i].IPs, a) {
			return in.Cluster.Nodes[i].Name
		}
	}
	return ""
}

// sentBy is the node that sent a packet which arrived from another machine, by the
// packet's own source or by where the pod is that it is from; "" if neither is known.
func (in *Input) sentBy(d *tracer.DropSeen) string {
	if n := in.holder(d.Tuple.Src.Addr()); n != "" {
		return n
	}
	pod := in.Cluster.SourcePod
	if d.Direction == tracer.DirReply {
		pod = in.Cluster.TargetPod
	}
	if pod == nil {
		return ""
	}
	return pod.Node
}

// byTunnel: the node's route to the target leads into a tunnel device.
func (in *Input) byTunnel() bool {
	r := in.route("forward")
	if r == nil {
		return false
	}
	d, ok := in.Inventory.Device(tracer.DeviceKey{NetNS: in.Inventory.HostNetNS, IfIndex: r.OIF})
	return ok && d.Role == tracer.RoleTunnel
}

// outer: what was dropped on the uplink is the tunnel's packet, not the flow's.
func (in *Input) outer(d *tracer.DropSeen) bool {
	t := in.Journey.Translated
	return in.onHost(d.Device) && in.device(d.Device).Role == tracer.RoleUplink &&
		d.Tuple.Dst.Addr() != t.Dst.Addr() && d.Tuple.Src.Addr() != t.Src.Addr()
}

// leftInTunnel finds where the request left the node inside a tunnel.
func (in *Input) leftInTunnel() *tracer.Hop {
	for i := range in.Journey.Hops {
		h := &in.Journey.Hops[i]
		if h.Direction == tracer.DirRequest && h.Kind == tracer.EventTX && h.Inner != nil && in.device(h.Device).Role == tracer.RoleUplink {
			return h
		}
	}
	return nil
}

// inTunnel adds to what left the node that it did so inside a tunnel, and what
// would have to pass on the way.
func (in *Input) inTunnel(f *Finding) {
	h := in.leftInTunnel()
	if h == nil {
		return
	}
	to := h.Tuple.Dst.Addr().String()
	if n := in.holder(h.Tuple.Dst.Addr()); n != "" {
		to = fmt.Sprintf("node %s (%s)", n, to)
	}
	f.Summary += fmt.Sprintf("; they travel in %s to %s", tunnelName(h.Inner.Tunnel), to)
	f.Evidence = append(f.Evidence, tracer.Evidence{
		Time: h.First, Where: in.where(h.Device), Event: h.Event,
		What: fmt.Sprintf("left inside %s as %s: a firewall or security group between the nodes must let that pass", tunnelName(h.Inner.Tunnel), h.Tuple),
	})
}

func tunnelName(kind string) string {
	switch kind {
	case "vxlan":
		return "VXLAN"
	case "geneve":
		return "Geneve"
	case "ipip":
		return "IP-in-IP"
	}
	return "a tunnel"
}

// tunnelPort: the tunnel's packets came to this node, and no tunnel device of it
// listens on their port.
func tunnelPort(in *Input) *Finding {
	d := in.drop(func(d *tracer.DropSeen) bool {
		return in.onHost(d.Device) && d.Direction == tracer.DirRequest && in.encloses(d.Tuple) && in.noUDPSocket(d)
	})
	if d == nil || in.delivered() {
		return nil
	}
	f := &Finding{
		Code: "cni-overlay-port-mismatch", Confidence: tracer.Confirmed, Object: in.nodeRef(),
		Summary:  fmt.Sprintf("node %s received tunnel packets on UDP port %d, where no tunnel device of it listens", in.NodeName, d.Tuple.Dst.Port()),
		Evidence: append([]tracer.Evidence{in.seenDrop(d)}, in.seenTunnels()...),
	}
	if slices.ContainsFunc(in.Node.Tunnels, func(t tracer.TunnelFact) bool { return in.onHost(t.Device) && t.Port == d.Tuple.Dst.Port() }) {
		f.Confidence = tracer.Probable
		f.Blind = append(f.Blind, tracer.Blind{What: "a tunnel device has that port now", Effect: "it came after the packets, or was down"})
	}
	return f
}

// seenTunnels are the node's tunnel devices that have a port.
func (in *Input) seenTunnels() []tracer.Evidence {
	var ev []tracer.Evidence
	for i := range in.Node.Tunnels {
		if t := &in.Node.Tunnels[i]; in.onHost(t.Device) && t.Port != 0 {
			ev = append(ev, in.seenState(in.where(t.Device), "%s device, VNI %d, UDP port %d", t.Kind, t.VNI, t.Port))
		}
	}
	return ev
}

// noUDPSocket: a datagram for which there was no socket. Without reasons (before
// 5.17) the same function frees those with a wrong checksum, which it counts, for
// all flows.
func (in *Input) noUDPSocket(d *tracer.DropSeen) bool {
	if d.Tuple.Proto != tracer.ProtoUDP {
		return false
	}
	wrong := in.counter(d.Device.NetNS, "UdpInCsumErrors") + in.counter(d.Device.NetNS, "Udp6InCsumErrors")
	return d.Drop.Reason == "NO_SOCKET" || wrong < max(d.Count, 1) && unnamed(d, "__udp4_lib_rcv", "__udp6_lib_rcv")
}

// encloses: packets with these addresses belong to the flow, but neither end is
// one of its own: they carry it in a tunnel.
func (in *Input) encloses(outer tracer.Tuple) bool {
	for _, t := range []tracer.Tuple{in.Journey.Flow, in.Journey.Translated} {
		if outer.Src.Addr() == t.Src.Addr() || outer.Dst.Addr() == t.Dst.Addr() {
			return false
		}
	}
	return true
}
