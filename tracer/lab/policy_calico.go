package lab

import (
	"context"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// inCalico arranges a fault on a node whose policies Calico enforces.
func inCalico(f arrangement) arrangement {
	return func(ctx context.Context, l *Lab) (*scene, error) {
		err := l.do(func() error {
			l.rules.calico = true
			return l.node.write(func(r *ruleset) { r.remove(nftables.TableFamilyINet, l.p.agent) })
		}, func() error {
			l.rules.calico = false
			if err := l.node.write(func(r *ruleset) {
				for _, fam := range families() {
					r.remove(fam, "filter")
				}
			}); err != nil {
				return err
			}
			return l.syncPolicies()
		})
		if err != nil {
			return nil, err
		}
		if err := l.syncPolicies(); err != nil {
			return nil, err
		}
		return f(ctx, l)
	}
}

// The mark bit with which Calico remembers that a policy accepted.
const calicoAccept = 0x10000

// syncCalico lays the policies out as Felix does (v3.28): a dispatch by device,
// a chain to and from each workload, one for each policy. The tables are
// iptables' own, so that this is for nodes whose kube-proxy uses nftables.
func (l *Lab) syncCalico() error {
	return l.node.write(func(r *ruleset) {
		for six, fam := range families() {
			(&calico{table: r.replace(fam, "filter"), l: l, six: six, seen: map[string]*nftables.Chain{}}).write()
		}
	})
}

type calico struct {
	*table
	l    *Lab
	six  bool
	seen map[string]*nftables.Chain
}

func note(text string) string {
	id := "cali:" + shortHash(16, text)
	if text == "" {
		return id
	}
	return id + " " + text
}

func (x *calico) write() {
	fwd := x.filter("FORWARD", nftables.ChainHookForward, *nftables.ChainPriorityFilter)
	top, from, to := x.chain("cali-FORWARD"), x.chain("cali-from-wl-dispatch"), x.chain("cali-to-wl-dispatch")
	x.rule(fwd, note(""), counter(), jump(top))
	x.rule(top, note("in"), counter(), jump(from))
	x.rule(top, note("out"), counter(), jump(to))
	if x.l.rules.hostEndpoint {
		x.hostEndpoint(top)
	}
	x.rule(fwd, note("Policy explicitly accepted packet."), markBit(calicoAccept, true), counter(), accept())
	for _, p := range x.l.localPods() {
		x.workload(p, from, "cali-fw-", meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, ifname(p.hostVeth)), false)
		x.workload(p, to, "cali-tw-", meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, ifname(p.hostVeth)), true)
	}
}

// hostEndpoint is the dispatch for what the uplink forwards, with the end that a
// host endpoint without a policy that allows has.
func (x *calico) hostEndpoint(top *nftables.Chain) {
	dispatch, c := x.chain("cali-from-hep-forward"), x.chain("cali-fhfw-"+uplink)
	x.rule(top, note("host endpoints"), counter(), jump(dispatch))
	x.rule(dispatch, note("dispatch "+c.Name), meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, ifname(uplink)), counter(), jump(c))
	x.rule(c, note("established"), ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), counter(), accept())
	x.rule(c, note("Drop if no policies passed packet"), drop())
}

func (x *calico) workload(p *pod, dispatch *nftables.Chain, prefix string, device exprs, ingress bool) {
	c := x.chain(prefix + p.hostVeth)
	x.rule(dispatch, note("dispatch "+c.Name), device, counter(), jump(c))
	x.rule(c, note("established"), ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), counter(), accept())
	x.rule(c, note("invalid"), ctState(expr.CtStateBitINVALID), counter(), verdict(expr.VerdictDrop))
	x.rule(c, note("clear"), counter(), changeMark(^uint32(calicoAccept), 0))
	pols := x.l.policiesOf(p, ingress)
	for _, pol := range pols {
		x.rule(c, note(fmt.Sprintf("NetworkPolicy %s/%s", pol.ns, pol.name)), counter(), jump(x.policy(pol, ingress)))
		x.rule(c, note("Return if policy accepted"), markBit(calicoAccept, true), counter(), ret())
	}
	if len(pols) > 0 {
		x.rule(c, note("Drop if no policies passed packet"), drop())
	}
	x.rule(c, note("accept"), counter(), changeMark(^uint32(0), 0))
}

func (x *calico) policy(pol policy, ingress bool) *nftables.Chain {
	name, other := "cali-po-", daddr
	if ingress {
		name, other = "cali-pi-", saddr
	}
	name += "_" + shortHash(20, pol.ns, pol.name)
	if c := x.seen[name]; c != nil {
		return c
	}
	c := x.chain(name)
	x.seen[name] = c
	side := "egress"
	if ingress {
		side = "ingress"
	}
	// The first rule names the policy, also where there is nothing to allow.
	comment := note(fmt.Sprintf("Policy %s/knp.default.%s %s", pol.ns, pol.name, side))
	add := func(parts ...exprs) {
		x.rule(c, comment, parts...)
		comment = note("")
	}
	mark := exprs(changeMark(^uint32(calicoAccept), calicoAccept))
	for _, rule := range pol.allow {
		for _, peer := range x.l.c.peers(pol, rule, x.six) {
			if len(rule.ports) == 0 {
				add(x.is(other, peer), counter(), mark)
			}
			for _, port := range rule.ports {
				add(x.is(other, peer), dport(port.proto, port.port), counter(), mark)
			}
		}
	}
	if len(pol.allow) == 0 {
		add(counter())
	}
	return c
}
