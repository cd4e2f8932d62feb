package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// shaper: a device that works drops what it should send: a limit on the bandwidth
// of a pod, or one that was set on another device, is exceeded.
func shaper(in *Input) *Finding {
	d := in.causeIf(func(d *tracer.DropSeen) bool {
		return strings.HasPrefix(d.Drop.Reason, "QDISC_") || unnamed(d, "__dev_queue_xmit", "__dev_xmit_skb")
	})
	if d == nil {
		return nil
	}
	dev := in.device(d.Device)
	if !dev.Up || !dev.Carrier || d.Drop.Reason == "" {
		return nil // a device without carrier drops for that; without a reason it may be either
	}
	q := in.queueOf(d.Device)
	if !in.podsOwn(dev) && (q == nil || !limits(q)) || q != nil && !limits(q) {
		return nil // a queue that does not limit drops when the device is slower than what is sent
	}
	f := &Finding{
		Code: "cni-bandwidth-shaper", Confidence: tracer.Probable, Object: in.limitedBy(d),
		Summary: fmt.Sprintf("the queue of %s drops packets of %s to %s: a bandwidth limit is set there, and it is exceeded or smaller than a packet (%d bytes)",
			in.where(d.Device), in.source(), in.target(), d.Len),
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState(in.where(d.Device), "up, with carrier")},
	}
	if q != nil {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenQueue(q))
	}
	return f
}

// limitedBy is whose bandwidth a device limits: the pod's that it is the link of, or
// the node's.
func (in *Input) limitedBy(d *tracer.DropSeen) *tracer.Ref {
	switch {
	case in.Node.DstPeer != nil && d.Device == in.Node.DstPeer.DeviceKey, in.inTarget(d.Device):
		return podRef(in.Cluster.TargetPod)
	case in.Node.SrcPeer != nil && d.Device == in.Node.SrcPeer.DeviceKey, in.inSource(d.Device):
		return podRef(in.Cluster.SourcePod)
	}
	return in.nodeRef()
}

// podsOwn: the device is one end of a pod's link, or the one through which the
// bandwidth plugin sends what a pod sends.
func (in *Input) podsOwn(d tracer.Device) bool {
	return d.Role == tracer.RolePodHost || d.Role == tracer.RolePod || d.Kind == "ifb"
}

// kernelLimit: the node ran out of something, which the kernel's reason names.
func kernelLimit(in *Input) *Finding {
	d := in.lost(func(d *tracer.DropSeen) bool { return limitCode(d) != "" })
	if d == nil {
		return nil
	}
	f := &Finding{Code: limitCode(d), Confidence: tracer.Confirmed, Object: in.nodeRef(), Evidence: []tracer.Evidence{in.seenDrop(d)}}
	what := map[string]string{
		"node-neigh-overflow": "the neighbour table of node %s is full: no entry could be made for the next hop of %s",
		"node-softnet-drops":  "node %s does not process packets as fast as they come: a CPU's backlog dropped packets for %s",
		"node-memory":         "node %s has no memory left for packets: those for %s are dropped",
	}[f.Code]
	f.Summary = fmt.Sprintf(what, in.NodeName, in.target())
	return f
}

// limitCode names a limit of the node by the kernel's reason
// (include/net/dropreason-core.h, 6.18).
func limitCode(d *tracer.DropSeen) string {
	switch d.Drop.Reason {
	case "NEIGH_CREATEFAIL":
		return "node-neigh-overflow"
	case "CPU_BACKLOG":
		return "node-softnet-drops"
	case "NOMEM", "PROTO_MEM", "SKB_UCOPY_FAULT":
		return "node-memory"
	}
	return ""
}

// fragments: parts of a datagram came, and the rest did not.
func fragments(in *Input) *Finding {
	d := in.causeIf(func(d *tracer.DropSeen) bool { return d.Drop.Reason == "FRAG_REASM_TIMEOUT" })
	if d == nil {
		return nil
	}
	return &Finding{
		Code: "egr-frag-loss", Confidence: tracer.Confirmed,
		Summary: fmt.Sprintf("the first fragment of datagrams from %s came to %s, the others did not: something on the way drops fragments",
			d.Tuple.Src.Addr(), in.where(d.Device)),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
}

// overlap: the destination is outside of the cluster, and the node looks for it
// on a bridge of its own, whose range it lies in.
func overlap(in *Input) *Finding {
	d := in.causeIf(neighbourFailed)
	r := in.route("forward")
	if d == nil || r == nil || d.Direction != tracer.DirRequest || !in.external() || r.Type != "unicast" || r.Via.IsValid() || isDefault(r) {
		return nil
	}
	dev, ok := in.Inventory.Device(tracer.DeviceKey{NetNS: in.Inventory.HostNetNS, IfIndex: r.OIF})
	if !ok || dev.DeviceKey != d.Device || dev.Role != tracer.RoleBridge && dev.Role != tracer.RoleTunnel {
		return nil
	}
	return &Finding{
		Code: "cni-cidr-overlap", Confidence: tracer.Confirmed, Object: &tracer.Ref{Kind: "Route", Name: r.Type + " " + r.Prefix},
		Summary: fmt.Sprintf("%s lies in %s, the range of %s on node %s: packets for it are looked for there instead of outside",
			d.Tuple.Dst.Addr(), r.Prefix, dev.Name, in.NodeName),
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState(in.NodeName, "route to %s: %s dev %s", r.Dst, r.Prefix, r.Dev)},
	}
}

// wrongUplink: what left by one uplink carries the address of another, and
// nobody answered.
func wrongUplink(in *Input) *Finding {
	j := in.Journey
	if !j.LeftNode || in.Outcome != tracer.OutcomeNoAnswer || len(j.Answers) > 0 || in.cause() != nil || !in.external() {
		return nil
	}
	out := in.device(j.LeftBy)
	own, here := in.Inventory.Owner(j.LeftAs.Src.Addr())
	if !here || !in.onHost(own.DeviceKey) || own.DeviceKey == j.LeftBy || own.Role != tracer.RoleUplink || out.Role != tracer.RoleUplink {
		return nil
	}
	if slices.ContainsFunc(out.Addrs, func(p netip.Prefix) bool { return p.Contains(j.LeftAs.Src.Addr()) }) {
		return nil // both are in one network
	}
	return &Finding{
		Code: "egr-wrong-interface", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary: fmt.Sprintf("packets to %s leave node %s by %s with the source %s, which is the address of %s: networks drop a source that is not theirs, and nobody answers",
			j.Flow.Dst.Addr(), in.NodeName, out.Name, j.LeftAs.Src.Addr(), own.Name),
		Evidence: []tracer.Evidence{in.seenLeft(), in.seenState(in.NodeName, "%s has %s", own.Name, j.LeftAs.Src.Addr())},
	}
}

// wrongTunnelSource: the tunnel's packets carry an address of this node that its
// Node object does not have, and nobody answered.
func wrongTunnelSource(in *Input) *Finding {
	h := in.leftInTunnel()
	if h == nil || in.Outcome != tracer.OutcomeNoAnswer || len(in.Journey.Answers) > 0 || in.cause() != nil {
		return nil
	}
	src := h.Tuple.Src.Addr()
	own, here := in.Inventory.Owner(src)
	var known []netip.Addr
	for i := range in.Cluster.Nodes {
		if n := &in.Cluster.Nodes[i]; n.Name == in.NodeName {
			known = n.IPs
		}
	}
	if !here || !in.onHost(own.DeviceKey) || len(known) == 0 || slices.Contains(known, src) {
		return nil
	}
	return &Finding{
		Code: "cni-wrong-interface", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary: fmt.Sprintf("the tunnel of node %s sends from %s (%s), which is not the address of its Node object (%v): the CNI chose another interface, and nobody answers",
			in.NodeName, src, own.Name, known),
		Evidence: []tracer.Evidence{
			{Time: h.First, Where: in.where(h.Device), What: "left in a tunnel as " + h.Tuple.String(), Event: h.Event},
			in.seenState("Node", "%s has the addresses %v", in.NodeName, known),
		},
	}
}

// resetOutside: the connection was up, and a reset came in from outside.
func resetOutside(in *Input) *Finding {
	j := in.Journey
	a := in.answer(tracer.AnswerRST)
	if a == nil || in.Outcome != tracer.OutcomeReset && in.Outcome != tracer.OutcomeResetMidFlow || !j.Established || in.targetHere() || !j.LeftNode || in.cause() != nil {
		return nil
	}
	f := &Finding{Confidence: tracer.Probable, Evidence: []tracer.Evidence{in.seenAnswer(a), in.seenLeft()}}
	switch p := in.Cluster.TargetPod; {
	case in.external():
		f.Code, f.Object = "egr-remote-reset", &tracer.Ref{Kind: "ExternalHost", Name: j.Flow.Dst.Addr().String()}
		f.Summary = fmt.Sprintf("%s, or something before it, reset the connection to %s after it was up: the reset came in from outside", j.Flow.Dst.Addr(), in.port())
	case p != nil && !p.HostNetwork:
		f.Code, f.Object = "app-reset", podRef(p)
		f.Summary = fmt.Sprintf("pod %s reset the connection after accepting it; it runs on node %s, which is not observed here", in.target(), p.Node)
	default:
		return nil
	}
	return f
}

// bigLostOutside: the connection is up, and full-sized segments are sent again
// and again without being acknowledged, with no message that they are too big.
func bigLostOutside(in *Input) *Finding {
	j := in.Journey
	const small = 1280 // passes everywhere (RFC 8200 §5)
	if !j.LeftNode || !j.Established || j.Flow.Proto != tracer.ProtoTCP || in.Outcome != tracer.OutcomeConnectedNoData || in.targetHere() ||
		in.cause() != nil || j.Retransmits < 3 || in.icmp(tooBig) != nil || has(j, tracer.AnswerRST) {
		return nil
	}
	var biggest uint32
	for i := range j.Hops {
		if h := &j.Hops[i]; h.Direction == tracer.DirRequest && h.Device == j.LeftBy && h.Kind == tracer.EventTX {
			biggest = max(biggest, h.MaxLen)
		}
	}
	if biggest <= small {
		return nil
	}
	return &Finding{
		Code: "ext-mtu-fabric", Confidence: tracer.Probable,
		Summary: fmt.Sprintf("the connection to %s stands, but segments that fill the MTU leave node %s by %s and are never acknowledged (%d sent again), and no message says that they are too big: the path beyond has a smaller MTU",
			in.destination(), in.NodeName, in.nameOf(j.LeftBy), j.Retransmits),
		Evidence: []tracer.Evidence{in.seenLeft(), in.seenState(in.where(j.LeftBy), "up to %d bytes a packet, %d retransmissions, no ICMP", biggest, j.Retransmits)},
		Blind:    []tracer.Blind{{What: "whether small packets still pass", Effect: "a path that broke after the handshake looks the same"}},
	}
}

// noProtocol: the kernel at the target does not know the transport protocol.
func noProtocol(in *Input) *Finding {
	d := in.drop(func(d *tracer.DropSeen) bool {
		return d.Direction == tracer.DirRequest && d.Drop.Reason == "IP_NOPROTO"
	})
	if d == nil || in.delivered() {
		return nil
	}
	f := &Finding{
		Code: "app-sctp-unsupported", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.TargetPod),
		Summary:  fmt.Sprintf("%s received %s packets and its kernel does not handle that protocol: no module, no socket", in.target(), tracer.ProtoName(in.Journey.Flow.Proto)),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
	if a := in.icmp(fatal); a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
	}
	return f
}
