package node

import (
	"net/netip"
	"sort"
)

// fibKey is the question that a FIB look-up asks.
type fibKey struct {
	src, dst     netip.Addr
	iif, oif     string // "" for a packet made here; "lo" matches that too
	mark         uint32
	proto        uint8
	sport, dport uint16
}

// fibRule is one entry of "ip rule".
type fibRule struct {
	priority   int
	action     uint8 // FR_ACT_*
	table      int
	gotoPrio   int
	src, dst   netip.Prefix
	iif, oif   string
	mark, mask uint32
	proto      uint8
	sport      [2]uint16
	dport      [2]uint16
	suppress   int // suppress_prefixlength, -1 if none
	invert     bool
	// opaque: it has a selector that is not understood (uidrange, l3mdev, tos).
	opaque bool
}

// fib_rules.h: enum of actions.
const (
	frToTable     = 1
	frGoto        = 2
	frNop         = 3
	frBlackhole   = 6
	frUnreachable = 7
	frProhibit    = 8
)

// fibRoute is one route of any table and type.
type fibRoute struct {
	dst      netip.Prefix
	typ      string
	table    int
	protocol int
	priority int
	oif      int
	via      netip.Addr
	mtu      int // 0 if the route gives none
	dead     bool
	hops     []fibHop // all of them, where there are several
}

// fibHop is a next hop.
type fibHop struct {
	oif int
	via netip.Addr
}

// fibLookup answers as fib_rules_lookup and the tables do, for naming a route
// that the kernel only reports as an error number. known is false if a rule
// could not be understood before the answer was found.
func fibLookup(rules []fibRule, routes []fibRoute, k fibKey) (r fibRoute, known bool) {
	rules = append([]fibRule(nil), rules...)
	sort.SliceStable(rules, func(i, j int) bool { return rules[i].priority < rules[j].priority })
	for i := 0; i < len(rules); i++ {
		rule := &rules[i]
		if rule.opaque {
			return fibRoute{}, false
		}
		if rule.matches(k) == rule.invert {
			continue
		}
		switch rule.action {
		case frGoto:
			j := i + 1
			for j < len(rules) && rules[j].priority < rule.gotoPrio {
				j++
			}
			i = j - 1
		case frBlackhole:
			return fibRoute{typ: "blackhole", table: rule.table}, true
		case frUnreachable:
			return fibRoute{typ: "unreachable", table: rule.table}, true
		case frProhibit:
			return fibRoute{typ: "prohibit", table: rule.table}, true
		case frToTable:
			found, ok := longest(routes, rule.table, k.dst)
			if !ok || found.typ == "throw" || found.dst.Bits() <= rule.suppress {
				continue
			}
			return found, true
		}
	}
	return fibRoute{typ: "none"}, true
}

func (r *fibRule) matches(k fibKey) bool {
	in := func(p [2]uint16, v uint16) bool { return p == [2]uint16{} || v >= p[0] && v <= p[1] }
	iif := k.iif
	if iif == "" {
		iif = "lo"
	}
	return (!r.src.IsValid() || r.src.Contains(k.src)) &&
		(!r.dst.IsValid() || r.dst.Contains(k.dst)) &&
		(r.iif == "" || r.iif == iif) && (r.oif == "" || r.oif == k.oif) &&
		(k.mark^r.mark)&r.mask == 0 &&
		(r.proto == 0 || r.proto == k.proto) && in(r.sport, k.sport) && in(r.dport, k.dport)
}

// longest is the longest prefix, then the lowest metric.
func longest(routes []fibRoute, table int, dst netip.Addr) (best fibRoute, ok bool) {
	for _, r := range routes {
		if r.table != table || r.dead || !r.dst.Contains(dst) {
			continue
		}
		if !ok || r.dst.Bits() > best.dst.Bits() || r.dst.Bits() == best.dst.Bits() && r.priority < best.priority {
			best, ok = r, true
		}
	}
	return best, ok
}
