/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The common packet: an unfragmented IPv4 packet without options, or an IPv6
 * packet without extension headers, of TCP or UDP, without a tunnel. It is
 * passed over, or counted, by a few loads from its headers. Everything odd is
 * left to the full parser.
 */
#ifndef PODPATH_QUICK_H
#define PODPATH_QUICK_H

#include "emit.h"

enum quick {
	QUICK_ODD,  /* look closer */
	QUICK_MISS, /* certainly not selected */
	QUICK_SELECTED,
};

struct quick_packet {
	struct flow_key key;
	__u32 seq;
	__u32 payload; /* meaningful if whole */
	__u8 tcp_flags;
	__u8 whole; /* lengths agree */
};

#define QUICK_V4 (sizeof(struct ip4) + 8)
#define QUICK_V6 (sizeof(struct ip6) + 8)

/* h: QUICK_V4 or QUICK_V6 bytes. False: odd. */
static __always_inline bool quick_addresses(const __u8 *h, __u16 protocol, struct tuple *t)
{
	if (protocol == ETH_P_IP) {
		const struct ip4 *ip = (void *)h;

		if (ip->vihl != 0x45 || (ip->frag & bpf_htons(0x3fff)))
			return false;
		addr_v4(&t->saddr, ip->saddr);
		addr_v4(&t->daddr, ip->daddr);
		t->proto = ip->proto;
		t->family = 4;
	} else {
		const struct ip6 *ip = (void *)h;

		if (h[0] >> 4 != 6)
			return false;
		addr_v6(&t->saddr, ip->saddr);
		addr_v6(&t->daddr, ip->daddr);
		t->proto = ip->next;
		t->family = 6;
	}
	return t->proto == PROTO_TCP || t->proto == PROTO_UDP;
}

static __always_inline enum quick quick_select(const __u8 *h, __u16 protocol, struct tuple *t,
					       unsigned long nfct)
{
	const __u8 *l4;

	if (!quick_addresses(h, protocol, t))
		return QUICK_ODD;
	l4 = h + (protocol == ETH_P_IP ? sizeof(struct ip4) : sizeof(struct ip6));
	t->sport = bpf_ntohs(*(__be16 *)l4);
	t->dport = bpf_ntohs(*(__be16 *)(l4 + 2));
	if (t->proto == PROTO_UDP && is_tunnel_port(t->dport))
		return QUICK_ODD;
	if (tuple_selected(t) || is_learned(t))
		return QUICK_SELECTED;
	if (nfct && ct_selected(nfct, true))
		return QUICK_SELECTED;
	return QUICK_MISS;
}

/* tcp: the TCP header, NULL if out of reach. */
static __always_inline void quick_lengths(const __u8 *h, __u16 protocol, __u32 l3_len,
					  const struct tcp *tcp, struct quick_packet *q)
{
	__u32 hdr, len;

	if (protocol == ETH_P_IP) {
		len = bpf_ntohs(((struct ip4 *)h)->tot_len);
		hdr = sizeof(struct ip4);
	} else {
		len = bpf_ntohs(((struct ip6 *)h)->payload_len);
		hdr = sizeof(struct ip6);
		if (len)
			len += hdr;
	}
	q->whole = 0;
	/* The ports must be the packet's, and not padding behind it. */
	if (len > l3_len || len < hdr + 8)
		return;
	if (q->key.tuple.proto == PROTO_UDP) {
		q->whole = 1;
		return;
	}
	if (!tcp || tcp->doff >> 4 < sizeof(*tcp) / 4)
		return;
	hdr += (tcp->doff >> 4) * 4;
	if (len < hdr)
		return;
	q->seq = bpf_ntohl(tcp->seq);
	q->payload = len - hdr;
	q->tcp_flags = tcp->flags;
	q->whole = 1;
}

/*
 * Counts a packet that can be no event: not among the first, in sequence, and
 * with the conntrack entry that its flow is known to have. Every so often one
 * takes the long way all the same, to learn what may have changed.
 */
static __always_inline bool quick_count(struct hook_stats *s, struct quick_packet *q,
					unsigned long nfct, __u32 bytes, bool tap)
{
	struct flow_value *v;

	if (!q->whole || (q->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)))
		return false;
	v = bpf_map_lookup_elem(&flows, &q->key);
	if (!v || v->connection_events < config.first_events || v->ct != nfct ||
	    v->packets % 256 == 0)
		return false;
	if (q->payload && q->key.tuple.proto == PROTO_TCP) {
		if (!v->seq_known || v->seq_end != q->seq)
			return false;
		v->seq_end = q->seq + q->payload;
	}
	/* The tick is good enough for a count; tracing programs may not ask. */
	flow_add(v, bytes, tap ? bpf_ktime_get_ns() : bpf_ktime_get_coarse_ns());
	v->tcp_flags |= q->tcp_flags;
	count(s, STAT_SELECTED);
	count(s, STAT_AGGREGATED);
	return true;
}

#endif
