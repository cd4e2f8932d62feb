package policy

import (
	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

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
	// The rule's peer selects nobody, and the other end misses it by a mistake.
	missTypo           = "selector-typo"
	missNamespaceLabel = "namespace-label"
	missOwnNamespace   = "own-namespace"
	// missBeforeDNAT: a Service's address, whose backends are all allowed.
	missBeforeDNAT = "before-dnat"
)

// miss is how far one rule is from allowing the flow. The higher the score, the
// nearer it is.
type miss struct {
	policy *kube.NetworkPolicy
	rule   int // -1: the policy has none
	peer   int // the entry of from or to that came closest, if !peerOK
	peerOK bool
	portOK bool
	class  string
	hint   string // what the mistake may be
	score  int
}

// nearest finds the rule that came closest among policies that all deny. Of
// equals the first wins, by the policies' names.
func (e *evaluation) nearest(policies []*kube.NetworkPolicy, other *end, s side) *tracer.PolicyNearMiss {
	best := miss{score: -1}
	for _, p := range policies {
		rules := rulesOf(p, s)
		if len(rules) == 0 && best.score < 0 {
			best = miss{policy: p, rule: -1, class: missNoRules}
		}
		for i := range rules {
			if m := e.rank(p, &rules[i], other); m.score > best.score {
				m.policy, m.rule = p, i
				best = m
			}
		}
	}
	e.refine(&best, other, s)
	return &tracer.PolicyNearMiss{
		Policy: ref(best.policy), Rule: best.rule, Miss: best.class, Why: e.why(&best, other, s) + best.hint,
	}
}

// rank scores a rule that does not allow. A rule whose peer matches and only
// the port does not is nearer than one for somebody else.
func (e *evaluation) rank(p *kube.NetworkPolicy, r *kube.PolicyRule, other *end) miss {
	m := miss{portOK: e.ports(r.Ports), peerOK: peers(p, r.Peers, other)}
	if m.peerOK {
		m.class, m.score = e.rankPorts(r.Ports)
		m.score += 200
		return m
	}
	for i := range r.Peers {
		if class, score := rankPeer(p, &r.Peers[i], other); score > m.score {
			m.class, m.score, m.peer = class, score, i
		}
	}
	if m.portOK {
		m.score += 100
	}
	return m
}

// rankPeer scores one entry of from or to that does not match: 1 to 70.
func rankPeer(p *kube.NetworkPolicy, peer *kube.PolicyPeer, other *end) (class string, score int) {
	if isBlock(peer) {
		if _, excepted := exception(peer, other.ip); excepted && peer.Block.Contains(other.ip) {
			return missIPBlock, 40
		}
		return missIPBlock, 20
	}
	if other.pod == nil {
		return missPeer, 10
	}
	switch {
	case podOK(peer, other) && peer.Pods != nil && !peer.Pods.Empty():
		return missNamespace, 70 // the pod was meant: its labels were asked for
	case podOK(peer, other):
		return missNamespace, 60
	case namespaceOK(p, peer, other):
		return missPeer, 65 - min(peer.Pods.Missing(other.pod.Labels), 20)
	}
	return missPeer, 30 - min(peer.Pods.Missing(other.pod.Labels), 9)
}

// rankPorts scores a port list that does not match: 10 to 40.
func (e *evaluation) rankPorts(list []kube.PolicyPort) (class string, score int) {
	class, score = missProtocol, 10
	for i := range list {
		if c, s := e.rankPort(&list[i]); s > score {
			class, score = c, s
		}
	}
	return class, score
}

func (e *evaluation) rankPort(p *kube.PolicyPort) (class string, score int) {
	numbered := p.Name == ""
	switch {
	case p.Proto != e.Proto && numbered && p.From <= e.Port && e.Port <= p.To:
		return missProtocol, 25
	case p.Proto != e.Proto:
		return missProtocol, 10
	case !numbered:
		return missNamedPort, 30
	case e.ServicePort != 0 && e.ServicePort != e.Port && p.From <= e.ServicePort && e.ServicePort <= p.To:
		return missPortBeforeNAT, 40
	}
	return missPort, 20
}
