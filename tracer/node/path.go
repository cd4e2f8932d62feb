package node

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// path reads how the devices that the flow passes are set up.
func (c *collector) path() {
	for _, inode := range slices.Sorted(maps.Keys(c.views)) {
		v := c.views[inode]
		for _, d := range c.pathDevices(inode) {
			c.facts.MTUs = append(c.facts.MTUs, tracer.MTUFact{Device: d.DeviceKey, Dev: d.Name, Kind: d.Kind, MTU: d.MTU})
			if l := v.link(int(d.IfIndex)); l != nil && !v.outside {
				c.port(v, d, l)
				c.tunnel(v, d, l)
				c.queues(v, d, l)
			}
		}
	}
	c.forwarding()
}

// port is the device's place in a bridge.
func (c *collector) port(v *view, d tracer.Device, l netlink.Link) {
	m := v.link(l.Attrs().MasterIndex)
	if m == nil || m.Type() != "bridge" {
		return
	}
	p, _, err := dumped(func() (netlink.Protinfo, error) { return v.h.LinkGetProtinfo(l) })
	if err != nil {
		c.blind("bridge port "+d.Name, err)
		return
	}
	c.facts.Ports = append(c.facts.Ports, tracer.BridgePort{Device: d.DeviceKey, Dev: d.Name, Bridge: m.Attrs().Name,
		Hairpin: p.Hairpin, Isolated: p.Isolated, Learning: p.Learning, Flood: p.Flood})
}

// tunnel describes the kinds that carry IP over IP.
func (c *collector) tunnel(v *view, d tracer.Device, l netlink.Link) {
	f := tracer.TunnelFact{Device: d.DeviceKey, Dev: d.Name, Kind: d.Kind, MTU: d.MTU}
	under := 0
	switch x := l.(type) {
	case *netlink.Vxlan:
		f.VNI, f.Port, f.Learning, f.External = uint32(x.VxlanId), uint16(x.Port), x.Learning, x.FlowBased
		f.Local, f.Remote, under = ipOf(x.SrcAddr), ipOf(x.Group), x.VtepDevIndex
	case *netlink.Geneve:
		f.VNI, f.Port, f.External, f.Remote = x.ID, x.Dport, x.FlowBased, ipOf(x.Remote)
	case *netlink.Iptun:
		f.Local, f.Remote, f.External, under = ipOf(x.Local), ipOf(x.Remote), x.FlowBased, int(x.Link)
	case *netlink.Sittun:
		f.Local, f.Remote, under = ipOf(x.Local), ipOf(x.Remote), int(x.Link)
	default:
		return
	}
	if u := v.link(under); u != nil {
		f.Underlay = u.Attrs().Name
	}
	c.facts.Tunnels = append(c.facts.Tunnels, f)
}

// ipOf is the zero Addr for none and for 0.0.0.0.
func ipOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	if a = a.Unmap(); !a.IsValid() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// queues are the disciplines of one device that may hold or drop packets.
func (c *collector) queues(v *view, d tracer.Device, l netlink.Link) {
	qs, complete, err := dumped(func() ([]netlink.Qdisc, error) { return v.h.QdiscList(l) })
	if err != nil {
		c.blind("queueing disciplines of "+d.Name, err)
		return
	}
	if !complete {
		c.blind("queueing disciplines of "+d.Name, errors.New("they changed while being read; the list may be incomplete"))
	}
	for _, q := range qs {
		switch q.Type() {
		case "noqueue", "ingress", "clsact":
			continue
		}
		f := tracer.QueueFact{Device: d.DeviceKey, Dev: d.Name, Kind: q.Type()}
		if t, ok := q.(*netlink.Tbf); ok {
			f.RateBytes = t.Rate
		}
		if s := q.Attrs().Statistics; s != nil && s.Queue != nil {
			f.BacklogBytes, f.Drops, f.Overlimits = s.Queue.Backlog, s.Queue.Drops, s.Queue.Overlimits
		}
		c.facts.Queues = append(c.facts.Queues, f)
	}
}

// maxForwarding bounds the entries of one flow: those for everything
// ("00:00:00:00:00:00") are as many as there are nodes.
const maxForwarding = 64

// forwarding reads the entries for the addresses that the flow's frames go to.
func (c *collector) forwarding() {
	wanted := map[string]bool{"00:00:00:00:00:00": true}
	for _, n := range c.facts.Neighbours {
		wanted[n.MAC] = true
	}
	for _, d := range []*tracer.Device{c.facts.SrcDevice, c.facts.DstDevice} {
		if d != nil {
			wanted[d.MAC] = true
		}
	}
	delete(wanted, "")
	v := c.views[c.n.hostInode]
	if v.outside {
		return
	}
	es, complete, err := dumped(func() ([]netlink.Neigh, error) { return v.h.NeighListExecute(netlink.Ndmsg{Family: unix.AF_BRIDGE}) })
	if err != nil {
		c.blind("forwarding entries", err)
		return
	}
	onPath := map[int]bool{}
	for _, d := range c.pathDevices(c.n.hostInode) {
		onPath[int(d.IfIndex)] = true
	}
	for _, e := range es {
		l := v.link(e.LinkIndex)
		if l == nil || !wanted[e.HardwareAddr.String()] || !onPath[e.LinkIndex] && !onPath[e.MasterIndex] {
			continue
		}
		if len(c.facts.Forwarding) == maxForwarding {
			complete = false
			break
		}
		f := tracer.ForwardingFact{NetNS: v.inode, Dev: l.Attrs().Name, MAC: e.HardwareAddr.String(), Remote: ipOf(e.IP), Permanent: e.State&netlink.NUD_PERMANENT != 0}
		if m := v.link(e.MasterIndex); m != nil {
			f.Bridge = m.Attrs().Name
		}
		c.facts.Forwarding = append(c.facts.Forwarding, f)
	}
	if !complete {
		c.blind("forwarding entries", fmt.Errorf("they changed while being read, or are more than %d; one may be missing", maxForwarding))
	}
	c.facts.ForwardingRead = complete
}
