package lab

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
)

// hostPortFaults are about a pod that is published on a port of its node.
func hostPortFaults() []Fault {
	return []Fault{
		control("healthy-host-port", "outside to a hostPort", "A host outside reaches a pod by a port of its node.", bothProtocols, arrangeHostPort),
		{Name: "host-port-stale", Title: "a hostPort of a pod that is gone", Description: "The node still maps the port to the address of a pod that is gone.",
			Component: "cni", Code: "cni-hostport-stale", Protocols: bothProtocols, Visible: 4 * time.Second, arrange: arrangeStaleHostPort},
		{Name: "host-port-missing", Title: "a hostPort that nothing maps", Description: "The node has portmap's table, but no rule in it for the pod's port: the node itself refuses.",
			Component: "cni", Code: "cni-hostport-missing", Protocols: bothProtocols, Visible: time.Second, arrange: arrangeMissingHostPort},
		{Name: "host-port-flushed", Title: "hostPorts that a firewall flushed", Description: "A firewall's reload took portmap's rules away; its own input rules drop what the node takes for its own now.",
			Component: "cni", Code: "cni-hostport-missing", Protocols: bothProtocols, Visible: silence, Double: true, Also: []Also{{"node-input-blocked", true}}, arrange: arrangeFlushedHostPort},
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
			if l.rules.noPortmap {
				r.remove(fam, "cni_hostport")
				continue
			}
			t := r.replace(fam, "cni_hostport")
			ports := t.chain("hostports")
			pre := t.nat("prerouting", nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest)
			t.rule(pre, "", t.is(daddr, host(node)), jump(ports))
			if !to.IsValid() {
				continue
			}
			for _, proto := range []string{"TCP", "UDP"} {
				t.rule(ports, l.p.server, dport(proto, l.p.altPort), dnat(addrPort(to, l.p.podPort)))
			}
		}
	})
}

// arrangeHostPort maps a port of the node to a pod, which stays.
func arrangeHostPort(_ context.Context, l *Lab) (*scene, error) {
	x := l.server(0)
	x.ports = slices.Clone(x.ports) // the other server has the same
	for i := range x.ports {
		x.ports[i].host = l.p.altPort
	}
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

// blamesPublished names the pod that wants the port.
func (l *Lab) blamesPublished(s *scene) *scene {
	x := l.server(0)
	return s.blames("Pod", x.ns, x.name)
}

func arrangeMissingHostPort(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeHostPort(ctx, l)
	if err != nil {
		return nil, err
	}
	return l.blamesPublished(s).shows(Refused), l.sync(l.syncHostPort, func() {
		with(l, &l.rules.hostPort4, netip.Addr{})
		with(l, &l.rules.hostPort6, netip.Addr{})
	})
}

// arrangeFlushedHostPort has no table of portmap's at all, and a firewall that
// drops what nobody allowed.
func arrangeFlushedHostPort(ctx context.Context, l *Lab) (*scene, error) {
	s, err := arrangeHostPort(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := l.sync(l.syncHostPort, func() { with(l, &l.rules.noPortmap, true) }); err != nil {
		return nil, err
	}
	return l.blamesPublished(s).shows(Timeout), l.addTable(nftables.TableFamilyINet, l.p.hostFW, func(t *table) {
		in := t.filter("filter_INPUT", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
		t.rule(in, "", dport(l.opts.Protocol, l.p.altPort), drop())
	})
}
