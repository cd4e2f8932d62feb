package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// conntrackFaults rest on what conntrack remembers, or does not accept.
func conntrackFaults() []Fault {
	f := func(code, name, title, desc string, protocols []string, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "kube-proxy", Code: code, Protocols: protocols, Visible: silence, arrange: arrange}
	}
	udp, tcp := []string{"udp"}, []string{"tcp"}
	return []Fault{
		f("svc-stale-udp-conntrack", "stale-udp-conntrack", "a UDP client is pinned to a pod that is gone",
			"The Service's rules are right; the client's conntrack entry still translates to a pod that is gone.", udp, arrangePinned),
		f("svc-stale-udp-conntrack", "dns-stale-conntrack", "a resolver is pinned to a DNS pod that is gone",
			"The client asks the cluster's DNS from one port; its conntrack entry still translates to a DNS pod that is gone.", udp, arrangePinnedDNS),
		f("svc-udp-ct-before-rules", "udp-before-rules", "a UDP client was earlier than the rules",
			"The client sent before the Service had rules, and its conntrack entry keeps its packets untranslated.", udp, inIPTables(arrangeEarly)),
		f("svc-conntrack-invalid-rst", "reply-invalid", "answers out of the window",
			"Something changes the sequence numbers of the answers: conntrack calls them invalid and does not translate them back.", tcp, arrangeInvalid),
		f("svc-invalid-drop-window", "invalid-drop", "kube-proxy drops invalid answers",
			"Something changes the sequence numbers of the answers, and kube-proxy's rule drops what conntrack calls invalid.", tcp, inIPTables(arrangeInvalidDrop)),
		f("svc-invalid-drop-asymmetric", "invalid-drop-one-way", "half of a connection passes the node",
			"A host outside sends to the other node's pod by way of this node, the answers go straight back, and kube-proxy's rule drops what conntrack calls invalid.", tcp, inIPTables(arrangeOneWay)),
	}
}

// firstFrom lets the client send one datagram from the scene's port, which
// leaves a conntrack entry behind.
func (l *Lab) firstFrom(ctx context.Context, s *scene) error {
	if s.dial.Kind == dialHTTP {
		s.dial.Kind = dialUDP
	}
	s.dial.Retries, s.dial.LocalPort, s.attempts = 3, l.p.altPort, 1
	early := s.dial
	early.Retries, early.Timeout = 0, 50*time.Millisecond
	_, err := s.from.call(ctx, request{Dial: &early})
	return err
}

// arrangePinned lets the client talk to an endpoint that then goes away. While
// it lives, it is a second address of another pod.
func arrangePinned(ctx context.Context, l *Lab) (*scene, error) {
	return l.pinned(ctx, l.toService(), l.api(), l.server(1).space)
}

func arrangePinnedDNS(ctx context.Context, l *Lab) (*scene, error) {
	return l.pinned(ctx, l.toDNS(), l.dnsService(), l.dnsPod().space)
}

func (l *Lab) pinned(ctx context.Context, s *scene, x *service, host *space) (*scene, error) {
	four, six := nth(l.p.pods4, 230), nth(l.p.pods6, 230)
	before := len(l.undo)
	if err := errors.Join(l.lend(host, "eth0", prefixed(four, l.p.pods4)), l.lend(host, "eth0", prefixed(six, l.p.pods6))); err != nil {
		return nil, err
	}
	x.stale = []netip.Addr{four, six}
	if err := l.syncProxy(); err != nil {
		return nil, err
	}
	s.blames("Service", x.ns, x.name).shows(Timeout)
	if err := l.firstFrom(ctx, s); err != nil {
		return nil, err
	}
	x.stale = nil
	return s, errors.Join(l.syncProxy(), l.takeBack(before), l.forgetNeighbours(four, six))
}

// takeBack undoes now what was changed since there were so many changes.
func (l *Lab) takeBack(since int) error {
	var errs []error
	for _, f := range slices.Backward(l.undo[since:]) {
		errs = append(errs, f())
	}
	l.undo = l.undo[:since]
	return errors.Join(errs...)
}

// forgetNeighbours removes what the node knows of addresses on its bridge.
func (l *Lab) forgetNeighbours(gone ...netip.Addr) error {
	bridge, err := l.node.nl.LinkByName(l.p.bridge)
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	known, err := l.node.nl.NeighList(bridge.Attrs().Index, 0)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	var errs []error
	for i := range known {
		if a, _ := netip.AddrFromSlice(known[i].IP); slices.Contains(gone, a.Unmap()) {
			errs = append(errs, l.node.nl.NeighDel(&known[i]))
		}
	}
	return errors.Join(errs...)
}

func arrangeEarly(ctx context.Context, l *Lab) (*scene, error) {
	l.api().unwritten = true
	if err := l.syncProxy(); err != nil {
		return nil, err
	}
	s := l.blamesService(l.toService()).shows(Timeout)
	if err := l.firstFrom(ctx, s); err != nil {
		return nil, err
	}
	l.api().unwritten = false
	return s, l.syncProxy()
}

// farAway moves the sequence number of a segment by half of the number space,
// and mends the checksum.
func farAway() exprs {
	const offset, size = 4, 4
	return exprs{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: size, Mask: []byte{0xff, 0xff, 0xff, 0xff}, Xor: []byte{0x80, 0, 0, 0}},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: size,
			CsumType: expr.CsumTypeInet, CsumOffset: 16,
		},
	}
}

// pushed matches segments with the flag PSH: those with an answer's data.
func pushed() exprs {
	return exprs{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{8}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: []byte{0}},
	}
}

// renumber changes the answers' sequence numbers before conntrack sees them.
func (l *Lab) renumber() error {
	return l.addTable(nftables.TableFamilyINet, l.p.guard, func(t *table) {
		pre := t.filter("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
		t.rule(pre, "", sport("tcp", l.p.podPort), pushed(), farAway())
	})
}

func arrangeInvalid(_ context.Context, l *Lab) (*scene, error) {
	return l.blamesNode(l.toServiceTCP()).shows(NoData, Reset), l.renumber()
}

func arrangeInvalidDrop(_ context.Context, l *Lab) (*scene, error) {
	if err := l.sync(l.syncProxy, func() { with(l, &l.rules.dropInvalid, true) }); err != nil {
		return nil, err
	}
	return l.toServiceTCP().blames("FirewallRule", "", l.family()+" filter KUBE-FORWARD").shows(NoData), l.renumber()
}

// oneWay has the outside send what is for the other node's pod by way of this
// node; the other node answers straight. It stays. The node would tell the sender of
// the shorter way, which many CNIs keep it from.
func (l *Lab) oneWay() (*scene, error) {
	p, far := l.p, l.far()
	via, err := l.ext.routes(p.peerPods4, p.peerPods6, p.node4, p.node6, outerLink)
	if err != nil {
		return nil, err
	}
	for _, r := range via {
		if err := l.ext.nl.RouteReplace(r); err != nil {
			return nil, fmt.Errorf("route the other node's pods by the first node: %w", err)
		}
	}
	off := [][2]string{{"net/ipv4/conf/all/send_redirects", "0"}, {"net/ipv4/conf/" + uplink + "/send_redirects", "0"}}
	from, to := l.pick(p.gw4, p.gw6), addrPort(far.ip(l.opts.IPv6), p.farPort)
	s := l.between(l.ext, from.String(), to, to.String())
	s.dial.Kind, s.dial.Retries, s.dial.Local = dialHTTP, 0, from
	return s, l.node.sysctls(l.ctx, off)
}

func arrangeOneWay(_ context.Context, l *Lab) (*scene, error) {
	s, err := l.oneWay()
	if err != nil {
		return nil, err
	}
	return s.blames("FirewallRule", "", l.family()+" filter KUBE-FORWARD").shows(NoData), l.sync(l.syncProxy, func() { with(l, &l.rules.dropInvalid, true) })
}
