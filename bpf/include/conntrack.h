/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The conntrack entry that an sk_buff carries, both directions. */
#ifndef PODPATH_CONNTRACK_H
#define PODPATH_CONNTRACK_H

#include "packet.h"

/* skb->_nfct: enum ip_conntrack_info below, struct nf_conn above. */
#define NFCT_INFO_MASK 7UL

#define DIR_ORIG  0
#define DIR_REPLY 1

static __always_inline void ct_addr(struct addr *a, const union nf_inet_addr *u, bool v4)
{
	if (v4)
		addr_v4(a, u->all[0]);
	else
		addr_v6(a, u->all);
}

/* nfct has no BTF on a kernel without conntrack; then no skb carries one. */
static __noinline int ct_tuple(unsigned long nfct, __u32 dir, struct tuple *t)
{
	struct nf_conn *ct = (void *)(nfct & ~NFCT_INFO_MASK);
	struct nf_conntrack_tuple raw = {};
	bool v4;

	if (!bpf_core_type_exists(struct nf_conn))
		return -1;
	if (dir == DIR_ORIG) {
		if (BPF_CORE_READ_INTO(&raw, ct, tuplehash[DIR_ORIG].tuple))
			return -1;
	} else {
		if (BPF_CORE_READ_INTO(&raw, ct, tuplehash[DIR_REPLY].tuple))
			return -1;
	}
	v4 = raw.src.l3num == AF_INET;
	/* A template (zone of a rule) has no addresses. */
	if (!v4 && raw.src.l3num != AF_INET6)
		return -1;
	ct_addr(&t->saddr, &raw.src.u3, v4);
	ct_addr(&t->daddr, &raw.dst.u3, v4);
	t->proto = raw.dst.protonum;
	t->family = v4 ? 4 : 6;
	t->unused = 0;
	t->sport = bpf_ntohs(raw.src.u.all);
	/* For ICMP the second half is type and code: the identifier stands for
	 * both ends, as in the header. */
	if (t->proto == PROTO_ICMP || t->proto == PROTO_ICMPV6)
		t->dport = t->sport;
	else
		t->dport = bpf_ntohs(raw.dst.u.all);
	return 0;
}

static __noinline int ct_fill(struct event *e, unsigned long nfct)
{
	struct nf_conn *ct = (void *)(nfct & ~NFCT_INFO_MASK);

	if (!ct || ct_tuple(nfct, DIR_ORIG, &e->orig) || ct_tuple(nfct, DIR_REPLY, &e->reply))
		return -1;
	e->ct_info = nfct & NFCT_INFO_MASK;
	e->ct_status = BPF_CORE_READ(ct, status);
	if (bpf_core_field_exists(ct->zone))
		e->ct_zone = BPF_CORE_READ(ct, zone.id);
	if (bpf_core_field_exists(ct->mark))
		e->ct_mark = BPF_CORE_READ(ct, mark);
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

/* Compared, not taken from the status bits: IPVS does not set IPS_DST_NAT. */
static __always_inline bool ct_translated(const struct event *e)
{
	return !tuples_mirror(&e->orig, &e->reply);
}

#endif
