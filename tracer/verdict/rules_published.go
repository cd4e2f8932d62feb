package verdict

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/tracer"
)

// externalMasquerade: kube-proxy passed a connection from outside on to another
// node's pod with the client's own address, so that the answer does not come back
// this way. It is not seen where it goes: another reason for the silence may be
// there, too.
func externalMasquerade(in *Input) *Finding {
	j, s := in.Journey, in.Cluster.Service
	t, dnat := in.translation("dnat")
	_, snat := in.translation("snat")
	if s == nil || !dnat || snat || t.From != j.Flow.Dst || s.Frontend == "cluster-ip" || s.ExternalLocal || in.fromCluster() {
		return nil
	}
	if !j.LeftNode || in.Outcome != tracer.OutcomeNoAnswer || len(j.Answers) > 0 || in.targetHere() || in.cause() != nil {
		return nil
	}
	if j.LeftAs.Src.Addr() != j.Flow.Src.Addr() || !in.byKubeProxy() {
		return nil
	}
	f := &Finding{
		Code: "svc-nodeport-masq-missing", Confidence: tracer.Probable, Object: serviceRef(s),
		Summary: fmt.Sprintf("node %s passed the connection to Service %s/%s on to %s with the client's own address %s: the answer goes to the client directly, past this node",
			in.NodeName, s.Namespace, s.Name, in.target(), j.LeftAs.Src.Addr()),
		Evidence: []tracer.Evidence{in.seenTranslation(t), in.seenLeft(), in.seenState("Service", "externalTrafficPolicy is Cluster: kube-proxy has to masquerade")},
	}
	in.inTunnel(f)
	return f
}

// fromCluster: the client is a pod or a node, or may be one.
func (in *Input) fromCluster() bool {
	return in.Cluster.SourcePod != nil || in.Cluster.Source.Kind != tracer.KindExternal
}

// hostPortStale: the node maps a port of its own, which is no Service's, to an
// address of its pods that no pod has.
func hostPortStale(in *Input) *Finding {
	j, c := in.Journey, in.Cluster
	t, dnat := in.translation("dnat")
	if !dnat || c.Service != nil || !in.servicesKnown() || t.From != j.Flow.Dst || c.TargetPod != nil || in.delivered() {
		return nil
	}
	if c.Destination.Kind != tracer.KindNode || c.Destination.Name != in.NodeName || c.InPodCIDR != in.NodeName || c.Target.Kind == tracer.KindPod {
		return nil
	}
	d := in.causeIf(func(d *tracer.DropSeen) bool { return d.Drop.Stage == tracer.StageNeighbour || at(d, "NEIGH_FAILED") })
	if in.targetHere() || d == nil && in.Outcome != tracer.OutcomeNoAnswer {
		return nil // somebody has the address: a pod that is too new to be known
	}
	f := &Finding{
		Code: "cni-hostport-stale", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary: fmt.Sprintf("node %s maps its port %s to %s, an address that no pod has: the mapping of a pod that is gone is still there",
			in.NodeName, in.port(), t.To),
		Evidence: []tracer.Evidence{in.seenTranslation(t), in.seenState("Pods", "none has the address %s", t.To.Addr())},
	}
	if d != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
		f.Confidence = tracer.Confirmed
	}
	if c.Stale > 0 {
		f.Confidence = tracer.Probable
		f.Blind = append(f.Blind, tracer.Blind{What: fmt.Sprintf("the cluster data is %s old", c.Stale.Round(time.Second)), Effect: "the pod may be newer than it"})
	}
	return f
}

// hostPortMissing: a pod of this node wants a port of the node to lead to it, and
// the node took the packets for its own: nothing sent them to the pod.
func hostPortMissing(in *Input) *Finding {
	c, p := in.Cluster, in.Cluster.Published
	if p == nil || c.Service != nil || !in.servicesKnown() || !in.untranslated() || in.delivered() || p.Node != in.NodeName || in.mapped() {
		return nil
	}
	d := in.causeIf(in.tookItself)
	if d == nil {
		d = in.drop(in.tookItself)
	}
	a := in.refusedByNode()
	if d == nil && a == nil {
		return nil
	}
	f := &Finding{
		Code: "cni-hostport-missing", Confidence: tracer.Confirmed, Object: podRef(p),
		Summary: fmt.Sprintf("pod %s/%s wants %s of node %s to lead to it (hostPort), and nothing on the node maps that port: the node took the packets for its own",
			p.Namespace, p.Name, in.port(), in.NodeName),
		Evidence: []tracer.Evidence{in.seenState("Pod", "%s/%s has hostPort %d for %s", p.Namespace, p.Name, in.Journey.Flow.Dst.Port(), in.publishedPort(p))},
	}
	if d != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	}
	if a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
	}
	in.unmapped(f)
	if c.Stale > 0 {
		f.Confidence = tracer.Probable
		f.Blind = append(f.Blind, tracer.Blind{What: fmt.Sprintf("the cluster data is %s old", c.Stale.Round(time.Second)), Effect: "the pod may be gone since"})
	}
	return f
}

// mapped: the node's rules translate what the client asked for.
func (in *Input) mapped() bool { r := in.Node.Services; return r != nil && r.HasFrontend }

// unmapped says what is known of the node's rules for a port that was not mapped.
func (in *Input) unmapped(f *Finding) {
	r := in.Node.Services
	if r != nil && r.Complete && !translatesElsewhere(r) {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "no rule translates %s", in.Journey.Flow.Dst))
		return
	}
	f.Confidence = tracer.Probable
	f.Blind = append(f.Blind, tracer.Blind{What: "what maps ports of the node could not be read fully", Effect: "that nothing maps this one is inferred from the untranslated packet"})
}

// tookItself: the packet died as one for the node itself, behind the hook where its
// ports are mapped.
func (in *Input) tookItself(d *tracer.DropSeen) bool {
	return in.onHost(d.Device) && d.Direction == tracer.DirRequest && (d.Drop.Stage == tracer.StageInput || d.Drop.Stage == tracer.StageSocket)
}

// refusedByNode is the refusal that the node's own namespace made, nil if it came
// from elsewhere.
func (in *Input) refusedByNode() *tracer.Answer {
	a := in.refusal()
	if a == nil || !in.targetHere() || !in.onHost(in.Journey.DstDevice) || !in.onHost(a.Device) || a.Hook != tracer.EventTX {
		return nil
	}
	return a
}

// publishedPort is the pod's own port behind the one of its node.
func (in *Input) publishedPort(p *tracer.PodFacts) string {
	to := in.Journey.Flow.Dst
	for _, c := range p.Ports {
		if c.HostPort == to.Port() && c.Proto == in.Journey.Flow.Proto {
			return portOf(c.Proto, c.Port)
		}
	}
	return in.port()
}
