package verdict

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/tracer"
)

// sidecarMissing: the client's own namespace redirects to a local proxy that is
// not there, so no packet leaves the pod.
func sidecarMissing(in *Input) *Finding {
	d := in.drop(func(d *tracer.DropSeen) bool {
		return in.inSource(d.Device) && d.Direction == tracer.DirRequest && d.Drop.Stage == tracer.StageSocket &&
			d.Tuple.Dst.Addr().IsLoopback() && !in.Journey.Flow.Dst.Addr().IsLoopback()
	})
	if d == nil {
		return nil
	}
	return &Finding{
		Code: "app-sidecar-missing", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.SourcePod),
		Summary: fmt.Sprintf("traffic of %s to %s is redirected inside the pod to %s, where nothing listens (sidecar proxy)",
			in.source(), in.destination(), d.Tuple.Dst),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
}

// sidecarRefused: the target pod redirects what comes in to another port of its
// own, where nothing listens: the header at the socket tells.
func sidecarRefused(in *Input) *Finding {
	j := in.Journey
	d := in.drop(func(d *tracer.DropSeen) bool {
		return in.inTarget(d.Device) && d.Direction == tracer.DirRequest && d.Drop.Reason == "NO_SOCKET" &&
			d.Tuple.Dst.Port() != j.Translated.Dst.Port() && d.Tuple.Src == j.Translated.Src
	})
	if d == nil || in.delivered() {
		return nil
	}
	f := &Finding{
		Code: "app-sidecar-missing", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.TargetPod),
		Summary: fmt.Sprintf("connections to %s of pod %s are redirected inside the pod to port %d, where nothing listens (sidecar proxy)",
			in.targetPort(), in.target(), d.Tuple.Dst.Port()),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
	if a := in.refusal(); a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
	}
	return f
}

// podFirewall: a rule inside a pod's own namespace dropped the packet.
func podFirewall(in *Input) *Finding {
	d := in.causeIf(func(d *tracer.DropSeen) bool { return netfilter(d) && (in.inSource(d.Device) || in.inTarget(d.Device)) })
	if d == nil {
		return nil
	}
	pod, who := in.Cluster.TargetPod, in.target()
	if in.inSource(d.Device) {
		pod, who = in.Cluster.SourcePod, in.source()
	}
	return &Finding{
		Code: "app-pod-firewall", Confidence: tracer.Confirmed, Object: podRef(pod), Rule: in.ruleFor(d),
		Summary:  fmt.Sprintf("a firewall rule inside the network namespace of pod %s dropped %s", who, in.targetPort()),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
}

// podLink: the veth pair of one of the two pods is down or detached. Packets
// that wait for an address resolution die with it (NEIGH_FAILED), or the
// resolution itself is dropped by a device without carrier.
func podLink(in *Input) *Finding {
	if in.delivered() || in.Outcome == tracer.OutcomeRefused {
		return nil
	}
	if has(in.Journey, tracer.AnswerSynAck) {
		return in.linkLostLater()
	}
	if f := in.linkFault(in.Cluster.SourcePod, in.source(), in.Node.SrcDevice, in.Node.SrcPeer); f != nil && !in.Journey.ReachedTarget && !in.passedVeth() {
		return f
	}
	dev, peer := in.Node.DstDevice, in.Node.DstPeer
	if dev == nil {
		dev, peer = in.byOtherAddress(in.Cluster.TargetPod)
	}
	// Where the node routes to each pod, the route goes when the link does.
	routed := peer != nil && peer.Master == 0 && !peer.Up
	if d := in.cause(); in.Journey.ReachedTarget || d != nil && !atLink(d) && !in.flooded(d) && !(routed && d.Drop.Stage == tracer.StageRouting) {
		return nil // it died before it came to the target's link
	}
	return in.linkFault(in.Cluster.TargetPod, in.target(), dev, peer)
}

// linkLostLater: the link went down under a connection that stood, and its packets
// are lost there or given to everybody else.
func (in *Input) linkLostLater() *Finding {
	d := in.cause()
	if d == nil {
		return nil
	}
	meant := in.inTarget
	if d.Direction == tracer.DirReply {
		meant = in.inSource
	}
	if astray := d.Drop.Reason == "OTHERHOST" && !in.onHost(d.Device) && !meant(d.Device); !astray && !atLink(d) {
		return nil
	}
	atSource := d.Direction == tracer.DirReply
	if atLink(d) && (in.inSource(d.Device) || in.inTarget(d.Device)) {
		atSource = in.inSource(d.Device) // it did not get out of its own pod
	}
	if atSource {
		return in.linkFault(in.Cluster.SourcePod, in.source(), in.Node.SrcDevice, in.Node.SrcPeer)
	}
	dev, peer := in.Node.DstDevice, in.Node.DstPeer
	if dev == nil { // an interface that goes down loses its addresses of IPv6
		dev, peer = in.byOtherAddress(in.Cluster.TargetPod)
	}
	return in.linkFault(in.Cluster.TargetPod, in.target(), dev, peer)
}

// atLink: dropped for want of a working link: the address resolution failed, or
// a device without carrier was to send it.
func atLink(d *tracer.DropSeen) bool {
	return neighbourFailed(d) || d.Drop.Reason == "QDISC_DROP" || d.Drop.Reason == "DEV_READY" || d.Drop.Stage == tracer.StageBridge && !netfilter(d)
}

// flooded: a copy that a bridge sent to every port, because it no longer knows
// behind which the target is. Whoever is not meant turns it away.
func (in *Input) flooded(d *tracer.DropSeen) bool {
	return d.Drop.Reason == "OTHERHOST" && !in.onHost(d.Device) && !in.inTarget(d.Device)
}

// byOtherAddress finds a pod's device by the address of its other family: an
// interface that goes down loses those of IPv6.
func (in *Input) byOtherAddress(pod *tracer.PodFacts) (dev, peer *tracer.Device) {
	if pod == nil || pod.HostNetwork {
		return nil, nil
	}
	for _, a := range pod.IPs {
		d, ok := in.Inventory.Owner(a)
		if !ok || in.onHost(d.DeviceKey) {
			continue
		}
		if p, ok := in.Inventory.Device(d.Peer); ok {
			return &d, &p
		}
		return &d, nil
	}
	return nil, nil
}

func (in *Input) linkFault(pod *tracer.PodFacts, who string, dev, peer *tracer.Device) *Finding {
	if dev == nil || dev.NetNS == in.Inventory.HostNetNS {
		return nil
	}
	f := &Finding{Object: podRef(pod), Confidence: tracer.Suspected}
	switch {
	case !dev.Up:
		f.Code = "cni-pod-eth-down"
		f.Summary = fmt.Sprintf("%s in pod %s is down", dev.Name, who)
		f.Evidence = append(f.Evidence, in.seenState(who, "%s: state DOWN", dev.Name))
	case peer != nil && !peer.Up:
		f.Code = "cni-veth-down"
		f.Summary = fmt.Sprintf("the node's side of pod %s's veth pair (%s on %s) is down", who, peer.Name, in.NodeName)
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName+" "+peer.Name, "state DOWN; %s in the pod has no carrier", dev.Name))
	case peer != nil && peer.Master == 0 && (in.bridged() || in.routedToBridge(pod)) && !in.routedBy(peer):
		f.Code = "cni-veth-detached"
		f.Summary = fmt.Sprintf("the node's side of pod %s's veth pair (%s on %s) is not a port of the pod bridge", who, peer.Name, in.NodeName)
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName+" "+peer.Name, "up, but is in no bridge"))
	default:
		return nil
	}
	for i := range in.Journey.Drops {
		d := &in.Journey.Drops[i]
		if atLink(d) || d == in.cause() {
			f.Confidence = tracer.Confirmed
			f.Evidence = append(f.Evidence, in.seenDrop(d))
		}
	}
	if a := in.unresolved(); a != nil && f.Confidence != tracer.Confirmed {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
	}
	if in.Outcome == tracer.OutcomeNoAnswer && in.Journey.Attempts > 0 {
		f.Confidence = tracer.Confirmed
	}
	return f
}

// unresolved finds what the node says when it drops packets because their next
// hop does not answer: an error of its own. The drops themselves can be missing,
// where the kernel skipped the program that looks at them.
func (in *Input) unresolved() *tracer.Answer {
	return in.icmp(func(a *tracer.Answer) bool { return hostUnreachable(a) && in.madeHere(a) })
}

// routedBy: the node routes to the pod by its veth, as CNIs without a bridge do.
func (in *Input) routedBy(peer *tracer.Device) bool {
	for _, question := range []string{"forward", "reverse"} {
		if r := in.route(question); r != nil && r.Type == "unicast" && r.Dev == peer.Name {
			return true
		}
	}
	return false
}

// routedToBridge: the node looks for the pod on a bridge of its own.
func (in *Input) routedToBridge(pod *tracer.PodFacts) bool {
	question := "forward"
	if pod == in.Cluster.SourcePod {
		question = "reverse"
	}
	r := in.route(question)
	if r == nil || r.Type != "unicast" || r.Via.IsValid() {
		return false
	}
	return slices.ContainsFunc(in.Inventory.Devices, func(d tracer.Device) bool {
		return in.onHost(d.DeviceKey) && d.Role == tracer.RoleBridge && d.Name == r.Dev
	})
}

// passedVeth: the request came out of the client's pod: its link works.
func (in *Input) passedVeth() bool {
	return slices.ContainsFunc(in.Journey.Hops, func(h tracer.Hop) bool {
		return h.Direction == tracer.DirRequest && in.onHost(h.Device) && (in.Node.SrcPeer == nil || h.Device != in.Node.SrcPeer.DeviceKey || h.Kind == tracer.EventTX)
	})
}

// bridged: most pods' veths on this node are bridge ports.
func (in *Input) bridged() bool {
	var with, without int
	for i := range in.Inventory.Devices {
		d := &in.Inventory.Devices[i]
		if d.Role != tracer.RolePodHost {
			continue
		}
		if d.Master != 0 {
			with++
		} else {
			without++
		}
	}
	return with > without
}
