package lab

import (
	"context"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

func brokenAppFaults() []Fault {
	app := func(name, title, desc, code string, protocols []string, visible time.Duration, f func(context.Context, *Lab) (*scene, error)) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "application", Code: code, Protocols: protocols, Visible: visible, arrange: f}
	}
	tcp := []string{"tcp"}
	return []Fault{
		app("listen-overflow", "the accept queue is full", "The application accepts nothing, and its queue of connections is full.", "app-listen-overflow", tcp, silence, arrangeListenOverflow),
		app("app-hang", "the application hangs", "The application takes requests and does not answer.", "app-hang", tcp, silence, arrangeHang),
		app("app-reset", "the application resets", "The application resets connections after the first bytes.", "app-reset", tcp, time.Second, arrangeReset),
		app("udp-rcvbuf", "UDP receive buffer full", "The application does not read its datagrams, and its buffer is full.", "app-udp-rcvbuf", []string{"udp"}, silence, arrangeDeaf),
		{Name: "sctp-unknown", Title: "a kernel without SCTP", Description: "The client speaks SCTP, which the kernel of the server's node does not know.",
			Component: "application", Code: "app-sctp-unsupported", Protocols: []string{"tcp"}, Visible: time.Second, IPv4Only: true, arrange: arrangeSCTP},
		app("pod-firewall", "a firewall inside the pod", "A rule inside the server pod's own namespace drops what comes in.", "app-pod-firewall", bothProtocols, silence, arrangePodFirewall),
	}
}

// insteadOfApp stops the application of a pod and listens in another way on its
// port.
func (l *Lab) insteadOfApp(ctx context.Context, x *pod, kind serverKind) error {
	if err := l.stopApp(ctx, x); err != nil {
		return err
	}
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		h, err := x.space.listen(ctx, listenArgs{Kind: kind, Addr: addrPort(a, l.p.podPort)})
		if err != nil {
			return err
		}
		l.undo = append(l.undo, func() error {
			_, err := x.space.call(l.ctx, request{Close: h})
			return err
		})
	}
	return nil
}

// badApp is a scene whose only endpoint behaves in another way.
func (l *Lab) badApp(ctx context.Context, kind serverKind) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	x := l.server(0)
	s := l.toService().blames("Pod", x.ns, x.name)
	s.dial.Kind, s.dial.Retries = dialHTTP, 0
	return s, l.insteadOfApp(ctx, x, kind)
}

func arrangeListenOverflow(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.badApp(ctx, serveFull)
	return s.orNil(err, Timeout)
}

func arrangeHang(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.badApp(ctx, serveHang)
	return s.orNil(err, NoData)
}

func arrangeReset(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.badApp(ctx, serveReset)
	return s.orNil(err, Reset)
}

func arrangeDeaf(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.badApp(ctx, serveDeaf)
	if s != nil {
		s.dial.Kind, s.dial.Retries, s.dial.Body = dialUDP, 3, 1200
	}
	return s.orNil(err, Timeout)
}

// orNil says what the client sees, if the scene could be arranged.
func (s *scene) orNil(err error, o ...Outcome) (*scene, error) {
	if err != nil {
		return nil, err
	}
	return s.shows(o...), nil
}

// podTable adds a table inside a pod for the time of the fault.
func (l *Lab) podTable(x *pod, name string, fill func(*table)) error {
	return l.do(
		func() error {
			return x.space.write(func(r *ruleset) { fill(r.replace(nftables.TableFamilyINet, name)) })
		},
		func() error { return x.space.write(func(r *ruleset) { r.remove(nftables.TableFamilyINet, name) }) },
	)
}

func arrangeSCTP(_ context.Context, l *Lab) (*scene, error) {
	x, c := l.server(0), l.client()
	s := l.between(c.space, c.ref(), addrPort(x.ip4, l.p.podPort), podRef(x, l.p.podPort))
	s.dial.Kind, s.dial.Retries = dialSCTP, 0
	l.undo = append(l.undo, func() error {
		_, err := x.space.listen(l.ctx, listenArgs{Kind: serveSCTP, Addr: addrPort(x.ip4, l.p.podPort)})
		return err
	})
	return s.blames("Pod", x.ns, x.name).shows(ProtocolUnreachable), nil
}

func arrangePodFirewall(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	x := l.server(0)
	return l.toService().blames("Pod", x.ns, x.name).shows(Timeout), l.podTable(x, "filter", func(t *table) {
		in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
		t.rule(in, "", dport(l.opts.Protocol, l.p.podPort), drop())
	})
}

func meshFaults() []Fault {
	mesh := func(name, title, desc string, f func(context.Context, *Lab) (*scene, error)) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "application", Code: "app-sidecar-missing",
			Protocols: []string{"tcp"}, Visible: time.Second, arrange: f}
	}
	return []Fault{
		mesh("sidecar-outbound", "the client's sidecar is missing", "The client's connections are redirected to a sidecar proxy that does not run.", arrangeOutbound),
		mesh("sidecar-inbound", "the server's sidecar is missing", "Connections to the server are redirected to a sidecar proxy that does not run.", arrangeInbound),
	}
}

// redirect sends what matches to a port of this namespace, as the init
// containers of a mesh do.
func redirect(port uint16) exprs {
	return exprs{
		&expr.Immediate{Register: reg, Data: be16(port)},
		&expr.Redir{RegisterProtoMin: reg},
	}
}

func arrangeOutbound(_ context.Context, l *Lab) (*scene, error) {
	c := l.client()
	s := l.toService().blames("Pod", c.ns, c.name).shows(Refused)
	s.dial.Kind, s.dial.Retries = dialHTTP, 0
	return s, l.podTable(c, "mesh", func(t *table) {
		out := t.nat("output", nftables.ChainHookOutput, *nftables.ChainPriorityNATDest)
		t.rule(out, "", l4("tcp"), redirect(15001))
	})
}

func arrangeInbound(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	x := l.server(0)
	s := l.toService().blames("Pod", x.ns, x.name).shows(Refused)
	s.dial.Kind, s.dial.Retries = dialHTTP, 0
	return s, l.podTable(x, "mesh", func(t *table) {
		in := t.nat("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest)
		t.rule(in, "", l4("tcp"), redirect(15006))
	})
}
