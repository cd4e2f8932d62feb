package lab

import (
	"context"
	"errors"

	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// onOverlay arranges a fault on nodes that VXLAN joins.
func onOverlay(change func(*Lab, *overlay), f func(context.Context, *Lab, *overlay) (*scene, error)) arrangement {
	return func(ctx context.Context, l *Lab) (*scene, error) {
		o := l.newOverlay()
		if change != nil {
			change(l, o)
		}
		if err := l.overlaid(ctx, o); err != nil {
			return nil, err
		}
		return f(ctx, l, o)
	}
}

func overlayFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	remoteHang := f("external", "beyond-node", "overlay-remote-hang", "the remote application hangs", "The pod on the other node takes requests and does not answer; this node sees only acknowledgements.",
		silence, onOverlay(nil, arrangeRemoteHang))
	remoteHang.Protocols = []string{"tcp"}
	return []Fault{
		control("healthy-overlay", "pod to pod over VXLAN", "A pod reaches a pod of the second node by its address, over VXLAN.", bothProtocols,
			onOverlay(nil, func(_ context.Context, l *Lab, _ *overlay) (*scene, error) { return l.toFarPod(), nil })),
		control("healthy-overlay-service", "pod to Service over VXLAN", "A pod reaches a Service whose endpoint is on the second node, over VXLAN.", bothProtocols,
			onOverlay(nil, func(_ context.Context, l *Lab, _ *overlay) (*scene, error) { return l.toFarService(), nil })),
		f("cni", "cni-route-missing", "overlay-route-missing", "no route to the other node's pods", "The overlay's route is missing; packets for the other node's pods leave by the default route.",
			silence, onOverlay(nil, arrangeNoTunnelRoute)),
		f("cni", "cni-overlay-fdb-missing", "overlay-fdb-missing", "no VXLAN forwarding entry", "The VXLAN device has no forwarding entry for the other node.",
			silence, onOverlay(nil, arrangeNoFDB)),
		f("cni", "cni-overlay-neigh-missing", "overlay-neigh-missing", "no overlay neighbour", "The VXLAN device has no neighbour entry for the other node.",
			silence, onOverlay(nil, arrangeNoTunnelNeighbour)),
		f("cni", "cni-overlay-fdb-wrong-node", "overlay-fdb-wrong-node", "the VXLAN entry names a wrong node", "The forwarding entry for the other node names an address that is not its.",
			silence, onOverlay(nil, arrangeWrongFDB)),
		f("external", "beyond-node", "overlay-underlay-drops", "the underlay drops VXLAN", "Something between the nodes drops VXLAN; both nodes are right.",
			silence, onOverlay(nil, arrangeUnderlay)),
		f("external", "beyond-node", "overlay-remote-policy", "a policy on the other node", "The other node drops what arrives for its pod, which this node cannot see.",
			silence, onOverlay(nil, arrangeRemotePolicy)),
		f("external", "beyond-node", "overlay-vni-mismatch-far", "another VNI, seen from the sender", "The other node's VXLAN device has another VNI, which this node cannot see.",
			silence, onOverlay(func(_ *Lab, o *overlay) { o.farVNI = 2 }, toFarBeyond)),
		f("application", "app-no-listener", "overlay-remote-not-listening", "nobody listens in the remote pod", "The pod on the other node refuses the connection.",
			time.Second, onOverlay(nil, arrangeRemoteClosed)),
		remoteHang,
		f("cni", "cni-wrong-interface", "overlay-wrong-source", "the tunnel uses another interface's address", "The tunnel sends from a second address of the node, which the other node's firewall does not let in.",
			silence, onOverlay(secondAddress, arrangeWrongSource)),
		f("node", "node-link-down", "overlay-uplink-down", "the uplink under the overlay is down", "The node's uplink is down; the tunnel has nowhere to go.",
			silence, onOverlay(nil, arrangeUnderlayDown)),
	}
}

func (l *Lab) toFarService() *scene {
	c, s := l.client(), l.c.service(l.p.serverNS, l.p.far)
	return l.between(c.space, c.ref(), addrPort(s.ip(l.opts.IPv6), l.p.svcPort), s.ref(l.p.svcPort))
}

func toFarBeyond(_ context.Context, l *Lab, _ *overlay) (*scene, error) {
	return l.toFarPod().shows(Timeout), nil
}

func arrangeNoTunnelRoute(_ context.Context, l *Lab, o *overlay) (*scene, error) {
	var routes []*netlink.Route
	for _, dst := range []netip.Prefix{o.far.pods4, o.far.pods6} {
		r, err := l.node.tunnelRoute(dst)
		if err != nil {
			return nil, err
		}
		routes = append(routes, r)
	}
	return l.blamesNode(l.toFarPod()).shows(Timeout, NetUnreachable), l.reroute(l.node, routes, nil)
}

// forget removes neighbour or forwarding entries for the time of the fault.
func (l *Lab) forget(s *space, all ...*netlink.Neigh) error {
	for _, n := range all {
		if err := l.do(func() error { return s.nl.NeighDel(n) }, func() error { return s.nl.NeighSet(n) }); err != nil {
			return err
		}
	}
	return nil
}

func arrangeNoFDB(_ context.Context, l *Lab, o *overlay) (*scene, error) {
	return l.blamesNode(l.toFarPod()).shows(Timeout), l.forget(l.node, l.node.tunnelNeighbours(o.far)[2])
}

func arrangeNoTunnelNeighbour(_ context.Context, l *Lab, o *overlay) (*scene, error) {
	return l.blamesNode(l.toFarPod()).showsTCP(HostUnreachable), l.forget(l.node, l.node.tunnelNeighbours(o.far)[:2]...)
}

func arrangeWrongFDB(_ context.Context, l *Lab, o *overlay) (*scene, error) {
	right := l.node.tunnelNeighbours(o.far)[2]
	wrong := l.node.tunnelEntry(right.LinkIndex, o.far.mac, l.p.dead4)
	return l.blamesNode(l.toFarPod()).shows(Timeout), l.do(
		func() error { return errors.Join(l.node.nl.NeighDel(right), l.node.nl.NeighSet(wrong)) },
		func() error { return errors.Join(l.node.nl.NeighDel(wrong), l.node.nl.NeighSet(right)) },
	)
}

// arrangeUnderlay drops at the second node's door, before its stack: for both
// nodes it is the network's doing.
func arrangeUnderlay(_ context.Context, l *Lab, _ *overlay) (*scene, error) {
	return l.toFarPod().shows(Timeout), l.atPeer("fabric", func(t *table) {
		in := t.filter("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
		t.rule(in, "", dport("UDP", tunnelPort), drop())
	})
}

func (l *Lab) atPeer(name string, fill func(*table)) error {
	return l.do(
		func() error {
			return l.peer.write(func(r *ruleset) { fill(r.replace(nftables.TableFamilyINet, name)) })
		},
		func() error { return l.peer.write(func(r *ruleset) { r.remove(nftables.TableFamilyINet, name) }) },
	)
}

func arrangeRemotePolicy(_ context.Context, l *Lab, _ *overlay) (*scene, error) {
	return l.toFarPod().shows(Timeout), l.atPeer("remote", func(t *table) {
		fwd := t.filter("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter)
		t.rule(fwd, "", dport(l.opts.Protocol, l.p.farPort), drop())
	})
}

func arrangeRemoteClosed(ctx context.Context, l *Lab, _ *overlay) (*scene, error) {
	far := l.far()
	return l.toFarPod().blames("Pod", far.ns, far.name).shows(Refused), l.stopRemoteApp(ctx)
}

func arrangeRemoteHang(ctx context.Context, l *Lab, _ *overlay) (*scene, error) {
	if err := l.stopRemoteApp(ctx); err != nil {
		return nil, err
	}
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		h, err := l.far().space.listen(ctx, listenArgs{Kind: serveHang, Addr: addrPort(a, l.p.farPort)})
		if err != nil {
			return nil, err
		}
		l.undo = append(l.undo, func() error {
			_, err := l.far().space.call(l.ctx, request{Close: h})
			return err
		})
	}
	s := l.toFarPod().shows(NoData)
	s.dial.Kind, s.dial.Retries = dialHTTP, 0
	return s, nil
}

// stopRemoteApp stops the application in the second node's pod.
func (l *Lab) stopRemoteApp(ctx context.Context) error {
	far := l.far()
	return l.do(func() error {
		for _, h := range far.space.listeners {
			if _, err := far.space.call(ctx, request{Close: h}); err != nil {
				return err
			}
		}
		far.space.listeners = nil
		return nil
	}, func() error {
		return l.serveApp(l.ctx, far.space, l.p.farPort, netip.IPv4Unspecified(), netip.IPv6Unspecified())
	})
}

func arrangeUnderlayDown(_ context.Context, l *Lab, o *overlay) (*scene, error) {
	p := l.p
	eth, err := l.node.nl.LinkByName(uplink)
	if err != nil {
		return nil, err
	}
	return l.blamesNode(l.toFarPod()).shows(Timeout), l.do(
		func() error { return l.node.nl.LinkSetDown(eth) },
		func() error {
			return errors.Join(
				l.node.up(uplink, prefixed(p.node6, p.lan6)),
				l.node.addRoute(netip.Prefix{}, p.gw4, uplink), l.node.addRoute(netip.Prefix{}, p.gw6, uplink),
			)
		},
	)
}

// secondAddress is that of an interface which the CNI should not have chosen.
func secondAddress(l *Lab, o *overlay) { o.near.under = nth(l.p.side4, 33) }

func arrangeWrongSource(_ context.Context, l *Lab, _ *overlay) (*scene, error) {
	p := l.p
	return l.blamesNode(l.toFarPod()).shows(Timeout), errors.Join(
		l.lend(l.node, "lo", host(nth(p.side4, 33))),
		l.atPeer(p.hostFW, func(t *table) {
			in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
			t.rule(in, "", dport("UDP", tunnelPort), t.not(saddr, p.lan4), drop())
		}),
	)
}
