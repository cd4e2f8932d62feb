package lab

import (
	"context"
	"net/netip"
	"time"

	"github.com/google/nftables"
)

type arrangement = func(context.Context, *Lab) (*scene, error)

// beside arranges a fault while others are in place that the traced flow does
// not meet, or does not get as far as.
func beside(f arrangement, others ...arrangement) arrangement {
	return func(ctx context.Context, l *Lab) (*scene, error) {
		for _, other := range others {
			if _, err := other(ctx, l); err != nil {
				return nil, err
			}
		}
		return f(ctx, l)
	}
}

// doubleFaults have more than one thing wrong. The first thing that the flow
// meets is the cause.
func doubleFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	both := func(component, code, name, title, desc string, protocols []string, visible time.Duration, arrange arrangement, also ...Also) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: protocols, Visible: visible, Also: also, arrange: arrange}
	}
	all := []Fault{
		control("healthy-beside-faults", "healthy among faults", "A pod reaches a Service while egress is broken, a policy denies others and a firewall drops another port.",
			bothProtocols, beside(func(_ context.Context, l *Lab) (*scene, error) { return l.toService(), nil }, arrangeNoMasquerade, otherPolicy, otherFirewall)),
		both("kube-proxy", "svc-stale-endpoint", "stale-endpoint-inherited", "a stale endpoint, and its heir does not listen", "The Service's rules are stale, and another pod has the address by now, in which nobody listens on the port.",
			[]string{"tcp"}, time.Second, arrangeInherited, Also{"svc-wrong-targetport", true}),
		both("application", "app-pod-firewall", "client-firewall-before-no-endpoints", "a firewall in the client, and no endpoints", "A rule inside the client pod drops what it sends to the Service; the Service has no endpoints either.",
			bothProtocols, silence, arrangeClientFirewall, Also{"svc-no-endpoints", false}),
		both("egress", "egr-masq-missing", "masquerade-missing-and-silent", "no masquerade, and so nobody answers", "What goes outside is not masqueraded; the packets leave the node intact, and no answer comes.",
			bothProtocols, silence, arrangeNoMasquerade, Also{"beyond-node", true}),
		f("service", "svc-no-endpoints", "no-endpoints-beside-masquerade", "no endpoints, and no masquerade", "The Service has no endpoints; what goes outside is not masqueraded either.",
			2*time.Second, beside(arrangeNotReady, arrangeNoMasquerade, otherFirewall)),
		f("policy", "pol-ingress-deny", "policy-beside-wrong-target", "a policy before a wrong targetPort", "A policy drops what the Service would have sent to a port that nobody serves.",
			silence, beside(arrangeDefaultDeny, arrangeWrongTarget)),
		f("kube-proxy", "svc-stale-endpoint", "stale-endpoint-beside-policy", "a stale endpoint, and a policy of others", "The Service's rules are stale; a policy and a firewall drop other flows.",
			silence, beside(arrangeStale, otherPolicy, otherFirewall)),
		f("application", "app-no-listener", "not-listening-beside-faults", "nobody listens, among faults", "The application does not listen; masquerade is missing, and a policy denies others.",
			time.Second, beside(arrangeNotListening, arrangeNoMasquerade, otherPolicy)),
		f("external", "beyond-node", "external-silent-beside-faults", "a silent host, among faults", "The host outside is silent; a Service has no endpoints, and a policy denies others.",
			silence, beside(arrangeSilent, arrangeNotReady, otherPolicy, otherFirewall)),
		f("node", "node-forward-drop", "foreign-drop-beside-no-endpoints", "a foreign rule, and a Service without endpoints", "A firewall drops pod-to-pod traffic; a Service that is not used has no endpoints.",
			silence, beside(podToPodDrop, otherServiceEmpty)),
		f("policy", "pol-egress-deny", "egress-policy-beside-masquerade", "an egress policy, and no masquerade", "A policy of the client denies what it sends; what goes outside is not masqueraded either, and a firewall drops another port.",
			silence, beside(arrangeEgressDeny, arrangeNoMasquerade, otherFirewall)),
		f("cni", "cni-veth-down", "veth-down-beside-policy", "a veth that is down, and a policy of others", "The host side of the pod's veth is down; a policy denies others, and a firewall drops another port.",
			silence, beside(arrangeVethDown, otherPolicy, otherFirewall)),
		f("cni", "cni-route-blackhole", "blackhole-beside-policy", "a blackhole route, and a policy of others", "The node has a blackhole route for the other node's pods; a policy denies others, and nothing is masqueraded.",
			silence, beside(arrangeBlackhole, otherPolicy, arrangeNoMasquerade)),
		f("node", "node-ip-forward-off", "forward-off-beside-empty-service", "no forwarding, and a Service without endpoints", "The node does not forward; a Service that is not used has no endpoints, and a policy denies others.",
			silence, beside(arrangeForwardOff, otherServiceEmpty, otherPolicy)),
		f("egress", "egr-no-default-route", "no-default-route-beside-policy", "no default route, and a policy of others", "The node has no default route; a policy denies others, and a Service that is not used has no endpoints.",
			silence, beside(arrangeNoDefault, otherPolicy, otherServiceEmpty)),
		f("external", "egr-remote-refused", "external-refused-beside-faults", "a host that refuses, among faults", "The host outside refuses; a Service that is not used has no endpoints, and a policy denies others.",
			time.Second, beside(arrangeRemoteRefused, otherServiceEmpty, otherPolicy)),
		f("service", "svc-wrong-targetport", "wrong-target-beside-policy", "a wrong targetPort, and a policy of others", "The Service's targetPort is one that the pods do not listen on; a policy and a firewall drop other flows.",
			time.Second, beside(arrangeWrongTarget, otherPolicy, otherFirewall)),
		f("application", "app-pod-firewall", "pod-firewall-beside-policy", "a firewall inside the pod, and a policy of others", "A rule inside the server pod's namespace drops what comes in; a policy denies others, and nothing is masqueraded.",
			silence, beside(arrangePodFirewall, otherPolicy, arrangeNoMasquerade)),
		f("application", "app-localhost-only", "localhost-beside-faults", "an application for itself, among faults", "The application listens on its loopback address only; a policy denies others, and a Service that is not used has no endpoints.",
			time.Second, beside(arrangeLocalhost, otherPolicy, otherServiceEmpty)),
		f("kube-proxy", "svc-kubeproxy-no-rules", "no-rules-beside-policy", "no rules for Services, and a policy of others", "kube-proxy has written no rules; a policy denies others, and a firewall drops another port.",
			silence, beside(arrangeNoRules, otherPolicy, otherFirewall)),
		both("application", "app-hang", "hang-beside-faults", "an application that hangs, among faults", "The application takes the request and does not answer; a policy denies others, and nothing is masqueraded.",
			[]string{"tcp"}, 7*time.Second, beside(arrangeHang, otherPolicy, arrangeNoMasquerade)),
	}
	for i := range all {
		all[i].Double = true
	}
	return all
}

// otherPolicy denies everyone but the second node's workload access to DNS pods.
func otherPolicy(_ context.Context, l *Lab) (*scene, error) {
	return nil, l.addPolicies(policy{ns: systemNS, name: "default-deny", ingress: true})
}

// otherFirewall drops a port that the scene does not use.
func otherFirewall(_ context.Context, l *Lab) (*scene, error) {
	return nil, l.foreign(l.p.hostFW, nftables.ChainPolicyAccept, func(t *table, c *nftables.Chain) {
		t.rule(c, "", dport("TCP", rudePort), drop())
	})
}

func otherServiceEmpty(_ context.Context, l *Lab) (*scene, error) {
	far := l.c.service(l.p.serverNS, l.p.far)
	return nil, l.sync(l.syncProxy, func() { with(l, &far.selector, map[string]string{"app": l.p.far + "-v2"}) })
}

func podToPodDrop(ctx context.Context, l *Lab) (*scene, error) { return arrangeForeignDrop(ctx, l) }

// arrangeInherited: the rules still name an address that another pod has now.
func arrangeInherited(_ context.Context, l *Lab) (*scene, error) {
	heir := l.dnsPod()
	err := l.sync(l.syncProxy, func() { with(l, &l.api().stale, []netip.Addr{heir.ip4, heir.ip6}) })
	return l.blamesService(l.toServiceTCP()).shows(Refused), err
}

// arrangeClientFirewall: what the client sends is dropped before it meets the
// Service, which would turn it away.
func arrangeClientFirewall(ctx context.Context, l *Lab) (*scene, error) {
	if _, err := arrangeNotReady(ctx, l); err != nil {
		return nil, err
	}
	x := l.client()
	// The kernel tells a datagram's sender.
	return l.toService().blames("Pod", x.ns, x.name).shows(Timeout, Prohibited), l.podTable(x, "filter", func(t *table) {
		out := t.filter("output", nftables.ChainHookOutput, *nftables.ChainPriorityFilter)
		t.rule(out, "", dport(l.opts.Protocol, l.p.svcPort), drop())
	})
}
