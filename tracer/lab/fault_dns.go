package lab

import (
	"context"
	"errors"
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
		control("healthy-dns-search", "a search list that ends well", "A pod's short name is tried in the domains of its search list, of which the last has it.", []string{"udp"}, arrangeSearch),
		{Name: "dns-no-such-name", Title: "a name that does not exist", Description: "The client asks for a name that no try of its search list finds.",
			Component: "dns", Code: "dns-nxdomain-search", Protocols: []string{"udp"}, Visible: time.Second, arrange: arrangeNoSuchName},
		{Name: "dns-servfail", Title: "the cluster's DNS fails", Description: "The cluster's DNS answers, but gets no answer itself (SERVFAIL).",
			Component: "dns", Code: "dns-servfail", Protocols: []string{"udp"}, Visible: time.Second, arrange: arrangeDNSAnswer(listenArgs{RCode: 2}, DNSError)},
		{Name: "dns-refused", Title: "the cluster's DNS refuses", Description: "The cluster's DNS does not serve the client (REFUSED).",
			Component: "dns", Code: "dns-refused", Protocols: []string{"udp"}, Visible: time.Second, arrange: arrangeDNSAnswer(listenArgs{RCode: 5}, DNSError)},
		{Name: "dns-slow", Title: "the cluster's DNS is slow", Description: "The cluster's DNS answers after more than a second.",
			Component: "dns", Code: "dns-slow", Protocols: []string{"udp"}, Visible: 2 * time.Second, arrange: arrangeDNSAnswer(listenArgs{Delay: 1500 * time.Millisecond}, OK)},
		{Name: "dns-wrong-resolver", Title: "a pod asks a resolver outside", Description: "The client asks a resolver outside of the cluster for a name of the cluster.",
			Component: "dns", Code: "dns-resolvconf-wrong", Protocols: []string{"udp"}, Visible: time.Second, arrange: arrangeWrongResolver},
		control("healthy-dns-outside", "a name outside", "The cluster's DNS asks its upstream for a name outside.", []string{"udp"}, arrangeForward),
		control("healthy-dns-truncated", "an answer that does not fit", "An answer of the cluster's DNS is truncated, and asked for again over TCP.", []string{"udp"},
			arrangeCut(listenArgs{Cut: true})),
		{Name: "dns-tcp-refused", Title: "the cluster's DNS does not serve TCP", Description: "Answers of the cluster's DNS are truncated, and it does not listen on TCP.",
			Component: "dns", Code: "dns-tcp-blocked", Protocols: []string{"tcp"}, Visible: time.Second, arrange: arrangeTCPRefused},
		{Name: "dns-upstream-silent", Title: "the DNS upstream is silent", Description: "The cluster's DNS asks a resolver outside, which does not answer.",
			Component: "dns", Code: "dns-upstream-unreachable", Protocols: []string{"udp"}, Visible: 3 * time.Second, arrange: arrangeSilentUpstream},
		{Name: "dns-upstream-refused", Title: "the DNS upstream refuses", Description: "The cluster's DNS asks a host outside on which no resolver runs.",
			Component: "dns", Code: "dns-upstream-unreachable", Protocols: []string{"udp"}, Visible: time.Second, arrange: arrangeRefusedUpstream},
		{Name: "dns-upstream-fails", Title: "the DNS upstream fails", Description: "The cluster's DNS asks a resolver outside, which answers SERVFAIL.",
			Component: "dns", Code: "dns-servfail", Protocols: []string{"udp"}, Visible: time.Second, arrange: arrangeFailingUpstream},
		{Name: "dns-upstream-fails-searched", Title: "the DNS upstream fails, after a search list", Description: "The names of the search list do not exist, as they should not; for the name itself the upstream answers SERVFAIL.",
			Component: "dns", Code: "dns-servfail", Protocols: []string{"udp"}, Visible: time.Second, arrange: arrangeFailingSearched},
		{Name: "dns-upstream-policy", Title: "a policy keeps the cluster's DNS from its upstream", Description: "A NetworkPolicy of the DNS pods allows nothing but what they ask of pods.",
			Component: "policy", Code: "pol-dns-egress", Protocols: []string{"udp"}, Visible: 3 * time.Second, arrange: arrangeUpstreamPolicy},
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

// search is how a resolver tries a short name, but for the try that succeeds.
func (l *Lab) search() []string {
	s := l.api()
	return []string{s.name + "." + s.ns + "." + l.p.clientNS + ".svc." + dnsName, s.name + "." + s.ns + "." + l.p.hostName}
}

func arrangeSearch(_ context.Context, l *Lab) (*scene, error) {
	s := l.toDNS()
	s.dial.Search = l.search()
	return s, nil
}

func arrangeNoSuchName(ctx context.Context, l *Lab) (*scene, error) {
	c, s := l.client(), l.toDNS()
	s.dial.Name, s.dial.Search = l.p.server+"-v2."+l.p.serverNS+".svc."+dnsName, l.search()[:1]
	// Undone, there is a Service of that name.
	l.undo = append(l.undo, func() error {
		l.c.services = append(l.c.services, &service{ns: l.p.serverNS, name: l.p.server + "-v2", ip4: nth(l.p.svc4, 13), ip6: nth(l.p.svc6, 13)})
		return errors.Join(l.dnsPod().space.closeAll(l.ctx), l.serveDNS(l.ctx))
	})
	return s.blames("Pod", c.ns, c.name).shows(DNSError), nil
}

// arrangeDNSAnswer lets the cluster's DNS answer in another way.
func arrangeDNSAnswer(how listenArgs, o Outcome) arrangement {
	return func(ctx context.Context, l *Lab) (*scene, error) {
		x := l.dnsPod()
		err := l.redo(how)
		s := l.toDNS().blames("Pod", x.ns, x.name).shows(o)
		s.dial.Retries = 0
		return s, err
	}
}

func arrangeWrongResolver(ctx context.Context, l *Lab) (*scene, error) {
	p, c := l.p, l.client()
	s := l.toHost(p.host4, p.host6, 53)
	s.dial.Kind, s.dial.Retries, s.dial.Name = dialDNS, 3, l.api().dns()
	zone := map[string][]netip.Addr{p.hostName: {p.host4, p.host6}}
	serve := func() error {
		for _, a := range []netip.Addr{p.host4, p.host6} {
			h, err := l.ext.listen(l.ctx, listenArgs{Kind: serveDNS, Addr: addrPort(a, 53), Zone: zone})
			if err != nil {
				return err
			}
			l.resolvers = append(l.resolvers, h)
		}
		return nil
	}
	// Undone, the resolver knows the cluster's names.
	l.undo = append(l.undo, func() error {
		for _, h := range l.resolvers {
			if _, err := l.ext.call(l.ctx, request{Close: h}); err != nil {
				return err
			}
		}
		l.resolvers, zone = nil, l.c.zone()
		return serve()
	})
	return s.blames("Pod", c.ns, c.name).shows(DNSError), serve()
}
