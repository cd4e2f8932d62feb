package lab

import (
	"context"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// nearFaults are policies that were meant to allow the flow, or that stand where
// nobody looks for them.
func nearFaults() []Fault {
	f := func(code, name, title, desc string, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "policy", Code: code, Protocols: bothProtocols, Visible: silence, arrange: arrange}
	}
	return []Fault{
		f("pol-cni-policy", "cilium-policy", "a policy of the CNI's own kind", "A CiliumNetworkPolicy of the server allows another workload only, and Cilium's program at its veth drops the client.", arrangeCiliumPolicy),
		f("pol-one-side-only", "policy-one-side", "only one side allows", "A NetworkPolicy of the server allows the client, and one of the client does not allow it out.", arrangeOneSide),
		f("pol-selector-mismatch", "policy-own-namespace", "a podSelector without its namespace", "A NetworkPolicy of the server selects the client's label, and so only pods of its own namespace.", arrangeOwnNamespace),
		f("pol-selector-mismatch", "policy-namespace-label", "a namespace without its label", "A NetworkPolicy of the server asks for a label that no namespace has.", arrangeNoLabel),
		f("pol-cluster-deny", "cluster-policy", "a cluster-wide policy denies", "An AdminNetworkPolicy denies what a NetworkPolicy of the server allows.", arrangeAdminDeny),
		f("pol-clusterip-pre-dnat", "policy-before-dnat", "a policy judged before the Service's translation",
			"A NetworkPolicy of the client allows the Service's pods; its agent's program at the client's veth sees the Service's address.", arrangeBeforeDNAT),
		f("pol-ipblock-after-snat", "policy-after-snat", "a policy judged after the source's translation",
			"A NetworkPolicy of the server allows the client's address; its agent's program at the server's veth sees the node's.", arrangeAfterSNAT),
		f("pol-startup-race", "startup-race", "a pod earlier than its policies", "A pod has just been created, and its policy agent's program denies all until it has the policies.", arrangeStartup),
		control("healthy-agent-program", "pods behind an agent's program", "A pod reaches another by its address, past the program of a policy agent that allows it.", bothProtocols, arrangeAgentAllows),
	}
}

// toEgress lets a client out to the server's pods and to DNS.
func (l *Lab) toEgress() policy {
	return policy{
		ns: l.p.clientNS, name: l.p.client + "-egress", app: l.p.client, egress: true,
		allow: []allowRule{l.dnsAllowance(), {namespaces: map[string]string{"team": l.p.serverTeam}, ports: l.appPorts()}},
	}
}

func arrangeOneSide(_ context.Context, l *Lab) (*scene, error) {
	if err := l.allowPolicy(); err != nil {
		return nil, err
	}
	return l.deniedBy(l.toService(), policy{
		ns: l.p.clientNS, name: l.p.client + "-dns-only", app: l.p.client, egress: true, allow: []allowRule{l.dnsAllowance()},
	})
}

func arrangeOwnNamespace(_ context.Context, l *Lab) (*scene, error) {
	return l.deniedBy(l.toService(), policy{
		ns: l.p.serverNS, name: l.p.server + "-from-" + l.p.client, app: l.p.server, ingress: true,
		allow: []allowRule{{pods: map[string]string{"app": l.p.client}, ports: l.appPorts()}},
	})
}

func arrangeNoLabel(_ context.Context, l *Lab) (*scene, error) {
	return l.deniedBy(l.toService(), policy{
		ns: l.p.serverNS, name: l.p.server + "-from-" + l.p.client, app: l.p.server, ingress: true,
		allow: []allowRule{{namespaces: map[string]string{"access": l.p.serverTeam}, pods: map[string]string{"app": l.p.client}, ports: l.appPorts()}},
	})
}

func arrangeAdminDeny(_ context.Context, l *Lab) (*scene, error) {
	if err := l.allowPolicy(); err != nil {
		return nil, err
	}
	pol := adminPolicy{name: "isolate-" + l.p.serverTeam, priority: 20, subject: map[string]string{"team": l.p.serverTeam}, denied: map[string]string{"team": l.p.clientTeam}}
	s := l.toService().blames("AdminNetworkPolicy", "", pol.name).shows(Timeout)
	return s, l.sync(l.syncPolicies, func() { with(l, &l.c.adminPolicies, []adminPolicy{pol}) })
}

// byProgram leaves the policies to programs at the pods' veths, as agents have it
// that use no rules.
func (l *Lab) byProgram(pols ...policy) error {
	with(l, &l.rules.byProgram, true)
	return l.addPolicies(pols...)
}

// arrangeBeforeDNAT: what the pod sends meets the program when it enters the
// node, where nothing has been translated yet.
func arrangeBeforeDNAT(_ context.Context, l *Lab) (*scene, error) {
	pol := l.toEgress()
	if err := l.byProgram(pol); err != nil {
		return nil, err
	}
	s := l.toService().blames("NetworkPolicy", pol.ns, pol.name).shows(Timeout)
	services := l.svcRange(l.opts.IPv6)
	return s, l.guard(l.client(), awsEgress, ebpf.AttachTCXIngress, dropWhere(addressIn(daddrAt, services, "drop", "pass")))
}

// arrangeAfterSNAT: what comes by a load balancer's address is masqueraded before
// it meets the program where it leaves for the pod.
func arrangeAfterSNAT(ctx context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	s, err := arrangeBalancer(func(*Lab) []netip.Prefix { return nil })(ctx, l)
	if err != nil {
		return nil, err
	}
	allowed := host(l.client().ip(l.opts.IPv6))
	pol := policy{
		ns: l.p.serverNS, name: l.p.server + "-allow-list", app: l.p.server, ingress: true,
		allow: []allowRule{{block: allowed, ports: l.appPorts()}},
	}
	if err := l.byProgram(pol); err != nil {
		return nil, err
	}
	s.blames("NetworkPolicy", pol.ns, pol.name).shows(Timeout)
	return s, l.guard(l.server(0), awsIngress, ebpf.AttachTCXEgress, dropWhere(addressIn(saddrAt, allowed, "pass", "drop")))
}

func arrangeCiliumPolicy(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	name := l.p.server + "-from-" + l.p.far
	with(l, &l.rules.byProgram, true)
	with(l, &l.c.ciliumPolicies, []ciliumPolicy{{ns: l.p.serverNS, name: name, app: l.p.server, from: l.p.far}})
	s := l.toService().blames("CiliumNetworkPolicy", l.p.serverNS, name).shows(Timeout)
	far := host(l.far().ip(l.opts.IPv6))
	return s, l.guard(l.server(0), ciliumToPod, ebpf.AttachTCXEgress, dropWhere(addressIn(saddrAt, far, "pass", "drop")))
}

// arrangeAgentAllows is arrangeBeforeDNAT with the address that the policy is about.
func arrangeAgentAllows(_ context.Context, l *Lab) (*scene, error) {
	if err := l.byProgram(l.toEgress()); err != nil {
		return nil, err
	}
	x := l.server(0)
	s := l.between(l.client().space, l.client().ref(), addrPort(x.ip(l.opts.IPv6), l.p.podPort), podRef(x, l.p.podPort))
	services := l.svcRange(l.opts.IPv6)
	return s, l.guard(l.client(), awsEgress, ebpf.AttachTCXIngress, dropWhere(addressIn(daddrAt, services, "drop", "pass")))
}

// arrangeStartup is arrangeAgentAllows of a pod that is new, with the program of
// an agent in its strict mode.
func arrangeStartup(_ context.Context, l *Lab) (*scene, error) {
	if err := l.byProgram(l.toEgress()); err != nil {
		return nil, err
	}
	x, c := l.server(0), l.client()
	with(l, &c.isNew, true)
	// A policy of these kinds could deny it as well: it is known that there is none.
	with(l, &l.c.read, []string{"AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"})
	s := l.between(c.space, c.ref(), addrPort(x.ip(l.opts.IPv6), l.p.podPort), podRef(x, l.p.podPort))
	all := dropWhere(asm.Instructions{asm.Ja.Label("drop")})
	return l.blamesClient(s).shows(Timeout), l.guard(c, awsEgress, ebpf.AttachTCXIngress, all)
}
