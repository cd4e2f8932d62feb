/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs and user space share. Fixed widths, largest first, no
 * padding that the compiler chooses; Go gets these through bpf2go.
 */
#ifndef PODPATH_TYPES_H
#define PODPATH_TYPES_H

#include "kernel.h"

/* Enums that are members take no more room than they need: typed members reach
 * BTF, hence Go.
 */

/* Which hook saw the packet. */
enum __attribute__((packed)) kind {
	KIND_RX = 1,
	KIND_TX = 2,
	KIND_DROP = 3,
	KIND_MAX = 4,
};

enum __attribute__((packed)) tunnel {
	TUNNEL_NONE = 0,
	TUNNEL_VXLAN = 1,
	TUNNEL_GENEVE = 2,
	TUNNEL_IPIP = 3,
};

/* struct event.flags */
enum __attribute__((packed)) event_flag {
	EVENT_DF = 1 << 0,   /* IPv4 don't fragment */
	EVENT_FRAG = 1 << 1, /* part of a fragmented packet */
	EVENT_ARP = 1 << 2,  /* ARP or IPv6 neighbour discovery */
	EVENT_RETRANSMIT = 1 << 3,
	EVENT_CT = 1 << 4,	     /* orig, reply and the ct_ members are set */
	EVENT_INNER = 1 << 5,	     /* aux is the encapsulated packet */
	EVENT_QUOTED = 1 << 6,	     /* aux is the packet an ICMP error quotes */
	EVENT_TRUNCATED = 1 << 7,    /* a header ends before it should */
	EVENT_MALFORMED = 1 << 8,    /* a header contradicts itself */
	EVENT_SAMPLE = 1 << 9,	     /* an example of a drop, flow not selected */
	EVENT_FROM_SOCKET = 1 << 10, /* no header yet: the tuple is the socket's */
	EVENT_BEYOND = 1 << 11,	     /* a header lies deeper than is looked */
	EVENT_DNS = 1 << 12,	     /* seq and ack are the start of a DNS header */
};

/* Sides of the selection that an address belongs to. */
enum side {
	SIDE_A = 1,
	SIDE_B = 2,
	SIDE_BOTH = 3,
};

/*
 * Per-CPU counters, one set per hook. For every hook
 *   PACKETS  = OTHER_NETNS + NO_NETNS + LOOPBACK + MISS + SELECTED + SAMPLED
 *   SELECTED = EVENTS + AGGREGATED + RATE_LIMITED + HELD_FLOW + HELD_PLAIN +
 *              HELD_COUNTING + HELD_URGENT + RING_FULL
 *   SAMPLED  = SAMPLE_EVENTS + SAMPLE_NONE + SAMPLE_LIMITED + SAMPLE_HELD +
 *              SAMPLE_RING_FULL
 * The rest say what was found or what could not be done on the way.
 */
enum stat {
	STAT_PACKETS,	       /* the hook ran */
	STAT_OTHER_NETNS,      /* namespace is not of this node */
	STAT_NO_NETNS,	       /* neither device nor socket: namespace unknown */
	STAT_LOOPBACK,	       /* loopback device */
	STAT_MISS,	       /* not selected */
	STAT_SELECTED,	       /* selected: counted in its flow */
	STAT_EVENTS,	       /* ... and handed to the ring buffer */
	STAT_AGGREGATED,       /* ... and only counted, beyond the first events */
	STAT_RATE_LIMITED,     /* ... and event held back by the flow's limit */
	STAT_HELD_FLOW,	       /* ... and held back: budget's limit per flow */
	STAT_HELD_PLAIN,       /* ... and held back: plain packets' share of the budget */
	STAT_HELD_COUNTING,    /* ... and held back: plain packets are only counted */
	STAT_HELD_URGENT,      /* ... and held back, though a drop, reset or the like */
	STAT_RING_FULL,	       /* ... and event lost: ring buffer full */
	STAT_SAMPLED,	       /* drop not selected, counted as a drop */
	STAT_SAMPLE_EVENTS,    /* ... and handed over as the example of its key */
	STAT_SAMPLE_NONE,      /* ... and key already known */
	STAT_SAMPLE_LIMITED,   /* ... and example held back by the limit */
	STAT_SAMPLE_HELD,      /* ... and example held back by the budget */
	STAT_SAMPLE_RING_FULL, /* ... and example lost: ring buffer full */
	STAT_NOT_IP,	       /* neither IP nor ARP */
	STAT_TRUNCATED,	       /* header cut off */
	STAT_MALFORMED,	       /* header contradicts itself */
	STAT_BEYOND,	       /* header too deep, or outside the linear data */
	STAT_NO_TUPLE,	       /* drop without header and without socket */
	STAT_FLOW_FULL,	       /* flow table insert refused */
	STAT_LEARNED,	       /* translated tuple learned */
	STAT_LEARN_FAILED,     /* ... insert refused */
	STAT_DROP_TOTAL_FULL,  /* (reason, location) table full */
	STAT_DROP_FULL,	       /* detailed drop table full: only the total counts */
	STAT_NO_SCRATCH,       /* cannot happen; here to be seen if it does */
	STAT_MAX,
};

/* IPv4 is v4-mapped, as in ::ffff:10.0.0.1; network byte order. */
struct addr {
	__u32 word[4];
};

/* Ports in host byte order; for ICMP echo both are the identifier. */
struct tuple {
	struct addr saddr;
	struct addr daddr;
	__u16 sport;
	__u16 dport;
	__u8 proto;
	__u8 family; /* 4, 6, or 0: not set */
	__u16 unused;
};
_Static_assert(sizeof(struct tuple) == 40, "ABI: regenerate and review");

struct event {
	__u64 mono_ns; /* CLOCK_MONOTONIC */
	__u64 skb;     /* identity only */
	__u32 netns;   /* inode, 0 = unknown */
	__u32 ifindex;
	__u32 iif; /* skb->skb_iif */
	__u32 len;
	__u32 mark;
	__u32 seq; /* of DNS: its id and flags */
	__u32 ack; /* of DNS: how many questions and answers */
	__u32 payload;
	__u32 icmp_mtu;
	__u32 vni;
	__u32 ct_status;
	__u32 ct_mark;
	enum event_flag flags; /* ORed */
	__u16 ip_id;
	__u16 gso_segs;
	__u16 ct_zone;
	enum kind kind;
	__u8 ttl;
	__u8 tcp_flags;
	__u8 icmp_type; /* for ARP the operation */
	__u8 icmp_code;
	__u8 ct_info;
	enum tunnel tunnel;
	__u8 inner_tcp_flags;
	struct tuple tuple;
	/* A record ends before orig or aux if nothing from there on is set. */
	struct tuple orig;
	struct tuple reply;
	struct tuple aux;
};
_Static_assert(sizeof(struct event) == 240, "ABI: regenerate and review");

#define STACK_DEPTH 20

struct drop_event {
	struct event event;
	__u64 location;
	__u32 reason;
	__u32 stack_len; /* entries in use */
	__u64 stack[STACK_DEPTH];
};
_Static_assert(sizeof(struct drop_event) == 416, "ABI: regenerate and review");

/* One flow at one device and hook. Tunnel packets count by what they carry. */
struct flow_key {
	struct tuple tuple;
	__u32 netns;
	__u32 ifindex;
	enum kind kind;
	enum tunnel tunnel;
	__u8 arp;
	__u8 unused[5];
};
_Static_assert(sizeof(struct flow_key) == 56, "ABI: regenerate and review");

struct flow_value {
	__u64 packets;
	__u64 bytes;
	__u64 first_ns;
	__u64 last_ns;
	__u64 window_ns; /* start of the present second of the event limit */
	__u64 ct;	 /* skb->_nfct of the last packet; its tuples are learned */
	__u64 events;	 /* handed to the ring buffer, or tried */
	__u64 retransmits;
	__u32 window_events;	 /* events in the present second */
	__u32 connection_events; /* events since the last new SYN */
	__u32 seq_end;		 /* highest TCP sequence seen, exclusive */
	__u32 hole_start;	 /* sequence range skipped so far, empty if equal */
	__u32 hole_end;
	__u32 isn;	/* of the last SYN */
	__u32 held;	/* events that the budget held back */
	__u32 epoch;	/* in which the flow was found to be selected */
	__u32 tick;	/* jiffies of last_ns */
	__u8 tcp_flags; /* all seen, ORed */
	__u8 seq_known;
	__u8 unused[2];
};
_Static_assert(sizeof(struct flow_value) == 104, "ABI: regenerate and review");

struct drop_total_key {
	__u64 location;
	__u32 reason;
	__u32 unused;
};

struct drop_total {
	__u64 packets;
	__u64 bytes;
};

struct drop_key {
	__u64 location;
	struct addr saddr;
	struct addr daddr;
	__u32 reason;
	__u32 netns;
	__u32 ifindex;
	__u16 dport;
	__u8 proto;
	__u8 family;
};
_Static_assert(sizeof(struct drop_key) == 56, "ABI: regenerate and review");

struct drop_value {
	__u64 packets;
	__u64 bytes;
	__u64 first_ns;
	__u64 last_ns;
};

struct lpm_key {
	__u32 prefix_len;
	struct addr addr;
};

struct hook_stats {
	__u64 count[STAT_MAX];
	__u64 outputs;	 /* ring buffer records, for the wakeup */
	__u64 window_ns; /* start of the present second of the sample limit */
	__u64 window_samples;
};

/*
 * Which hash slots hold a selected address or a learned tuple. A zero slot
 * proves absence at the price of one load, which is what most packets pay.
 */
#define FILTER_SLOTS 16384
#define PREFIX_BYTES 8192

/* Written by user space at run time. */
struct selection {
	enum side any;	 /* that every address belongs to */
	__u8 generation; /* of learned_slots, from 2 on */
	__u8 prefixed4;	 /* prefixes4 is not empty */
	__u8 prefixed6;
	__u8 unused;
	__u8 hosts[FILTER_SLOTS]; /* sides of the addresses of the slot */
	/* A bit for every first 16 bits of an address in some prefix. */
	__u8 prefixes4[PREFIX_BYTES];
	__u8 prefixes6[PREFIX_BYTES];
};

/*
 * What may be handed over, written by user space at run time; 0 is no limit.
 * Urgent are drops, resets, ICMP errors and retransmissions; the rest is plain.
 */
struct budget {
	__u32 flow_events; /* plain, a second, per flow, device and hook */
	__u32 plain_until; /* plain ones stop at so many of all a second */
	__u32 all_events;  /* of all, a second */
	__u8 counting;	   /* plain packets are only counted */
	__u8 unused[3];
};

/* Of all CPUs. Two that begin a second at once may forget a few. */
struct budget_window {
	__u64 window_ns;
	__u64 events;
};

#define VXLAN_PORTS 4

/* Fixed when the programs are loaded. */
struct config {
	__u32 first_events;  /* per flow, device and hook */
	__u32 drop_events;   /* a second, per dropped flow */
	__u32 arp_events;    /* a second, per ARP pair */
	__u32 sample_events; /* a second and CPU */
	__u16 vxlan_ports[VXLAN_PORTS];
	__u16 geneve_port;
	__u8 kfree_args; /* parameters of the kfree_skb tracepoint */
	__u8 drops_all;	 /* count drops of flows not selected too */
	__u8 direct;	 /* the kernel has bpf_rdonly_cast */
};

#endif
