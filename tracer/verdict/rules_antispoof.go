package verdict

import (
	"fmt"

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
	entry := in.device(d.InDevice)
	if entry.Role != tracer.RolePodHost {
		entry = in.device(d.Device)
	}
	pod, ok := in.Inventory.Device(entry.Peer)
	if entry.Role != tracer.RolePodHost || !ok || len(pod.Addrs) == 0 || owns(in.Inventory, pod.NetNS, d.Tuple) {
		return nil
	}
	f := &Finding{
		Code: "cni-antispoof", Confidence: tracer.Probable, Object: in.nodeRef(), Rule: in.ruleFor(d),
		Summary: fmt.Sprintf("node %s turned away packets with source %s at %s: that is not an address of the pod behind it",
			in.NodeName, d.Tuple.Src.Addr(), in.where(entry.DeviceKey)),
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState(in.where(entry.DeviceKey), "the pod behind it has %s", pod.Addrs[0].Addr())},
	}
	if f.Rule != nil {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, seenRule(in, f.Rule))
	}
	return f
}

// owns: the tuple's source is an address in that namespace.
func owns(inv *tracer.Inventory, netns uint32, t tracer.Tuple) bool {
	for i := range inv.Devices {
		d := &inv.Devices[i]
		if d.NetNS != netns {
			continue
		}
		for _, p := range d.Addrs {
			if p.Addr() == t.Src.Addr() {
				return true
			}
		}
	}
	return false
}
