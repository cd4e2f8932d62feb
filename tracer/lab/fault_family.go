package lab

import (
	"context"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
)

// otherFamilyFaults break one address family, and leave the other as it is.
func otherFamilyFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	return []Fault{
		f("application", "app-no-listener", "other-family-only", "the application knows one family", "The application listens on all addresses of the other family only.", time.Second, arrangeOtherFamily),
		f("application", "app-no-listener", "other-address-only", "the application listens on another address", "The application listens on an address that is not the pod's, as after a restart with an old configuration.", time.Second, arrangeOtherAddress),
		f("node", "node-ip-forward-off", "ipv6-forward-off", "IPv6 is not forwarded", "The node forwards IPv4, and not IPv6.", silence, arrangeForwardOff6),
		f("cni", "cni-pod-no-default-route", "ipv6-no-route", "a pod without IPv6 route", "The client pod has lost its default route for IPv6, and connecting fails at once.", time.Second, arrangeNoRoute6),
	}
}

// listenOnly leaves the Service with one pod, that listens on one address.
func (l *Lab) listenOnly(ctx context.Context, at netip.Addr) (*scene, error) {
	s, err := arrangeNotListening(ctx, l)
	if err != nil {
		return nil, err
	}
	x := l.server(0).space
	return s, l.do(
		func() error { return l.serveApp(ctx, x, l.p.podPort, at) },
		func() error { return x.closeAll(l.ctx) },
	)
}

func arrangeOtherFamily(ctx context.Context, l *Lab) (*scene, error) {
	return l.listenOnly(ctx, l.pick(netip.IPv6Unspecified(), netip.IPv4Unspecified()))
}

func arrangeOtherAddress(ctx context.Context, l *Lab) (*scene, error) {
	old := l.pick(nth(l.p.side4, 66), nth(l.p.side6, 66))
	if err := l.server(0).space.up("lo", host(old)); err != nil {
		return nil, err
	}
	return l.listenOnly(ctx, old)
}

// toInternet6 goes to the host outside by IPv6, whatever the lab's family is.
func (l *Lab) toInternet6() *scene {
	c, to := l.client(), addrPort(l.p.host6, l.p.hostPort)
	return l.between(c.space, c.ref(), to, to.String())
}

func arrangeForwardOff6(_ context.Context, l *Lab) (*scene, error) {
	return l.blamesNode(l.toInternet6()).shows(Timeout), l.set(l.node, "net/ipv6/conf/all/forwarding", "0")
}

func arrangeNoRoute6(_ context.Context, l *Lab) (*scene, error) {
	gone, err := l.client().space.route(netip.Prefix{}, nth(l.p.pods6, 1), "eth0")
	if err != nil {
		return nil, err
	}
	return l.blamesClient(l.toInternet6()).shows(NetUnreachable), l.reroute(l.client().space, []*netlink.Route{gone}, nil)
}
