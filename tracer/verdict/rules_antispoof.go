package verdict

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/tracer"
)

// antiSpoof: the node turned a packet away right where it entered, and its
// source is not an address of the pod behind that veth. Policies do not judge
// before routing.
func antiSpoof(in *Input) *Finding {
	d := in.hostFilter()
	if d == nil || d.Drop.Stage != tracer.StagePrerouting || d.Direction != tracer.DirRequest {
		return nil
	}
	entry := in.entry(d)
	pod, ok := in.Inventory.Device(entry.Peer)
	if entry.Role != tracer.RolePodHost || !ok || len(pod.Addrs) == 0 {
		return nil
	}
	src := d.Tuple.Src.Addr()
	if owns(&pod, src) && !in.foreignSource(d) {
		return nil
	}
	f := &Finding{
		Code: "cni-antispoof", Confidence: tracer.Probable, Object: in.nodeRef(), Rule: in.ruleFor(d),
		Summary: fmt.Sprintf("node %s turned away packets with source %s at %s: that is not an address of the pod behind it",
			in.NodeName, src, in.where(entry.DeviceKey)),
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState(in.where(entry.DeviceKey), "the pod behind it has %s", otherAddr(pod.Addrs, src))},
	}
	for _, b := range in.Cluster.Bystanders {
		if b.NetNS == pod.NetNS {
			f.Evidence = append(f.Evidence, in.seenState(in.where(entry.DeviceKey), "the pod behind it is %s/%s", b.Namespace, b.Name))
		}
	}
	if f.Rule != nil {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, seenRule(in, f.Rule))
	}
	return f
}

// entry is the node's end of the veth by which the dropped packet came in. Behind
// a bridge the drop itself names only the bridge.
func (in *Input) entry(d *tracer.DropSeen) tracer.Device {
	for _, k := range []tracer.DeviceKey{d.InDevice, d.Device} {
		if dev := in.device(k); dev.Role == tracer.RolePodHost {
			return dev
		}
	}
	for i := range in.Journey.Hops {
		h := &in.Journey.Hops[i]
		if dev := in.device(h.Device); h.Direction == tracer.DirRequest && h.Kind == tracer.EventRX && dev.Role == tracer.RolePodHost && in.onHost(h.Device) {
			return dev
		}
	}
	return tracer.Device{}
}

// foreignSource: the interface behind the veth may have the source, but the
// cluster knows no pod by it, and the node's CNI refused it for that.
func (in *Input) foreignSource(d *tracer.DropSeen) bool {
	_, a := in.agentRule(d)
	return a != nil && a.Why == tracer.AgentSource && in.Cluster.Known && in.Cluster.SourcePod == nil
}

func otherAddr(addrs []netip.Prefix, than netip.Addr) netip.Addr {
	for _, p := range addrs {
		if p.Addr() != than {
			return p.Addr()
		}
	}
	return addrs[0].Addr()
}

// owns: the address is one of that interface. What else the pod's namespace has,
// as a VPN's device, is not what the node gave it.
func owns(d *tracer.Device, a netip.Addr) bool {
	return slices.ContainsFunc(d.Addrs, func(p netip.Prefix) bool { return p.Addr() == a })
}
