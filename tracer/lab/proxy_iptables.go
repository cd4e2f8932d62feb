package lab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// iptProxy lays rules out as kube-proxy's iptables mode does, in the tables that
// iptables-nft uses.
type iptProxy struct {
	nat, filter *table
	l           *Lab
	v6          bool
	mark        *nftables.Chain
	services    *nftables.Chain
	rejects     *nftables.Chain
	nodePorts   *nftables.Chain
}

func (x *iptProxy) write() {
	x.mark = x.nat.chain("KUBE-MARK-MASQ")
	x.nat.rule(x.mark, "", counter(), changeMark(^uint32(masqueradeMark), masqueradeMark))
	x.services = x.nat.chain("KUBE-SERVICES")
	x.nodePorts = x.nat.chain("KUBE-NODEPORTS")
	x.rejects = x.filter.chain("KUBE-SERVICES")
	x.baseChains()
	for _, s := range x.l.c.services {
		for _, sp := range s.ports {
			if !s.unwritten {
				x.service(s, sp)
			}
		}
	}
	x.nat.rule(x.services, "kubernetes service nodeports; NOTE: this must be the last rule in this chain", toLocal(), counter(), jump(x.nodePorts))
}

// toLocal is "fib daddr type local".
func toLocal() exprs {
	return exprs{
		&expr.Fib{Register: reg, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: native32(unix.RTN_LOCAL)},
	}
}

func (x *iptProxy) baseChains() {
	const portals = "kubernetes service portals"
	post := x.nat.chain("KUBE-POSTROUTING")
	x.nat.rule(post, "", markBit(masqueradeMark, false), counter(), ret())
	x.nat.rule(post, "", counter(), changeMark(^uint32(0), masqueradeMark))
	x.nat.rule(post, "kubernetes service traffic requiring SNAT", counter(), masquerade())
	dst, src := *nftables.ChainPriorityNATDest, *nftables.ChainPriorityNATSource
	x.nat.rule(x.nat.nat("PREROUTING", nftables.ChainHookPrerouting, dst), portals, counter(), jump(x.services))
	x.nat.rule(x.nat.nat("OUTPUT", nftables.ChainHookOutput, dst), portals, counter(), jump(x.services))
	x.nat.rule(x.nat.nat("POSTROUTING", nftables.ChainHookPostrouting, src), "kubernetes postrouting rules", counter(), jump(post))

	newOnly := ctState(expr.CtStateBitNEW)
	fwd := x.filter.filter("FORWARD", nftables.ChainHookForward, *nftables.ChainPriorityFilter)
	out := x.filter.filter("OUTPUT", nftables.ChainHookOutput, *nftables.ChainPriorityFilter)
	in := x.filter.filter("INPUT", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
	for _, c := range []*nftables.Chain{fwd, out, in} {
		x.filter.rule(c, portals, newOnly, counter(), jump(x.rejects))
	}
	kube := x.filter.chain("KUBE-FORWARD")
	x.filter.rule(fwd, "kubernetes forwarding rules", counter(), jump(kube))
	if x.l.rules.dropInvalid {
		x.filter.rule(kube, "", ctState(expr.CtStateBitINVALID), drop())
	}
	x.filter.rule(kube, "kubernetes forwarding rules", markBit(masqueradeMark, true), counter(), accept())
}

func (x *iptProxy) service(s *service, sp servicePort) {
	name := fmt.Sprintf("%s/%s:%s", s.ns, s.name, sp.name)
	frontend := append(x.nat.is(daddr, host(s.ip(x.v6))), dport(sp.proto, sp.port)...)
	targets := x.l.c.targets(s, x.v6)
	if len(targets) == 0 {
		if x.l.c.elsewhere(s, x.v6) {
			x.filter.rule(x.rejects, name+" has no local endpoints", frontend, drop())
			return
		}
		x.filter.rule(x.rejects, name+" has no endpoints", frontend, counter(), x.filter.reject())
		return
	}
	chain := x.nat.chain("KUBE-SVC-" + shortHash(16, name, strings.ToLower(sp.proto)))
	x.nat.rule(x.services, name+" cluster IP", frontend, counter(), jump(chain))
	x.nat.rule(chain, name+" cluster IP", frontend, x.nat.not(saddr, x.l.podRange(x.v6)), counter(), jump(x.mark))
	x.nodePort(s, sp, name, chain)
	for i, a := range targets {
		to := netip.AddrPortFrom(a, sp.target)
		sep := x.nat.chain("KUBE-SEP-" + shortHash(16, name, strings.ToLower(sp.proto), to.String()))
		if !x.l.rules.noHairpinMark {
			x.nat.rule(sep, name, x.nat.is(saddr, host(a)), counter(), jump(x.mark))
		}
		x.nat.rule(sep, name, l4(sp.proto), counter(), dnat(to))
		x.nat.rule(chain, fmt.Sprintf("%s -> %s", name, to), oneOf(len(targets)-i), counter(), jump(sep))
	}
}

// nodePort serves a port of every node's.
func (x *iptProxy) nodePort(s *service, sp servicePort, name string, to *nftables.Chain) {
	if s.nodePort == 0 {
		return
	}
	external := x.nat.chain("KUBE-EXT-" + shortHash(16, name, strings.ToLower(sp.proto)))
	x.nat.rule(external, "masquerade traffic for "+name+" external destinations", counter(), jump(x.mark))
	x.nat.rule(external, "", counter(), jump(to))
	x.nat.rule(x.nodePorts, name, dport(sp.proto, s.nodePort), counter(), jump(external))
}

// oneOf matches every n-th packet at random, as "statistic mode random" does.
func oneOf(n int) exprs {
	if n == 1 {
		return nil
	}
	return exprs{
		&expr.Numgen{Register: reg, Modulus: uint32(n), Type: 1 /* NFT_NG_RANDOM */},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: native32(0)},
	}
}
