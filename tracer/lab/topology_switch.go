package lab

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

const switchName = "switch0"

// switched gives both nodes a second uplink into a switch outside. Other than a
// wire, it does what real ones do: to a port that it does not know it sends by all,
// and so a machine gets packets that are another's. It goes with the fault.
func (l *Lab) switched() error {
	p := l.p
	return l.do(func() error {
		if err := l.ext.addBridge(switchName); err != nil {
			return err
		}
		return errors.Join(
			l.ext.up(switchName),
			l.plugSwitch(l.node, "port1"), l.plugSwitch(l.peer, "port2"),
			l.node.up(sideLink, prefixed(nth(p.side4, 11), p.side4), prefixed(nth(p.side6, 11), p.side6)),
			l.peer.up(sideLink, prefixed(nth(p.side4, 12), p.side4), prefixed(nth(p.side6, 12), p.side6)),
		)
	}, func() error {
		return errors.Join(l.ext.delLink("port1"), l.ext.delLink("port2"), l.ext.delLink(switchName))
	})
}

// plugSwitch connects a namespace's second uplink to a port of the switch.
func (l *Lab) plugSwitch(s *space, port string) error {
	master, err := l.ext.nl.LinkByName(switchName)
	if err != nil {
		return fmt.Errorf("find %s: %w", switchName, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = port, podMTU, master.Attrs().Index
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerNamespace = sideLink, podMTU, netlink.NsFd(int(s.ns))
	if err := l.ext.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("add port %s of the switch: %w", port, err)
	}
	return l.ext.up(port)
}
