package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// subnetFaults are about what pods of one node believe of each other, of their
// gateway, and of the bridge between them.
func subnetFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	small := f("cni", "cni-mtu-blackhole", "veth-small-mtu", "one veth with a smaller MTU", "The node's end of the server pod's veth has a smaller MTU than the bridge, and the bridge drops without a word.", silence, arrangeVethMTU)
	small.Protocols = []string{"udp"}
	small.IPv4Only = true // br_netfilter tells the sender over IPv6
	return []Fault{
		small,
		f("cni", "cni-stale-neigh", "gateway-wrong-mac", "a wrong MAC address for the gateway", "The client pod has a permanent neighbour entry for its gateway with another MAC address.", silence, arrangeGatewayMAC),
		f("cni", "cni-duplicate-ip", "gateway-claimed", "a pod with the gateway's address", "Another pod of the node has the address of the gateway as well, and the client believes it.", silence, arrangeGatewayClaimed),
		f("cni", "cni-cidr-overlap", "pod-wide-mask", "a pod's network mask is too wide", "The client pod takes the other node's pods for neighbours on its own link.", silence, arrangeWideMask),
		f("cni", "cni-port-isolated", "isolated-ports", "isolated bridge ports", "Both pods' bridge ports are isolated, and the bridge passes nothing between them.", silence, arrangeIsolated),
		f("node", "node-input-blocked", "neighbour-discovery-blocked", "a firewall without neighbour discovery", "The node's firewall lets no ICMPv6 in, and so nobody is found over IPv6.", silence, arrangeNoDiscovery),
	}
}

// arrangeVethMTU: the bridge keeps its own MTU, or it would follow its port.
func arrangeVethMTU(_ context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	port, err := l.port(x)
	if err != nil {
		return nil, err
	}
	bridge, err := l.node.nl.LinkByName(l.p.bridge)
	if err != nil {
		return nil, fmt.Errorf("find bridge: %w", err)
	}
	s.dial.Kind, s.dial.Retries, s.dial.Body, s.dial.Probe = dialUDP, 3, smallMTU, true
	return s.shows(Timeout), errors.Join(
		l.node.nl.LinkSetMTU(bridge, podMTU),
		l.do(
			func() error { return l.node.nl.LinkSetMTU(port, smallMTU) },
			func() error { return l.node.nl.LinkSetMTU(port, podMTU) },
		),
	)
}

// believe gives a pod a permanent neighbour entry.
func (l *Lab) believe(x *pod, a netip.Addr, at net.HardwareAddr) error {
	eth, err := x.space.nl.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0: %w", err)
	}
	n := &netlink.Neigh{LinkIndex: eth.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: at}
	return l.do(func() error { return x.space.nl.NeighSet(n) }, func() error { return x.space.nl.NeighDel(n) })
}

// gateways are the addresses of the pods' gateway.
func (l *Lab) gateways() []netip.Addr { return []netip.Addr{nth(l.p.pods4, 1), nth(l.p.pods6, 1)} }

func arrangeGatewayMAC(_ context.Context, l *Lab) (*scene, error) {
	s := l.blamesClient(l.toInternet()).shows(Timeout)
	for _, a := range l.gateways() {
		if err := l.believe(l.client(), a, net.HardwareAddr{0x0a, 0x58, 0xde, 0xad, 0, 1}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func arrangeGatewayClaimed(_ context.Context, l *Lab) (*scene, error) {
	x := l.server(1)
	eth, err := x.space.nl.LinkByName("eth0")
	if err != nil {
		return nil, fmt.Errorf("find eth0: %w", err)
	}
	s := l.toInternet().blames("Pod", x.ns, x.name).shows(Timeout)
	for _, a := range l.gateways() {
		if err := errors.Join(l.lend(x.space, "eth0", host(a)), l.believe(l.client(), a, eth.Attrs().HardwareAddr)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// arrangeWideMask adds the route that a wider mask of the pod's address makes.
func arrangeWideMask(_ context.Context, l *Lab) (*scene, error) {
	var wide []*netlink.Route
	for _, all := range []netip.Prefix{l.p.cluster4, l.p.cluster6} {
		r, err := l.client().space.linkRoute(all, "eth0")
		if err != nil {
			return nil, err
		}
		wide = append(wide, r)
	}
	return l.blamesClient(l.toFarPod()).showsTCP(HostUnreachable), l.reroute(l.client().space, nil, wide)
}

func arrangeIsolated(_ context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	for _, p := range []*pod{l.client(), x} {
		port, err := l.port(p)
		if err != nil {
			return nil, err
		}
		err = l.do(func() error { return l.node.nl.LinkSetIsolated(port, true) }, func() error { return l.node.nl.LinkSetIsolated(port, false) })
		if err != nil {
			return nil, fmt.Errorf("isolate %s: %w", p.hostVeth, err)
		}
	}
	return s.shows(Timeout, HostUnreachable), nil
}

// arrangeNoDiscovery always goes by IPv6.
func arrangeNoDiscovery(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	s := l.toService().blamesRule(l.p.hostFW, "input").showsTCP(HostUnreachable)
	s.dial.To = addrPort(l.api().ip6, l.p.svcPort)
	err := l.addTable(nftables.TableFamilyINet, l.p.hostFW, func(t *table) {
		in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
		t.rule(in, "", ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
		t.rule(in, "", meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{unix.IPPROTO_ICMPV6}), drop())
	})
	return s, errors.Join(err, l.forgetNeighbours(l.client().ip6, l.server(0).ip6), l.client().space.forgetAll("eth0"))
}

// forgetAll removes what a namespace knows of its neighbours on a device.
func (s *space) forgetAll(dev string) error {
	link, err := s.nl.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", dev, s.name, err)
	}
	known, err := s.nl.NeighList(link.Attrs().Index, 0)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	var errs []error
	for i := range known {
		if known[i].State&netlink.NUD_NOARP == 0 {
			errs = append(errs, s.nl.NeighDel(&known[i]))
		}
	}
	return errors.Join(errs...)
}
