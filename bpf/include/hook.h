/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The body of the device hooks. */
#ifndef PODPATH_HOOK_H
#define PODPATH_HOOK_H

#include "emit.h"

#define QUICK_HEADERS 44

static __always_inline void count_quality(struct hook_stats *s, const struct event *e)
{
	if (!(e->flags & (EVENT_TRUNCATED | EVENT_MALFORMED | EVENT_PAGED)))
		return;
	if (e->flags & EVENT_TRUNCATED)
		count(s, STAT_TRUNCATED);
	if (e->flags & EVENT_MALFORMED)
		count(s, STAT_MALFORMED);
	if (e->flags & EVENT_PAGED)
		count(s, STAT_PAGED);
}

static __always_inline struct packet *packet_begin(struct hook_stats *s, struct sk_buff *skb,
						   __u32 kind, __u32 nh, __u16 protocol)
{
	struct packet *p = bpf_map_lookup_elem(&scratch, &kind);
	__u32 data;

	if (!p) {
		count(s, STAT_NO_SCRATCH);
		return NULL;
	}
	__builtin_memset(&p->out.event, 0, sizeof(p->out.event));
	data = skb->data - skb->head;
	p->head = (__u64)skb->head;
	p->end = skb->tail;
	p->data = data;
	p->nh = nh;
	/* data is before the network header at devices, behind it in sockets. */
	p->l3_len = skb->len + data - nh;
	p->l4 = 0;
	p->l4_len = 0;
	p->proto = 0;
	p->protocol = protocol;
	p->paged = skb->data_len != 0;
	p->out.event.kind = kind;
	p->out.event.len = skb->len;
	return p;
}

/*
 * The common packet that nobody asked for: an unfragmented IPv4 packet without
 * options, or an IPv6 packet without extension headers, of TCP or UDP, without
 * a tunnel. Tells "certainly not selected" from "look closer" with one read
 * and a few loads, and leaves everything odd to the full parser.
 */
static __always_inline bool quick_miss(struct sk_buff *skb, __u32 nh, __u16 protocol)
{
	__u8 h[QUICK_HEADERS];
	struct tuple t = {};
	unsigned long nfct;
	__be16 ports[2];

	if (nh + sizeof(h) > skb->tail && nh + 28 > skb->tail)
		return false;
	/* May read past the end of a short packet: skb_shared_info follows. */
	if (bpf_probe_read_kernel(h, sizeof(h), skb->head + nh))
		return false;
	if (protocol == ETH_P_IP) {
		const struct ip4 *ip = (void *)h;

		if (ip->vihl != 0x45 || (ip->frag & bpf_htons(0x3fff)))
			return false;
		addr_v4(&t.saddr, ip->saddr);
		addr_v4(&t.daddr, ip->daddr);
		t.proto = ip->proto;
		t.family = 4;
		__builtin_memcpy(ports, h + sizeof(*ip), sizeof(ports));
	} else {
		const struct ip6 *ip = (void *)h;

		if (nh + sizeof(h) > skb->tail || h[0] >> 4 != 6)
			return false;
		addr_v6(&t.saddr, ip->saddr);
		addr_v6(&t.daddr, ip->daddr);
		t.proto = ip->next;
		t.family = 6;
		__builtin_memcpy(ports, h + sizeof(*ip), sizeof(ports));
	}
	if (t.proto != PROTO_TCP && t.proto != PROTO_UDP)
		return false;
	t.sport = bpf_ntohs(ports[0]);
	t.dport = bpf_ntohs(ports[1]);
	if (t.proto == PROTO_UDP && is_tunnel_port(t.dport))
		return false;
	if (tuple_selected(&t) || is_learned(&t))
		return false;
	nfct = skb->_nfct;
	return !nfct || !ct_selected(nfct);
}

static __always_inline void device_packet(struct sk_buff *skb, struct net_device *dev, __u32 inum,
					  __u32 kind, bool tap, struct hook_stats *s)
{
	__u32 nh = network_offset(skb, kind, tap), link;
	__u16 protocol = bpf_ntohs(skb->protocol);
	struct packet *p;
	struct event *e;
	enum stat how;

	if (protocol == ETH_P_8021Q || protocol == ETH_P_8021AD)
		protocol = skip_vlan(skb->head, &nh, protocol);
	if (protocol != ETH_P_IP && protocol != ETH_P_IPV6 && protocol != ETH_P_ARP) {
		count(s, STAT_NOT_IP);
		count(s, STAT_MISS);
		return;
	}
	if (protocol != ETH_P_ARP && quick_miss(skb, nh, protocol)) {
		count(s, STAT_MISS);
		return;
	}
	p = packet_begin(s, skb, kind, nh, protocol);
	if (!p) {
		count(s, STAT_MISS);
		return;
	}
	e = &p->out.event;
	if (parse_packet(p) || !packet_selected(p, skb->_nfct)) {
		count_quality(s, e);
		count(s, STAT_MISS);
		return;
	}
	count_quality(s, e);
	count(s, STAT_SELECTED);
	event_complete(skb, e);
	e->netns = inum;
	e->ifindex = dev->ifindex;
	/* With the link header, which the receive tap has already taken off. */
	link = tap && kind == KIND_RX ? nh - skb->mac_header : nh - p->data;
	e->len = p->l3_len + (link < 64 ? link : 0);
	how = flow_record(s, p);
	if (how == STAT_EVENTS)
		emit_event(s, p, STAT_EVENTS, STAT_RING_FULL);
	else
		count(s, how);
}

#endif
