package policy

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/kube"
)

// peerMiss is why one peer of a rule does not match; the higher the score, the
// less is missing. A score of 0 is no miss at all.
type peerMiss struct {
	score int
	class string
	text  func() string
}

// Classes of tracer.PolicyNearMiss.Miss.
const (
	missNoRules       = "no-rules"
	missPeer          = "peer"
	missNamespace     = "namespace"
	missPort          = "port"
	missPortBeforeNAT = "port-before-dnat"
	missNamedPort     = "named-port"
	missIPBlock       = "ip-block"
	missProtocol      = "protocol"
)

// peer judges one entry of from or to against the other end.
func (e *evaluation) peer(p *kube.NetworkPolicy, peer *kube.PolicyPeer, s side) (peerMiss, bool) {
	other, ip := e.DstPod, e.Dst
	if s == sideIngress {
		other, ip = e.SrcPod, e.Src
	}
	if peer.Namespaces == nil && peer.Pods == nil {
		return blockPeer(peer, ip, s)
	}
	if !isolable(other) {
		// The selectors match pods with an address of their own; a hostNetwork
		// pod cannot be told from its node.
		return peerMiss{score: 10, class: missPeer, text: func() string { return e.noPod(ip, s) }}, false
	}
	return e.podPeer(p, peer, other)
}

// blockPeer compares addresses; it holds for pods' addresses too. An invalid
// block (a peer without any field) holds nothing.
func blockPeer(peer *kube.PolicyPeer, ip netip.Addr, s side) (peerMiss, bool) {
	if !peer.Block.IsValid() || !peer.Block.Contains(ip) {
		return peerMiss{score: 20, class: missIPBlock, text: func() string {
			return fmt.Sprintf("allows %s %s, and %s is not in it", s.preposition(), peer.Block, ip)
		}}, false
	}
	for _, x := range peer.Except {
		if x.Contains(ip) {
			return peerMiss{score: 40, class: missIPBlock, text: func() string {
				return fmt.Sprintf("allows %s %s except %s, which holds %s", s.preposition(), peer.Block, x, ip)
			}}, false
		}
	}
	return peerMiss{}, true
}

// podPeer judges the selectors: both must match (AND), an absent
// namespaceSelector means the policy's own namespace, an absent podSelector
// every pod.
func (e *evaluation) podPeer(p *kube.NetworkPolicy, peer *kube.PolicyPeer, other *kube.Pod) (peerMiss, bool) {
	nsLabels, nsKnown := e.namespaceLabels(other.Namespace)
	nsOK := other.Namespace == p.Namespace
	if peer.Namespaces != nil {
		nsOK = peer.Namespaces.Matches(nsLabels)
	}
	podOK := peer.Pods == nil || peer.Pods.Matches(other.Labels)
	if nsOK && podOK {
		return peerMiss{}, true
	}
	m := peerMiss{class: missPeer}
	switch {
	case podOK:
		m.class = missNamespace
		m.score = 60
		if peer.Pods != nil && !peer.Pods.Empty() {
			m.score = 70 // the pod was meant: its labels were asked for
		}
	case nsOK:
		m.score = 65 - min(len(peer.Pods.Misses(other.Labels)), 20)
	default:
		m.score = 30 - min(len(peer.Pods.Misses(other.Labels)), 10)
	}
	m.text = func() string { return selectorText(p, peer, other, nsLabels, nsKnown, nsOK, podOK) }
	return m, false
}

// namespaceLabels returns the labels of a namespace. If the namespace object
// is not known, only the label that every namespace has is.
func (e *evaluation) namespaceLabels(name string) (labels map[string]string, known bool) {
	if ns, ok := e.view.Namespace(name); ok {
		return ns.Labels, true
	}
	return map[string]string{"kubernetes.io/metadata.name": name}, false
}

func (s side) preposition() string {
	if s == sideEgress {
		return "to"
	}
	return "from"
}
