package rules

import (
	"net/netip"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// holdsClients: a set of kube-proxy's nftables mode of the clients that stay with an
// endpoint (pkg/proxy/nftables: affinity-HASH-NAMESPACE/NAME/...).
func holdsClients(set string) bool { return strings.HasPrefix(set, "affinity-") }

// intoNAT walks the NAT chains with the flow's first packet; asNew: as if its client
// stayed with no endpoint.
func (s *space) intoNAT(rs *ruleset, q tracer.Query, f family, asNew bool) *walk {
	p, hook := s.opening(q)
	w := &walk{m: newMachine(p, s)}
	w.m.asNew = asNew
	for _, c := range rs.hookChains(f, hook, func(c *chain) bool { return c.base.typ == "nat" }) {
		w.run(c)
	}
	return w
}

// firstTarget is where the first certain translation leads.
func firstTarget(w *walk) netip.AddrPort {
	for _, h := range w.hits {
		if x, ok := h.act.stmt.(nat); ok && x.dnat && h.sure && !h.afterMaybe {
			return h.act.target
		}
	}
	return netip.AddrPort{}
}

// affinity is how long the Service's chains on the way keep a client with its
// endpoint: the time-out of a set of clients, or the age that xt_recent asks for.
func affinity(path []*chain) (longest time.Duration) {
	for _, c := range path {
		if !isServiceChain(c) {
			continue
		}
		for _, r := range c.rules {
			for _, x := range r.expressions() {
				switch x := x.(type) {
				case stays:
					longest = max(longest, x.within)
				case lookup:
					if set := c.table.sets[x.set]; set != nil && holdsClients(set.name) {
						longest = max(longest, set.timeout)
					}
				}
			}
		}
	}
	return longest
}
