package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/probe"
)

// endpoints is what was asked for.
type endpoints struct {
	from, to kube.EndpointSpec
	selector labels.Selector
	node     string
	names    *hostNames
	// search says which ends are names without a namespace that may be in any.
	search [2]bool
}

// everywhere stands for "all namespaces" in place of the default one.
const everywhere = ""

func parseEndpoints(from, to, selector, namespace, node string) (endpoints, error) {
	e := endpoints{node: node, names: newHostNames()}
	if namespace == everywhere {
		namespace = "default"
		for i, s := range []string{from, to} {
			e.search[i] = strings.Count(s, "/") == 1
		}
	}
	var err error
	if e.from, err = kube.ParseEndpoint(from, namespace); err != nil {
		return e, fmt.Errorf("--from: %w", err)
	}
	if e.to, err = kube.ParseEndpoint(to, namespace); err != nil {
		return e, fmt.Errorf("--to: %w", err)
	}
	if selector != "" {
		if e.selector, err = labels.Parse(selector); err != nil {
			return e, fmt.Errorf("--selector: %w", err)
		}
	}
	return e, nil
}

// needCluster: an end is named by an object, which only cluster data resolves.
func (e *endpoints) needCluster() bool {
	object := func(s kube.EndpointSpec) bool {
		return s.Kind != kube.SpecPrefix && s.Kind != kube.SpecAny && s.Kind != kube.SpecDNS && s.Kind != kube.SpecInternet
	}
	return object(e.from) || object(e.to) || e.selector != nil
}

// aim is what the endpoints stand for in one snapshot.
type aim struct {
	from, to  kube.Resolved
	selection probe.Selection
	podIPs    []netip.Addr // of pods on this node
	behind    []netip.Prefix
	inside    []netip.Prefix
	upstream  upstream
	named     *byName
}

func (e *endpoints) resolve(ctx context.Context, view *kube.Snapshot) (*aim, error) {
	a := &aim{inside: view.Inside()}
	from, to, err := e.located(view)
	if err != nil {
		return nil, err
	}
	if a.from, err = e.resolveFrom(ctx, view, from); err != nil {
		return nil, err
	}
	if a.to, err = e.resolveTo(ctx, view, to); err != nil {
		return nil, err
	}
	a.behind = behind(view, &a.to)
	a.upstream = upstreamOf(view, a, e.node)
	a.named = namedBy(view, a, from, e.to.Kind)
	a.selection = probe.Selection{AnyA: a.from.Any || a.from.Internet, AnyB: a.to.Any || a.to.Internet}
	a.chooseEnds()
	for p := range view.Pods() {
		if p.Node == e.node && !p.HostNetwork {
			a.podIPs = append(a.podIPs, p.IPs...)
		}
	}
	return a, nil
}

// located are the ends, with the namespace of a name that may be in any.
func (e *endpoints) located(view *kube.Snapshot) (from, to kube.EndpointSpec, err error) {
	from, to = e.from, e.to
	for i, s := range []*kube.EndpointSpec{&from, &to} {
		if e.search[i] {
			if err := locate(view, s); err != nil {
				return from, to, err
			}
		}
	}
	return from, to, nil
}

func (e *endpoints) resolveFrom(ctx context.Context, view *kube.Snapshot, from kube.EndpointSpec) (kube.Resolved, error) {
	r, err := view.Resolve(ctx, from, kube.ResolveOptions{Source: true, Node: e.node, Selector: e.selector, LookupHost: e.names.resolve})
	if err != nil {
		return r, fmt.Errorf("--from: %w", err)
	}
	return r, nil
}

func (e *endpoints) resolveTo(ctx context.Context, view *kube.Snapshot, to kube.EndpointSpec) (kube.Resolved, error) {
	r, err := view.Resolve(ctx, to, kube.ResolveOptions{Node: e.node, LookupHost: e.names.resolve})
	if err != nil {
		return r, fmt.Errorf("--to: %w", err)
	}
	return r, nil
}

// chooseEnds fills the ends in the selection with what they stand for.
func (a *aim) chooseEnds() {
	a.selection.A, a.selection.B = a.from.Prefixes(), slices.Concat(a.to.Prefixes(), a.behind)
	if a.named != nil {
		a.selection.B = append(a.selection.B, a.named.resolvers...)
	}
}

// locate finds the namespace of a name that may be in any; if it is in none, the
// look-up that follows says so.
func locate(view *kube.Snapshot, s *kube.EndpointSpec) error {
	if s.Kind == kube.SpecPrefix { // an address range has a slash too
		return nil
	}
	found := view.NamespacesOf(*s)
	switch len(found) {
	case 0:
		return nil
	case 1:
		s.Namespace = found[0]
		return nil
	}
	return &hinted{fmt.Errorf("%s/%s exists in several namespaces: %s", s.Kind, s.Name, strings.Join(found, ", ")), "write NAMESPACE/" + string(s.Kind) + "/" + s.Name}
}

// want: the flow, as its client sent it, goes from one of the sources to one of
// the destinations.
func (a *aim) want(t tracer.Tuple) bool {
	return a.side(&a.from, t.Src, 0) && a.side(&a.to, t.Dst, t.Proto)
}

func (a *aim) side(r *kube.Resolved, p netip.AddrPort, proto uint8) bool {
	if (r.Any || r.Internet) && p.Addr().IsMulticast() {
		return false // mDNS, router solicitations: nobody is meant to be reached
	}
	if r.Any {
		return r.Port == 0 || r.Port == p.Port()
	}
	if r.Internet {
		in := slices.ContainsFunc(a.inside, func(x netip.Prefix) bool { return x.Contains(p.Addr()) })
		return !in && (r.Port == 0 || r.Port == p.Port())
	}
	return slices.ContainsFunc(r.Targets, func(t kube.Target) bool {
		return t.Prefix.Contains(p.Addr()) && (t.Port == 0 || t.Port == p.Port()) && (t.Proto == 0 || proto == 0 || t.Proto == proto)
	})
}

// watched is the part of the node to attach to: every namespace, so that drops
// count wherever they happen, but only the devices that the flows can use.
func (a *aim) watched(inv tracer.Inventory, wide bool) tracer.Inventory {
	if wide {
		return inv
	}
	out := inv
	out.Devices = nil
	chosen := map[uint32]bool{}
	for i := range inv.Devices {
		d := &inv.Devices[i]
		if d.NetNS != inv.HostNetNS && a.selects(d) {
			chosen[d.NetNS] = true
		}
	}
	for i := range inv.Devices {
		d := inv.Devices[i]
		switch {
		case d.Role == tracer.RoleLoopback:
			continue
		case d.NetNS != inv.HostNetNS && !chosen[d.NetNS], d.Role == tracer.RolePodHost && !chosen[d.Peer.NetNS]:
			continue
		}
		out.Devices = append(out.Devices, d)
	}
	return out
}

func (a *aim) selects(d *tracer.Device) bool {
	if a.selection.AnyA || open(&a.to) {
		return true
	}
	for _, p := range d.Addrs {
		in := func(x netip.Prefix) bool { return x.Contains(p.Addr()) }
		if slices.ContainsFunc(a.selection.A, in) || slices.ContainsFunc(a.selection.B, in) {
			return true
		}
	}
	return false
}

// unseen are the flows to speak of if none was seen: from the first single source
// to the first single destination of the same family. Where the destination is
// everything outside, one address of each of the source's families stands for it.
func (a *aim) unseen() (flows []tracer.Tuple, standIn bool) {
	tried := map[bool]bool{}
	for _, s := range a.from.Targets {
		v4 := s.Prefix.Addr().Is4()
		if !s.Prefix.IsSingleIP() || tried[v4] {
			continue
		}
		for _, d := range a.destinations(v4) {
			if !d.Prefix.IsSingleIP() || v4 != d.Prefix.Addr().Is4() {
				continue
			}
			t := tracer.Tuple{Src: netip.AddrPortFrom(s.Prefix.Addr(), 0), Dst: netip.AddrPortFrom(d.Prefix.Addr(), d.Port), Proto: d.Proto}
			if t.Proto == 0 {
				t.Proto = tracer.ProtoTCP
			}
			if !a.to.Internet {
				return []tracer.Tuple{t}, false
			}
			flows = append(flows, t)
			tried[v4] = true
			break
		}
	}
	return flows, true
}

func (a *aim) destinations(v4 bool) []kube.Target {
	if !a.to.Internet {
		return a.to.Targets
	}
	addr := tracer.Outside(v4)
	return []kube.Target{{Prefix: netip.PrefixFrom(addr, addr.BitLen()), Port: a.to.Port}}
}
