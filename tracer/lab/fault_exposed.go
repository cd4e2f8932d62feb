package lab

import (
	"context"
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
	return []Fault{
		allowed,
		f("svc-no-local-endpoints", "no-local-endpoints", "a Local Service without an endpoint here",
			"The Service's internal traffic policy is Local, and its only endpoint is on the other node.", silence, arrangeNoLocal),
		f("svc-no-local-endpoints", "no-local-endpoints-iptables", "a Local Service without an endpoint here (iptables)",
			"The Service's internal traffic policy is Local, and its only endpoint is on the other node; kube-proxy writes iptables rules.", silence, inIPTables(arrangeNoLocal)),
		f("svc-lb-source-ranges", "source-ranges", "a load balancer for others",
			"The Service's loadBalancerSourceRanges leave the client out.", silence, arrangeOutOfRange),
		f("svc-terminating-endpoint", "terminating-endpoint", "the endpoint is being deleted",
			"The Service's only endpoint is a pod that is being deleted and has stopped to listen.", time.Second, arrangeTerminating),
	}
}

func arrangeNoLocal(_ context.Context, l *Lab) (*scene, error) {
	x := l.c.service(l.p.serverNS, l.p.far)
	return l.toFarService().blames("Service", x.ns, x.name).shows(Timeout), l.sync(l.syncProxy, func() { with(l, &x.internalLocal, true) })
}

// arrangeBalancer gives the Service a load balancer's address, which stays.
func arrangeBalancer(ranges func(*Lab) []netip.Prefix) arrangement {
	return func(_ context.Context, l *Lab) (*scene, error) {
		x := l.api()
		x.lb4, x.lb6 = nth(l.p.side4, 88), nth(l.p.side6, 88)
		to := addrPort(x.balancer(l.opts.IPv6), l.p.svcPort)
		s := l.between(l.client().space, l.client().ref(), to, x.ref(l.p.svcPort))
		return s, l.sync(l.syncProxy, func() { with(l, &x.ranges, ranges(l)) })
	}
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
