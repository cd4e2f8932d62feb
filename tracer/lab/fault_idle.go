package lab

import (
	"context"
	"errors"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// shortPause is how long a client is quiet for the node's own conntrack to
	// forget it.
	shortPause = 3 * time.Second
	// longPause is longer than any time-out outside is that podpath calls one.
	longPause = 60 * time.Second
)

// idleFaults forget connections that are quiet.
func idleFaults() []Fault {
	tcp := []string{"tcp"}
	return []Fault{
		control("healthy-idle-outside", "a quiet connection to the outside", "A pod connects to a host outside, and asks three seconds later.", tcp,
			func(_ context.Context, l *Lab) (*scene, error) { return l.quietOutside(shortPause), nil }).visibleAfter(shortPause + time.Second),
		{Name: "quiet-forgotten", Title: "the node forgets a quiet connection", Description: "The node's conntrack keeps a connection for one second; the client is quiet for three, and what it sends then is translated anew.",
			Component: "node", Code: "node-conntrack-expired", Protocols: tcp, Visible: shortPause + time.Second, arrange: arrangeForgotten},
		{Name: "quiet-forgotten-outside", Title: "a firewall outside forgets a quiet connection", Description: "A firewall outside keeps a connection for half a minute and resets what belongs to none; the client is quiet for a minute.",
			Component: "external", Code: "ext-idle-timeout", Protocols: tcp, Visible: longPause + time.Second, arrange: arrangeForgottenOutside},
	}
}

// visibleAfter is the fault with another time until it shows.
func (f Fault) visibleAfter(d time.Duration) Fault {
	f.Visible = d
	return f
}

// quietOutside connects to a host outside, and asks after a pause.
func (l *Lab) quietOutside(pause time.Duration) *scene {
	s := l.toInternet()
	s.dial.Kind, s.dial.Retries, s.dial.Pause = dialHTTP, 0, pause
	s.dial.Timeout += pause
	return s
}

const timeoutEstablished = "net/netfilter/nf_conntrack_tcp_timeout_established"

// arrangeForgotten rests on the masquerade choosing a port at random: the host
// outside knows nothing of the connection's new one.
func arrangeForgotten(_ context.Context, l *Lab) (*scene, error) {
	return l.blamesNode(l.quietOutside(shortPause)).shows(Reset), l.set(l.node, timeoutEstablished, "1")
}

func arrangeForgottenOutside(_ context.Context, l *Lab) (*scene, error) {
	s := l.quietOutside(longPause).blames("ExternalHost", "", l.pick(l.p.host4, l.p.host6).String()).shows(Reset)
	s.Prelude, s.attempts = true, 1 // until then all is well, and may be said to be
	return s, errors.Join(
		l.set(l.ext, timeoutEstablished, "30"),
		l.atOutside(nftables.TableFamilyINet, "stateful", func(t *table) {
			in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
			t.rule(in, "new, and not SYN", l4("tcp"), opensNot(), ctState(expr.CtStateBitNEW), counter(),
				exprs{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
		}),
	)
}

// opensNot matches segments that are neither a SYN nor a reset.
func opensNot() exprs {
	const syn, rst = 2, 4
	return exprs{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{syn | rst}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{0}},
	}
}
