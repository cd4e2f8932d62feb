/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef PODPATH_MAPS_H
#define PODPATH_MAPS_H

#include "types.h"

const volatile struct config config = {};

struct selection selection = {};

/*
 * User space begins a new one after each change of what is selected. A flow that
 * was found to be selected stays so in the epoch.
 */
__u32 epoch = 0;

/*
 * The generation in which a tuple of this slot was last learned or seen. User
 * space begins a new generation when too many have gathered; a slot counts in
 * its own and the next, so that what is in use is never lost.
 */
__u8 learned_slots[FILTER_SLOTS] = {};

/* One is only read by the programs, the other written for every event: apart. */
#define CACHE_LINE __attribute__((aligned(128)))

struct budget budget CACHE_LINE = {};
struct budget_window budget_used CACHE_LINE = {};

/* Exact addresses; value is enum side. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct addr);
	__type(value, enum side);
} hosts SEC(".maps");

/* Prefixes; value is enum side of this and every shorter prefix. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lpm_key);
	__type(value, enum side);
} prefixes SEC(".maps");

/* Namespaces of this node, by inode. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u32);
} netns SEC(".maps");

/* Tuples that packets of selected flows carry after translation. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct tuple);
	__type(value, __u64);
} learned SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow_value);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct drop_total_key);
	__type(value, struct drop_total);
} drop_totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct drop_key);
	__type(value, struct drop_value);
} drops SEC(".maps");

/* Indexed by enum kind. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KIND_MAX);
	__type(key, __u32);
	__type(value, struct hook_stats);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
	__type(value, struct drop_event);
} events SEC(".maps");

#endif
