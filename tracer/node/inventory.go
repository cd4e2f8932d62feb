package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sort"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// Inventory reads the node's namespace and the namespaces of its pods, without
// a container runtime and on any CNI: see classify for what counts as a pod.
// podIPs are addresses of pods on this node that the cluster knows; they are
// remembered for later calls when none are given. A namespace that vanishes
// while it is read is left out.
func (n *Node) Inventory(ctx context.Context, podIPs ...netip.Addr) (tracer.Inventory, error) {
	hints := n.setHints(podIPs)
	paths := n.scan()
	host, err := n.open(ctx, n.hostInode)
	if err != nil {
		return tracer.Inventory{}, err
	}
	defer host.close()
	// Reading the links first gives every joined namespace an id in the node's
	// (peernet2id_alloc in rtnl_fill_ifinfo), so the order matters.
	if err := host.readLinks(); err != nil {
		return tracer.Inventory{}, err
	}
	hv, err := newHostView(host)
	if err != nil {
		return tracer.Inventory{}, err
	}

	inv := tracer.Inventory{HostNetNS: n.hostInode}
	inv.NetNS = append(inv.NetNS, tracer.NetNS{Inode: n.hostInode, Path: n.host.Name(), Host: true})
	var pods []tracer.Device
	for _, inode := range sortedInodes(paths) {
		if inode == n.hostInode {
			continue
		}
		if err := ctx.Err(); err != nil {
			return tracer.Inventory{}, fmt.Errorf("read namespaces: %w", err)
		}
		devs, ok := n.readPeer(ctx, hv, inode, hints)
		if !ok {
			continue
		}
		inv.NetNS = append(inv.NetNS, tracer.NetNS{Inode: inode, Path: paths[inode]})
		pods = append(pods, devs...)
	}
	inv.Devices = append(hv.devices(), pods...)
	n.mu.Lock()
	n.last, n.unknown = inv, hv.lead()
	n.mu.Unlock()
	return inv, nil
}

func (n *Node) setHints(podIPs []netip.Addr) map[netip.Addr]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(podIPs) > 0 {
		n.hints = make(map[netip.Addr]bool, len(podIPs))
		for _, a := range podIPs {
			n.hints[a] = true
		}
	}
	return n.hints
}

// readPeer reads one other namespace; false if it is no pod of this node.
func (n *Node) readPeer(ctx context.Context, hv *hostView, inode uint32, hints map[netip.Addr]bool) ([]tracer.Device, bool) {
	v, err := n.open(ctx, inode)
	if err != nil {
		n.log.DebugContext(ctx, "namespace left out", slog.Any("error", err))
		return nil, false
	}
	defer v.close()
	if err := v.readLinks(); err != nil {
		n.log.DebugContext(ctx, "namespace left out", slog.Any("error", err))
		return nil, false
	}
	j := hv.joints(v, n.host.Fd())
	if len(j.ends) == 0 {
		// Nothing joins it, but the cluster may know it as a pod with a device
		// of its own (SR-IOV). Where several nodes share a kernel, a veth with
		// the same address is another node's pod.
		if !ownsHardware(v, hints) {
			return nil, false
		}
	} else if pod, why := classify(hv.evidence(v, j, hints)); !pod {
		n.log.DebugContext(ctx, "namespace is no pod", slog.Uint64("netns", uint64(inode)), slog.String("why", why))
		hv.markFabric(j, inode)
		return nil, false
	}
	hv.markPod(j, inode)
	return podDevices(v, j, hv.v.inode), true
}

func podDevices(v *view, j joint, host uint32) []tracer.Device {
	var out []tracer.Device
	for _, l := range v.links {
		d := v.device(l)
		d.Role = tracer.RolePod
		if l.Attrs().Flags&net.FlagLoopback != 0 {
			d.Role = tracer.RoleLoopback
		}
		for _, e := range j.ends {
			if e.far == l.Attrs().Index && e.veth {
				d.Peer = tracer.DeviceKey{NetNS: host, IfIndex: uint32(e.near)}
			}
		}
		out = append(out, d)
	}
	return out
}

func carries(v *view, addrs map[netip.Addr]bool) bool {
	for _, ps := range v.addrs {
		for _, p := range ps {
			if addrs[p.Addr()] {
				return true
			}
		}
	}
	return false
}

// ownsHardware: one of the addresses is on a device that has no other end. The
// loopback device is none of those: another node may hold an address there.
func ownsHardware(v *view, addrs map[netip.Addr]bool) bool {
	for _, l := range v.links {
		if l.Type() != "device" || l.Attrs().Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, p := range v.addrs[l.Attrs().Index] {
			if addrs[p.Addr()] {
				return true
			}
		}
	}
	return false
}

func sortedInodes(m map[uint32]string) []uint32 {
	out := make([]uint32, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out
}

// defaults are the unicast default routes of every table.
func defaults(v *view) ([]netlink.Route, error) {
	var out []netlink.Route
	for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rs, _, err := v.routes(fam)
		if err != nil {
			return nil, fmt.Errorf("list routes in netns %d: %w", v.inode, err)
		}
		for _, r := range rs {
			if r.Type != unix.RTN_UNICAST {
				continue
			}
			if p, ok := prefixOf(r.Dst); r.Dst == nil || ok && p.Bits() == 0 {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// hops are the devices and gateways of a route, multipath included.
func hops(r netlink.Route) (oif []int, via []netip.Addr) {
	if len(r.MultiPath) == 0 {
		return []int{r.LinkIndex}, []netip.Addr{viaOf(r.Gw, r.Via)}
	}
	for _, m := range r.MultiPath {
		oif = append(oif, m.LinkIndex)
		via = append(via, viaOf(m.Gw, m.Via))
	}
	return oif, via
}
