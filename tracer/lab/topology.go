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

const (
	podMTU    = 1500
	uplink    = "eth0"
	sideLink  = "eth1" // the node's second uplink, where a fault wants one
	wire      = "wire0"
	sideWire  = "wire1"
	outerLink = "lan0"
	outerSide = "lan1"
)

// Before any device exists: no duplicate address detection, so that addresses
// work at once, and no settings that the machine happens to have as defaults.
func quiet() [][2]string {
	return [][2]string{
		{"net/ipv6/conf/all/accept_dad", "0"},
		{"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv6/conf/default/accept_ra", "0"},
		{"net/ipv6/conf/default/router_solicitations", "0"},
		{"net/ipv6/conf/default/disable_ipv6", "0"},
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/default/rp_filter", "0"},
		{"net/ipv4/ip_forward", "0"},
	}
}

func router() [][2]string {
	return append(quiet(), [2]string{"net/ipv4/ip_forward", "1"}, [2]string{"net/ipv6/conf/all/forwarding", "1"})
}

func prefixed(a netip.Addr, p netip.Prefix) netip.Prefix { return netip.PrefixFrom(a, p.Bits()) }

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// up gives a device its addresses and brings it up.
func (s *space) up(name string, addrs ...netip.Prefix) error {
	link, err := s.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", name, s.name, err)
	}
	for _, a := range addrs {
		addr := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := s.nl.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("add %s to %s in %s: %w", a, name, s.name, err)
		}
	}
	if err := s.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up in %s: %w", name, s.name, err)
	}
	return nil
}

// route builds a unicast route; an invalid dst means the default route.
func (s *space) route(dst netip.Prefix, via netip.Addr, dev string) (*netlink.Route, error) {
	link, err := s.nl.LinkByName(dev)
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", dev, s.name, err)
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: via.AsSlice(), Protocol: unix.RTPROT_BOOT}
	if dst.IsValid() {
		r.Dst = ipNet(dst)
	}
	return r, nil
}

func (s *space) addRoute(dst netip.Prefix, via netip.Addr, dev string) error {
	r, err := s.route(dst, via, dev)
	if err != nil {
		return err
	}
	if err := s.nl.RouteAdd(r); err != nil {
		return fmt.Errorf("add route to %s via %s in %s: %w", dst, via, s.name, err)
	}
	return nil
}

// addWire lays an Ethernet segment in the outside's namespace: a veth pair of
// which only one end is used, as the lower device of a macvlan for everyone
// connected. To the node its uplink looks like a NIC: no peer to be found.
func (l *Lab) addWire(name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, podMTU
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU = name+"p", podMTU
	if err := l.ext.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("add wire %s: %w", name, err)
	}
	for _, end := range []string{name, name + "p"} {
		if _, err := l.ext.sysctl(l.ctx, "net/ipv6/conf/"+end+"/disable_ipv6", "1"); err != nil {
			return err
		}
		if err := l.ext.up(end); err != nil {
			return err
		}
	}
	return nil
}

// plug connects a namespace to a wire.
func (l *Lab) plug(wire string, s *space, dev string, addrs ...netip.Prefix) error {
	lower, err := l.ext.nl.LinkByName(wire)
	if err != nil {
		return fmt.Errorf("find wire %s: %w", wire, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.MTU = dev, lower.Attrs().Index, podMTU
	if s != l.ext {
		attrs.Namespace = netlink.NsFd(int(s.ns))
	}
	if err := l.ext.nl.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
		return fmt.Errorf("plug %s of %s into %s: %w", dev, s.name, wire, err)
	}
	return s.up(dev, addrs...)
}

// buildOutside makes the outside: a router and the hosts behind it.
func (l *Lab) buildOutside(ctx context.Context) error {
	p := l.p
	// ARP per device: the unused end of the wire must not answer for lan0, and a
	// request must not carry the address of a host behind the router, which the
	// node's rp_filter would drop.
	arp := [][2]string{{"net/ipv4/conf/all/arp_ignore", "1"}, {"net/ipv4/conf/all/arp_announce", "2"}}
	if err := l.ext.sysctls(ctx, append(router(), arp...)); err != nil {
		return err
	}
	return errors.Join(
		l.ext.up("lo", host(p.host4), host(p.host6), host(p.quiet4), host(p.quiet6)),
		l.addWire(wire),
		l.plug(wire, l.ext, outerLink, prefixed(p.gw4, p.lan4), prefixed(p.gw6, p.lan6)),
	)
}

// buildNode makes the node's own devices and routes.
func (l *Lab) buildNode(ctx context.Context) error {
	p := l.p
	if err := l.node.sysctls(ctx, router()); err != nil {
		return err
	}
	nf := [][2]string{{"net/bridge/bridge-nf-call-iptables", "1"}, {"net/bridge/bridge-nf-call-ip6tables", "1"}}
	if err := l.node.sysctls(ctx, nf); err != nil {
		return fmt.Errorf("br_netfilter is needed, try \"modprobe br_netfilter\": %w", err)
	}
	if err := l.node.addBridge(p.bridge); err != nil {
		return err
	}
	return errors.Join(
		l.node.up("lo"),
		l.node.up(p.bridge, prefixed(nth(p.pods4, 1), p.pods4), prefixed(nth(p.pods6, 1), p.pods6)),
		l.plug(wire, l.node, uplink, prefixed(p.node4, p.lan4), prefixed(p.node6, p.lan6)),
		l.node.addRoute(netip.Prefix{}, p.gw4, uplink),
		l.node.addRoute(netip.Prefix{}, p.gw6, uplink),
		l.node.addRoute(p.peerPods4, p.peer4, uplink),
		l.node.addRoute(p.peerPods6, p.peer6, uplink),
	)
}

func (s *space) addBridge(name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, podMTU
	// A fixed address, or it would change with every port.
	attrs.HardwareAddr = net.HardwareAddr{0x0a, 0x58, 0, 0, 0, 1}
	if err := s.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("add bridge %s: %w", name, err)
	}
	return nil
}

// buildPeer makes the second node: its uplink, and a pod's address on lo.
func (l *Lab) buildPeer(ctx context.Context) error {
	p := l.p
	if err := l.peer.sysctls(ctx, router()); err != nil {
		return err
	}
	far := l.far()
	return errors.Join(
		l.peer.up("lo", host(far.ip4), host(far.ip6)),
		l.plug(wire, l.peer, uplink, prefixed(p.peer4, p.lan4), prefixed(p.peer6, p.lan6)),
		l.peer.addRoute(netip.Prefix{}, p.gw4, uplink),
		l.peer.addRoute(netip.Prefix{}, p.gw6, uplink),
		l.peer.addRoute(p.pods4, p.node4, uplink),
		l.peer.addRoute(p.pods6, p.node6, uplink),
	)
}

// plugPod does what a bridge CNI does for a new pod.
func (l *Lab) plugPod(ctx context.Context, x *pod) error {
	p := l.p
	if err := x.space.sysctls(ctx, quiet()); err != nil {
		return err
	}
	bridge, err := l.node.nl.LinkByName(p.bridge)
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = x.hostVeth, podMTU, bridge.Attrs().Index
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerNamespace = "eth0", podMTU, netlink.NsFd(int(x.space.ns))
	if err := l.node.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth %s: %w", x.hostVeth, err)
	}
	if err := l.node.nl.LinkSetHairpin(veth, true); err != nil {
		return fmt.Errorf("set hairpin on %s: %w", x.hostVeth, err)
	}
	return errors.Join(
		x.space.up("lo"),
		x.space.up("eth0", prefixed(x.ip4, p.pods4), prefixed(x.ip6, p.pods6)),
		l.node.up(x.hostVeth),
		x.space.addRoute(netip.Prefix{}, nth(p.pods4, 1), "eth0"),
		x.space.addRoute(netip.Prefix{}, nth(p.pods6, 1), "eth0"),
	)
}
