package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/kube"
)

// tierText says what a rule matches by: "from pods in namespaces with team=web
// on TCP 80".
func tierText(r *kube.TierRule, x *kube.TierPeer, s side) string {
	preposition := "from"
	if s == sideEgress {
		preposition = "to"
	}
	text := preposition + " " + tierPeerText(x)
	if len(r.Ports) == 0 {
		return text
	}
	ports := make([]string, len(r.Ports))
	for i := range r.Ports {
		ports[i] = tierPortName(&r.Ports[i])
	}
	return text + " on " + strings.Join(ports, ", ")
}

func tierPortName(p *kube.PolicyPort) string {
	if p.Name != "" {
		return fmt.Sprintf("the port named %q", p.Name)
	}
	return portName(p)
}

func tierPeerText(x *kube.TierPeer) string {
	switch {
	case x.Pods != nil:
		return podSetText(x.Pods)
	case x.Nodes != nil && x.Nodes.Empty():
		return "every node"
	case x.Nodes != nil:
		return "nodes with " + x.Nodes.String()
	case len(x.Domains) > 0:
		return domains(x.Domains)
	}
	return some(x.Networks, netip.Prefix.String)
}

func podSetText(p *kube.PodSet) string {
	pods, namespaces := "every pod", ""
	if !p.Pods.Empty() {
		pods = "pods with " + p.Pods.String()
	}
	if !p.Namespaces.Empty() {
		namespaces = " in namespaces with " + p.Namespaces.String()
	}
	return pods + namespaces
}

func domains(list []string) string { return some(list, func(s string) string { return s }) }

// some joins the first of a list.
func some[T any](list []T, text func(T) string) string {
	const most = 3
	var parts []string
	for i, v := range list {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(list)-most))
			break
		}
		parts = append(parts, text(v))
	}
	return strings.Join(parts, ", ")
}
