package main

import (
	"net/netip"
	"slices"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// bystanders are the pods, neither source nor target by their addresses, in whose
// namespaces packets of the flow were seen: a bridge floods what it has no entry
// for, and a pod may send with an address that the cluster does not know. Pods that
// have an address of the node as well are among them: others may take them for it.
func bystanders(view *kube.Snapshot, c *tracer.ClusterFacts, j *tracer.Journey, inv *tracer.Inventory) []tracer.Bystander {
	var found []tracer.Bystander
	look := func(netns uint32) {
		known := func(b tracer.Bystander) bool { return b.NetNS == netns }
		named := c.SourcePod != nil && netns == j.SrcDevice.NetNS || c.TargetPod != nil && netns == j.DstDevice.NetNS
		if netns == 0 || netns == inv.HostNetNS || named || slices.ContainsFunc(found, known) {
			return
		}
		if p, ok := podIn(view, inv, netns); ok {
			facts := view.PodFacts(p)
			found = append(found, tracer.Bystander{NetNS: netns, Namespace: facts.Namespace, Name: facts.Name, Owner: facts.Owner})
		}
	}
	for i := range j.Hops {
		look(j.Hops[i].Device.NetNS)
	}
	for i := range j.Drops {
		look(j.Drops[i].Device.NetNS)
	}
	for i := range inv.Devices {
		if d := &inv.Devices[i]; d.NetNS != inv.HostNetNS && claimsNode(d, inv) {
			look(d.NetNS)
		}
	}
	return found
}

// claimsNode: a device of a pod has an address that the node has, and that others
// can ask for.
func claimsNode(d *tracer.Device, inv *tracer.Inventory) bool {
	return slices.ContainsFunc(d.Addrs, func(a netip.Prefix) bool {
		return !a.Addr().IsLoopback() && !a.Addr().IsLinkLocalUnicast() && slices.ContainsFunc(inv.Devices, func(n tracer.Device) bool {
			return n.NetNS == inv.HostNetNS && slices.ContainsFunc(n.Addrs, func(b netip.Prefix) bool { return a.Addr() == b.Addr() })
		})
	})
}

// podIn is the pod whose address a device of the namespace has.
func podIn(view *kube.Snapshot, inv *tracer.Inventory, netns uint32) (*kube.Pod, bool) {
	for i := range inv.Devices {
		if inv.Devices[i].NetNS != netns {
			continue
		}
		for _, a := range inv.Devices[i].Addrs {
			if p, ok := view.PodByIP(a.Addr()); ok {
				return p, true
			}
		}
	}
	return nil, false
}
