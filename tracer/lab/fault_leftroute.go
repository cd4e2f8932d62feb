package lab

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
)

func leftRouteFaults() []Fault {
	return []Fault{{Name: "left-over-route", Title: "a route of an earlier pod", Description: "The node still has a route to the server pod's address by the veth of an earlier pod that had it.",
		Component: "cni", Code: "cni-host-route-missing", Protocols: bothProtocols, Visible: silence + time.Second, arrange: arrangeLeftRoute}}
}

// oldVeth is the device that an earlier pod's runtime has not taken away.
const oldVeth = "veth0ld"

func arrangeLeftRoute(_ context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = oldVeth
	old := netlink.NewVeth(attrs)
	old.PeerName = oldVeth + "p"
	err = l.do(func() error {
		return errors.Join(l.node.nl.LinkAdd(old), l.node.up(oldVeth), l.node.up(old.PeerName))
	}, func() error { return l.node.delLink(oldVeth) })
	if err != nil {
		return nil, err
	}
	for _, a := range []netip.Addr{x.ip4, x.ip6} {
		// The device takes its routes along.
		if err := l.node.addLinkRoute(host(a), oldVeth); err != nil {
			return nil, err
		}
	}
	return s.showsTCP(HostUnreachable), nil
}
