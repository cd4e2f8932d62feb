/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cheap look that most packets end with: a few loads prove that none of
 * their addresses is selected. It errs on one side only. Whatever may be
 * selected is looked up exactly (select.h).
 */
#ifndef PODPATH_SIFT_H
#define PODPATH_SIFT_H

#include "select.h"

/* Sides of an address, and maybe more. */
static __always_inline __u32 maybe4(__be32 a)
{
	__u32 sides = selection.hosts[slot4(a)];

	if (selection.prefixed4 && prefix_bit(selection.prefixes4, bpf_ntohs((__u16)a)))
		sides = SIDE_BOTH;
	return sides;
}

static __always_inline __u32 maybe6(const __be32 *a)
{
	__u32 sides = selection.hosts[mix(a[0], a[1], a[2], a[3]) & (FILTER_SLOTS - 1)];

	if (selection.prefixed6 && prefix_bit(selection.prefixes6, bpf_ntohs((__u16)a[0])))
		sides = SIDE_BOTH;
	/* It may hold an IPv4 address. */
	if (selection.prefixed4 && !a[0])
		sides = SIDE_BOTH;
	return sides;
}

static __always_inline bool maybe_pair4(__be32 saddr, __be32 daddr)
{
	__u32 any = selection.any, s = maybe4(saddr) | any;

	return s && ends_match(s, maybe4(daddr) | any);
}

static __always_inline bool maybe_pair6(const __be32 *saddr, const __be32 *daddr)
{
	__u32 any = selection.any, s = maybe6(saddr) | any;

	return s && ends_match(s, maybe6(daddr) | any);
}

/* slot: as tuple_slot. */
static __always_inline bool maybe_learned(__u32 slot)
{
	return (__u8)(selection.generation - learned_slots[slot & (FILTER_SLOTS - 1)]) <= 1;
}

static __always_inline bool maybe_entry(const struct nf_conn *ct)
{
	const struct nf_conntrack_tuple *orig, *reply;
	__u16 family;

	if (!ct)
		return false;
	orig = &ct->tuplehash[DIR_ORIG].tuple;
	reply = &ct->tuplehash[DIR_REPLY].tuple;
	family = orig->src.l3num;
	if (family == AF_INET)
		return maybe_pair4(orig->src.u3.all[0], orig->dst.u3.all[0]) ||
		       maybe_pair4(reply->src.u3.all[0], reply->dst.u3.all[0]);
	if (family == AF_INET6)
		return maybe_pair6(orig->src.u3.all, orig->dst.u3.all) ||
		       maybe_pair6(reply->src.u3.all, reply->dst.u3.all);
	return false;
}

static __noinline bool maybe_copy(unsigned long nfct)
{
	struct ct_copy copy;

	return maybe_entry(ct_copied(nfct, &copy));
}

/* The packet's own addresses may not be those that were asked for. */
static __always_inline bool maybe_ct(unsigned long nfct)
{
	return config.direct ? maybe_entry(ct_direct(nfct)) : maybe_copy(nfct);
}

#endif
