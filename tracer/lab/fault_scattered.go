package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// scatteredFaults break some connections to one place, as chance has it.
func scatteredFaults() []Fault {
	f := func(component, code, name, title, desc string, visible time.Duration, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: visible, Part: true, arrange: arrange}
	}
	gateway := f("egress", "egr-gateway-dead", "one-of-two-gateways-dead", "one gateway of two is dead",
		"The node has a default route by two gateways, one of which does not answer ARP.", silence+2*time.Second, arrangeTwoGateways)
	gateway.IPv4Only = true // IPv6 avoids a gateway that did not answer
	return []Fault{
		gateway,
		f("node", "node-forward-drop", "some-ports-dropped", "a rule that drops some connections", "A firewall drops three connections of ten, chosen by their ports.", silence+2*time.Second, arrangeSomePorts),
		f("kube-proxy", "svc-stale-endpoint", "one-of-three-stale", "one endpoint of three is stale",
			"A Service has three endpoints; the rules have the address of a pod that is gone for one of them.", silence+2*time.Second, arrangeOneStale),
	}
}

// often makes so many short connections that chance meets all cases.
func (s *scene) often() *scene {
	s.attempts, s.gap = 24, 60*time.Millisecond
	return s
}

func arrangeTwoGateways(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	good, err := l.defaultRoutes(p.gw4, p.gw6)
	if err != nil {
		return nil, err
	}
	link, err := l.node.nl.LinkByName(uplink)
	if err != nil {
		return nil, fmt.Errorf("find uplink: %w", err)
	}
	both := &netlink.Route{Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), Protocol: unix.RTPROT_BOOT, MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: link.Attrs().Index, Gw: p.gw4.AsSlice()}, {LinkIndex: link.Attrs().Index, Gw: p.dead4.AsSlice()},
	}}
	// By ports, not only by addresses.
	if err := l.set(l.node, "net/ipv4/fib_multipath_hash_policy", "1"); err != nil {
		return nil, err
	}
	if err := l.keepWay(l.client().space); err != nil {
		return nil, err
	}
	s := l.toInternet().often().blames("Gateway", "", p.dead4.String()).shows(OK, Timeout)
	if s.dial.Kind == dialHTTP {
		s.shows(OK, HostUnreachable)
	}
	return s, l.reroute(l.node, good[:1], []*netlink.Route{both})
}

// keepWay has what is sent again take the way that it took: it would take any by
// chance, so that of 24 connections one alone may fail. Kernels before 5.18 leave no
// choice.
func (l *Lab) keepWay(s *space) error {
	const key = "net/core/txrehash"
	if _, err := os.Stat("/proc/sys/" + key); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return l.set(s, key, "0")
}

func arrangeSomePorts(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	s := l.toService().often().blamesRule(l.p.guard, "forward").shows(OK, Timeout)
	return s, l.foreign(l.p.guard, nftables.ChainPolicyAccept, func(t *table, c *nftables.Chain) {
		t.rule(c, "", dport(l.opts.Protocol, l.p.podPort), byPort(10, 3), drop())
	})
}

// byPort is "jhash th sport mod N < LESS".
func byPort(n, less uint32) exprs {
	return exprs{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
		&expr.Hash{SourceRegister: reg, DestRegister: reg, Length: 2, Modulus: n, Type: expr.HashTypeJenkins},
		&expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: reg, Data: []byte{0, 0, 0, byte(less)}},
	}
}

// arrangeOneStale: the rules have the address of a pod that is gone, and not yet
// that of the pod that came for it.
func arrangeOneStale(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.toThree(ctx)
	if err != nil {
		return nil, err
	}
	// On the other node: of those on the client's own bridge, a try that is lost is
	// forgotten by conntrack before the next, which has another endpoint then.
	four, six := nth(l.p.peerPods4, 230), nth(l.p.peerPods6, 230)
	a, far := l.server(0), l.far()
	err = l.sync(l.syncProxy, func() { with(l, &l.api().stale, []netip.Addr{a.ip4, a.ip6, far.ip4, far.ip6, four, six}) })
	l.blamesService(s).shows(OK, Timeout, NetUnreachable)
	s.Shared = addrPort(l.pick(four, six), l.p.podPort).String()
	return s, err
}
