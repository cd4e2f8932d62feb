package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// filterFaults are tc filters that are no programs. Each stands behind one for another
// port, which must not be blamed.
func filterFaults() []Fault {
	f := func(name, title, desc string, visible time.Duration, arrange func(context.Context, *Lab) (*scene, error)) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "node", Code: "pol-foreign-bpf", Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	return []Fault{
		f("tc-filter-drop", "a tc filter copies and drops", "A u32 filter of a capture on the server pod's host veth copies what goes to the pod to an analyser, and drops it.", silence, arrangeFilterDrop),
		f("tc-redirect-down", "a tc filter leads to a device that is down", "A u32 filter on the client pod's host veth redirects what the pod sends to a device that is down.", silence, arrangeRedirectDown),
		control("healthy-tc-filter", "a tc filter for another port", "A u32 filter on the server pod's host veth drops what goes to another port; what goes to the Service passes.", bothProtocols, arrangeFilterElsewhere),
	}
}

const (
	analyser               = "ids0"
	elsewhere, here uint16 = 5, 10 // priorities
)

func arrangeFilterDrop(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	to, err := l.port(l.server(0))
	if err != nil {
		return nil, err
	}
	at := tcAt{to, netlink.HANDLE_MIN_EGRESS, "egress"}
	err = errors.Join(l.addAnalyser(true), l.addClsact(to),
		l.addU32(at, elsewhere, l.p.podPort+1, dropCopy), l.addU32(at, here, l.p.podPort, dropCopy))
	return l.toService().blames("TCFilter", "", at.name(here)).shows(Timeout), err
}

func arrangeRedirectDown(_ context.Context, l *Lab) (*scene, error) {
	from, err := l.port(l.client())
	if err != nil {
		return nil, err
	}
	at := tcAt{from, netlink.HANDLE_MIN_INGRESS, "ingress"}
	err = errors.Join(l.addAnalyser(false), l.addClsact(from),
		l.addU32(at, elsewhere, l.p.svcPort+1, redirectAll), l.addU32(at, here, l.p.svcPort, redirectAll))
	return l.toService().blames("TCFilter", "", at.name(here)).shows(Timeout), err
}

func arrangeFilterElsewhere(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	to, err := l.port(l.server(0))
	if err != nil {
		return nil, err
	}
	at := tcAt{to, netlink.HANDLE_MIN_EGRESS, "egress"}
	return l.toService(), errors.Join(l.addAnalyser(true), l.addClsact(to), l.addU32(at, elsewhere, l.p.podPort+1, dropCopy))
}

// tcAt is one side of a device of the node.
type tcAt struct {
	dev    netlink.Link
	parent uint32
	side   string
}

// name is that of a filter at this side, of which elsewhere's was made first: each
// priority of u32 has a table of its own, the first of which is 800.
func (a tcAt) name(prio uint16) string {
	return fmt.Sprintf("%s %s pref %d u32 handle 801::800", a.dev.Attrs().Name, a.side, prio)
}

// addAnalyser adds the device where copies go, which reads nothing.
func (l *Lab) addAnalyser(up bool) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = analyser, podMTU
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU = analyser+"p", podMTU
	return l.do(
		func() error {
			if err := l.node.nl.LinkAdd(veth); err != nil {
				return fmt.Errorf("add %s: %w", analyser, err)
			}
			if !up {
				return nil
			}
			return errors.Join(l.node.up(analyser), l.node.up(analyser+"p"))
		},
		func() error { return l.node.nl.LinkDel(veth) },
	)
}

func (l *Lab) addClsact(to netlink.Link) error {
	clsact := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: to.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	return l.do(func() error { return l.node.nl.QdiscAdd(clsact) }, func() error { return l.node.nl.QdiscDel(clsact) })
}

// dropCopy sends a copy to the analyser and drops the packet. Every kernel that has
// filters at all knows it, unlike "action drop" (act_gact).
func dropCopy(m *netlink.MirredAction) {
	m.MirredAction, m.Action = netlink.TCA_EGRESS_MIRROR, netlink.TC_ACT_SHOT
}

func redirectAll(m *netlink.MirredAction) {
	m.MirredAction, m.Action = netlink.TCA_EGRESS_REDIR, netlink.TC_ACT_STOLEN
}

// addU32 adds a filter for a destination port of the client's protocol. It goes with
// its clsact.
func (l *Lab) addU32(at tcAt, prio, port uint16, does func(*netlink.MirredAction)) error {
	into, err := l.node.nl.LinkByName(analyser)
	if err != nil {
		return fmt.Errorf("find %s: %w", analyser, err)
	}
	m := netlink.NewMirredAction(into.Attrs().Index)
	does(m)
	protocol, proto, ports := uint16(unix.ETH_P_IP), netlink.TcU32Key{Mask: 0xff << 16, Off: 8}, netlink.TcU32Key{Mask: 0xffff, Off: 20}
	if l.opts.IPv6 {
		protocol, proto, ports = unix.ETH_P_IPV6, netlink.TcU32Key{Mask: 0xff << 8, Off: 4}, netlink.TcU32Key{Mask: 0xffff, Off: 40}
	}
	proto.Val = proto.Mask / 0xff * unix.IPPROTO_TCP
	if l.opts.Protocol == "udp" {
		proto.Val = proto.Mask / 0xff * unix.IPPROTO_UDP
	}
	ports.Val = uint32(port)
	filter := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: at.dev.Attrs().Index, Parent: at.parent, Priority: prio, Protocol: protocol},
		Sel:         &netlink.TcU32Sel{Flags: netlink.TC_U32_TERMINAL, Nkeys: 2, Keys: []netlink.TcU32Key{proto, ports}},
		Actions:     []netlink.Action{m},
	}
	if err := l.node.nl.FilterAdd(filter); err != nil {
		return fmt.Errorf("add a filter to %s: %w", at.dev.Attrs().Name, err)
	}
	return nil
}
