package lab

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/google/nftables"
)

// partFaults break a part of the connections to a Service: the others are
// answered, so that what the part has in common is what to look for.
func partFaults() []Fault {
	part := func(component, code, name, title, desc string, protocols []string, visible time.Duration, f arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: protocols, Visible: visible, Part: true, arrange: f}
	}
	controlled := control("healthy-three-endpoints", "a Service with three endpoints", "Many connections of a pod to a Service with three endpoints on two nodes, all answered.", bothProtocols,
		func(ctx context.Context, l *Lab) (*scene, error) { return l.toThree(ctx) })
	controlled.Visible = 3 * time.Second
	return []Fault{
		controlled,
		part("application", "app-no-listener", "one-of-three-not-listening", "one endpoint of three does not listen",
			"A Service has three endpoints; in one of the pods nobody listens.", []string{"tcp"}, 3*time.Second, arrangeOneNotListening),
		part("application", "app-pod-firewall", "one-of-three-firewalled", "one endpoint of three is cut off",
			"A Service has three endpoints; a rule inside one of the pods drops what comes in.", bothProtocols, silence+2*time.Second, arrangeOneFirewalled),
	}
}

// toThree goes to the server's Service, which gets the pod of the second node as
// its third endpoint, often enough to meet each.
func (l *Lab) toThree(ctx context.Context) (*scene, error) {
	far, group := l.far(), map[string]string{"behind": l.p.server}
	for _, a := range []netip.Addr{far.ip4, far.ip6} {
		for _, kind := range []serverKind{serveHTTP, serveEcho} {
			h, err := l.peer.listen(ctx, listenArgs{Kind: kind, Addr: addrPort(a, l.p.podPort)})
			if err != nil {
				return nil, fmt.Errorf("serve on the second node: %w", err)
			}
			l.undo = append(l.undo, func() error {
				_, err := l.peer.call(l.ctx, request{Close: h})
				return err
			})
		}
	}
	err := l.sync(l.syncProxy, func() {
		for _, x := range []*pod{l.server(0), l.server(1), far} {
			labels := maps.Clone(x.labels)
			maps.Copy(labels, group)
			with(l, &x.labels, labels)
		}
		with(l, &l.api().selector, group)
	})
	s := l.toService()
	// A rule chooses the endpoint at random: that none or all of 24 meet one of
	// three happens once in 17,000 times.
	s.attempts, s.gap = 24, 60*time.Millisecond
	return s, err
}

func arrangeOneNotListening(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.toThree(ctx)
	if err != nil {
		return nil, err
	}
	s.dial.Kind, s.dial.Retries = dialHTTP, 0 // a datagram's refusal is an ICMP error, and those are limited
	x := l.server(1)
	return s.blames("Pod", x.ns, x.name).shows(OK, Refused), l.stopApp(ctx, x)
}

func arrangeOneFirewalled(ctx context.Context, l *Lab) (*scene, error) {
	s, err := l.toThree(ctx)
	if err != nil {
		return nil, err
	}
	x := l.server(1)
	return s.blames("Pod", x.ns, x.name).shows(OK, Timeout), l.podTable(x, "filter", func(t *table) {
		in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
		t.rule(in, "", dport(l.opts.Protocol, l.p.podPort), drop())
	})
}
