package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// why puts a miss into words.
func (e *evaluation) why(m *miss, other *end, s side) string {
	if m.rule < 0 {
		return fmt.Sprintf("selects the pod and has no %s rules, so it allows nothing", s)
	}
	r := &rulesOf(m.policy, s)[m.rule]
	switch {
	case m.peerOK:
		return e.portText(r.Ports, m.class)
	case m.portOK:
		return e.peerText(m.policy, &r.Peers[m.peer], other, s)
	}
	class, _ := e.rankPorts(r.Ports)
	return e.peerText(m.policy, &r.Peers[m.peer], other, s) + "; it also " + e.portText(r.Ports, class)
}

func (e *evaluation) peerText(p *kube.NetworkPolicy, peer *kube.PolicyPeer, other *end, s side) string {
	if isBlock(peer) {
		return blockText(peer, other.ip, s)
	}
	if other.pod == nil {
		return e.noPod(other.ip, s)
	}
	var parts []string
	if !namespaceOK(p, peer, other) {
		parts = append(parts, namespaceText(p, peer, other, s))
	}
	if !podOK(peer, other) {
		parts = append(parts, "wants pods with "+missesText(*peer.Pods, other.pod.Labels, otherPod(s)))
	}
	return strings.Join(parts, ", and ")
}

// otherPod is the pod at the other end, seen from the policy's side.
func otherPod(s side) string {
	if s == sideEgress {
		return "the target pod"
	}
	return "the client pod"
}

func blockText(peer *kube.PolicyPeer, ip netip.Addr, s side) string {
	preposition := "from"
	if s == sideEgress {
		preposition = "to"
	}
	if !peer.Block.IsValid() {
		return "has a peer without selector or readable CIDR, which matches nothing"
	}
	if x, excepted := exception(peer, ip); excepted && peer.Block.Contains(ip) {
		return fmt.Sprintf("allows %s %s except %s, which holds %s", preposition, peer.Block, x, ip)
	}
	return fmt.Sprintf("allows %s %s, and %s is not in it", preposition, peer.Block, ip)
}

func (e *evaluation) portText(list []kube.PolicyPort, class string) string {
	allowed := make([]string, len(list))
	for i := range list {
		allowed[i] = portName(&list[i])
	}
	packet := tracer.ProtoName(e.Proto)
	if e.Proto == tracer.ProtoTCP || e.Proto == tracer.ProtoUDP || e.Proto == tracer.ProtoSCTP {
		packet = fmt.Sprintf("%s %d", packet, e.Port)
	}
	text := "allows " + strings.Join(allowed, ", ") + "; the packet is " + packet
	switch class {
	case missPortBeforeNAT:
		return fmt.Sprintf("%s after DNAT: %d is the Service's port, and policies judge the pod's", text, e.ServicePort)
	case missNamedPort:
		return text + e.namedText(list)
	}
	return text
}

// namedText says what the names in the list stand for on the destination pod.
func (e *evaluation) namedText(list []kube.PolicyPort) string {
	var out strings.Builder
	for i := range list {
		p := &list[i]
		if p.Name == "" || p.Proto != e.Proto {
			continue
		}
		if e.DstPod == nil {
			fmt.Fprintf(&out, "; port name %q means nothing for %s, which is no pod", p.Name, e.Dst)
		} else if n, ok := e.DstPod.NamedPort(p.Name, p.Proto); ok {
			fmt.Fprintf(&out, "; %q is %d on pod %s", p.Name, n, e.DstPod.Key())
		} else {
			fmt.Fprintf(&out, "; pod %s declares no %s port named %q", e.DstPod.Key(), tracer.ProtoName(p.Proto), p.Name)
		}
	}
	return out.String()
}

func portName(p *kube.PolicyPort) string {
	proto := tracer.ProtoName(p.Proto)
	switch {
	case p.Name != "":
		return fmt.Sprintf("%s %q", proto, p.Name)
	case p.From == 0 && p.To == 65535:
		return "every " + proto + " port"
	case p.From == p.To:
		return fmt.Sprintf("%s %d", proto, p.From)
	}
	return fmt.Sprintf("%s %d-%d", proto, p.From, p.To)
}

// noPod says why a selector cannot match an address.
func (e *evaluation) noPod(ip netip.Addr, s side) string {
	end := "source"
	if s == sideEgress {
		end = "destination"
	}
	if n, ok := e.view.NodeByIP(ip); ok {
		return fmt.Sprintf("selects pods by label, and the %s %s is node %s itself (a hostNetwork pod, the kubelet, "+
			"or traffic masqueraded to the node's address), which only an ipBlock can allow", end, ip, n.Name)
	}
	if owner := e.view.InPodCIDR(ip); owner != "" {
		return fmt.Sprintf("selects pods by label, and no known pod has the %s %s (it lies in the pod range of node %s)", end, ip, owner)
	}
	return fmt.Sprintf("selects pods by label, and the %s %s is no pod, so only an ipBlock can allow it", end, ip)
}

func namespaceText(p *kube.NetworkPolicy, peer *kube.PolicyPeer, other *end, s side) string {
	ns := other.pod.Namespace
	if peer.Namespaces == nil {
		return fmt.Sprintf("wants pods of namespace %s (it has no namespaceSelector), but %s is in %s", p.Namespace, otherPod(s), ns)
	}
	text := "wants namespaces with " + missesText(*peer.Namespaces, other.nsLabels, "namespace "+ns)
	if !other.nsKnown {
		text += " (the namespace's labels are not known)"
	}
	return text
}

// missesText gives "team=web, but namespace shop has no label team".
func missesText(sel kube.Selector, labels map[string]string, who string) string {
	misses := sel.Misses(labels)
	var has []string
	for _, r := range misses {
		if v, ok := labels[r.Key]; ok {
			has = append(has, fmt.Sprintf("has %s=%s", r.Key, v))
		} else {
			has = append(has, "has no label "+r.Key)
		}
	}
	if len(has) == 0 {
		return fmt.Sprintf("%s, which is not a valid selector", sel)
	}
	return fmt.Sprintf("%s, but %s %s", sel, who, strings.Join(has, " and "))
}
