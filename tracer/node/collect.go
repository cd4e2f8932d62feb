package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

func isInvalid(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)
}

// collector gathers the facts about one flow.
type collector struct {
	n     *Node
	ctx   context.Context
	q     tracer.Query
	fwd   tracer.Tuple // original direction after translation
	inv   tracer.Inventory
	views map[uint32]*view
	devs  map[tracer.DeviceKey]tracer.Device
	facts tracer.NodeFacts
}

// Collect reads what the rules need to know about one flow, now, and nothing
// else. It never fails: what could not be read is in Blind. It stops early when
// ctx ends.
func (n *Node) Collect(ctx context.Context, q tracer.Query) tracer.NodeFacts {
	c := &collector{n: n, ctx: ctx, q: q, fwd: q.Translated, views: map[uint32]*view{}, devs: map[tracer.DeviceKey]tracer.Device{}}
	if !c.fwd.IsValid() {
		c.fwd = q.Flow
	}
	c.facts = tracer.NodeFacts{At: time.Now(), HostNetNS: n.hostInode}
	defer func() {
		for _, v := range c.views {
			v.close()
		}
	}()
	begun := time.Now()
	if !c.devices() {
		return c.facts
	}
	took := []slog.Attr{slog.Duration("links", time.Since(begun))}
	for _, step := range []struct {
		name string
		read func()
	}{{"routes", c.routes}, {"neighbours", c.neighbours}, {"path", c.path}, {"conntrack", c.tracked}, {"sockets", c.listeners}, {"sysctls", c.sysctls},
		{"counters", c.counters}, {"programs", c.programs}, {"cgroup_programs", c.cgroupPrograms}} {
		if err := ctx.Err(); err != nil {
			c.blind("node facts", fmt.Errorf("reading stopped early: %w", err))
			break
		}
		begun = time.Now()
		step.read()
		took = append(took, slog.Duration(step.name, time.Since(begun)))
	}
	n.log.LogAttrs(ctx, slog.LevelDebug, "node facts read", took...)
	return c.facts
}

func (c *collector) blind(what string, err error) {
	c.facts.Blind = append(c.facts.Blind, tracer.Blind{What: what, Effect: err.Error()})
}

// devices opens the namespaces of the flow and finds the devices of its ends.
// Without the node's own namespace there is nothing to tell.
func (c *collector) devices() bool {
	inv, err := c.n.inventoryWith(c.ctx, c.q.SrcNetNS, c.q.DstNetNS)
	if err != nil {
		c.blind("devices of the node", err)
		return false
	}
	c.inv = inv
	c.locateEnds()
	for _, inode := range []uint32{c.n.hostInode, c.q.SrcNetNS, c.q.DstNetNS} {
		if inode == 0 || c.views[inode] != nil {
			continue
		}
		if err := c.view(inode); err != nil {
			c.blind(fmt.Sprintf("network namespace %d", inode), err)
			if inode == c.n.hostInode {
				return false
			}
		}
	}
	c.facts.SrcDevice, c.facts.SrcPeer = c.endDevice(c.q.SrcNetNS, c.q.Flow.Src.Addr())
	c.facts.DstDevice, c.facts.DstPeer = c.endDevice(c.q.DstNetNS, c.fwd.Dst.Addr())
	return true
}

// locateEnds fills in namespaces that the question leaves open.
func (c *collector) locateEnds() {
	if c.q.SrcNetNS == 0 {
		if d, ok := c.inv.Owner(c.q.Flow.Src.Addr()); ok {
			c.q.SrcNetNS = d.NetNS
		}
	}
	if c.q.DstNetNS == 0 {
		if d, ok := c.inv.Owner(c.fwd.Dst.Addr()); ok {
			c.q.DstNetNS = d.NetNS
		}
	}
}

// view reads the devices of a namespace afresh. Role and peer are taken from
// the inventory.
func (c *collector) view(inode uint32) error {
	v, err := c.n.open(c.ctx, inode)
	if err != nil {
		return err
	}
	if err := v.readLinks(); err != nil {
		v.close()
		return err
	}
	if !v.complete {
		c.blind(fmt.Sprintf("devices of netns %d", inode), errors.New("they changed while being read; the list may be incomplete"))
	}
	if v.outside {
		c.blind(fmt.Sprintf("routes, sockets, settings, counters and programs in netns %d", inode), errOutside)
	}
	c.views[inode] = v
	for _, l := range v.links {
		d := v.device(l)
		if old, ok := c.inv.Device(d.DeviceKey); ok {
			d.Role, d.Peer = old.Role, old.Peer
		}
		c.devs[d.DeviceKey] = d
	}
	return nil
}

// inside is a view that was entered, nil if there is none.
func (c *collector) inside(inode uint32) *view {
	if v := c.views[inode]; v != nil && !v.outside {
		return v
	}
	return nil
}

// endDevice is the device that carries an address; in a pod that lost its
// address, the first that is no loopback.
func (c *collector) endDevice(inode uint32, addr netip.Addr) (dev, peer *tracer.Device) {
	v := c.views[inode]
	if v == nil {
		return nil, nil
	}
	var found *tracer.Device
	for _, l := range v.links {
		d := c.devs[tracer.DeviceKey{NetNS: inode, IfIndex: uint32(l.Attrs().Index)}]
		if carriesAddr(d, addr) {
			found = &d
			break
		}
		if found == nil && inode != c.n.hostInode && d.Role == tracer.RolePod {
			found = &d
		}
	}
	if found == nil {
		return nil, nil
	}
	if p, ok := c.devs[found.Peer]; ok {
		peer = &p
	}
	return found, peer
}

func carriesAddr(d tracer.Device, a netip.Addr) bool {
	for _, p := range d.Addrs {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

// routes asks the four questions of tracer.RouteFact.For.
func (c *collector) routes() {
	host := c.views[c.n.hostInode]
	src, dst := c.q.Flow.Src.Addr(), c.fwd.Dst.Addr()
	seen := c.fwd.Src.Addr() // the source that the destination sees
	c.ask("forward", host, c.key(src, dst, c.inputDev(c.q.SrcNetNS, c.facts.SrcPeer, src, dst, true), true))
	c.ask("reverse", host, c.key(dst, src, c.inputDev(c.q.DstNetNS, c.facts.DstPeer, dst, src, false), false))
	if v := c.inside(c.q.SrcNetNS); v != nil && v != host {
		c.ask("src-pod", v, c.key(src, c.q.Flow.Dst.Addr(), "", true))
	}
	if v := c.inside(c.q.DstNetNS); v != nil && v != host {
		c.ask("dst-pod", v, c.key(dst, seen, "", false))
	}
}

func (c *collector) key(src, dst netip.Addr, iif string, request bool) fibKey {
	t := c.fwd
	if !request {
		t = t.Reverse()
	}
	k := fibKey{src: src, dst: dst, iif: iif, proto: t.Proto, sport: t.Src.Port(), dport: t.Dst.Port()}
	if iif != "" {
		if d := c.dropOf(dst); d != nil {
			k.mark = d.Mark
		}
	}
	return k
}

// dropOf is a drop in the node's namespace of a packet on its way to dst.
func (c *collector) dropOf(dst netip.Addr) *tracer.DropSite {
	for i := range c.q.Drops {
		d := &c.q.Drops[i]
		if d.Device.NetNS == c.n.hostInode && d.Tuple.Dst.Addr() == dst {
			return d
		}
	}
	return nil
}

// inputDev is the device by which a packet enters the node's routing: where a
// drop was seen entering; else the bridge, or the node's end of the veth, of a
// pod here; else, for a far source, the device that leads back to it. "" is a
// packet made by the node itself.
func (c *collector) inputDev(inode uint32, peer *tracer.Device, src, dst netip.Addr, request bool) string {
	host := c.views[c.n.hostInode]
	if inode == c.n.hostInode {
		return ""
	}
	if d := c.dropOf(dst); d != nil && d.InDevice.NetNS == c.n.hostInode {
		if l := host.link(int(d.InDevice.IfIndex)); l != nil {
			return c.routed(host, l)
		}
	}
	if peer != nil {
		if l := host.link(int(peer.IfIndex)); l != nil {
			return c.routed(host, l)
		}
	}
	if r, err := host.lookup(c.key(netip.Addr{}, src, "", !request), 0); err == nil && r.Type == "unicast" {
		return r.Dev
	}
	return ""
}

// routed is the device that routing sees for a packet that entered by l: a
// bridge instead of its port.
func (c *collector) routed(host *view, l netlink.Link) string {
	if m := host.link(l.Attrs().MasterIndex); m != nil {
		switch m.Type() {
		case "bridge", "bond", "team", "openvswitch":
			return m.Attrs().Name
		}
	}
	return l.Attrs().Name
}

func (c *collector) ask(question string, v *view, k fibKey) {
	if !k.dst.IsValid() {
		return
	}
	iif := 0
	for _, l := range v.links {
		if k.iif != "" && l.Attrs().Name == k.iif {
			iif = l.Attrs().Index
		}
	}
	if iif == 0 && !c.isLocal(v, k.src) {
		// The kernel refuses a source that it does not own (EINVAL).
		k.src = netip.Addr{}
	}
	f, err := v.lookup(k, iif)
	if err != nil {
		c.blind("route "+question, err)
		return
	}
	f.For = question
	c.facts.Routes = append(c.facts.Routes, f)
}

func (c *collector) isLocal(v *view, a netip.Addr) bool {
	for _, ps := range v.addrs {
		for _, p := range ps {
			if p.Addr() == a {
				return true
			}
		}
	}
	return false
}

// neighbours reads the entries of the next hops of the routes found.
func (c *collector) neighbours() {
	type key struct {
		ns, oif uint32
		hop     netip.Addr
	}
	done := map[key]bool{}
	for _, r := range c.facts.Routes {
		hops := r.Hops
		if len(hops) == 0 {
			hops = []tracer.NextHop{{Dev: r.Dev, OIF: r.OIF, Via: r.Via}}
		}
		for _, h := range hops {
			if !h.Via.IsValid() {
				h.Via = r.Dst
			}
			k := key{r.NetNS, h.OIF, h.Via}
			if h.OIF == 0 || r.Type != "unicast" || done[k] {
				continue
			}
			done[k] = true
			c.neighbour(r.NetNS, h)
		}
	}
}

func (c *collector) neighbour(netns uint32, r tracer.NextHop) {
	v, hop := c.views[netns], r.Via
	family := netlink.FAMILY_V4
	if hop.Is6() {
		family = netlink.FAMILY_V6
	}
	ns, complete, err := dumped(func() ([]netlink.Neigh, error) { return v.h.NeighList(int(r.OIF), family) })
	if err != nil {
		c.blind("neighbours of "+r.Dev, err)
		return
	}
	found := false
	for _, x := range ns {
		if addrOf(x.IP) != hop {
			continue
		}
		found = true
		c.facts.Neighbours = append(c.facts.Neighbours, tracer.NeighbourFact{NetNS: netns, Dev: r.Dev, Addr: hop,
			MAC: x.HardwareAddr.String(), State: neighState(x.State)})
	}
	if !found && !complete {
		c.blind("neighbours of "+r.Dev, errors.New("they changed while being read; an entry may be missing"))
	}
}

// listeners reads the sockets in the destination's namespace.
func (c *collector) listeners() {
	v := c.inside(c.q.DstNetNS)
	if v == nil {
		return
	}
	protos := []uint8{tracer.ProtoTCP, tracer.ProtoUDP}
	if c.q.Flow.Proto == tracer.ProtoSCTP {
		protos = append(protos, tracer.ProtoSCTP)
	}
	read := true
	err := netns.Do(int(v.file.Fd()), func() error {
		for _, p := range protos {
			ls, complete, err := listeners(v.inode, p)
			if err != nil {
				return err
			}
			read = read && complete
			c.facts.Listeners = append(c.facts.Listeners, ls...)
		}
		return nil
	})
	if err != nil {
		c.blind("listening sockets", err)
		return
	}
	if !read {
		c.blind("listening sockets", errors.New("they changed while being read; the list may be incomplete"))
	}
	c.facts.ListenersRead = read
}

// sysctls of the node carry their plain name, those of pods their namespace in
// front. A device's name stands as it is, dots included.
func (c *collector) sysctls() {
	c.facts.Sysctls = map[string]string{}
	names := []string{
		"net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv4.conf.default.forwarding",
		"net.ipv4.conf.all.rp_filter", "net.ipv4.conf.all.route_localnet",
		"net.ipv6.conf.all.forwarding", "net.ipv6.conf.default.forwarding", "net.ipv6.conf.all.disable_ipv6",
		"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.bridge.bridge-nf-call-arptables",
		"net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_tcp_be_liberal", "net.netfilter.nf_conntrack_tcp_timeout_established",
		"net.ipv4.vs.expire_quiescent_template",
	}
	c.readSysctls(c.n.hostInode, names, c.pathDevices(c.n.hostInode),
		[]string{"net.ipv4.conf.%s.forwarding", "net.ipv4.conf.%s.rp_filter", "net.ipv4.conf.%s.route_localnet", "net.ipv4.conf.%s.proxy_arp",
			"net.ipv6.conf.%s.forwarding", "net.ipv6.conf.%s.disable_ipv6"})
	for _, inode := range []uint32{c.q.SrcNetNS, c.q.DstNetNS} {
		if inode == 0 || inode == c.n.hostInode {
			continue
		}
		c.readSysctls(inode, []string{"net.ipv4.conf.all.rp_filter", "net.ipv6.conf.all.disable_ipv6", "net.ipv4.icmp_echo_ignore_all"},
			c.pathDevices(inode), []string{"net.ipv4.conf.%s.rp_filter", "net.ipv6.conf.%s.disable_ipv6"})
	}
}

// pathDevices are the devices of one namespace that the flow touches.
func (c *collector) pathDevices(inode uint32) []tracer.Device {
	var out []tracer.Device
	seen := map[tracer.DeviceKey]bool{}
	var add func(k tracer.DeviceKey)
	add = func(k tracer.DeviceKey) {
		d, ok := c.devs[k]
		if !ok || k.NetNS != inode || seen[k] || d.Role == tracer.RoleLoopback {
			return
		}
		seen[k] = true
		out = append(out, d)
		if d.Master != 0 {
			add(tracer.DeviceKey{NetNS: inode, IfIndex: d.Master})
		}
	}
	for _, d := range []*tracer.Device{c.facts.SrcDevice, c.facts.SrcPeer, c.facts.DstDevice, c.facts.DstPeer} {
		if d != nil {
			add(d.DeviceKey)
		}
	}
	for _, r := range c.facts.Routes {
		add(tracer.DeviceKey{NetNS: r.NetNS, IfIndex: r.OIF})
	}
	for _, d := range c.q.Drops {
		add(d.Device)
		add(d.InDevice)
	}
	return out
}

func (c *collector) readSysctls(inode uint32, names []string, devs []tracer.Device, perDev []string) {
	v := c.inside(inode)
	if v == nil {
		return
	}
	prefix := ""
	if inode != c.n.hostInode {
		prefix = fmt.Sprintf("%d:", inode)
	}
	err := netns.Do(int(v.file.Fd()), func() error {
		for _, name := range names {
			c.readSysctl(prefix+name, strings.ReplaceAll(name, ".", "/"))
		}
		for _, d := range devs {
			for _, f := range perDev {
				c.readSysctl(prefix+fmt.Sprintf(f, d.Name), fmt.Sprintf(strings.ReplaceAll(f, ".", "/"), d.Name))
			}
		}
		return nil
	})
	if err != nil {
		c.blind("sysctls", err)
	}
}

// readSysctl leaves out what this kernel does not have.
func (c *collector) readSysctl(name, path string) {
	if b, err := os.ReadFile(c.n.proc + "/sys/" + path); err == nil {
		c.facts.Sysctls[name] = strings.TrimSpace(string(b))
	}
}

func (c *collector) counters() {
	c.facts.Counters = map[uint32]map[string]uint64{}
	from := c.n.countedFrom(c.q.Since)
	for _, inode := range slices.Sorted(maps.Keys(c.views)) {
		if c.inside(inode) == nil {
			continue
		}
		d, err := c.n.deltas(inode, from)
		if err != nil {
			c.blind(fmt.Sprintf("counters of netns %d", inode), err)
		}
		if d != nil {
			c.facts.Counters[inode] = d
		}
	}
}

// programs reads the programs and the tc filters of the devices.
func (c *collector) programs() {
	from := c.n.countedFrom(c.q.Since)
	for _, inode := range slices.Sorted(maps.Keys(c.views)) {
		v, devs := c.inside(inode), c.pathDevices(inode)
		if v == nil {
			continue
		}
		var bad []error
		err := netns.Do(int(v.file.Fd()), func() error {
			for _, d := range devs {
				l := v.link(int(d.IfIndex))
				qs, _, err := dumped(func() ([]netlink.Qdisc, error) { return netlink.QdiscList(l) })
				sides := tcSides(qs, int(d.IfIndex))
				ps, blind := c.n.programs(d, l, sides)
				c.facts.Programs = append(c.facts.Programs, ps...)
				bad = append(append(bad, blind...), err, c.filters(v, d, sides, &from))
			}
			return nil
		})
		if err = errors.Join(append(bad, err)...); err != nil {
			c.blind("BPF programs and tc filters on the path", err)
		}
	}
}
