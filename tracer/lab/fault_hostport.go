package lab

import (
	"context"
	"time"

	"github.com/google/nftables"
)

// hostPortFaults are about a pod that is published on a port of its node.
func hostPortFaults() []Fault {
	return []Fault{
		control("healthy-host-port", "outside to a hostPort", "A host outside reaches a pod by a port of its node.", bothProtocols, arrangeHostPort),
		{Name: "host-port-stale", Title: "a hostPort of a pod that is gone", Description: "The node still maps the port to the address of a pod that is gone.",
			Component: "cni", Code: "cni-hostport-stale", Protocols: bothProtocols, Visible: 4 * time.Second, arrange: arrangeStaleHostPort},
	}
}

// syncHostPort writes the table of CNI's portmap plugin (1.5, nftables).
func (l *Lab) syncHostPort() error {
	return l.node.write(func(r *ruleset) {
		for six, fam := range families() {
			to, node := l.rules.hostPort4, l.p.node4
			if six {
				to, node = l.rules.hostPort6, l.p.node6
			}
			t := r.replace(fam, "cni_hostport")
			ports := t.chain("hostports")
			pre := t.nat("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest)
			t.rule(pre, "", t.is(daddr, host(node)), jump(ports))
			for _, proto := range []string{"TCP", "UDP"} {
				t.rule(ports, l.p.server, dport(proto, l.p.altPort), dnat(addrPort(to, l.p.podPort)))
			}
		}
	})
}

// arrangeHostPort maps a port of the node to a pod, which stays.
func arrangeHostPort(_ context.Context, l *Lab) (*scene, error) {
	x := l.server(0)
	l.rules.hostPort4, l.rules.hostPort6 = x.ip4, x.ip6
	from, to := l.pick(l.p.gw4, l.p.gw6), addrPort(l.pick(l.p.node4, l.p.node6), l.p.altPort)
	s := l.between(l.ext, from.String(), to, to.String())
	s.dial.Local = from
	return s, l.syncHostPort()
}

func arrangeStaleHostPort(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeHostPort(ctx, l)
	if err != nil {
		return nil, err
	}
	return l.blamesNode(s).showsTCP(HostUnreachable), l.sync(l.syncHostPort, func() {
		with(l, &l.rules.hostPort4, nth(l.p.pods4, 230))
		with(l, &l.rules.hostPort6, nth(l.p.pods6, 230))
	})
}
