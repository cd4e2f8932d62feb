package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// atOutside adds a table to the outside for the time of the fault.
func (l *Lab) atOutside(fam nftables.TableFamily, name string, fill func(*table)) error {
	return l.do(
		func() error { return l.ext.write(func(r *ruleset) { fill(r.replace(fam, name)) }) },
		func() error { return l.ext.write(func(r *ruleset) { r.remove(fam, name) }) },
	)
}

func arrangeExcluded(_ context.Context, l *Lab) (*scene, error) {
	return l.blamesNode(l.toInternet()).shows(Timeout), l.sync(l.syncMasquerade, func() {
		with(l, &l.rules.notMasqueraded4, netip.PrefixFrom(l.p.host4, 24).Masked())
		with(l, &l.rules.notMasqueraded6, netip.PrefixFrom(l.p.host6, 64).Masked())
	})
}

// arrangeWrongUplink gives the node a second uplink that leads to the host, and
// a masquerade with the address of the first.
func arrangeWrongUplink(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	near4, far4, near6, far6 := nth(p.side4, 11), nth(p.side4, 1), nth(p.side6, 11), nth(p.side6, 1)
	err := errors.Join(
		l.addWire(sideWire),
		l.plug(sideWire, l.ext, outerSide, prefixed(far4, p.side4), prefixed(far6, p.side6)),
		l.plug(sideWire, l.node, sideLink, prefixed(near4, p.side4), prefixed(near6, p.side6)),
	)
	if err != nil {
		return nil, err
	}
	there, err := l.node.routes(host(p.host4), host(p.host6), far4, far6, sideLink)
	if err != nil {
		return nil, err
	}
	return l.blamesNode(l.toInternet()).shows(Timeout), errors.Join(
		l.reroute(l.node, nil, there),
		l.sync(l.syncMasquerade, func() { with(l, &l.rules.fixedSource, true) }),
		l.atOutside(nftables.TableFamilyINet, "strict", func(t *table) {
			pre := t.filter("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
			side := meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, ifname(outerSide))
			t.rule(pre, "", side, l4(l.opts.Protocol), t.not(saddr, p.side4), drop())
			t.rule(pre, "", side, l4(l.opts.Protocol), t.not(saddr, p.side6), drop())
		}),
	)
}

func arrangeRemoteReset(ctx context.Context, l *Lab) (*scene, error) {
	p := l.p
	for _, a := range []netip.Addr{p.host4, p.host6} {
		h, err := l.ext.listen(ctx, listenArgs{Kind: serveReset, Addr: addrPort(a, p.offPort)})
		if err != nil {
			return nil, err
		}
		l.undo = append(l.undo, func() error {
			_, err := l.ext.call(l.ctx, request{Close: h})
			return errors.Join(err, l.serveApp(l.ctx, l.ext, p.offPort, a))
		})
	}
	s := l.toHost(p.host4, p.host6, p.offPort).blames("ExternalHost", "", l.pick(p.host4, p.host6).String()).shows(Reset)
	s.dial.Kind, s.dial.Retries = dialHTTP, 0
	return s, nil
}

// longer matches packets of more than so many bytes from the IP header on.
func longer(than uint32) exprs {
	return exprs{
		&expr.Meta{Key: expr.MetaKeyLEN, Register: reg},
		&expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: reg, Data: binary.BigEndian.AppendUint32(nil, than)},
	}
}

func arrangeFabricMTU(_ context.Context, l *Lab) (*scene, error) {
	s := l.toInternet().shows(NoData)
	s.dial.Kind, s.dial.Retries, s.dial.Body, s.attempts = dialHTTP, 0, 64<<10, 3
	return s, l.atOutside(nftables.TableFamilyINet, "fabric", func(t *table) {
		pre := t.filter("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
		t.rule(pre, "", l4("tcp"), longer(1300), drop())
	})
}

// arrangeFragments lets the outside send first fragments only. Who waits for the
// rest waits 30 s by default; here 1 s, as under pressure.
func arrangeFragments(_ context.Context, l *Lab) (*scene, error) {
	s := l.toInternet().shows(Timeout)
	s.dial.Kind, s.dial.Retries, s.dial.Body = dialUDP, 3, 3000
	return s, errors.Join(
		l.set(l.node, "net/ipv4/ipfrag_time", "1"),
		l.atOutside(nftables.TableFamilyNetdev, "fabric", func(t *table) {
			prio, pol := *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept
			out := t.r.conn.AddChain(&nftables.Chain{
				Table: t.t, Name: "egress", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookEgress, Priority: &prio, Policy: &pol, Device: outerLink,
			})
			t.rule(out, "", meta(expr.MetaKeyPROTOCOL, expr.CmpOpEq, be16(0x0800)), fragmentOffset(), drop())
		}),
	)
}

// fragmentOffset matches all fragments but the first.
func fragmentOffset() exprs {
	return exprs{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 2, Mask: []byte{0x1f, 0xff}, Xor: []byte{0, 0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: []byte{0, 0}},
	}
}

// arrangeOverlap gives the node a bridge of containers whose range the host
// outside lies in.
func arrangeOverlap(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	four, six := netip.PrefixFrom(nth(netip.PrefixFrom(p.host4, 24).Masked(), 1), 24), netip.PrefixFrom(nth(netip.PrefixFrom(p.host6, 64).Masked(), 1), 64)
	err := l.do(func() error {
		if err := l.node.addBridge("docker0"); err != nil {
			return err
		}
		return l.node.up("docker0", four, six)
	}, func() error { return l.node.delLink("docker0") })
	dst := four.Masked()
	if l.opts.IPv6 {
		dst = six.Masked()
	}
	if err != nil {
		return nil, fmt.Errorf("add docker0: %w", err)
	}
	return l.toInternet().blames("Route", "", "unicast "+dst.String()).showsTCP(HostUnreachable), nil
}
