package verdict

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// addressesExhausted: the CNI's allocator says that it has no address left.
func addressesExhausted(in *Input) *Finding {
	s := in.stuck()
	if s == nil || s.says() != tracer.FailureNoAddress {
		return nil
	}
	f := in.withoutNetwork(s, "cni-no-ip-exhausted")
	f.Summary = fmt.Sprintf("the CNI's allocator gives no address to pod %s on node %s, so that it has no network", s.name(), s.pod.Node)
	if use := s.use(); use != "" {
		f.Summary += " (" + use + ")"
		f.Evidence = append(f.Evidence, in.seenState("Node "+s.pod.Node, "%s", use))
	}
	f.Object = &tracer.Ref{Kind: "Node", Name: s.pod.Node}
	return f
}

// agentNotThere: the CNI's plugin does not reach its agent, or the agent's pod on the
// node does not run and the network cannot be made.
func agentNotThere(in *Input) *Finding {
	s := in.stuck()
	if s == nil || in.lacksRange(s) {
		return nil
	}
	a, says := in.agent(s), s.says()
	down := agentDown(a, in.Now)
	switch {
	case s.answeredSince(a):
		return nil // it has come back, and the pod's next try is to come
	case says == tracer.FailureNoAgent:
	case down && (says == tracer.FailureNotConfigured || says == tracer.FailureOther && s.newest().Plugin != "" || s.overdue(a)):
	default:
		return nil
	}
	f := in.withoutNetwork(s, "cni-daemon-down")
	who := "the agent of its CNI"
	if n := in.network(s); n != nil {
		who = n.name + "'s agent"
	} else if n := s.newest(); n != nil && n.Plugin != "" {
		who = "the agent of CNI plugin " + n.Plugin
	}
	how := "does not answer there"
	if down {
		how = a.State()
	}
	f.Summary = fmt.Sprintf("pod %s has no network, because %s on node %s %s", s.name(), who, s.pod.Node, how)
	switch {
	case a == nil && says == tracer.FailureNoAgent:
		f.Blind = append(f.Blind, tracer.Blind{What: "no DaemonSet of that CNI is known in the cluster", Effect: "it may be there under another name; if it was removed, its configuration was left in /etc/cni/net.d of the node"})
	case a == nil:
	case a.Pod == "":
		f.Object = &tracer.Ref{Kind: "DaemonSet", Namespace: a.Namespace, Name: a.Name}
	default:
		f.Object = &tracer.Ref{Kind: "Pod", Namespace: a.Namespace, Name: a.Pod}
	}
	if a != nil {
		f.Evidence = append(f.Evidence, in.seenState(fmt.Sprintf("DaemonSet %s/%s", a.Namespace, a.Name), "on node %s: %s", s.pod.Node, a.State()))
	}
	if in.rangeless(s) {
		f.Evidence = append(f.Evidence, in.seenState("Node "+s.pod.Node, "spec.podCIDR is empty, as on all nodes: %s does not start without one, unless it keeps ranges of its own", in.network(s).name))
	}
	if f.Object == nil {
		f.Object = &tracer.Ref{Kind: "Node", Name: s.pod.Node}
	}
	return f
}

// notConfigured: the node's runtime has no configuration of a CNI, or a part of it is
// missing.
func notConfigured(in *Input) *Finding {
	s := in.stuck()
	if s == nil {
		return nil
	}
	newest, lacks := s.newest(), s.runtimeLacks()
	said := newest != nil && newest.Says == tracer.FailureNotConfigured
	switch {
	case said && newest.Reason == "NetworkNotReady" && s.Node != nil && s.Node.Ready == "True":
		return nil // it has been configured meanwhile
	case said, lacks && (newest == nil || newest.Says == tracer.FailureOther && newest.Plugin != ""):
	default:
		return nil
	}
	f := in.withoutNetwork(s, "cni-config-missing")
	f.Object = &tracer.Ref{Kind: "Node", Name: s.pod.Node}
	why := "the CNI is not set up there"
	switch {
	case in.lacksRange(s):
		why = fmt.Sprintf("the node has no pod range (spec.podCIDR), without which %s does not start", in.network(s).name)
		f.Evidence = append(f.Evidence, in.seenState("Node "+s.pod.Node, "spec.podCIDR is empty"))
	case said && newest.Reason != "NetworkNotReady":
		why = "a part of the CNI is missing there: " + newest.Text
	case lacks:
		why = "its container runtime has no CNI configuration"
	}
	f.Summary = fmt.Sprintf("pod %s has no network on node %s: %s", s.name(), s.pod.Node, why)
	return f
}

// withoutNetwork is what all findings about a pod without a network have in common.
func (in *Input) withoutNetwork(s *stuck, code string) *Finding {
	f := &Finding{Code: code, Confidence: tracer.Suspected, NotSent: s.source}
	f.Evidence = append(f.Evidence, in.seenState("Pod "+s.name(), "%s", s.state()))
	if n := s.newest(); n != nil {
		what := n.Reason
		if n.Count > 1 {
			what += fmt.Sprintf(" ×%d", n.Count)
		}
		f.Evidence = append(f.Evidence, tracer.Evidence{Time: n.Last, Where: "Event of " + s.name(), What: what + ": " + n.Text})
	}
	if !s.EventsKnown {
		f.Blind = append(f.Blind, tracer.Blind{What: "the pod's Events were not read", Effect: "what the runtime says of its network is not known; a volume that is not mounted, or an image that is being pulled, would look the same"})
	}
	if n := s.Node; n != nil {
		if n.Ready != "True" {
			f.Evidence = append(f.Evidence, tracer.Evidence{Time: in.Now, Where: "Node " + n.Name, What: "Ready is " + n.Ready + ": " + n.Text})
		}
		if n.Unavailable {
			f.Evidence = append(f.Evidence, in.seenState("Node "+n.Name, "NetworkUnavailable: %s", n.UnavailableText))
		}
	}
	return f
}

func (s *stuck) name() string { return s.pod.Namespace + "/" + s.pod.Name }

// state is the pod's own.
func (s *stuck) state() string {
	var parts []string
	for _, p := range []string{s.pod.Phase, s.Waiting} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	text := strings.Join(parts, ", ") + ", no address"
	if s.Ready != "" {
		text += ", PodReadyToStartContainers " + s.Ready
	}
	if !s.Scheduled.IsZero() {
		text += "; on node " + s.pod.Node + " since " + s.Scheduled.UTC().Format("15:04:05")
	}
	return text
}

// use is how many of the node's addresses are pods', "" if its range is not known.
func (s *stuck) use() string {
	n := s.Node
	if n == nil {
		return ""
	}
	text := fmt.Sprintf("pods on it that have one: %d", n.Addresses)
	for _, p := range n.PodCIDRs {
		if room, ok := usable(p); ok {
			text += fmt.Sprintf("; its range %s has %d", p, room)
			if n.Addresses < room/2 {
				text += ", of which the rest is reserved for pods that are gone, or the CNI uses less"
			}
			break
		}
	}
	if n.MaxPods > 0 {
		text += fmt.Sprintf("; it takes %d pods", n.MaxPods)
	}
	return text
}

// usable is how many pods a node's range has addresses for: all but the network's,
// the bridge's and the broadcast address. Ranges of IPv6 do not run out.
func usable(p netip.Prefix) (n int, ok bool) {
	host := p.Addr().BitLen() - p.Bits()
	if host < 2 || host >= bits.UintSize-2 || !p.Addr().Is4() {
		return 0, false
	}
	return 1<<host - 3, true
}
