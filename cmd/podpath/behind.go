package main

import (
	"net/netip"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// behind finds the pods that a destination written as an address leads to: the
// endpoints of the Services whose address or NodePort it is. Their devices must
// be watched too, or the flow would seem to end at the translation.
func behind(view *kube.Snapshot, to *kube.Resolved) []netip.Prefix {
	var out []netip.Prefix
	seen := map[kube.Key]bool{}
	for _, t := range to.Targets {
		if t.Role != kube.RoleRange && t.Role != kube.RoleDNS && t.Role != kube.RoleNode || !t.Prefix.IsSingleIP() {
			continue
		}
		for _, proto := range []uint8{tracer.ProtoTCP, tracer.ProtoUDP, tracer.ProtoSCTP} {
			f, ok := view.Frontend(t.Prefix.Addr(), t.Port, proto)
			if !ok || seen[f.Service.Key()] {
				continue
			}
			seen[f.Service.Key()] = true
			for _, slice := range view.Slices(f.Service.Key()) {
				for i := range slice.Endpoints {
					for _, ip := range slice.Endpoints[i].Addrs {
						out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
					}
				}
			}
		}
	}
	return out
}

// open: the destination is a range or anything, so every pod of the node may be
// the one that is reached.
func open(to *kube.Resolved) bool {
	if to.Any {
		return true
	}
	for _, t := range to.Targets {
		if t.Role == kube.RoleRange && !t.Prefix.IsSingleIP() || t.Role == kube.RoleNode && t.Port == 0 {
			return true
		}
	}
	return false
}
