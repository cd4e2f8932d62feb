// Package service says what a Service promises for a destination: which
// Service a packet's destination belongs to, its port, its endpoints, and to
// which of them the packet ought to be translated on a node.
//
// It reads only what the cluster's objects say. What a proxy really programmed
// is for others to compare.
package service

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// Facts describes the Service that a flow's destination, as the client
// addressed it, belongs to; nil if it belongs to none. Endpoints are those of
// the destination's address family and port. If the Service has no such port,
// PortKnown is false and Endpoints is empty.
func Facts(view *kube.Snapshot, flow tracer.Tuple) *tracer.ServiceFacts {
	dst := flow.Dst.Addr().Unmap()
	front, ok := view.Frontend(dst, flow.Dst.Port(), flow.Proto)
	if !ok {
		return nil
	}
	svc := front.Service
	out := &tracer.ServiceFacts{
		Namespace: svc.Namespace, Name: svc.Name, Type: svc.Type,
		Frontend:      string(front.Kind),
		Port:          flow.Dst.Port(),
		Ports:         portList(svc),
		Selector:      svc.SelectorText(),
		ExternalLocal: svc.ExternalLocal, InternalLocal: svc.InternalLocal,
		SourceRanges: svc.SourceRanges,
		DNS:          svc.IsDNS(),
		Changed:      svc.Changed,
	}
	for _, sl := range view.Slices(svc.Key()) {
		if sl.Changed.After(out.EndpointsChanged) {
			out.EndpointsChanged = sl.Changed
		}
	}
	for _, c := range view.Changes(svc.Key()) {
		switch {
		case c.Address.IsValid():
			out.EndpointChanges = append(out.EndpointChanges, tracer.EndpointChange{Addr: c.Address, At: c.At})
		case c.At.After(out.Changed):
			out.Changed = c.At
		}
	}
	out.Matches, out.Ready = selected(view, svc)
	if out.DNS {
		out.Exits = view.Exits(svc)
	}
	if front.Port == nil {
		return out
	}
	out.PortKnown = true
	out.PortName, out.Port, out.TargetPort = front.Port.Name, front.Port.Port, front.Port.TargetPort
	// A NodePort on a loopback address is served by endpoints of its family.
	out.Endpoints = endpoints(view, svc, front.Port, dst.Is6())
	return out
}

func portList(svc *kube.Service) []string {
	out := make([]string, 0, len(svc.Ports))
	for _, p := range svc.Ports {
		out = append(out, fmt.Sprintf("%d/%s", p.Port, tracer.ProtoName(p.Proto)))
	}
	return out
}

// selected counts the pods that the selector matches and how many are ready.
// Finished pods do not count: the EndpointSlice controller leaves them out.
func selected(view *kube.Snapshot, svc *kube.Service) (matches, ready int) {
	if len(svc.Selector) == 0 {
		return 0, 0
	}
	for p := range view.PodsIn(svc.Namespace) {
		if !svc.Selects(p) || p.Finished() {
			continue
		}
		matches++
		if p.Ready && p.Deleting.IsZero() {
			ready++
		}
	}
	return matches, ready
}

// endpoints joins the Service's slices as kube-proxy does: a slice's port
// belongs to the Service port of the same name and protocol, and addresses that
// several slices list count once, ready if one of them says so.
func endpoints(view *kube.Snapshot, svc *kube.Service, port *kube.ServicePort, ipv6 bool) []tracer.ServiceEndpoint {
	found := make(map[netip.AddrPort]tracer.ServiceEndpoint)
	for _, sl := range view.Slices(svc.Key()) {
		for _, sp := range sl.Ports {
			if sp.Name != port.Name || sp.Proto != port.Proto || sp.Number == 0 {
				continue
			}
			for i := range sl.Endpoints {
				collect(found, &sl.Endpoints[i], sp.Number, ipv6)
			}
		}
	}
	out := make([]tracer.ServiceEndpoint, 0, len(found))
	for _, e := range found {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b tracer.ServiceEndpoint) int { return a.Addr.Compare(b.Addr) })
	return out
}

func collect(found map[netip.AddrPort]tracer.ServiceEndpoint, e *kube.SliceEndpoint, port uint16, ipv6 bool) {
	// Only the first address of an endpoint is used: the API defines the
	// others as interchangeable, and every proxy ignores them.
	if len(e.Addrs) == 0 || e.Addrs[0].Is6() != ipv6 {
		return
	}
	at := netip.AddrPortFrom(e.Addrs[0], port)
	pod := ""
	if e.Pod != (kube.Key{}) {
		pod = e.Pod.String()
	}
	if old, ok := found[at]; ok && (old.Ready || !e.Ready) {
		return
	}
	found[at] = tracer.ServiceEndpoint{
		Addr: at, Ready: e.Ready, Serving: e.Serving, Terminating: e.Terminating, Pod: pod, Node: e.Node,
	}
}
