package verdict

import (
	"fmt"

	"github.com/podpath/podpath/tracer"
)

// overlay: the tunnel device or its receiver could not pass the packet on.
func overlay(in *Input) *Finding {
	d := in.cause()
	if d == nil {
		return nil
	}
	f := &Finding{Confidence: tracer.Confirmed, Object: in.nodeRef(), Evidence: []tracer.Evidence{in.seenDrop(d)}}
	peer := in.Cluster.InPodCIDR
	if peer == "" {
		peer = in.Journey.Translated.Dst.Addr().String()
	}
	tunnel := in.device(d.Device).Role == tracer.RoleTunnel
	switch {
	case at(d, "NO_TX_TARGET", "vxlan_xmit"):
		f.Code = "cni-overlay-fdb-missing"
		f.Summary = fmt.Sprintf("%s has no forwarding entry for the tunnel end of %s", in.where(d.Device), peer)
	case at(d, "VXLAN_VNI_NOT_FOUND"):
		f.Code = "cni-overlay-vni-mismatch"
		f.Summary = fmt.Sprintf("node %s received tunnel packets with a VNI that no device here has", in.NodeName)
	case at(d, "IP_OUTNOROUTES", "vxlan_xmit_one"):
		f.Code = "node-link-down"
		f.Summary = fmt.Sprintf("the tunnel on node %s has no route to the other node: the uplink is down or unrouted", in.NodeName)
	case at(d, "OTHERHOST") && tunnel:
		f.Code = "cni-overlay-stale-vtep-mac"
		f.Summary = fmt.Sprintf("tunnel packets arrive on %s with another machine's MAC address: the sender's entry for this node is stale", in.where(d.Device))
	case neighbourFailed(d) && tunnel:
		f.Code = "cni-overlay-neigh-missing"
		f.Summary = fmt.Sprintf("node %s has no neighbour entry on %s for the tunnel end of %s", in.NodeName, in.device(d.Device).Name, peer)
	case at(d, "UDP_CSUM") || at(d, "TCP_CSUM"):
		f.Code = "node-csum"
		f.Summary = fmt.Sprintf("packets from %s arrive with a wrong checksum at %s", d.Tuple.Src.Addr(), in.where(d.Device))
	default:
		return nil
	}
	return f
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
	d := in.drop(neighbourFailed)
	if d == nil || in.delivered() {
		return in.gatewayARP(nil)
	}
	dev := in.device(d.Device)
	f := &Finding{Confidence: tracer.Probable, Object: in.nodeRef(), Evidence: []tracer.Evidence{in.seenDrop(d)}}
	dst := d.Tuple.Dst.Addr()
	switch {
	case in.inSource(d.Device) || in.inTarget(d.Device):
		return in.gatewayARP(d)
	case dev.Role == tracer.RoleTunnel:
		return nil // overlay has it
	case dev.Role == tracer.RoleUplink:
		return in.gatewayDead(f, dev)
	case in.Cluster.TargetPod != nil && in.targetHere():
		f.Code, f.Object = "cni-stale-neigh", podRef(in.Cluster.TargetPod)
		f.Summary = fmt.Sprintf("pod %s does not answer address resolution on %s", in.target(), in.where(d.Device))
	case in.Cluster.TargetPod != nil && in.Cluster.TargetPod.Node == in.NodeName:
		f.Code, f.Object = "cni-host-route-missing", podRef(in.Cluster.TargetPod)
		f.Summary = fmt.Sprintf("pod %s should be on node %s, but no device here has %s", in.target(), in.NodeName, dst)
	default:
		return nil // an address that no pod has: undecided says so
	}
	return f
}

// gatewayDead: the next hop on an uplink does not answer.
func (in *Input) gatewayDead(f *Finding, dev tracer.Device) *Finding {
	via := ""
	if r := in.route("forward"); r != nil && r.Via.IsValid() {
		via = r.Via.String()
		for _, n := range in.Node.Neighbours {
			if n.Addr == r.Via && (n.State == "FAILED" || n.State == "INCOMPLETE") {
				f.Confidence = tracer.Confirmed
				f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "neighbour %s dev %s: %s", n.Addr, n.Dev, n.State))
			}
		}
	}
	if in.Cluster.Target.Kind == tracer.KindNode || via == "" && !in.external() {
		f.Code = "node-down"
		f.Summary = fmt.Sprintf("%s does not answer address resolution on %s of node %s", in.Journey.Translated.Dst.Addr(), dev.Name, in.NodeName)
		return f
	}
	f.Code = "egr-gateway-dead"
	f.Object = &tracer.Ref{Kind: "Gateway", Name: via}
	f.Summary = fmt.Sprintf("gateway %s of node %s does not answer address resolution on %s", via, in.NodeName, dev.Name)
	return f
}

// gatewayARP: a pod's question for its gateway stays unanswered although its
// link is up (a down link is podLink's).
func (in *Input) gatewayARP(d *tracer.DropSeen) *Finding {
	if d == nil {
		return nil
	}
	pod, who, peer := in.Cluster.SourcePod, in.source(), in.Node.SrcPeer
	if in.inTarget(d.Device) {
		pod, who, peer = in.Cluster.TargetPod, in.target(), in.Node.DstPeer
	}
	f := &Finding{
		Code: "cni-gateway-arp", Confidence: tracer.Probable, Object: podRef(pod),
		Summary:  fmt.Sprintf("the node does not answer when pod %s asks for its gateway", who),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
	if peer != nil {
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
		return d.Direction == tracer.DirRequest && d.Drop.Reason == "OTHERHOST" && in.inTarget(d.Device)
	})
	if turnedAway != nil && !in.delivered() && len(in.Journey.Answers) == 0 {
		return in.wrongMAC(turnedAway)
	}
	d := in.cause()
	if !at(d, "OTHERHOST") || in.Journey.ReachedTarget {
		return nil
	}
	f := &Finding{Confidence: tracer.Probable, Evidence: []tracer.Evidence{in.seenDrop(d)}}
	if in.device(d.Device).Role == tracer.RoleUplink {
		f.Code, f.Object = "node-underlay-arp", in.nodeRef()
		f.Summary = fmt.Sprintf("packets for %s arrive on %s with another machine's MAC address", d.Tuple.Dst.Addr(), in.where(d.Device))
		return f
	}
	f.Code, f.Object = "cni-stale-neigh", podRef(in.Cluster.TargetPod)
	f.Summary = fmt.Sprintf("packets for %s are sent to a MAC address that is not its own", in.target())
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
