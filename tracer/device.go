package tracer

import "net/netip"

// DeviceRole says what a device is for, seen from the node.
type DeviceRole string

const (
	RolePodHost  DeviceRole = "pod-host" // the node's end of a pod's veth
	RolePod      DeviceRole = "pod"      // a device inside a pod's namespace
	RoleBridge   DeviceRole = "bridge"   // a bridge in the node's namespace
	RoleTunnel   DeviceRole = "tunnel"   // vxlan, geneve, ipip, wireguard, ...
	RoleUplink   DeviceRole = "uplink"   // leads off the node
	RoleLoopback DeviceRole = "loopback" // lo
	RoleOther    DeviceRole = "other"
)

// DeviceKey identifies a device on one kernel: the namespace's inode and the
// interface index in it.
type DeviceKey struct {
	NetNS   uint32 `json:"netns"`
	IfIndex uint32 `json:"ifindex"`
}

// Device is one network interface of this node or of a pod on it.
type Device struct {
	DeviceKey
	Name string     `json:"name"`
	Kind string     `json:"kind"` // rtnetlink kind: "veth", "bridge", "vxlan", "" for physical
	Role DeviceRole `json:"role"`
	Up   bool       `json:"up"`
	// Carrier is IFF_LOWER_UP.
	Carrier bool `json:"carrier"`
	MTU     int  `json:"mtu"`
	// Master is the bridge this device is a port of, 0 if none.
	Master uint32 `json:"master,omitempty"`
	// Peer is the other end of a veth pair, zero if not known.
	Peer  DeviceKey      `json:"peer,omitzero"`
	Addrs []netip.Prefix `json:"addrs,omitempty"`
	MAC   string         `json:"mac,omitempty"`
}

// TakesOver reports whether what the device receives is taken over from another
// device, by the same pass through the kernel's receive path: the tracepoint for
// received packets then names only that other one (macvlan_handle_frame and
// ipvlan_handle_frame, which return RX_HANDLER_ANOTHER to __netif_receive_skb_core).
func (d *Device) TakesOver() bool {
	switch d.Kind {
	case "macvlan", "macvtap", "ipvlan", "ipvtap":
		return true
	}
	return false
}

// NetNS is one network namespace that belongs to this node.
type NetNS struct {
	Inode uint32 `json:"inode"`
	// Path opens it ("/proc/123/ns/net", "/run/netns/x"); valid while it lives.
	Path string `json:"path,omitempty"`
	Host bool   `json:"host,omitempty"`
}

// Inventory is a snapshot of the namespaces and devices of one node.
type Inventory struct {
	HostNetNS uint32   `json:"host_netns"`
	NetNS     []NetNS  `json:"netns"`
	Devices   []Device `json:"devices"`
}

// Device finds a device by key.
func (v *Inventory) Device(k DeviceKey) (Device, bool) {
	for i := range v.Devices {
		if v.Devices[i].DeviceKey == k {
			return v.Devices[i], true
		}
	}
	return Device{}, false
}

// Owner finds the namespace and device that carry an address. An address on a
// device of a pod wins over one on the host.
func (v *Inventory) Owner(a netip.Addr) (Device, bool) {
	var found Device
	ok := false
	for i := range v.Devices {
		d := &v.Devices[i]
		for _, p := range d.Addrs {
			if p.Addr() != a {
				continue
			}
			if d.NetNS != v.HostNetNS {
				return *d, true
			}
			found, ok = *d, true
		}
	}
	return found, ok
}
