package lab

import (
	"context"
	"slices"
	"time"

	"github.com/google/nftables"
)

var bothProtocols = []string{"tcp", "udp"}

// control is a healthy fault: nothing is at fault, and every attempt succeeds.
func control(name, title, desc string, protocols []string, arrange func(context.Context, *Lab) (*scene, error)) Fault {
	return Fault{
		Name: name, Title: title, Description: desc, Component: "none", Code: "ok",
		Healthy: true, Protocols: protocols, Visible: time.Second,
		arrange: func(ctx context.Context, l *Lab) (*scene, error) {
			s, err := arrange(ctx, l)
			if err != nil {
				return nil, err
			}
			return s.shows(OK), nil
		},
	}
}

func healthyControls() []Fault {
	lossy := control("healthy", "nothing is broken", "A pod reaches a Service; one packet is lost and sent again, as happens everywhere.", bothProtocols,
		func(_ context.Context, l *Lab) (*scene, error) { return l.toService(), l.loseOne() })
	lossy.Visible = 2 * time.Second
	return []Fault{
		lossy,
		control("healthy-service", "pod to Service", "A pod reaches a Service with two endpoints on its node.", bothProtocols,
			func(_ context.Context, l *Lab) (*scene, error) { return l.toService(), nil }),
		control("healthy-iptables", "pod to Service, iptables mode", "A pod reaches a Service through kube-proxy's iptables-style rules.", bothProtocols,
			func(_ context.Context, l *Lab) (*scene, error) {
				return l.toService(), l.sync(l.syncProxy, func() { with(l, &l.rules.proxy, proxyIPTables) })
			}),
		control("healthy-external", "pod to the internet", "A pod reaches a host outside, masqueraded by the node.", bothProtocols,
			func(_ context.Context, l *Lab) (*scene, error) { return l.toInternet(), nil }),
		control("healthy-remote", "pod to a pod of another node", "A pod reaches a pod of the second node by its address.", bothProtocols,
			func(_ context.Context, l *Lab) (*scene, error) { return l.toFarPod(), nil }),
		control("healthy-dns", "pod to DNS", "A pod asks the cluster's DNS and is answered.", []string{"udp"},
			func(_ context.Context, l *Lab) (*scene, error) { return l.toDNS(), nil }),
		control("healthy-policy-allows", "policies that allow", "Policies select both ends and allow the flow; a default deny lies around it.", bothProtocols, arrangeAllowed),
		control("healthy-udp", "UDP to a Service", "A pod exchanges datagrams with a Service.", []string{"udp"},
			func(_ context.Context, l *Lab) (*scene, error) {
				s := l.toService()
				s.dial.Kind, s.dial.Retries = dialUDP, 3
				return s, nil
			}),
		control("healthy-ipv6", "IPv6 to a Service", "A pod reaches a Service by its IPv6 address.", bothProtocols,
			func(_ context.Context, l *Lab) (*scene, error) {
				s := l.toService()
				s.dial.To = addrPort(l.api().ip6, l.p.svcPort)
				return s, nil
			}),
		control("healthy-hairpin", "pod to itself through its Service", "A pod reaches itself through its own Service.", bothProtocols, arrangeHairpin),
		control("healthy-bulk", "a large upload", "A pod sends a megabyte to a host outside, over the full MTU.", []string{"tcp"},
			func(_ context.Context, l *Lab) (*scene, error) {
				s := l.toInternet()
				s.dial.Kind, s.dial.Body = dialHTTP, 1<<20
				return s, nil
			}),
	}
}

// loseOne drops the first packet of the client's requests, once.
func (l *Lab) loseOne() error {
	return l.addTable(nftables.TableFamilyINet, l.p.guard, func(t *table) {
		fwd := t.filter("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter)
		c := l.client()
		t.rule(fwd, "", t.is(saddr, host(l.pick(c.ip4, c.ip6))), dport(l.opts.Protocol, l.p.podPort), firstOnly(), drop())
	})
}

// addTable adds a table to the node for the time of the fault.
func (l *Lab) addTable(fam nftables.TableFamily, name string, fill func(*table)) error {
	return l.do(
		func() error { return l.node.write(func(r *ruleset) { fill(r.replace(fam, name)) }) },
		func() error { return l.node.write(func(r *ruleset) { r.remove(fam, name) }) },
	)
}

// arrangeAllowed puts policies around the flow that let it through.
func arrangeAllowed(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	ports := []allowPort{{proto: "TCP", port: p.podPort}, {proto: "UDP", port: p.podPort}}
	return l.toService(), l.addPolicies(
		policy{ns: p.serverNS, name: "default-deny", ingress: true},
		policy{ns: p.serverNS, name: p.server + "-from-" + p.clientTeam, app: p.server, ingress: true,
			allow: []allowRule{{namespaces: map[string]string{"team": p.clientTeam}, pods: map[string]string{"app": p.client}, ports: ports}}},
		policy{ns: p.clientNS, name: p.client + "-egress", app: p.client, egress: true,
			allow: []allowRule{l.dnsAllowance(), {namespaces: map[string]string{"team": p.serverTeam}, ports: ports}}},
	)
}

func (l *Lab) dnsAllowance() allowRule {
	return allowRule{
		namespaces: map[string]string{"kubernetes.io/metadata.name": systemNS}, pods: map[string]string{"k8s-app": dnsApp},
		ports: []allowPort{{proto: "UDP", port: 53}, {proto: "TCP", port: 53}},
	}
}

func (l *Lab) addPolicies(pols ...policy) error {
	return l.sync(l.syncPolicies, func() { with(l, &l.c.policies, slices.Concat(l.c.policies, pols)) })
}

// oneEndpoint leaves the server's Service with one ready endpoint, so that what
// is wrong with that pod is wrong for every connection.
func (l *Lab) oneEndpoint() error {
	return l.sync(l.syncProxy, func() { with(l, &l.server(1).notReady, true) })
}

func arrangeHairpin(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	x, s := l.server(0), l.api()
	return l.between(x.space, x.ref(), addrPort(s.ip(l.opts.IPv6), l.p.svcPort), s.ref(l.p.svcPort)), nil
}
