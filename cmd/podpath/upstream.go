package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/verdict"
)

// upstream is what is watched besides when the cluster's DNS is asked: what its
// pods on this node ask of servers outside, so that a lookup that fails can be
// followed to its end.
type upstream struct {
	pods    []netip.Addr   // addresses of the DNS pods
	outside []netip.Prefix // everything but pods and Services
	// tooMany: there are such pods, and everything outside takes more prefixes
	// than there is room for.
	tooMany bool
}

// maxOutside bounds the prefixes that everything outside may take. A range that is
// cut out of everything leaves up to one prefix for each of its bits: 128 for the
// IPv6 address of a pod, fewer for the next one beside it. The kernel's table
// (bpf/include/maps.h) holds eight times as many, for this and what was asked for.
const maxOutside = 2048

// unfollowed is what is not seen where that does not suffice.
var unfollowed = tracer.Blind{
	What:   "what the cluster's DNS asks of servers outside is not followed: the addresses of pods and Services lie in too many ranges",
	Effect: "why a lookup fails in the DNS pod is not known",
}

// upstreamOf finds the DNS pods of this node that the destination stands for. A
// source of any kind selects what they send as it is.
func upstreamOf(view *kube.Snapshot, a *aim, node string) upstream {
	var u upstream
	if a.from.Any || a.from.Internet || a.to.Any || a.to.Internet {
		return u
	}
	for _, to := range slices.Concat(a.to.Prefixes(), a.behind) {
		if !to.IsSingleIP() {
			continue
		}
		p, ok := view.PodByIP(to.Addr())
		if !ok || p.Node != node || p.HostNetwork || !view.PodFacts(p).DNS {
			continue
		}
		for _, ip := range p.IPs {
			if !slices.Contains(u.pods, ip) {
				u.pods = append(u.pods, ip)
			}
		}
	}
	if len(u.pods) == 0 {
		return u
	}
	var ok bool
	if u.outside, ok = outside(inCluster(view, a.inside)); !ok {
		return upstream{tooMany: true}
	}
	return u
}

// outside is everything less the holes in it; false: it takes too many prefixes.
func outside(holes []netip.Prefix) (list []netip.Prefix, ok bool) {
	if len(holes) > maxOutside { // to find that out costs time, too
		return nil, false
	}
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		if list, ok = without(list, netip.MustParsePrefix(all), holes); !ok {
			return nil, false
		}
	}
	return list, true
}

// inCluster are the ranges of pods and Services. Nodes are left out: a resolver
// may be one.
func inCluster(view *kube.Snapshot, inside []netip.Prefix) []netip.Prefix {
	nodes := map[netip.Addr]bool{}
	for _, n := range view.Nodes() {
		for _, ip := range n.IPs {
			nodes[ip] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(inside), func(p netip.Prefix) bool { return p.IsSingleIP() && nodes[p.Addr()] })
}

// without appends to a list what is left of a range less the holes in it; false:
// the list got too long.
func without(list []netip.Prefix, all netip.Prefix, holes []netip.Prefix) ([]netip.Prefix, bool) {
	var in []netip.Prefix
	for _, h := range holes {
		if !h.Overlaps(all) {
			continue
		}
		if h.Bits() <= all.Bits() {
			return list, true
		}
		in = append(in, h)
	}
	if len(in) == 0 {
		return append(list, all), len(list) < maxOutside
	}
	low, high := halves(all)
	list, ok := without(list, low, in)
	if !ok {
		return nil, false
	}
	return without(list, high, in)
}

func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	low = netip.PrefixFrom(p.Addr(), bits)
	b := p.Addr().AsSlice()
	b[(bits-1)/8] |= 1 << (7 - (bits-1)%8)
	a, _ := netip.AddrFromSlice(b)
	return low, netip.PrefixFrom(a, bits)
}

// selected is what the probe is to report.
func (a *aim) selected() probe.Selection {
	s := a.selection
	if len(a.upstream.pods) == 0 {
		return s
	}
	s.A, s.B = slices.Clone(s.A), slices.Concat(s.B, a.upstream.outside)
	for _, ip := range a.upstream.pods {
		s.A = append(s.A, netip.PrefixFrom(ip, ip.BitLen()))
	}
	return s
}

// choose has the flows selected. What DNS pods ask besides must not keep what was
// asked for from being seen: where there is no room for both, it is left out.
func (a *aim) choose(choose func(probe.Selection) error) error {
	err := choose(a.selected())
	if err != nil && len(a.upstream.pods) > 0 {
		a.upstream = upstream{tooMany: true}
		err = choose(a.selected())
	}
	if err != nil {
		return fmt.Errorf("select the flows: %w", err)
	}
	return nil
}

// follow says whose lookups outside are watched.
func (a *analyser) follow(pods []netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.followed = pods
}

// asked is what a DNS server asked of another one.
type asked struct {
	server   netip.Addr
	resolver netip.AddrPort
	proto    uint8
	refused  bool
}

// behind judges what the DNS server of a lookup that failed asked of others in
// vain, nil if it asked nobody so. Many lookups that fail at once for the same
// reason share the answer.
func (a *analyser) behind(j *tracer.Journey, now time.Time) *tracer.Verdict {
	for i := range j.Upstream {
		u := &j.Upstream[i]
		if !u.Failed() {
			continue
		}
		k := asked{j.Translated.Dst.Addr(), u.Resolver, u.Proto, u.Refused}
		if v := a.told[k]; v != nil {
			return v
		}
		own, ok := a.joiner.Journey(u.Flow)
		if !ok {
			continue
		}
		outcome, _ := verdict.Settle(own, now, true)
		v := a.engine.Decide(a.input(own, outcome, now))
		if a.behindOnce {
			a.told[k] = v
		}
		return v
	}
	return nil
}
