package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// miss is why one rule does not allow the flow.
type miss struct {
	policy tracer.Ref
	rule   int
	score  int
	class  string
	why    func() string
}

func noRules(s side) miss {
	return miss{rule: -1, score: 1, class: missNoRules, why: func() string {
		return fmt.Sprintf("selects the pod and has no %s rules, so it allows nothing", s)
	}}
}

// explain ranks a rule that does not allow. A rule whose peer matches and only
// the port does not is nearer than one for somebody else.
func (e *evaluation) explain(r *kube.PolicyRule, peerOK, portOK bool, peer peerMiss) miss {
	if portOK {
		return miss{score: 100 + peer.score, class: peer.class, why: peer.text}
	}
	class, score, text := e.portMiss(r.Ports)
	if peerOK {
		return miss{score: 200 + score, class: class, why: text}
	}
	return miss{score: 2 + peer.score, class: peer.class, why: func() string {
		return peer.text() + "; it also " + text()
	}}
}

// portMiss says what the port list allows instead.
func (e *evaluation) portMiss(list []kube.PolicyPort) (class string, score int, text func() string) {
	class, score = missProtocol, 10
	for i := range list {
		if c, s := e.entryMiss(&list[i]); s > score {
			class, score = c, s
		}
	}
	return class, score, func() string { return e.portText(list, class) }
}

func (e *evaluation) entryMiss(p *kube.PolicyPort) (string, int) {
	if p.Proto != e.Proto {
		if p.Name == "" && p.From != p.To || p.Name == "" && p.From <= e.Port && e.Port <= p.To {
			return missProtocol, 25
		}
		return missProtocol, 10
	}
	switch {
	case p.Name != "":
		return missNamedPort, 30
	case e.ServicePort != 0 && e.ServicePort != e.Port && p.From <= e.ServicePort && e.ServicePort <= p.To:
		return missPortBeforeNAT, 40
	}
	return missPort, 20
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

// selectorText says which part of a peer with selectors does not match.
func selectorText(
	p *kube.NetworkPolicy, peer *kube.PolicyPeer, other *kube.Pod, nsLabels map[string]string, nsKnown, nsOK, podOK bool,
) string {
	var parts []string
	if !nsOK {
		parts = append(parts, namespaceText(p, peer, other, nsLabels, nsKnown))
	}
	if !podOK {
		parts = append(parts, "wants pods with "+missesText(*peer.Pods, other.Labels, "pod "+other.Key().String()))
	}
	return strings.Join(parts, ", and ")
}

func namespaceText(
	p *kube.NetworkPolicy, peer *kube.PolicyPeer, other *kube.Pod, nsLabels map[string]string, nsKnown bool,
) string {
	if peer.Namespaces == nil {
		return fmt.Sprintf("has no namespaceSelector, so it means pods of namespace %s only, and pod %s is in %s",
			p.Namespace, other.Key(), other.Namespace)
	}
	text := "wants namespaces with " + missesText(*peer.Namespaces, nsLabels, "namespace "+other.Namespace)
	if !nsKnown {
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
