package verdict

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/tracer"
)

// podEnd is one of the flow's pods on this node, with its link.
type podEnd struct {
	pod       *tracer.PodFacts
	who       string
	dev, peer *tracer.Device
	question  string // of the route from there to the other end
}

// ends are the client's pod and the target's, as far as they are here.
func (in *Input) ends() []podEnd {
	var list []podEnd
	for _, e := range []podEnd{
		{in.Cluster.SourcePod, in.source(), in.Node.SrcDevice, in.Node.SrcPeer, "src-pod"},
		{in.Cluster.TargetPod, in.target(), in.Node.DstDevice, in.Node.DstPeer, "dst-pod"},
	} {
		if e.pod != nil && !e.pod.HostNetwork && e.dev != nil && e.peer != nil && !in.onHost(e.dev.DeviceKey) && in.onHost(e.peer.DeviceKey) {
			list = append(list, e)
		}
	}
	return list
}

// ownLink: a pod looks on its own link for an address that is not there: its
// route for the link, as its network mask makes it, covers another node's pods,
// or the outside.
func ownLink(in *Input) *Finding {
	d := in.causeIf(neighbourFailed)
	if d == nil {
		return nil
	}
	for _, e := range in.ends() {
		r := in.route(e.question)
		if e.dev.NetNS != d.Device.NetNS || r == nil || r.Type != "unicast" || r.Via.IsValid() || isDefault(r) || r.Dst != d.Tuple.Dst.Addr() ||
			!in.offNode(d.Direction) || !in.endsHere(e.peer) {
			continue
		}
		return &Finding{
			Code: "cni-cidr-overlap", Confidence: tracer.Confirmed, Object: podRef(e.pod),
			Summary: fmt.Sprintf("pod %s takes %s for an address on its own link (%s dev %s) and asks for it there, where nobody has it: the network mask or a route of the pod is too wide",
				e.who, r.Dst, r.Prefix, r.Dev),
			Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState(e.who, "route to %s: %s dev %s, without a gateway", r.Dst, r.Prefix, r.Dev)},
		}
	}
	return nil
}

// offNode: the end that a direction goes to is known not to be on this node.
func (in *Input) offNode(dir tracer.Direction) bool {
	to := in.Cluster.Target
	if dir == tracer.DirReply {
		to = in.Cluster.Source
	}
	return in.Cluster.Known && (to.Kind == tracer.KindExternal || to.Node != "" && to.Node != in.NodeName)
}

// endsHere: the pod's link is a bridge that only pods of this node are plugged
// into, so that nobody beyond the node can be on it.
func (in *Input) endsHere(peer *tracer.Device) bool {
	bridge, ok := in.Inventory.Device(tracer.DeviceKey{NetNS: peer.NetNS, IfIndex: peer.Master})
	return ok && bridge.Role == tracer.RoleBridge && !slices.ContainsFunc(in.Inventory.Devices, func(d tracer.Device) bool {
		return d.NetNS == peer.NetNS && d.Master == peer.Master && d.Role != tracer.RolePodHost
	})
}

// gatewayElsewhere: a pod sends what is for its gateway to a MAC address that is
// not the node's: that of another pod that claims the address, or of nobody.
func gatewayElsewhere(in *Input) *Finding {
	if in.delivered() {
		return nil
	}
	for _, e := range in.ends() {
		if e.question == "src-pod" && in.passedBridge() || e.question == "dst-pod" && (!in.Journey.ReachedTarget || in.answerPassed(e.peer)) {
			continue
		}
		if f := in.wrongGateway(&e); f != nil {
			return f
		}
	}
	return nil
}

// passedBridge: the request came to the node itself, and not only to ports of the
// bridge, which a bridge floods with what it has no entry for.
func (in *Input) passedBridge() bool {
	return in.Journey.ReachedTarget || slices.ContainsFunc(in.Journey.Hops, func(h tracer.Hop) bool {
		return h.Direction == tracer.DirRequest && in.onHost(h.Device) && in.device(h.Device).Role != tracer.RolePodHost
	})
}

// answerPassed: an answer was seen on the node after it came out of the target.
func (in *Input) answerPassed(peer *tracer.Device) bool {
	return slices.ContainsFunc(in.Journey.Hops, func(h tracer.Hop) bool {
		return h.Direction == tracer.DirReply && in.onHost(h.Device) && h.Device != peer.DeviceKey && in.device(h.Device).Role != tracer.RolePodHost
	}) || slices.ContainsFunc(in.Journey.Answers, func(a tracer.Answer) bool { return a.ReachedClient })
}

func (in *Input) wrongGateway(e *podEnd) *Finding {
	r := in.route(e.question)
	if r == nil || !r.Via.IsValid() {
		return nil
	}
	right, known := in.gatewayMACs(r.Via, e.peer)
	i := slices.IndexFunc(in.Node.Neighbours, func(n tracer.NeighbourFact) bool {
		return n.NetNS == e.dev.NetNS && n.Addr == r.Via && n.MAC != "" && !unresolved(n.State)
	})
	if !known || i < 0 || slices.Contains(right, in.Node.Neighbours[i].MAC) {
		return nil
	}
	n := &in.Node.Neighbours[i]
	f := &Finding{
		Code: "cni-stale-neigh", Confidence: tracer.Confirmed, Object: podRef(e.pod),
		Summary:  fmt.Sprintf("pod %s sends what is for its gateway %s to the MAC address %s, which is not the node's", e.who, r.Via, n.MAC),
		Evidence: []tracer.Evidence{in.seenState(e.who, "neighbour %s dev %s: %s (%s), and the node has %s", n.Addr, n.Dev, n.MAC, n.State, right[0])},
		Remedy: []string{
			fmt.Sprintf("in the network namespace of %s (nsenter -n on %s): ip neigh show %s; ip neigh del %s dev %s", e.who, in.NodeName, n.Addr, n.Addr, n.Dev),
			fmt.Sprintf("if it comes back, see who answers: tcpdump -eni %s arp or icmp6 on %s", e.peer.Name, in.NodeName),
		},
	}
	for k := range in.Journey.Drops {
		if d := &in.Journey.Drops[k]; !d.ARP && !d.ICMPError {
			f.Evidence = append(f.Evidence, in.seenDrop(d))
		}
	}
	if who := in.claims(r.Via, n.MAC); who != nil {
		f.Code, f.Object = "cni-duplicate-ip", who
		f.Summary = fmt.Sprintf("%s has the address %s as well, which is the gateway's: pod %s sends it what is for the gateway", refName(who), r.Via, e.who)
		remove := fmt.Sprintf("kubectl get pods -A -o wide --field-selector spec.nodeName=%s lists the pods of the node", in.NodeName)
		if who.Name != "" {
			remove = fmt.Sprintf("kubectl -n %s delete pod %s", who.Namespace, who.Name)
		}
		f.Remedy = []string{
			"delete the pod that has the gateway's address, so that it gets another: " + remove,
			fmt.Sprintf("keep %s out of the range that the CNI hands out on %s (host-local: rangeStart, or the lease's file in /var/lib/cni/networks)", r.Via, in.NodeName),
		}
	}
	return f
}

// gatewayMACs are the MAC addresses that may stand for a pod's gateway: that of
// the device that has the address, of its bridge, or of the node's end of the
// veth, as proxy ARP answers. known: the node is the gateway.
func (in *Input) gatewayMACs(gateway netip.Addr, peer *tracer.Device) (list []string, known bool) {
	for i := range in.Inventory.Devices {
		d := &in.Inventory.Devices[i]
		has := slices.ContainsFunc(d.Addrs, func(p netip.Prefix) bool { return p.Addr() == gateway })
		if in.onHost(d.DeviceKey) && d.MAC != "" && (has || d.IfIndex == peer.Master && peer.Master != 0) {
			list = append(list, d.MAC)
			known = known || has
		}
	}
	if peer.Master == 0 && peer.MAC != "" {
		list, known = append(list, peer.MAC), true
	}
	return list, known
}

// claims finds the pod of this node that has an address and a MAC address, nil if
// none has.
func (in *Input) claims(a netip.Addr, mac string) *tracer.Ref {
	for i := range in.Inventory.Devices {
		d := &in.Inventory.Devices[i]
		if in.onHost(d.DeviceKey) || d.MAC != mac || !slices.ContainsFunc(d.Addrs, func(p netip.Prefix) bool { return p.Addr() == a }) {
			continue
		}
		for _, b := range in.Cluster.Bystanders {
			if b.NetNS == d.NetNS {
				return &tracer.Ref{Kind: "Pod", Namespace: b.Namespace, Name: b.Name}
			}
		}
		return &tracer.Ref{Kind: "Pod"}
	}
	return nil
}

func refName(r *tracer.Ref) string {
	if r.Name == "" {
		return "another pod of the node"
	}
	return "pod " + r.Namespace + "/" + r.Name
}

// discoveryBlocked: the next hop was not found, because a firewall dropped the
// question. IPv6 asks by ICMPv6, which rules drop that forget it.
func discoveryBlocked(in *Input) *Finding {
	failed := in.causeIf(neighbourFailed)
	if failed == nil {
		return nil
	}
	var q *tracer.DropSeen
	for i := range in.Journey.Drops {
		if d := &in.Journey.Drops[i]; d.ARP && netfilter(d) && in.onHost(d.Device) && d.Tuple.Src.Addr() == failed.Tuple.Src.Addr() {
			q = d
			break
		}
	}
	if q == nil {
		return nil
	}
	f := &Finding{
		Code: "node-input-blocked", Confidence: tracer.Probable, Object: in.nodeRef(), Rule: in.ruleFor(q),
		Evidence: []tracer.Evidence{in.seenDrop(failed), in.seenDrop(q)},
	}
	if q.Drop.Stage != tracer.StageInput {
		f.Code = "node-forward-drop"
	}
	what := "a firewall rule"
	if r := f.Rule; r != nil {
		f.Confidence = tracer.Confirmed
		f.Object = &tracer.Ref{Kind: "FirewallRule", Name: r.Family + " " + r.Table + " " + r.Chain}
		f.Evidence = append(f.Evidence, seenRule(in, r))
		what = fmt.Sprintf("a rule in table %s %s, chain %s", r.Family, r.Table, r.Chain)
	}
	how, allow := "neighbour discovery nobody is found over IPv6", "allow ICMPv6 types 133 to 136 (neighbour discovery, RFC 4890) at every hook, before the rule that drops"
	if q.Tuple.Src.Addr().Unmap().Is4() {
		how, allow = "ARP nobody is found over IPv4", "allow ARP (ether type 0x0806) before the rule that drops"
	}
	f.Summary = fmt.Sprintf("%s on node %s drops the questions by which %s looks for %s: without %s",
		what, in.NodeName, q.Tuple.Src.Addr(), q.Tuple.Dst.Addr(), how)
	f.Remedy = []string{allow, fmt.Sprintf("on %s: nft list ruleset, and ip6tables-save or arptables-save where those are used, show the rule", in.NodeName)}
	return f
}

// isolated: both ends are behind isolated ports of one bridge, between which it
// passes nothing.
func isolated(in *Input) *Finding {
	if in.delivered() || in.Journey.ReachedTarget || !in.sameBridge() {
		return nil
	}
	var ports []string
	for _, p := range in.Node.Ports {
		if p.Isolated && (p.Device == in.Node.SrcPeer.DeviceKey || p.Device == in.Node.DstPeer.DeviceKey) {
			ports = append(ports, p.Dev)
		}
	}
	d := in.cause()
	if len(ports) < 2 || d == nil || netfilter(d) || d.Drop.Stage != tracer.StageBridge && !neighbourFailed(d) {
		return nil
	}
	return &Finding{
		Code: "cni-port-isolated", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.TargetPod),
		Summary: fmt.Sprintf("the bridge of node %s passes nothing from %s to %s: the ports of both pods (%s, %s) are isolated",
			in.NodeName, in.source(), in.target(), ports[0], ports[1]),
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState(in.NodeName, "bridge ports %s and %s: isolated on", ports[0], ports[1])},
	}
}

// bridgeMTU: a bridge dropped what is larger than the MTU of the port that it is
// for, of which it tells nobody.
func bridgeMTU(in *Input) *Finding {
	d := in.causeIf(func(d *tracer.DropSeen) bool { return d.Drop.Stage == tracer.StageBridge && !netfilter(d) })
	if d == nil {
		return nil
	}
	port := in.device(d.Device)
	if port.Master == 0 || port.MTU == 0 || d.Len <= uint32(port.MTU) {
		return nil
	}
	f := &Finding{
		Code: "cni-mtu-blackhole", Confidence: tracer.Confirmed, Object: in.nodeRef(),
		Summary: fmt.Sprintf("packets of %d bytes from %s are larger than the MTU of %s (%d), and a bridge drops such packets without a word to the sender",
			d.Len, d.Tuple.Src.Addr(), in.where(port.DeviceKey), port.MTU),
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState(in.where(port.DeviceKey), "MTU %d", port.MTU)},
	}
	for _, e := range in.ends() {
		if e.peer.DeviceKey == port.DeviceKey {
			f.Object = podRef(e.pod)
			f.Evidence = append(f.Evidence, in.seenState(e.who, "%s: MTU %d", e.dev.Name, e.dev.MTU))
		}
	}
	return f
}
