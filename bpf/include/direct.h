/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads of kernel memory without a call. bpf_rdonly_cast (6.2, every program
 * type) gives a pointer that plain loads may follow; a bad one reads as 0. It
 * asks for a type of the kernel itself, and of its scalars only. A struct that
 * ends in an open array of them reaches as far as the offsets do, which is how
 * a struct of a module is read, too.
 */
#ifndef PODPATH_DIRECT_H
#define PODPATH_DIRECT_H

#include "maps.h"

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

/* If config.direct. */
static __always_inline const void *readable(const void *address)
{
	return bpf_rdonly_cast(address, bpf_core_type_id_kernel(struct bpf_raw_tracepoint_args));
}

#endif
