package probe

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

var errClosed = errors.New("probe is closed")

// deviceLinks are the programs on one device. Dropping a Link detaches it, so
// they are kept here for as long as the device is watched.
type deviceLinks struct{ in, out link.Link }

func (d deviceLinks) Close() error {
	return errors.Join(d.in.Close(), d.out.Close())
}

// alive reports whether the device still exists: a link outlives it, without
// an interface.
func (d deviceLinks) alive() bool {
	info, err := d.in.Info()
	if err != nil {
		return false
	}
	tcx := info.TCX()
	return tcx != nil && tcx.Ifindex != 0
}

// SetInventory makes exactly these namespaces and devices the watched ones.
// With TCX the programs are attached to every device that is not loopback, in
// its own namespace, ahead of the programs of others. A namespace or device
// that vanishes meanwhile is no error, nor is a device that takes no program while
// others do: Blind and Stats tell of it, and the next call tries again. On an error
// the rest is still watched.
func (p *Probe) SetInventory(inv tracer.Inventory) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	p.inventory = inv
	return errors.Join(p.setNetNS(inv.NetNS), p.watchDevices(inv))
}

// watchDevices attaches to the devices of the inventory that the budget's level
// leaves, and detaches from all others.
func (p *Probe) watchDevices(inv tracer.Inventory) error {
	if p.tier != TierTCX || p.config.DropsOnly {
		return nil
	}
	var errs []error
	wanted := map[tracer.DeviceKey]tracer.Device{}
	for _, d := range inv.Devices {
		if d.Role != tracer.RoleLoopback && d.Kind != "loopback" && d.Name != "lo" && p.watches(&d) {
			wanted[d.DeviceKey] = d
		}
	}
	if p.tooMany(len(wanted)) {
		err := p.preferTaps()
		if err == nil {
			p.log.Info("many devices, using tracepoints", "devices", len(wanted))
			return nil
		}
		p.log.Warn("many devices and no tracepoints, attaching takes long", "devices", len(wanted), "error", err)
	}
	for key, links := range p.devices {
		if _, ok := wanted[key]; ok && links.alive() {
			continue
		}
		if err := links.Close(); err != nil {
			errs = append(errs, fmt.Errorf("detach from device %d in netns %d: %w", key.IfIndex, key.NetNS, err))
		}
		delete(p.devices, key)
	}
	missing := map[uint32][]tracer.Device{}
	for key, d := range wanted {
		if _, ok := p.devices[key]; !ok {
			missing[key.NetNS] = append(missing[key.NetNS], d)
		}
	}
	entered, refused := p.attachMissing(inv.NetNS, missing)
	errs = append(errs, entered)
	if len(p.devices) == 0 {
		errs = append(errs, refused)
	}
	return errors.Join(errs...)
}

// attachMissing attaches where it can. It returns which namespaces could not be
// entered, and which devices took no program.
func (p *Probe) attachMissing(list []tracer.NetNS, missing map[uint32][]tracer.Device) (entered, refused error) {
	before := p.unwatched
	p.unwatched = map[tracer.DeviceKey]unwatched{}
	var closed, errs []error
	for _, ns := range list {
		if devices := missing[ns.Inode]; len(devices) > 0 {
			closed = append(closed, p.attachIn(ns, devices))
		}
	}
	for key, u := range p.unwatched {
		err := fmt.Errorf("attach to %s in netns %d: %w", u.name, key.NetNS, u.err)
		errs = append(errs, err)
		if _, known := before[key]; !known {
			p.log.Warn("a device is not watched", "error", err)
		}
	}
	return errors.Join(closed...), errors.Join(errs...)
}

// tooMany decides once, with the first devices: later the few that appear at a
// time are quickly attached.
func (p *Probe) tooMany(devices int) bool {
	if p.settled || devices == 0 {
		return false
	}
	p.settled = true
	return p.config.Tier == TierAuto && devices > orDefault(p.config.MaxTCXDevices, 20)
}

// setNetNS keeps the table of the node's namespaces.
func (p *Probe) setNetNS(list []tracer.NetNS) error {
	table := p.coll.Maps[bpf.TraceMapNetns]
	next := make(map[uint32]struct{}, len(list))
	for _, ns := range list {
		next[ns.Inode] = struct{}{}
		if _, ok := p.netns[ns.Inode]; ok {
			continue
		}
		if err := table.Put(ns.Inode, uint32(1)); err != nil {
			return fmt.Errorf("watch netns %d: %w", ns.Inode, err)
		}
		p.netns[ns.Inode] = struct{}{}
	}
	forgotten := false
	for inode := range p.netns {
		if _, ok := next[inode]; ok {
			continue
		}
		if err := table.Delete(inode); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget netns %d: %w", inode, err)
		}
		delete(p.netns, inode)
		forgotten = true
	}
	if forgotten {
		return p.nextEpochLocked()
	}
	return nil
}

// unwatched is a device that took no program.
type unwatched struct {
	name string
	err  error
}

// attachIn attaches to devices of one namespace.
func (p *Probe) attachIn(ns tracer.NetNS, devices []tracer.Device) error {
	err := inNetNS(ns, func() {
		for _, d := range devices {
			links, err := p.attachDevice(d)
			switch {
			case err == nil:
				p.devices[d.DeviceKey] = links
			case vanished(err):
				p.log.Debug("device vanished", "device", d.Name, "netns", ns.Inode)
			default:
				p.unwatched[d.DeviceKey] = unwatched{d.Name, err}
			}
		}
	})
	if err == nil || vanished(err) {
		return nil
	}
	return fmt.Errorf("enter netns %d: %w", ns.Inode, err)
}

// attachDevice runs in the device's namespace.
func (p *Probe) attachDevice(d tracer.Device) (deviceLinks, error) {
	in, err := p.attachTCX(d, bpf.TraceProgTcxIngress, ebpf.AttachTCXIngress)
	if err != nil {
		return deviceLinks{}, err
	}
	out, err := p.attachTCX(d, bpf.TraceProgTcxEgress, ebpf.AttachTCXEgress)
	if err != nil {
		return deviceLinks{}, errors.Join(err, in.Close())
	}
	return deviceLinks{in: in, out: out}, nil
}

// attachTCX goes first, so that the packet is seen before another program may
// drop, redirect or rewrite it.
func (p *Probe) attachTCX(d tracer.Device, program string, at ebpf.AttachType) (link.Link, error) {
	return link.AttachTCX(link.TCXOptions{
		Interface: int(d.IfIndex),
		Program:   p.coll.Programs[program],
		Attach:    at,
		Anchor:    link.Head(),
	})
}

// errGone means that a path leads to another namespace than it did.
var errGone = errors.New("namespace is gone")

func vanished(err error) bool {
	return errors.Is(err, errGone) || errors.Is(err, os.ErrNotExist) ||
		errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH)
}

// openNetNS opens a path of procfs or a mount. A process that ends between the
// look-up of its directory and that of its namespace gives EACCES
// (proc_ns_get_link in fs/proc/namespaces.c), which a second look tells from a
// refusal.
func openNetNS(path string) (fd int, err error) {
	fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// inNetNS runs f inside the namespace, if it is still the one that was meant.
func inNetNS(ns tracer.NetNS, f func()) error {
	path := ns.Path
	if path == "" && ns.Host {
		path = "/proc/thread-self/ns/net"
	}
	fd, err := openNetNS(path)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	if inode, err := netns.Inode(fd); err != nil || inode != ns.Inode {
		return errors.Join(errGone, err)
	}
	return netns.Do(fd, func() error { f(); return nil })
}
