package main

import (
	"net/netip"
	"slices"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/kube/policy"
	"github.com/podpath/podpath/tracer"
)

// hostAddrs are the addresses of the node's own namespace: the one the API
// lists, and those of bridges and tunnels, which the node uses as source when it
// calls pods.
func hostAddrs(inv *tracer.Inventory) []netip.Addr {
	var out []netip.Addr
	for i := range inv.Devices {
		d := &inv.Devices[i]
		if d.NetNS != inv.HostNetNS || d.Role == tracer.RoleLoopback {
			continue
		}
		for _, p := range d.Addrs {
			if a := p.Addr(); !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() {
				out = append(out, a)
			}
		}
	}
	return out
}

// addHost makes an end that stands for this node, by its name or by a pod of its
// network, mean every address of the node. The addresses of Services that a
// proxy in IPVS mode puts on a device are not among them.
func (a *aim) addHost(view *kube.Snapshot, inv *tracer.Inventory, node string) {
	var own []netip.Addr
	for _, ip := range hostAddrs(inv) {
		if view.Endpoint(ip, 0, 0).Kind != tracer.KindService {
			own = append(own, ip)
		}
	}
	for _, r := range []*kube.Resolved{&a.from, &a.to} {
		if !standsForNode(r, node) {
			continue
		}
		listed := r.Targets
		for _, t := range listed {
			if !slices.Contains(own, t.Prefix.Addr()) {
				continue
			}
			for _, ip := range own {
				more := t
				more.Prefix = netip.PrefixFrom(ip, ip.BitLen())
				if !slices.Contains(r.Targets, more) {
					r.Targets = append(r.Targets, more)
				}
			}
		}
	}
	a.chooseEnds()
}

func standsForNode(r *kube.Resolved, node string) bool {
	if r.Spec.Kind == kube.SpecNode {
		return r.Spec.Name == node
	}
	return slices.ContainsFunc(r.Pods, func(p *kube.Pod) bool { return p.HostNetwork && p.Node == node })
}

// nameHost names the ends that are addresses of this node which the API does not
// list, and judges policies accordingly.
func nameHost(c *tracer.ClusterFacts, inv *tracer.Inventory) {
	own := hostAddrs(inv)
	for _, e := range []*tracer.Endpoint{&c.Source, &c.Destination, &c.Target} {
		unnamed := e.Kind == tracer.KindUnknown || e.Kind == tracer.KindExternal
		if unnamed && slices.Contains(own, e.IP) {
			e.Kind, e.Name, e.Node = tracer.KindNode, c.Node, c.Node
		}
	}
	exempt := func(d *tracer.PolicyDecision, pod *tracer.PodFacts, other *tracer.Endpoint) {
		if d != nil && pod != nil && d.Exempt == "" && pod.Node == c.Node && other.Kind == tracer.KindNode && other.Name == c.Node {
			d.Exempt = policy.ExemptOwnNode
		}
	}
	exempt(c.Ingress, c.TargetPod, &c.Source)
	exempt(c.Egress, c.SourcePod, &c.Target)
}
