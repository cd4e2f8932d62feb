package rules

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// serviceChains are the chains that belong to one Service, by the proxies that
// write them.
var serviceChains = []string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-XLB-", "KUBE-FW-", "KUBE-SEP-", "service-", "external-", "local-", "endpoint-", "firewall-"}

func isServiceChain(c *chain) bool {
	for _, p := range serviceChains {
		if strings.HasPrefix(c.name, p) && (strings.HasPrefix(p, "KUBE-") || c.table.name == "kube-proxy") {
			return true
		}
	}
	return false
}

// services says what translates Services in the node, and what it does with
// the flow as the client addressed it.
func services(ctx context.Context, s *space, q tracer.Query) *tracer.ServiceRules {
	rs := s.all()
	f := (&packet{Tuple: q.Flow}).family()
	out := &tracer.ServiceRules{Implementations: implementations(rs, s, f)}
	out.Complete = !s.failed // of devices, too
	out.Any = anyService(rs, f)
	translate(s, rs, q, f, out)
	noEndpoints(s, rs, q, f, out)
	if ipvs := slices.Contains(out.Implementations, tracer.ProxyIPVS); ipvs {
		readIPVS(ctx, s, q.Flow, out)
		if out.IPVS != nil {
			out.Affinity = max(out.Affinity, out.IPVS.Persistence)
		}
	}
	slices.SortFunc(out.Targets, netip.AddrPort.Compare)
	out.Targets = slices.Compact(out.Targets)
	return out
}

// proxyLinks are the devices that proxies make; kube-dummy-if is kube-router's.
var proxyLinks = map[string]string{
	"kube-ipvs0": tracer.ProxyIPVS, "kube-dummy-if": tracer.ProxyIPVS,
	"cilium_host": tracer.ProxyCilium, "ovn-k8s-mp0": tracer.ProxyOVN, "antrea-gw0": tracer.ProxyAntrea, "bpfin.cali": tracer.ProxyCalicoBPF,
}

// implementations looks for tables, chains and devices that proxies make.
func implementations(rs *ruleset, s *space, f family) []string {
	var out []string
	for _, t := range rs.tables {
		switch {
		case t.name == "kube-proxy" && t.family == f:
			out = append(out, tracer.ProxyNFTables)
		case t.name == "nat" && t.family == f && translatesByChains(t) && t.engine == "iptables-legacy":
			out = append(out, tracer.ProxyIPTablesLegacy)
		case t.name == "nat" && t.family == f && translatesByChains(t):
			out = append(out, tracer.ProxyIPTables)
		case t.name == "ovn-kubernetes":
			out = append(out, tracer.ProxyOVN)
		}
		if slices.ContainsFunc(t.order, func(c *chain) bool { return strings.HasPrefix(c.name, "CILIUM_") }) {
			out = append(out, tracer.ProxyCilium)
		}
	}
	for dev, name := range proxyLinks {
		if s.hasLink(dev) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// translatesByChains: the table is that of kube-proxy's iptables mode. In IPVS mode
// it has the chain KUBE-SERVICES as well, to masquerade, but none for a Service and
// another one for node ports (kubernetes pkg/proxy/ipvs/proxier.go).
func translatesByChains(t *table) bool {
	if t.chain("KUBE-SERVICES") == nil {
		return false
	}
	return t.chain("KUBE-NODE-PORT") == nil || t.chain("KUBE-NODEPORTS") != nil || slices.ContainsFunc(t.order, isServiceChain)
}

// anyService: rules for at least one Service of the family exist.
func anyService(rs *ruleset, f family) bool {
	for _, t := range rs.tables {
		if t.family != f {
			continue
		}
		for _, c := range t.order {
			if isServiceChain(c) {
				return true
			}
		}
		if t.name != "kube-proxy" {
			continue
		}
		for _, name := range []string{"service-ips", "no-endpoint-services", "cluster-ips"} {
			if x := t.set(name); x != nil {
				if es, err := x.elements(); err == nil && len(es) > 0 {
					return true
				}
			}
		}
	}
	return false
}

// opening is the first packet of the flow as it enters the node, or as the
// node makes it.
func (s *space) opening(q tracer.Query) (p *packet, hook uint32) {
	p = &packet{Tuple: q.Flow, orig: q.Flow, markKnown: true, state: stNew, reply: triNo}
	if q.Flow.Proto == tracer.ProtoTCP {
		p.flags, p.flagsKnown = tracer.TCPSyn, true
	}
	if q.SrcNetNS == s.inode {
		p.iif = device{none: true}
		p.oif = s.output(p.Tuple, 0, 0)
		return p, hookOutput
	}
	p.oif = device{none: true}
	// The way back to the source is the way it came, on a node with one path.
	back := s.output(p.Tuple.Reverse(), 0, 0)
	p.iif = s.routed(back.index)
	return p, hookPrerouting
}

// translate evaluates the NAT chains for the flow.
func translate(s *space, rs *ruleset, q tracer.Query, f family, out *tracer.ServiceRules) {
	w := s.intoNAT(rs, q, f, false)
	if slices.ContainsFunc(w.m.sets, holdsClients) {
		// For this client one endpoint is certain. Those of the others are wanted, too.
		out.Pinned = firstTarget(w)
		w = s.intoNAT(rs, q, f, true)
	}
	for _, c := range w.entered {
		if isServiceChain(c) {
			out.HasFrontend = true
		}
	}
	for _, h := range w.hits {
		x, ok := h.act.stmt.(nat)
		if !ok || !x.dnat {
			continue
		}
		out.Affinity = max(out.Affinity, affinity(h.path))
		via := slices.ContainsFunc(h.path[:min(h.surePath, len(h.path))], isServiceChain)
		if h.sure || via {
			out.HasFrontend = true
			if h.act.target.IsValid() {
				out.Targets = append(out.Targets, h.act.target)
			}
		}
		if h.sure && !h.afterMaybe {
			break // the first translation is the only one
		}
	}
	s.judge(w, out)
}

// judge lowers Complete if a rule on the way holds something unknown.
func (s *space) judge(w *walk, out *tracer.ServiceRules) {
	if w.m.err != nil {
		out.Complete = false
		s.note("a set of rules", w.m.err.Error())
	}
	for _, r := range w.undecided {
		for _, x := range r.expressions() {
			if name := notUnderstood(x); name != "" {
				out.Complete = false
				s.note("a rule on the way of Services", fmt.Sprintf("table %s chain %s uses %s, which is not understood", r.chain.table.name, r.chain.name, name))
			}
		}
	}
}

// notUnderstood names an expression that cannot be evaluated, unlike one that
// is left to chance.
func notUnderstood(x any) string {
	switch x := x.(type) {
	case unknown:
		return x.name
	case loads:
		if x.breaks {
			return x.text
		}
	}
	return ""
}

// noEndpoints looks for rules that refuse the frontend for want of endpoints.
// They stand in filter chains, and see the flow before translation.
func noEndpoints(s *space, rs *ruleset, q tracer.Query, f family, out *tracer.ServiceRules) {
	p, first := s.opening(q)
	hooks := []uint32{first, hookInput, hookForward}
	if first == hookOutput {
		hooks = []uint32{hookOutput}
	}
	for _, hook := range hooks {
		at := *p
		if hook == hookForward {
			at.oif = s.output(p.Tuple, p.iif.index, 0)
		}
		w := &walk{m: newMachine(&at, s)}
		for _, c := range rs.hookChains(f, hook, func(c *chain) bool { return c.base.typ != "nat" }) {
			w.run(c)
		}
		for _, h := range w.hits {
			if !h.drops() || !h.sure {
				continue
			}
			none, local := wants(&h)
			out.NoEndpoints, out.NoLocal = out.NoEndpoints || none, out.NoLocal || local
		}
		out.NoEndpoints = out.NoEndpoints || !out.NoLocal && slices.ContainsFunc(w.m.sets, forEmpty)
	}
	if out.NoEndpoints || out.NoLocal {
		out.HasFrontend, out.Any = true, true
	}
}

// forEmpty: the maps in which kube-proxy's nftables mode has the frontends without
// endpoints.
func forEmpty(set string) bool {
	return set == "no-endpoint-services" || set == "no-endpoint-nodeports"
}

// wants: kube-proxy's rule turns the frontend away because the Service has no
// endpoint at all, which it rejects, or because a traffic policy Local leaves none,
// which it drops (kubernetes pkg/proxy/nftables/proxier.go; in iptables mode the
// comment says it).
func wants(h *hit) (endpoints, local bool) {
	if forEmpty(h.act.via) {
		return false, true
	}
	if h.rule == nil || match(chainOwners, h.path[len(h.path)-1].name) != "kube-proxy" {
		return false, false
	}
	return strings.Contains(h.rule.comment, "has no endpoints"), strings.Contains(h.rule.comment, "has no local endpoints")
}

// masquerades are the rules that would have given the flow the node's address.
// read is false if the rules could not be read, or if a rule that masquerades
// could not be decided: then an empty list proves nothing.
func masquerades(s *space, q tracer.Query) (out []tracer.RuleFact, read bool) {
	rs := s.all()
	p, hook := s.opening(q)
	f := p.family()
	// Rules on the way in set the mark that masquerading asks for.
	in := &walk{m: newMachine(p, s)}
	for _, c := range rs.hookChains(f, hook, nil) {
		in.run(c)
	}
	at := *p
	at.Tuple = tracer.Tuple{Src: q.Flow.Src, Dst: q.Flow.Dst, Proto: q.Flow.Proto}
	if q.Translated.IsValid() {
		at.Dst = q.Translated.Dst
	}
	at.mark, at.markKnown = in.m.mark, in.m.markKnown
	for _, h := range in.hits {
		// Of several endpoints, the one that was chosen says which mark it gave.
		if h.act.target.IsValid() && h.act.target == q.Translated.Dst {
			at.mark, at.markKnown = h.mark, h.markKnown
		}
	}
	at.oif = s.output(at.Tuple, at.iif.index, at.mark)
	w := &walk{m: newMachine(&at, s)}
	read = !s.failed
	for _, c := range rs.hookChains(f, hookPostrouting, func(c *chain) bool { return c.base.typ == "nat" }) {
		before := len(w.hits)
		w.run(c)
		for _, h := range w.hits[before:] {
			if !sourceNAT(h.act.stmt) {
				continue
			}
			if h.sure && !h.afterMaybe {
				return append(out, h.fact("computed")), read
			}
			read = false
			fact := h.fact("computed")
			s.note("a masquerading rule that could not be decided", fmt.Sprintf("table %s chain %s: %s", fact.Table, fact.Chain, fact.Text))
		}
	}
	return out, read && w.m.err == nil
}

func sourceNAT(stmt any) bool {
	switch x := stmt.(type) {
	case masq:
		return true
	case nat:
		return !x.dnat
	}
	return false
}
