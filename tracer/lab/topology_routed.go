package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What a routed CNI gives to every pod as its gateway: an address that nobody
// has, and the link-local address that follows from the veth's MAC address.
var (
	routedMAC  = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}
	routedGW4  = netip.AddrFrom4([4]byte{169, 254, 1, 1})
	routedGW6  = netip.MustParseAddr("fe80::ecee:eeff:feee:eeee")
	routedName = "cali"
)

// routed rebuilds the node's pods as a CNI without bridge does (Calico): a veth
// pair each, a host route to it, and proxy ARP for the gateway.
func (l *Lab) routed(ctx context.Context) error {
	pods := l.localPods()
	bridged := make([]string, len(pods))
	for i, x := range pods {
		bridged[i] = x.hostVeth
	}
	return l.do(func() error {
		for _, x := range pods {
			if err := l.unplug(x, routedName+l.p.hex(11)); err != nil {
				return err
			}
		}
		if err := l.node.delLink(l.p.bridge); err != nil {
			return err
		}
		for _, x := range pods {
			if err := l.plugRouted(ctx, x); err != nil {
				return fmt.Errorf("pod %s/%s: %w", x.ns, x.name, err)
			}
		}
		return nil
	}, func() error {
		for i, x := range pods {
			if err := l.unplug(x, bridged[i]); err != nil {
				return err
			}
		}
		p := l.p
		return errors.Join(l.node.addBridge(l.p.bridge),
			l.node.up(p.bridge, prefixed(nth(p.pods4, 1), p.pods4), prefixed(nth(p.pods6, 1), p.pods6)),
			l.buildPods(l.ctx))
	})
}

// unplug removes a pod's veth pair; the next is to have another name.
func (l *Lab) unplug(x *pod, next string) error {
	err := l.node.delLink(x.hostVeth)
	x.hostVeth = next
	return err
}

func (l *Lab) plugRouted(ctx context.Context, x *pod) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = x.hostVeth, podMTU, routedMAC
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerNamespace = "eth0", podMTU, netlink.NsFd(int(x.space.ns))
	if err := l.node.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth %s: %w", x.hostVeth, err)
	}
	arp := [][2]string{
		{"net/ipv4/conf/" + x.hostVeth + "/proxy_arp", "1"},
		{"net/ipv4/neigh/" + x.hostVeth + "/proxy_delay", "0"},
	}
	return errors.Join(
		l.node.sysctls(ctx, arp),
		l.node.up(x.hostVeth),
		x.space.up("eth0", host(x.ip4), host(x.ip6)),
		x.space.addLinkRoute(host(routedGW4), "eth0"),
		x.space.addRoute(netip.Prefix{}, routedGW4, "eth0"),
		x.space.addRoute(netip.Prefix{}, routedGW6, "eth0"),
		l.node.addLinkRoute(host(x.ip4), x.hostVeth),
		l.node.addLinkRoute(host(x.ip6), x.hostVeth),
	)
}

// linkRoute builds a route without next hop.
func (s *space) linkRoute(dst netip.Prefix, dev string) (*netlink.Route, error) {
	r, err := s.route(dst, netip.Addr{}, dev)
	if err != nil {
		return nil, err
	}
	r.Scope = unix.RT_SCOPE_LINK
	return r, nil
}

func (s *space) addLinkRoute(dst netip.Prefix, dev string) error {
	r, err := s.linkRoute(dst, dev)
	if err != nil {
		return err
	}
	if err := s.nl.RouteAdd(r); err != nil {
		return fmt.Errorf("add route to %s dev %s in %s: %w", dst, dev, s.name, err)
	}
	return nil
}

// block adds the blackhole route that Calico keeps for the addresses of its own
// block that no pod has.
func (l *Lab) block() error { return l.reroute(l.node, nil, l.holes()) }

func (l *Lab) holes() []*netlink.Route {
	var out []*netlink.Route
	for _, dst := range []netip.Prefix{l.p.pods4, l.p.pods6} {
		out = append(out, &netlink.Route{Dst: ipNet(dst), Type: unix.RTN_BLACKHOLE, Protocol: unix.RTPROT_BIRD})
	}
	return out
}

// replaceDefault6 sets the default route of IPv6, which goes with the carrier.
func (s *space) replaceDefault6(via netip.Addr) error {
	r, err := s.route(netip.Prefix{}, via, "eth0")
	if err != nil {
		return err
	}
	return s.nl.RouteReplace(r)
}
