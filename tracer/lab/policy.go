package lab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// syncMasquerade writes flannel's table: what leaves the cluster's pod range
// gets the node's address.
func (l *Lab) syncMasquerade() error {
	return l.node.write(func(r *ruleset) {
		for six, fam := range families() {
			name, cluster, own, group := "flannel-ipv4", l.p.cluster4, l.p.pods4, netip.MustParsePrefix("224.0.0.0/4")
			if six {
				name, cluster, own, group = "flannel-ipv6", l.p.cluster6, l.p.pods6, netip.MustParsePrefix("ff00::/8")
			}
			t := r.replace(fam, name)
			fwd := t.filter("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter)
			t.rule(fwd, "flanneld forward", t.is(saddr, cluster), accept())
			t.rule(fwd, "flanneld forward", t.is(daddr, cluster), accept())
			post := t.nat("postrtg", nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource)
			if l.rules.noMasquerade {
				continue
			}
			t.rule(post, "flanneld masq", markBit(masqueradeMark, true), ret())
			t.rule(post, "flanneld masq", t.is(saddr, own), t.is(daddr, cluster), ret())
			t.rule(post, "flanneld masq", t.is(saddr, cluster), t.is(daddr, own), ret())
			if x := l.notMasqueraded(six); x.IsValid() {
				t.rule(post, "flanneld masq", t.is(daddr, x), ret())
			}
			t.rule(post, "flanneld masq", t.is(saddr, cluster), t.not(daddr, group), t.not(daddr, cluster), l.masquerade(six))
		}
	})
}

// syncPolicies enforces the cluster's NetworkPolicies as a CNI's agent would:
// a chain for each selected pod and direction, allowances first, then a drop.
func (l *Lab) syncPolicies() error {
	if l.rules.calico {
		return l.syncCalico()
	}
	return l.node.write(func(r *ruleset) {
		t := r.replace(nftables.TableFamilyINet, l.p.agent)
		fwd := t.filter("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter)
		t.rule(fwd, "", ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
		t.rule(fwd, "neighbour discovery between pods", neighbourDiscovery(), accept())
		hooks := []*nftables.Chain{fwd}
		if l.rules.judgeInput {
			hooks = append(hooks, t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter))
		}
		if l.rules.byProgram {
			return
		}
		for _, pol := range l.c.adminPolicies {
			l.deny(t, fwd, pol)
		}
		for _, ingress := range []bool{false, true} {
			for _, x := range l.localPods() {
				l.enforce(t, hooks, x, ingress)
			}
		}
	})
}

// deny writes a cluster-wide policy, which comes before all NetworkPolicies.
func (l *Lab) deny(t *table, hook *nftables.Chain, pol adminPolicy) {
	chain := t.chain("admin-" + strings.ToLower(shortHash(10, pol.name)))
	t.rule(hook, "cluster-wide policies", jump(chain))
	for _, six := range []bool{false, true} {
		for _, to := range l.c.peers(policy{}, allowRule{namespaces: pol.subject}, six) {
			for _, from := range l.c.peers(policy{}, allowRule{namespaces: pol.denied}, six) {
				t.rule(chain, "AdminNetworkPolicy "+pol.name+" ingress rule 0", t.is(saddr, from), t.is(daddr, to), drop())
			}
		}
	}
}

func (l *Lab) notMasqueraded(six bool) netip.Prefix {
	if six {
		return l.rules.notMasqueraded6
	}
	return l.rules.notMasqueraded4
}

// masquerade is what the CNI does to traffic that leaves the cluster.
func (l *Lab) masquerade(six bool) exprs {
	p := l.rules.masqueradePort
	switch {
	case l.rules.fixedSource:
		return l.fixedSource(six)
	case p == 0:
		return masquerade()
	case six:
		return snat(l.opts.Protocol, netip.AddrPortFrom(l.p.node6, p))
	}
	return snat(l.opts.Protocol, netip.AddrPortFrom(l.p.node4, p))
}

// fixedSource is "snat to ADDRESS", as for an egress address.
func (l *Lab) fixedSource(six bool) exprs {
	a, fam := l.p.node4, uint32(unix.NFPROTO_IPV4)
	if six {
		a, fam = l.p.node6, unix.NFPROTO_IPV6
	}
	return exprs{
		&expr.Immediate{Register: reg, Data: a.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: fam, RegAddrMin: reg},
	}
}

func (l *Lab) policiesOf(x *pod, ingress bool) []policy {
	var out []policy
	for _, pol := range l.c.policies {
		if pol.ingress != ingress {
			continue
		}
		for _, s := range l.c.selected(pol) {
			if s == x {
				out = append(out, pol)
			}
		}
	}
	return out
}

func (l *Lab) enforce(t *table, hooks []*nftables.Chain, x *pod, ingress bool) {
	pols := l.policiesOf(x, ingress)
	if len(pols) == 0 {
		return
	}
	dir, own, other := "egress", saddr, daddr
	if ingress {
		dir, own, other = "ingress", daddr, saddr
	}
	chain := t.chain("pod-" + dir + "-" + strings.ToLower(shortHash(10, x.ns, x.name)))
	pod := x.ns + "/" + x.name
	for _, hook := range hooks {
		for _, six := range []bool{false, true} {
			t.rule(hook, dir+" of pod "+pod, t.is(own, host(x.ip(six))), jump(chain))
		}
	}
	var names []string
	for _, pol := range pols {
		names = append(names, pol.ns+"/"+pol.name)
		for i, allow := range pol.allow {
			comment := fmt.Sprintf("policy %s/%s %s rule %d", pol.ns, pol.name, dir, i)
			for _, six := range []bool{false, true} {
				l.allow(t, chain, comment, other, l.c.peers(pol, allow, six), allow.ports)
			}
		}
	}
	end := drop()
	switch {
	case l.rules.resetDenied:
		end = resetting()
	case l.rules.rejectDenied:
		end = append(counter(), t.reject()...)
	}
	t.rule(chain, fmt.Sprintf("no %s policy of pod %s allows: %s", dir, pod, strings.Join(names, " ")), end)
}

func (l *Lab) allow(t *table, chain *nftables.Chain, comment string, other field, peers []netip.Prefix, ports []allowPort) {
	for _, peer := range peers {
		if len(ports) == 0 {
			t.rule(chain, comment, t.is(other, peer), counter(), ret())
		}
		for _, p := range ports {
			if p.name == "" {
				t.rule(chain, comment, t.is(other, peer), dport(p.proto, p.port), counter(), ret())
			}
		}
	}
}

// addBystander adds a firewall's table that has nothing to do with anything:
// it drops one port that only noise uses.
func (l *Lab) addBystander() error {
	return l.node.write(func(r *ruleset) {
		t := r.replace(nftables.TableFamilyINet, l.p.guard+"-baseline")
		fwd := t.filter("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter)
		t.rule(fwd, "block discard service", dport("UDP", noisePort), drop())
	})
}

// neighbourDiscovery matches "icmpv6 type { 135, 136 }": between the ports of a
// bridge it passes the forward hook, where ARP does not.
func neighbourDiscovery() exprs {
	return append(meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{unix.IPPROTO_ICMPV6}),
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: reg, FromData: []byte{135}, ToData: []byte{136}},
	)
}
