package lab

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// exposedFaults are faults of how a Service is offered, and to whom.
func exposedFaults() []Fault {
	f := func(code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "service", Code: code, Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	allowed := control("healthy-load-balancer", "pod to a load balancer's address", "A pod reaches a Service by its load balancer's address, which its source ranges allow.", bothProtocols,
		arrangeBalancer(func(l *Lab) []netip.Prefix { return []netip.Prefix{l.p.cluster4, l.p.cluster6} }))
	unmasked := f("svc-nodeport-masq-missing", "external-no-masquerade", "no masquerade for clients from outside",
		"A client outside uses the load balancer; the node passes it on to the other node's pod with its own address.", silence, arrangeUnmasked)
	unmasked.Component = "kube-proxy"
	loopback := f("svc-nodeport-localhost", "nodeport-localhost", "a NodePort by 127.0.0.1, without route_localnet",
		"The node asks for a Service by its NodePort on 127.0.0.1; kube-proxy has rules for that, and something has set route_localnet back to 0.", silence, arrangeLoopback)
	loopback.Protocols, loopback.IPv4Only = []string{"tcp"}, true
	return []Fault{
		allowed, unmasked,
		control("healthy-from-outside", "outside to a load balancer", "A host outside reaches a pod of the other node by the load balancer's address.", bothProtocols, arrangeFromOutside),
		f("svc-no-local-endpoints", "no-local-endpoints", "a Local Service without an endpoint here",
			"The Service's internal traffic policy is Local, and its only endpoint is on the other node.", silence, arrangeNoLocal),
		f("svc-no-local-endpoints", "no-local-endpoints-iptables", "a Local Service without an endpoint here (iptables)",
			"The Service's internal traffic policy is Local, and its only endpoint is on the other node; kube-proxy writes iptables rules.", silence, inIPTables(arrangeNoLocal)),
		f("svc-lb-source-ranges", "source-ranges", "a load balancer for others",
			"The Service's loadBalancerSourceRanges leave the client out.", silence, arrangeOutOfRange),
		loopback,
		control("healthy-nodeport-localhost", "a NodePort by 127.0.0.1", "The node asks for a Service by its NodePort on 127.0.0.1, which kube-proxy's iptables mode serves.", []string{"tcp"},
			func(_ context.Context, l *Lab) (*scene, error) { return l.toLoopback() }).onlyIPv4(),
		f("svc-terminating-endpoint", "terminating-endpoint", "the endpoint is being deleted",
			"The Service's only endpoint is a pod that is being deleted and has stopped to listen.", time.Second, arrangeTerminating),
	}
}

func arrangeNoLocal(_ context.Context, l *Lab) (*scene, error) {
	x := l.c.service(l.p.serverNS, l.p.far)
	return l.toFarService().blames("Service", x.ns, x.name).shows(Timeout), l.sync(l.syncProxy, func() { with(l, &x.internalLocal, true) })
}

// balanced gives a Service a load balancer's address, which stays.
func (l *Lab) balanced(x *service) { x.lb4, x.lb6 = nth(l.p.side4, 88), nth(l.p.side6, 88) }

func arrangeBalancer(ranges func(*Lab) []netip.Prefix) arrangement {
	return func(_ context.Context, l *Lab) (*scene, error) {
		x := l.api()
		l.balanced(x)
		to := addrPort(x.balancer(l.opts.IPv6), l.p.svcPort)
		s := l.between(l.client().space, l.client().ref(), to, x.ref(l.p.svcPort))
		return s, l.sync(l.syncProxy, func() { with(l, &x.ranges, ranges(l)) })
	}
}

// arrangeFromOutside asks for the other node's Service from outside.
func arrangeFromOutside(_ context.Context, l *Lab) (*scene, error) {
	x := l.c.service(l.p.serverNS, l.p.far)
	l.balanced(x)
	via, err := l.ext.routes(host(x.lb4), host(x.lb6), l.p.node4, l.p.node6, outerLink)
	if err != nil {
		return nil, err
	}
	for _, r := range via {
		if err := l.ext.nl.RouteReplace(r); err != nil {
			return nil, fmt.Errorf("route the load balancer's address: %w", err)
		}
	}
	from := l.pick(l.p.gw4, l.p.gw6)
	s := l.between(l.ext, from.String(), addrPort(x.balancer(l.opts.IPv6), l.p.svcPort), x.ref(l.p.svcPort))
	s.dial.Local = from
	return s, l.syncProxy()
}

func arrangeUnmasked(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeFromOutside(ctx, l)
	if err != nil {
		return nil, err
	}
	x := l.c.service(l.p.serverNS, l.p.far)
	return s.blames("Service", x.ns, x.name).shows(Timeout), l.sync(l.syncProxy, func() { with(l, &l.rules.noExternalMark, true) })
}

func arrangeOutOfRange(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeBalancer(func(l *Lab) []netip.Prefix { return []netip.Prefix{l.p.lan4, l.p.lan6} })(ctx, l)
	if err != nil {
		return nil, err
	}
	return l.blamesService(s).shows(Timeout), nil
}

func arrangeTerminating(ctx context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	if err := l.stopApp(ctx, x); err != nil {
		return nil, err
	}
	return s.shows(Refused), l.sync(l.syncProxy, func() { with(l, &x.terminating, true) })
}

// onlyIPv4 is the fault where IPv6 does not know it.
func (f Fault) onlyIPv4() Fault {
	f.IPv4Only = true
	return f
}

const routeLocalnet = "net/ipv4/conf/all/route_localnet"

// toLoopback gives the server's Service a NodePort, and asks for it on the node by
// 127.0.0.1. kube-proxy's iptables mode serves that, and has the node forward from
// there. All of it stays.
func (l *Lab) toLoopback() (*scene, error) {
	x, home := l.api(), netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if _, err := l.node.sysctl(l.ctx, routeLocalnet, "1"); err != nil {
		return nil, err
	}
	to := addrPort(home, l.p.altPort)
	s := l.between(l.node, home.String(), to, to.String())
	s.dial.Kind, s.dial.Retries = dialHTTP, 0
	x.nodePort, l.rules.proxy = l.p.altPort, proxyIPTables
	return s, l.syncProxy()
}

func arrangeLoopback(_ context.Context, l *Lab) (*scene, error) {
	s, err := l.toLoopback()
	if err != nil {
		return nil, err
	}
	return l.blamesService(s).shows(Timeout), l.set(l.node, routeLocalnet, "0")
}
