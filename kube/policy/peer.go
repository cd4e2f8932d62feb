package policy

import (
	"net/netip"

	"github.com/podpath/podpath/kube"
)

// peers reports whether the list holds the other end.
func peers(p *kube.NetworkPolicy, list []kube.PolicyPeer, other *end) bool {
	if len(list) == 0 {
		return true
	}
	for i := range list {
		if peer(p, &list[i], other) {
			return true
		}
	}
	return false
}

// peer judges one entry of from or to.
func peer(p *kube.NetworkPolicy, peer *kube.PolicyPeer, other *end) bool {
	if isBlock(peer) {
		return inBlock(peer, other.ip)
	}
	return other.pod != nil && namespaceOK(p, peer, other) && podOK(peer, other)
}

func isBlock(peer *kube.PolicyPeer) bool { return peer.Namespaces == nil && peer.Pods == nil }

// inBlock compares addresses; it holds for pods' addresses too. An invalid
// block (a peer without any field) holds nothing.
func inBlock(peer *kube.PolicyPeer, ip netip.Addr) bool {
	if !peer.Block.IsValid() || !peer.Block.Contains(ip) {
		return false
	}
	_, excepted := exception(peer, ip)
	return !excepted
}

func exception(peer *kube.PolicyPeer, ip netip.Addr) (netip.Prefix, bool) {
	for _, x := range peer.Except {
		if x.Contains(ip) {
			return x, true
		}
	}
	return netip.Prefix{}, false
}

// namespaceOK judges the namespace part of a peer with selectors: without a
// namespaceSelector it means the policy's own namespace.
func namespaceOK(p *kube.NetworkPolicy, peer *kube.PolicyPeer, other *end) bool {
	if peer.Namespaces == nil {
		return other.pod.Namespace == p.Namespace
	}
	return peer.Namespaces.Matches(other.nsLabels)
}

// podOK judges the pod part: without a podSelector it means every pod.
func podOK(peer *kube.PolicyPeer, other *end) bool {
	return peer.Pods == nil || peer.Pods.Matches(other.pod.Labels)
}
