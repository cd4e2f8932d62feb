package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
)

// linkFaults break the last metres to a pod in ways other than a veth that is
// down.
func linkFaults() []Fault {
	cni := func(name, title, desc, code string, visible time.Duration, f func(context.Context, *Lab) (*scene, error)) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "cni", Code: code, Protocols: bothProtocols, Visible: visible, arrange: f}
	}
	return []Fault{
		cni("pod-eth-down", "the pod's own interface is down", "The interface inside the server pod is down.", "cni-pod-eth-down", silence, arrangePodEthDown),
		cni("veth-detached", "the pod's veth left the bridge", "The node's side of the server pod's veth is up, but no port of the bridge.", "cni-veth-detached", silence, arrangeDetached),
		cni("stale-neigh", "a wrong permanent neighbour", "The node has a permanent neighbour entry for the server pod with another MAC address.", "cni-stale-neigh", silence, arrangeStaleNeigh),
	}
}

// toOnePod is a scene in which the one endpoint's pod is to blame.
func (l *Lab) toOnePod() (*scene, *pod, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, nil, err
	}
	x := l.server(0)
	return l.toService().blames("Pod", x.ns, x.name), x, nil
}

func arrangePodEthDown(_ context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	eth, err := x.space.nl.LinkByName("eth0")
	if err != nil {
		return nil, fmt.Errorf("find eth0: %w", err)
	}
	return s.showsTCP(HostUnreachable), l.do(
		func() error { return x.space.nl.LinkSetDown(eth) },
		func() error {
			// The kernel has taken the addresses of IPv6 and all routes.
			return errors.Join(
				x.space.up("eth0", prefixed(x.ip6, l.p.pods6)),
				x.space.addRoute(netip.Prefix{}, nth(l.p.pods4, 1), "eth0"),
				x.space.addRoute(netip.Prefix{}, nth(l.p.pods6, 1), "eth0"),
			)
		},
	)
}

func arrangeDetached(_ context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	port, err := l.port(x)
	if err != nil {
		return nil, err
	}
	return s.showsTCP(HostUnreachable), l.do(
		func() error { return l.node.nl.LinkSetNoMaster(port) },
		func() error {
			return errors.Join(
				l.node.nl.LinkSetMasterByIndex(port, port.Attrs().MasterIndex),
				l.node.nl.LinkSetHairpin(port, true),
			)
		},
	)
}

func arrangeStaleNeigh(_ context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	bridge, err := l.node.nl.LinkByName(l.p.bridge)
	if err != nil {
		return nil, fmt.Errorf("find bridge: %w", err)
	}
	for _, a := range []netip.Addr{x.ip4, x.ip6} {
		wrong := &netlink.Neigh{
			LinkIndex: bridge.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(),
			HardwareAddr: net.HardwareAddr{0x0a, 0x58, 0xde, 0xad, 0, 1},
		}
		if err := l.do(func() error { return l.node.nl.NeighSet(wrong) }, func() error { return l.node.nl.NeighDel(wrong) }); err != nil {
			return nil, fmt.Errorf("set neighbour: %w", err)
		}
	}
	return s.shows(Timeout), nil
}
