// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs: thin hooks over one body. They look, count and report; no
 * packet is changed, delayed or dropped by them.
 */
#include "../include/drops.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The struct sk_buff behind a __sk_buff. In every kernel that has TCX. */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

static __always_inline int device_hook(struct __sk_buff *ctx, __u32 kind)
{
	device_packet(ctx, bpf_cast_to_kern_ctx(ctx), kind, false);
	return TCX_NEXT;
}

SEC("tcx/ingress")
int tcx_ingress(struct __sk_buff *ctx)
{
	return device_hook(ctx, KIND_RX);
}

SEC("tcx/egress")
int tcx_egress(struct __sk_buff *ctx)
{
	return device_hook(ctx, KIND_TX);
}

SEC("tp_btf/netif_receive_skb")
int netif_receive_skb(__u64 *ctx)
{
	device_packet(ctx, (struct sk_buff *)ctx[0], KIND_RX, true);
	return 0;
}

SEC("tp_btf/net_dev_queue")
int net_dev_queue(__u64 *ctx)
{
	device_packet(ctx, (struct sk_buff *)ctx[0], KIND_TX, true);
	return 0;
}

/*
 * Parameters by kernel: (skb, location) to 5.16, + reason to 6.11, + receiving
 * socket since. Distributions backport, so user space counts them in BTF.
 */
SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct sock *sk = skb->sk;
	__u64 location = ctx[1];
	__u32 reason = 0;

	if (config.kfree_args >= 3)
		reason = ctx[2];
	if (config.kfree_args >= 4 && !sk)
		sk = (struct sock *)ctx[3];
	drop_packet(ctx, skb, sk, location, reason);
	return 0;
}
