package kube

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podpath/podpath/tracer"
)

// wantsAddress: it has none, and ought to have one of its own.
func (p *Pod) wantsAddress() bool { return len(p.IPs) == 0 && !p.HostNetwork && !p.Finished() }

// podNetwork is what the API says of a pod that has no address of its own, nil for
// one that has, or that never gets any.
func (s *Snapshot) podNetwork(p *Pod) *tracer.PodNetwork {
	if !p.wantsAddress() {
		return nil
	}
	out := &tracer.PodNetwork{Scheduled: p.Scheduled, Ready: p.NetworkReady, Waiting: p.Waiting, EventsKnown: s.eventsKnown(p)}
	list, _ := s.ofPod.get(p.Key())
	var again time.Time
	for _, e := range list {
		switch {
		case e.UID != p.UID && e.UID != "" && p.UID != "":
		case e.Reason == againReason:
			if e.Last.After(again) {
				again = e.Last
			}
		case !e.Progress:
			out.Failures = append(out.Failures, e.StartAttempt)
		case e.Last.After(out.Progress):
			out.Progress = e.Last
		}
	}
	slices.SortStableFunc(out.Failures, func(a, b tracer.StartAttempt) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Text, b.Text))
	})
	if len(out.Failures) > 0 {
		goesOn(&out.Failures[0], again, out.Progress)
	}
	if p.Node != "" {
		out.Node, out.Agents = s.nodeNetwork(p.Node), s.agents(p.Node)
	}
	return out
}

// goesOn: the pod's sandbox is begun anew after it failed, without having been made in
// between, so that it fails still.
func goesOn(f *tracer.StartAttempt, again, progress time.Time) {
	if f.Says != tracer.FailureVolume && f.Last.After(progress) && again.After(f.Last) {
		f.Last = again
	}
}

// nodeNetwork is what a node says of its pods' network, nil if it is not known.
func (s *Snapshot) nodeNetwork(name string) *tracer.NodeNetwork {
	n, ok := s.Node(name)
	if !ok {
		return nil
	}
	out := &tracer.NodeNetwork{
		Name: name, Ready: n.ReadyStatus, Since: n.ReadySince, Text: n.ReadyText, Says: n.Says,
		Unavailable: n.NetworkUnavailable, UnavailableText: n.NetworkText, PodCIDRs: n.PodCIDRs, MaxPods: n.MaxPods,
	}
	for _, other := range s.nodes.byName {
		out.RangesElsewhere = out.RangesElsewhere || other.Name != name && len(other.PodCIDRs) > 0
	}
	for p := range s.Pods() {
		if p.Node == name && p.ownsIPs() && len(p.IPs) > 0 {
			out.Addresses++
		}
	}
	return out
}

// agents are the DaemonSets whose pods use their node's network, with the pod that
// each has on a node.
func (s *Snapshot) agents(node string) []tracer.Agent {
	all := map[Key]*tracer.Agent{}
	for p := range s.Pods() {
		if !p.isAgent() {
			continue
		}
		k := Key{p.Namespace, p.Controller.Name}
		a := all[k]
		if a == nil {
			a = &tracer.Agent{Namespace: k.Namespace, Name: k.Name}
			all[k] = a
		}
		switch {
		case p.Node != node:
			a.Elsewhere++
		case a.Pod == "" || p.Created.After(a.Created):
			runsAs(a, p)
		}
	}
	out := make([]tracer.Agent, 0, len(all))
	for _, a := range all {
		out = append(out, *a)
	}
	slices.SortFunc(out, func(a, b tracer.Agent) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// Exit is how a container ended, of which the last words are known.
type Exit struct {
	Says tracer.StartFailure
	Text string
	At   time.Time
	// Again is when it was started again, zero if it does not run.
	Again time.Time
}

// crashLoop is why a container waits that ended again and again.
const crashLoop = "CrashLoopBackOff"

// lastExit is nil unless a container left words that are known, and waits to be started
// again or was: what one that waits for something else ended of may be of another life.
// A written dump has it only of such.
func lastExit(p *corev1.Pod) *Exit {
	_, written := p.Annotations[saysNote]
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			now := &list[i].State
			if !written && now.Terminated == nil && now.Running == nil && (now.Waiting == nil || now.Waiting.Reason != crashLoop) {
				continue
			}
			for _, end := range []*corev1.ContainerStateTerminated{now.Terminated, list[i].LastTerminationState.Terminated} {
				if end == nil {
					continue
				}
				if says := noted(p.Annotations, end.Message); says == tracer.FailureDNSLoop {
					out := &Exit{Says: says, Text: lastWords(end.Message), At: end.FinishedAt.UTC()}
					if now.Running != nil {
						out.Again = now.Running.StartedAt.UTC()
					}
					return out
				}
			}
		}
	}
	return nil
}

// lastWords is the line that says it, of a message that may be the end of a log.
func lastWords(message string) string {
	for line := range strings.Lines(message) {
		if saidBy(line) != tracer.FailureOther {
			message = line
			break
		}
	}
	return shortened(message)
}

// Exits are the pods that a Service selects, and that left words that are known when
// they ended last; by name.
func (s *Snapshot) Exits(svc *Service) []tracer.PodExit {
	var out []tracer.PodExit
	for p := range s.PodsIn(svc.Namespace) {
		if e := p.Exit; e != nil && !p.Finished() && svc.Selects(p) {
			out = append(out, tracer.PodExit{Namespace: p.Namespace, Name: p.Name, Says: e.Says, Text: e.Text, At: e.At, Again: e.Again, Restarts: p.Restarts, Ready: p.Ready})
		}
	}
	slices.SortFunc(out, func(a, b tracer.PodExit) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
