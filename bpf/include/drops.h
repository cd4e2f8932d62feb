/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The body of the drop hook. */
#ifndef PODPATH_DROPS_H
#define PODPATH_DROPS_H

#include "hook.h"

static __always_inline __u32 netns_of_socket(struct sock *sk)
{
	struct net *net;

	if (!sk)
		return 0;
	net = sk->__sk_common.skc_net.net;
	return net ? net->ns.inum : 0;
}

/* A packet that a socket made and that has no IP header yet, or none left. */
static __always_inline int socket_tuple(struct sock *sk, struct packet *p)
{
	struct event *e = &p->out.event;
	struct sock_common *c;

	if (!sk)
		return -1;
	c = &sk->__sk_common;
	if (c->skc_family == AF_INET) {
		addr_v4(&e->tuple.saddr, c->skc_rcv_saddr);
		addr_v4(&e->tuple.daddr, c->skc_daddr);
		e->tuple.family = 4;
	} else if (c->skc_family == AF_INET6) {
		e->tuple.saddr.word[0] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		e->tuple.saddr.word[1] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		e->tuple.saddr.word[2] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		e->tuple.saddr.word[3] = c->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		e->tuple.daddr.word[0] = c->skc_v6_daddr.in6_u.u6_addr32[0];
		e->tuple.daddr.word[1] = c->skc_v6_daddr.in6_u.u6_addr32[1];
		e->tuple.daddr.word[2] = c->skc_v6_daddr.in6_u.u6_addr32[2];
		e->tuple.daddr.word[3] = c->skc_v6_daddr.in6_u.u6_addr32[3];
		e->tuple.family = 6;
	} else {
		return -1;
	}
	/* Only TCP has those small sockets. */
	if (c->skc_state == TCP_TIME_WAIT || c->skc_state == TCP_NEW_SYN_RECV)
		e->tuple.proto = PROTO_TCP;
	else
		e->tuple.proto = sk->sk_protocol;
	e->tuple.sport = c->skc_num;
	e->tuple.dport = bpf_ntohs(c->skc_dport);
	e->flags |= EVENT_FROM_SOCKET;
	return 0;
}

static __always_inline int drop_parse(struct sk_buff *skb, struct sock *sk, struct packet *p)
{
	if (p->nh && p->nh != HEADER_UNSET && !parse(KIND_DROP))
		return 0;
	return socket_tuple(sk, p);
}

static __noinline int drop_total(struct hook_stats *s, __u64 location, __u32 reason, __u32 bytes)
{
	struct drop_total_key k = {.location = location, .reason = reason};
	struct drop_total *t = bpf_map_lookup_elem(&drop_totals, &k), fresh = {};

	if (!t) {
		bpf_map_update_elem(&drop_totals, &k, &fresh, BPF_NOEXIST);
		t = bpf_map_lookup_elem(&drop_totals, &k);
	}
	if (!t) {
		count(s, STAT_DROP_TOTAL_FULL);
		return -1;
	}
	t->packets++;
	t->bytes += bytes;
	return 0;
}

static __always_inline void drop_key_of(struct drop_key *k, __u64 location, __u32 reason,
					const struct tuple *t)
{
	k->location = location;
	k->saddr = t->saddr;
	k->daddr = t->daddr;
	k->reason = reason;
	/* The identifier of an echo would make every ping a key of its own. */
	k->dport = t->proto == PROTO_ICMP || t->proto == PROTO_ICMPV6 ? 0 : t->dport;
	k->proto = t->proto;
	k->family = t->family;
}

static __always_inline void drop_add(struct drop_value *v, __u32 bytes, __u64 now)
{
	__sync_fetch_and_add(&v->packets, 1);
	__sync_fetch_and_add(&v->bytes, bytes);
	v->last_ns = now;
}

/* Returns whether the key is new. */
static __noinline bool drop_detail(struct hook_stats *s, const struct drop_event *d)
{
	struct drop_value *v, fresh = {};
	struct drop_key k;
	bool new = false;

	drop_key_of(&k, d->location, d->reason, &d->event.tuple);
	k.netns = d->event.netns;
	k.ifindex = d->event.ifindex;
	v = bpf_map_lookup_elem(&drops, &k);
	if (!v) {
		fresh.first_ns = d->event.mono_ns;
		new = !bpf_map_update_elem(&drops, &k, &fresh, BPF_NOEXIST);
		v = bpf_map_lookup_elem(&drops, &k);
	}
	if (!v) {
		count(s, STAT_DROP_FULL);
		return false;
	}
	drop_add(v, d->event.len, d->event.mono_ns);
	return new;
}

/*
 * Counts the drop of a common packet that is due no event: its line of the report
 * is there, and its flow, if it is selected, is at its limit. False: it takes the
 * long way, and is not counted yet.
 */
static __noinline bool drop_quick(struct hook_stats *s, const struct quick_packet *q,
				  const struct drop_total_key *place, unsigned long nfct,
				  __u32 bytes)
{
	__u64 now = bpf_ktime_get_ns();
	struct flow_value *v = NULL;
	struct drop_value *d;
	struct drop_key k;

	if (q->maybe) {
		v = bpf_map_lookup_elem(&flows, &q->key);
		if (!v || v->epoch != epoch || v->ct != nfct || second_over(now, v->window_ns) ||
		    v->window_events < config.drop_events)
			return false;
	}
	drop_key_of(&k, place->location, place->reason, &q->key.tuple);
	k.netns = q->key.netns;
	k.ifindex = q->key.ifindex;
	d = bpf_map_lookup_elem(&drops, &k);
	if (!d)
		return false;
	drop_total(s, place->location, place->reason, bytes);
	drop_add(d, bytes, now);
	if (v) {
		flow_add(v, bytes);
		v->tcp_flags |= q->tcp_flags;
		count(s, STAT_SELECTED);
		count(s, STAT_RATE_LIMITED);
	} else {
		count(s, STAT_SAMPLED);
		count(s, STAT_SAMPLE_NONE);
	}
	return true;
}

static __always_inline bool sample_within(struct hook_stats *s, __u64 now)
{
	if (second_over(now, s->window_ns)) {
		s->window_ns = now;
		s->window_samples = 0;
	}
	return s->window_samples++ < config.sample_events;
}

static __always_inline void drop_emit(void *ctx, struct hook_stats *s, struct packet *p,
				      enum stat sent, enum stat lost)
{
	long n = bpf_get_stack(ctx, p->out.stack, sizeof(p->out.stack), 0);

	p->out.stack_len = n > 0 ? (__u64)n / sizeof(p->out.stack[0]) : 0;
	emit_event(s, p, sent, lost);
}

static __always_inline void drop_sample(void *ctx, struct hook_stats *s, struct packet *p, bool new)
{
	count(s, STAT_SAMPLED);
	if (!new) {
		count(s, STAT_SAMPLE_NONE);
		return;
	}
	if (!sample_within(s, p->out.event.mono_ns)) {
		count(s, STAT_SAMPLE_LIMITED);
		return;
	}
	if (budget_take(NULL, p->out.event.mono_ns, true) != STAT_EVENTS) {
		count(s, STAT_SAMPLE_HELD);
		return;
	}
	p->out.event.flags |= EVENT_SAMPLE;
	drop_emit(ctx, s, p, STAT_SAMPLE_EVENTS, STAT_SAMPLE_RING_FULL);
}

/* The namespace that lost the packet, 0 if nothing tells. */
static __always_inline __u32 drop_netns(struct sk_buff *skb, struct sock *sk)
{
	struct net_device *dev = skb->dev;
	__u32 inum = 0;

	/* For a queued datagram this is no device but a number (dev_scratch):
	 * reads through it give 0. */
	if (dev)
		inum = netns_of_device(dev);
	return inum ? inum : netns_of_socket(sk);
}

static __always_inline bool drop_ours(struct hook_stats *s, __u32 inum)
{
	if (!inum) {
		count(s, STAT_NO_NETNS);
		return false;
	}
	if (!bpf_map_lookup_elem(&netns, &inum)) {
		count(s, STAT_OTHER_NETNS);
		return false;
	}
	return true;
}

static __always_inline void drop_record(void *ctx, struct hook_stats *s, struct packet *p,
					bool selected)
{
	enum stat how;
	bool new;

	drop_total(s, p->out.location, p->out.reason, p->out.event.len);
	new = drop_detail(s, &p->out);
	if (!selected) {
		drop_sample(ctx, s, p, new);
		return;
	}
	count(s, STAT_SELECTED);
	learn(s, p->nfct);
	how = flow_record(KIND_DROP);
	if (how == STAT_EVENTS)
		drop_emit(ctx, s, p, STAT_EVENTS, STAT_RING_FULL);
	else
		count_held(s, how);
}

/* What is left once the drop is known to be of interest, or not known not to be. */
static __always_inline void drop_full(void *ctx, struct hook_stats *s, struct sk_buff *skb,
				      struct sock *sk, const struct drop_total_key *place,
				      struct packet *p, __u32 nh, __u16 protocol)
{
	struct event *e = &p->out.event;
	bool has_tuple, selected;

	packet_begin(p, ctx, skb, KIND_DROP, true, nh, protocol);
	has_tuple = !drop_parse(skb, sk, p);
	count_quality(s, e);
	if (!has_tuple)
		count(s, STAT_NO_TUPLE);
	selected = has_tuple && packet_selected(KIND_DROP);
	if (!selected && !config.drops_all) {
		count(s, STAT_MISS);
		return;
	}
	event_complete(skb, e, p->nfct, p->l3_len);
	e->netns = p->quick.key.netns;
	e->ifindex = p->quick.key.ifindex;
	if (has_tuple && !(e->flags & EVENT_FROM_SOCKET))
		e->len = p->l3_len;
	p->out.location = place->location;
	p->out.reason = place->reason;
	drop_record(ctx, s, p, selected);
}

static __always_inline void drop_packet(void *ctx, struct sk_buff *skb, struct sock *sk,
					__u64 location, __u32 reason)
{
	struct drop_total_key place = {.location = location, .reason = reason};
	__u32 nh = skb->network_header, l3_len = 0;
	struct hook_stats *s = stats_of(KIND_DROP);
	__u16 protocol = bpf_ntohs(skb->protocol);
	unsigned long nfct = skb->_nfct;
	enum quick how = QUICK_ODD;
	struct packet *p = scratch_of(KIND_DROP);
	struct quick_packet *q;
	struct net_device *dev;

	if (!s || !p)
		return;
	q = &p->quick;
	count(s, STAT_PACKETS);
	if (nh && nh != HEADER_UNSET) {
		if (protocol == ETH_P_8021Q || protocol == ETH_P_8021AD)
			protocol = skip_vlan(skb, &nh, protocol);
		l3_len = skb->len + (__u32)(skb->data - skb->head) - nh;
		how = quick_look(ctx, skb, true, nh, protocol, l3_len, nfct, config.drops_all, q);
		if (how == QUICK_MISS && !config.drops_all) {
			count(s, STAT_MISS);
			return;
		}
	}
	q->key.netns = drop_netns(skb, sk);
	if (!drop_ours(s, q->key.netns))
		return;
	dev = skb->dev;
	q->key.ifindex = dev ? dev->ifindex : 0;
	*(long_alias *)&q->key.kind = KIND_DROP; /* and no tunnel, no arp */
	q->maybe = how == QUICK_MAYBE;
	if (how != QUICK_ODD && q->whole && drop_quick(s, q, &place, nfct, l3_len))
		return;
	drop_full(ctx, s, skb, sk, &place, p, nh, protocol);
}

#endif
