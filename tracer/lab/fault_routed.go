package lab

import (
	"context"
	"errors"
	"time"

	"github.com/vishvananda/netlink"
)

// onRouted arranges a fault on a node whose CNI routes instead of bridging.
func onRouted(f arrangement) arrangement {
	return func(ctx context.Context, l *Lab) (*scene, error) {
		if err := errors.Join(l.routed(ctx), l.block()); err != nil {
			return nil, err
		}
		return f(ctx, l)
	}
}

func routedFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: onRouted(arrange)}
	}
	arp := f("cni", "cni-gateway-arp", "routed-gateway-arp", "proxy ARP is off", "A routed CNI: the node does not answer when the client pod asks for its gateway 169.254.1.1.",
		silence, arrangeNoProxyARP(clientPod))
	arp.IPv4Only = true
	return []Fault{
		control("healthy-routed", "pod to Service, routed CNI", "A pod reaches a Service on a node whose CNI routes to each pod, without bridge.", bothProtocols,
			onRouted(func(_ context.Context, l *Lab) (*scene, error) { return l.toService(), nil })),
		control("healthy-routed-external", "pod to the internet, routed CNI", "A pod reaches a host outside from a node whose CNI routes to each pod.", bothProtocols,
			onRouted(func(_ context.Context, l *Lab) (*scene, error) { return l.toInternet(), nil })),
		arp,
		f("cni", "cni-host-route-missing", "routed-host-route-missing", "no host route to the pod", "A routed CNI: the route to the server pod is missing, and the node's default route takes its packets.",
			silence, arrangeNoHostRoute(false)),
		f("cni", "cni-host-route-missing", "routed-host-route-blackholed", "no host route to the pod, within a block", "A routed CNI: the route to the server pod is missing, and the block's blackhole route takes its packets.",
			silence, arrangeNoHostRoute(true)),
		f("cni", "cni-host-route-missing", "routed-host-route-back", "no host route to the client", "A routed CNI: the route to the client pod is missing, and the answers to it are lost.",
			silence, arrangeNoRouteBack),
		f("cni", "cni-veth-down", "routed-veth-down", "the pod's veth is down, routed CNI", "A routed CNI: the node's side of the server pod's veth is down, and its route with it.",
			silence, arrangeRoutedVethDown),
		f("policy", "pol-ingress-deny", "calico-policy-ingress", "ingress policy in Calico's chains", "Chains as Calico writes them: a NetworkPolicy of the server does not allow the client in.",
			silence, inCalico(arrangeIngressDeny)),
		f("policy", "pol-egress-deny", "calico-policy-egress", "egress policy in Calico's chains", "Chains as Calico writes them: a NetworkPolicy of the client does not allow it out.",
			silence, inCalico(arrangeEgressDeny)),
		f("policy", "pol-agent-stale", "calico-policy-removed", "a policy that is gone is still enforced", "Calico's chains still enforce a policy that was deleted.",
			silence, inCalico(arrangePolicyRemoved)),
		f("policy", "pol-host-firewall", "calico-host-endpoint", "a policy for the node's uplink", "Calico's chains of a host endpoint drop what the node forwards from its uplink.",
			silence, inCalico(arrangeHostEndpoint)),
		f("node", "node-forward-drop", "calico-foreign-drop", "a foreign rule beside Calico's", "Calico's policies allow the flow, and a firewall that is not the cluster's drops it.",
			silence, inCalico(arrangeForeignDrop)),
	}
}

func clientPod(l *Lab) *pod { return l.client() }

func arrangeNoProxyARP(of func(*Lab) *pod) arrangement {
	return func(_ context.Context, l *Lab) (*scene, error) {
		x := of(l)
		// The entry that a packet of the healthy lab may have made would do.
		eth, err := x.space.nl.LinkByName("eth0")
		if err != nil {
			return nil, err
		}
		_ = x.space.nl.NeighDel(&netlink.Neigh{LinkIndex: eth.Attrs().Index, IP: routedGW4.AsSlice()})
		return l.toService().blames("Pod", x.ns, x.name).showsTCP(HostUnreachable), l.set(l.node, "net/ipv4/conf/"+x.hostVeth+"/proxy_arp", "0")
	}
}

// arrangeNoHostRoute removes the routes to the server pod; without the block's
// own route the packets leave by the default route.
func arrangeNoHostRoute(block bool) arrangement {
	return func(_ context.Context, l *Lab) (*scene, error) {
		s, x, err := l.toOnePod()
		if err != nil {
			return nil, err
		}
		a, err := l.node.linkRoute(host(x.ip4), x.hostVeth)
		if err != nil {
			return nil, err
		}
		b, err := l.node.linkRoute(host(x.ip6), x.hostVeth)
		if err != nil {
			return nil, err
		}
		if err := l.reroute(l.node, []*netlink.Route{a, b}, nil); err != nil || block {
			return s.shows(Timeout), err
		}
		return s.shows(Timeout, HostUnreachable, NetUnreachable), l.reroute(l.node, l.holes(), nil)
	}
}

// arrangeNoRouteBack removes the routes to the client; the server's answers find
// the block's own route.
func arrangeNoRouteBack(_ context.Context, l *Lab) (*scene, error) {
	x := l.client()
	a, err := l.node.linkRoute(host(x.ip4), x.hostVeth)
	if err != nil {
		return nil, err
	}
	b, err := l.node.linkRoute(host(x.ip6), x.hostVeth)
	if err != nil {
		return nil, err
	}
	return l.toService().blames("Pod", x.ns, x.name).shows(Timeout), l.reroute(l.node, []*netlink.Route{a, b}, nil)
}

func arrangeRoutedVethDown(_ context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	link, err := l.port(x)
	if err != nil {
		return nil, err
	}
	return s.shows(Timeout), l.do(
		func() error { return l.node.nl.LinkSetDown(link) },
		func() error {
			if err := l.node.nl.LinkSetUp(link); err != nil {
				return err
			}
			// The kernel has taken the node's routes to it.
			return errors.Join(
				l.node.addLinkRoute(host(x.ip4), x.hostVeth), l.node.addLinkRoute(host(x.ip6), x.hostVeth),
				x.space.replaceDefault6(routedGW6),
			)
		},
	)
}
