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
