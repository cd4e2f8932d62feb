/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The common packet: an unfragmented IPv4 packet without options, or an IPv6
 * packet without extension headers, of TCP or UDP, without a tunnel. It is
 * passed over, counted or reported by a few loads from its headers. Everything
 * odd is left to the full parser.
 */
#ifndef PODPATH_QUICK_H
#define PODPATH_QUICK_H

#include "emit.h"
#include "sift.h"

enum quick {
	QUICK_ODD,  /* look closer */
	QUICK_MISS, /* certainly not selected */
	QUICK_MAYBE,
};

#define QUICK_V4 (sizeof(struct ip4) + 8)
#define QUICK_V6 (sizeof(struct ip6) + 8)

/* Words that are members of other types, too. */
typedef __u32 __attribute__((may_alias)) word_alias;
typedef __u64 __attribute__((may_alias)) long_alias;

/* What may be selected: a DNS message is for the parser, which reads its header. */
static __always_inline enum quick quick_maybe(__u32 ports, __u8 proto)
{
	return proto == PROTO_UDP && is_dns(ports >> 16, ports) ? QUICK_ODD : QUICK_MAYBE;
}

/* h: QUICK_V4 bytes. */
static __always_inline enum quick quick_sift4(const __u8 *h, unsigned long nfct)
{
	const struct ip4 *ip = (void *)h;
	__u8 proto = ip->proto;
	__u32 ports;

	if (ip->vihl != 0x45 || (ip->frag & bpf_htons(0x3fff)))
		return QUICK_ODD;
	if (proto != PROTO_TCP && proto != PROTO_UDP)
		return QUICK_ODD;
	ports = bpf_ntohl(*(__be32 *)(h + sizeof(*ip)));
	if (proto == PROTO_UDP && is_tunnel_port(ports))
		return QUICK_ODD;
	if (maybe_pair4(ip->saddr, ip->daddr) ||
	    maybe_learned(mix(ip->saddr, ip->daddr, ports, proto)) || (nfct && maybe_ct(nfct)))
		return quick_maybe(ports, proto);
	return QUICK_MISS;
}

/* h: QUICK_V6 bytes. */
static __always_inline enum quick quick_sift6(const __u8 *h, unsigned long nfct)
{
	const struct ip6 *ip = (void *)h;
	__u8 proto = ip->next;
	__u32 ports;

	if (h[0] >> 4 != 6)
		return QUICK_ODD;
	if (proto != PROTO_TCP && proto != PROTO_UDP)
		return QUICK_ODD;
	ports = bpf_ntohl(*(__be32 *)(h + sizeof(*ip)));
	if (proto == PROTO_UDP && is_tunnel_port(ports))
		return QUICK_ODD;
	if (maybe_pair6(ip->saddr, ip->daddr) ||
	    maybe_learned(
		    mix(ip->saddr[3] ^ ip->saddr[0], ip->daddr[3] ^ ip->daddr[1], ports, proto)) ||
	    (nfct && maybe_ct(nfct)))
		return quick_maybe(ports, proto);
	return QUICK_MISS;
}

static __always_inline enum quick quick_sift(const __u8 *h, __u16 protocol, unsigned long nfct)
{
	return protocol == ETH_P_IP ? quick_sift4(h, nfct) : quick_sift6(h, nfct);
}

/* The key's tuple, by words: what is stored in pieces and read as a whole makes
 * the CPU wait. */
static __always_inline void quick_ports(struct tuple *t, __be32 ports, __u8 proto, __u8 family)
{
	__u32 host = bpf_ntohl(ports);

	*(word_alias *)&t->sport = host >> 16 | host << 16;
	*(word_alias *)&t->proto = proto | family << 8;
}

static __always_inline __u32 quick_read4(const __u8 *h, struct quick_packet *q)
{
	const struct ip4 *ip = (void *)h;

	addr_v4(&q->key.tuple.saddr, ip->saddr);
	addr_v4(&q->key.tuple.daddr, ip->daddr);
	quick_ports(&q->key.tuple, *(__be32 *)(h + sizeof(*ip)), ip->proto, 4);
	q->ttl = ip->ttl;
	q->ip_id = bpf_ntohs(ip->id);
	q->flags = ip->frag & bpf_htons(0x4000) ? EVENT_DF : 0;
	return bpf_ntohs(ip->tot_len);
}

static __always_inline __u32 quick_read6(const __u8 *h, struct quick_packet *q)
{
	const struct ip6 *ip = (void *)h;
	__u32 len = bpf_ntohs(ip->payload_len);

	addr_v6(&q->key.tuple.saddr, ip->saddr);
	addr_v6(&q->key.tuple.daddr, ip->daddr);
	quick_ports(&q->key.tuple, *(__be32 *)(h + sizeof(*ip)), ip->next, 6);
	q->ttl = ip->hops;
	q->ip_id = 0;
	q->flags = 0;
	return len ? len + sizeof(*ip) : 0;
}

/*
 * h: as for quick_sift. tcp: where the TCP header is, NULL if out of reach. The
 * lengths of the IP header, of the UDP header and of the packet must agree: what
 * lies behind the end may not be taken for a header.
 */
static __always_inline void quick_read(const __u8 *h, __u16 protocol, __u32 l3_len,
				       const struct tcp *tcp, struct quick_packet *q)
{
	__u32 len, hdr, l4_hdr = 8;

	if (protocol == ETH_P_IP) {
		len = quick_read4(h, q);
		hdr = sizeof(struct ip4);
	} else {
		len = quick_read6(h, q);
		hdr = sizeof(struct ip6);
	}
	q->seq = 0;
	q->ack = 0;
	q->payload = 0;
	q->tcp_flags = 0;
	q->whole = 0;
	if (len > l3_len || len < hdr + l4_hdr)
		return;
	len -= hdr;
	if (q->key.tuple.proto == PROTO_TCP) {
		if (!tcp || tcp->doff >> 4 < sizeof(*tcp) / 4)
			return;
		l4_hdr = (tcp->doff >> 4) * 4;
		if (len < l4_hdr)
			return;
		q->seq = bpf_ntohl(tcp->seq);
		q->ack = bpf_ntohl(tcp->ack);
		q->tcp_flags = tcp->flags;
	} else if (bpf_ntohs(*(__be16 *)(h + hdr + 4)) != len) {
		return;
	}
	q->payload = len - l4_hdr;
	q->whole = 1;
}

/* The exact answer for a packet that may be selected. */
static __noinline bool quick_selected(const struct tuple *t, unsigned long nfct)
{
	return tuple_selected(t) || is_learned(t) || ct_selected(nfct, true);
}

/* Counts the packet. Returns the counter to blame if there is to be no event; else
 * now is set. */
static __always_inline enum stat quick_count(struct flow_value *v, struct quick_packet *q,
					     __u32 bytes, __u64 *now)
{
	bool urgent = q->tcp_flags & TCP_RST;
	enum stat how;

	flow_add(v, bytes);
	v->tcp_flags |= q->tcp_flags;
	if (q->tcp_flags && flow_retransmit(v, q->tcp_flags, q->seq, q->payload)) {
		q->flags |= EVENT_RETRANSMIT;
		urgent = true;
		__sync_fetch_and_add(&v->retransmits, 1);
	}
	if (!flow_wants(v, q->tcp_flags, urgent))
		return STAT_AGGREGATED;
	*now = bpf_ktime_get_ns();
	how = budget_take(v, *now, urgent);
	flow_note(v, how);
	return how;
}

static __always_inline void quick_fill(struct event *e, const struct quick_packet *q,
				       struct sk_buff *skb, __u32 l3_len, __u32 bytes, __u64 now)
{
	e->mono_ns = now;
	e->skb = (__u64)skb;
	e->netns = q->key.netns;
	e->ifindex = q->key.ifindex;
	e->iif = skb->skb_iif;
	e->len = bytes;
	e->mark = skb->mark;
	e->seq = q->seq;
	e->ack = q->ack;
	e->payload = q->payload;
	e->icmp_mtu = 0;
	e->vni = 0;
	e->ct_status = 0;
	e->ct_mark = 0;
	e->flags = q->flags;
	e->ip_id = q->ip_id;
	/* Two segments of the smallest size and their header. */
	e->gso_segs = l3_len > 512 ? gso_segs(skb) : 0;
	e->ct_zone = 0;
	e->kind = q->key.kind;
	e->ttl = q->ttl;
	e->tcp_flags = q->tcp_flags;
	e->icmp_type = 0;
	e->icmp_code = 0;
	e->ct_info = 0;
	e->tunnel = 0;
	e->inner_tcp_flags = 0;
	e->tuple = q->key.tuple;
}

static __always_inline void quick_emit(struct hook_stats *s, const struct quick_packet *q,
				       struct sk_buff *skb, unsigned long nfct, __u32 l3_len,
				       __u32 bytes, __u64 now)
{
	struct event *e;

	if (nfct) {
		e = bpf_ringbuf_reserve(&events, EVENT_CT_ENDS, 0);
		if (!e)
			goto full;
		quick_fill(e, q, skb, l3_len, bytes, now);
		ct_fill(e, nfct);
	} else {
		e = bpf_ringbuf_reserve(&events, EVENT_PLAIN, 0);
		if (!e)
			goto full;
		quick_fill(e, q, skb, l3_len, bytes, now);
	}
	bpf_ringbuf_submit(e, output_flags(s));
	count(s, STAT_EVENTS);
	return;
full:
	count(s, STAT_RING_FULL);
}

/*
 * A whole packet that may be selected, at a device. A flow that was found to be
 * selected and has the same conntrack entry is not looked up again. Every so
 * often its tuples are learned again, for they may have been forgotten.
 */
static __always_inline void quick_packet(struct hook_stats *s, struct quick_packet *q,
					 struct sk_buff *skb, unsigned long nfct, __u32 l3_len,
					 __u32 bytes, bool tap)
{
	__u32 now_epoch = *(volatile __u32 *)&epoch;
	struct flow_value *v = bpf_map_lookup_elem(&flows, &q->key);
	bool known = v && v->epoch == now_epoch && v->ct == nfct;
	enum stat how;
	__u64 now = 0;

	if (!known) {
		if (tap && !bpf_map_lookup_elem(&netns, &q->key.netns)) {
			count(s, STAT_OTHER_NETNS);
			return;
		}
		if (!quick_selected(&q->key.tuple, nfct)) {
			count(s, STAT_MISS);
			return;
		}
		if (!v)
			v = flow_new(s, &q->key);
	}
	count(s, STAT_SELECTED);
	if (v) {
		if (nfct && (!known || v->packets % 256 == 0))
			learn(s, nfct);
		v->epoch = now_epoch;
		v->ct = nfct;
		how = quick_count(v, q, bytes, &now);
	} else {
		/* Uncounted, so rather an event too many than none. */
		now = bpf_ktime_get_ns();
		how = budget_take(NULL, now, q->tcp_flags & TCP_RST);
	}
	if (how == STAT_EVENTS)
		quick_emit(s, q, skb, nfct, l3_len, bytes, now);
	else
		count_held(s, how);
}

#endif
