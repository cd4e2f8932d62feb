package lab

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

func addrPort(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

func podRef(x *pod, port uint16) string { return fmt.Sprintf("%s:%d", x.ref(), port) }

func serviceFaults() []Fault {
	return []Fault{
		{Name: "no-endpoints", Title: "Service without endpoints", Description: "The Service's selector matches no pod; kube-proxy (iptables style) rejects.",
			Component: "service", Code: "svc-no-endpoints", Protocols: bothProtocols, Visible: 2 * time.Second, arrange: arrangeNoEndpoints},
		{Name: "no-endpoints-nftables", Title: "Service without ready endpoints", Description: "No pod of the Service is ready; kube-proxy (nftables) rejects.",
			Component: "service", Code: "svc-no-endpoints", Protocols: bothProtocols, Visible: 2 * time.Second, arrange: arrangeNotReady},
		{Name: "no-service-rules", Title: "kube-proxy has written no rules", Description: "kube-proxy does not run on the node; ClusterIPs leave it untranslated.",
			Component: "kube-proxy", Code: "svc-kubeproxy-no-rules", Protocols: bothProtocols, Visible: silence, arrange: arrangeNoRules},
		{Name: "stale-endpoint", Title: "rules point to a pod that is gone", Description: "The node's rules still translate the Service to an address that no pod has any more.",
			Component: "kube-proxy", Code: "svc-stale-endpoint", Protocols: bothProtocols, Visible: silence, arrange: arrangeStale},
		control("healthy-affinity", "a Service with session affinity", "A Service keeps its clients with their endpoints, which are there.", bothProtocols,
			func(_ context.Context, l *Lab) (*scene, error) {
				l.api().affinity = affinityTime
				return l.toService(), l.syncProxy()
			}),
		{Name: "stale-affinity", Title: "session affinity with a pod that is gone", Description: "The node's rules still name a pod that is gone beside those that are there, and session affinity keeps the client with it.",
			Component: "kube-proxy", Code: "svc-stale-affinity", Protocols: bothProtocols, Visible: silence, arrange: arrangeStaleAffinity},
		{Name: "wrong-target-port", Title: "Service with a wrong targetPort", Description: "The Service's targetPort is one that the pods do not listen on.",
			Component: "service", Code: "svc-wrong-targetport", Protocols: bothProtocols, Visible: time.Second, arrange: arrangeWrongTarget},
	}
}

func (l *Lab) blamesService(s *scene) *scene { return s.blames("Service", l.api().ns, l.api().name) }

func arrangeNoEndpoints(_ context.Context, l *Lab) (*scene, error) {
	err := l.sync(l.syncProxy, func() {
		with(l, &l.rules.proxy, proxyIPTables)
		with(l, &l.api().selector, map[string]string{"app": l.p.server + "-v2"})
	})
	return l.blamesService(l.toService()).shows(Refused), err
}

func arrangeNotReady(_ context.Context, l *Lab) (*scene, error) {
	err := l.sync(l.syncProxy, func() {
		with(l, &l.server(0).notReady, true)
		with(l, &l.server(1).notReady, true)
	})
	return l.blamesService(l.toService()).shows(Refused), err
}

func arrangeNoRules(_ context.Context, l *Lab) (*scene, error) {
	err := l.sync(l.syncProxy, func() {
		with(l, &l.rules.proxy, proxyNone)
		for _, x := range l.c.pods {
			if x.app == "kube-proxy" && x.node == l.p.node {
				with(l, &x.notReady, true)
				with(l, &x.waiting, "CrashLoopBackOff")
			}
		}
	})
	// The router outside may answer that it knows no such network.
	return l.toService().blames("Node", "", l.p.node).shows(NetUnreachable, Timeout), err
}

func arrangeStale(_ context.Context, l *Lab) (*scene, error) {
	gone := []netip.Addr{nth(l.p.pods4, 230), nth(l.p.pods6, 230)}
	err := l.sync(l.syncProxy, func() { with(l, &l.api().stale, gone) })
	return l.blamesService(l.toService()).showsTCP(HostUnreachable), err
}

// affinityTime is what a Service has that says nothing of it.
const affinityTime = 3 * time.Hour

// arrangeStaleAffinity has one endpoint that is gone among those that are there, and
// the client on the list of those that stay with it.
func arrangeStaleAffinity(_ context.Context, l *Lab) (*scene, error) {
	x, c := l.api(), l.client()
	targets := []netip.Addr{nth(l.p.pods4, 230), nth(l.p.pods6, 230)}
	for i := range 2 {
		targets = append(targets, l.server(i).ip4, l.server(i).ip6)
	}
	err := l.sync(l.syncProxy, func() {
		with(l, &x.stale, targets)
		with(l, &x.affinity, affinityTime)
		with(l, &x.pinned, []netip.Addr{c.ip4, c.ip6})
	})
	return l.blamesService(l.toService()).showsTCP(HostUnreachable), err
}

func arrangeWrongTarget(_ context.Context, l *Lab) (*scene, error) {
	ports := make([]servicePort, len(l.api().ports))
	for i, sp := range l.api().ports {
		sp.target = l.p.altPort
		ports[i] = sp
	}
	err := l.sync(l.syncProxy, func() { with(l, &l.api().ports, ports) })
	return l.blamesService(l.toService()).shows(Refused), err
}

func applicationFaults() []Fault {
	return []Fault{
		{Name: "not-listening", Title: "nobody listens in the pod", Description: "The application in the pod does not listen on the port it declares.",
			Component: "application", Code: "app-no-listener", Protocols: bothProtocols, Visible: time.Second, arrange: arrangeNotListening},
		{Name: "localhost-only", Title: "the application listens on localhost", Description: "The application listens on the loopback address of its pod only.",
			Component: "application", Code: "app-localhost-only", Protocols: bothProtocols, Visible: time.Second, arrange: arrangeLocalhost},
	}
}

// stopApp stops the application in a pod. It comes back on Undo.
func (l *Lab) stopApp(ctx context.Context, x *pod) error {
	s := x.space
	return l.do(func() error { return s.closeAll(ctx) }, func() error {
		return l.serveApp(l.ctx, s, l.p.podPort, netip.IPv4Unspecified(), netip.IPv6Unspecified())
	})
}

func arrangeNotListening(ctx context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	x := l.server(0)
	return l.toService().blames("Pod", x.ns, x.name).shows(Refused), l.stopApp(ctx, x)
}

func arrangeLocalhost(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeNotListening(ctx, l)
	if err != nil {
		return nil, err
	}
	x := l.server(0).space
	local := func() error {
		return l.serveApp(ctx, x, l.p.podPort, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())
	}
	return s, l.do(local, func() error { return x.closeAll(l.ctx) })
}
