/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Events to user space. */
#ifndef PODPATH_EMIT_H
#define PODPATH_EMIT_H

#include "flow.h"

/* A wakeup costs several times what the event does: user space polls, and is
 * woken only when much has gathered. */
#define OUTPUTS_PER_WAKEUP 512

static __always_inline int emit(struct hook_stats *s, void *data, __u64 size)
{
	__u64 flags = BPF_RB_NO_WAKEUP;

	if (++s->outputs % OUTPUTS_PER_WAKEUP == 0)
		flags = BPF_RB_FORCE_WAKEUP;
	return bpf_ringbuf_output(&events, data, size, flags);
}

static __always_inline void emit_event(struct hook_stats *s, struct packet *p, enum stat sent,
				       enum stat lost)
{
	int err;

	if (p->out.event.kind == KIND_DROP)
		err = emit(s, &p->out, sizeof(p->out));
	else
		err = emit(s, &p->out.event, sizeof(p->out.event));
	count(s, err ? lost : sent);
}

static __always_inline __u16 gso_segs(struct sk_buff *skb)
{
	struct skb_shared_info *info = (void *)(skb->head + skb->end);

	return BPF_CORE_READ(info, gso_segs);
}

/* What is only needed once a packet is known to be of interest. */
static __always_inline void event_complete(struct sk_buff *skb, struct packet *p)
{
	struct event *e = &p->out.event;

	e->mono_ns = bpf_ktime_get_ns();
	e->skb = (__u64)skb;
	e->iif = skb->skb_iif;
	e->mark = skb->mark;
	/* Two segments of the smallest size and their header. */
	if (p->l3_len > 512)
		e->gso_segs = gso_segs(skb);
	if (p->nfct)
		ct_fill(e, p->nfct);
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
	v = flow_get(s, &k, e->mono_ns);
	/* Uncounted, so rather an event too many than none. */
	if (!v)
		return budget_take(NULL, e->mono_ns, event_is_urgent(e));
	how = flow_count(v, e);
	if (how == STAT_EVENTS)
		v->events++;
	else if (how >= STAT_HELD_FLOW && how <= STAT_HELD_URGENT)
		v->held++;
	v->ct = p->nfct;
	if ((e->flags & EVENT_CT) && ct_translated(e))
		learn(s, e);
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
