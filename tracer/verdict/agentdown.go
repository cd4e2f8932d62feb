package verdict

import (
	"fmt"
	"slices"
	"time"

	"github.com/podpath/podpath/tracer"
)

// upkeep is what the agents of some networks keep on their nodes, so that one which is
// down leaves it missing, or as it was.
type upkeep struct {
	codes, networks []string
	// sessions: the agent on the other node has to bring it, too (BGP).
	sessions bool
}

// upkeeps leaves out what a plugin sets up once for its pod (AWS, the CNI project's),
// and tunnels without entries of their own (Cilium, Open vSwitch).
func upkeeps() []upkeep {
	return []upkeep{
		{codes: []string{"cni-host-route-missing"}, networks: []string{"calico", "cilium"}},
		{codes: []string{"cni-route-missing"}, networks: []string{"flannel", "cilium", "kindnet", "antrea"}},
		{codes: []string{"cni-route-missing"}, networks: []string{"calico", "kube-router"}, sessions: true},
		{codes: []string{"cni-overlay-fdb-missing", "cni-overlay-neigh-missing"}, networks: []string{"flannel", "calico"}},
	}
}

// agentsDown says beside a fault that the agent which keeps up what is missing does
// not run, since before the flow began. What has become of it before that is not
// known, so that it is evidence and where to begin, and the fault stays what it is.
func (in *Input) agentsDown(f *Finding) {
	if in.Cluster.Stale > 0 {
		return
	}
	if f.Code == "pol-agent-stale" {
		for i := range in.networks {
			if n := &in.networks[i]; in.enforces(f, n) {
				in.agentDownOn(f, n, in.NodeName)
			}
		}
		return
	}
	if f.Code == "cni-host-route-missing" && !in.deviceOf(f.Object) {
		return // the plugin makes the device
	}
	here := in.networksHere()
	for _, u := range upkeeps() {
		if !slices.Contains(u.codes, f.Code) {
			continue
		}
		for i := range here {
			n := &here[i]
			if !slices.Contains(u.networks, n.name) {
				continue
			}
			in.agentDownOn(f, n, in.NodeName)
			if far := in.targetNode(); u.sessions && far != nil && far.Name != in.NodeName {
				in.agentDownOn(f, n, far.Name)
			}
		}
	}
}

// enforces: the rule or the program that dropped is of the network's agent.
func (in *Input) enforces(f *Finding, n *network) bool {
	if f.Rule != nil {
		return f.Rule.Owner == n.name
	}
	owned := slices.DeleteFunc(slices.Clone(in.Node.Programs), func(p tracer.BPFProgram) bool { return p.Owner == "" })
	others := slices.ContainsFunc(owned, func(p tracer.BPFProgram) bool { return p.Owner != n.name })
	return len(owned) > 0 && !others // which of several dropped is not known here
}

// deviceOf: the node has the device of that end's pod.
func (in *Input) deviceOf(pod *tracer.Ref) bool {
	is := func(p *tracer.PodFacts) bool {
		return p != nil && pod != nil && p.Namespace == pod.Namespace && p.Name == pod.Name
	}
	return is(in.Cluster.TargetPod) && in.Node.DstPeer != nil || is(in.Cluster.SourcePod) && in.Node.SrcPeer != nil
}

// agentDownOn adds that a network's agent does not run on a node, if that is known.
func (in *Input) agentDownOn(f *Finding, n *network, node string) {
	a := n.agentOf(in.Cluster.AgentsDown[node])
	if !agentDown(a, in.Now) || !ends(a) || a.Since.IsZero() || a.Since.After(in.Journey.First) || in.Now.Sub(a.Since) < stuckFor {
		return
	}
	told := in.seenState("DaemonSet "+a.Namespace+"/"+a.Name, "on node %s: %s since %s: what is out of order here is for it to keep up", node, a.State(), a.Since.UTC().Format(time.RFC3339))
	if slices.ContainsFunc(f.Evidence, func(e tracer.Evidence) bool { return e == told }) {
		return // canal is of two networks
	}
	f.Evidence = append(f.Evidence, told)
	ns, pod := shellWord(a.Namespace), shellWord(a.Pod)
	f.First = append(f.First, fmt.Sprintf("the agent of %s on %s is not ready: kubectl -n %s logs %s --all-containers --previous tells why it ended; restart it: kubectl -n %s delete pod %s", n.name, node, ns, pod, ns, pod))
}
