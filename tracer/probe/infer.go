package probe

import (
	"strings"

	"github.com/podpath/podpath/tracer"
)

// inferReason names the reason where a kernel gives none (before 5.17; later
// ones left some places out), and the freeing function can have only one. By
// reason and place alone, so that counts and events agree.
// Source: Linux 5.10, the functions named.
func inferReason(p Place) string {
	if p.Reason != "" && p.Reason != "NOT_SPECIFIED" {
		return p.Reason
	}
	switch p.Location {
	case "nf_hook_slow", "nf_hook_slow_list", "nft_do_chain":
		return "NETFILTER_DROP"
	case "neigh_invalidate", "arp_error_report", "ndisc_error_report":
		return "NEIGH_FAILED"
	case "__udp_queue_rcv_skb", "__udpv6_queue_rcv_skb":
		return "SOCKET_RCVBUFF"
	}
	if strings.HasPrefix(p.Location, "skb_queue_purge") {
		return "QUEUE_PURGE"
	}
	return p.Reason
}

// inferTC: on a kernel without reasons, these two free an IP packet only when
// a tc filter says so; what a queue or an absent device drops goes through
// kfree_skb_list there. The reason stays open, for at __netif_receive_skb_core
// other protocols end that nobody handles.
func inferTC(p Place) (tracer.Stage, bool) {
	if p.Reason != "" || !p.IP {
		return "", false
	}
	switch p.Location {
	case "__dev_queue_xmit":
		return tracer.StageEgress, true
	case "__netif_receive_skb_core":
		return tracer.StageIngress, true
	}
	return "", false
}
