package lab

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
)

const smallMTU = 1400

func sizeFaults() []Fault {
	return []Fault{
		{Name: "mtu-df", Title: "DF packets over the MTU", Description: "The pod's MTU is larger than the uplink's; datagrams with DF are too big, and the pod is told so.",
			Component: "cni", Code: "cni-mtu-pod-too-big", Protocols: []string{"udp"}, Visible: 2 * time.Second, arrange: arrangeDF},
		{Name: "mtu-blackhole", Title: "path MTU black hole", Description: "The pod's MTU is larger than the uplink's, and the node's firewall drops the ICMP that would tell the pod.",
			Component: "cni", Code: "cni-mtu-blackhole", Protocols: []string{"tcp"}, Visible: silence, arrange: arrangeMTUHole},
	}
}

// shrinkUplink lowers the MTU of the node's uplink.
func (l *Lab) shrinkUplink() error {
	link, err := l.node.nl.LinkByName(uplink)
	if err != nil {
		return err
	}
	return l.do(
		func() error { return l.node.nl.LinkSetMTU(link, smallMTU) },
		func() error { return l.node.nl.LinkSetMTU(link, podMTU) },
	)
}

// blamesClient: the MTU of the pod that sends is the one that is wrong.
func (l *Lab) blamesClient(s *scene) *scene {
	c := l.client()
	return s.blames("Pod", c.ns, c.name)
}

func arrangeDF(_ context.Context, l *Lab) (*scene, error) {
	s := l.blamesClient(l.toInternet()).shows(TooBig)
	s.dial.Kind, s.dial.Retries, s.dial.Body, s.dial.Probe = dialUDP, 3, smallMTU, true
	return s, l.shrinkUplink()
}

func arrangeMTUHole(_ context.Context, l *Lab) (*scene, error) {
	s := l.blamesClient(l.toInternet()).shows(NoData)
	s.dial.Kind, s.dial.Body, s.attempts = dialHTTP, 64<<10, 3
	return s, errors.Join(l.shrinkUplink(), l.addTable(nftables.TableFamilyINet, l.p.hostFW, func(t *table) {
		out := t.filter("output", nftables.ChainHookOutput, *nftables.ChainPriorityFilter)
		t.rule(out, "no icmp errors", icmpType(1, 3, 4), drop())
		t.rule(out, "no icmp errors", icmpType(58, 2, 0), drop())
	}))
}

// icmpType matches a protocol, type and code.
func icmpType(proto, typ, code byte) exprs {
	return append(meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{proto}),
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{typ, code}},
	)
}

func egressFaults() []Fault {
	egress := func(name, title, desc, code string, visible time.Duration, f func(context.Context, *Lab) (*scene, error)) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "egress", Code: code, Protocols: bothProtocols, Visible: visible, arrange: f}
	}
	silent := egress("external-silent", "external host is silent", "The host outside, or a firewall before it, does not answer.", "beyond-node", silence, arrangeSilent)
	refused := egress("external-refused", "external host refuses", "The host outside answers that nobody listens.", "egr-remote-refused", time.Second, arrangeRemoteRefused)
	silent.Component, refused.Component = "external", "external"
	return []Fault{
		egress("masquerade-missing", "no masquerade", "The node does not masquerade; pods' packets leave with an address that nobody outside can answer.", "egr-masq-missing", silence, arrangeNoMasquerade),
		egress("no-default-route", "node without default route", "The node has no default route.", "egr-no-default-route", silence, arrangeNoDefault),
		egress("gateway-dead", "the gateway is dead", "The node's default gateway does not answer ARP.", "egr-gateway-dead", silence, arrangeDeadGateway),
		egress("masquerade-excluded", "a range that is not masqueraded", "The node masquerades what goes outside, but not to the host's range.", "egr-masq-excluded", silence, arrangeExcluded),
		egress("masquerade-agent-excludes", "a range that the masquerade agent leaves out", "ip-masq-agent's list of what is not masqueraded covers the host's range.", "egr-masq-excluded", silence, arrangeMasqAgent),
		egress("wrong-uplink", "the wrong uplink for the source", "The node sends by its second uplink with the first one's address, and the network there drops it.", "egr-wrong-interface", silence, arrangeWrongUplink),
		silent, refused,
		{Name: "external-reset", Title: "external host resets", Description: "The host outside accepts, and resets after the first bytes.",
			Component: "external", Code: "egr-remote-reset", Protocols: []string{"tcp"}, Visible: time.Second, arrange: arrangeRemoteReset},
		{Name: "external-small-mtu", Title: "a smaller MTU beyond the node", Description: "Something outside drops large packets without a word.",
			Component: "external", Code: "ext-mtu-fabric", Protocols: []string{"tcp"}, Visible: silence, arrange: arrangeFabricMTU},
		{Name: "fragments-lost", Title: "fragments are lost", Description: "The outside drops all but the first fragments of large datagrams.",
			Component: "external", Code: "egr-frag-loss", Protocols: []string{"udp"}, Visible: silence, IPv4Only: true, arrange: arrangeFragments},
	}
}

func arrangeNoMasquerade(_ context.Context, l *Lab) (*scene, error) {
	return l.blamesNode(l.toInternet()).shows(Timeout), l.sync(l.syncMasquerade, func() { with(l, &l.rules.noMasquerade, true) })
}

// arrangeMasqAgent lets ip-masq-agent masquerade in place of the CNI, with its
// rules as iptables-nft writes them.
func arrangeMasqAgent(_ context.Context, l *Lab) (*scene, error) {
	const what = "ip-masq-agent: "
	s := l.blamesNode(l.toInternet()).shows(Timeout)
	if err := l.sync(l.syncMasquerade, func() { with(l, &l.rules.noMasquerade, true) }); err != nil {
		return nil, err
	}
	for six, fam := range families() {
		there := netip.PrefixFrom(l.p.host4, 24).Masked()
		if six {
			there = netip.PrefixFrom(l.p.host6, 64).Masked()
		}
		err := l.addTable(fam, "nat", func(t *table) {
			agent := t.chain("IP-MASQ-AGENT")
			post := t.nat("POSTROUTING", nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource)
			t.rule(post, what+"ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain", counter(), jump(agent))
			for _, near := range []netip.Prefix{l.podRange(six), l.svcRange(six), there} {
				t.rule(agent, what+"local traffic is not subject to MASQUERADE", t.is(daddr, near), counter(), ret())
			}
			t.rule(agent, what+"outbound traffic is subject to MASQUERADE (must be last in chain)", counter(), masquerade())
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (l *Lab) defaultRoutes(via4, via6 netip.Addr) ([]*netlink.Route, error) {
	return l.node.routes(netip.Prefix{}, netip.Prefix{}, via4, via6, uplink)
}

func arrangeNoDefault(_ context.Context, l *Lab) (*scene, error) {
	good, err := l.defaultRoutes(l.p.gw4, l.p.gw6)
	if err != nil {
		return nil, err
	}
	return l.blamesNode(l.toInternet()).rarely().showsTCP(NetUnreachable), l.reroute(l.node, good, nil)
}

func arrangeDeadGateway(_ context.Context, l *Lab) (*scene, error) {
	good, err := l.defaultRoutes(l.p.gw4, l.p.gw6)
	if err != nil {
		return nil, err
	}
	bad, err := l.defaultRoutes(l.p.dead4, l.p.dead6)
	if err != nil {
		return nil, err
	}
	return l.toInternet().blames("Gateway", "", l.pick(l.p.dead4, l.p.dead6).String()).showsTCP(HostUnreachable), l.reroute(l.node, good, bad)
}

func arrangeSilent(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	err := l.do(func() error {
		return l.ext.write(func(r *ruleset) {
			t := r.replace(nftables.TableFamilyINet, "filter")
			in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
			t.rule(in, "", t.is(daddr, host(p.quiet4)), drop())
			t.rule(in, "", t.is(daddr, host(p.quiet6)), drop())
		})
	}, func() error {
		return l.ext.write(func(r *ruleset) { r.remove(nftables.TableFamilyINet, "filter") })
	})
	return l.toHost(p.quiet4, p.quiet6, p.hostPort).shows(Timeout), err
}

func arrangeRemoteRefused(_ context.Context, l *Lab) (*scene, error) {
	// Nobody listens there until the fault is undone.
	l.undo = append(l.undo, func() error {
		return l.serveApp(l.ctx, l.ext, l.p.offPort, l.p.host4, l.p.host6)
	})
	far := l.pick(l.p.host4, l.p.host6).String()
	return l.toHost(l.p.host4, l.p.host6, l.p.offPort).blames("ExternalHost", "", far).shows(Refused), nil
}
