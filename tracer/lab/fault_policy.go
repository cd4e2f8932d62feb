package lab

import (
	"context"
	"time"

	"github.com/google/nftables"
)

// silence is how long it takes until a client's silence can be called that.
const silence = attemptTimeout + time.Second

func policyFaults() []Fault {
	return []Fault{
		{Name: "policy-ingress", Title: "ingress policy", Description: "A NetworkPolicy of the server does not allow the client in.",
			Component: "policy", Code: "pol-ingress-deny", Protocols: bothProtocols, Visible: silence, arrange: arrangeIngressDeny},
		{Name: "policy-default-deny", Title: "default deny", Description: "A default deny of the server's namespace has no policy beside it that allows.",
			Component: "policy", Code: "pol-ingress-deny", Protocols: bothProtocols, Visible: silence, arrange: arrangeDefaultDeny},
		{Name: "policy-egress", Title: "egress policy", Description: "A NetworkPolicy of the client does not allow it out to the server.",
			Component: "policy", Code: "pol-egress-deny", Protocols: bothProtocols, Visible: silence, arrange: arrangeEgressDeny},
		{Name: "policy-wrong-port", Title: "policy lists the Service's port", Description: "A NetworkPolicy allows the Service's port, but policies see the pod's.",
			Component: "policy", Code: "pol-wrong-port", Protocols: bothProtocols, Visible: silence, arrange: arrangeWrongPolicyPort},
		{Name: "dns-policy", Title: "DNS blocked by egress policy", Description: "A NetworkPolicy of the client allows the server, and forgets DNS.",
			Component: "policy", Code: "pol-dns-egress", Protocols: []string{"udp"}, Visible: silence, arrange: arrangeDNSDeny},
		{Name: "host-source", Title: "policy and a node as client", Description: "A node calls a pod; the policy allows pods, and a node is none.",
			Component: "policy", Code: "pol-probe-or-host-source", Protocols: bothProtocols, Visible: silence, arrange: arrangeHostSource},
		{Name: "policy-reject", Title: "a policy agent that rejects", Description: "A NetworkPolicy of the server does not allow the client in, and the agent refuses for it.",
			Component: "policy", Code: "pol-reject-mode", Protocols: bothProtocols, Visible: time.Second, arrange: arrangeReject},
		{Name: "policy-named-port", Title: "policy names an unknown port", Description: "A NetworkPolicy allows a port by a name that the server's pods do not have.",
			Component: "policy", Code: "pol-named-port", Protocols: bothProtocols, Visible: silence, arrange: arrangeNamedPort},
	}
}

func (l *Lab) appPorts() []allowPort {
	return []allowPort{{proto: "TCP", port: l.p.podPort}, {proto: "UDP", port: l.p.podPort}}
}

func (l *Lab) fromTeam(ports ...allowPort) allowRule {
	return allowRule{namespaces: map[string]string{"team": l.p.clientTeam}, ports: ports}
}

func (l *Lab) deniedBy(s *scene, pol policy) (*scene, error) {
	return s.blames("NetworkPolicy", pol.ns, pol.name).shows(Timeout), l.addPolicies(pol)
}

func arrangeIngressDeny(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	return l.deniedBy(l.toService(), policy{
		ns: p.serverNS, name: p.server + "-from-" + p.far, app: p.server, ingress: true,
		allow: []allowRule{{pods: map[string]string{"app": p.far}, ports: l.appPorts()}},
	})
}

func arrangeDefaultDeny(_ context.Context, l *Lab) (*scene, error) {
	return l.deniedBy(l.toService(), policy{ns: l.p.serverNS, name: "default-deny", ingress: true})
}

func arrangeEgressDeny(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	return l.deniedBy(l.toService(), policy{
		ns: p.clientNS, name: p.client + "-egress", app: p.client, egress: true, allow: []allowRule{l.dnsAllowance(), {}},
	})
}

func arrangeWrongPolicyPort(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	return l.deniedBy(l.toService(), policy{
		ns: p.serverNS, name: p.server + "-from-" + p.clientTeam, app: p.server, ingress: true,
		allow: []allowRule{l.fromTeam(allowPort{proto: "TCP", port: p.svcPort}, allowPort{proto: "UDP", port: p.svcPort})},
	})
}

func arrangeReject(ctx context.Context, l *Lab) (*scene, error) {
	with(l, &l.rules.rejectDenied, true)
	s, err := arrangeIngressDeny(ctx, l)
	return s.orNil(err, Refused)
}

func arrangeNamedPort(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	return l.deniedBy(l.toService(), policy{
		ns: p.serverNS, name: p.server + "-from-" + p.clientTeam, app: p.server, ingress: true,
		allow: []allowRule{l.fromTeam(allowPort{proto: "TCP", name: "web-" + p.server}, allowPort{proto: "UDP", name: "web-" + p.server})},
	})
}

// arrangePolicyRemoved deletes a policy, of which the agent does not learn.
func arrangePolicyRemoved(_ context.Context, l *Lab) (*scene, error) {
	s, x, err := l.toOnePod()
	if err != nil {
		return nil, err
	}
	if err := l.addPolicies(policy{ns: l.p.serverNS, name: "default-deny", ingress: true}); err != nil {
		return nil, err
	}
	with(l, &l.c.policies, nil)
	return s.blames("FirewallRule", "", l.family()+" filter cali-tw-"+x.hostVeth).shows(Timeout), nil
}

// arrangeHostEndpoint is traffic from the other node.
func arrangeHostEndpoint(_ context.Context, l *Lab) (*scene, error) {
	x, far := l.server(0), l.far()
	from := far.ip(l.opts.IPv6)
	s := l.between(l.peer, from.String(), addrPort(x.ip(l.opts.IPv6), l.p.podPort), podRef(x, l.p.podPort))
	s.dial.Local = from
	err := l.sync(l.syncPolicies, func() { with(l, &l.rules.hostEndpoint, true) })
	return l.blamesNode(s).shows(Timeout), err
}

func arrangeDNSDeny(_ context.Context, l *Lab) (*scene, error) {
	p := l.p
	return l.deniedBy(l.toDNS(), policy{
		ns: p.clientNS, name: p.client + "-egress", app: p.client, egress: true,
		allow: []allowRule{{namespaces: map[string]string{"team": p.serverTeam}, ports: l.appPorts()}},
	})
}

func arrangeHostSource(_ context.Context, l *Lab) (*scene, error) {
	x := l.server(0)
	s := l.between(l.peer, "node/"+l.p.peer, addrPort(x.ip(l.opts.IPv6), l.p.podPort), podRef(x, l.p.podPort))
	return l.deniedBy(s, policy{
		ns: l.p.serverNS, name: l.p.server + "-from-" + l.p.clientTeam, app: l.p.server, ingress: true,
		allow: []allowRule{l.fromTeam(l.appPorts()...)},
	})
}

// allowPolicy lets the client in, so that no policy can be to blame.
func (l *Lab) allowPolicy() error {
	return l.addPolicies(policy{
		ns: l.p.serverNS, name: l.p.server + "-from-" + l.p.clientTeam, app: l.p.server, ingress: true,
		allow: []allowRule{l.fromTeam(l.appPorts()...)},
	})
}

// foreign adds a base chain of nobody's firewall to the node, before the CNI's.
func (l *Lab) foreign(name string, pol nftables.ChainPolicy, fill func(*table, *nftables.Chain)) error {
	return l.addTable(nftables.TableFamilyINet, name, func(t *table) {
		fill(t, t.base("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, -10, pol))
	})
}
