/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef PODPATH_STATS_H
#define PODPATH_STATS_H

#include "direct.h"

/*
 * A hook never interrupts itself on one CPU: the device hooks run with bottom
 * halves disabled, and the kernel refuses to nest one tracing program. With one
 * set per hook a plain increment therefore loses nothing. Before about 6.1 the
 * kernel did nest them (docs/limits.md).
 */
static __always_inline struct hook_stats *stats_of(__u32 kind)
{
	return bpf_map_lookup_elem(&stats, &kind);
}

static __always_inline void count(struct hook_stats *s, enum stat which)
{
	s->count[which]++;
}

#endif
