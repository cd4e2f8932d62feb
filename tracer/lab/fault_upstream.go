package lab

import (
	"context"
	"errors"
	"net/netip"

	"github.com/google/nftables"
)

// upstreamZone is what the resolver outside knows.
func (l *Lab) upstreamZone() map[string][]netip.Addr {
	return map[string][]netip.Addr{l.p.hostName: {l.p.host4, l.p.host6}}
}

// serveUpstream starts a resolver outside, on both addresses of a host.
func (l *Lab) serveUpstream(how listenArgs, at ...netip.Addr) error {
	for _, a := range at {
		how.Kind, how.Addr, how.Zone = serveDNS, addrPort(a, 53), l.upstreamZone()
		h, err := l.ext.listen(l.ctx, how)
		if err != nil {
			return err
		}
		l.resolvers = append(l.resolvers, h)
	}
	return nil
}

func (l *Lab) closeUpstream() error {
	var errs []error
	for _, h := range l.resolvers {
		_, err := l.ext.call(l.ctx, request{Close: h})
		errs = append(errs, err)
	}
	l.resolvers = nil
	return errors.Join(errs...)
}

// redo starts the cluster's DNS anew, to answer in another way.
func (l *Lab) redo(how listenArgs) error {
	again := func() error { return errors.Join(l.dnsPod().space.closeAll(l.ctx), l.serveDNS(l.ctx)) }
	return l.sync(again, func() { with(l, &l.dns, how) })
}

// forward makes the cluster's DNS ask a host outside for what it does not know,
// and the client ask for such a name, once.
func (l *Lab) forward(v4, v6 netip.Addr) (*scene, error) {
	s := l.toDNS()
	s.dial.Name, s.dial.Retries = l.p.hostName, 0
	return s, l.redo(listenArgs{Forward: addrPort(l.pick(v4, v6), 53)})
}

func arrangeForward(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	if err := l.do(func() error { return l.serveUpstream(listenArgs{}, p.host4, p.host6) }, l.closeUpstream); err != nil {
		return nil, err
	}
	return l.forward(p.host4, p.host6)
}

// blamesDNS: the DNS pod's own lookup is what fails.
func (l *Lab) blamesDNS(s *scene) *scene {
	x := l.dnsPod()
	return s.blames("Pod", x.ns, x.name).shows(DNSError)
}

func arrangeSilentUpstream(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	err := l.do(func() error {
		return errors.Join(l.serveUpstream(listenArgs{}, p.quiet4, p.quiet6), l.ext.write(func(r *ruleset) {
			t := r.replace(nftables.TableFamilyINet, "filter")
			in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
			t.rule(in, "", t.is(daddr, host(p.quiet4)), drop())
			t.rule(in, "", t.is(daddr, host(p.quiet6)), drop())
		}))
	}, func() error {
		// The resolver stays: undone, it is reached.
		return l.ext.write(func(r *ruleset) { r.remove(nftables.TableFamilyINet, "filter") })
	})
	if err != nil {
		return nil, err
	}
	s, err := l.forward(p.quiet4, p.quiet6)
	return l.blamesDNS(s), err
}

func arrangeRefusedUpstream(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	s, err := l.forward(p.host4, p.host6)
	return l.blamesDNS(s), err
}

func arrangeFailingUpstream(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	if err := l.do(func() error { return l.serveUpstream(listenArgs{RCode: 2}, p.host4, p.host6) }, l.closeUpstream); err != nil {
		return nil, err
	}
	s, err := l.forward(p.host4, p.host6)
	return l.blamesDNS(s), err
}

func arrangeFailingSearched(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeFailingUpstream(ctx, l)
	if err != nil {
		return nil, err
	}
	for _, domain := range []string{l.p.clientNS + ".svc." + dnsName, "svc." + dnsName, dnsName} {
		s.dial.Search = append(s.dial.Search, l.p.hostName+domain)
	}
	s.Prelude = true
	return s, nil
}

func arrangeUpstreamPolicy(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeForward(ctx, l)
	if err != nil {
		return nil, err
	}
	x := l.dnsPod()
	s, err = l.deniedBy(s, policy{
		ns: x.ns, name: x.name + "-egress", app: x.labels["app"], egress: true, allow: []allowRule{{namespaces: map[string]string{}}},
	})
	return s.shows(DNSError), err
}

// arrangeCut makes the cluster's DNS truncate what it answers over UDP.
func arrangeCut(how listenArgs) arrangement {
	return func(_ context.Context, l *Lab) (*scene, error) {
		s := l.toDNS()
		s.dial.Retries = 0
		return s, l.redo(how)
	}
}

func arrangeTCPRefused(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeCut(listenArgs{Cut: true, UDPOnly: true})(ctx, l)
	if err != nil {
		return nil, err
	}
	x := l.dnsPod()
	return s.blames("Pod", x.ns, x.name).shows(Refused), nil
}
