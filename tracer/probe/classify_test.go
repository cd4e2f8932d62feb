package probe

import (
	"testing"

	"github.com/podpath/podpath/tracer"
)

// Every pair of reason and place that was seen on real kernels, with what it
// meant there.
func TestClassify(t *testing.T) {
	forward := []string{"nft_do_chain_ipv4", "nf_hook_slow", "ip_forward", "ip_rcv_finish", "ip_rcv", "__netif_receive_skb_one_core"}
	cases := []struct {
		name   string
		place  Place
		stage  tracer.Stage
		engine string
		noise  string
	}{
		{"nft forward", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: forward}, tracer.StageForward, "nftables", ""},
		{"nft input", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nft_do_chain_inet", "nf_hook_slow", "ip_local_deliver", "ip_rcv"}}, tracer.StageInput, "nftables", ""},
		{"nft input v6", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nft_do_chain_inet", "nf_hook_slow", "ip6_input", "ipv6_rcv"}}, tracer.StageInput, "nftables", ""},
		{"nft prerouting", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nft_do_chain_inet", "nf_hook_slow", "ip_rcv"}}, tracer.StagePrerouting, "nftables", ""},
		{"nft prerouting list", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nf_hook_slow_list", "ip_sublist_rcv", "ip_list_rcv"}}, tracer.StagePrerouting, "nftables", ""},
		{"nft output", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nf_hook_slow", "__ip_local_out", "ip_send_skb"}}, tracer.StageOutput, "nftables", ""},
		{"nft output tcp v6", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nf_hook_slow", "ip6_xmit", "inet6_csk_xmit"}}, tracer.StageOutput, "nftables", ""},
		{"nft postrouting", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nf_hook_slow", "ip_output", "ip_forward"}}, tracer.StagePostrouting, "nftables", ""},
		{"bridged prerouting", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nf_hook_slow", "br_nf_pre_routing", "br_handle_frame"}}, tracer.StagePrerouting, "nftables", ""},
		{"bridged forward", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nf_hook_slow", "br_nf_forward", "br_forward"}}, tracer.StageForward, "nftables", ""},
		{"bridged postrouting", Place{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Stack: []string{"br_nf_post_routing", "br_forward_finish"}}, tracer.StagePostrouting, "xtables", ""},
		{"bridge family", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nft_do_chain_bridge", "nf_hook_slow", "__br_forward"}}, tracer.StageBridge, "nftables", ""},
		{"nft netdev", Place{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stack: []string{"nft_do_chain_netdev", "nf_hook_slow", "__netif_receive_skb_core"}}, tracer.StageIngress, "nftables", ""},
		{"legacy forward", Place{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Stack: []string{"ip_forward", "ip_rcv"}}, tracer.StageForward, "xtables", ""},
		{"6.6 forward, engine not known", Place{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Stack: []string{"ip_forward", "ip_rcv"}, SharedHook: true}, tracer.StageForward, "", ""},
		{"5.10 forward, engine not known", Place{SharedHook: true, Location: "nf_hook_slow", Stack: []string{"ip_forward", "ip_rcv"}}, tracer.StageForward, "", ""},
		{"5.10 tc egress", Place{Location: "__dev_queue_xmit", IP: true, Stack: []string{"br_dev_queue_push_xmit"}}, tracer.StageEgress, "tc", ""},
		{"5.10 tc ingress", Place{Location: "__netif_receive_skb_core", IP: true}, tracer.StageIngress, "tc", ""},
		{"5.10 unknown protocol", Place{Location: "__netif_receive_skb_core"}, tracer.StageIngress, "", ""},
		{"5.10 queue full", Place{Location: "kfree_skb_list", IP: true, Stack: []string{"__dev_queue_xmit", "ip_finish_output2"}}, tracer.StageDevice, "", ""},
		{"5.10 error queue", Place{Location: "skb_queue_purge", IP: true}, tracer.StageUnknown, "", "error-queue"},
		{"nfqueue without a reader", Place{Reason: "NOT_SPECIFIED", Location: "nf_queue", Stack: []string{"nf_hook_slow", "ip_forward"}}, tracer.StageForward, "nfqueue", ""},
		{"icmp redirect dropped by nat", Place{Reason: "NETFILTER_DROP", Location: "nf_hook_slow", Stack: []string{"ip_output"}, Redirect: true}, tracer.StagePostrouting, "xtables", "icmp-redirect"},

		{"forwarding off", Place{Reason: "IP_INADDRERRORS", Location: "ip_error", Stack: []string{"ip_rcv"}}, tracer.StageRouting, "", ""},
		{"forwarding off v6", Place{Reason: "IP_INADDRERRORS", Location: "ip6_forward", Stack: []string{"ipv6_rcv"}}, tracer.StageRouting, "", ""},
		{"no route", Place{Reason: "IP_INNOROUTES", Location: "ip_error"}, tracer.StageRouting, "", ""},
		{"no route v6", Place{Reason: "IP_INNOROUTES", Location: "ip6_pkt_discard"}, tracer.StageRouting, "", ""},
		{"blackhole", Place{Reason: "NOT_SPECIFIED", Location: "ip_error", Stack: []string{"ip_rcv_finish", "ip_rcv"}}, tracer.StageRouting, "", ""},
		{"socket without route", Place{Reason: "IP_OUTNOROUTES", Location: "__ip_queue_xmit", Stack: []string{"__tcp_transmit_skb"}}, tracer.StageRouting, "", ""},
		{"socket without route v6", Place{Reason: "NOT_SPECIFIED", Location: "inet6_csk_xmit", Stack: []string{"__tcp_transmit_skb"}}, tracer.StageRouting, "", ""},
		{"tunnel without route", Place{Reason: "IP_OUTNOROUTES", Location: "vxlan_xmit_one", Stack: []string{"vxlan_xmit"}}, tracer.StageTunnel, "", ""},
		{"rp filter", Place{Reason: "IP_RPFILTER", Location: "ip_rcv_finish_core", Stack: []string{"ip_rcv_finish", "ip_rcv"}}, tracer.StageRouting, "", ""},
		{"martian loopback", Place{Reason: "IP_LOCALNET", Location: "ip_rcv_finish_core"}, tracer.StageRouting, "", ""},
		{"martian source", Place{Reason: "IP_INVALID_SOURCE", Location: "ip_rcv_finish_core"}, tracer.StageRouting, "", ""},
		{"hairpin without masquerade", Place{Reason: "IP_LOCAL_SOURCE", Location: "ip_rcv_finish_core"}, tracer.StageRouting, "", ""},
		{"other host", Place{Reason: "OTHERHOST", Location: "ip_rcv_core", Stack: []string{"ip_rcv"}}, tracer.StagePrerouting, "", ""},
		{"neighbour silent", Place{Reason: "NEIGH_FAILED", Location: "neigh_invalidate", Stack: []string{"neigh_timer_handler"}}, tracer.StageNeighbour, "", ""},
		{"neighbour silent, 5.10", Place{Location: "neigh_invalidate"}, tracer.StageNeighbour, "", ""},
		{"neighbour table full", Place{Reason: "NEIGH_CREATEFAIL", Location: "ip_finish_output2", Stack: []string{"ip_output"}}, tracer.StageNeighbour, "", ""},
		{"no FDB entry", Place{Reason: "NO_TX_TARGET", Location: "vxlan_xmit", Stack: []string{"dev_hard_start_xmit"}}, tracer.StageTunnel, "", ""},
		{"no FDB entry for multicast", Place{Reason: "NO_TX_TARGET", Location: "vxlan_xmit", Multicast: true}, tracer.StageTunnel, "", "multicast"},
		{"VNI not found", Place{Reason: "VXLAN_VNI_NOT_FOUND", Location: "vxlan_rcv", Stack: []string{"udp_queue_rcv_one_skb"}}, tracer.StageTunnel, "", ""},
		{"no VXLAN socket", Place{Reason: "NO_SOCKET", Location: "__udp4_lib_rcv"}, tracer.StageSocket, "", ""},
		{"no UDP socket, 7.3", Place{Reason: "NO_SOCKET", Location: "udp_rcv"}, tracer.StageSocket, "", ""},
		{"checksum UDP", Place{Reason: "UDP_CSUM", Location: "__udp4_lib_rcv"}, tracer.StageSocket, "", ""},
		{"checksum TCP", Place{Reason: "TCP_CSUM", Location: "tcp_v4_rcv"}, tracer.StageSocket, "", ""},
		{"no listener", Place{Reason: "NO_SOCKET", Location: "tcp_v4_rcv", Stack: []string{"ip_protocol_deliver_rcu"}}, tracer.StageSocket, "", ""},
		{"accept queue full, cookies", Place{Reason: "NO_SOCKET", Location: "cookie_v4_check"}, tracer.StageSocket, "", ""},
		{"accept queue full", Place{Reason: "TCP_LISTEN_OVERFLOW", Location: "tcp_v4_rcv"}, tracer.StageSocket, "", ""},
		{"receive buffer", Place{Reason: "SOCKET_RCVBUFF", Location: "udp_queue_rcv_one_skb"}, tracer.StageSocket, "", ""},
		{"no protocol", Place{Reason: "IP_NOPROTO", Location: "ip_local_deliver_finish"}, tracer.StageSocket, "", ""},
		{"MTU", Place{Reason: "PKT_TOO_BIG", Location: "ip_forward", Stack: []string{"ip_rcv"}}, tracer.StageForward, "", ""},
		{"MTU v6", Place{Reason: "PKT_TOO_BIG", Location: "ip6_forward", Stack: []string{"ipv6_rcv"}}, tracer.StageForward, "", ""},
		{"TTL", Place{Reason: "IP_INHDR", Location: "ip_forward", Stack: []string{"ip_rcv"}}, tracer.StageForward, "", ""},
		{"bridge MTU", Place{Reason: "NOT_SPECIFIED", Location: "br_dev_queue_push_xmit"}, tracer.StageBridge, "", ""},
		{"hairpin off", Place{Reason: "NOT_SPECIFIED", Location: "br_handle_frame_finish"}, tracer.StageBridge, "", ""},
		{"port not forwarding", Place{Reason: "BRIDGE_INGRESS_STP_STATE", Location: "br_handle_frame"}, tracer.StageBridge, "", ""},
		{"tc ingress", Place{Reason: "TC_INGRESS", Location: "__netif_receive_skb_core"}, tracer.StageIngress, "tc", ""},
		{"tc egress", Place{Reason: "TC_EGRESS", Location: "__dev_queue_xmit", Stack: []string{"ip_finish_output2", "ip_output"}}, tracer.StageEgress, "tc", ""},
		{"xdp generic", Place{Reason: "NOT_SPECIFIED", Location: "do_xdp_generic"}, tracer.StageIngress, "xdp", ""},
		{"xdp veth", Place{Reason: "NOT_SPECIFIED", Location: "veth_xdp_rcv_skb"}, tracer.StageIngress, "xdp", ""},
		{"xdp by reason", Place{Reason: "XDP", Location: "tun_get_user"}, tracer.StageIngress, "xdp", ""},
		{"cgroup egress", Place{Reason: "BPF_CGROUP_EGRESS", Location: "ip_finish_output", Stack: []string{"ip_output"}}, tracer.StageOutput, "cgroup", ""},
		{"qdisc", Place{Reason: "QDISC_DROP", Location: "__dev_queue_xmit", Stack: []string{"ip_finish_output2"}}, tracer.StageDevice, "", ""},
		{"veth without peer", Place{Reason: "NOT_SPECIFIED", Location: "veth_xmit", Stack: []string{"dev_hard_start_xmit"}}, tracer.StageDevice, "", ""},
		{"reassembly", Place{Reason: "FRAG_REASM_TIMEOUT", Location: "ip_expire", Stack: []string{"call_timer_fn"}}, tracer.StageUnknown, "", ""},
		{"old sequence", Place{Reason: "TCP_OLD_SEQUENCE", Location: "tcp_validate_incoming"}, tracer.StageSocket, "", ""},
		{"invalid SYN", Place{Reason: "TCP_INVALID_SYN", Location: "tcp_validate_incoming"}, tracer.StageSocket, "", ""},
		{"v6 disabled", Place{Reason: "IPV6DISABLED", Location: "ip6_rcv_core", Stack: []string{"ipv6_rcv"}}, tracer.StageRouting, "", ""},

		{"ping with a raw socket", Place{Reason: "NO_SOCKET", Location: "ping_rcv", Stack: []string{"icmp_rcv"}}, tracer.StageSocket, "", "ping"},
		{"unread data", Place{Reason: "QUEUE_PURGE", Location: "inet_sock_destruct"}, tracer.StageSocket, "", "socket-teardown"},
		{"unread datagrams", Place{Reason: "NOT_SPECIFIED", Location: "udp_destruct_common"}, tracer.StageSocket, "", "socket-teardown"},
		{"unsent data", Place{Reason: "NOT_SPECIFIED", Location: "sk_stream_kill_queues"}, tracer.StageSocket, "", "socket-teardown"},
		{"purge at close", Place{Reason: "QUEUE_PURGE", Location: "skb_queue_purge_reason", Stack: []string{"inet_sock_destruct", "__sk_destruct"}}, tracer.StageSocket, "", "socket-teardown"},
		{"disconnect", Place{Reason: "NOT_SPECIFIED", Location: "tcp_disconnect"}, tracer.StageSocket, "", "socket-teardown"},
		{"rbtree", Place{Reason: "NOT_SPECIFIED", Location: "skb_rbtree_purge"}, tracer.StageUnknown, "", "socket-teardown"},
		{"error queue", Place{Reason: "QUEUE_PURGE", Location: "skb_queue_purge_reason", Stack: []string{"ip_recv_error"}}, tracer.StageUnknown, "", "error-queue"},
		{"v6 multicast", Place{Reason: "NOT_SPECIFIED", Location: "ip6_mc_input", Multicast: true}, tracer.StageUnknown, "", "multicast"},
		{"request socket reset", Place{Reason: "NOT_SPECIFIED", Location: "tcp_v4_rcv"}, tracer.StageSocket, "", "request-socket"},
		{"closed before the data", Place{Reason: "TCP_ABORT_ON_DATA", Location: "tcp_v4_do_rcv"}, tracer.StageSocket, "", "closed-socket"},
		{"flooded other host is not noise", Place{Reason: "OTHERHOST", Location: "ip6_rcv_core", Stack: []string{"ipv6_rcv"}}, tracer.StagePrerouting, "", ""},
		{"nothing known", Place{}, tracer.StageUnknown, "", ""},
		{"unknown place", Place{Reason: "NEW_REASON", Location: "new_function", Stack: []string{"newer_function"}}, tracer.StageUnknown, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := Classify(c.place)
			if d.Stage != c.stage || d.Engine != c.engine || d.Noise != c.noise {
				t.Errorf("got stage %q engine %q noise %q, want %q %q %q", d.Stage, d.Engine, d.Noise, c.stage, c.engine, c.noise)
			}
			if d.Reason != inferReason(c.place) || d.Location != c.place.Location {
				t.Errorf("changed reason or place: %+v", d)
			}
		})
	}
}

func TestCallers(t *testing.T) {
	stack := []string{"bpf_prog_1234_kfree_skb", "bpf_trace_run4", "__traceiter_kfree_skb", "sk_skb_reason_drop", "nft_do_chain", "nft_do_chain_ipv4", "nf_hook_slow"}
	for name, c := range map[string]struct {
		location string
		first    string
	}{
		"location in the stack": {"nft_do_chain", "nft_do_chain_ipv4"},
		"location inlined":      {"elsewhere", "nft_do_chain"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := callers(stack, c.location); len(got) == 0 || got[0] != c.first {
				t.Errorf("got %v", got)
			}
		})
	}
	// A sender's own stack is none of the receiver's business.
	soft := []string{"kfree_skb_reason", "f", "net_rx_action", "handle_softirqs", "do_softirq", "ip_output"}
	if got := callers(soft, "f"); len(got) != 1 || got[0] != "net_rx_action" {
		t.Errorf("got %v", got)
	}
	if got := callers(nil, "f"); len(got) != 0 {
		t.Errorf("got %v of nothing", got)
	}
}

// A reason is inferred where the place leaves only one, and never replaced.
func TestInferReason(t *testing.T) {
	for _, tc := range []struct{ given, location, want string }{
		{"", "nf_hook_slow", "NETFILTER_DROP"},
		{"", "neigh_invalidate", "NEIGH_FAILED"},
		{"NOT_SPECIFIED", "skb_queue_purge_reason", "QUEUE_PURGE"},
		{"", "ip_forward", ""},
		{"", "ip_error", ""},
		{"", "tcp_v4_rcv", ""},
		{"", "__dev_queue_xmit", ""},
		{"NOT_SPECIFIED", "ip_error", "NOT_SPECIFIED"},
		{"IP_INNOROUTES", "nf_hook_slow", "IP_INNOROUTES"},
	} {
		if got := Classify(Place{Reason: tc.given, Location: tc.location}).Reason; got != tc.want {
			t.Errorf("%q at %s: %q, want %q", tc.given, tc.location, got, tc.want)
		}
	}
}
