package tracer

import (
	"fmt"
	"time"
)

// EventKind says which kind of hook saw a packet.
type EventKind string

const (
	// EventRX: the device received it (TCX ingress, or netif_receive_skb),
	// before the network stack of that namespace looked at it.
	EventRX EventKind = "rx"
	// EventTX: the stack hands it to the device (TCX egress, or net_dev_queue).
	EventTX EventKind = "tx"
	// EventDrop: the kernel freed it as a drop (kfree_skb).
	EventDrop EventKind = "drop"
)

// TCP flag bits as in the header (RFC 9293 §3.1).
const (
	TCPFin uint8 = 1 << iota
	TCPSyn
	TCPRst
	TCPPsh
	TCPAck
)

// Event is one packet at one hook. It is immutable once made.
type Event struct {
	// Seq numbers the events of one session from 1, in the order read.
	Seq uint64 `json:"seq"`
	// Time is the wall clock; MonoNS is CLOCK_MONOTONIC in nanoseconds, and
	// orders events of one node exactly.
	Time   time.Time `json:"time"`
	MonoNS uint64    `json:"mono_ns"`
	Kind   EventKind `json:"kind"`

	// NetNS is the inode of the network namespace of the device, 0 if unknown.
	NetNS   uint32 `json:"netns"`
	IfIndex uint32 `json:"ifindex"`
	// InIfIndex is skb->skb_iif, the device the packet entered this namespace
	// by; 0 for packets made here.
	InIfIndex uint32 `json:"in_ifindex,omitempty"`
	// SKB identifies the sk_buff while it lives; addresses are reused.
	SKB uint64 `json:"skb,omitempty"`

	// Tuple is what the header says here. Zero for non-IP packets.
	Tuple Tuple `json:"tuple"`
	// ARP is set for ARP and IPv6 neighbour discovery: Tuple.Src is the asking
	// address and Tuple.Dst the wanted one, without ports.
	ARP bool `json:"arp,omitempty"`
	// Inner is the encapsulated packet, if this is a tunnel packet.
	Inner *Inner `json:"inner,omitempty"`
	// Quoted is the packet that an ICMP error answers, as quoted in it.
	Quoted *Tuple `json:"quoted,omitempty"`
	CT     *CT    `json:"ct,omitempty"`

	// Len is skb->len in bytes at this hook: from the IP header on for drops in
	// the IP stack, with the link header at device hooks.
	Len     uint32 `json:"len"`
	Mark    uint32 `json:"mark,omitempty"`
	TTL     uint8  `json:"ttl,omitempty"`
	IPID    uint16 `json:"ip_id,omitempty"`
	DF      bool   `json:"df,omitempty"`
	Frag    bool   `json:"frag,omitempty"`
	GSOSegs uint16 `json:"gso_segs,omitempty"`

	TCPFlags uint8  `json:"tcp_flags,omitempty"`
	TCPSeq   uint32 `json:"tcp_seq,omitempty"`
	TCPAck   uint32 `json:"tcp_ack,omitempty"`
	// Payload is the number of transport payload bytes.
	Payload uint32 `json:"payload,omitempty"`
	// Retransmit: the same sequence range was seen before at this device.
	Retransmit bool  `json:"retransmit,omitempty"`
	ICMPType   uint8 `json:"icmp_type,omitempty"`
	ICMPCode   uint8 `json:"icmp_code,omitempty"`
	// ICMPMTU is the next-hop MTU of "fragmentation needed" / "packet too big".
	ICMPMTU uint32 `json:"icmp_mtu,omitempty"`

	// DNS is set for DNS messages over UDP.
	DNS *DNS `json:"dns,omitempty"`

	Drop *Drop `json:"drop,omitempty"`
}

// DNS is what the header of a DNS message says (RFC 1035 §4.1.1). Of the rest,
// and so of names, nothing is read.
type DNS struct {
	ID        uint16 `json:"id"`
	Response  bool   `json:"response,omitempty"`
	RCode     uint8  `json:"rcode,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
	Questions uint16 `json:"questions,omitempty"`
	Answers   uint16 `json:"answers,omitempty"`
}

// Response codes of DNS (RFC 1035, RFC 2136).
const (
	RCodeNoError  uint8 = 0
	RCodeServFail uint8 = 2
	RCodeNXDomain uint8 = 3
	RCodeRefused  uint8 = 5
)

// RCodeName gives the usual name, or the number in decimal.
func RCodeName(r uint8) string {
	switch r {
	case RCodeNoError:
		return "NOERROR"
	case 1:
		return "FORMERR"
	case RCodeServFail:
		return "SERVFAIL"
	case RCodeNXDomain:
		return "NXDOMAIN"
	case 4:
		return "NOTIMP"
	case RCodeRefused:
		return "REFUSED"
	}
	return fmt.Sprintf("rcode %d", r)
}

// IsICMPError reports whether the packet is an ICMP or ICMPv6 error message.
func (e *Event) IsICMPError() bool {
	switch e.Tuple.Proto {
	case ProtoICMP:
		return e.ICMPType == 3 || e.ICMPType == 11 || e.ICMPType == 12 || e.ICMPType == 4
	case ProtoICMPv6:
		return e.ICMPType >= 1 && e.ICMPType <= 4
	}
	return false
}

// Inner is what a tunnel packet carries.
type Inner struct {
	// Tunnel is "vxlan", "geneve" or "ipip".
	Tunnel   string `json:"tunnel"`
	VNI      uint32 `json:"vni,omitempty"`
	Tuple    Tuple  `json:"tuple"`
	TCPFlags uint8  `json:"tcp_flags,omitempty"`
}

// CT is the conntrack entry that the packet carried (skb->_nfct).
type CT struct {
	// Orig is the original direction before translation; Reply is what an
	// answer is expected to carry on the wire. Reply.Reverse() != Orig means
	// that the flow is translated: compare tuples, never status bits, because
	// IPVS does not set IPS_DST_NAT.
	Orig  Tuple `json:"orig"`
	Reply Tuple `json:"reply"`
	// Status holds the IPS_* bits; Info is enum ip_conntrack_info.
	Status uint32 `json:"status"`
	Info   uint8  `json:"info"`
	Zone   uint16 `json:"zone,omitempty"`
	Mark   uint32 `json:"mark,omitempty"`
}

// IsReply reports whether the packet travels in the reply direction.
func (c *CT) IsReply() bool { return c.Info >= 3 && c.Info != 7 }

// DNAT reports whether the destination is translated.
func (c *CT) DNAT() bool { return c.Reply.Src != c.Orig.Dst }

// SNAT reports whether the source is translated.
func (c *CT) SNAT() bool { return c.Reply.Dst != c.Orig.Src }

// Stage is the place in the stack where a packet was dropped.
type Stage string

const (
	StageUnknown     Stage = ""
	StagePrerouting  Stage = "prerouting"
	StageInput       Stage = "input"
	StageForward     Stage = "forward"
	StageOutput      Stage = "output"
	StagePostrouting Stage = "postrouting"
	StageBridge      Stage = "bridge"
	StageIngress     Stage = "ingress"
	StageEgress      Stage = "egress"
	StageRouting     Stage = "routing"
	StageNeighbour   Stage = "neighbour"
	StageDevice      Stage = "device"
	StageTunnel      Stage = "tunnel"
	StageSocket      Stage = "socket"
)

// Drop is why and where the kernel freed a packet.
type Drop struct {
	// Reason is the name from the running kernel's enum skb_drop_reason
	// without its prefix ("NETFILTER_DROP"). Before kernel 5.17, which gives
	// none, it is named only where Location can have just one, else "".
	Reason string `json:"reason"`
	// Location is the freeing function, compiler suffixes removed.
	Location string `json:"location"`
	// Stack lists the callers from the freeing function outward.
	Stack []string `json:"stack,omitempty"`
	Stage Stage    `json:"stage,omitempty"`
	// Engine is "nftables" (native or iptables-nft), "xtables" (iptables-legacy,
	// conntrack or the NAT core), "nfqueue", "tc", "xdp", "cgroup", or "".
	Engine string `json:"engine,omitempty"`
	// Noise names a class of frees that no user ever lost a packet to
	// ("socket-teardown", "multicast", ...); "" for a real drop.
	Noise string `json:"noise,omitempty"`
}

// FlowCount is what the kernel counted for one tuple at one device and hook
// since the trace began; events show only some of these packets.
type FlowCount struct {
	Kind    EventKind `json:"kind"`
	Device  DeviceKey `json:"device"`
	Tuple   Tuple     `json:"tuple"`
	Packets uint64    `json:"packets"`
	Bytes   uint64    `json:"bytes"`
	// Held counts packets that the budget kept from being events.
	Held uint64 `json:"held,omitempty"`
	// TCPFlags are all flags seen, ORed.
	TCPFlags uint8     `json:"tcp_flags,omitempty"`
	Last     time.Time `json:"last"`
	// FirstMonoNS is that of the first packet.
	FirstMonoNS uint64 `json:"first_mono_ns,omitempty"`
}
