/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Headers of a packet, read out of an sk_buff's linear data. Nothing here
 * trusts a length that the packet claims.
 */
#ifndef PODPATH_PACKET_H
#define PODPATH_PACKET_H

#include "stats.h"

#define PROTO_ICMP   1
#define PROTO_IPIP   4
#define PROTO_TCP    6
#define PROTO_UDP    17
#define PROTO_IPV6   41
#define PROTO_ICMPV6 58
#define PROTO_SCTP   132
#define PROTO_DCCP   33
#define PROTO_UDPL   136

#define EXT_HOP	  0
#define EXT_ROUTE 43
#define EXT_FRAG  44
#define EXT_AUTH  51
#define EXT_DEST  60
#define EXT_MAX	  6

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04

struct ip4 {
	__u8 vihl;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag;
	__u8 ttl;
	__u8 proto;
	__be16 csum;
	__be32 saddr;
	__be32 daddr;
};

struct ip6 {
	__be32 vtcfl;
	__be16 payload_len;
	__u8 next;
	__u8 hops;
	__be32 saddr[4];
	__be32 daddr[4];
};

struct tcp {
	__be16 sport;
	__be16 dport;
	__be32 seq;
	__be32 ack;
	__u8 doff;
	__u8 flags;
	__be16 window;
	__be16 csum;
	__be16 urgent;
};

struct icmp {
	__u8 type;
	__u8 code;
	__be16 csum;
	__be16 id;
	__be16 mtu; /* v4 next hop; v6 has 32 bits from id on */
};

struct arp4 {
	__be16 hw;
	__be16 proto;
	__u8 hw_len;
	__u8 proto_len;
	__be16 op;
	__u8 sha[6];
	__u8 spa[4];
	__u8 tha[6];
	__u8 tpa[4];
};

/*
 * Headers are copied once, from the network header on: every read of kernel
 * memory costs as much as the rest of the parser. The slack lets the verifier
 * see that a bounded offset plus the longest header stays inside.
 */
#define SNAP	   256
#define SNAP_SLACK 64

/* What the quick look (quick.h) reads. */
struct quick_packet {
	struct flow_key key;
	__u32 seq; /* from here on meaningful if whole */
	__u32 ack;
	__u32 payload;
	__u16 ip_id;
	__u8 ttl;
	__u8 tcp_flags;
	enum event_flag flags;
	__u8 whole; /* lengths agree */
	__u8 maybe; /* selected; of a drop only */
};

/* The packet under examination; lives in a per-CPU map, one per hook. */
struct packet {
	struct drop_event out;
	__u8 snap[SNAP + SNAP_SLACK];
	__u64 head;
	__u64 nfct;   /* skb->_nfct */
	__u32 data;   /* skb->data, from head */
	__u32 nh;     /* network header, from head */
	__u32 l3_len; /* bytes from the network header on, pages included */
	__u32 l4;     /* transport header, from head; 0 = none to be read */
	__u32 l4_len; /* bytes of it and its payload, as far as IP says */
	__u16 protocol;
	__u8 more;	/* the packet goes on where snap ends */
	__u8 proto;	/* of l4 */
	__u32 snap_len; /* bytes of snap that belong to the packet */
	__u32 aux;	/* inner or quoted packet, from head; 0 = none */
	enum event_flag aux_flag;
	__u16 unused;
	__u32 epoch;		   /* in which it was looked up */
	struct quick_packet quick; /* of a drop; at devices the stack has room for it */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KIND_MAX);
	__type(key, __u32);
	__type(value, struct packet);
} scratch SEC(".maps");

static __always_inline struct packet *scratch_of(__u32 kind)
{
	return bpf_map_lookup_elem(&scratch, &kind);
}

static __always_inline void addr_v4(struct addr *a, __be32 v4)
{
	a->word[0] = 0;
	a->word[1] = 0;
	a->word[2] = bpf_htonl(0xffff);
	a->word[3] = v4;
}

static __always_inline void addr_v6(struct addr *a, const __be32 *v6)
{
	a->word[0] = v6[0];
	a->word[1] = v6[1];
	a->word[2] = v6[2];
	a->word[3] = v6[3];
}

/* Where the network header is, from skb->head. */
static __always_inline __u32 network_offset(struct sk_buff *skb, __u32 kind, bool tap)
{
	/* netif_receive_skb fires before the header is set; data is at it. */
	if (tap && kind == KIND_RX)
		return skb->data - skb->head;
	return skb->network_header;
}

#define VLAN_TAGS 3

/*
 * VLAN tags may still be in the packet: on receipt those that no device took
 * off, on transmit those that the card will not put in. The network header is
 * then at the first of them, or behind the last: what it is, the type field in
 * front of it says.
 */
static __noinline __u16 skip_vlan(const struct sk_buff *skb, __u32 *nh, __u16 protocol)
{
	__u32 tail = skb->tail, at = *nh;
	/* What comes before the type: the end of an address, or a tag's number. */
	__be16 word[2] = {};
	int i;

	for (i = 0; i <= VLAN_TAGS; i++) {
		if (at > tail ||
		    bpf_probe_read_kernel(word, sizeof(word), skb->head + at - sizeof(word)))
			break;
		*nh = at;
		protocol = bpf_ntohs(word[1]);
		if (protocol != ETH_P_8021Q && protocol != ETH_P_8021AD)
			break;
		at += sizeof(word);
	}
	return protocol;
}

/*
 * Copies a header, or says in the event why it cannot be read. By words, len
 * being a multiple of them: the compiler would go by bytes, for fear of
 * alignment that neither amd64 nor arm64 asks for.
 */
static __always_inline int load(struct packet *p, __u32 off, void *dst, __u32 len)
{
	__u32 rel = off - p->nh, i;

	if (rel >= SNAP || rel + len > p->snap_len) {
		p->out.event.flags |= p->more ? EVENT_BEYOND : EVENT_TRUNCATED;
		return -1;
	}
	/* The compiler knows the bound; the verifier must see it. */
	asm volatile("" : "+r"(rel));
	rel &= SNAP - 1;
	for (i = 0; i < len / sizeof(__u32); i++)
		((__u32 *)dst)[i] = ((__u32 *)&p->snap[rel])[i];
	return 0;
}

/* Nothing is read behind the end that a header gives its packet: padding, or
 * what was put there to be taken for a header.
 */
static __always_inline void narrow(struct packet *p, __u32 end)
{
	__u32 rel = end - p->nh;

	if (rel > p->snap_len)
		return;
	p->snap_len = rel;
	p->more = 0;
}

/* What an IP header says beside its addresses. */
struct ip_info {
	__u32 l4; /* 0: none, or in another fragment */
	__u32 l4_len;
	__u16 id;
	__u16 flags; /* EVENT_DF, EVENT_FRAG */
	__u8 ttl;
	__u8 proto;
};

static __noinline int parse_ip4(struct packet *p, __u32 off, __u32 avail, struct tuple *t,
				struct ip_info *info)
{
	struct ip4 h;
	__u32 hdr, len;
	__u16 frag;

	if (load(p, off, &h, sizeof(h)))
		return -1;
	hdr = (h.vihl & 0xf) * 4;
	len = bpf_ntohs(h.tot_len);
	/* 0 is a TCP super-packet beyond 64 KiB. */
	if (!len)
		len = avail;
	if (h.vihl >> 4 != 4 || hdr < sizeof(h) || len < hdr) {
		p->out.event.flags |= EVENT_MALFORMED;
		return -1;
	}
	/* Less: padding follows. More: the rest was cut off, or, in a quoted
	 * packet, never sent. */
	if (len > avail)
		len = avail;
	narrow(p, off + len);
	frag = bpf_ntohs(h.frag);
	addr_v4(&t->saddr, h.saddr);
	addr_v4(&t->daddr, h.daddr);
	t->proto = h.proto;
	t->family = 4;
	info->ttl = h.ttl;
	info->id = bpf_ntohs(h.id);
	info->proto = h.proto;
	info->flags = (frag & 0x4000 ? EVENT_DF : 0) | (frag & 0x3fff ? EVENT_FRAG : 0);
	info->l4 = frag & 0x1fff ? 0 : off + hdr;
	info->l4_len = len > hdr ? len - hdr : 0;
	return 0;
}

static __always_inline __u32 ext_len(__u8 kind, __u8 len)
{
	if (kind == EXT_FRAG)
		return 8;
	if (kind == EXT_AUTH)
		return (len + 2) * 4;
	return (len + 1) * 8;
}

static __noinline int parse_ip6(struct packet *p, __u32 off, __u32 avail, struct tuple *t,
				struct ip_info *info)
{
	__u32 end, cur, word[2];
	const __u8 *ext = (void *)word;
	struct ip6 h;
	__u8 next;
	int i;

	if (load(p, off, &h, sizeof(h)))
		return -1;
	if (*(__u8 *)&h >> 4 != 6 || avail < sizeof(h)) {
		p->out.event.flags |= EVENT_MALFORMED;
		return -1;
	}
	addr_v6(&t->saddr, h.saddr);
	addr_v6(&t->daddr, h.daddr);
	t->family = 6;
	info->ttl = h.hops;
	info->id = 0;
	info->flags = 0;
	info->l4 = 0;
	info->l4_len = 0;
	end = bpf_ntohs(h.payload_len);
	end = end && end + sizeof(h) <= avail ? off + sizeof(h) + end : off + avail;
	narrow(p, end);
	cur = off + sizeof(h);
	next = h.next;
	for (i = 0; i < EXT_MAX; i++) {
		t->proto = next;
		info->proto = next;
		if (next != EXT_HOP && next != EXT_ROUTE && next != EXT_FRAG && next != EXT_AUTH &&
		    next != EXT_DEST) {
			info->l4 = cur;
			info->l4_len = end > cur ? end - cur : 0;
			return 0;
		}
		if (load(p, cur, word, sizeof(word)))
			return 0;
		if (next == EXT_FRAG) {
			info->flags |= EVENT_FRAG;
			info->id = ext[6] << 8 | ext[7];
			if (ext[2] || ext[3] & 0xf8) {
				t->proto = ext[0];
				info->proto = ext[0];
				return 0;
			}
		}
		cur += ext_len(next, ext[1]);
		next = ext[0];
		if (cur > end) {
			p->out.event.flags |= EVENT_MALFORMED;
			return 0;
		}
	}
	/* More extension headers than any real packet has. */
	p->out.event.flags |= EVENT_BEYOND;
	return 0;
}

static __always_inline int parse_ip(struct packet *p, __u32 off, __u32 avail, struct tuple *t,
				    struct ip_info *info)
{
	__u8 first[4];

	if (load(p, off, first, sizeof(first)))
		return -1;
	if (first[0] >> 4 == 4)
		return parse_ip4(p, off, avail, t, info);
	if (first[0] >> 4 == 6)
		return parse_ip6(p, off, avail, t, info);
	p->out.event.flags |= EVENT_MALFORMED;
	return -1;
}

static __always_inline bool icmp_has_id(__u8 proto, __u8 type)
{
	if (proto == PROTO_ICMP)
		return type == 0 || type == 8 || (type >= 13 && type <= 18);
	return type == 128 || type == 129;
}

static __always_inline bool icmp_is_error(__u8 proto, __u8 type)
{
	if (proto == PROTO_ICMP)
		return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

static __always_inline bool has_ports(__u8 proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP ||
	       proto == PROTO_DCCP || proto == PROTO_UDPL;
}

/* Ports of an inner or quoted packet, and its TCP flags where they reach. */
static __noinline int parse_ports(struct packet *p, struct tuple *t, const struct ip_info *info,
				  __u8 *tcp_flags)
{
	__u32 word[4];
	__u8 *h = (void *)word;

	if (!info->l4)
		return 0;
	if (has_ports(info->proto)) {
		if (load(p, info->l4, h, 4))
			return -1;
		t->sport = h[0] << 8 | h[1];
		t->dport = h[2] << 8 | h[3];
		/* An ICMP error need not quote as much. */
		if (info->proto == PROTO_TCP && tcp_flags && info->l4 + 16 <= p->nh + p->snap_len &&
		    !load(p, info->l4, h, 16))
			*tcp_flags = h[13];
	} else if (info->proto == PROTO_ICMP || info->proto == PROTO_ICMPV6) {
		if (load(p, info->l4, h, 8))
			return -1;
		if (icmp_has_id(info->proto, h[0])) {
			t->sport = h[4] << 8 | h[5];
			t->dport = t->sport;
		}
	}
	return 0;
}

/*
 * After parse_packet: the packet inside, which a tunnel carries or an ICMP error
 * quotes. Not called from there, for the stack is short.
 */
__noinline int parse_aux(__u32 kind)
{
	struct packet *p = bpf_map_lookup_elem(&scratch, &kind);
	struct ip_info info = {};
	struct event *e;
	__u32 end;

	if (!p)
		return -1;
	e = &p->out.event;
	end = p->l4 + p->l4_len;
	if (!p->aux || p->aux >= end)
		return -1;
	if (parse_ip(p, p->aux, end - p->aux, &e->aux, &info))
		return -1;
	e->flags |= p->aux_flag;
	return parse_ports(p, &e->aux, &info, &e->inner_tcp_flags);
}

static __always_inline void parse_tcp(struct packet *p)
{
	struct event *e = &p->out.event;
	struct tcp h;
	__u32 hdr;

	if (load(p, p->l4, &h, sizeof(h)))
		return;
	e->seq = bpf_ntohl(h.seq);
	e->ack = bpf_ntohl(h.ack);
	e->tcp_flags = h.flags;
	hdr = (h.doff >> 4) * 4;
	if (hdr < sizeof(h) || hdr > p->l4_len) {
		e->flags |= EVENT_MALFORMED;
		return;
	}
	e->payload = p->l4_len - hdr;
}

static __always_inline bool is_vxlan(__u16 port)
{
	return port && (port == config.vxlan_ports[0] || port == config.vxlan_ports[1] ||
			port == config.vxlan_ports[2] || port == config.vxlan_ports[3]);
}

static __always_inline bool is_tunnel_port(__u16 port)
{
	return is_vxlan(port) || (port && port == config.geneve_port);
}

/* RFC 7348, RFC 8926. */
static __always_inline void parse_udp_tunnel(struct packet *p)
{
	struct event *e = &p->out.event;
	__u32 off = p->l4 + 8, word[2];
	const __u8 *h = (void *)word;
	__u16 kind = ETH_P_TEB;

	if (load(p, off, word, sizeof(word)))
		return;
	if (is_vxlan(e->tuple.dport)) {
		if (!(h[0] & 0x08))
			return;
		e->tunnel = TUNNEL_VXLAN;
		off += 8;
	} else {
		if (h[0] >> 6)
			return;
		e->tunnel = TUNNEL_GENEVE;
		off += 8 + (h[0] & 0x3f) * 4;
		kind = h[2] << 8 | h[3];
	}
	e->vni = h[4] << 16 | h[5] << 8 | h[6];
	if (kind == ETH_P_TEB) {
		/* The Ethernet header's last word: end of source, type. */
		if (load(p, off + 10, word, sizeof(__u32)))
			return;
		kind = h[2] << 8 | h[3];
		off += 14;
	}
	if (kind == ETH_P_IP || kind == ETH_P_IPV6)
		p->aux = off;
	p->aux_flag = EVENT_INNER;
}

#define DNS_PORT   53
#define DNS_HEADER 12

static __always_inline bool is_dns(__u16 sport, __u16 dport)
{
	return sport == DNS_PORT || dport == DNS_PORT;
}

/* RFC 1035 §4.1.1. Of a message only what says how it went: no names. */
static __always_inline void parse_dns(struct packet *p)
{
	struct event *e = &p->out.event;
	__u32 off = p->l4 + 8, word[2];

	if (p->l4_len < 8 + DNS_HEADER || off + DNS_HEADER - p->nh > p->snap_len)
		return;
	if (load(p, off, word, sizeof(word)))
		return;
	e->seq = bpf_ntohl(word[0]);
	e->ack = bpf_ntohl(word[1]);
	e->flags |= EVENT_DNS;
}

static __always_inline void parse_udp(struct packet *p)
{
	struct event *e = &p->out.event;
	__be16 word[4];
	__u16 len;

	if (load(p, p->l4, word, sizeof(word)))
		return;
	len = bpf_ntohs(word[2]);
	/* 0 is a jumbogram, and beyond 64 KiB the field has no room. */
	if (len && len < sizeof(word)) {
		e->flags |= EVENT_MALFORMED;
		return;
	}
	if (len && len < p->l4_len && p->l4_len <= 0xffff) {
		p->l4_len = len;
		narrow(p, p->l4 + len);
	}
	e->payload = p->l4_len - sizeof(word);
	if (is_tunnel_port(e->tuple.dport))
		parse_udp_tunnel(p);
	else if (is_dns(e->tuple.sport, e->tuple.dport))
		parse_dns(p);
}

/* RFC 4861 §4.3, §4.4: 8 bytes, then the target address. */
static __always_inline void parse_nd(struct packet *p, __u8 type)
{
	struct event *e = &p->out.event;
	__be32 target[4];

	if (load(p, p->l4 + 8, target, sizeof(target)))
		return;
	e->flags |= EVENT_ARP;
	/* The asking side is the source, the wanted address the target. */
	if (type == 135)
		addr_v6(&e->tuple.daddr, target);
	else
		addr_v6(&e->tuple.saddr, target);
}

static __always_inline void parse_icmp(struct packet *p)
{
	struct event *e = &p->out.event;
	struct icmp h;

	if (load(p, p->l4, &h, sizeof(h)))
		return;
	e->icmp_type = h.type;
	e->icmp_code = h.code;
	if (p->l4_len >= sizeof(h))
		e->payload = p->l4_len - sizeof(h);
	if (icmp_has_id(p->proto, h.type)) {
		e->tuple.sport = bpf_ntohs(h.id);
		e->tuple.dport = e->tuple.sport;
	} else if (icmp_is_error(p->proto, h.type)) {
		if (p->proto == PROTO_ICMPV6 && h.type == 2)
			e->icmp_mtu = (__u32)bpf_ntohs(h.id) << 16 | bpf_ntohs(h.mtu);
		else if (p->proto == PROTO_ICMP && h.type == 3 && h.code == 4)
			e->icmp_mtu = bpf_ntohs(h.mtu);
		p->aux = p->l4 + sizeof(h);
		p->aux_flag = EVENT_QUOTED;
	} else if (p->proto == PROTO_ICMPV6 && (h.type == 135 || h.type == 136)) {
		parse_nd(p, h.type);
	}
}

static __always_inline int parse_arp(struct packet *p)
{
	struct event *e = &p->out.event;
	struct arp4 h;
	__be32 a;

	if (load(p, p->nh, &h, sizeof(h)))
		return -1;
	if (h.proto != bpf_htons(ETH_P_IP) || h.hw_len != 6 || h.proto_len != 4)
		return -1;
	__builtin_memcpy(&a, h.spa, sizeof(a));
	addr_v4(&e->tuple.saddr, a);
	__builtin_memcpy(&a, h.tpa, sizeof(a));
	addr_v4(&e->tuple.daddr, a);
	e->tuple.family = 4;
	e->icmp_type = bpf_ntohs(h.op);
	e->flags |= EVENT_ARP;
	return 0;
}

static __always_inline void parse_transport(struct packet *p, const struct ip_info *info)
{
	struct event *e = &p->out.event;

	if (has_ports(p->proto)) {
		parse_ports(p, &e->tuple, info, NULL);
		if (p->proto == PROTO_TCP)
			parse_tcp(p);
		else if (p->proto == PROTO_UDP)
			parse_udp(p);
		else if (p->l4_len >= 12)
			e->payload = p->l4_len - 12;
	} else if (p->proto == PROTO_ICMP || p->proto == PROTO_ICMPV6) {
		parse_icmp(p);
	} else if (p->proto == PROTO_IPIP || p->proto == PROTO_IPV6) {
		e->tunnel = TUNNEL_IPIP;
		p->aux = p->l4;
		p->aux_flag = EVENT_INNER;
	}
}

/*
 * Everything that the outer headers say. -1: no addresses to be had.
 * Not static: the verifier then checks it once, instead of once for every way
 * that leads here. Its argument must therefore be a number.
 */
__noinline int parse_packet(__u32 kind)
{
	struct packet *p = bpf_map_lookup_elem(&scratch, &kind);
	struct ip_info info = {};
	struct event *e;

	if (!p)
		return -1;
	e = &p->out.event;
	if (p->protocol == ETH_P_ARP)
		return parse_arp(p);
	if (p->protocol != ETH_P_IP && p->protocol != ETH_P_IPV6)
		return -1;
	if (parse_ip(p, p->nh, p->l3_len, &e->tuple, &info))
		return -1;
	e->ttl = info.ttl;
	e->ip_id = info.id;
	e->flags |= info.flags;
	p->l4 = info.l4;
	p->l4_len = info.l4_len;
	p->proto = info.proto;
	if (p->l4)
		parse_transport(p, &info);
	return 0;
}

static __always_inline int parse(__u32 kind)
{
	if (parse_packet(kind))
		return -1;
	parse_aux(kind);
	return 0;
}

#endif
