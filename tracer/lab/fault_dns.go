package lab

import (
	"context"
	"net/netip"
	"time"
)

func dnsFaults() []Fault {
	return []Fault{
		{Name: "dns-no-endpoints", Title: "the cluster's DNS is not ready", Description: "No pod behind the cluster's DNS Service is ready; kube-proxy rejects.",
			Component: "dns", Code: "dns-coredns-down", Protocols: []string{"udp"}, Visible: 2 * time.Second, arrange: arrangeDNSDown},
		{Name: "dns-tcp-policy", Title: "DNS over TCP blocked by egress policy", Description: "A NetworkPolicy of the client allows DNS over UDP, and forgets TCP.",
			Component: "policy", Code: "pol-dns-egress", Protocols: []string{"tcp"}, Visible: silence, arrange: arrangeDNSOverTCP},
		{Name: "dns-node-local-down", Title: "the node-local DNS cache is down", Description: "Pods ask the DNS cache on their node, which does not run.",
			Component: "dns", Code: "dns-nodelocal-broken", Protocols: []string{"udp"}, Visible: time.Second, IPv4Only: true, arrange: arrangeNodeLocalDown},
		{Name: "dns-node-local-policy", Title: "policy forgets the node-local DNS cache", Description: "A NetworkPolicy of the client allows the DNS pods, and not the cache on the node.",
			Component: "policy", Code: "pol-nodelocal-dns", Protocols: []string{"udp"}, Visible: silence, IPv4Only: true, arrange: arrangeNodeLocalPolicy},
		{Name: "dns-overload", Title: "the cluster's DNS does not keep up", Description: "The DNS pod does not read its queries, and its buffer is full.",
			Component: "dns", Code: "dns-throttled", Protocols: []string{"udp"}, Visible: silence, arrange: arrangeDNSOverload},
	}
}

func arrangeDNSDown(_ context.Context, l *Lab) (*scene, error) {
	s := l.dnsService()
	return l.toDNS().blames("Service", s.ns, s.name).shows(Refused), l.sync(l.syncProxy, func() { with(l, &l.dnsPod().notReady, true) })
}

func arrangeDNSOverTCP(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	allow := l.dnsAllowance()
	allow.ports = allow.ports[:1]
	s := l.toDNS()
	s.dial.Kind, s.dial.Retries = dialDNSOverTCP, 0
	return l.deniedBy(s, policy{
		ns: p.clientNS, name: p.client + "-egress", app: p.client, egress: true,
		allow: []allowRule{allow, {namespaces: map[string]string{"team": p.serverTeam}, ports: l.appPorts()}},
	})
}

// nodeLocalDNS is the address that NodeLocal DNSCache listens on by default.
var nodeLocalDNS = netip.AddrFrom4([4]byte{169, 254, 20, 10})

// toNodeLocal asks the cache on the client's node.
func (l *Lab) toNodeLocal() (*scene, error) {
	s := l.toDNS()
	s.dial.To = addrPort(nodeLocalDNS, 53)
	s.To = s.dial.To.String()
	return s, l.node.up("lo", host(nodeLocalDNS))
}

func (l *Lab) startNodeLocal() error {
	_, err := l.node.listen(l.ctx, listenArgs{Kind: serveDNS, Addr: addrPort(nodeLocalDNS, 53), Zone: l.c.zone()})
	return err
}

func arrangeNodeLocalDown(_ context.Context, l *Lab) (*scene, error) {
	s, err := l.toNodeLocal()
	if err != nil {
		return nil, err
	}
	l.undo = append(l.undo, l.startNodeLocal)
	return l.blamesNode(s).shows(Refused), nil
}

func arrangeNodeLocalPolicy(_ context.Context, l *Lab) (*scene, error) {
	s, err := l.toNodeLocal()
	if err != nil {
		return nil, err
	}
	if err := l.startNodeLocal(); err != nil {
		return nil, err
	}
	with(l, &l.rules.judgeInput, true)
	p := l.p
	return l.deniedBy(s, policy{ns: p.clientNS, name: p.client + "-egress", app: p.client, egress: true, allow: []allowRule{l.dnsAllowance()}})
}

func arrangeDNSOverload(ctx context.Context, l *Lab) (*scene, error) {
	x := l.dnsPod()
	if err := l.do(func() error { return x.space.closeAll(ctx) }, func() error { return l.serveDNS(l.ctx) }); err != nil {
		return nil, err
	}
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		h, err := x.space.listen(ctx, listenArgs{Kind: serveDeaf, Addr: addrPort(a, 53)})
		if err != nil {
			return nil, err
		}
		l.undo = append(l.undo, func() error {
			_, err := x.space.call(l.ctx, request{Close: h})
			return err
		})
	}
	s := l.toDNS().blames("Pod", x.ns, x.name).shows(Timeout)
	// The smallest buffer that a socket can have takes a few queries.
	s.attempts, s.gap = 12, 20*time.Millisecond
	return s, nil
}
