package probe

import (
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// Place is what the kernel says about a freed packet.
type Place struct {
	// Reason without its prefix, "" before kernel 5.17.
	Reason string
	// Location is the freeing function; Stack its callers, nearest first.
	// Both without compiler suffixes.
	Location string
	Stack    []string
	// Multicast: the packet's destination is not one host.
	Multicast bool
	// Redirect: the packet is an ICMP redirect.
	Redirect bool
	// IP: the packet is one, as far as is known.
	IP bool
	// SharedHook: what nf_tables drops may be freed by the function that runs
	// the hook, like the drops of all others (before 6.7 and its backports).
	SharedHook bool
}

// Classify says in which stage and by which engine a packet was dropped, and
// whether anybody lost something. It is silent where it is not sure: reason
// numbers, kernel versions and addresses do not enter.
// Sources: include/net/dropreason-core.h and the places where Linux 5.10 to
// 7.3 were seen to free packets.
func Classify(p Place) tracer.Drop {
	p.Reason = inferReason(p)
	d := tracer.Drop{
		Reason:   p.Reason,
		Location: p.Location,
		Stack:    p.Stack,
		Stage:    stage(p),
		Engine:   engine(p),
		Noise:    noise(p),
	}
	if at, ok := inferTC(p); ok {
		d.Stage, d.Engine = at, "tc"
	}
	return d
}

// isNetfilter: a hook's verdict freed the packet. Without reasons the place
// must tell.
func isNetfilter(p Place) bool {
	if p.Reason == "NETFILTER_DROP" {
		return true
	}
	switch p.Location {
	case "nft_do_chain", "nf_hook_slow", "nf_hook_slow_list", "nf_queue", "nf_reinject":
		return true
	}
	return false
}

func stage(p Place) tracer.Stage {
	if isNetfilter(p) {
		return nearest(p.Stack, hookStages)
	}
	if s, ok := reasonStages[p.Reason]; ok {
		return s
	}
	for _, f := range append([]string{p.Location}, p.Stack...) {
		if s, ok := placeStage(f); ok {
			return s
		}
		if s, ok := hookStages[f]; ok {
			return s
		}
	}
	return tracer.StageUnknown
}

func nearest(stack []string, stages map[string]tracer.Stage) tracer.Stage {
	for _, f := range stack {
		if s, ok := stages[f]; ok {
			return s
		}
		if s, ok := bridgedStage(f); ok {
			return s
		}
	}
	return tracer.StageUnknown
}

// bridgedStage: br_netfilter runs the IP hooks for bridged packets, so that a
// rule of the forward chain drops them there (net/bridge/br_netfilter_hooks.c).
func bridgedStage(f string) (tracer.Stage, bool) {
	rest, ok := strings.CutPrefix(f, "br_nf_")
	switch {
	case !ok:
		return tracer.StageUnknown, false
	case strings.HasPrefix(rest, "pre_routing"):
		return tracer.StagePrerouting, true
	case strings.HasPrefix(rest, "local_in"):
		return tracer.StageInput, true
	case strings.HasPrefix(rest, "forward"):
		return tracer.StageForward, true
	case strings.HasPrefix(rest, "post_routing"):
		return tracer.StagePostrouting, true
	}
	return tracer.StageBridge, true
}

// hookStages are the functions that run a netfilter hook.
var hookStages = map[string]tracer.Stage{
	"ip_rcv":          tracer.StagePrerouting,
	"ip_list_rcv":     tracer.StagePrerouting,
	"ip_sublist_rcv":  tracer.StagePrerouting,
	"ipv6_rcv":        tracer.StagePrerouting,
	"ipv6_list_rcv":   tracer.StagePrerouting,
	"ip6_sublist_rcv": tracer.StagePrerouting,

	"ip_local_deliver": tracer.StageInput,
	"ip6_input":        tracer.StageInput,

	"ip_forward":     tracer.StageForward,
	"ip6_forward":    tracer.StageForward,
	"ip_mr_forward":  tracer.StageForward,
	"ip6_mr_forward": tracer.StageForward,

	"__ip_local_out":  tracer.StageOutput,
	"ip_local_out":    tracer.StageOutput,
	"__ip6_local_out": tracer.StageOutput,
	"ip6_local_out":   tracer.StageOutput,
	"ip6_xmit":        tracer.StageOutput,
	"raw_sendmsg":     tracer.StageOutput,
	"rawv6_sendmsg":   tracer.StageOutput,
	"ndisc_send_skb":  tracer.StageOutput,
	"mld_sendpack":    tracer.StageOutput,

	"ip_output":     tracer.StagePostrouting,
	"ip_mc_output":  tracer.StagePostrouting,
	"ip6_output":    tracer.StagePostrouting,
	"ip6_mc_output": tracer.StagePostrouting,

	"br_handle_frame":        tracer.StageBridge,
	"br_handle_frame_finish": tracer.StageBridge,
	"__br_forward":           tracer.StageBridge,
	"br_forward":             tracer.StageBridge,
	"br_forward_finish":      tracer.StageBridge,
	"__br_deliver":           tracer.StageBridge,
	"br_pass_frame_up":       tracer.StageBridge,
	"br_dev_xmit":            tracer.StageBridge,

	// nf_tables' netdev family.
	"__netif_receive_skb_core": tracer.StageIngress,
	"nf_ingress":               tracer.StageIngress,
	"__dev_queue_xmit":         tracer.StageEgress,
	"nf_hook_egress":           tracer.StageEgress,
}

// reasonStages are the reasons that name their stage, wherever they occur.
var reasonStages = map[string]tracer.Stage{
	"TC_INGRESS":               tracer.StageIngress,
	"TC_EGRESS":                tracer.StageEgress,
	"XDP":                      tracer.StageIngress,
	"BPF_CGROUP_EGRESS":        tracer.StageOutput,
	"IP_RPFILTER":              tracer.StageRouting,
	"IP_INADDRERRORS":          tracer.StageRouting,
	"IP_INNOROUTES":            tracer.StageRouting,
	"IP_LOCALNET":              tracer.StageRouting,
	"IP_INVALID_SOURCE":        tracer.StageRouting,
	"IP_LOCAL_SOURCE":          tracer.StageRouting,
	"IP_INVALID_DEST":          tracer.StageRouting,
	"NEIGH_CREATEFAIL":         tracer.StageNeighbour,
	"NEIGH_FAILED":             tracer.StageNeighbour,
	"NEIGH_QUEUEFULL":          tracer.StageNeighbour,
	"NEIGH_DEAD":               tracer.StageNeighbour,
	"NEIGH_HH_FILLFAIL":        tracer.StageNeighbour,
	"VXLAN_VNI_NOT_FOUND":      tracer.StageTunnel,
	"VXLAN_INVALID_HDR":        tracer.StageTunnel,
	"VXLAN_ENTRY_EXISTS":       tracer.StageTunnel,
	"VXLAN_NO_REMOTE":          tracer.StageTunnel,
	"NO_TX_TARGET":             tracer.StageTunnel,
	"TUNNEL_TXINFO":            tracer.StageTunnel,
	"IP_TUNNEL_ECN":            tracer.StageTunnel,
	"BRIDGE_INGRESS_STP_STATE": tracer.StageBridge,
	"BRIDGE_NON_FORWARDING":    tracer.StageBridge,
	"QDISC_DROP":               tracer.StageDevice,
	"QDISC_OVERLIMIT":          tracer.StageDevice,
	"QDISC_CONGESTED":          tracer.StageDevice,
	"CPU_BACKLOG":              tracer.StageDevice,
	"FULL_RING":                tracer.StageDevice,
	"DEV_READY":                tracer.StageDevice,
	"DEV_HDR":                  tracer.StageDevice,
	"NO_SOCKET":                tracer.StageSocket,
	"SOCKET_FILTER":            tracer.StageSocket,
	"SOCKET_RCVBUFF":           tracer.StageSocket,
	"SOCKET_BACKLOG":           tracer.StageSocket,
	"SOCKET_CLOSE":             tracer.StageSocket,
	"UDP_CSUM":                 tracer.StageSocket,
	"IP_NOPROTO":               tracer.StageSocket,
	"IPV6DISABLED":             tracer.StageRouting,
}

// placeStages are the functions that free packets in one stage only.
var placeStages = map[string]tracer.Stage{
	"ip_error":                  tracer.StageRouting,
	"ip_rcv_finish_core":        tracer.StageRouting,
	"ip6_pkt_drop":              tracer.StageRouting,
	"ip6_pkt_discard":           tracer.StageRouting,
	"ip6_pkt_discard_out":       tracer.StageRouting,
	"ip6_pkt_prohibit":          tracer.StageRouting,
	"ip6_pkt_prohibit_out":      tracer.StageRouting,
	"dst_discard":               tracer.StageRouting,
	"dst_discard_out":           tracer.StageRouting,
	"__ip_queue_xmit":           tracer.StageRouting,
	"inet6_csk_xmit":            tracer.StageRouting,
	"ip_queue_xmit":             tracer.StageRouting,
	"neigh_invalidate":          tracer.StageNeighbour,
	"__neigh_event_send":        tracer.StageNeighbour,
	"neigh_resolve_output":      tracer.StageNeighbour,
	"neigh_connected_output":    tracer.StageNeighbour,
	"ip_finish_output2":         tracer.StageNeighbour,
	"ip6_finish_output2":        tracer.StageNeighbour,
	"arp_error_report":          tracer.StageNeighbour,
	"ndisc_error_report":        tracer.StageNeighbour,
	"arp_process":               tracer.StageNeighbour,
	"arp_rcv":                   tracer.StageNeighbour,
	"do_xdp_generic":            tracer.StageIngress,
	"netif_receive_generic_xdp": tracer.StageIngress,
	"bpf_prog_run_generic_xdp":  tracer.StageIngress,
	"veth_xdp_rcv_skb":          tracer.StageIngress,
	"veth_xmit":                 tracer.StageDevice,
	"dev_hard_start_xmit":       tracer.StageDevice,
	"__dev_queue_xmit":          tracer.StageDevice,
	"enqueue_to_backlog":        tracer.StageDevice,
	"__dev_forward_skb":         tracer.StageDevice,
	"__dev_forward_skb2":        tracer.StageDevice,
	"dev_forward_skb":           tracer.StageDevice,
	"validate_xmit_skb":         tracer.StageDevice,
	"cookie_v4_check":           tracer.StageSocket,
	"cookie_v6_check":           tracer.StageSocket,
	"ping_rcv":                  tracer.StageSocket,
	"icmp_rcv":                  tracer.StageSocket,
	"icmpv6_rcv":                tracer.StageSocket,
	"ip_local_deliver_finish":   tracer.StageSocket,
	"ip_protocol_deliver_rcu":   tracer.StageSocket,
	"ip6_protocol_deliver_rcu":  tracer.StageSocket,
	"inet_sock_destruct":        tracer.StageSocket,
	"sk_stream_kill_queues":     tracer.StageSocket,
	"sk_filter_trim_cap":        tracer.StageSocket,
}

// placePrefixes are families of functions of one stage.
var placePrefixes = []struct {
	prefix string
	stage  tracer.Stage
}{
	{"br_", tracer.StageBridge},
	{"vxlan_", tracer.StageTunnel},
	{"geneve_", tracer.StageTunnel},
	{"ipip_", tracer.StageTunnel},
	{"ip_tunnel_", tracer.StageTunnel},
	{"ip6_tnl_", tracer.StageTunnel},
	{"ipip6_", tracer.StageTunnel},
	{"sit_", tracer.StageTunnel},
	{"gre_", tracer.StageTunnel},
	{"wg_", tracer.StageTunnel},
	{"tcp_", tracer.StageSocket},
	{"__tcp_", tracer.StageSocket},
	{"udp_", tracer.StageSocket},
	{"__udp", tracer.StageSocket},
	{"udpv6_", tracer.StageSocket},
	{"raw_", tracer.StageSocket},
	{"rawv6_", tracer.StageSocket},
	{"sctp_", tracer.StageSocket},
}

func placeStage(f string) (tracer.Stage, bool) {
	if s, ok := placeStages[f]; ok {
		return s, true
	}
	for _, p := range placePrefixes {
		if strings.HasPrefix(f, p.prefix) {
			return p.stage, true
		}
	}
	return "", false
}

// engine names what decided to drop, if something was asked to decide.
func engine(p Place) string {
	switch p.Reason {
	case "TC_INGRESS", "TC_EGRESS":
		return "tc"
	case "XDP":
		return "xdp"
	case "BPF_CGROUP_EGRESS":
		return "cgroup"
	}
	switch p.Location {
	case "do_xdp_generic", "netif_receive_generic_xdp", "bpf_prog_run_generic_xdp", "veth_xdp_rcv_skb":
		return "xdp"
	case "nf_queue", "nf_reinject":
		return "nfqueue"
	case "nft_do_chain":
		return "nftables"
	case "nf_hook_slow", "nf_hook_slow_list":
		if p.Reason == "NETFILTER_DROP" && !p.SharedHook {
			return "xtables"
		}
	}
	return ""
}

// teardown are the callers that release what a socket never read or sent.
var teardown = []string{
	"inet_sock_destruct", "udp_destruct_common", "udp_destroy_sock", "sk_stream_kill_queues",
	"tcp_disconnect", "tcp_write_queue_purge", "skb_rbtree_purge", "__sk_destruct", "sk_destruct",
	"inet_csk_destroy_sock", "inet_csk_listen_stop", "packet_release", "unix_release_sock",
}

func noise(p Place) string {
	switch {
	case slices.Contains(teardown, p.Location):
		return "socket-teardown"
	case strings.HasPrefix(p.Location, "skb_queue_purge") && inTeardown(p.Stack):
		return "socket-teardown"
	case strings.HasPrefix(p.Location, "skb_queue_purge") && p.Reason == "QUEUE_PURGE":
		return "error-queue"
	case p.Location == "ping_rcv":
		return "ping"
	case p.Location == "ip6_mc_input", p.Location == "ip_mr_input":
		return "multicast"
	case p.Multicast && (p.Reason == "NO_TX_TARGET" || strings.HasSuffix(p.Location, "_mcast_deliver")):
		return "multicast"
	case p.Redirect && isNetfilter(p):
		return "icmp-redirect"
	case p.Reason == "NOT_SPECIFIED" && (p.Location == "tcp_v4_rcv" || p.Location == "tcp_v6_rcv"):
		return "request-socket"
	case p.Reason == "TCP_ABORT_ON_DATA":
		return "closed-socket"
	case p.Reason == "TCP_OLD_DATA", p.Reason == "TCP_OFOMERGE":
		return "duplicate-data"
	case strings.HasPrefix(p.Location, "netlink_"), strings.HasPrefix(p.Location, "unix_"):
		return "not-network"
	case p.Location == "packet_rcv", p.Location == "tpacket_rcv", p.Location == "packet_rcv_spkt":
		return "packet-socket"
	}
	return ""
}

func inTeardown(stack []string) bool {
	for _, f := range stack {
		if slices.Contains(teardown, f) {
			return true
		}
	}
	return false
}

// callers cuts a stack down to what called the freeing function, in the same
// context: above it are the tracepoint and the free itself, and beyond the
// soft interrupt whatever happened to run there.
func callers(stack []string, location string) []string {
	if i := slices.IndexFunc(stack, isContext); i >= 0 {
		stack = stack[:i]
	}
	if i := slices.Index(stack, location); i >= 0 {
		return stack[i+1:]
	}
	if i := slices.IndexFunc(stack, func(f string) bool { return !isFree(f) }); i >= 0 {
		return stack[i:]
	}
	return nil
}

// isContext: what lies beyond was interrupted, or only let soft interrupts run.
func isContext(f string) bool {
	switch f {
	case "handle_softirqs", "__do_softirq", "__softirqentry_text_start", "do_softirq", "run_ksoftirqd":
		return true
	}
	return strings.HasPrefix(f, "asm_sysvec_") || strings.HasPrefix(f, "asm_common_interrupt")
}

func isFree(f string) bool {
	for _, prefix := range []string{"bpf_", "__bpf", "__traceiter_", "kfree_skb", "__kfree_skb", "sk_skb_reason_drop", "__sk_skb_reason_drop", "skb_release", "0x"} {
		if strings.HasPrefix(f, prefix) {
			return true
		}
	}
	return false
}
