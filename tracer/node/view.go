package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

// view is one namespace while it is being read. close it.
type view struct {
	inode uint32
	path  string
	file  *os.File
	h     *netlink.Handle // nil from outside
	// outside: the namespace may not be entered, and is the one that has this id
	// in the node's.
	outside  bool
	id       int
	links    []netlink.Link
	addrs    map[int][]netip.Prefix
	complete bool
}

// enter reads from inside; f is the view's if there is no error.
func enter(ctx context.Context, f *os.File, inode uint32) (*view, error) {
	var h *netlink.Handle
	err := netns.Do(int(f.Fd()), func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink in netns %d: %w", inode, err)
	}
	if d, ok := ctx.Deadline(); ok {
		// Zero would mean "no timeout".
		if err := h.SetSocketTimeout(max(time.Until(d), time.Millisecond)); err != nil {
			h.Close()
			return nil, fmt.Errorf("set netlink timeout: %w", err)
		}
	}
	return &view{inode: inode, path: f.Name(), file: f, h: h, complete: true}, nil
}

func (v *view) close() {
	if v.h != nil {
		v.h.Close()
	}
	_ = v.file.Close()
}

// readLinks reads devices and addresses.
func (v *view) readLinks() error {
	if v.outside {
		return v.readOutside()
	}
	links, ok, err := dumped(v.h.LinkList)
	if err != nil {
		return fmt.Errorf("list links in netns %d: %w", v.inode, err)
	}
	addrs, ok2, err := dumped(func() ([]netlink.Addr, error) { return v.h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list addresses in netns %d: %w", v.inode, err)
	}
	v.links, v.complete = links, v.complete && ok && ok2
	v.addrs = map[int][]netip.Prefix{}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok {
			v.addrs[a.LinkIndex] = append(v.addrs[a.LinkIndex], p)
		}
	}
	return nil
}

// routes dumps every table of one family.
func (v *view) routes(family int) ([]netlink.Route, bool, error) {
	if v.outside {
		return nil, false, errOutside
	}
	return dumped(func() ([]netlink.Route, error) {
		return v.h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
}

func (v *view) link(index int) netlink.Link {
	for _, l := range v.links {
		if l.Attrs().Index == index {
			return l
		}
	}
	return nil
}

// device is the plain description; role and peer are for the caller.
func (v *view) device(l netlink.Link) tracer.Device {
	a := l.Attrs()
	kind := l.Type()
	switch kind { // the library's words for "no kind" and for "tun"
	case "device":
		kind = ""
	case "tuntap":
		kind = "tun"
	}
	return tracer.Device{
		DeviceKey: tracer.DeviceKey{NetNS: v.inode, IfIndex: uint32(a.Index)},
		Name:      a.Name, Kind: kind, MTU: a.MTU, Master: uint32(a.MasterIndex),
		Up: a.RawFlags&unix.IFF_UP != 0, Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
		Addrs: v.addrs[a.Index], MAC: a.HardwareAddr.String(), Role: tracer.RoleOther,
	}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, bits := n.Mask.Size()
	if bits == 32 {
		a = a.Unmap()
	}
	if a.BitLen() != bits {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones), true
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
