package verdict

import (
	"fmt"

	"github.com/podpath/podpath/tracer"
)

// hostRouteMissing: on a node whose CNI routes to each pod without a bridge, the
// route to one pod is gone. Its packets fall to whatever covers the address: the
// block's blackhole, the default route, or nothing.
func hostRouteMissing(in *Input) *Finding {
	if in.delivered() {
		return nil
	}
	c := in.Cluster
	if f := in.hostRoute(tracer.DirRequest, "forward", c.TargetPod, in.target(), in.Node.DstDevice, in.Node.DstPeer); f != nil && !in.Journey.ReachedTarget {
		return f
	}
	return in.hostRoute(tracer.DirReply, "reverse", c.SourcePod, in.source(), in.Node.SrcDevice, in.Node.SrcPeer)
}

// hostRoute judges the way of one direction to a pod of this node.
func (in *Input) hostRoute(dir tracer.Direction, question string, pod *tracer.PodFacts, who string, dev, peer *tracer.Device) *Finding {
	if pod == nil || dev == nil || peer == nil || pod.HostNetwork || in.onHost(dev.DeviceKey) || !in.onHost(peer.DeviceKey) || peer.Master != 0 {
		return nil
	}
	r := in.route(question)
	if r == nil || !astray(in, r) || !peer.Up || !dev.Up {
		return nil
	}
	f := &Finding{
		Code: "cni-host-route-missing", Confidence: tracer.Confirmed, Object: podRef(pod),
		Summary: fmt.Sprintf("node %s has no route to its own pod %s: %s should lead to %s", in.NodeName, who, r.Dst, peer.Name),
	}
	d := in.cause()
	switch {
	case d != nil && d.Direction == dir && in.onHost(d.Device) && (isRouteError(d) || d.Drop.Reason == "IP_INNOROUTES"):
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	case d != nil && d.Direction != dir && d.Tuple.Src.Addr() == r.Dst && in.refusedSource(d):
		// Nothing leads back to the pod, so that its own packets are taken for
		// spoofed ones.
		f.Evidence = append(f.Evidence, in.seenDrop(d))
		f.Rule = in.ruleFor(d)
	case dir == tracer.DirRequest && in.Journey.LeftNode:
		f.Evidence = append(f.Evidence, in.seenLeft())
	case dir == tracer.DirReply && in.leftByUplink(dir) != nil:
		h := in.leftByUplink(dir)
		f.Evidence = append(f.Evidence, tracer.Evidence{Time: h.First, Where: in.where(h.Device), What: "the answer left the node as " + h.Tuple.String(), Event: h.Event})
	default:
		return nil
	}
	way := r.Type
	if r.Prefix != "" {
		way += " " + r.Prefix
	}
	if r.Dev != "" {
		way += " dev " + r.Dev
	}
	f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "FIB look-up for %s: %s%s", r.Dst, way, routeOrigin(r)))
	return f
}

// refusedSource: the packet was dropped because the route back to its source
// does not lead to where it came from.
func (in *Input) refusedSource(d *tracer.DropSeen) bool {
	_, a := in.agentRule(d)
	return a != nil && a.Why == tracer.AgentSource || at(d, "IP_RPFILTER")
}

// astray: the best route to a pod of this node leads to nothing or off the node.
// A routing rule has no prefix, and a route of one address was meant.
func astray(in *Input, r *tracer.RouteFact) bool {
	switch r.Type {
	case "none":
		return true
	case "blackhole", "unreachable", "prohibit":
		return r.Prefix != "" && r.Prefix != r.Dst.String() && r.Prefix != hostPrefix(r)
	case "unicast":
		d, ok := in.Inventory.Device(tracer.DeviceKey{NetNS: in.Inventory.HostNetNS, IfIndex: r.OIF})
		return ok && d.Role == tracer.RoleUplink
	}
	return false
}

func hostPrefix(r *tracer.RouteFact) string {
	return fmt.Sprintf("%s/%d", r.Dst, r.Dst.BitLen())
}

// leftByUplink finds where a direction left the node.
func (in *Input) leftByUplink(dir tracer.Direction) *tracer.Hop {
	for i := range in.Journey.Hops {
		h := &in.Journey.Hops[i]
		if h.Direction == dir && h.Kind == tracer.EventTX && in.onHost(h.Device) && in.device(h.Device).Role == tracer.RoleUplink {
			return h
		}
	}
	return nil
}

// ledAstray: the node looks for its own pod on a device that does not lead to it,
// because a route to the pod's address says so.
func (in *Input) ledAstray(f *Finding, d *tracer.DropSeen, who string) bool {
	question, peer := "forward", in.Node.DstPeer
	if d.Direction == tracer.DirReply {
		question, peer = "reverse", in.Node.SrcPeer
	}
	r := in.route(question)
	if r == nil || peer == nil || !in.onHost(peer.DeviceKey) || !in.onHost(d.Device) || r.Type != "unicast" || r.OIF != d.Device.IfIndex || r.Dst != d.Tuple.Dst.Addr() {
		return false
	}
	if d.Device == peer.DeviceKey || d.Device.IfIndex == peer.Master {
		return false
	}
	f.Code, f.Confidence = "cni-host-route-missing", tracer.Confirmed
	f.Summary = fmt.Sprintf("node %s looks for its own pod %s on %s, because of its route %s dev %s; the pod is behind %s", in.NodeName, who, r.Dev, r.Prefix, r.Dev, peer.Name)
	f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "FIB look-up for %s: unicast %s dev %s%s", r.Dst, r.Prefix, r.Dev, routeOrigin(r)))
	return true
}
