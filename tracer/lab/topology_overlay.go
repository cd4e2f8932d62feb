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
	tunnel     = "flannel.1"
	tunnelVNI  = 1
	tunnelPort = 8472
	tunnelMTU  = podMTU - 50
	farVeth    = "vethfar0"
)

// vtep is one node's end of the overlay.
type vtep struct {
	s            *space
	mac          net.HardwareAddr
	under        netip.Addr
	dev          string // that under is of
	pods4, pods6 netip.Prefix
}

// overlay is the pair of them as a fault may want it.
type overlay struct {
	near, far vtep
	// farPort and farVNI are what the second node's device has.
	farPort, farVNI int
	// farMAC is the address of its device, if not the one that the first node
	// was told.
	farMAC net.HardwareAddr
	// summed: the tunnel's packets carry a checksum on the outside.
	summed bool
}

func (l *Lab) newOverlay() *overlay {
	p := l.p
	return &overlay{
		near:    vtep{l.node, net.HardwareAddr{2, 0x10, 0, 0, 0, 1}, p.node4, uplink, p.pods4, p.pods6},
		far:     vtep{l.peer, net.HardwareAddr{2, 0x10, 0, 0, 0, 2}, p.peer4, uplink, p.peerPods4, p.peerPods6},
		farPort: tunnelPort, farVNI: tunnelVNI,
	}
}

// overlaid joins the two nodes by VXLAN as flannel does, instead of by routes,
// and gives the second node's pod a namespace of its own.
func (l *Lab) overlaid(ctx context.Context, o *overlay) error {
	p := l.p
	there, err := l.node.routes(p.peerPods4, p.peerPods6, p.peer4, p.peer6, uplink)
	if err != nil {
		return err
	}
	back, err := l.peer.routes(p.pods4, p.pods6, p.node4, p.node6, uplink)
	if err != nil {
		return err
	}
	return errors.Join(
		l.reroute(l.node, there, nil), l.reroute(l.peer, back, nil),
		l.addTunnel(o.near, o.far, tunnelVNI, tunnelPort, o.summed),
		l.addTunnel(o.far, o.near, o.farVNI, o.farPort, o.summed),
		l.setTunnelMAC(o),
		l.farNamespace(ctx),
	)
}

// addTunnel makes one node's device and what leads over it to the other.
func (l *Lab) addTunnel(own, other vtep, vni, port int, summed bool) error {
	lower, err := own.s.nl.LinkByName(own.dev)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", own.dev, own.s.name, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = tunnel, tunnelMTU, own.mac
	vx := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: vni, Port: port, Learning: false,
		SrcAddr: own.under.AsSlice(), VtepDevIndex: lower.Attrs().Index, UDPCSum: summed,
	}
	return l.do(func() error {
		if err := own.s.nl.LinkAdd(vx); err != nil {
			return fmt.Errorf("add %s in %s: %w", tunnel, own.s.name, err)
		}
		return errors.Join(
			own.s.up(tunnel, host(own.pods4.Addr()), host(own.pods6.Addr())),
			own.s.tunnelTo(other),
		)
	}, func() error { return own.s.delLink(tunnel) })
}

// tunnelTo writes what flanneld writes for each other node: two routes, the
// neighbour entries of their next hops, and where the MAC address is.
func (s *space) tunnelTo(o vtep) error {
	var errs []error
	for _, n := range s.tunnelNeighbours(o) {
		errs = append(errs, s.nl.NeighSet(n))
	}
	for _, dst := range []netip.Prefix{o.pods4, o.pods6} {
		r, err := s.tunnelRoute(dst)
		if err != nil {
			return err
		}
		errs = append(errs, s.nl.RouteAdd(r))
	}
	return errors.Join(errs...)
}

func (s *space) tunnelRoute(dst netip.Prefix) (*netlink.Route, error) {
	r, err := s.route(dst, dst.Addr(), tunnel)
	if err != nil {
		return nil, err
	}
	r.Flags = int(netlink.FLAG_ONLINK)
	return r, nil
}

func (s *space) tunnelNeighbours(o vtep) []*netlink.Neigh {
	link, err := s.nl.LinkByName(tunnel)
	if err != nil {
		return nil
	}
	at := link.Attrs().Index
	return []*netlink.Neigh{
		{LinkIndex: at, State: netlink.NUD_PERMANENT, IP: o.pods4.Addr().AsSlice(), HardwareAddr: o.mac},
		{LinkIndex: at, State: netlink.NUD_PERMANENT, IP: o.pods6.Addr().AsSlice(), HardwareAddr: o.mac},
		s.tunnelEntry(at, o.mac, o.under),
	}
}

// tunnelEntry is "bridge fdb ... dst ADDRESS self permanent".
func (s *space) tunnelEntry(at int, mac net.HardwareAddr, under netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: at, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT, Flags: netlink.NTF_SELF,
		IP: under.AsSlice(), HardwareAddr: mac,
	}
}

func (l *Lab) setTunnelMAC(o *overlay) error {
	if o.farMAC == nil {
		return nil
	}
	link, err := o.far.s.nl.LinkByName(tunnel)
	if err != nil {
		return err
	}
	set := func(mac net.HardwareAddr) func() error {
		return func() error { return o.far.s.nl.LinkSetHardwareAddr(link, mac) }
	}
	return l.do(set(o.farMAC), set(o.far.mac))
}

// farNamespace moves the second node's pod into a namespace of its own. It stays
// until Close; what leads to it goes with the fault.
func (l *Lab) farNamespace(ctx context.Context) error {
	x, p := l.far(), l.p
	s, err := newSpace(ctx, l.spawn, "pod "+x.ns+"/"+x.name)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.spaces = append(l.spaces, s)
	l.mu.Unlock()
	if err := errors.Join(s.sysctls(ctx, quiet()), l.stopFarApp(ctx)); err != nil {
		return err
	}
	if err := l.dropFarAddresses(); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = farVeth, tunnelMTU, routedMAC
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerNamespace = "eth0", tunnelMTU, netlink.NsFd(int(s.ns))
	err = l.do(func() error { return l.peer.nl.LinkAdd(veth) }, func() error { return l.peer.delLink(farVeth) })
	if err != nil {
		return fmt.Errorf("add veth %s: %w", farVeth, err)
	}
	with(l, &x.space, s)
	return errors.Join(
		l.peer.sysctls(ctx, [][2]string{{"net/ipv4/conf/" + farVeth + "/proxy_arp", "1"}, {"net/ipv4/neigh/" + farVeth + "/proxy_delay", "0"}}),
		l.peer.up(farVeth), s.up("lo"), s.up("eth0", host(x.ip4), host(x.ip6)),
		s.addLinkRoute(host(routedGW4), "eth0"), s.addRoute(netip.Prefix{}, routedGW4, "eth0"), s.addRoute(netip.Prefix{}, routedGW6, "eth0"),
		l.peer.addLinkRoute(host(x.ip4), farVeth), l.peer.addLinkRoute(host(x.ip6), farVeth),
		l.serveApp(ctx, s, p.farPort, netip.IPv4Unspecified(), netip.IPv6Unspecified()),
	)
}

// dropFarAddresses takes the pod's addresses from the second node itself.
func (l *Lab) dropFarAddresses() error {
	lo, err := l.peer.nl.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, a := range []netip.Addr{l.far().ip4, l.far().ip6} {
		addr := &netlink.Addr{IPNet: ipNet(host(a)), Flags: unix.IFA_F_NODAD}
		if a.Is4() {
			addr.Flags = 0
		}
		if err := l.do(func() error { return l.peer.nl.AddrDel(lo, addr) }, func() error { return l.peer.nl.AddrAdd(lo, addr) }); err != nil {
			return fmt.Errorf("move %s: %w", a, err)
		}
	}
	return nil
}

// stopFarApp stops the application that answers for the pod on the second node.
func (l *Lab) stopFarApp(ctx context.Context) error {
	far := l.far()
	return l.do(func() error {
		for _, h := range l.peer.listeners {
			if _, err := l.peer.call(ctx, request{Close: h}); err != nil {
				return err
			}
		}
		l.peer.listeners = nil
		return nil
	}, func() error { return l.serveApp(l.ctx, l.peer, l.p.farPort, far.ip4, far.ip6) })
}
