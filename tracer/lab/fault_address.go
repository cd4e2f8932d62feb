package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addressFaults have an address at a wrong place, or nowhere.
func addressFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	martian := f("node", "node-martian", "nodes-own-source", "packets with the node's own address",
		"A rule inside of the client's pod translates its source to the address of the node's bridge, and the node refuses its own address.", silence, arrangeMartian)
	martian.IPv4Only = true // IPv6 does not mind
	return []Fault{
		f("cni", "cni-duplicate-ip", "duplicate-ip", "two pods with one address", "Another pod of the node has the server's address as well, and gets its packets.", time.Second, arrangeDuplicate),
		f("cni", "cni-route-none", "no-route-to-pods", "no route to the other node's pods", "The node has neither a route to the other node's pods nor a default route.", silence, arrangeNoRouteAtAll),
		f("cni", "cni-antispoof", "foreign-source", "a source that is not the pod's", "A pod sends with an address of a second network, and the node turns away what is not from its pods.", silence, arrangeForeignSource),
		f("external", "egr-remote-down", "neighbour-host-down", "a host of the node's network is down", "The host outside is on the node's own network and does not answer ARP.", silence, arrangeNeighbourDown),
		f("external", "egr-firewall-reject", "external-prohibited", "a router outside prohibits", "A router beyond the node answers that the host is administratively prohibited.", 2*time.Second, arrangeProhibitedOutside),
		f("node", "node-down", "node-down", "the other node is down", "The other node does not answer ARP.", silence, arrangeNodeDown),
		martian,
		f("node", "node-csum", "wrong-checksum", "packets with a wrong checksum", "What the client sends has a wrong checksum, as by a faulty offload, and the server's kernel drops it.", silence, arrangeChecksum),
		f("cni", "cni-cidr-overlap", "range-overlap", "a container bridge with the outside's range", "A bridge of the node has a range in which the host outside lies.", silence, arrangeOverlap),
		f("cni", "cni-bandwidth-shaper", "bandwidth-limit", "a bandwidth limit smaller than a packet", "A bandwidth limit on the server pod's veth has a burst that is smaller than its packets.", silence, arrangeShaper),
	}
}

// lend gives a device of a namespace an address for the time of the fault.
func (l *Lab) lend(s *space, dev string, a netip.Prefix) error {
	link, err := s.nl.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", dev, s.name, err)
	}
	addr := &netlink.Addr{IPNet: ipNet(a)}
	if a.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return l.do(func() error { return s.nl.AddrAdd(link, addr) }, func() error { return s.nl.AddrDel(link, addr) })
}

// neighbour writes a permanent entry of the node's bridge.
func (l *Lab) bridgeNeighbour(a netip.Addr, at *pod) error {
	bridge, err := l.node.nl.LinkByName(l.p.bridge)
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	eth, err := at.space.nl.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	n := &netlink.Neigh{LinkIndex: bridge.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: eth.Attrs().HardwareAddr}
	return l.do(func() error { return l.node.nl.NeighSet(n) }, func() error { return l.node.nl.NeighDel(n) })
}

// arrangeDuplicate lets the node learn that the server's address is at another
// pod, as it does when that one announced itself last.
func arrangeDuplicate(ctx context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	other := l.server(1)
	return s.shows(Refused), errors.Join(
		l.stopApp(ctx, other),
		l.lend(other.space, "eth0", prefixed(x.ip4, l.p.pods4)), l.lend(other.space, "eth0", prefixed(x.ip6, l.p.pods6)),
		l.bridgeNeighbour(x.ip4, other), l.bridgeNeighbour(x.ip6, other),
	)
}

func arrangeNoRouteAtAll(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	def, err := l.defaultRoutes(p.gw4, p.gw6)
	if err != nil {
		return nil, err
	}
	pods, err := l.node.routes(p.peerPods4, p.peerPods6, p.peer4, p.peer6, uplink)
	if err != nil {
		return nil, err
	}
	return l.blamesNode(l.toFarPod()).rarely().showsTCP(NetUnreachable), l.reroute(l.node, append(def, pods...), nil)
}

// arrangeForeignSource gives the client a second address, as a VPN in a pod has
// one, and the node a rule that lets nothing in but its pods' addresses.
func arrangeForeignSource(_ context.Context, l *Lab) (*scene, error) {
	p, c := l.p, l.client()
	second4, second6 := nth(p.side4, 77), nth(p.side6, 77)
	back, err := l.node.routes(host(second4), host(second6), c.ip4, c.ip6, p.bridge)
	if err != nil {
		return nil, err
	}
	from := l.pick(second4, second6)
	s := l.toService()
	s.From, s.dial.Local = from.String(), from
	err = errors.Join(c.space.up("lo", host(second4), host(second6)), l.node.nl.RouteAdd(back[0]), l.node.nl.RouteAdd(back[1]))
	return l.blamesNode(s).shows(Timeout), errors.Join(err,
		l.addTable(nftables.TableFamilyINet, p.guard, func(t *table) {
			pre := t.filter("anti-spoof", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
			bridge := meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, ifname(p.bridge))
			t.rule(pre, "", bridge, t.not(saddr, p.cluster4), l4(l.opts.Protocol), drop())
			t.rule(pre, "", bridge, t.not(saddr, p.cluster6), l4(l.opts.Protocol), drop())
		}),
	)
}

func arrangeNeighbourDown(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	a, b := nth(p.lan4, 200), nth(p.lan6, 200)
	l.undo = append(l.undo, func() error {
		return errors.Join(l.ext.up(outerLink, prefixed(a, p.lan4), prefixed(b, p.lan6)), l.serveApp(l.ctx, l.ext, p.hostPort, a, b))
	})
	return l.toHost(a, b, p.hostPort).blames("ExternalHost", "", l.pick(a, b).String()).showsTCP(HostUnreachable), nil
}

func arrangeProhibitedOutside(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	lo, err := l.ext.nl.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find lo: %w", err)
	}
	for _, a := range []netip.Addr{p.quiet4, p.quiet6} {
		addr := &netlink.Addr{IPNet: ipNet(host(a))}
		if a.Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		no := &netlink.Route{Dst: ipNet(host(a)), Type: unix.RTN_PROHIBIT, Protocol: unix.RTPROT_STATIC}
		err := errors.Join(
			l.do(func() error { return l.ext.nl.AddrDel(lo, addr) }, func() error { return l.ext.nl.AddrAdd(lo, addr) }),
			l.do(func() error { return l.ext.nl.RouteAdd(no) }, func() error { return l.ext.nl.RouteDel(no) }),
		)
		if err != nil {
			return nil, fmt.Errorf("prohibit %s: %w", a, err)
		}
	}
	s := l.toHost(p.quiet4, p.quiet6, p.hostPort).blames("Firewall", "", l.pick(p.gw4, p.gw6).String()).rarely().shows(HostUnreachable)
	if l.opts.IPv6 {
		s.shows(Prohibited)
	}
	return s, nil
}

// arrangeNodeDown makes the second node deaf to address resolution.
func arrangeNodeDown(_ context.Context, l *Lab) (*scene, error) {
	return l.toFarPod().blames("Node", "", l.p.peer).showsTCP(HostUnreachable), errors.Join(
		l.set(l.peer, "net/ipv4/conf/all/arp_ignore", "8"),
		l.atPeer(l.p.guard, func(t *table) {
			in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
			t.rule(in, "", neighbourDiscovery(), drop())
		}),
	)
}

// arrangeChecksum sends to a pod's own address: a Service's is not translated for
// packets that conntrack finds broken, and here it does not look.
func arrangeChecksum(_ context.Context, l *Lab) (*scene, error) {
	x := l.server(0)
	s := l.blamesNode(l.toHost(x.ip4, x.ip6, l.p.podPort)).shows(Timeout)
	right, wrong := s.dial.Kind, dialBrokenTCP
	if l.opts.Protocol == "udp" {
		wrong = dialBrokenUDP
	}
	s.dial.Kind = wrong
	l.undo = append(l.undo, func() error { s.dial.Kind = right; return nil })
	return s, l.set(l.node, "net/netfilter/nf_conntrack_checksum", "0")
}

func arrangeMartian(_ context.Context, l *Lab) (*scene, error) {
	c := l.client()
	return l.blamesNode(l.toFarPod()).shows(Timeout), l.podTable(c, "vpn", func(t *table) {
		post := t.nat("postrouting", nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource)
		nat := exprs{
			&expr.Immediate{Register: reg, Data: nth(l.p.pods4, 1).AsSlice()},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg},
		}
		t.rule(post, "", t.family(false), l4(l.opts.Protocol), nat)
	})
}

// arrangeShaper limits what goes to the server pod as the bandwidth plugin does,
// with a burst that no full packet fits.
func arrangeShaper(_ context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	port, err := l.port(x)
	if err != nil {
		return nil, err
	}
	s.dial.Kind, s.dial.Retries, s.dial.Body = dialUDP, 3, 1200
	tbf := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: port.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       8000, Buffer: netlink.Xmittime(8000, 600), Limit: 3000,
	}
	return s.shows(Timeout), l.do(func() error { return l.node.nl.QdiscAdd(tbf) }, func() error { return l.node.nl.QdiscDel(tbf) })
}
