package verdict

import (
	"slices"

	"github.com/podpath/podpath/tracer"
)

// effect is one way in which a fault makes others' rules find something: what is
// left of the packets looks like the sign of another fault, and follows from the
// first. It is the relation that puts causes before consequences.
type effect struct {
	// does says what a cause does to the packets: "svc-stale-endpoint, which sends
	// the packets where nobody waits for them".
	does string
	// causes and signs are codes. A cause may itself be a sign of another one.
	causes, signs []string
	// holds reports whether the packets of this flow agree that the sign is the
	// cause's doing.
	holds func(in *Input, cause, sign *Finding) bool
}

// effects is the relation. What is not in it is another fault, or another reading
// of the same packets. Whatever has the packets lost beyond the node can have all of
// them lost there.
func effects() []effect {
	list := effectsOfOne()
	for i := range list {
		if slices.Contains(list[i].signs, tracer.CodeBeyondNode) {
			list[i].signs = append(list[i].signs, codeNoWayOut)
		}
	}
	return list
}

func effectsOfOne() []effect {
	return []effect{
		{
			does:   "which sets the network of its node up",
			causes: []string{"cni-daemon-down"},
			signs:  []string{"cni-config-missing"},
			holds:  func(*Input, *Finding, *Finding) bool { return true },
		},
		{
			does:   "which sends the packets where nobody waits for them",
			causes: []string{"svc-stale-endpoint", "svc-stale-affinity", "svc-stale-udp-conntrack", "svc-mixed-backends", "svc-terminating-endpoint"},
			signs: []string{"cni-stale-neigh", "cni-host-route-missing", "cni-route-none", "cni-route-blackhole", "cni-route-missing", "cni-overlay-neigh-missing",
				"cni-overlay-fdb-missing", "cni-veth-down", "cni-pod-eth-down", "cni-pod-no-default-route", "cni-antispoof", "node-down", "node-underlay-arp", "node-forward-drop", "node-input-blocked",
				"pol-ingress-deny", "pol-egress-deny", "pol-wrong-port", "pol-agent-stale", "app-no-listener", "app-localhost-only", "app-hang", "app-reset",
				"svc-wrong-targetport", "egr-remote-refused", "egr-remote-down", "egr-masq-missing", "egr-gateway-dead", tracer.CodeBeyondNode},
			holds: func(in *Input, cause, sign *Finding) bool {
				return in.servedBy() == nil && behindTranslation(in, cause, sign)
			},
		},
		{
			does:   "which sends the packets elsewhere",
			causes: []string{"node-redirected"},
			signs: []string{"cni-stale-neigh", "cni-host-route-missing", "cni-route-none", "cni-route-blackhole", "cni-route-missing", "cni-cidr-overlap", "cni-pod-no-default-route",
				"node-down", "node-input-blocked", "node-forward-drop", "node-firewall-reject", "pol-ingress-deny", "pol-egress-deny", "pol-wrong-port", "pol-host-firewall",
				"app-no-listener", "app-localhost-only", "app-hang", "app-reset", "app-sidecar-missing", "svc-wrong-targetport", "dns-coredns-down", "egr-remote-refused", "egr-remote-reset", "egr-remote-down",
				"egr-masq-missing", "egr-masq-excluded", "egr-gateway-dead", "egr-no-default-route", tracer.CodeBeyondNode},
			holds: behindTranslation,
		},
		{
			does:   "which sends the packets to an endpoint that ought not to get them",
			causes: []string{"svc-stale-endpoint", "svc-stale-affinity", "svc-stale-udp-conntrack"},
			signs: []string{"cni-stale-neigh", "cni-host-route-missing", "cni-route-none", "app-no-listener", "app-localhost-only", "app-hang", "app-reset", "svc-wrong-targetport",
				tracer.CodeBeyondNode},
			holds: func(in *Input, cause, sign *Finding) bool {
				return in.servedBy() != nil && behindTranslation(in, cause, sign) && !(in.fell() && ofFallen(sign))
			},
		},
		{
			does:   "which took the endpoint out of the Service, and the proxy has not heard of it yet",
			causes: fallen(),
			signs:  []string{"svc-stale-endpoint"},
			holds:  func(in *Input, _, _ *Finding) bool { return in.fell() },
		},
		{
			does:   "which sends the packets to a pod whose place is being taken away",
			causes: []string{"svc-terminating-endpoint"},
			signs: []string{"cni-stale-neigh", "cni-host-route-missing", "cni-route-none", "cni-route-blackhole", "cni-route-missing", "cni-veth-down", "cni-pod-eth-down",
				"cni-pod-no-default-route", tracer.CodeBeyondNode},
			holds: func(in *Input, cause, sign *Finding) bool {
				return in.servedBy() != nil && behindTranslation(in, cause, sign)
			},
		},
		{
			does:   "which sends the packets to a pod that does not serve any more",
			causes: []string{"svc-terminating-endpoint"},
			signs:  []string{"app-no-listener", "app-hang", "app-reset"},
			holds: func(in *Input, cause, sign *Finding) bool {
				e := in.servedBy()
				return e != nil && !e.Serving && behindTranslation(in, cause, sign)
			},
		},
		{
			does:   "which sends the packets to a port where nobody listens",
			causes: []string{"svc-wrong-targetport", "app-sidecar-missing", "dns-nodelocal-broken"},
			signs:  []string{"app-no-listener", "app-localhost-only", "pol-wrong-port", "egr-remote-refused", "dns-coredns-down"},
			holds:  anyway,
		},
		{
			does:   "which leaves the packets to the node itself, that does not serve this port",
			causes: []string{"cni-hostport-missing"},
			signs:  []string{"app-no-listener", "app-localhost-only", "node-input-blocked", "node-firewall-reject", "node-forward-drop", "pol-host-firewall", "pol-cni-policy", "pol-agent-stale", "app-hang"},
			holds:  anyway,
		},
		{
			does:   "which forgets a connection that is quiet, so that its next packet is reset",
			causes: []string{"node-conntrack-expired", "ext-idle-timeout"},
			signs:  []string{"app-reset", "egr-remote-reset", "svc-terminating-endpoint"},
			holds:  anyway,
		},
		{
			does:   "which lets another pod take the packets",
			causes: []string{"cni-duplicate-ip"},
			signs:  []string{"app-no-listener", "app-localhost-only", "app-reset", "app-hang", "cni-stale-neigh", "svc-wrong-targetport", "dns-coredns-down"},
			holds:  anyway,
		},
		{
			does: "which leaves the packets with the Service's address, that nothing else knows",
			causes: []string{"svc-kubeproxy-no-rules", "svc-udp-ct-before-rules", "svc-wrong-service-port", "svc-clusterip-unallocated", "svc-invalid-drop-asymmetric",
				"node-conntrack-full", "node-notrack"},
			signs: []string{"cni-route-none", "cni-route-missing", "cni-route-blackhole", "egr-no-default-route", "egr-gateway-dead", "egr-masq-missing", "egr-masq-excluded",
				"egr-remote-refused", "egr-remote-down", "egr-firewall-reject", "node-routing-loop", "node-forward-drop", "node-input-blocked", "app-no-listener",
				"pol-egress-deny", "svc-kubeproxy-no-rules", tracer.CodeBeyondNode},
			holds: func(in *Input, _, _ *Finding) bool {
				return in.untranslated() && in.Cluster.Service != nil || in.Cluster.InServiceRange
			},
		},
		{
			does:   "which has the proxy turn the packets away",
			causes: []string{"svc-no-endpoints", "svc-no-local-endpoints", "svc-lb-source-ranges", "dns-coredns-down", "dns-loop", "svc-wrong-service-port", "svc-clusterip-unallocated"},
			signs:  []string{"svc-stale-endpoint", "svc-kubeproxy-no-rules", "node-forward-drop", "node-firewall-reject", "pol-agent-stale", "pol-cni-policy", "app-no-listener", "egr-remote-refused"},
			holds:  notElsewhere,
		},
		{
			does: "which leaves the packets without a way to their next hop",
			causes: []string{"cni-port-isolated", "node-input-blocked", "node-forward-drop", "cni-veth-down", "cni-veth-detached", "cni-pod-eth-down", "cni-host-route-missing", "node-link-down", "node-down", "cni-cidr-overlap",
				"cni-overlay-stale-vtep-mac", "node-neigh-overflow"},
			signs: []string{"cni-stale-neigh", "cni-host-route-missing", "cni-route-blackhole", "cni-route-none", "cni-route-missing", "cni-gateway-arp", "cni-overlay-neigh-missing",
				"cni-overlay-fdb-missing", "cni-bandwidth-shaper", "egr-no-default-route", "egr-gateway-dead", "egr-remote-down", "node-underlay-arp", "cni-pod-no-default-route",
				"app-hang", tracer.CodeBeyondNode},
			holds: withoutNextHop,
		},
		{
			does: "which sends the packets out so that no answer can come",
			causes: []string{"cni-route-missing", "cni-overlay-fdb-wrong-node", "cni-overlay-port-mismatch", "cni-wrong-interface", "egr-wrong-interface", "egr-masq-missing",
				"egr-masq-excluded", "egr-firewall-reject", "node-routing-loop", "egr-snat-port-exhausted", "node-down", "node-notrack"},
			signs: []string{"egr-masq-missing", "egr-masq-excluded", "egr-gateway-dead", "egr-remote-down", "egr-remote-refused", "app-hang", "app-no-listener", tracer.CodeBeyondNode},
			holds: outForNothing,
		},
		{
			does:   "which lets small packets pass and large ones vanish",
			causes: []string{"cni-mtu-pod-too-big", "cni-mtu-blackhole", "ext-mtu-fabric", "egr-frag-loss"},
			signs:  []string{"app-hang", "app-reset", "egr-remote-reset", "egr-frag-loss", tracer.CodeBeyondNode},
			holds:  notElsewhere,
		},
		{
			does: "which drops the packets, so that nothing answers",
			causes: []string{"pol-ingress-deny", "pol-egress-deny", "pol-dns-egress", "pol-one-side-only", "pol-wrong-port", "pol-named-port", "pol-selector-mismatch",
				"pol-ipblock-after-snat", "pol-clusterip-pre-dnat", "pol-nodelocal-dns", "pol-probe-or-host-source", "pol-cluster-deny", "pol-cni-policy", "pol-agent-stale",
				"pol-nfqueue-down", "pol-foreign-bpf", "pol-xdp-drop", "pol-host-firewall", "node-forward-drop", "node-firewall-reject", "node-input-blocked", "node-ip-forward-off",
				"node-rp-filter", "node-martian", "node-conntrack-full", "node-csum", "cni-csum-offload", "node-softnet-drops", "node-memory", "cni-antispoof", "cni-bandwidth-shaper", "app-pod-firewall",
				"svc-invalid-drop-asymmetric", "svc-invalid-drop-window", "svc-conntrack-race", "svc-conntrack-invalid-rst", "svc-hairpin-nomasq", "cni-hairpin-off"},
			signs: []string{"app-hang", "app-reset", "app-listen-overflow", "app-udp-rcvbuf", "cni-pod-no-default-route", "cni-mtu-blackhole", "egr-masq-missing", "egr-masq-excluded",
				"egr-wrong-interface", "egr-remote-down", "ext-mtu-fabric", "dns-slow", "dns-throttled", tracer.CodeBeyondNode},
			holds: noDrop,
		},
	}
}

// anyway: that both were found is enough.
func anyway(*Input, *Finding, *Finding) bool { return true }

// behindTranslation: what the sign rests on happened to packets that the Service's
// translation had already sent to their wrong end.
func behindTranslation(in *Input, _, sign *Finding) bool {
	if in.untranslated() {
		return false
	}
	to := in.Journey.Translated.Dst
	for _, d := range in.rests(sign) {
		end := d.Tuple.Dst
		if d.Direction == tracer.DirReply {
			end = d.Tuple.Src
		}
		if end != to && end.Addr() != to.Addr() {
			return false
		}
	}
	return true
}

// servedBy is the Service's endpoint that the flow was sent to, nil if it is none of
// the Service's.
func (in *Input) servedBy() *tracer.ServiceEndpoint {
	s := in.Cluster.Service
	if s == nil || in.untranslated() {
		return nil
	}
	to := in.Journey.Translated.Dst.Addr()
	i := slices.IndexFunc(s.Endpoints, func(e tracer.ServiceEndpoint) bool { return e.Addr.Addr() == to })
	if i < 0 {
		return nil
	}
	return &s.Endpoints[i]
}

// fell: the flow was sent to the very endpoint that is listed, which is not ready
// because its pod is not well. Until the proxy hears of it, what fails there is the
// pod's own fault; that the proxy never hears is said beside it.
func (in *Input) fell() bool {
	e, p := in.servedBy(), in.Cluster.TargetPod
	return e != nil && p != nil && e.Addr == in.Journey.Translated.Dst && !e.Ready && !e.Terminating && (!p.Ready || p.Restarts > 0)
}

// fallen are the codes of an application that does not serve.
func fallen() []string { return []string{"app-no-listener", "app-reset"} }

func ofFallen(f *Finding) bool { return slices.Contains(fallen(), f.Code) }

// notElsewhere: the sign rests on no drop, or on the cause's own.
func notElsewhere(in *Input, cause, sign *Finding) bool {
	on := in.rests(cause)
	for _, d := range in.rests(sign) {
		if len(on) > 0 && !among(d, on) {
			return false
		}
	}
	return true
}

// withoutNextHop: a node that is only flagged as lost has no next hop fail by that,
// and a firewall has if what it dropped is the question for it.
func withoutNextHop(in *Input, cause, sign *Finding) bool {
	switch cause.Code {
	case "node-down":
		return outForNothing(in, cause, sign)
	case "node-forward-drop", "node-input-blocked":
		if !slices.ContainsFunc(in.rests(cause), neighbourFailed) {
			return false
		}
	}
	return notElsewhere(in, cause, sign)
}

// outForNothing: a node that is only flagged as lost explains silence, and none of
// what is wrong with how the packets left.
func outForNothing(in *Input, cause, sign *Finding) bool {
	if cause.Code == "node-down" && len(in.rests(cause)) == 0 && sign.Code != tracer.CodeBeyondNode {
		return false
	}
	return notElsewhere(in, cause, sign)
}

// noDrop: the sign is that nothing came, and rests on no drop of its own.
func noDrop(in *Input, _, sign *Finding) bool { return len(in.rests(sign)) == 0 }
