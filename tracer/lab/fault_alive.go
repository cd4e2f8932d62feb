package lab

import (
	"context"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// aliveControls work, in ways that look like trouble.
func aliveControls() []Fault {
	tcp := []string{"tcp"}
	app := func(name, title, desc string, visible time.Duration, how listenArgs, change func(*dialArgs)) Fault {
		f := control(name, title, desc, tcp, func(ctx context.Context, l *Lab) (*scene, error) { return l.otherwise(ctx, how, change) })
		f.Visible = visible
		return f
	}
	lossy := control("healthy-lossy", "a lossy path", "A large request loses packets again and again, each of which gets through when it is sent again.", tcp, arrangeLossy)
	lossy.Visible = 4 * time.Second
	return []Fault{
		app("healthy-slow", "an application that takes its time", "The application answers after three seconds.", 4*time.Second,
			listenArgs{Kind: serveHTTP, Delay: 3 * time.Second}, nil),
		app("healthy-half-closed", "a client that says that it is done", "The client closes its half of the connection after the request; the answer comes a second later.", 2*time.Second,
			listenArgs{Kind: serveHTTP, Delay: time.Second}, func(a *dialArgs) { a.HalfClose = true }),
		app("healthy-reset-at-end", "a client that hangs up with a reset", "The client gets its whole answer, and ends the connection with a reset.", time.Second,
			listenArgs{Kind: serveHTTP}, func(a *dialArgs) { a.Linger = true }),
		app("healthy-check", "a health check", "A client connects and resets at once, as load balancers do to see whether somebody listens.", time.Second,
			listenArgs{Kind: serveHTTP}, func(a *dialArgs) { a.Kind, a.Linger = dialConnect, true }),
		app("healthy-banner", "a server that talks first", "The server greets first, and the client says goodbye, as with mail.", time.Second,
			listenArgs{Kind: serveGreet}, func(a *dialArgs) { a.Kind = dialGreet }),
		app("healthy-idle", "a connection that waits", "A client connects, and asks three seconds later.", 4*time.Second,
			listenArgs{Kind: serveHTTP}, func(a *dialArgs) { a.Pause = 3 * time.Second }),
		lossy,
		control("healthy-smaller-mtu", "a smaller MTU that is told of", "The uplink's MTU is smaller than the pod's; the pod is told and sends smaller segments.", tcp,
			func(_ context.Context, l *Lab) (*scene, error) {
				s := l.toInternet()
				s.dial.Kind, s.dial.Retries, s.dial.Body = dialHTTP, 0, 256<<10
				return s, l.shrinkUplink()
			}),
	}
}

// otherwise has the Service's only pod serve, and the client ask, in another way.
func (l *Lab) otherwise(ctx context.Context, how listenArgs, change func(*dialArgs)) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	s, x := l.toServiceTCP(), l.server(0)
	if change != nil {
		change(&s.dial)
	}
	if err := l.stopApp(ctx, x); err != nil {
		return nil, err
	}
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		how.Addr = addrPort(a, l.p.podPort)
		h, err := x.space.listen(ctx, how)
		if err != nil {
			return nil, err
		}
		x.space.listeners = append(x.space.listeners, h)
	}
	l.undo = append(l.undo, func() error { return x.space.closeAll(l.ctx) })
	return s, nil
}

// arrangeLossy drops every fifth packet of the request, and so never the same
// twice in a row.
func arrangeLossy(_ context.Context, l *Lab) (*scene, error) {
	s := l.toServiceTCP()
	s.dial.Body, s.attempts = 32<<10, 2
	return s, l.foreign(l.p.guard, nftables.ChainPolicyAccept, func(t *table, c *nftables.Chain) {
		t.rule(c, "", dport("tcp", l.p.podPort), everyNth(5), drop())
	})
}

// everyNth is "numgen inc mod N 0".
func everyNth(n uint32) exprs {
	return exprs{
		&expr.Numgen{Register: reg, Modulus: n, Type: 0 /* NFT_NG_INCREMENTAL */, Offset: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: native32(n)},
	}
}
