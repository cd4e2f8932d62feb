package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// earlyFaults drop or divert packets beside the places where a firewall's rules
// are looked for first: before conntrack, at a bridge or a device, in a routing
// table that is not the main one.
func earlyFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, arrange: arrange}
	}
	return []Fault{
		f("node", "node-forward-drop", "raw-drop", "a rule before conntrack", "A firewall drops what pods send to the Service before conntrack sees it.", silence, arrangeRawDrop),
		f("node", "node-forward-drop", "bridge-drop", "a rule of the bridge", "A rule in nftables' bridge family drops what one pod of the node sends to another.", silence, arrangeBridgeDrop),
		f("node", "node-forward-drop", "device-drop", "a rule at a device", "A rule in nftables' netdev family drops what the client pod sends, at the node's end of its veth.", silence, arrangeDeviceDrop),
		f("node", "node-notrack", "untracked-service", "a rule keeps conntrack out", "A firewall exempts the pod range's traffic from conntrack, so that no Service's address is translated.", silence, arrangeUntracked),
		f("node", "node-notrack", "answers-in-another-zone", "a zone of conntrack for answers only", "A firewall puts what the endpoints answer into another zone of conntrack than what they are asked, so that the Service's address is not put back.", silence, arrangeZoned),
		f("cni", "cni-route-blackhole", "marked-blackhole", "a table for marked packets", "A VPN marks the pod's packets; a routing rule sends what is marked to a table that ends in a blackhole.", silence, arrangeMarkedHole),
		f("cni", "cni-route-blackhole", "source-blackhole", "a table for one source", "A routing rule sends what comes from the client pod to a table that ends in a blackhole.", silence, arrangeSourceHole),
		f("node", "node-input-blocked", "node-port-blocked", "the node's firewall and its own pods", "A pod asks for a port of its own node, and the node's firewall lets nobody in.", silence, arrangeNodePortBlocked),
	}
}

func arrangeRawDrop(_ context.Context, l *Lab) (*scene, error) {
	return l.toService().blamesRule(l.p.guard, "prerouting").shows(Timeout), errors.Join(l.allowPolicy(), l.addTable(nftables.TableFamilyINet, l.p.guard, func(t *table) {
		pre := t.filter("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
		t.rule(pre, "", dport(l.opts.Protocol, l.p.svcPort), drop())
	}))
}

// toServerPod goes to a server pod by its own address.
func (l *Lab) toServerPod() *scene {
	c, x := l.client(), l.server(0)
	return l.between(c.space, c.ref(), addrPort(x.ip(l.opts.IPv6), l.p.podPort), podRef(x, l.p.podPort))
}

func arrangeBridgeDrop(_ context.Context, l *Lab) (*scene, error) {
	s := l.toServerPod().blames("FirewallRule", "", "bridge "+l.p.guard+" forward").shows(Timeout)
	return s, l.addTable(nftables.TableFamilyBridge, l.p.guard, func(t *table) {
		fwd := t.filter("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter)
		t.rule(fwd, "", dport(l.opts.Protocol, l.p.podPort), drop())
	})
}

func arrangeDeviceDrop(_ context.Context, l *Lab) (*scene, error) {
	s := l.toService().blames("FirewallRule", "", "netdev "+l.p.guard+" ingress").shows(Timeout)
	return s, l.addTable(nftables.TableFamilyNetdev, l.p.guard, func(t *table) {
		prio, pol := *nftables.ChainPriorityFilter, nftables.ChainPolicyAccept
		in := t.r.conn.AddChain(&nftables.Chain{
			Table: t.t, Name: "ingress", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookIngress, Priority: &prio, Policy: &pol, Device: l.client().hostVeth,
		})
		t.rule(in, "", dport(l.opts.Protocol, l.p.svcPort), drop())
	})
}

func arrangeUntracked(_ context.Context, l *Lab) (*scene, error) {
	s := l.toService().blamesRule(l.p.guard, "prerouting").shows(NetUnreachable, Timeout)
	return s, l.addTable(nftables.TableFamilyINet, l.p.guard, func(t *table) {
		pre := t.filter("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
		for _, pods := range []netip.Prefix{l.p.cluster4, l.p.cluster6} {
			t.rule(pre, "no state for pods", t.is(saddr, pods), counter(), exprs{&expr.Notrack{}})
		}
	})
}

func arrangeZoned(_ context.Context, l *Lab) (*scene, error) {
	s := l.toService().blamesRule(l.p.guard, "prerouting").shows(Timeout)
	return s, l.addTable(nftables.TableFamilyINet, l.p.guard, func(t *table) {
		pre := t.filter("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
		t.rule(pre, "tenant", sport(l.opts.Protocol, l.p.podPort), counter(), ctZone(7))
	})
}

// strayTable is the routing table of a VPN that is not connected.
const strayTable = 52

// stray lets routing rules lead to a table that ends in a blackhole.
func (l *Lab) stray(rule func(six bool) *netlink.Rule) error {
	for _, six := range []bool{false, true} {
		r, all := rule(six), netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		r.Family, r.Table, r.Priority = unix.AF_INET, strayTable, 5270
		if six {
			r.Family, all = unix.AF_INET6, netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		hole := &netlink.Route{Dst: ipNet(all), Table: strayTable, Type: unix.RTN_BLACKHOLE, Protocol: unix.RTPROT_STATIC, Family: r.Family}
		err := errors.Join(
			l.do(func() error { return l.node.nl.RouteAdd(hole) }, func() error { return l.node.nl.RouteDel(hole) }),
			l.do(func() error { return l.node.nl.RuleAdd(r) }, func() error { return l.node.nl.RuleDel(r) }),
		)
		if err != nil {
			return fmt.Errorf("add routing rule: %w", err)
		}
	}
	return nil
}

// blamesHole names the blackhole of the stray table.
func (l *Lab) blamesHole(s *scene) *scene {
	all := "0.0.0.0/0"
	if l.opts.IPv6 {
		all = "::/0"
	}
	return s.blames("Route", "", "blackhole "+all).shows(Timeout)
}

// vpnMark is the bit by which a VPN tells its own packets.
const vpnMark = 0x80000

func arrangeMarkedHole(_ context.Context, l *Lab) (*scene, error) {
	bit := uint32(vpnMark)
	return l.blamesHole(l.toFarPod()), errors.Join(
		l.stray(func(bool) *netlink.Rule {
			r := netlink.NewRule()
			r.Mark, r.Mask = bit, &bit
			return r
		}),
		l.addTable(nftables.TableFamilyINet, "vpn", func(t *table) {
			pre := t.filter("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle)
			for _, a := range []netip.Addr{l.client().ip4, l.client().ip6} {
				t.rule(pre, "", t.is(saddr, host(a)), l4(l.opts.Protocol), changeMark(^bit, bit))
			}
		}),
	)
}

func arrangeSourceHole(_ context.Context, l *Lab) (*scene, error) {
	return l.blamesHole(l.toFarPod()), l.stray(func(six bool) *netlink.Rule {
		r := netlink.NewRule()
		r.Src = ipNet(host(l.client().ip(six)))
		return r
	})
}

// toNode goes from the client to a port of its own node, which is served.
func (l *Lab) toNode(ctx context.Context) (*scene, error) {
	c, at := l.client(), l.pick(l.p.node4, l.p.node6)
	to := addrPort(at, l.p.altPort)
	return l.between(c.space, c.ref(), to, to.String()), l.serveApp(ctx, l.node, l.p.altPort, l.p.node4, l.p.node6)
}

func arrangeNodePortBlocked(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.toNode(ctx)
	if err != nil {
		return nil, err
	}
	return s.blamesRule(l.p.hostFW, "input").shows(Timeout), l.addTable(nftables.TableFamilyINet, l.p.hostFW, func(t *table) {
		in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
		t.rule(in, "", dport(l.opts.Protocol, l.p.altPort), drop())
	})
}
