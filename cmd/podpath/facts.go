package main

import (
	"net/netip"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/kube/policy"
	"github.com/podpath/podpath/kube/service"
	"github.com/podpath/podpath/tracer"
)

// clusterFacts is what the cluster's objects say about one flow.
func clusterFacts(view *kube.Snapshot, j *tracer.Journey, node string) *tracer.ClusterFacts {
	proto := j.Flow.Proto
	c := &tracer.ClusterFacts{
		Known: true, Node: node,
		Source:      view.Endpoint(j.Flow.Src.Addr(), 0, proto),
		Destination: view.Endpoint(j.Flow.Dst.Addr(), j.Flow.Dst.Port(), proto),
		Target:      view.Endpoint(j.Translated.Dst.Addr(), j.Translated.Dst.Port(), proto),
		Nodes:       view.Nodes(),
		InPodCIDR:   view.InPodCIDR(j.Translated.Dst.Addr()),
		Unread:      view.Unread(),
	}
	c.AgentPolicies, c.AgentKinds = view.AgentPolicies()
	c.InServiceRange = view.InServiceRange(j.Flow.Dst.Addr())
	src, srcOK := view.PodByIP(j.Flow.Src.Addr())
	if srcOK {
		c.SourcePod = view.PodFacts(src)
	}
	dst, dstOK := view.PodByIP(j.Translated.Dst.Addr())
	if dstOK {
		c.TargetPod = view.PodFacts(dst)
	}
	c.AgentsDown = agentsDown(view, node, c.SourcePod, c.TargetPod)
	if p, ok := view.PublishedBy(j.Flow.Dst.Addr(), j.Flow.Dst.Port(), proto); ok {
		c.Published = view.PodFacts(p)
	}
	if view.ServicesKnown() {
		c.Service = service.Facts(view, j.Flow)
		if c.Service != nil {
			c.Service.Expected = service.Expected(view, c.Service, j.Flow, node)
		}
	}
	if !view.PoliciesKnown() {
		return c
	}
	f := policy.Flow{
		Src: j.Flow.Src.Addr(), Dst: j.Translated.Dst.Addr(), SrcPod: src, DstPod: dst,
		Port: j.Translated.Dst.Port(), Proto: proto,
	}
	if j.Translated.Dst != j.Flow.Dst {
		f.ServicePort = j.Flow.Dst.Port()
	}
	if proto == tracer.ProtoICMP || proto == tracer.ProtoICMPv6 {
		f.Port = 0
	}
	if s := c.Service; s != nil && j.Translated.Dst == j.Flow.Dst {
		for _, e := range s.Endpoints {
			if e.Serving {
				f.Backends = append(f.Backends, e.Addr)
			}
		}
	}
	c.Egress, c.Ingress = policy.Decide(view, f)
	if src := sourceAtDrop(j); src.IsValid() {
		// Whoever dropped it saw a translated source, and so did the target's policies.
		f.Src, f.SrcPod = src, nil
		_, c.Ingress = policy.Decide(view, f)
	}
	return c
}

// agentsDown are those of the traced node and of both ends', by node.
func agentsDown(view *kube.Snapshot, node string, pods ...*tracer.PodFacts) map[string][]tracer.Agent {
	out := map[string][]tracer.Agent{}
	on := func(node string) {
		if list := view.AgentsDown(node); list != nil {
			out[node] = list
		}
	}
	on(node)
	for _, p := range pods {
		if p != nil {
			on(p.Node)
		}
	}
	return out
}

// sourceAtDrop is the source that the dropped packets of a request had, if it was
// translated before they were dropped.
func sourceAtDrop(j *tracer.Journey) netip.Addr {
	for i := range j.Drops {
		d := &j.Drops[i]
		request := d.Direction == tracer.DirRequest && !d.ARP && !d.ICMPError && d.Tuple.Proto == j.Flow.Proto
		if request && d.Tuple.Dst == j.Translated.Dst && d.Tuple.Src.Addr() != j.Flow.Src.Addr() {
			return d.Tuple.Src.Addr()
		}
	}
	return netip.Addr{}
}
