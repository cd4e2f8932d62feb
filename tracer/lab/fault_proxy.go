package lab

import (
	"context"
	"net/netip"
	"time"
)

// inIPTables arranges a fault of a Service on a node whose kube-proxy writes
// iptables rules.
func inIPTables(f func(context.Context, *Lab) (*scene, error)) func(context.Context, *Lab) (*scene, error) {
	return func(ctx context.Context, l *Lab) (*scene, error) {
		err := l.sync(l.syncProxy, func() { with(l, &l.rules.proxy, proxyIPTables) })
		if err != nil {
			return nil, err
		}
		return f(ctx, l)
	}
}

// proxyFaults are faults of Services that look different in kube-proxy's modes.
func proxyFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange func(context.Context, *Lab) (*scene, error)) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	return []Fault{
		f("kube-proxy", "svc-stale-endpoint", "stale-endpoint-iptables", "iptables rules point to a pod that is gone",
			"kube-proxy's iptables rules still translate the Service to an address that no pod has any more.", silence, inIPTables(arrangeStale)),
		f("kube-proxy", "svc-kubeproxy-no-rules", "service-not-programmed", "kube-proxy misses one Service",
			"kube-proxy (nftables) has rules for the other Services and none for this one.", silence, arrangeUnwritten(Timeout)),
		f("kube-proxy", "svc-kubeproxy-no-rules", "service-not-programmed-iptables", "kube-proxy misses one Service (iptables)",
			"kube-proxy (iptables) has rules for the other Services and none for this one.", silence, inIPTables(arrangeUnwritten(NetUnreachable, Timeout))),
		f("service", "svc-wrong-targetport", "wrong-target-port-iptables", "wrong targetPort, iptables mode",
			"The Service's targetPort is one that the pods do not listen on; kube-proxy writes iptables rules.", time.Second, inIPTables(arrangeWrongTarget)),
		f("kube-proxy", "svc-hairpin-nomasq", "hairpin-no-masquerade", "a pod's call to itself is not masqueraded",
			"kube-proxy (nftables) does not masquerade what a pod sends to itself through its Service.", silence, arrangeHairpinNoMark),
		f("kube-proxy", "svc-hairpin-nomasq", "hairpin-no-masquerade-iptables", "a pod's call to itself is not masqueraded (iptables)",
			"kube-proxy (iptables) does not masquerade what a pod sends to itself through its Service.", silence, inIPTables(arrangeHairpinNoMark)),
		f("service", "svc-wrong-service-port", "wrong-service-port", "a port that the Service does not have",
			"The client asks the Service for a port that it does not define; kube-proxy (nftables) rejects.", 2*time.Second, arrangeWrongServicePort(Refused)),
		f("service", "svc-wrong-service-port", "wrong-service-port-iptables", "a port that the Service does not have (iptables)",
			"The client asks the Service for a port that it does not define; with iptables rules the packet leaves the node.", silence, inIPTables(arrangeWrongServicePort(NetUnreachable, Timeout))),
		f("kube-proxy", "svc-mixed-backends", "proxy-left-over", "rules of an earlier kube-proxy mode",
			"kube-proxy writes iptables rules, and the nftables rules that it wrote before are still there, stale.", silence, inIPTables(arrangeLeftover)),
		f("service", "svc-clusterip-unallocated", "unallocated-cluster-ip", "a ClusterIP that no Service has",
			"The client uses an address of the Service range that no Service has; kube-proxy (nftables) drops it.", silence, arrangeUnallocated(Timeout)),
		f("service", "svc-clusterip-unallocated", "unallocated-cluster-ip-iptables", "a ClusterIP that no Service has (iptables)",
			"The client uses an address of the Service range that no Service has; with iptables rules the packet leaves the node.", silence, inIPTables(arrangeUnallocated(NetUnreachable, Timeout))),
	}
}

func arrangeUnwritten(o ...Outcome) func(context.Context, *Lab) (*scene, error) {
	return func(_ context.Context, l *Lab) (*scene, error) {
		err := l.sync(l.syncProxy, func() { with(l, &l.api().unwritten, true) })
		return l.blamesService(l.toService()).shows(o...), err
	}
}

func arrangeHairpinNoMark(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeHairpin(ctx, l)
	if err != nil {
		return nil, err
	}
	err = l.sync(l.syncProxy, func() { with(l, &l.rules.noHairpinMark, true) })
	// IPv6 does not mind the source: the server answers the client's own address,
	// past the Service, and the client's socket does not know that answer.
	return l.blamesService(s).shows(Timeout, Refused), err
}

func arrangeLeftover(_ context.Context, l *Lab) (*scene, error) {
	gone := []netip.Addr{nth(l.p.pods4, 230), nth(l.p.pods6, 230)}
	err := l.sync(l.syncProxy, func() { with(l, &l.rules.leftover, gone) })
	return l.blamesNode(l.toService()).showsTCP(HostUnreachable), err
}

// addPort adds a port to the Service.
func (l *Lab) addPort(port uint16) {
	for _, sp := range l.api().ports {
		sp.name, sp.port = sp.name+"-alt", port
		l.api().ports = append(l.api().ports, sp)
	}
}

func arrangeWrongServicePort(o ...Outcome) func(context.Context, *Lab) (*scene, error) {
	return func(_ context.Context, l *Lab) (*scene, error) {
		x := l.api()
		// Undo gives the Service the port, so that the same traffic works.
		l.undo = append(l.undo, l.syncProxy, func() error { l.addPort(l.p.altPort); return nil })
		s := l.between(l.client().space, l.client().ref(), addrPort(x.ip(l.opts.IPv6), l.p.altPort), x.ref(l.p.altPort))
		return l.blamesService(s).shows(o...), nil
	}
}

func arrangeUnallocated(o ...Outcome) func(context.Context, *Lab) (*scene, error) {
	return func(_ context.Context, l *Lab) (*scene, error) {
		x := l.api()
		four, six := nth(l.p.svc4, 12), nth(l.p.svc6, 12)
		l.undo = append(l.undo, l.syncProxy, func() error { x.ip4, x.ip6 = four, six; return nil })
		to := addrPort(l.pick(four, six), l.p.svcPort)
		return l.between(l.client().space, l.client().ref(), to, to.String()).shows(o...), nil
	}
}
