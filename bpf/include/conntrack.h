/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The conntrack entry that an sk_buff carries, both directions. */
#ifndef PODPATH_CONNTRACK_H
#define PODPATH_CONNTRACK_H

#include "packet.h"

/* skb->_nfct: enum ip_conntrack_info below, struct nf_conn above. */
#define NFCT_INFO_MASK 7UL

#define DIR_ORIG  0
#define DIR_REPLY 1

/* nf_conn has no BTF on a kernel without conntrack; then no skb carries one. */
static __always_inline const struct nf_conn *ct_address(unsigned long nfct)
{
	return bpf_core_type_exists(struct nf_conn) ? (void *)(nfct & ~NFCT_INFO_MASK) : NULL;
}

/* If config.direct. The entry, or NULL. */
static __always_inline const struct nf_conn *ct_direct(unsigned long nfct)
{
	const struct nf_conn *ct = ct_address(nfct);

	return ct ? readable(ct) : NULL;
}

/* The part of an entry that is copied where there are no direct reads. */
struct ct_copy {
	struct nf_conntrack_tuple_hash hash[2];
};

/* An entry of which the tuples only may be read, for they are the copy. Or NULL. */
static __always_inline const struct nf_conn *ct_copied(unsigned long nfct, struct ct_copy *copy)
{
	const struct nf_conn *ct = ct_address(nfct);
	long back = 0;

	if (!ct || bpf_probe_read_kernel(copy, sizeof(*copy), &ct->tuplehash))
		return NULL;
	/* The verifier knows sums of stack pointers, no differences; and 5.10 no
	 * negation of a constant. */
	asm volatile("" : "+r"(back));
	back -= bpf_core_field_offset(ct->tuplehash);
	asm volatile("" : "+r"(back));
	return (void *)copy + back;
}

static __always_inline void ct_addr(struct addr *a, const union nf_inet_addr *u, bool v4)
{
	if (v4)
		addr_v4(a, u->all[0]);
	else
		addr_v6(a, u->all);
}

static __always_inline void ct_tuple(const struct nf_conntrack_tuple *raw, bool v4, struct tuple *t)
{
	__u8 proto = raw->dst.protonum;
	__u16 sport = bpf_ntohs(raw->src.u.all);

	ct_addr(&t->saddr, &raw->src.u3, v4);
	ct_addr(&t->daddr, &raw->dst.u3, v4);
	t->sport = sport;
	/* For ICMP the second half is type and code: the identifier stands for
	 * both ends, as in the header. */
	if (proto == PROTO_ICMP || proto == PROTO_ICMPV6)
		t->dport = sport;
	else
		t->dport = bpf_ntohs(raw->dst.u.all);
	t->proto = proto;
	t->family = v4 ? 4 : 6;
	t->unused = 0;
}

/* Both tuples. */
static __noinline int ct_tuples(unsigned long nfct, struct tuple *orig, struct tuple *reply)
{
	const struct nf_conn *ct;
	struct ct_copy copy;
	__u16 family;

	ct = config.direct ? ct_direct(nfct) : ct_copied(nfct, &copy);
	if (!ct)
		return -1;
	family = ct->tuplehash[DIR_ORIG].tuple.src.l3num;
	/* A template (zone of a rule) has no addresses. */
	if (family != AF_INET && family != AF_INET6)
		return -1;
	ct_tuple(&ct->tuplehash[DIR_ORIG].tuple, family == AF_INET, orig);
	ct_tuple(&ct->tuplehash[DIR_REPLY].tuple, family == AF_INET, reply);
	return 0;
}

#define CT_READ(ct, member) \
	(config.direct ? ((const struct nf_conn *)readable(ct))->member : BPF_CORE_READ(ct, member))

static __always_inline int ct_fill(struct event *e, unsigned long nfct)
{
	const struct nf_conn *ct = (void *)(nfct & ~NFCT_INFO_MASK);

	if (ct_tuples(nfct, &e->orig, &e->reply))
		return -1;
	e->ct_info = nfct & NFCT_INFO_MASK;
	e->ct_status = CT_READ(ct, status);
	if (bpf_core_field_exists(ct->zone))
		e->ct_zone = CT_READ(ct, zone.id);
	if (bpf_core_field_exists(ct->mark))
		e->ct_mark = CT_READ(ct, mark);
	e->flags |= EVENT_CT;
	return 0;
}

static __always_inline bool addr_equal(const struct addr *a, const struct addr *b)
{
	return a->word[3] == b->word[3] && a->word[2] == b->word[2] && a->word[1] == b->word[1] &&
	       a->word[0] == b->word[0];
}

/* One is what an untranslated answer to the other carries. */
static __always_inline bool tuples_mirror(const struct tuple *a, const struct tuple *b)
{
	return addr_equal(&a->saddr, &b->daddr) && addr_equal(&a->daddr, &b->saddr) &&
	       a->sport == b->dport && a->dport == b->sport;
}

#endif
