package kube

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// nodeTable is the nodes with their look-ups. It is rebuilt when a node
// changes in a way that matters, which is rare.
type nodeTable struct {
	byName map[string]*Node
	byIP   map[netip.Addr]*Node
	// podCIDRs finds a node by pod range; bits holds the prefix lengths that
	// occur, longest first, so that a look-up costs one probe per length.
	podCIDRs map[netip.Prefix]string
	bits     []int
	infos    []tracer.NodeInfo
}

func newNodeTable(nodes map[Key]*Node) nodeTable {
	t := nodeTable{
		byName:   make(map[string]*Node, len(nodes)),
		byIP:     make(map[netip.Addr]*Node, len(nodes)),
		podCIDRs: make(map[netip.Prefix]string, len(nodes)),
	}
	for _, n := range nodes {
		t.byName[n.Name] = n
		for _, ip := range n.IPs {
			t.byIP[ip] = n
		}
		for _, p := range n.PodCIDRs {
			t.podCIDRs[p] = n.Name
			if !slices.Contains(t.bits, p.Bits()) {
				t.bits = append(t.bits, p.Bits())
			}
		}
		t.infos = append(t.infos, tracer.NodeInfo{Name: n.Name, Ready: n.Ready, IPs: n.IPs, PodCIDRs: n.PodCIDRs, PodNetwork: n.PodNetwork})
	}
	slices.Sort(t.bits)
	slices.Reverse(t.bits)
	slices.SortFunc(t.infos, func(a, b tracer.NodeInfo) int { return strings.Compare(a.Name, b.Name) })
	return t
}

// podCIDR returns the node whose pod range holds an address, "" if none does.
func (t *nodeTable) podCIDR(ip netip.Addr) string {
	for _, bits := range t.bits {
		p, err := ip.Prefix(bits)
		if err != nil {
			continue // a length of the other family
		}
		if n, ok := t.podCIDRs[p]; ok {
			return n
		}
	}
	return ""
}

// serviceRanges returns the ranges that ClusterIPs come from: those of the
// ServiceCIDR objects, or else the smallest prefixes that span the ClusterIPs
// seen. The span never claims more than the true range, unless a cluster has
// several ranges that share their first bits.
func serviceRanges(s *Snapshot) (ranges []netip.Prefix, known bool) {
	for _, c := range s.cidrs.all() {
		ranges = append(ranges, c.Prefixes...)
	}
	if len(ranges) > 0 {
		sortPrefixes(ranges)
		return ranges, true
	}
	var v4, v6 []netip.Addr
	for _, svc := range s.services.all() {
		for _, ip := range svc.ClusterIPs {
			if ip.Is4() {
				v4 = append(v4, ip)
			} else {
				v6 = append(v6, ip)
			}
		}
	}
	// Ranges wider than these are not one Service range (the API server takes
	// no IPv6 range wider than /64, and nobody routes a /8 for Services), so
	// unrelated addresses are then grouped instead of spanned.
	ranges = append(ranges, span(v4, 8, 16)...)
	ranges = append(ranges, span(v6, 64, 112)...)
	sortPrefixes(ranges)
	return ranges, false
}

// span returns the longest prefix that holds all addresses, or if that is
// shorter than least, one span for each group that shares its first group bits.
func span(addrs []netip.Addr, least, group int) []netip.Prefix {
	if len(addrs) == 0 {
		return nil
	}
	p := common(addrs)
	if p.Bits() >= least {
		return []netip.Prefix{p}
	}
	groups := make(map[netip.Prefix][]netip.Addr)
	for _, a := range addrs {
		g := netip.PrefixFrom(a, group).Masked()
		groups[g] = append(groups[g], a)
	}
	var out []netip.Prefix
	for _, g := range groups {
		out = append(out, common(g))
	}
	return out
}

func common(addrs []netip.Addr) netip.Prefix {
	lo, hi := addrs[0], addrs[0]
	for _, a := range addrs[1:] {
		if a.Less(lo) {
			lo = a
		}
		if hi.Less(a) {
			hi = a
		}
	}
	p := netip.PrefixFrom(lo, lo.BitLen())
	for !p.Contains(hi) {
		p = netip.PrefixFrom(lo, p.Bits()-1)
	}
	return p.Masked()
}

func sortPrefixes(list []netip.Prefix) {
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
}

func portText(p uint16) string { return strconv.Itoa(int(p)) }
