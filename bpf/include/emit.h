/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Events to user space. */
#ifndef PODPATH_EMIT_H
#define PODPATH_EMIT_H

#include "flow.h"

/* A wakeup costs several times what the event does: user space polls, and is
 * woken only when much has gathered. */
#define OUTPUTS_PER_WAKEUP 512

#define EVENT_PLAIN   offsetof(struct event, orig)
#define EVENT_CT_ENDS offsetof(struct event, aux)

static __always_inline __u64 output_flags(struct hook_stats *s)
{
	return ++s->outputs % OUTPUTS_PER_WAKEUP == 0 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline void emit_event(struct hook_stats *s, struct packet *p, enum stat sent,
				       enum stat lost)
{
	struct event *e = &p->out.event;
	__u64 size = sizeof(*e);
	int err;

	if (e->kind == KIND_DROP)
		size = sizeof(p->out);
	else if (!(e->flags & (EVENT_INNER | EVENT_QUOTED)))
		size = e->flags & EVENT_CT ? EVENT_CT_ENDS : EVENT_PLAIN;
	err = bpf_ringbuf_output(&events, e, size, output_flags(s));
	count(s, err ? lost : sent);
}

static __always_inline __u16 gso_segs(struct sk_buff *skb)
{
	const struct skb_shared_info *info = (void *)(skb->head + skb->end);

	if (config.direct)
		return ((const struct skb_shared_info *)readable(info))->gso_segs;
	return BPF_CORE_READ(info, gso_segs);
}

/* What is only needed once a packet is known to be of interest. l3_len: bytes from
 * the network header on. */
static __always_inline void event_complete(struct sk_buff *skb, struct event *e, unsigned long nfct,
					   __u32 l3_len)
{
	e->mono_ns = bpf_ktime_get_ns();
	e->skb = (__u64)skb;
	e->iif = skb->skb_iif;
	e->mark = skb->mark;
	/* Two segments of the smallest size and their header. */
	if (l3_len > 512)
		e->gso_segs = gso_segs(skb);
	if (nfct)
		ct_fill(e, nfct);
}

/* A packet of a selected flow. Returns whether it is to be an event. */
__noinline enum stat flow_record(__u32 kind)
{
	struct packet *p = bpf_map_lookup_elem(&scratch, &kind);
	struct hook_stats *s = stats_of(kind);
	struct flow_value *v;
	struct flow_key k;
	struct event *e;
	enum stat how;

	if (!p || !s)
		return STAT_EVENTS;
	e = &p->out.event;
	flow_key_of(e, &k);
	v = bpf_map_lookup_elem(&flows, &k);
	if (!v)
		v = flow_new(s, &k);
	/* Uncounted, so rather an event too many than none. */
	if (!v)
		return budget_take(NULL, e->mono_ns, event_is_urgent(e));
	how = flow_count(v, e);
	flow_note(v, how);
	v->ct = p->nfct;
	v->epoch = p->epoch;
	return how;
}

/* flow_record's answer, which to the verifier is any number. */
static __always_inline void count_held(struct hook_stats *s, enum stat how)
{
	if (how == STAT_RATE_LIMITED)
		count(s, STAT_RATE_LIMITED);
	else if (how == STAT_HELD_FLOW)
		count(s, STAT_HELD_FLOW);
	else if (how == STAT_HELD_PLAIN)
		count(s, STAT_HELD_PLAIN);
	else if (how == STAT_HELD_COUNTING)
		count(s, STAT_HELD_COUNTING);
	else if (how == STAT_HELD_URGENT)
		count(s, STAT_HELD_URGENT);
	else
		count(s, STAT_AGGREGATED);
}

#endif
