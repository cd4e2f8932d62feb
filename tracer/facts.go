package tracer

import (
	"net/netip"
	"time"
)

// Query asks for the node's facts about one flow; path derives it from what
// was seen, so that only what the rules need is read.
type Query struct {
	Flow Tuple `json:"flow"` // as the client sent it
	// Translated is the original direction after translation, if any was seen.
	Translated Tuple `json:"translated,omitzero"`
	// SrcNetNS and DstNetNS are the namespaces of the ends on this node, 0 if
	// an end is not here. DstNetNS follows the translated destination.
	SrcNetNS uint32 `json:"src_netns,omitempty"`
	DstNetNS uint32 `json:"dst_netns,omitempty"`
	// Since is when the flow was first seen: counters count from the last reading
	// before it. Zero: from the first one.
	Since time.Time `json:"since,omitzero"`
	// Drops are the distinct drops of the flow, for the rule and route look-ups.
	Drops []DropSite `json:"drops,omitempty"`
	// Last is when its last packet was seen: what was read after that is as good as
	// what is read now. Zero asks for what is so now.
	Last time.Time `json:"-"`
}

// DropSite is where packets of a flow were dropped, without counts.
type DropSite struct {
	Device DeviceKey `json:"device"`
	// InDevice is the device the packet entered the namespace by.
	InDevice DeviceKey `json:"in_device,omitzero"`
	Tuple    Tuple     `json:"tuple"`
	Mark     uint32    `json:"mark,omitempty"`
	// TCPFlags and Conn are the first dropped packet's, if seen. Rules ask for
	// them ("ct state new"); without them such rules stay undecided.
	TCPFlags uint8 `json:"tcp_flags,omitempty"`
	Conn     *CT   `json:"conn,omitempty"`
	Drop     Drop  `json:"drop"`
}

// NodeFacts is what the node said about one flow, read at one moment. A nil or
// empty field means "not asked" or "nothing found"; what could not be read is
// in Blind.
type NodeFacts struct {
	At time.Time `json:"at"`
	// Hostname-independent identity of the node's own namespace.
	HostNetNS uint32 `json:"host_netns"`

	// SrcDevice and DstDevice are the devices (in pod or host) that carry the
	// flow's source and translated destination, with their veth peers.
	SrcDevice *Device `json:"src_device,omitempty"`
	SrcPeer   *Device `json:"src_peer,omitempty"`
	DstDevice *Device `json:"dst_device,omitempty"`
	DstPeer   *Device `json:"dst_peer,omitempty"`

	// Routes are FIB answers, each to the question it names.
	Routes []RouteFact `json:"routes,omitempty"`
	// Neighbours are the entries for next hops and destinations.
	Neighbours []NeighbourFact `json:"neighbours,omitempty"`
	// Listeners are the listening sockets for the flow's protocol and port, on
	// any address, and also every other listening port, in the destination's
	// namespace.
	Listeners []Listener `json:"listeners,omitempty"`
	// ListenersRead is false if the sockets could not be read.
	ListenersRead bool `json:"listeners_read,omitempty"`
	// Sysctls by name ("net.ipv4.ip_forward"), of the node's namespace; those
	// of another namespace carry its inode: "4026532000:net.ipv4...".
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// Counters are netns counters ("IpOutNoRoutes", "TcpExtListenDrops",
	// "IPReversePathFilter", ...) by netns, as deltas since the last reading before
	// the flow was first seen, or since the trace began.
	Counters map[uint32]map[string]uint64 `json:"counters,omitempty"`
	// Ports are the bridge ports that the flow uses, with their settings.
	Ports []BridgePort `json:"ports,omitempty"`
	// Tunnels are the tunnel devices that the routes lead to.
	Tunnels []TunnelFact `json:"tunnels,omitempty"`
	// Forwarding are the forwarding entries (FDB) for the MAC addresses that the
	// flow's packets go to, on bridges and VXLAN devices. ForwardingRead is false
	// if they could not be read in full: then a missing one proves nothing.
	Forwarding     []ForwardingFact `json:"forwarding,omitempty"`
	ForwardingRead bool             `json:"forwarding_read,omitempty"`
	// Queues are the queueing disciplines on devices of the path, but for those
	// that every device has (noqueue, and what only classifies).
	Queues []QueueFact `json:"queues,omitempty"`
	// MTUs are those of the devices that the flow passes, namespace by namespace.
	MTUs []MTUFact `json:"mtus,omitempty"`
	// Tracked are conntrack's entries for the flow in the node's namespace, as
	// they are now, and TrackedRead whether it could be asked.
	Tracked     []TrackedFact `json:"tracked,omitempty"`
	TrackedRead bool          `json:"tracked_read,omitempty"`
	// Programs are BPF programs attached on devices of the path and to the control
	// groups of the ends, not ours.
	Programs []BPFProgram `json:"programs,omitempty"`
	// Filters are tc filters on devices of the path that are no programs, and may drop.
	Filters []FilterFact `json:"filters,omitempty"`
	// Rules are filter rules that the dropped packet meets, best first.
	Rules []RuleFact `json:"rules,omitempty"`
	// Services says what this node's Service translation looks like.
	Services *ServiceRules `json:"services,omitempty"`
	// Masquerade rules in the node's namespace that the flow would have met.
	Masquerade []RuleFact `json:"masquerade,omitempty"`
	// MasqueradeElsewhere is the rule that the same flow to a public address would
	// have met, if no rule masquerades it to where it goes.
	MasqueradeElsewhere *RuleFact `json:"masquerade_elsewhere,omitempty"`
	// MasqueradeRead is false if NAT rules could not be read.
	MasqueradeRead bool `json:"masquerade_read,omitempty"`
	// Untracked are rules that keep conntrack from seeing the flow ("notrack"), and
	// with it all translation.
	Untracked []RuleFact `json:"untracked,omitempty"`
	// Zoned is the rule in the node's namespace for which conntrack looks for the flow's
	// answers in another zone than the one that it knows the flow in.
	Zoned []RuleFact `json:"zoned,omitempty"`
	// Redirected is the rule in the node's namespace that gives the flow's first packet
	// another destination and is no Service's, if any is certain to. Its Endpoint is
	// that destination, none if it is the node itself.
	Redirected []RuleFact `json:"redirected,omitempty"`
	Blind      []Blind    `json:"blind,omitempty"`
}

// RouteFact is one FIB look-up and its answer.
type RouteFact struct {
	// For says which question this answers: "forward" (source to translated
	// destination, in the node), "reverse" (destination back to source, in the
	// node), "src-pod" (in the source's namespace), "dst-pod" (reply in the
	// destination's namespace).
	For   string     `json:"for"`
	NetNS uint32     `json:"netns"`
	Src   netip.Addr `json:"src,omitzero"`
	Dst   netip.Addr `json:"dst"`
	IIF   string     `json:"iif,omitempty"`
	Mark  uint32     `json:"mark,omitempty"`
	// Type is "unicast", "local", "blackhole", "unreachable", "prohibit",
	// "throw", or "none" if no route matches.
	Type   string     `json:"type"`
	Prefix string     `json:"prefix,omitempty"` // the matching route's destination
	Dev    string     `json:"dev,omitempty"`
	OIF    uint32     `json:"oif,omitempty"`
	Via    netip.Addr `json:"via,omitzero"`
	// Hops are all next hops of a route that has several, of which the kernel takes
	// one for each flow. Dev, OIF and Via are the first's then.
	Hops []NextHop `json:"hops,omitempty"`
	// Table and Protocol as iproute2 prints them ("main", "bird").
	Table    string `json:"table,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	MTU      int    `json:"mtu,omitempty"` // of the output device
	// PathMTU is what the route says, or an ICMP error that the kernel remembers
	// for this destination; 0 if neither.
	PathMTU int `json:"path_mtu,omitempty"`
}

// NextHop is one of several that a route has.
type NextHop struct {
	Dev string     `json:"dev"`
	OIF uint32     `json:"oif"`
	Via netip.Addr `json:"via,omitzero"`
}

// NeighbourFact is one entry of a neighbour table.
type NeighbourFact struct {
	NetNS uint32     `json:"netns"`
	Dev   string     `json:"dev"`
	Addr  netip.Addr `json:"addr"`
	MAC   string     `json:"mac,omitempty"`
	State string     `json:"state"` // "REACHABLE", "FAILED", ...
}

// Listener is one listening (TCP, SCTP) or bound (UDP) socket.
type Listener struct {
	NetNS uint32         `json:"netns"`
	Proto uint8          `json:"proto"`
	Addr  netip.AddrPort `json:"addr"`
	// V6Only is IPV6_V6ONLY; a wildcard IPv6 socket without it takes IPv4 too.
	V6Only bool `json:"v6only,omitempty"`
	// Queue and Backlog are the accept queue's length and limit.
	Queue   uint32 `json:"queue,omitempty"`
	Backlog uint32 `json:"backlog,omitempty"`
}

// BPFProgram is a program attached where the flow passes.
type BPFProgram struct {
	Device DeviceKey `json:"device"`
	Dev    string    `json:"dev"`
	// Attach is "tc ingress", "tc egress", "tcx ingress", "tcx egress", "xdp",
	// "netkit primary", "netkit peer", or "cgroup connect4" and the like.
	Attach string `json:"attach"`
	Name   string `json:"name"`
	ID     uint32 `json:"id"`
	Tag    string `json:"tag,omitempty"`
	// Owner is the component whose naming it follows ("cilium", "calico",
	// "aws-network-policy-agent"), "" if unknown.
	Owner string `json:"owner,omitempty"`
	// Cgroup is the control group it is attached to, from the root on ("/").
	Cgroup string `json:"cgroup,omitempty"`
}

// RuleFact is one firewall or NAT rule.
type RuleFact struct {
	Engine string `json:"engine"` // "nftables", "iptables-nft", "iptables-legacy", "tc"
	Family string `json:"family"` // "ip", "ip6", "inet", "bridge"
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Handle uint64 `json:"handle,omitempty"`
	// Hook of the base chain that leads here ("forward").
	Hook    string `json:"hook,omitempty"`
	Text    string `json:"text"`
	Comment string `json:"comment,omitempty"`
	// Verdict is "drop", "reject", "accept", "dnat", "masquerade", ...
	Verdict string `json:"verdict"`
	// How it was found: "counter" (its counter moved during the trace),
	// "computed" (evaluation of the rule set), "observed" (the kernel's trace).
	How string `json:"how"`
	// Packets is the counter's delta over the trace, if How is "counter".
	Packets uint64 `json:"packets,omitempty"`
	// Owner is who writes such rules: "kube-proxy", "calico", "kube-router",
	// "cilium", "weave", "flannel", "aws-vpc-cni", "firewalld", "ufw",
	// "docker", "cni" (a policy agent recognised by the policy named in the
	// rule), or "" if unknown.
	Owner string `json:"owner,omitempty"`
	// Policy is "namespace/name" if the rule or its chain names a policy.
	Policy string `json:"policy,omitempty"`
	// Agent is what the rule says about itself, if its owner is a policy agent
	// whose chains are understood (Calico's).
	Agent *AgentRule `json:"agent,omitempty"`
	// Service is "namespace/name" if the rule, its chain or a chain on the way to
	// it names a Service, Endpoint the address it names of that Service.
	Service  string         `json:"service,omitempty"`
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`
	// BasePolicy is set when no rule but the base chain's policy decides.
	BasePolicy bool `json:"base_policy,omitempty"`
}

// What translates Services, as ServiceRules.Implementations names it. IPVS is
// kube-proxy's or kube-router's.
const (
	ProxyNFTables       = "kube-proxy-nftables"
	ProxyIPTables       = "kube-proxy-iptables"
	ProxyIPTablesLegacy = "kube-proxy-iptables-legacy"
	ProxyIPVS           = "ipvs"
	ProxyCilium         = "cilium"
	ProxyCalicoBPF      = "calico-ebpf"
	ProxyOVN            = "ovn"
	ProxyAntrea         = "antrea"
)

// ServiceRules is what translates Services on this node, as far as it shows.
type ServiceRules struct {
	// Implementations found: Proxy*.
	Implementations []string `json:"implementations,omitempty"`
	// Any is true if rules for at least one Service exist.
	Any bool `json:"any"`
	// HasFrontend is true if rules exist for the flow's address, protocol and port.
	HasFrontend bool `json:"has_frontend"`
	// NoEndpoints is true if the rules turn this frontend away for want of
	// endpoints, NoLocal if for want of endpoints on this node.
	NoEndpoints bool `json:"no_endpoints,omitempty"`
	NoLocal     bool `json:"no_local,omitempty"`
	// Targets are the endpoints that the rules translate this frontend to.
	Targets []netip.AddrPort `json:"targets,omitempty"`
	// Affinity is how long the rules keep a client with the endpoint that it had last
	// (sessionAffinity ClientIP), 0 if they do not. Pinned is the endpoint that they
	// keep this client with now, where the list of clients is read (nftables).
	Affinity time.Duration  `json:"affinity,omitempty"`
	Pinned   netip.AddrPort `json:"pinned,omitzero"`
	// IPVS is the virtual server that takes the flow, if IPVS has one.
	IPVS *VirtualServer `json:"ipvs,omitempty"`
	// Complete is false if the rules could not be read or understood fully; then
	// absence proves nothing.
	Complete bool `json:"complete"`
}

// VirtualServer is what IPVS does with a frontend (linux/ip_vs.h).
type VirtualServer struct {
	Scheduler string `json:"scheduler"` // "rr", "wrr", "sh", ...
	// Persistence is how long a client stays with its destination, 0 if it does
	// not.
	Persistence  time.Duration        `json:"persistence,omitempty"`
	Destinations []VirtualDestination `json:"destinations,omitempty"`
}

// IPVSMasquerade is the method by which IPVS translates the destination.
const IPVSMasquerade = "masquerade"

// VirtualDestination is a real server behind a virtual one.
type VirtualDestination struct {
	Addr netip.AddrPort `json:"addr"`
	// Method is IPVSMasquerade, or one that leaves the packet's destination as it
	// is: "direct", "tunnel", "local", "bypass".
	Method string `json:"method"`
	// Weight 0 takes no new connection and keeps those that it has.
	Weight int32 `json:"weight"`
	// Active and Inactive are its connections: established, and all others.
	Active   uint32 `json:"active,omitempty"`
	Inactive uint32 `json:"inactive,omitempty"`
}

// Blind is something that this kernel, node or run could not show, and what
// that means for the answer.
type Blind struct {
	What   string `json:"what"`
	Effect string `json:"effect"`
}
