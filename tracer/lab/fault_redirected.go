package lab

import (
	"context"
	"net/netip"
	"time"

	"github.com/google/nftables"
)

// redirectedFaults send what pods ask for to another place, by rules that are
// nobody's of the cluster.
func redirectedFaults() []Fault {
	f := func(name, title, desc string, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "node", Code: "node-redirected", Protocols: bothProtocols, Visible: time.Second, arrange: arrange}
	}
	return []Fault{
		f("redirected-service", "a port forward takes a Service's connections", "A rule that forwards a port of the node matches whatever has that port, and sends what goes to the Service to another pod's port, where nobody listens.", arrangeForwarded),
		f("redirected-outside", "a transparent proxy that does not run", "The node sends what pods ask the outside for to a proxy of its own, which does not run.", arrangeNoProxy),
		control("healthy-redirected-outside", "a transparent proxy", "The node sends what pods ask the outside for to a proxy of its own, which answers.", bothProtocols, arrangeProxy),
	}
}

// beforeProxy adds rules of prerouting that come before those of kube-proxy.
func (l *Lab) beforeProxy(fill func(*table, *nftables.Chain)) error {
	return l.addTable(nftables.TableFamilyINet, l.p.guard, func(t *table) {
		fill(t, t.nat("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest-10))
	})
}

func arrangeForwarded(_ context.Context, l *Lab) (*scene, error) {
	x := l.server(1)
	return l.toService().blamesRule(l.p.guard, "prerouting").shows(Refused), l.beforeProxy(func(t *table, c *nftables.Chain) {
		for six, to := range map[bool]netip.Addr{false: x.ip4, true: x.ip6} {
			t.rule(c, "", t.family(six), dport(l.opts.Protocol, l.p.svcPort), counter(), dnat(addrPort(to, l.p.altPort)))
		}
	})
}

func arrangeNoProxy(_ context.Context, l *Lab) (*scene, error) {
	return l.toInternet().blamesRule(l.p.guard, "prerouting").shows(Refused), l.beforeProxy(func(t *table, c *nftables.Chain) {
		t.rule(c, "", dport(l.opts.Protocol, l.p.hostPort), counter(), redirect(l.p.altPort))
	})
}

func arrangeProxy(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeNoProxy(ctx, l)
	if err != nil {
		return nil, err
	}
	s.Object = Object{}
	return s.shows(OK), l.serveApp(ctx, l.node, l.p.altPort, netip.IPv4Unspecified(), netip.IPv6Unspecified())
}
