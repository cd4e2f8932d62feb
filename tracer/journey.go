package tracer

import (
	"net/netip"
	"time"
)

// Direction of a packet within its flow.
type Direction string

const (
	DirRequest Direction = "request" // from the client
	DirReply   Direction = "reply"
)

// Outcome is what the client saw (contract: "outcome").
type Outcome string

const (
	OutcomeDelivered       Outcome = "delivered"
	OutcomeNoAnswer        Outcome = "no-answer"
	OutcomeReset           Outcome = "reset"
	OutcomeRefused         Outcome = "refused"
	OutcomeICMPError       Outcome = "icmp-error"
	OutcomeConnectedNoData Outcome = "connected-no-data"
	OutcomeResetMidFlow    Outcome = "reset-mid-flow"
	OutcomeIntermittent    Outcome = "intermittent"
	OutcomeSlow            Outcome = "slow"
	OutcomeDNSError        Outcome = "dns-error"
	OutcomeNotSent         Outcome = "not-sent"
	OutcomeNotSeen         Outcome = "not-seen"
)

// Hop is every sighting of one direction of a flow at one device and hook.
type Hop struct {
	Direction Direction `json:"direction"`
	Kind      EventKind `json:"kind"` // rx or tx
	Device    DeviceKey `json:"device"`
	// Tuple is what the header said at this hop, first sighting.
	Tuple Tuple `json:"tuple"`
	// Inner is set where the flow was seen inside a tunnel packet.
	Inner *Inner    `json:"inner,omitempty"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// FirstMonoNS orders hops.
	FirstMonoNS uint64 `json:"first_mono_ns"`
	Packets     uint64 `json:"packets"`
	// MaxLen is the largest packet in bytes.
	MaxLen uint32 `json:"max_len,omitempty"`
	Event  uint64 `json:"event"` // Seq of the first sighting
}

// DropSeen is one or more drops of a flow at one place for one reason.
type DropSeen struct {
	DropSite
	Direction Direction `json:"direction"`
	Count     uint64    `json:"count"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	MonoNS    uint64    `json:"mono_ns"`
	Len       uint32    `json:"len"`
	Event     uint64    `json:"event"`
	CT        *CT       `json:"ct,omitempty"`
	// ARP: what was dropped is the address resolution, not the flow itself.
	ARP bool `json:"arp,omitempty"`
	// ICMPError: what was dropped is an ICMP error about this flow, or a redirect.
	ICMPError bool `json:"icmp_error,omitempty"`
	// Reported: the drop was not seen, but is what an ICMP error says; Event is the
	// error's.
	Reported bool `json:"reported,omitempty"`
}

// AnswerKind is what came back.
type AnswerKind string

const (
	AnswerSynAck AnswerKind = "syn-ack"
	AnswerRST    AnswerKind = "rst"
	AnswerICMP   AnswerKind = "icmp"
	AnswerData   AnswerKind = "data"
	AnswerReply  AnswerKind = "reply" // UDP, ICMP echo, SCTP
	AnswerFin    AnswerKind = "fin"
)

// Answer is one kind of answer, with who sent it as far as it was seen.
type Answer struct {
	Kind AnswerKind `json:"kind"`
	// From is the source address of the answer where it was first seen.
	From netip.Addr `json:"from"`
	// Device and Hook are the first sighting. TX at a pod's device, or at a
	// node's device without an earlier RX, means that it was made there.
	Device DeviceKey `json:"device"`
	Hook   EventKind `json:"hook"`
	// ReachedClient is true if it was seen arriving at the client's own device,
	// or, if that device is not watched, at the node's end of its veth.
	ReachedClient bool `json:"reached_client"`
	// Bare: an RST without an acknowledgement, as it answers a segment that
	// belongs to no connection (RFC 9293 §3.5.2); who ends a connection of its own
	// acknowledges.
	Bare     bool      `json:"bare,omitempty"`
	ICMPType uint8     `json:"icmp_type,omitempty"`
	ICMPCode uint8     `json:"icmp_code,omitempty"`
	ICMPMTU  uint32    `json:"icmp_mtu,omitempty"`
	Proto    uint8     `json:"proto"`
	Time     time.Time `json:"time"`
	MonoNS   uint64    `json:"mono_ns"`
	Count    uint64    `json:"count"`
	Event    uint64    `json:"event"`
}

// Translation is one address translation of a flow.
type Translation struct {
	Kind string         `json:"kind"` // "dnat", "snat"
	From netip.AddrPort `json:"from"`
	To   netip.AddrPort `json:"to"`
	// Event is the sighting that carried both tuples.
	Event uint64 `json:"event"`
}

// Pause is a time in which no packet of a flow passed, in either direction.
type Pause struct {
	Quiet time.Duration `json:"quiet_ns"`
	// Ended is when the next packet was seen, or, where packets are only counted,
	// known of.
	Ended time.Time `json:"ended"`
}

// Journey is everything seen of one flow, in both directions, across
// translation and encapsulation. path builds it; rules only read it.
type Journey struct {
	// ID is stable within a session.
	ID uint64 `json:"id"`
	// Flow is the original direction as the client sent it.
	Flow Tuple `json:"flow"`
	// Translated is the original direction after all translation seen;
	// equals Flow if none was.
	Translated   Tuple         `json:"translated"`
	Translations []Translation `json:"translations,omitempty"`
	// CTSeen is true if any sighting carried a conntrack entry.
	CTSeen bool `json:"ct_seen"`

	Hops    []Hop      `json:"hops"` // ordered by FirstMonoNS
	Drops   []DropSeen `json:"drops,omitempty"`
	Answers []Answer   `json:"answers,omitempty"`

	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Attempts counts first transmissions and retransmissions of the opening
	// packet (SYN, or UDP/ICMP requests) where the flow was first seen.
	Attempts uint64 `json:"attempts"`
	// Retransmits counts retransmitted segments where the flow was first seen.
	Retransmits uint64 `json:"retransmits"`
	// Established: the client's ACK of the SYN-ACK was seen.
	Established bool `json:"established"`
	// Closed: FIN from both sides, or RST.
	Closed bool `json:"closed"`
	// ClientReset: the client's side sent an RST (request direction).
	ClientReset bool `json:"client_reset,omitempty"`
	// RequestBytes and ReplyBytes are transport payload bytes seen at the first
	// hop of each direction.
	RequestBytes uint64 `json:"request_bytes"`
	ReplyBytes   uint64 `json:"reply_bytes"`
	// ReplyPackets at the first hop of the reply direction.
	ReplyPackets uint64 `json:"reply_packets"`
	// ReachedTarget: seen arriving on the device that owns the translated
	// destination (in the pod or on the node itself).
	ReachedTarget bool `json:"reached_target"`
	// LeftNode: seen leaving by an uplink; LeftAs is the tuple it had there.
	LeftNode bool  `json:"left_node"`
	LeftAs   Tuple `json:"left_as,omitzero"`
	// LeftBy is that uplink.
	LeftBy DeviceKey `json:"left_by,omitzero"`
	// SrcDevice and DstDevice are the devices that own the ends, if on this node.
	SrcDevice DeviceKey `json:"src_device,omitzero"`
	DstDevice DeviceKey `json:"dst_device,omitzero"`
	// Pause is the last one of at least a second, nil if there was none.
	Pause *Pause `json:"pause,omitempty"`
	// Mid is true if the trace began after the flow did.
	Mid bool `json:"mid,omitempty"`
	// Lookup sums up the flow's DNS messages, nil if there were none.
	Lookup *Lookup `json:"lookup,omitempty"`
	// OverUDP is, for a TCP connection to a DNS server, the client's lookup there
	// right before it: an answer that was truncated is fetched over TCP.
	OverUDP *Lookup `json:"over_udp,omitempty"`
	// Upstream is what the DNS server that was asked has asked others meanwhile,
	// if the lookup did not go well, as far as it was watched.
	Upstream []Upstream `json:"upstream,omitempty"`
	// Partial: the tracer's budget may have kept packets of this flow from being
	// shown, so that what is missing here may have happened.
	Partial bool `json:"partial,omitempty"`
}
