package verdict

import (
	"fmt"

	"github.com/podpath/podpath/tracer"
)

// checksum: the receiver threw packets away for their checksum. One of a tunnel's
// own packet says that the sending node's tunnel device leaves it to a card, or a
// kernel, that gets it wrong; one of the flow's own can come from anywhere.
func checksum(in *Input) *Finding {
	d := in.lost(in.badChecksum)
	if d == nil {
		return nil
	}
	f := &Finding{Code: "node-csum", Confidence: tracer.Confirmed, Object: in.nodeRef(), Evidence: []tracer.Evidence{in.seenDrop(d)}}
	if d.Drop.Reason == "" {
		f.Confidence = tracer.Probable // the counter is of all flows
	}
	if !in.encloses(d.Tuple) || !in.onHost(d.Device) {
		f.Summary = fmt.Sprintf("packets from %s arrive with a wrong checksum at %s", d.Tuple.Src.Addr(), in.where(d.Device))
		return f
	}
	from := d.Tuple.Src.Addr().String()
	f.Object = nil // whoever it is, it is not this node
	if n := in.sentBy(d); n != "" {
		f.Object, from = &tracer.Ref{Kind: "Node", Name: n}, fmt.Sprintf("node %s (%s)", n, from)
	}
	f.Code, f.Confidence = "cni-csum-offload", tracer.Probable
	f.Blind = append(f.Blind, tracer.Blind{What: "how the sending node computes checksums", Effect: "what changes the tunnel's packets between the nodes, as NAT does, can break them as well"})
	f.Summary = fmt.Sprintf("the tunnel's packets from %s arrive at node %s with a wrong checksum on the outside (UDP port %d), and are dropped before the tunnel device gets them",
		from, in.NodeName, d.Tuple.Dst.Port())
	return f
}

// badChecksum: the kernel's reason says so (include/net/dropreason-core.h), or, where
// there are none (before 5.17), the place and a counter that makes up for all the
// drops: packets for which there is no socket are freed there too, and refused.
func (in *Input) badChecksum(d *tracer.DropSeen) bool {
	switch d.Drop.Reason {
	case "TCP_CSUM", "UDP_CSUM", "IP_CSUM", "ICMP_CSUM":
		return true
	}
	if a := in.refusal(); a != nil && a.Device.NetNS == d.Device.NetNS {
		return false
	}
	counted := func(name string) bool { return in.counter(d.Device.NetNS, name) >= max(d.Count, 1) }
	return unnamed(d, "tcp_v4_rcv", "tcp_v6_rcv") && counted("TcpInCsumErrors") ||
		unnamed(d, "__udp4_lib_rcv", "udp_queue_rcv_one_skb") && counted("UdpInCsumErrors") ||
		unnamed(d, "__udp6_lib_rcv", "udpv6_queue_rcv_one_skb") && counted("Udp6InCsumErrors")
}

// tunnelOn is the name of the node's tunnel device for an outer port, "" if it
// has none.
func (in *Input) tunnelOn(port uint16) string {
	for i := range in.Node.Tunnels {
		if t := &in.Node.Tunnels[i]; t.Port == port && in.onHost(t.Device) {
			return t.Dev
		}
	}
	var only string
	for i := range in.Inventory.Devices {
		if d := &in.Inventory.Devices[i]; in.onHost(d.DeviceKey) && (d.Kind == "vxlan" || d.Kind == "geneve") {
			if only != "" {
				return ""
			}
			only = d.Name
		}
	}
	return only
}
