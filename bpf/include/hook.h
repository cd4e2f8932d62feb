/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The body of the device hooks. */
#ifndef PODPATH_HOOK_H
#define PODPATH_HOOK_H

#include "quick.h"

static __always_inline void count_quality(struct hook_stats *s, const struct event *e)
{
	if (!(e->flags & (EVENT_TRUNCATED | EVENT_MALFORMED | EVENT_BEYOND)))
		return;
	if (e->flags & EVENT_TRUNCATED)
		count(s, STAT_TRUNCATED);
	if (e->flags & EVENT_MALFORMED)
		count(s, STAT_MALFORMED);
	if (e->flags & EVENT_BEYOND)
		count(s, STAT_BEYOND);
}

/*
 * tap: a tracing program. A program on a device can also read headers that lie
 * outside the linear data, as a driver may leave them.
 */
static __always_inline void packet_snap(struct packet *p, void *ctx, struct sk_buff *skb, bool tap)
{
	__u32 tail = skb->tail;
	__u64 n = tail > p->nh ? tail - p->nh : 0;

	if (n > SNAP)
		n = SNAP;
	p->more = p->l3_len > n;
	if (!tap && p->more && n < SNAP) {
		n = p->l3_len < SNAP ? p->l3_len : SNAP;
		p->more = p->l3_len > n;
		p->snap_len = n;
		asm volatile("" : "+r"(n));
		if (n == 0 || n > SNAP || bpf_skb_load_bytes(ctx, p->nh - p->data, p->snap, n))
			p->snap_len = 0;
		return;
	}
	p->snap_len = n;
	asm volatile("" : "+r"(n));
	if (n == 0 || n > SNAP || bpf_probe_read_kernel(p->snap, n, (void *)(p->head + p->nh)))
		p->snap_len = 0;
}

static __always_inline void packet_begin(struct packet *p, void *ctx, struct sk_buff *skb,
					 __u32 kind, bool tap, __u32 nh, __u16 protocol)
{
	__u32 data = skb->data - skb->head;

	__builtin_memset(&p->out.event, 0, sizeof(p->out.event));
	p->head = (__u64)skb->head;
	p->nfct = skb->_nfct;
	p->data = data;
	p->nh = nh;
	/* data is before the network header at devices, behind it in sockets. */
	p->l3_len = skb->len + data - nh;
	p->l4 = 0;
	p->l4_len = 0;
	p->aux = 0;
	p->proto = 0;
	p->epoch = *(volatile __u32 *)&epoch;
	p->protocol = protocol;
	p->out.event.kind = kind;
	p->out.event.len = skb->len;
	packet_snap(p, ctx, skb, tap);
}

/* With the link header, which the receive tap has already taken off. */
static __always_inline __u32 link_header(struct sk_buff *skb, __u32 kind, bool tap, __u32 nh)
{
	__u32 from = tap && kind == KIND_RX ? skb->mac_header : skb->data - skb->head;

	return nh - from < 64 ? nh - from : 0;
}

/*
 * The headers in the packet itself, for a program on a device; NULL if they
 * are not within reach. The verifier wants the offset bounded.
 */
static __always_inline const __u8 *direct_headers(struct __sk_buff *ctx, __u32 off, __u32 len)
{
	const __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (off > 64)
		return NULL;
	data += off;
	return data + len <= end ? data : NULL;
}

/* A device hook's packet that is not quickly dealt with. */
static __always_inline void device_full(struct hook_stats *s, void *ctx, struct sk_buff *skb,
					struct flow_key *k, bool tap, __u32 nh, __u16 protocol)
{
	__u32 kind = k->kind;
	struct packet *p;
	struct event *e;
	enum stat how;

	if (tap && !bpf_map_lookup_elem(&netns, &k->netns)) {
		count(s, STAT_OTHER_NETNS);
		return;
	}
	p = scratch_of(kind);
	if (!p) {
		count(s, STAT_NO_SCRATCH);
		count(s, STAT_MISS);
		return;
	}
	packet_begin(p, ctx, skb, kind, tap, nh, protocol);
	e = &p->out.event;
	if (parse(kind) || !packet_selected(kind)) {
		count_quality(s, e);
		count(s, STAT_MISS);
		return;
	}
	count_quality(s, e);
	count(s, STAT_SELECTED);
	event_complete(skb, e, p->nfct, p->l3_len);
	e->netns = k->netns;
	e->ifindex = k->ifindex;
	e->len = p->l3_len + link_header(skb, kind, tap, nh);
	learn(s, p->nfct);
	how = flow_record(kind);
	if (how == STAT_EVENTS)
		emit_event(s, p, STAT_EVENTS, STAT_RING_FULL);
	else
		count_held(s, how);
}

/* The quick look in a program on a device: at the packet where it lies. */
static __always_inline enum quick device_quick(struct __sk_buff *ctx, __u32 off, __u32 ip_len,
					       __u16 protocol, __u32 l3_len, unsigned long nfct,
					       struct quick_packet *q)
{
	const __u8 *h = direct_headers(ctx, off, ip_len + 8), *more;
	enum quick how;

	if (!h)
		return QUICK_ODD;
	how = quick_sift(h, protocol, nfct);
	if (how == QUICK_MAYBE) {
		more = direct_headers(ctx, off, ip_len + sizeof(struct tcp));
		if (more)
			quick_read(h, protocol, l3_len, (void *)(more + ip_len), q);
		else
			quick_read(h, protocol, l3_len, NULL, q);
	}
	return how;
}

/*
 * The quick look in a tracing program: through a pointer, or at a copy. all: q is
 * also wanted of a packet that is not selected.
 */
static __always_inline enum quick tap_quick(struct sk_buff *skb, __u32 nh, __u32 ip_len,
					    __u16 protocol, __u32 l3_len, unsigned long nfct,
					    bool all, __u8 *copy, struct quick_packet *q)
{
	__u32 end = skb->tail;
	const __u8 *h = copy;
	enum quick how;

	if (nh + ip_len + 8 > end)
		return QUICK_ODD;
	if (config.direct)
		h = readable(skb->head + nh);
	/* May read past the end of a short packet: skb_shared_info follows. */
	else if (bpf_probe_read_kernel(copy, ip_len + sizeof(struct tcp), skb->head + nh))
		return QUICK_ODD;
	how = quick_sift(h, protocol, nfct);
	if (how == QUICK_MAYBE || (all && how == QUICK_MISS)) {
		if (nh + ip_len + sizeof(struct tcp) <= end)
			quick_read(h, protocol, l3_len, (void *)(h + ip_len), q);
		else
			quick_read(h, protocol, l3_len, NULL, q);
	}
	return how;
}

static __always_inline enum quick quick_look(void *ctx, struct sk_buff *skb, bool tap, __u32 nh,
					     __u16 protocol, __u32 l3_len, unsigned long nfct,
					     bool all, struct quick_packet *q)
{
	__u32 off = nh - (__u32)(skb->data - skb->head);
	__u8 copy[sizeof(struct ip6) + sizeof(struct tcp)];
	__u32 ip_len = sizeof(struct ip4);

	if (protocol == ETH_P_IP)
		return tap ? tap_quick(skb, nh, ip_len, ETH_P_IP, l3_len, nfct, all, copy, q)
			   : device_quick(ctx, off, ip_len, ETH_P_IP, l3_len, nfct, q);
	ip_len = sizeof(struct ip6);
	if (protocol == ETH_P_IPV6)
		return tap ? tap_quick(skb, nh, ip_len, ETH_P_IPV6, l3_len, nfct, all, copy, q)
			   : device_quick(ctx, off, ip_len, ETH_P_IPV6, l3_len, nfct, q);
	return QUICK_ODD;
}

static __always_inline __u32 netns_of_device(struct net_device *dev)
{
	struct net *net = dev->nd_net.net;

	return net ? net->ns.inum : 0;
}

/* Where the packet is. False, and counted, if it is not ours to look at. */
static __always_inline bool device_key(struct hook_stats *s, struct net_device *dev, __u32 kind,
				       bool tap, struct flow_key *k)
{
	if (!dev) {
		count(s, STAT_NO_NETNS);
		return false;
	}
	/* Attaching to a device is what selects it. */
	if (tap && (dev->flags & IFF_LOOPBACK)) {
		count(s, STAT_LOOPBACK);
		return false;
	}
	k->netns = netns_of_device(dev);
	k->ifindex = dev->ifindex;
	*(long_alias *)&k->kind = kind; /* and no tunnel, no arp */
	return true;
}

static __always_inline void device_packet(void *ctx, struct sk_buff *skb, __u32 kind, bool tap)
{
	__u32 nh = network_offset(skb, kind, tap), l3_len;
	__u16 protocol = bpf_ntohs(skb->protocol);
	struct hook_stats *s = stats_of(kind);
	unsigned long nfct = skb->_nfct;
	struct quick_packet q;
	enum quick how;

	if (!s)
		return;
	count(s, STAT_PACKETS);
	if (protocol == ETH_P_8021Q || protocol == ETH_P_8021AD)
		protocol = skip_vlan(skb, &nh, protocol);
	if (protocol != ETH_P_IP && protocol != ETH_P_IPV6 && protocol != ETH_P_ARP) {
		count(s, STAT_NOT_IP);
		count(s, STAT_MISS);
		return;
	}
	l3_len = skb->len + (__u32)(skb->data - skb->head) - nh;
	how = quick_look(ctx, skb, tap, nh, protocol, l3_len, nfct, false, &q);
	if (how == QUICK_MISS) {
		count(s, STAT_MISS);
		return;
	}
	if (!device_key(s, skb->dev, kind, tap, &q.key))
		return;
	if (how == QUICK_MAYBE && q.whole)
		quick_packet(s, &q, skb, nfct, l3_len, l3_len + link_header(skb, kind, tap, nh),
			     tap);
	else
		device_full(s, ctx, skb, &q.key, tap, nh, protocol);
}

#endif
