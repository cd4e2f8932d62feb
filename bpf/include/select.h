/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which packets user space asked for. */
#ifndef PODPATH_SELECT_H
#define PODPATH_SELECT_H

#include "conntrack.h"

/* User space computes the same (tracer/probe). */
static __always_inline __u32 mix(__u32 a, __u32 b, __u32 c, __u32 d)
{
	__u32 h = a * 0x9e3779b1 ^ b * 0x85ebca77 ^ c * 0xc2b2ae3d ^ d * 0x27d4eb2f;

	h ^= h >> 15;
	h *= 0x9e3779b1;
	return h >> 18; /* 14 bits: FILTER_SLOTS */
}

static __always_inline __u32 addr_slot(const struct addr *a)
{
	return mix(a->word[0], a->word[1], a->word[2], a->word[3]) & (FILTER_SLOTS - 1);
}

static __always_inline __u32 tuple_slot(const struct tuple *t)
{
	return mix(t->saddr.word[3] ^ t->saddr.word[0], t->daddr.word[3] ^ t->daddr.word[1],
		   (__u32)t->sport << 16 | t->dport, t->proto) &
	       (FILTER_SLOTS - 1);
}

/* As addr_slot, of an IPv4 address. */
static __always_inline __u32 slot4(__be32 a)
{
	return mix(0, 0, bpf_htonl(0xffff), a) & (FILTER_SLOTS - 1);
}

static __always_inline bool prefix_bit(const __u8 *bitmap, __u16 top)
{
	return bitmap[top / 8] >> top % 8 & 1;
}

static __noinline __u32 prefix_sides(const struct addr *a)
{
	struct lpm_key key = {.prefix_len = 128, .addr = *a};
	__u32 *bits = bpf_map_lookup_elem(&prefixes, &key);

	return bits ? *bits : 0;
}

static __always_inline bool is_v4(const struct addr *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == bpf_htonl(0xffff);
}

static __always_inline bool maybe_prefix(const struct addr *a)
{
	if (is_v4(a))
		return prefix_bit(selection.prefixes4, bpf_ntohs((__u16)a->word[3]));
	return prefix_bit(selection.prefixes6, bpf_ntohs((__u16)a->word[0]));
}

/* Without the sides that every address belongs to. */
static __always_inline __u32 named_sides(const struct addr *a)
{
	__u32 found = 0;

	if (selection.hosts[addr_slot(a)]) {
		__u32 *bits = bpf_map_lookup_elem(&hosts, a);

		if (bits)
			found = *bits;
	}
	if (maybe_prefix(a))
		found |= prefix_sides(a);
	return found;
}

/* One end in A and the other in B, whichever way it travels. */
static __always_inline bool ends_match(__u32 s, __u32 d)
{
	return s & (d >> 1 | d << 1) & SIDE_BOTH;
}

static __always_inline bool tuple_selected(const struct tuple *t)
{
	__u32 any = selection.any, s, d;

	if (any == SIDE_BOTH)
		return true;
	s = named_sides(&t->saddr) | any;
	/* Most packets end here, after one look. */
	if (!s)
		return false;
	d = named_sides(&t->daddr) | any;
	return ends_match(s, d);
}

/* Address resolution counts for whoever asks or is asked for. */
static __always_inline bool arp_selected(const struct tuple *t)
{
	return selection.any == SIDE_BOTH || named_sides(&t->saddr) || named_sides(&t->daddr);
}

static __always_inline bool is_learned(const struct tuple *t)
{
	__u8 *slot = &learned_slots[tuple_slot(t)];

	if ((__u8)(selection.generation - *slot) > 1 || !bpf_map_lookup_elem(&learned, t))
		return false;
	*slot = selection.generation;
	return true;
}

/* header: the packet's own addresses were looked up, and are those of the flow.
 * Without translation conntrack then has nothing to add. Compared, not taken from
 * the status bits: IPVS does not set IPS_DST_NAT. */
static __always_inline bool ct_selected(unsigned long nfct, bool header)
{
	struct tuple orig, reply;

	if (ct_tuples(nfct, &orig, &reply))
		return false;
	if (header && tuples_mirror(&orig, &reply))
		return false;
	return tuple_selected(&orig) || tuple_selected(&reply);
}

/* After parse_packet. */
__noinline int packet_selected(__u32 kind)
{
	struct packet *p = bpf_map_lookup_elem(&scratch, &kind);
	struct event *e;

	if (!p)
		return false;
	e = &p->out.event;
	if (e->flags & EVENT_ARP)
		return arp_selected(&e->tuple);
	if (tuple_selected(&e->tuple))
		return true;
	if ((e->flags & (EVENT_INNER | EVENT_QUOTED)) &&
	    (tuple_selected(&e->aux) || is_learned(&e->aux)))
		return true;
	if (is_learned(&e->tuple))
		return true;
	return ct_selected(p->nfct, e->tuple.proto == PROTO_TCP || e->tuple.proto == PROTO_UDP);
}

static __always_inline void learn_tuple(struct hook_stats *s, struct tuple *t, __u64 now)
{
	if (is_learned(t))
		return;
	if (bpf_map_update_elem(&learned, t, &now, BPF_ANY)) {
		count(s, STAT_LEARN_FAILED);
		return;
	}
	learned_slots[tuple_slot(t)] = selection.generation;
	count(s, STAT_LEARNED);
}

/*
 * An answer reaches the uplink before conntrack has translated it back: only
 * its header can tell that it belongs to a selected flow. The same holds for
 * the forward direction after translation, in a tunnel or behind one.
 */
static __noinline int learn(struct hook_stats *s, unsigned long nfct)
{
	struct tuple orig, reply;
	__u64 now;

	if (!nfct || ct_tuples(nfct, &orig, &reply) || tuples_mirror(&orig, &reply))
		return 0;
	now = bpf_ktime_get_ns();
	learn_tuple(s, &reply, now);
	/* Its inverse, in the room of the other. */
	orig.saddr = reply.daddr;
	orig.daddr = reply.saddr;
	orig.sport = reply.dport;
	orig.dport = reply.sport;
	learn_tuple(s, &orig, now);
	return 0;
}

#endif
