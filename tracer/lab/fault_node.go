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

func nodeFaults() []Fault {
	node := func(name, title, desc, code string, visible time.Duration, f func(context.Context, *Lab) (*scene, error)) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "node", Code: code, Protocols: bothProtocols, Visible: visible, arrange: f}
	}
	rp := node("rp-filter", "reverse-path filter", "Answers come back by the node's other uplink and its rp_filter drops them.", "node-rp-filter", silence, arrangeRPFilter)
	rp.IPv4Only = true
	return []Fault{
		node("foreign-drop", "a foreign rule drops", "A policy allows the flow, and a firewall that is not the cluster's drops it.", "node-forward-drop", silence, arrangeForeignDrop),
		node("reply-drop", "a foreign rule drops the answers", "Requests arrive; a firewall that is not the cluster's drops the answers.", "node-forward-drop", silence, arrangeReplyDrop),
		node("forward-policy-drop", "FORWARD policy is drop", "A firewall's forward chain has the policy drop and no rule for pods.", "node-forward-drop", silence, arrangeForwardPolicy),
		node("firewall-reject", "the host firewall rejects", "The node's firewall answers forwarded packets with host prohibited.", "node-firewall-reject", time.Second, arrangeFirewallReject),
		node("ip-forward-off", "IP forwarding is off", "The node does not forward; pods reach nothing beyond it.", "node-ip-forward-off", silence, arrangeForwardOff),
		rp,
		node("bridge-nf-off", "bridged packets bypass netfilter", "bridge-nf-call-iptables is 0, so answers between pods of one node are not translated back.", "node-bridge-nf-off", silence, arrangeBridgeNF),
		node("tc-drop", "a foreign BPF program drops", "A program that is not the CNI's drops what goes to the pod at its host veth.", "pol-foreign-bpf", silence, arrangeTCDrop),
	}
}

// blamesRule names the chain whose rule drops, as "family table chain".
func (s *scene) blamesRule(table, chain string) *scene {
	return s.blames("FirewallRule", "", "inet "+table+" "+chain)
}

func (l *Lab) blamesNode(s *scene) *scene { return s.blames("Node", "", l.p.node) }

func arrangeForeignDrop(_ context.Context, l *Lab) (*scene, error) {
	return l.toService().blamesRule(l.p.guard, "forward").shows(Timeout), errors.Join(l.allowPolicy(), l.foreign(l.p.guard, nftables.ChainPolicyAccept, func(t *table, c *nftables.Chain) {
		t.rule(c, "", dport(l.opts.Protocol, l.p.podPort), drop())
	}))
}

func arrangeReplyDrop(_ context.Context, l *Lab) (*scene, error) {
	return l.toService().blamesRule(l.p.guard, "forward").shows(Timeout), errors.Join(l.allowPolicy(), l.foreign(l.p.guard, nftables.ChainPolicyAccept, func(t *table, c *nftables.Chain) {
		t.rule(c, "", sport(l.opts.Protocol, l.p.podPort), drop())
	}))
}

func arrangeForwardPolicy(_ context.Context, l *Lab) (*scene, error) {
	return l.toService().blamesRule(l.p.guard, "forward").shows(Timeout), l.foreign(l.p.guard, nftables.ChainPolicyDrop, func(t *table, c *nftables.Chain) {
		// What such a firewall allows: its own containers.
		t.rule(c, "", meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, ifname("docker0")), counter(), accept())
		t.rule(c, "", ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), counter(), accept())
		t.rule(c, "", neighbourDiscovery(), accept())
	})
}

func ifname(s string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, s)
	return b
}

func arrangeFirewallReject(_ context.Context, l *Lab) (*scene, error) {
	s := l.toService().blamesRule(l.p.hostFW, "filter_FORWARD_reject").shows(HostUnreachable)
	if l.opts.IPv6 {
		s.shows(Prohibited)
	}
	return s, l.foreign(l.p.hostFW, nftables.ChainPolicyAccept, func(t *table, c *nftables.Chain) {
		zone := t.chain("filter_FORWARD_reject")
		t.rule(c, "", ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
		t.rule(c, "", neighbourDiscovery(), accept())
		t.rule(c, "", jump(zone))
		// RFC 1812 §5.2.7.1 code 10, RFC 4443 §3.1 code 1.
		t.rule(zone, "", t.family(false), counter(), exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 10}})
		t.rule(zone, "", t.family(true), counter(), exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 1}})
	})
}

// set writes a sysctl of a namespace for the time of the fault.
func (l *Lab) set(s *space, key, value string) error {
	old, err := s.sysctl(l.ctx, key, value)
	if err != nil {
		return err
	}
	l.undo = append(l.undo, func() error {
		_, err := s.sysctl(l.ctx, key, old)
		return err
	})
	return nil
}

func arrangeForwardOff(_ context.Context, l *Lab) (*scene, error) {
	return l.blamesNode(l.toInternet()).shows(Timeout), errors.Join(
		l.set(l.node, "net/ipv4/ip_forward", "0"),
		l.set(l.node, "net/ipv6/conf/all/forwarding", "0"),
	)
}

func arrangeBridgeNF(_ context.Context, l *Lab) (*scene, error) {
	return l.blamesNode(l.toService()).shows(Timeout), errors.Join(
		l.set(l.node, "net/bridge/bridge-nf-call-iptables", "0"),
		l.set(l.node, "net/bridge/bridge-nf-call-ip6tables", "0"),
	)
}

// arrangeRPFilter gives the node a second uplink and lets the outside answer by
// it.
func arrangeRPFilter(ctx context.Context, l *Lab) (*scene, error) {
	p := l.p
	near, far := nth(p.side4, 11), nth(p.side4, 1)
	err := l.do(func() error {
		return errors.Join(
			l.addWire(sideWire),
			l.plug(sideWire, l.ext, outerSide, prefixed(far, p.side4)),
			l.plug(sideWire, l.node, sideLink, prefixed(near, p.side4)),
		)
	}, func() error { return l.ext.delLink(sideWire) })
	if err != nil {
		return nil, err
	}
	if _, err := l.node.sysctl(ctx, "net/ipv4/conf/"+sideLink+"/rp_filter", "1"); err != nil {
		return nil, err
	}
	return l.blamesNode(l.toInternet()).shows(Timeout), l.ext.addRoute(host(p.node4), near, outerSide)
}

// delLink removes a device, and with it what depends on it.
func (s *space) delLink(name string) error {
	link, err := s.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", name, s.name, err)
	}
	return s.nl.LinkDel(link)
}

func podFaults() []Fault {
	cni := func(name, title, desc, code string, visible time.Duration, f func(context.Context, *Lab) (*scene, error)) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "cni", Code: code, Protocols: bothProtocols, Visible: visible, arrange: f}
	}
	return []Fault{
		cni("blackhole-route", "blackhole route", "The node has a blackhole route for the other node's pods.", "cni-route-blackhole", silence, arrangeBlackhole),
		cni("prohibit-rule", "a routing rule prohibits", "A routing policy rule of the node prohibits what comes from the pod.", "cni-route-blackhole", 2*time.Second, arrangeProhibit),
		cni("pod-no-default-route", "pod without default route", "The pod gets the request and has no route to answer by.", "cni-pod-no-default-route", silence, arrangeNoPodRoute),
		cni("veth-down", "the pod's veth is down", "The host side of the pod's veth is down.", "cni-veth-down", silence, arrangeVethDown),
		cni("hairpin-off", "hairpin mode is off", "The pod's bridge port does not send back what came from it, so a pod cannot reach itself through its Service.", "cni-hairpin-off", silence, arrangeHairpinOff),
	}
}

// reroute replaces routes of the node for the time of the fault.
func (l *Lab) reroute(s *space, del, add []*netlink.Route) error {
	swap := func(del, add []*netlink.Route) error {
		var errs []error
		for _, r := range del {
			errs = append(errs, s.nl.RouteDel(r))
		}
		for _, r := range add {
			errs = append(errs, s.nl.RouteAdd(r))
		}
		return errors.Join(errs...)
	}
	if err := swap(del, add); err != nil {
		return fmt.Errorf("change routes of %s: %w", s.name, err)
	}
	l.undo = append(l.undo, func() error { return swap(add, del) })
	return nil
}

// routes builds the same route for both families.
func (s *space) routes(dst4, dst6 netip.Prefix, via4, via6 netip.Addr, dev string) ([]*netlink.Route, error) {
	a, err := s.route(dst4, via4, dev)
	if err != nil {
		return nil, err
	}
	b, err := s.route(dst6, via6, dev)
	return []*netlink.Route{a, b}, err
}

func arrangeBlackhole(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	good, err := l.node.routes(p.peerPods4, p.peerPods6, p.peer4, p.peer6, uplink)
	if err != nil {
		return nil, err
	}
	hole := func(dst netip.Prefix) *netlink.Route {
		return &netlink.Route{Dst: ipNet(dst), Type: unix.RTN_BLACKHOLE, Protocol: unix.RTPROT_BIRD}
	}
	bad := []*netlink.Route{hole(p.peerPods4), hole(p.peerPods6)}
	dst := p.peerPods4
	if l.opts.IPv6 {
		dst = p.peerPods6
	}
	return l.toFarPod().blames("Route", "", "blackhole "+dst.String()).shows(Timeout), l.reroute(l.node, good, bad)
}

func arrangeProhibit(_ context.Context, l *Lab) (*scene, error) {
	c := l.client()
	s := l.toFarPod().blames("RoutingRule", "", "prohibit").rarely().shows(HostUnreachable)
	if l.opts.IPv6 {
		s.shows(Prohibited)
	}
	for fam, a := range map[int]netip.Addr{unix.AF_INET: c.ip4, unix.AF_INET6: c.ip6} {
		r := netlink.NewRule()
		r.Family, r.Src, r.Priority, r.Type = fam, ipNet(host(a)), 1536, unix.FR_ACT_PROHIBIT
		err := l.do(func() error { return l.node.nl.RuleAdd(r) }, func() error { return l.node.nl.RuleDel(r) })
		if err != nil {
			return nil, fmt.Errorf("add routing rule: %w", err)
		}
	}
	return s, nil
}

// arrangeNoPodRoute takes the default routes of a pod away. The client is a pod
// of the other node: the pod still has a route to those on its own bridge.
func arrangeNoPodRoute(_ context.Context, l *Lab) (*scene, error) {
	x, far := l.server(0), l.far()
	from := far.ip(l.opts.IPv6)
	s := l.between(l.peer, from.String(), addrPort(x.ip(l.opts.IPv6), l.p.podPort), podRef(x, l.p.podPort))
	s.dial.Local = from
	gone, err := x.space.routes(netip.Prefix{}, netip.Prefix{}, nth(l.p.pods4, 1), nth(l.p.pods6, 1), "eth0")
	if err != nil {
		return nil, err
	}
	return s.blames("Pod", x.ns, x.name).shows(Timeout), l.reroute(x.space, gone, nil)
}

// port finds the node's side of a pod's veth.
func (l *Lab) port(x *pod) (netlink.Link, error) {
	link, err := l.node.nl.LinkByName(x.hostVeth)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", x.hostVeth, err)
	}
	return link, nil
}

func arrangeVethDown(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	x := l.server(0)
	link, err := l.port(x)
	if err != nil {
		return nil, err
	}
	return l.toService().blames("Pod", x.ns, x.name).showsTCP(HostUnreachable), l.do(
		func() error { return l.node.nl.LinkSetDown(link) },
		func() error { return l.replug(x, link) },
	)
}

// replug brings a veth up again. The pod's eth0 lost its carrier meanwhile, and
// with it the routes of IPv6, as always; the CNI would have set them anew.
func (l *Lab) replug(x *pod, link netlink.Link) error {
	if err := l.node.nl.LinkSetUp(link); err != nil {
		return err
	}
	r, err := x.space.route(netip.Prefix{}, nth(l.p.pods6, 1), "eth0")
	if err != nil {
		return err
	}
	return x.space.nl.RouteReplace(r)
}

func arrangeHairpinOff(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeHairpin(ctx, l)
	if err != nil {
		return nil, err
	}
	x := l.server(0)
	link, err := l.port(x)
	if err != nil {
		return nil, err
	}
	return s.blames("Pod", x.ns, x.name).shows(Timeout), l.do(
		func() error { return l.node.nl.LinkSetHairpin(link, false) },
		func() error { return l.node.nl.LinkSetHairpin(link, true) },
	)
}
