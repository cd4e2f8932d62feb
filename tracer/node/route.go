package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

// lookup asks the FIB of one namespace. iif is 0 for a packet made there.
func (v *view) lookup(k fibKey, iif int) (tracer.RouteFact, error) {
	f := tracer.RouteFact{NetNS: v.inode, Src: k.src, Dst: k.dst, IIF: k.iif, Mark: k.mark}
	opt := &netlink.RouteGetOptions{IifIndex: iif, Mark: k.mark, FIBMatch: true}
	if k.src.IsValid() {
		opt.SrcAddr = net.IP(k.src.AsSlice())
	}
	rs, err := v.h.RouteGetWithOptions(net.IP(k.dst.AsSlice()), opt)
	if err == nil && len(rs) > 0 {
		v.fill(&f, routeOf(rs[0]))
		opt.FIBMatch = false // the next hop, and with it what was learned about it
		if rs, err = v.h.RouteGetWithOptions(net.IP(k.dst.AsSlice()), opt); err == nil && len(rs) > 0 && rs[0].MTU != 0 {
			f.PathMTU = rs[0].MTU
		}
		return f, nil
	}
	errno := unix.Errno(0)
	if err != nil && !errors.As(err, &errno) {
		return f, fmt.Errorf("look up %s in netns %d: %w", k.dst, v.inode, err)
	}
	// The kernel's errno says neither which route nor whether there is one:
	// with an input device it also stands for "forwarding is off" and "wrong
	// reverse path". The tables say it.
	r, known, err := v.computed(k)
	if err != nil {
		return f, err
	}
	if !known {
		f.Type = typeOfErrno(errno)
		return f, nil
	}
	v.fill(&f, r)
	return f, nil
}

// typeOfErrno is the route type whose error the kernel reports (fib_props in
// net/ipv4/fib_semantics.c).
func typeOfErrno(e unix.Errno) string {
	switch e {
	case unix.EINVAL:
		return "blackhole"
	case unix.EHOSTUNREACH:
		return "unreachable"
	case unix.EACCES:
		return "prohibit"
	}
	return "none"
}

func (v *view) fill(f *tracer.RouteFact, r fibRoute) {
	f.Type, f.Via, f.OIF, f.PathMTU = r.typ, r.via, uint32(r.oif), r.mtu
	if r.dst.IsValid() {
		f.Prefix = r.dst.String()
		f.Table, f.Protocol = tableName(r.table), protocolName(r.protocol)
	} else if r.typ != "none" {
		f.Table = "rule"
	}
	if l := v.link(r.oif); l != nil {
		f.Dev, f.MTU = l.Attrs().Name, l.Attrs().MTU
	}
	for _, h := range r.hops {
		one := tracer.NextHop{OIF: uint32(h.oif), Via: h.via}
		if l := v.link(h.oif); l != nil {
			one.Dev = l.Attrs().Name
		}
		f.Hops = append(f.Hops, one)
	}
}

// computed evaluates the dumped rules and tables.
func (v *view) computed(k fibKey) (r fibRoute, known bool, err error) {
	family := netlink.FAMILY_V4
	if k.dst.Is6() {
		family = netlink.FAMILY_V6
	}
	rs, complete, err := v.routes(family)
	if err != nil {
		return r, false, fmt.Errorf("list routes in netns %d: %w", v.inode, err)
	}
	routes := make([]fibRoute, 0, len(rs))
	for _, x := range rs {
		one := routeOf(x)
		if !one.dst.IsValid() {
			one.dst = netip.PrefixFrom(zeroAddr(family), 0)
		}
		routes = append(routes, one)
	}
	var rules []fibRule
	err = netns.Do(int(v.file.Fd()), func() (err error) {
		rules, err = dumpRules(family)
		return err
	})
	if err != nil {
		return r, false, fmt.Errorf("list routing rules in netns %d: %w", v.inode, err)
	}
	r, known = fibLookup(rules, routes, k)
	return r, known && complete, nil
}

func zeroAddr(family int) netip.Addr {
	if family == netlink.FAMILY_V6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

func routeOf(r netlink.Route) fibRoute {
	p, ok := prefixOf(r.Dst)
	if !ok {
		family := r.Family
		if family == 0 && r.Gw != nil && r.Gw.To4() == nil {
			family = netlink.FAMILY_V6
		}
		p = netip.PrefixFrom(zeroAddr(family), 0)
	}
	out := fibRoute{dst: p, typ: typeName(r.Type), table: r.Table, protocol: int(r.Protocol), priority: r.Priority,
		oif: r.LinkIndex, via: viaOf(r.Gw, r.Via), mtu: r.MTU, dead: r.Flags&unix.RTNH_F_DEAD != 0}
	if len(r.MultiPath) > 0 {
		m := r.MultiPath[0]
		out.oif, out.via, out.dead = m.LinkIndex, viaOf(m.Gw, m.Via), allDead(r.MultiPath)
	}
	if len(r.MultiPath) > 1 {
		for _, m := range r.MultiPath {
			out.hops = append(out.hops, fibHop{m.LinkIndex, viaOf(m.Gw, m.Via)})
		}
	}
	return out
}

func allDead(hops []*netlink.NexthopInfo) bool {
	for _, h := range hops {
		if h.Flags&unix.RTNH_F_DEAD == 0 {
			return false
		}
	}
	return true
}

// viaOf is the gateway; an IPv4 route may have an IPv6 one (RTA_VIA, RFC 5549).
func viaOf(gw net.IP, via netlink.Destination) netip.Addr {
	if gw != nil {
		return addrOf(gw)
	}
	if v, ok := via.(*netlink.Via); ok && v != nil {
		return addrOf(v.Addr)
	}
	return netip.Addr{}
}

func typeName(t int) string {
	switch t {
	case unix.RTN_UNICAST:
		return "unicast"
	case unix.RTN_LOCAL:
		return "local"
	case unix.RTN_BROADCAST:
		return "broadcast"
	case unix.RTN_ANYCAST:
		return "anycast"
	case unix.RTN_MULTICAST:
		return "multicast"
	case unix.RTN_BLACKHOLE:
		return "blackhole"
	case unix.RTN_UNREACHABLE:
		return "unreachable"
	case unix.RTN_PROHIBIT:
		return "prohibit"
	case unix.RTN_THROW:
		return "throw"
	}
	return strconv.Itoa(t)
}

func tableName(t int) string {
	switch t {
	case unix.RT_TABLE_MAIN:
		return "main"
	case unix.RT_TABLE_LOCAL:
		return "local"
	case unix.RT_TABLE_DEFAULT:
		return "default"
	}
	return strconv.Itoa(t)
}

// protocolName follows iproute2's rt_protos.
func protocolName(p int) string {
	names := map[int]string{0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 8: "gated",
		9: "ra", 10: "mrt", 11: "zebra", 12: "bird", 13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp",
		18: "keepalived", 42: "babel", 84: "ovn", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp"}
	if s, ok := names[p]; ok {
		return s
	}
	return strconv.Itoa(p)
}

// dumpRules lists the routing rules of the calling thread's namespace. The
// netlink library does not decode a rule's action.
func dumpRules(family int) ([]fibRule, error) {
	msgs, _, err := dumped(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(family))
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
	})
	if err != nil {
		return nil, err
	}
	out := make([]fibRule, 0, len(msgs))
	for _, m := range msgs {
		r, err := parseRule(m)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

var errShort = errors.New("truncated netlink message")

// parseRule decodes struct fib_rule_hdr and its FRA_ attributes
// (linux/fib_rules.h).
func parseRule(m []byte) (fibRule, error) {
	const hdr = 12
	if len(m) < hdr {
		return fibRule{}, errShort
	}
	r := fibRule{table: int(m[4]), action: m[7], suppress: -1, opaque: m[3] != 0, invert: m[8]&unix.FIB_RULE_INVERT != 0}
	attrs, err := parseAttrs(m[hdr:])
	if err != nil {
		return fibRule{}, err
	}
	maskSet := false
	for _, a := range attrs {
		b := a.value
		u32 := func() uint32 {
			if len(b) < 4 {
				return 0
			}
			return nl.NativeEndian().Uint32(b)
		}
		ports := func() [2]uint16 {
			if len(b) < 4 {
				return [2]uint16{}
			}
			return [2]uint16{nl.NativeEndian().Uint16(b), nl.NativeEndian().Uint16(b[2:])}
		}
		switch a.typ {
		case unix.FRA_TABLE:
			r.table = int(u32())
		case unix.FRA_PRIORITY:
			r.priority = int(u32())
		case unix.FRA_GOTO:
			r.gotoPrio = int(u32())
		case unix.FRA_SRC:
			r.src = prefixBytes(b, int(m[2]))
		case unix.FRA_DST:
			r.dst = prefixBytes(b, int(m[1]))
		case unix.FRA_IIFNAME:
			r.iif = unix.ByteSliceToString(b)
		case unix.FRA_OIFNAME:
			r.oif = unix.ByteSliceToString(b)
		case unix.FRA_FWMARK:
			r.mark = u32()
		case unix.FRA_FWMASK:
			r.mask, maskSet = u32(), true
		case unix.FRA_SUPPRESS_PREFIXLEN:
			r.suppress = int(int32(u32()))
		case unix.FRA_IP_PROTO:
			if len(b) > 0 {
				r.proto = b[0]
			}
		case unix.FRA_SPORT_RANGE:
			r.sport = ports()
		case unix.FRA_DPORT_RANGE:
			r.dport = ports()
		case unix.FRA_UID_RANGE, unix.FRA_TUN_ID:
			r.opaque = true
		case unix.FRA_L3MDEV:
			r.opaque = r.opaque || len(b) > 0 && b[0] != 0
		case unix.FRA_SUPPRESS_IFGROUP:
			r.opaque = r.opaque || int32(u32()) >= 0
		}
	}
	if !maskSet && r.mark != 0 {
		r.mask = ^uint32(0)
	}
	return r, nil
}

func prefixBytes(b []byte, bits int) netip.Prefix {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, bits)
}
