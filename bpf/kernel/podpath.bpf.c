// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The programs: thin hooks over one body. They look, count and report; no
 * packet is changed, delayed or dropped by them.
 */
#include "../include/drops.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The struct sk_buff behind a __sk_buff. In every kernel that has TCX. */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

/* Attaching to a device is what selects the namespace. */
static __always_inline int tcx_packet(void *ctx, __u32 kind)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
	struct hook_stats *s = stats_of(kind);
	struct net_device *dev = skb->dev;

	if (!s)
		return TCX_NEXT;
	count(s, STAT_PACKETS);
	if (!dev) {
		count(s, STAT_NO_NETNS);
		return TCX_NEXT;
	}
	device_packet(skb, dev, netns_of_device(dev), kind, false, s);
	return TCX_NEXT;
}

SEC("tcx/ingress")
int tcx_ingress(void *ctx)
{
	return tcx_packet(ctx, KIND_RX);
}

SEC("tcx/egress")
int tcx_egress(void *ctx)
{
	return tcx_packet(ctx, KIND_TX);
}

/* Sees every device of the machine: the namespace decides first. */
static __always_inline int tap_packet(struct sk_buff *skb, __u32 kind)
{
	struct hook_stats *s = stats_of(kind);
	struct net_device *dev = skb->dev;
	__u32 inum;

	if (!s)
		return 0;
	count(s, STAT_PACKETS);
	inum = netns_of_device(dev);
	if (!inum) {
		count(s, STAT_NO_NETNS);
		return 0;
	}
	if (dev->flags & IFF_LOOPBACK) {
		count(s, STAT_LOOPBACK);
		return 0;
	}
	if (!bpf_map_lookup_elem(&netns, &inum)) {
		count(s, STAT_OTHER_NETNS);
		return 0;
	}
	device_packet(skb, dev, inum, kind, true, s);
	return 0;
}

SEC("tp_btf/netif_receive_skb")
int netif_receive_skb(__u64 *ctx)
{
	return tap_packet((struct sk_buff *)ctx[0], KIND_RX);
}

SEC("tp_btf/net_dev_queue")
int net_dev_queue(__u64 *ctx)
{
	return tap_packet((struct sk_buff *)ctx[0], KIND_TX);
}

/*
 * Parameters by kernel: (skb, location) to 5.16, + reason to 6.11, + receiving
 * socket since. Distributions backport, so user space counts them in BTF.
 */
SEC("tp_btf/kfree_skb")
int kfree_skb(__u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct hook_stats *s = stats_of(KIND_DROP);
	__u64 location = ctx[1];
	struct sock *sk = skb->sk;
	__u32 reason = 0, inum;

	if (config.kfree_args >= 3)
		reason = ctx[2];
	if (config.kfree_args >= 4 && !sk)
		sk = (struct sock *)ctx[3];
	if (!s)
		return 0;
	count(s, STAT_PACKETS);
	inum = netns_of_device(skb->dev);
	if (!inum)
		inum = netns_of_socket(sk);
	if (!inum) {
		count(s, STAT_NO_NETNS);
		return 0;
	}
	if (!bpf_map_lookup_elem(&netns, &inum)) {
		count(s, STAT_OTHER_NETNS);
		return 0;
	}
	drop_packet(ctx, skb, sk, inum, location, reason, s);
	return 0;
}
