package policy

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// refine looks whether the nearest rule was meant for the other end and misses it
// by a mistake: only if its peer selects nobody at all. A selector that selects
// somebody is right about the rest.
func (e *evaluation) refine(m *miss, other *end, s side) {
	if m.rule < 0 || m.peerOK || !m.portOK || other.pod == nil {
		return
	}
	peer := &rulesOf(m.policy, s)[m.rule].Peers[m.peer]
	if isBlock(peer) || e.selectsAnybody(m.policy, peer) {
		return
	}
	asked := peer.Pods != nil && !peer.Pods.Empty()
	podFits, nsFits := podOK(peer, other), namespaceOK(m.policy, peer, other)
	switch {
	case asked && podFits && !nsFits && peer.Namespaces == nil:
		m.class, m.hint = missOwnNamespace, fmt.Sprintf("; no pod of namespace %s has that: a namespaceSelector beside the podSelector is missing", m.policy.Namespace)
	case asked && podFits && !nsFits && lacksKeys(*peer.Namespaces, other.nsLabels):
		m.class, m.hint = missNamespaceLabel, "; no namespace with such pods has it: label the namespace, or select it by kubernetes.io/metadata.name"
	default:
		if typos := e.typos(peer, other, podFits, nsFits); len(typos) > 0 {
			m.class, m.hint = missTypo, "; nothing in the cluster has that: "+strings.Join(typos, ", ")
		}
	}
}

// selectsAnybody reports whether the peer selects any pod there is.
func (e *evaluation) selectsAnybody(p *kube.NetworkPolicy, peer *kube.PolicyPeer) bool {
	pods := e.view.PodsIn(p.Namespace)
	if peer.Namespaces != nil {
		pods = e.view.PodsWhere(func(ns string) bool { return peer.Namespaces.Matches(e.nsLabels(ns)) })
	}
	for pod := range pods {
		if isolable(pod) && podOK(peer, &end{pod: pod}) {
			return true
		}
	}
	return false
}

// lacksKeys: what the selector misses are labels that are not there at all.
func lacksKeys(sel kube.Selector, labels map[string]string) bool {
	misses := sel.Misses(labels)
	for _, r := range misses {
		if _, has := labels[r.Key]; has || r.Op != metav1.LabelSelectorOpIn && r.Op != metav1.LabelSelectorOpExists {
			return false
		}
	}
	return len(misses) > 0
}

// typos explains every requirement that the other end misses as a slip, or gives
// none.
func (e *evaluation) typos(peer *kube.PolicyPeer, other *end, podFits, nsFits bool) []string {
	var out []string
	slips := func(sel *kube.Selector, labels map[string]string) bool {
		for _, r := range sel.Misses(labels) {
			meant := slip(&r, labels)
			if meant == "" {
				return false
			}
			out = append(out, fmt.Sprintf("is %s meant to be %s?", r.String(), meant))
		}
		return true
	}
	if !podFits && !slips(peer.Pods, other.pod.Labels) {
		return nil
	}
	if !nsFits && (peer.Namespaces == nil || !slips(peer.Namespaces, other.nsLabels)) {
		return nil
	}
	return out
}

// slip finds the label that a requirement was meant for: the same key and a value
// a letter or two away, or the same value and such a key.
func slip(r *kube.Requirement, labels map[string]string) string {
	if r.Op != metav1.LabelSelectorOpIn {
		return ""
	}
	if have, ok := labels[r.Key]; ok {
		if slices.ContainsFunc(r.Values, func(want string) bool { return alike(want, have) }) {
			return r.Key + "=" + have
		}
		return ""
	}
	var keys []string
	for k, v := range labels {
		if slices.Contains(r.Values, v) && alike(r.Key, k) {
			keys = append(keys, k+"="+v)
		}
	}
	slices.Sort(keys)
	return strings.Join(keys, " or ")
}

// alike: one letter apart, two in long words. Names that differ in a number are
// meant to differ, and short ones say nothing.
func alike(a, b string) bool {
	most := 1
	if min(len(a), len(b)) >= 8 {
		most = 2
	}
	letters := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, s)
	}
	return min(len(a), len(b)) >= 4 && letters(a) != letters(b) && kube.EditDistance(a, b, most) <= most
}

// beforeDNAT: the denial is of a Service's own address, and every backend that
// there is would be allowed: the rule is about what comes after translation, and
// the packet was judged before it.
func (e *evaluation) beforeDNAT(d *tracer.PolicyDecision) bool {
	if len(e.Backends) == 0 || d.Direction != sideEgress.String() {
		return false
	}
	for _, b := range e.Backends {
		x := evaluation{view: e.view, Flow: e.Flow}
		x.Backends, x.Dst, x.Port = nil, b.Addr().Unmap(), b.Port()
		x.DstPod, _ = e.view.PodByIP(x.Dst)
		if got := x.judge(sideEgress); !got.Allowed {
			return false
		}
	}
	return true
}
