package verdict

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/tracer"
)

// nodeNotReady: what left for another node was not answered, and the cluster has lost
// that node. It may be the kubelet alone that does not report, so that this is likely
// and not proven.
func nodeNotReady(in *Input) *Finding {
	f, n := beyondNode(in), in.farNode()
	if f == nil || n == nil || n.Ready || in.Outcome != tracer.OutcomeNoAnswer || len(in.Journey.Answers) > 0 {
		return nil
	}
	// Data that says of no node that it is ready does not say it of any.
	if !slices.ContainsFunc(in.Cluster.Nodes, func(o tracer.NodeInfo) bool { return o.Ready }) {
		return nil
	}
	f.Code, f.Object = "node-down", &tracer.Ref{Kind: "Node", Name: n.Name}
	f.Summary = fmt.Sprintf("node %s is NotReady, and nothing comes back from there: packets from %s to %s left node %s intact by %s",
		n.Name, in.source(), in.destination(), in.NodeName, in.nameOf(in.Journey.LeftBy))
	f.Evidence = append(f.Evidence, in.seenState("Node", "%s: Ready is not true", n.Name))
	if in.Cluster.Stale > 0 {
		f.Confidence = tracer.Suspected // it may be back
	}
	return f
}

// farNode is the other node that the packets were for, nil if it is none.
func (in *Input) farNode() *tracer.NodeInfo {
	n := in.targetNode()
	if t := in.Cluster.Target; t.Kind == tracer.KindNode {
		n = nil
		for i := range in.Cluster.Nodes {
			if in.Cluster.Nodes[i].Name == t.Name {
				n = &in.Cluster.Nodes[i]
			}
		}
	}
	if n == nil || n.Name == in.NodeName {
		return nil
	}
	return n
}
