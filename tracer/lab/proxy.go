package lab

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// proxyMode says who translates Services on the node.
type proxyMode int

const (
	proxyNFT proxyMode = iota
	proxyIPTables
	proxyNone
)

// ruleState is what the node's rules should be, beside the cluster's objects.
type ruleState struct {
	proxy        proxyMode
	noMasquerade bool
	// hostPort4 and hostPort6 are where a port of the node is mapped to.
	hostPort4, hostPort6 netip.Addr
	// noPortmap: the port mapping plugin has no table.
	noPortmap bool
	// noExternalMark: kube-proxy does not mark what comes by a load balancer.
	noExternalMark bool
	// noHairpinMark: kube-proxy does not mark what a pod sends to itself.
	noHairpinMark bool
	// calico: policies stand in chains as Calico writes them.
	calico bool
	// leftover is where nftables rules of an earlier kube-proxy send the server's
	// Service, before the present ones.
	leftover []netip.Addr
	// notMasqueraded is a range that leaves with the pods' own addresses.
	notMasqueraded4, notMasqueraded6 netip.Prefix
	// rejectDenied: the policy agent answers what policies deny; resetDenied: with
	// a reset.
	rejectDenied, resetDenied bool
	// judgeInput: the policy agent judges what goes to the node as well.
	judgeInput bool
	// byProgram: programs at the pods' veths enforce the policies, not rules.
	byProgram bool
	// hostEndpoint: Calico has a host endpoint, without a policy that allows.
	hostEndpoint bool
	// dropInvalid: kube-proxy drops what conntrack calls INVALID (iptables mode).
	dropInvalid bool
	// fixedSource: masquerade is a translation to the first uplink's address.
	fixedSource bool
	// masqueradePort is the only port that masquerade may use, 0 for any.
	masqueradePort uint16
}

// kube-proxy marks what it wants masqueraded (--iptables-masquerade-bit 14).
const masqueradeMark = 0x4000

func families() map[bool]nftables.TableFamily {
	return map[bool]nftables.TableFamily{false: nftables.TableFamilyIPv4, true: nftables.TableFamilyIPv6}
}

// syncProxy writes the Service rules of the current state, and removes those of
// the other mode.
func (l *Lab) syncProxy() error {
	return l.node.write(func(r *ruleset) {
		for six, fam := range families() {
			r.remove(fam, "kube-proxy")
			r.remove(fam, "nat")
			r.remove(fam, "filter")
			switch l.rules.proxy {
			case proxyNFT:
				(&nftProxy{table: r.replace(fam, "kube-proxy"), l: l, v6: six}).write()
			case proxyIPTables:
				(&iptProxy{nat: r.replace(fam, "nat"), filter: r.replace(fam, "filter"), l: l, v6: six}).write()
				if l.rules.leftover != nil {
					(&nftProxy{table: r.replace(fam, "kube-proxy"), l: l, v6: six, old: l.rules.leftover}).write()
				}
			case proxyNone:
			}
		}
	})
}

// nftProxy lays rules out as kube-proxy's nftables mode does (Kubernetes 1.33,
// pkg/proxy/nftables; the names are not API, but people read them).
type nftProxy struct {
	*table
	l          *Lab
	v6         bool
	old        []netip.Addr // what the rules are left with, nil for what is right
	mark       *nftables.Chain
	rejects    *nftables.Chain
	frontends  *nftables.Set
	empty      *nftables.Set
	firewalls  *nftables.Set
	clusterIPs *nftables.Set
}

func (x *nftProxy) write() {
	x.mark = x.chain("mark-for-masquerade")
	x.rule(x.mark, "", changeMark(^uint32(masqueradeMark), masqueradeMark))
	x.rejects = x.chain("reject-chain")
	x.rule(x.rejects, "", x.reject())
	x.sets()
	x.baseChains()
	for _, s := range x.l.c.services {
		for _, sp := range s.ports {
			if !s.unwritten {
				x.service(s, sp)
			}
		}
	}
}

func (x *nftProxy) addrType() nftables.SetDatatype {
	if x.v6 {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

func (x *nftProxy) sets() {
	key := nftables.MustConcatSetType(x.addrType(), nftables.TypeInetProto, nftables.TypeInetService)
	verdicts := func(name string) *nftables.Set {
		return x.set(&nftables.Set{
			Name: name, KeyType: key, Concatenation: true, IsMap: true, DataType: nftables.TypeVerdict,
		}, nil)
	}
	x.frontends = verdicts("service-ips")
	x.empty = verdicts("no-endpoint-services")
	x.firewalls = verdicts("firewall-ips")
	x.clusterIPs = x.set(&nftables.Set{Name: "cluster-ips", KeyType: x.addrType()}, nil)
}

func (x *nftProxy) baseChains() {
	services, noEndpoints := x.chain("services"), x.chain("service-endpoints-check")
	masq, check := x.chain("masquerading"), x.chain("cluster-ips-check")
	x.rule(services, "", x.lookup(x.frontends))
	x.rule(noEndpoints, "", x.lookup(x.empty))
	x.rule(masq, "", markBit(masqueradeMark, false), ret())
	x.rule(masq, "", changeMark(^uint32(0), masqueradeMark))
	x.rule(masq, "", masquerade())
	x.rule(check, "Reject traffic to invalid ports of ClusterIPs",
		exprs{daddr.load(x.v6), &expr.Lookup{SourceRegister: reg, SetName: x.clusterIPs.Name, SetID: x.clusterIPs.ID}}, x.reject())
	x.rule(check, "Drop traffic to unallocated ClusterIPs", x.is(daddr, x.svcRange()), verdict(expr.VerdictDrop))

	newOnly := ctState(expr.CtStateBitNEW)
	in := x.filter("filter-input", nftables.ChainHookInput, -110)
	fwd := x.filter("filter-forward", nftables.ChainHookForward, -110)
	out := x.filter("filter-output-post-dnat", nftables.ChainHookOutput, -90)
	ranges := x.chain("firewall-check")
	x.rule(ranges, "", x.lookup(x.firewalls))
	pre := x.filter("filter-prerouting", nftables.ChainHookPrerouting, -110)
	x.rule(pre, "", newOnly, jump(ranges))
	x.rule(in, "", newOnly, jump(noEndpoints))
	x.rule(fwd, "", newOnly, jump(noEndpoints))
	x.rule(fwd, "", newOnly, jump(check))
	x.rule(out, "", newOnly, jump(noEndpoints))
	x.rule(out, "", newOnly, jump(check))
	first := *nftables.ChainPriorityNATDest
	if x.old != nil {
		first -= 5
	}
	x.rule(x.nat("nat-prerouting", nftables.ChainHookPrerouting, first), "", jump(services))
	x.rule(x.nat("nat-output", nftables.ChainHookOutput, first), "", jump(services))
	x.rule(x.nat("nat-postrouting", nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource), "", jump(masq))
}

func (x *nftProxy) svcRange() netip.Prefix { return x.l.svcRange(x.v6) }

func (l *Lab) svcRange(six bool) netip.Prefix {
	if six {
		return l.p.svc6
	}
	return l.p.svc4
}

func (x *nftProxy) podRange() netip.Prefix { return x.l.podRange(x.v6) }

func (l *Lab) podRange(six bool) netip.Prefix {
	if six {
		return l.p.cluster6
	}
	return l.p.cluster4
}

// lookup is "ip daddr . meta l4proto . th dport vmap @set". The parts of a
// concatenation lie in consecutive 4-byte registers, from NFT_REG32_00 = 8 on,
// which is where register 1 begins.
func (x *nftProxy) lookup(s *nftables.Set) exprs {
	next := uint32(9)
	if x.v6 {
		next = 12
	}
	return exprs{
		daddr.load(x.v6),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: next},
		&expr.Payload{DestRegister: next + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg, SetName: s.Name, SetID: s.ID, DestRegister: 0, IsDestRegSet: true},
	}
}

func frontendKey(a netip.Addr, proto string, port uint16) []byte {
	key := append(a.AsSlice(), l4proto(proto), 0, 0, 0)
	return append(key, byte(port>>8), byte(port), 0, 0)
}

func (x *nftProxy) element(s *nftables.Set, e ...nftables.SetElement) {
	if err := x.r.conn.SetAddElements(s, e); err != nil {
		x.r.errs = append(x.r.errs, fmt.Errorf("add element to %s: %w", s.Name, err))
	}
}

func shortHash(n int, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "")))
	return base32.StdEncoding.EncodeToString(sum[:])[:n]
}

func (x *nftProxy) service(s *service, sp servicePort) {
	vip := s.ip(x.v6)
	if !x.seen(s, sp) {
		x.element(x.clusterIPs, nftables.SetElement{Key: vip.AsSlice()})
	}
	key := frontendKey(vip, sp.proto, sp.port)
	targets := x.targets(s)
	if len(targets) == 0 {
		why := &expr.Verdict{Kind: expr.VerdictGoto, Chain: x.rejects.Name}
		if x.l.c.elsewhere(s, x.v6) {
			why = &expr.Verdict{Kind: expr.VerdictDrop}
		}
		x.element(x.empty, nftables.SetElement{Key: key, VerdictData: why})
		return
	}
	proto := strings.ToLower(sp.proto)
	full := fmt.Sprintf("%s/%s/%s/%s", s.ns, s.name, proto, sp.name)
	chain := x.chain("service-" + shortHash(8, s.ns, s.name, sp.name, proto) + "-" + full)
	frontend := append(x.is(daddr, host(vip)), dport(sp.proto, sp.port)...)
	x.rule(chain, "", frontend, x.not(saddr, x.podRange()), jump(x.mark))
	x.spread(chain, s, full, sp, targets)
	x.element(x.frontends, nftables.SetElement{Key: key, VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain.Name}})
	x.balancer(s, sp, full, chain)
}

func (x *nftProxy) targets(s *service) []netip.Addr {
	if x.old == nil || s != x.l.api() {
		return x.l.c.targets(s, x.v6)
	}
	var out []netip.Addr
	for _, a := range x.old {
		if a.Is6() == x.v6 {
			out = append(out, a)
		}
	}
	return out
}

// balancer serves a load balancer's address, to those who may use it.
func (x *nftProxy) balancer(s *service, sp servicePort, full string, to *nftables.Chain) {
	vip := s.balancer(x.v6)
	if !vip.IsValid() {
		return
	}
	key := frontendKey(vip, sp.proto, sp.port)
	external := x.chain("external-" + shortHash(8, full) + "-" + full)
	if !x.l.rules.noExternalMark {
		x.rule(external, "masquerade traffic for "+full+" external destinations", jump(x.mark))
	}
	x.rule(external, "", exprs{&expr.Verdict{Kind: expr.VerdictGoto, Chain: to.Name}})
	x.element(x.frontends, nftables.SetElement{Key: key, VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: external.Name}})
	if len(s.ranges) == 0 {
		return
	}
	guard := x.chain("firewall-" + shortHash(8, full) + "-" + full)
	for _, r := range s.ranges {
		if r.Addr().Is6() == x.v6 {
			x.rule(guard, "", x.is(saddr, r), ret())
		}
	}
	x.rule(guard, "", verdict(expr.VerdictDrop))
	x.element(x.firewalls, nftables.SetElement{Key: key, VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: guard.Name}})
}

// seen says whether an earlier port of the Service has entered its address.
func (x *nftProxy) seen(s *service, sp servicePort) bool { return s.ports[0] != sp }

// stay is "ip saddr @affinity-... goto endpoint-..." before the choice, and "update
// @affinity-... { ip saddr }" at the endpoint.
func (x *nftProxy) stay(chain, ep *nftables.Chain, s *service, full string, to netip.AddrPort) {
	set := &nftables.Set{
		Name:    fmt.Sprintf("affinity-%s-%s__%s/%d", shortHash(8, full, to.String()), full, to.Addr(), to.Port()),
		KeyType: x.addrType(), Dynamic: true, HasTimeout: true, Timeout: s.affinity,
	}
	var clients []nftables.SetElement
	for _, a := range s.pinned {
		if slices.Contains(s.stale[:min(2, len(s.stale))], to.Addr()) && a.Is6() == x.v6 {
			clients = append(clients, nftables.SetElement{Key: a.AsSlice()})
		}
	}
	x.set(set, clients)
	x.rule(chain, "", exprs{saddr.load(x.v6), &expr.Lookup{SourceRegister: reg, SetName: set.Name, SetID: set.ID}, &expr.Verdict{Kind: expr.VerdictGoto, Chain: ep.Name}})
	x.rule(ep, "", exprs{saddr.load(x.v6), &expr.Dynset{SrcRegKey: reg, SetName: set.Name, SetID: set.ID, Operation: uint32(unix.NFT_DYNSET_OP_UPDATE)}})
}

// spread is "numgen random mod N vmap { 0 : goto endpoint-..., ... }".
func (x *nftProxy) spread(chain *nftables.Chain, s *service, full string, sp servicePort, targets []netip.Addr) {
	var elems []nftables.SetElement
	for i, a := range targets {
		to := netip.AddrPortFrom(a, sp.target)
		ep := x.chain(fmt.Sprintf("endpoint-%s-%s__%s/%d", shortHash(8, full, to.String()), full, a, sp.target))
		if !x.l.rules.noHairpinMark {
			x.rule(ep, "", x.is(saddr, host(a)), jump(x.mark))
		}
		if s.affinity > 0 {
			x.stay(chain, ep, s, full, to)
		}
		x.rule(ep, "", l4(sp.proto), dnat(to))
		elems = append(elems, nftables.SetElement{
			Key: native32(uint32(i)), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: ep.Name},
		})
	}
	choice := x.set(&nftables.Set{
		Anonymous: true, Constant: true, IsMap: true,
		KeyType: nftables.TypeInteger, DataType: nftables.TypeVerdict, KeyByteOrder: binaryutil.NativeEndian,
	}, elems)
	x.rule(chain, "", exprs{
		&expr.Numgen{Register: reg, Modulus: uint32(len(targets)), Type: 1 /* NFT_NG_RANDOM */},
		&expr.Lookup{SourceRegister: reg, SetName: choice.Name, SetID: choice.ID, DestRegister: 0, IsDestRegSet: true},
	})
}
