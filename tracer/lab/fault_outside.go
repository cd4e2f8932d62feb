package lab

import (
	"context"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// outsideFaults differ in which of several destinations outside answer: all that a
// node sees is who is silent.
func outsideFaults() []Fault {
	f := func(component, code, name, title, desc string, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: []string{"tcp"}, Visible: silence, arrange: arrange}
	}
	return []Fault{
		f("egress", "egr-no-nat-gateway", "no-way-out", "no way out to the internet", "The network passes nothing on to the internet, for a pod and for the node itself; a private host behind the same gateway answers.", arrangeNoWayOut),
		f("egress", "egr-no-nat-gateway", "no-way-out-one-client", "no way out, and one client asks", "The network passes nothing on to the internet; one pod is all that asks, and a private host behind the same gateway answers it.", arrangeNoWayOutOfOne),
		f("external", "beyond-node", "one-of-many-outside-silent", "one host outside of several is silent", "A firewall drops what goes to one host outside; others answer.", arrangeOneOutsideSilent),
		f("external", "beyond-node", "one-port-outside-filtered", "one port is filtered on the way out", "A firewall drops one port, whichever host it is for; on another port they answer.", arrangePortFiltered),
		control("healthy-many-outside", "several hosts outside", "A pod reaches several hosts outside, and a private one behind the same gateway.", []string{"tcp"},
			func(ctx context.Context, l *Lab) (*scene, error) { return l.toMany(ctx) }),
	}
}

// toMany goes to a private host behind the gateway, and to hosts of three networks
// on two ports. They stay when the fault is undone.
func (l *Lab) toMany(ctx context.Context) (*scene, error) {
	p := l.p
	if !l.many {
		err := l.ext.up("lo", host(p.web4[0]), host(p.web4[1]), host(p.web6[0]), host(p.web6[1]), host(p.office4), host(p.office6))
		if err != nil {
			return nil, err
		}
		if err := l.serveApp(ctx, l.ext, p.hostPort, p.web4[0], p.web4[1], p.web6[0], p.web6[1]); err != nil {
			return nil, err
		}
		if err := l.serveApp(ctx, l.ext, p.altPort, p.host4, p.host6, p.web4[0], p.web6[0], p.office4, p.office6); err != nil {
			return nil, err
		}
		l.many = true
	}
	s := l.toInternet()
	s.dial.Kind, s.dial.Retries = dialHTTP, 0
	s.To = "internet"
	s.round = []netip.AddrPort{l.at(p.office4, p.office6, p.altPort), l.at(p.host4, p.host6, p.hostPort), l.at(p.web4[0], p.web6[0], p.altPort), l.at(p.web4[1], p.web6[1], p.hostPort)}
	s.attempts = len(s.round)
	return s, nil
}

func (l *Lab) at(v4, v6 netip.Addr, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(l.pick(v4, v6), port)
}

// manyInVain is toMany where only a part is answered, the private host first.
func (l *Lab) manyInVain(ctx context.Context) (*scene, error) {
	s, err := l.toMany(ctx)
	if err != nil {
		return nil, err
	}
	s.Prelude = true
	return s.shows(OK, Timeout), nil
}

// filterOut has a firewall outside drop TCP connections, but for those to the
// private host.
func (l *Lab) filterOut(match func(t *table) exprs) error {
	return l.atOutside(nftables.TableFamilyINet, "fabric", func(t *table) {
		pre := t.filter("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
		t.rule(pre, "", t.is(daddr, host(l.p.office4)), accept())
		t.rule(pre, "", t.is(daddr, host(l.p.office6)), accept())
		t.rule(pre, "", meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, ifname(outerLink)), l4("tcp"), match(t), drop())
	})
}

// arrangeNoWayOut: the node has connections of its own, to the same hosts.
func arrangeNoWayOut(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeNoWayOutOfOne(ctx, l)
	if err != nil {
		return nil, err
	}
	s.From, s.beside = "any", []*space{l.node}
	return s, nil
}

func arrangeNoWayOutOfOne(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.manyInVain(ctx)
	if err != nil {
		return nil, err
	}
	s.blames("Gateway", "", l.pick(l.p.gw4, l.p.gw6).String())
	return s, l.filterOut(func(*table) exprs { return nil })
}

func arrangeOneOutsideSilent(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.manyInVain(ctx)
	if err != nil {
		return nil, err
	}
	return s, l.filterOut(func(t *table) exprs { return t.is(daddr, host(l.pick(l.p.web4[1], l.p.web6[1]))) })
}

// arrangePortFiltered: the other port is answered by the first host and by one more.
func arrangePortFiltered(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.manyInVain(ctx)
	if err != nil {
		return nil, err
	}
	p := l.p
	s.round = append(s.round, l.at(p.web4[0], p.web6[0], p.hostPort), l.at(p.host4, p.host6, p.altPort))
	s.attempts = len(s.round)
	return s, l.filterOut(func(*table) exprs { return dport("tcp", p.hostPort) })
}
