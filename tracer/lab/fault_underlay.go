package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// underlayFaults are of the network that joins the nodes, and of what they put into
// it. They are traced on the node that receives.
func underlayFaults() []Fault {
	f := func(component, code, name, title, desc string, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: silence, arrange: arrange}
	}
	healthy := control("healthy-switched-far", "a switch between the nodes, seen from the receiver", "A pod of another node reaches a pod of the traced one through a switch.", bothProtocols,
		func(ctx context.Context, l *Lab) (*scene, error) { return l.throughSwitch(ctx) })
	summed := control("healthy-overlay-summed-far", "VXLAN with checksums, seen from the receiver", "A pod of another node reaches a pod of the traced one over VXLAN, whose packets carry a right checksum on the outside.", bothProtocols,
		func(ctx context.Context, l *Lab) (*scene, error) { return l.summedOverlay(ctx) })
	return []Fault{
		healthy, summed,
		f("node", "node-underlay-arp", "underlay-stale-mac", "a stale MAC address of the other node", "Traced on the receiver: the other node has a permanent neighbour entry for it with a MAC address that it does not have.",
			arrangeStaleMAC),
		f("cni", "cni-csum-offload", "overlay-wrong-checksum", "the tunnel's checksums are wrong", "Traced on the receiver: the other node's tunnel packets come with a wrong UDP checksum on the outside.",
			arrangeOuterChecksum),
	}
}

// throughSwitch routes between the nodes by the switch.
func (l *Lab) throughSwitch(ctx context.Context) (*scene, error) {
	p := l.p
	if err := l.switched(); err != nil {
		return nil, err
	}
	there, err := l.node.routes(p.peerPods4, p.peerPods6, p.peer4, p.peer6, uplink)
	if err != nil {
		return nil, err
	}
	near, err := l.node.routes(p.peerPods4, p.peerPods6, nth(p.side4, 12), nth(p.side6, 12), sideLink)
	if err != nil {
		return nil, err
	}
	back, err := l.peer.routes(p.pods4, p.pods6, p.node4, p.node6, uplink)
	if err != nil {
		return nil, err
	}
	far, err := l.peer.routes(p.pods4, p.pods6, nth(p.side4, 11), nth(p.side6, 11), sideLink)
	if err != nil {
		return nil, err
	}
	err = errors.Join(l.reroute(l.node, there, near), l.reroute(l.peer, back, far), l.farNamespace(ctx))
	return l.toFarHere(), err
}

// arrangeStaleMAC leaves the first node with an address of a card that the other one
// had before.
func arrangeStaleMAC(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.throughSwitch(ctx)
	if err != nil {
		return nil, err
	}
	dev, err := l.node.nl.LinkByName(sideLink)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", sideLink, err)
	}
	for _, a := range []netip.Addr{nth(l.p.side4, 12), nth(l.p.side6, 12)} {
		stale := &netlink.Neigh{
			LinkIndex: dev.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(),
			HardwareAddr: net.HardwareAddr{2, 0x42, 0xde, 0xad, 0, 2},
		}
		if err := l.do(func() error { return l.node.nl.NeighSet(stale) }, func() error { return l.node.nl.NeighDel(stale) }); err != nil {
			return nil, fmt.Errorf("set neighbour: %w", err)
		}
	}
	return l.blamesNode(s).shows(Timeout), nil
}

// summedOverlay joins the nodes by VXLAN over the switch, with a checksum on the
// outside that is computed before a packet leaves: veth pairs otherwise leave that to
// nobody.
func (l *Lab) summedOverlay(ctx context.Context) (*scene, error) {
	if err := l.switched(); err != nil {
		return nil, err
	}
	o := l.newOverlay()
	o.summed = true
	o.near.under, o.near.dev = nth(l.p.side4, 11), sideLink
	o.far.under, o.far.dev = nth(l.p.side4, 12), sideLink
	if err := l.node.inside(func() error { return checksumBySoftware(sideLink) }); err != nil {
		return nil, err
	}
	return l.toFarHere(), l.overlaid(ctx, o)
}

// arrangeOuterChecksum changes the checksum after it was computed, as a broken
// offload does.
func arrangeOuterChecksum(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.summedOverlay(ctx)
	if err != nil {
		return nil, err
	}
	return l.blamesNode(s).shows(Timeout), l.addTable(nftables.TableFamilyIPv4, l.p.guard, func(t *table) {
		post := t.filter("offload", nftables.ChainHookPostrouting, *nftables.ChainPriorityMangle)
		t.rule(post, "", dport("UDP", tunnelPort), wrongOuterSum())
	})
}

// wrongOuterSum flips a bit of the UDP checksum.
func wrongOuterSum() exprs {
	const offset, size = 6, 2
	return exprs{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: size, Mask: []byte{0xff, 0xff}, Xor: []byte{0x10, 0}},
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: size},
	}
}

// checksumBySoftware is "ethtool -K DEV tx off" in this thread's namespace
// (ETHTOOL_STXCSUM, linux/ethtool.h).
func checksumBySoftware(dev string) error {
	const setChecksum = 0x17
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("turn off checksum offload of %s: %w", dev, err)
	}
	defer func() { _ = unix.Close(fd) }()
	value := struct{ cmd, data uint32 }{cmd: setChecksum}
	req := struct { // ifreq with ifr_data
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(req.name[:unix.IFNAMSIZ-1], dev)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return fmt.Errorf("turn off checksum offload of %s: %w", dev, errno)
	}
	return nil
}
