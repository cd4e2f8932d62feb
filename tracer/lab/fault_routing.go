package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// routingFaults lose packets between the node and the world.
func routingFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange func(context.Context, *Lab) (*scene, error)) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	return []Fault{
		f("node", "node-link-down", "uplink-down", "the node's uplink is down", "The node's uplink is down, and its routes with it.", silence, arrangeUplinkDown),
		f("node", "node-routing-loop", "routing-loop", "two nodes send it back and forth", "The node routes a host by the other node, which routes it back.", silence, arrangeLoop),
		f("egress", "egr-snat-port-exhausted", "snat-exhausted", "no free port for masquerade", "The node may masquerade with one port only, and another pod's connection holds it.", silence, arrangeExhausted),
	}
}

func arrangeUplinkDown(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	eth, err := l.node.nl.LinkByName(uplink)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", uplink, err)
	}
	return l.blamesNode(l.toInternet()).rarely().showsTCP(NetUnreachable), l.do(
		func() error { return l.node.nl.LinkSetDown(eth) },
		func() error {
			return errors.Join(
				l.node.up(uplink, prefixed(p.node6, p.lan6)),
				l.node.addRoute(netip.Prefix{}, p.gw4, uplink), l.node.addRoute(netip.Prefix{}, p.gw6, uplink),
				l.node.addRoute(p.peerPods4, p.peer4, uplink), l.node.addRoute(p.peerPods6, p.peer6, uplink),
			)
		},
	)
}

func arrangeLoop(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	there, err := l.node.routes(host(p.host4), host(p.host6), p.peer4, p.peer6, uplink)
	if err != nil {
		return nil, err
	}
	back, err := l.peer.routes(host(p.host4), host(p.host6), p.node4, p.node6, uplink)
	if err != nil {
		return nil, err
	}
	s := l.blamesNode(l.toInternet()).rarely().shows(HostUnreachable, Timeout)
	return s, errors.Join(l.reroute(l.node, nil, there), l.reroute(l.peer, nil, back))
}

// arrangeExhausted lets another pod hold the only port that masquerade may use
// for the destination.
func arrangeExhausted(ctx context.Context, l *Lab) (*scene, error) {
	p := l.p
	if err := l.sync(l.syncMasquerade, func() { with(l, &l.rules.masqueradePort, p.altPort) }); err != nil {
		return nil, err
	}
	proto := l.opts.Protocol
	for _, a := range []netip.Addr{p.host4, p.host6} {
		res, err := l.server(1).space.call(ctx, request{Hold: &holdArgs{Proto: proto, To: addrPort(a, p.hostPort)}})
		if err != nil {
			return nil, fmt.Errorf("hold a connection: %w", err)
		}
		l.undo = append(l.undo, func() error {
			_, err := l.server(1).space.call(l.ctx, request{Close: res.Listener})
			return err
		})
	}
	return l.blamesNode(l.toInternet()).shows(Timeout), nil
}
