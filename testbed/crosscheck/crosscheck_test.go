package crosscheck

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podpath/podpath/kube/policy"
	"github.com/podpath/podpath/tracer"
)

// TestAgainstCyclonus compares both directions of flows over random clusters. The
// seeds are fixed: a difference can be repeated.
func TestAgainstCyclonus(t *testing.T) {
	const worlds, flows = 300, 40
	var pairs, denied, byTier, isolated int
	for seed := range uint64(worlds) {
		w := newWorld(seed)
		view := w.snapshot(t)
		all := matcher.BuildNetworkPolicies(false, shadowPolicies(w.policies))
		for range flows {
			src, dst := pick(w.r, w.addrs), pick(w.r, w.addrs)
			from, to := w.podAt(src), w.podAt(dst)
			if from == to {
				continue // a pod cannot be kept from itself, which cyclonus does not model
			}
			proto, port := pick(w.r, protocols()), pick(w.r, numbers())
			eg, in := policy.Decide(view, policy.Flow{
				Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Port: uint16(port), Proto: number(proto),
			})
			x := w.traffic(src, dst, proto, port)
			for _, d := range []*tracer.PolicyDecision{eg, in} {
				if d == nil {
					continue
				}
				pairs++
				ingress := d.Direction == "ingress"
				want, tier := w.expected(all, x, ingress)
				if d.Allowed != want || d.Uncertain != "" || (d.Decider() != nil) != tier {
					t.Errorf("seed %d: %s > %s %s %d %s: podpath says %v (%+v, %q), cyclonus %v (by a tier: %v)",
						seed, src, dst, proto, port, d.Direction, d.Allowed, d.Rules, d.Uncertain, want, tier)
				}
				if !want {
					denied++
				}
				if tier {
					byTier++
				} else if len(d.Selected) > 0 {
					isolated++
				}
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d decisions compared: %d denied, %d by cluster-wide policies, %d by NetworkPolicies", pairs, denied, byTier, isolated)
	if pairs < 10000 || denied < 2000 || byTier < 2000 || isolated < 2000 {
		t.Error("the clusters are too uniform")
	}
}

func number(p corev1.Protocol) uint8 {
	return map[corev1.Protocol]uint8{corev1.ProtocolTCP: tracer.ProtoTCP, corev1.ProtocolUDP: tracer.ProtoUDP, corev1.ProtocolSCTP: tracer.ProtoSCTP}[p]
}

// traffic is a flow as cyclonus has it.
func (w *world) traffic(src, dst string, proto corev1.Protocol, port int32) *matcher.Traffic {
	out := &matcher.Traffic{Source: w.end(src), Destination: w.end(dst), ResolvedPort: int(port), Protocol: proto}
	if to := w.podAt(dst); to != nil {
		for _, c := range to.Spec.Containers[0].Ports {
			if c.ContainerPort == port && c.Protocol == proto {
				out.ResolvedPortName = c.Name
			}
		}
	}
	return out
}

func (w *world) end(addr string) *matcher.TrafficPeer {
	out := &matcher.TrafficPeer{IP: addr}
	if p := w.podAt(addr); p != nil {
		out.Internal = &matcher.InternalPeer{Namespace: p.Namespace, PodLabels: shadowed(p.Labels), NamespaceLabels: shadowed(w.namespaces[p.Namespace])}
	}
	return out
}

// expected walks the tiers; tier reports whether a cluster-wide policy decided.
func (w *world) expected(all *matcher.Policy, x *matcher.Traffic, ingress bool) (allowed, tier bool) {
	if a := w.first(x, ingress, false); a == "Allow" || a == "Deny" {
		return a == "Allow", true
	}
	if r := all.IsIngressOrEgressAllowed(x, ingress); len(r.AllowingTargets)+len(r.DenyingTargets) > 0 {
		return r.IsAllowed(), false
	}
	if a := w.first(x, ingress, true); a == "Allow" || a == "Deny" {
		return a == "Allow", true
	}
	return true, false
}

// first is the action of the first rule of a tier that matches, "" without one.
func (w *world) first(x *matcher.Traffic, ingress, baseline bool) string {
	list := slices.DeleteFunc(slices.Clone(w.wide), func(p *widePolicy) bool { return p.baseline != baseline })
	slices.SortFunc(list, func(a, b *widePolicy) int {
		if (a.kind == "banp") != (b.kind == "banp") { // it has no priority, and comes last
			return map[bool]int{true: 1, false: -1}[a.kind == "banp"]
		}
		return cmp.Compare(a.priority, b.priority)
	})
	subject, rulesOf := x.Source, func(p *widePolicy) []wideRule { return p.egress }
	if ingress {
		subject, rulesOf = x.Destination, func(p *widePolicy) []wideRule { return p.ingress }
	}
	for _, p := range list {
		if !selects(p.subject, subject) {
			continue
		}
		for _, r := range rulesOf(p) {
			if matches(&r, x, ingress) {
				return r.action
			}
		}
	}
	return ""
}

// selects asks cyclonus whether a peer holds a pod, as the source of traffic to a
// pod of another namespace that lets in only that peer.
func selects(peer networkingv1.NetworkPolicyPeer, pod *matcher.TrafficPeer) bool {
	to := &matcher.TrafficPeer{IP: "192.0.2.1", Internal: &matcher.InternalPeer{Namespace: "asked"}}
	return matches(&wideRule{peers: []networkingv1.NetworkPolicyPeer{peer}}, &matcher.Traffic{Source: pod, Destination: to, ResolvedPort: 1, Protocol: corev1.ProtocolTCP}, true)
}

// matches asks cyclonus whether a rule alone would allow the flow.
func matches(r *wideRule, x *matcher.Traffic, ingress bool) bool {
	ports := slices.Clone(r.ports)
	for _, name := range r.named { // a name is of any protocol
		for _, proto := range protocols() {
			port := intstr.FromString(name)
			ports = append(ports, networkingv1.NetworkPolicyPort{Protocol: &proto, Port: &port})
		}
	}
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "rule"}}
	if ingress {
		p.Namespace = x.Destination.Internal.Namespace
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: shadowPeers(r.peers), Ports: ports}}
	} else {
		p.Namespace = x.Source.Internal.Namespace
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
		p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: shadowPeers(r.peers), Ports: ports}}
	}
	got := matcher.BuildNetworkPolicies(false, []*networkingv1.NetworkPolicy{p}).IsIngressOrEgressAllowed(x, ingress)
	if len(got.AllowingTargets)+len(got.DenyingTargets) != 1 {
		panic(fmt.Sprintf("the rule's policy does not select the pod: %+v", x))
	}
	return got.IsAllowed()
}
