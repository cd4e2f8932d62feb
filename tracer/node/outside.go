package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	mdl "github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nlenc"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

// Without CAP_SYS_ADMIN no namespace is entered. The kernel then still tells the
// node's namespace which devices and addresses those have that are joined to it,
// to who has CAP_NET_ADMIN there (rtnl_get_net_ns_capable, 4.20), and nothing else.

// errOutside: what is asked for is only told inside of the namespace.
var errOutside = fmt.Errorf("not known from outside: %w", netns.ErrForbidden)

// peek is a view from outside. It takes over f.
func peek(f *os.File, inode uint32) (*view, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open rtnetlink: %w", err), f.Close())
	}
	defer h.Close()
	id, err := h.GetNetNsIdByFd(int(f.Fd()))
	if err != nil || id < 0 {
		return nil, errors.Join(fmt.Errorf("no device of the node leads to netns %d, and %w", inode, netns.ErrForbidden), f.Close())
	}
	return &view{inode: inode, path: f.Name(), file: f, outside: true, id: id, complete: true}, nil
}

// linksOf dumps the devices of the namespace that has this id in the calling
// thread's.
func linksOf(id int) ([]netlink.Link, error) {
	var out []netlink.Link
	err := dumpOf(unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg), unix.IFLA_TARGET_NETNSID, id, func(m []byte) error {
		l, err := netlink.LinkDeserialize(nil, m)
		if err == nil {
			out = append(out, l)
		}
		return err
	})
	return out, err
}

// Attributes of struct ifaddrmsg (linux/if_addr.h).
const (
	ifaAddress       = 1
	ifaLocal         = 2
	ifaTargetNetNSID = 10
)

// addrsOf dumps the addresses there, by device.
func addrsOf(id int) (map[int][]netip.Prefix, error) {
	out := map[int][]netip.Prefix{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		head := make([]byte, unix.SizeofIfAddrmsg)
		head[0] = family
		err := dumpOf(unix.RTM_GETADDR, head, ifaTargetNetNSID, id, func(m []byte) error {
			index, p, err := parseAddr(m)
			if err == nil && p.IsValid() {
				out[index] = append(out[index], p)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// parseAddr decodes struct ifaddrmsg and its attributes.
func parseAddr(m []byte) (index int, p netip.Prefix, err error) {
	if len(m) < unix.SizeofIfAddrmsg {
		return 0, p, errors.New("address message is cut off")
	}
	attrs, err := parseAttrs(m[unix.SizeofIfAddrmsg:])
	if err != nil {
		return 0, p, err
	}
	var local, address netip.Addr
	for _, a := range attrs {
		switch a.typ {
		case ifaLocal:
			local, _ = netip.AddrFromSlice(a.value)
		case ifaAddress:
			address, _ = netip.AddrFromSlice(a.value)
		}
	}
	if !local.IsValid() { // IPv6; on point-to-point devices the other is the peer's
		local = address
	}
	return int(nlenc.Uint32(m[4:8])), netip.PrefixFrom(local, int(m[1])), nil
}

// dumpOf asks for a dump of another namespace. Only strict checking makes the
// kernel look at the attribute in every kind of dump.
func dumpOf(typ uint16, head []byte, attr uint16, id int, each func([]byte) error) error {
	c, err := mdl.Dial(unix.NETLINK_ROUTE, &mdl.Config{Strict: true})
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer c.Close()
	b, err := mdl.MarshalAttributes([]mdl.Attribute{{Type: attr, Data: nlenc.Uint32Bytes(uint32(id))}})
	if err != nil {
		return err
	}
	msgs, err := c.Execute(mdl.Message{Header: mdl.Header{Type: mdl.HeaderType(typ), Flags: mdl.Request | mdl.Dump}, Data: append(head, b...)})
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if err := each(m.Data); err != nil {
			return err
		}
	}
	return nil
}

// readOutside reads devices and addresses of a namespace that is not entered.
func (v *view) readOutside() (err error) {
	if v.links, err = linksOf(v.id); err != nil {
		return fmt.Errorf("list links of netns %d: %w", v.inode, err)
	}
	if v.addrs, err = addrsOf(v.id); err != nil {
		return fmt.Errorf("list addresses of netns %d: %w", v.inode, err)
	}
	return nil
}

// idOf is the id that this namespace has for another, -1 if none or not known.
func (v *view) idOf(fd uintptr) int {
	if v.outside {
		return -1
	}
	id, err := v.h.GetNetNsIdByFd(int(fd))
	if err != nil {
		return -1
	}
	return id
}

// Blind says what of this node's namespaces cannot be read, as of the last
// inventory.
func (n *Node) Blind() []tracer.Blind {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []tracer.Blind
	if n.confined {
		out = append(out, tracer.Blind{
			What:   "the inside of pods' network namespaces (CAP_SYS_ADMIN is missing)",
			Effect: "their routes, neighbours, sockets, counters, settings, programs and rules are not known",
		})
	}
	if n.unknown > 0 {
		out = append(out, tracer.Blind{
			What:   fmt.Sprintf("%d devices of the node lead to network namespaces that cannot be found (is CAP_SYS_PTRACE missing?)", n.unknown),
			Effect: "pods behind them are not known as such, and not watched inside",
		})
	}
	return out
}

// lead counts the devices of the node whose other end is in a namespace that
// was not read.
func (h *hostView) lead() int {
	n := 0
	for _, l := range h.v.links {
		a := l.Attrs()
		if _, known := h.vethPeer[a.Index]; !known && l.Type() == "veth" && a.NetNsID >= 0 {
			n++
		}
	}
	return n
}

// open opens a namespace for reading, without reading yet. Requests on it end
// with ctx.
func (n *Node) open(ctx context.Context, inode uint32) (*view, error) {
	f, err := n.OpenNetNS(inode)
	if err != nil {
		return nil, err
	}
	v, err := enter(ctx, f, inode)
	if errors.Is(err, netns.ErrForbidden) {
		return peek(f, inode)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return v, nil
}
