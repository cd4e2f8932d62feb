package node

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// hostView is the node's namespace with what is needed to judge the others.
type hostView struct {
	v          *view
	uplinks    map[int]bool // devices that a default route leaves by, and below
	gateways   map[netip.Addr]bool
	hasDefault bool
	hostRoutes map[netip.Addr]map[int]bool // /32 and /128 routes: device
	own        map[netip.Addr]bool
	pods       map[int]tracer.DeviceKey // device joined to a pod: far end
	fabric     map[int]bool
	vethPeer   map[int]tracer.DeviceKey
}

// end is one joint: the device in the node, and the one in the other namespace.
type end struct {
	near, far int
	veth      bool
}

type joint struct{ ends []end }

func newHostView(v *view) (*hostView, error) {
	h := &hostView{v: v, uplinks: map[int]bool{}, gateways: map[netip.Addr]bool{},
		hostRoutes: map[netip.Addr]map[int]bool{}, own: map[netip.Addr]bool{},
		pods: map[int]tracer.DeviceKey{}, fabric: map[int]bool{}, vethPeer: map[int]tracer.DeviceKey{}}
	for _, ps := range v.addrs {
		for _, p := range ps {
			h.own[p.Addr()] = true
		}
	}
	for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rs, _, err := v.routes(fam)
		if err != nil {
			return nil, fmt.Errorf("list the node's routes: %w", err)
		}
		for _, r := range rs {
			h.addRoute(r)
		}
	}
	return h, nil
}

func (h *hostView) addRoute(r netlink.Route) {
	if r.Type != unix.RTN_UNICAST {
		return
	}
	p, ok := prefixOf(r.Dst)
	if r.Dst == nil || ok && p.Bits() == 0 {
		h.hasDefault = true
		oifs, vias := hops(r)
		for i, oif := range oifs {
			h.addUplink(oif)
			// Link-local gateways (fe80::1) are held by many at once.
			if vias[i].IsValid() && !vias[i].IsLinkLocalUnicast() {
				h.gateways[vias[i]] = true
			}
		}
		return
	}
	if ok && p.IsSingleIP() && r.LinkIndex != 0 {
		if h.hostRoutes[p.Addr()] == nil {
			h.hostRoutes[p.Addr()] = map[int]bool{}
		}
		h.hostRoutes[p.Addr()][r.LinkIndex] = true
	}
}

// addUplink marks a device and what it stands on: the parents of vlan and
// macvlan, the members of a bond. The ports of a bridge are not marked: pods
// may share it with the uplink.
func (h *hostView) addUplink(index int) {
	l := h.v.link(index)
	if l == nil || h.uplinks[index] {
		return
	}
	h.uplinks[index] = true
	a := l.Attrs()
	if a.ParentIndex > 0 && a.NetNsID < 0 && l.Type() != "veth" && !tunnelKinds[l.Type()] {
		h.addUplink(a.ParentIndex)
	}
	if l.Type() == "bond" || l.Type() == "team" {
		for _, m := range h.v.links {
			if m.Attrs().MasterIndex == index {
				h.addUplink(m.Attrs().Index)
			}
		}
	}
}

// joints finds the devices that join another namespace to the node's. hostFD
// is the node's namespace.
func (h *hostView) joints(v *view, hostFD uintptr) joint {
	var j joint
	if toFar := h.v.idOf(v.file.Fd()); toFar >= 0 {
		for _, l := range h.v.links {
			if a := l.Attrs(); a.NetNsID == toFar && a.ParentIndex > 0 && l.Type() == "veth" {
				j.ends = append(j.ends, end{near: a.Index, far: a.ParentIndex, veth: true})
			}
		}
	}
	toHost := v.idOf(hostFD)
	if toHost < 0 {
		return j
	}
	for _, l := range v.links {
		a := l.Attrs()
		switch l.Type() {
		case "macvlan", "macvtap", "ipvlan", "ipvtap", "netkit":
			if a.NetNsID == toHost && a.ParentIndex > 0 {
				j.ends = append(j.ends, end{near: a.ParentIndex, far: a.Index, veth: l.Type() == "netkit"})
			}
		}
	}
	return j
}

// evidence gathers what classify judges.
func (h *hostView) evidence(v *view, j joint, hints map[netip.Addr]bool) pairing {
	p := pairing{PodIP: carries(v, hints), HoldsGateway: carries(v, h.gateways), NodeHasDefault: h.hasDefault}
	far := map[int]bool{}
	for _, e := range j.ends {
		far[e.far] = true
		near, peer := h.v.link(e.near), v.link(e.far)
		if near == nil || peer == nil {
			continue
		}
		// A macvlan's parent is the uplink by nature; that proves nothing.
		p.NodeDefaultHere = p.NodeDefaultHere || e.veth && h.uplinks[e.near]
		p.NodeEndBridged = p.NodeEndBridged || h.bridged(h.v, near)
		p.FarEndBridged = p.FarEndBridged || h.bridged(v, peer)
		p.SharedSubnet = p.SharedSubnet || e.veth && !h.bridged(h.v, near) && sharedSubnet(h.v.addrs[e.near], v.addrs[e.far])
		p.HostRoute = p.HostRoute || h.routeTo(v, e)
	}
	toHost := v.idOf(h.v.file.Fd())
	for _, l := range v.links {
		a := l.Attrs()
		if l.Type() == "veth" && !far[a.Index] && a.NetNsID >= 0 && a.NetNsID != toHost {
			p.LeadsFurther = true
		}
	}
	p.DefaultToNode = h.defaultToNode(v, far)
	return p
}

func (h *hostView) bridged(v *view, l netlink.Link) bool {
	m := v.link(l.Attrs().MasterIndex)
	return m != nil && bridgeKinds[m.Type()]
}

// routeTo: a host route over the node's end to an address of the other.
func (h *hostView) routeTo(v *view, e end) bool {
	for _, ps := range v.addrs {
		for _, p := range ps {
			if h.hostRoutes[p.Addr()][e.near] {
				return true
			}
		}
	}
	return false
}

// defaultToNode: the namespace's default route leaves by a joint, and its
// gateway, if it has one that somebody holds, is the node's.
func (h *hostView) defaultToNode(v *view, far map[int]bool) bool {
	ds, err := defaults(v)
	if err != nil {
		return false
	}
	for _, r := range ds {
		oifs, vias := hops(r)
		for i, oif := range oifs {
			if h.own[vias[i]] && !vias[i].IsLinkLocalUnicast() {
				return true
			}
			// Without a gateway, or with one that only proxy ARP answers for
			// (169.254.1.1), the far side of the veth is the node.
			if far[oif] && (!vias[i].IsValid() || vias[i].IsLinkLocalUnicast()) {
				return true
			}
		}
	}
	return false
}

func sharedSubnet(a, b []netip.Prefix) bool {
	for _, p := range a {
		if p.IsSingleIP() || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		for _, q := range b {
			if p.Contains(q.Addr()) {
				return true
			}
		}
	}
	return false
}

func (h *hostView) markPod(j joint, inode uint32) {
	for _, e := range j.ends {
		k := tracer.DeviceKey{NetNS: inode, IfIndex: uint32(e.far)}
		if e.veth {
			h.pods[e.near] = k
			h.vethPeer[e.near] = k
		}
	}
}

func (h *hostView) markFabric(j joint, inode uint32) {
	for _, e := range j.ends {
		if e.veth {
			h.fabric[e.near] = true
			h.vethPeer[e.near] = tracer.DeviceKey{NetNS: inode, IfIndex: uint32(e.far)}
		}
	}
}

// devices describes the node's own devices.
func (h *hostView) devices() []tracer.Device {
	var out []tracer.Device
	for _, l := range h.v.links {
		d := h.v.device(l)
		a := l.Attrs()
		d.Role = h.role(l)
		d.Peer = h.vethPeer[a.Index]
		if l.Type() == "veth" && a.NetNsID < 0 && a.ParentIndex > 0 {
			d.Peer = tracer.DeviceKey{NetNS: h.v.inode, IfIndex: uint32(a.ParentIndex)}
		}
		out = append(out, d)
	}
	return out
}

var bridgeKinds = map[string]bool{"bridge": true, "openvswitch": true}

var tunnelKinds = map[string]bool{
	"vxlan": true, "geneve": true, "ipip": true, "sit": true, "gre": true, "gretap": true,
	"ip6tnl": true, "ip6gre": true, "ip6gretap": true, "erspan": true, "wireguard": true,
	"vti": true, "vti6": true, "xfrm": true, "gtp": true, "bareudp": true,
}

func (h *hostView) role(l netlink.Link) tracer.DeviceRole {
	a := l.Attrs()
	_, pod := h.pods[a.Index]
	switch {
	case a.Flags&net.FlagLoopback != 0:
		return tracer.RoleLoopback
	case pod:
		return tracer.RolePodHost
	case bridgeKinds[l.Type()]:
		return tracer.RoleBridge
	case tunnelKinds[l.Type()], isTun(l):
		return tracer.RoleTunnel
	case h.uplinks[a.Index], h.fabric[a.Index]:
		return tracer.RoleUplink
	case l.Type() == "device" || l.Type() == "":
		return tracer.RoleUplink
	case l.Type() == "bond" || l.Type() == "team" || l.Type() == "vlan" || l.Type() == "macvlan" || l.Type() == "ipvlan":
		return tracer.RoleUplink
	}
	return tracer.RoleOther
}

// isTun: a layer 3 tun device carries an overlay (flannel's udp backend, VPNs);
// a tap is a virtual machine's port.
func isTun(l netlink.Link) bool {
	t, ok := l.(*netlink.Tuntap)
	return ok && t.Mode == netlink.TUNTAP_MODE_TUN
}
