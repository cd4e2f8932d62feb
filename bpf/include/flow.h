/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counts per flow, and which of its packets are worth an event. */
#ifndef PODPATH_FLOW_H
#define PODPATH_FLOW_H

#include "select.h"

#define SECOND_NS 1000000000ULL

static __always_inline bool seq_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

static __always_inline void flow_key_of(const struct event *e, struct flow_key *k)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->tuple = e->flags & EVENT_INNER ? e->aux : e->tuple;
	k->netns = e->netns;
	k->ifindex = e->ifindex;
	k->kind = e->kind;
	k->tunnel = e->flags & EVENT_INNER ? e->tunnel : 0;
	k->arp = !!(e->flags & EVENT_ARP);
}

/* Adds a flow. NULL, and counted, if there is no room. */
static __noinline struct flow_value *flow_new(struct hook_stats *s, const struct flow_key *k)
{
	struct flow_value *v, fresh = {};

	fresh.first_ns = bpf_ktime_get_ns();
	/* Another CPU may come first; then its entry is as good. */
	bpf_map_update_elem(&flows, k, &fresh, BPF_NOEXIST);
	v = bpf_map_lookup_elem(&flows, k);
	if (!v)
		count(s, STAT_FLOW_FULL);
	return v;
}

/* A SYN with another initial sequence number begins a new connection. */
static __always_inline void flow_restart(struct flow_value *v, __u32 seq, __u32 end)
{
	v->isn = seq;
	v->seq_end = end;
	v->hole_start = end;
	v->hole_end = end;
	v->seq_known = 1;
	v->connection_events = 0;
}

/*
 * True if this device saw the whole range before. A segment that fills a range
 * skipped earlier is late or a retransmission of one lost before this device:
 * not seen here, so not one.
 */
static __always_inline bool flow_retransmit(struct flow_value *v, __u8 tcp_flags, __u32 seq,
					    __u32 payload)
{
	__u32 end = seq + payload;

	if (tcp_flags & TCP_RST)
		return false;
	if (tcp_flags & (TCP_SYN | TCP_FIN))
		end++;
	if (end == seq)
		return false;
	if (!v->seq_known || ((tcp_flags & TCP_SYN) && seq != v->isn)) {
		flow_restart(v, seq, end);
		return false;
	}
	if (seq_before(v->seq_end, end)) {
		if (seq_before(v->seq_end, seq)) {
			if (v->hole_start == v->hole_end)
				v->hole_start = v->seq_end;
			v->hole_end = seq;
		}
		v->seq_end = end;
		return false;
	}
	if (!seq_before(seq, v->hole_start) && seq_before(seq, v->hole_end)) {
		if (seq == v->hole_start)
			v->hole_start = seq_before(end, v->hole_end) ? end : v->hole_end;
		return false;
	}
	return true;
}

/* Whether the second that began at since is over. now may be from before: it is
 * read early, and another CPU may have begun a second meanwhile. */
static __always_inline bool second_over(__u64 now, __u64 since)
{
	return (__s64)(now - since) >= (__s64)SECOND_NS;
}

/* At most limit events in a second of this flow. */
static __always_inline bool flow_within(struct flow_value *v, __u64 now, __u32 limit)
{
	if (second_over(now, v->window_ns)) {
		v->window_ns = now;
		v->window_events = 0;
	}
	if (v->window_events >= limit)
		return false;
	v->window_events++;
	return true;
}

static __always_inline bool budget_within(__u64 now, __u32 limit)
{
	if (second_over(now, budget_used.window_ns)) {
		budget_used.window_ns = now;
		budget_used.events = 0;
	}
	return !limit || budget_used.events < limit;
}

/* Whether this event is within the budget, else the counter to blame. v: NULL if
 * the flow is not counted. */
static __always_inline enum stat budget_take(struct flow_value *v, __u64 now, bool urgent)
{
	if (urgent) {
		if (!budget_within(now, budget.all_events))
			return STAT_HELD_URGENT;
	} else {
		if (budget.counting)
			return STAT_HELD_COUNTING;
		if (!budget_within(now, budget.plain_until))
			return STAT_HELD_PLAIN;
		if (v && budget.flow_events && !flow_within(v, now, budget.flow_events))
			return STAT_HELD_FLOW;
	}
	__sync_fetch_and_add(&budget_used.events, 1);
	return STAT_EVENTS;
}

/* Also where the quoted packet could not be read. */
static __always_inline bool event_is_icmp_error(const struct event *e)
{
	return (e->tuple.proto == PROTO_ICMP || e->tuple.proto == PROTO_ICMPV6) && e->icmp_type &&
	       icmp_is_error(e->tuple.proto, e->icmp_type);
}

/* What the budget keeps longest. */
static __always_inline bool event_is_urgent(const struct event *e)
{
	return e->kind == KIND_DROP || ((e->tcp_flags | e->inner_tcp_flags) & TCP_RST) ||
	       (e->flags & (EVENT_QUOTED | EVENT_RETRANSMIT)) || event_is_icmp_error(e);
}

/* The time is read once a tick of the kernel's own clock. */
static __always_inline void flow_add(struct flow_value *v, __u32 bytes)
{
	__u32 tick = bpf_jiffies64();

	__sync_fetch_and_add(&v->packets, 1);
	__sync_fetch_and_add(&v->bytes, bytes);
	if (v->tick != tick || !v->last_ns) {
		v->tick = tick;
		v->last_ns = bpf_ktime_get_ns();
	}
}

/* Whether a packet that is no ARP and no drop is worth an event. */
static __always_inline bool flow_wants(struct flow_value *v, __u8 tcp_flags, bool urgent)
{
	if (v->connection_events >= config.first_events && !urgent &&
	    !(tcp_flags & (TCP_SYN | TCP_FIN)))
		return false;
	v->connection_events++;
	return true;
}

/* Counts the packet. Returns the counter to blame if there is to be no event. */
static __always_inline enum stat flow_count(struct flow_value *v, struct event *e)
{
	bool urgent;

	flow_add(v, e->len);
	v->tcp_flags |= e->tcp_flags;
	if (e->kind == KIND_DROP)
		return flow_within(v, e->mono_ns, config.drop_events)
			       ? budget_take(NULL, e->mono_ns, true)
			       : STAT_RATE_LIMITED;
	if (e->flags & EVENT_ARP)
		return flow_within(v, e->mono_ns, config.arp_events)
			       ? budget_take(NULL, e->mono_ns, false)
			       : STAT_RATE_LIMITED;
	if (e->tuple.proto == PROTO_TCP && e->tcp_flags &&
	    flow_retransmit(v, e->tcp_flags, e->seq, e->payload)) {
		e->flags |= EVENT_RETRANSMIT;
		__sync_fetch_and_add(&v->retransmits, 1);
	}
	urgent = event_is_urgent(e);
	if (!flow_wants(v, e->tcp_flags | e->inner_tcp_flags, urgent))
		return STAT_AGGREGATED;
	return budget_take(v, e->mono_ns, urgent);
}

static __always_inline void flow_note(struct flow_value *v, enum stat how)
{
	if (how == STAT_EVENTS)
		__sync_fetch_and_add(&v->events, 1);
	else if (how >= STAT_HELD_FLOW && how <= STAT_HELD_URGENT)
		__sync_fetch_and_add(&v->held, 1);
}

#endif
