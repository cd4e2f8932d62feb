package verdict

import (
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// A pod without a network sends nothing, and nothing can be sent to it. What is
// known of it then is state: the Events of the pod, what its node says of itself, and
// the pods of the CNI. So that nothing of it is more than suspected.

// stuckFor is how long what keeps a pod from its network has to go on: agents are
// restarted, and clouds attach addresses, within less.
const stuckFor = 20 * time.Second

// retriedWithin is how long after a failure another is to be heard of, if it goes on:
// the kubelet tries again within seconds, and a try takes up to four minutes; once it
// has said so some 25 times, it says it every five minutes (client-go tools/record,
// EventSourceObjectSpamFilter).
const retriedWithin = 6 * time.Minute

// stuck is a pod that has no network, and that gets none.
type stuck struct {
	*tracer.PodNetwork
	pod *tracer.PodFacts
	now time.Time
	// source: it is the client; otherwise it is the target.
	source bool
}

// stuck is the end of the flow that has no network, the client's before the target's;
// nil if both have one, or none is due yet. Of a pod that has none no packet is seen.
func (in *Input) stuck() *stuck {
	if !in.unseen() {
		return nil
	}
	for _, s := range []stuck{{pod: in.Cluster.SourcePod, now: in.Now, source: true}, {pod: in.Cluster.TargetPod, now: in.Now}} {
		if s.pod == nil || s.pod.Network == nil {
			continue
		}
		s.PodNetwork = s.pod.Network
		if s.networkMissing() {
			return &s
		}
	}
	return nil
}

// networkMissing: the pod has been given to a node, whose kubelet is there, and the
// network is what it has not got. Images come after the network, but the pod's state
// is the same while they are pulled: only Events tell. Volumes come before it.
func (s *stuck) networkMissing() bool {
	switch reason, _, _ := strings.Cut(s.Waiting, ":"); {
	case s.pod.Node == "" || s.pod.Terminating || s.Ready == "True":
		return false
	case reason != "" && reason != "ContainerCreating" && reason != "PodInitializing":
		return false
	case s.Node != nil && s.Node.Ready == "Unknown":
		return false
	}
	if len(s.Failures) == 0 {
		return s.Progress.IsZero()
	}
	return s.Failures[0].Says != tracer.FailureVolume && s.Failures[0].Last.After(s.Progress)
}

// newest is the newest failure to make the pod's network, nil if there is none, if
// that has not gone on for long, or if it was long ago: then it has got its network,
// and waits for something else.
func (s *stuck) newest() *tracer.StartAttempt {
	if len(s.Failures) == 0 || s.now.Sub(s.Failures[0].Last) > retriedWithin || s.failedSince(s.began()) < stuckFor {
		return nil
	}
	return &s.Failures[0]
}

// began is when the failures began, after the pod was given to its node, and after
// the last time that it had a network.
func (s *stuck) began() time.Time {
	var first time.Time
	for i := range s.Failures {
		f := &s.Failures[i]
		if f.Says != tracer.FailureVolume && (first.IsZero() || f.First.Before(first)) {
			first = f.First
		}
	}
	return latest(first, s.Scheduled, s.Progress)
}

// failedSince is for how long after a moment the network is known to have failed.
func (s *stuck) failedSince(t time.Time) time.Duration {
	return s.Failures[0].Last.Sub(t)
}

func latest(list ...time.Time) (last time.Time) {
	for _, t := range list {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// says is what the newest failure says, "" without one.
func (s *stuck) says() tracer.StartFailure {
	if f := s.newest(); f != nil {
		return f.Says
	}
	return ""
}

// overdue: the pod's Events could not be read, or there were none to be had, and the
// pod has been waiting for a while, in all of which the agent did not run. One that
// runs and is not ready may serve its plugin, and while it ran the pod may have got
// its network, and pull its image since.
func (s *stuck) overdue(a *tracer.Agent) bool {
	if s.EventsKnown || s.Scheduled.IsZero() || s.now.Sub(s.Scheduled) < stuckFor {
		return false
	}
	return a.Pod == "" || ends(a) && !a.Since.After(s.Scheduled)
}

// ends: it does not run, or runs only for a while. One that runs and is not ready may
// do its work.
func ends(a *tracer.Agent) bool { return a.Restarts > 0 || a.Waiting != "" || a.Phase != "Running" }

// runtimeLacks: the node is not ready, and says that it is for want of a CNI's
// configuration, which it lacked when the pod was to get its network.
func (s *stuck) runtimeLacks() bool {
	n := s.Node
	if n == nil || n.Ready != "False" || n.Says != tracer.FailureNotConfigured || n.Since.IsZero() || s.now.Sub(n.Since) < stuckFor {
		return false
	}
	return s.newest() != nil || s.Scheduled.IsZero() || n.Since.Before(s.Scheduled.Add(stuckFor))
}

// sharedPlugins are those that CNIs use of the CNI project's, and what stands for a
// plugin that the kubelet did not name: they belong to nobody's agent.
func sharedPlugins() []string {
	return []string{
		"cni", "bridge", "ptp", "ipvlan", "macvlan", "vlan", "host-device", "loopback", "host-local", "dhcp", "static",
		"portmap", "bandwidth", "tuning", "firewall", "sbr", "vrf",
	}
}

// network is the CNI that the failing plugin belongs to, or, where that is one which
// several use, the only one of which agents run in the cluster; nil if neither tells,
// as of a plugin that is not known, which has an agent of its own or none.
func (in *Input) network(s *stuck) *network {
	if f := s.newest(); f != nil && f.Plugin != "" {
		for i := range in.networks {
			if n := &in.networks[i]; n.hasPlugin(f.Plugin) {
				return n
			}
		}
		if !slices.Contains(sharedPlugins(), f.Plugin) {
			return nil
		}
	}
	var found *network
	for i := range in.networks {
		n := &in.networks[i]
		a, b := n.agentOf(s.Agents), found.agentOf(s.Agents)
		switch {
		case a == nil:
		case found == nil:
			found = n
		case a != b:
			return nil // policies by one, the network by another: which is which is not known
		}
	}
	return found
}

// agentOf is the network's DaemonSet; of several, one for each architecture, the one
// that runs on the node. It is nil if there is none.
func (n *network) agentOf(agents []tracer.Agent) *tracer.Agent {
	if n == nil {
		return nil
	}
	var found *tracer.Agent
	for i := range agents {
		if a := &agents[i]; n.isAgent(*a) && (found == nil || found.Pod == "" && a.Pod != "") {
			found = a
		}
	}
	return found
}

// hasPlugin: the plugin is the network's own. Those of the CNI project (bridge,
// host-local) are used by many.
func (n *network) hasPlugin(name string) bool {
	return !n.plain && (name == n.name || name == n.name+"-cni" || slices.Contains(n.plugins, name))
}

// isAgent: the DaemonSet is the network's, by its name; in which namespace it runs is
// up to who installed it.
func (n *network) isAgent(a tracer.Agent) bool {
	_, name, _ := strings.Cut(n.daemonSet, "/")
	own := func(pattern string) bool { return named(a.Name, pattern) }
	return name != "" && a.Name == name || slices.ContainsFunc(n.agents, own)
}

// agent is the DaemonSet of the CNI, nil if none is known.
func (in *Input) agent(s *stuck) *tracer.Agent { return in.network(s).agentOf(s.Agents) }

// answeredSince: the agent has changed since the network failed, or shortly before, so
// that the failure says nothing of what it is now. A plugin that does not reach an
// agent which is not ready says so of that, whenever it ended last.
func (s *stuck) answeredSince(a *tracer.Agent) bool {
	if a == nil || a.Since.IsZero() || s.newest() == nil || s.says() == tracer.FailureNoAgent && !a.Ready {
		return false
	}
	return s.failedSince(a.Since) < stuckFor
}

// agentDown: the CNI's agent has no pod on the node, or one that is not ready and has
// not just been started.
func agentDown(a *tracer.Agent, now time.Time) bool {
	switch {
	case a == nil:
		return false
	case a.Pod == "":
		return a.Elsewhere > 0
	case a.Ready:
		return false
	}
	since := a.Since
	if since.IsZero() {
		since = a.Created
	}
	return a.Restarts > 0 || since.IsZero() || now.Sub(since) >= stuckFor
}

// lacksRange: the CNI takes each node's pod range from its Node object, and this
// node's has none. Where no node has one the CNI may have ranges of its own (flannel
// with etcd).
func (in *Input) lacksRange(s *stuck) bool {
	n := in.network(s)
	return n != nil && n.nodeRange && s.Node != nil && len(s.Node.PodCIDRs) == 0 && s.Node.RangesElsewhere
}

// rangeless: no node has a range, on which the CNI may rely.
func (in *Input) rangeless(s *stuck) bool {
	n := in.network(s)
	return n != nil && n.nodeRange && s.Node != nil && len(s.Node.PodCIDRs) == 0 && !s.Node.RangesElsewhere
}
