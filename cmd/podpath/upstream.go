package main

import (
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
}

// maxHoles bounds the ranges that are cut out of everything. Beyond, what DNS
// pods ask is not followed, and the verdict says so.
const maxHoles = 512

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
	holes := inCluster(view, a.inside)
	if len(u.pods) == 0 || len(holes) > maxHoles {
		return upstream{}
	}
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		u.outside = append(u.outside, without(netip.MustParsePrefix(all), holes)...)
	}
	return u
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

// without is a range less the holes in it.
func without(all netip.Prefix, holes []netip.Prefix) []netip.Prefix {
	var in []netip.Prefix
	for _, h := range holes {
		if !h.Overlaps(all) {
			continue
		}
		if h.Bits() <= all.Bits() {
			return nil
		}
		in = append(in, h)
	}
	if len(in) == 0 {
		return []netip.Prefix{all}
	}
	low, high := halves(all)
	return append(without(low, in), without(high, in)...)
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

// follow says whose lookups outside are watched.
func (a *analyser) follow(pods []netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.followed = pods
}

// behind judges what the DNS server of a lookup that failed asked of others in
// vain, nil if it asked nobody so.
func (a *analyser) behind(j *tracer.Journey, now time.Time) *tracer.Verdict {
	for i := range j.Upstream {
		if !j.Upstream[i].Failed() {
			continue
		}
		own, ok := a.joiner.Journey(j.Upstream[i].Flow)
		if !ok {
			continue
		}
		outcome, _ := verdict.Settle(own, now, true)
		return a.engine.Decide(a.input(own, outcome, now))
	}
	return nil
}
