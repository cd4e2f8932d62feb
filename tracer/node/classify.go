package node

// pairing is the evidence about a namespace that is directly joined to the
// node's: by a veth pair, or by a macvlan or ipvlan child of a node's device.
type pairing struct {
	// PodIP: it carries an address that the cluster calls a pod's.
	PodIP bool
	// HoldsGateway: it carries the address that the node's default route
	// leads to.
	HoldsGateway bool
	// NodeDefaultHere: the node's default route leaves by the joint.
	NodeDefaultHere bool
	// NodeHasDefault: the node has a default route at all.
	NodeHasDefault bool
	// DefaultToNode: its own default route leads over the joint, or to an
	// address of the node.
	DefaultToNode bool
	// HostRoute: the node has a /32 or /128 route over the joint to an address
	// of it.
	HostRoute bool
	// NodeEndBridged and FarEndBridged: that end is a port of a bridge.
	NodeEndBridged, FarEndBridged bool
	// SharedSubnet: both ends carry addresses of one subnet, and the node's end
	// is no bridge port.
	SharedSubnet bool
	// LeadsFurther: it has pairs with other namespaces than the node's.
	LeadsFurther bool
}

// classify decides whether a directly joined namespace is a pod, or what the
// node's uplink is plugged into (a fabric, another host on the same kernel: as
// in tests). It gives the reason as well. The order is the order of strength:
// a known pod address proves a pod; being where the node's default route leads
// proves that it is none; after that the direction of the other default
// routes, host routes, bridges and at last the addresses decide. Every CNI that
// joins without a bridge (calico, cilium, aws, kindnet, the ptp plugin) gives
// the node's end no address or a /32, so that a shared subnet without a bridge
// is the mark of a link between hosts.
func classify(p pairing) (pod bool, why string) {
	switch {
	case p.PodIP:
		return true, "carries a pod's address"
	case p.HoldsGateway:
		return false, "holds the node's default gateway"
	case p.NodeDefaultHere:
		return false, "the node's default route leads to it"
	case p.SharedSubnet && p.LeadsFurther:
		return false, "shares a subnet with the node and leads to further namespaces"
	case p.SharedSubnet && !p.NodeHasDefault:
		return false, "shares a subnet with an unbridged device of a node without default route"
	case p.DefaultToNode:
		return true, "its default route leads to the node"
	case p.HostRoute:
		return true, "the node has a host route to it"
	case p.NodeEndBridged && !p.FarEndBridged:
		return true, "plugged into a bridge of the node"
	case p.FarEndBridged:
		return false, "the node is plugged into a bridge of it"
	case p.SharedSubnet:
		return false, "shares a subnet with an unbridged device of the node"
	}
	return true, "paired with the node and nothing speaks against it"
}
