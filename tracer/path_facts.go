package tracer

import (
	"net/netip"
	"time"
)

// BridgePort is a device that is plugged into a bridge (IFLA_BRPORT_*).
type BridgePort struct {
	Device DeviceKey `json:"device"`
	Dev    string    `json:"dev"`
	Bridge string    `json:"bridge"`
	// Hairpin: packets may leave by the port they came from.
	Hairpin bool `json:"hairpin"`
	// Isolated: no packets to other isolated ports.
	Isolated bool `json:"isolated"`
	Learning bool `json:"learning"`
	// Flood: packets to unknown addresses leave by it.
	Flood bool `json:"flood"`
}

// TunnelFact is how a tunnel device is set up.
type TunnelFact struct {
	Device DeviceKey `json:"device"`
	Dev    string    `json:"dev"`
	Kind   string    `json:"kind"` // "vxlan", "geneve", "ipip", "sit", ...
	// VNI and Port are VXLAN's and Geneve's, in host order.
	VNI  uint32 `json:"vni,omitempty"`
	Port uint16 `json:"port,omitempty"`
	// Local and Remote are the outer addresses, where they are fixed.
	Local  netip.Addr `json:"local,omitzero"`
	Remote netip.Addr `json:"remote,omitzero"`
	// Underlay is the device that it is bound to, "" if the routes decide.
	Underlay string `json:"underlay,omitempty"`
	Learning bool   `json:"learning,omitempty"`
	// External: each packet brings the outer addresses along (routes, BPF, OVS).
	External bool `json:"external,omitempty"`
	MTU      int  `json:"mtu"`
}

// ForwardingFact is one forwarding entry of a bridge or a VXLAN device.
type ForwardingFact struct {
	NetNS uint32 `json:"netns"`
	// Dev is the VXLAN device, or the bridge's port that the entry leads to.
	Dev    string `json:"dev"`
	Bridge string `json:"bridge,omitempty"`
	MAC    string `json:"mac"`
	// Remote is the other end of the tunnel, on VXLAN devices.
	Remote    netip.Addr `json:"remote,omitzero"`
	Permanent bool       `json:"permanent,omitempty"`
}

// QueueFact is one queueing discipline. The counts are since it was made.
type QueueFact struct {
	Device DeviceKey `json:"device"`
	Dev    string    `json:"dev"`
	Kind   string    `json:"kind"` // "tbf", "htb", "fq_codel", ...
	// RateBytes is what it lets through in a second, 0 if it is none that limits.
	RateBytes    uint64 `json:"rate_bytes,omitempty"`
	BacklogBytes uint32 `json:"backlog_bytes,omitempty"`
	Drops        uint32 `json:"drops,omitempty"`
	Overlimits   uint32 `json:"overlimits,omitempty"`
}

// FilterFact is one tc filter that is no BPF program, and that may drop.
type FilterFact struct {
	Device DeviceKey `json:"device"`
	Dev    string    `json:"dev"`
	// Side is "ingress" or "egress" of the device.
	Side string `json:"side"`
	Kind string `json:"kind"` // "u32", "flower", "matchall", ...
	// Chain, Priority ("pref") and Handle tell it from others of the same side.
	Chain    uint32         `json:"chain,omitempty"`
	Priority uint16         `json:"priority"`
	Handle   uint32         `json:"handle"`
	Actions  []FilterAction `json:"actions,omitempty"`
}

// FilterAction is what a filter does with a packet that it matches.
type FilterAction struct {
	Kind string `json:"kind"` // "gact", "police", "mirred", ...
	// Drops: it is set to drop what it is given or, if it is a policer, what exceeds
	// its rate. Any action drops what it cannot do.
	Drops bool `json:"drops,omitempty"`
	// RateBytes is what a policer lets through in a second.
	RateBytes uint64 `json:"rate_bytes,omitempty"`
	// To is the device that it sends packets or copies to, and ToDown whether that one
	// takes none.
	To     string `json:"to,omitempty"`
	ToDown bool   `json:"to_down,omitempty"`
	// Lost is how many packets it dropped since it was made.
	Lost uint64 `json:"lost,omitempty"`
	// Moved is by how much Lost grew since the reading that the counters of NodeFacts
	// begin with, if Counted.
	Moved   uint64 `json:"moved,omitempty"`
	Counted bool   `json:"counted,omitempty"`
}

// MTUFact is the MTU of one device on the way.
type MTUFact struct {
	Device DeviceKey `json:"device"`
	Dev    string    `json:"dev"`
	Kind   string    `json:"kind,omitempty"`
	MTU    int       `json:"mtu"`
}

// TrackedFact is one entry of conntrack.
type TrackedFact struct {
	NetNS  uint32 `json:"netns"`
	Orig   Tuple  `json:"orig"`
	Reply  Tuple  `json:"reply"`
	Status uint32 `json:"status"` // IPS_*
	Mark   uint32 `json:"mark,omitempty"`
	Zone   uint16 `json:"zone,omitempty"`
	// Timeout is how long it lives on without another packet.
	Timeout time.Duration `json:"timeout"`
	// Age is how old it is, 0 where the node keeps no time stamps
	// (net.netfilter.nf_conntrack_timestamp).
	Age time.Duration `json:"age,omitempty"`
	// State is TCP's, as /proc/net/nf_conntrack prints it.
	State string `json:"state,omitempty"`
}
