package verdict

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// noNetwork: the client's pod was given to its node a minute ago, and has no network.
func noNetwork(with ...func(*tracer.PodNetwork)) change {
	return func(s *scene) {
		unseen(s)
		s.c.SourcePod.Phase, s.c.SourcePod.Ready = "Pending", false
		s.c.SourcePod.Network = &tracer.PodNetwork{
			Scheduled: s.Now.Add(-time.Minute), Ready: "False", Waiting: "ContainerCreating", EventsKnown: true,
			Node: &tracer.NodeNetwork{Name: "n1", Ready: "True", Since: s.Now.Add(-time.Hour), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}, RangesElsewhere: true, Addresses: 253, MaxPods: 300},
		}
		for _, f := range with {
			f(s.c.SourcePod.Network)
		}
	}
}

// withoutAddress takes the client's address away, which packets have.
func withoutAddress(s *scene) {
	s.j.Flow.Src = netip.AddrPort{}
	s.j.Translated, s.j.SrcDevice, s.c.Source.IP = s.j.Flow, tracer.DeviceKey{}, netip.Addr{}
}

type networkChange = func(*tracer.PodNetwork)

// failed is an Event, so long before the verdict; the first of its kind came when the
// pod was given to the node.
func failed(says tracer.StartFailure, plugin string, ago time.Duration) networkChange {
	return func(n *tracer.PodNetwork) {
		now := n.Scheduled.Add(time.Minute)
		n.Failures = append(n.Failures, tracer.StartAttempt{Reason: "FailedCreatePodSandBox", Says: says, Plugin: plugin, Text: "the plugin's words", First: n.Scheduled, Last: now.Add(-ago), Count: 4})
		slices.SortFunc(n.Failures, func(a, b tracer.StartAttempt) int { return b.Last.Compare(a.Last) })
	}
}

// scheduledAgo: the pod is that old.
func scheduledAgo(d time.Duration) networkChange {
	return func(n *tracer.PodNetwork) { n.Scheduled = n.Scheduled.Add(time.Minute - d) }
}

func waitingFor(reason string) networkChange {
	return func(n *tracer.PodNetwork) { n.Waiting = reason }
}

func noEvents(n *tracer.PodNetwork) { n.EventsKnown, n.Failures = false, nil }

// withAgent is a DaemonSet with a pod on the node, that has been ready, or not, for
// so long.
func withAgent(name string, ready bool, since time.Duration) networkChange {
	return func(n *tracer.PodNetwork) {
		a := tracer.Agent{Namespace: "kube-system", Name: name, Elsewhere: 2, Pod: name + "-x1", Phase: "Running", Ready: ready, Since: n.Scheduled.Add(time.Minute - since), Created: n.Scheduled.Add(-time.Hour)}
		if !ready {
			a.Waiting, a.Restarts = "CrashLoopBackOff: back-off", 5
		}
		n.Agents = append(n.Agents, a)
	}
}

// agentMissing: it has pods elsewhere.
func agentMissing(name string) networkChange {
	return func(n *tracer.PodNetwork) {
		n.Agents = append(n.Agents, tracer.Agent{Namespace: "kube-system", Name: name, Elsewhere: 2})
	}
}

func nodeIs(status string, says tracer.StartFailure, since time.Duration) networkChange {
	return func(n *tracer.PodNetwork) {
		n.Node.Ready, n.Node.Says, n.Node.Since, n.Node.Text = status, says, n.Scheduled.Add(time.Minute-since), "KubeletNotReady: the runtime's words"
	}
}

// noRoutes: the cloud's controller has not made the routes to the node.
func noRoutes(n *tracer.PodNetwork) {
	n.Node.Unavailable, n.Node.UnavailableText = true, "NoRouteCreated: RouteController failed to create a route"
}

func noRange(n *tracer.PodNetwork) { n.Node.PodCIDRs = nil }

// progressed: its image began to be pulled so long ago.
func progressed(ago time.Duration) networkChange {
	return func(n *tracer.PodNetwork) { n.Progress = n.Scheduled.Add(time.Minute - ago) }
}

// once is a single failure, so long before the verdict.
func once(says tracer.StartFailure, plugin string, ago time.Duration) networkChange {
	return func(n *tracer.PodNetwork) {
		failed(says, plugin, ago)(n)
		n.Failures[0].First, n.Failures[0].Count = n.Failures[0].Last, 1
	}
}

// longAgo: there were no addresses for half a minute, which ended so long ago.
func longAgo(ago time.Duration) networkChange {
	return func(n *tracer.PodNetwork) {
		last := n.Scheduled.Add(time.Minute - ago)
		n.Scheduled = last.Add(-31 * time.Second)
		n.Failures = []tracer.StartAttempt{{Reason: "FailedCreatePodSandBox", Says: exhausted, Plugin: "aws-cni", First: last.Add(-30 * time.Second), Last: last, Count: 3}}
	}
}

// anHourOld: the pod was given to its node an hour before all else.
func anHourOld(n *tracer.PodNetwork) { n.Scheduled = n.Scheduled.Add(-time.Hour) }

func noRangesElsewhere(n *tracer.PodNetwork) { n.Node.RangesElsewhere = false }

func notReadyEvent(n *tracer.PodNetwork) {
	failed(tracer.FailureNotConfigured, "", time.Second)(n)
	n.Failures[0].Reason = "NetworkNotReady"
}

const (
	exhausted = tracer.FailureNoAddress
	noAgent   = tracer.FailureNoAgent
	unset     = tracer.FailureNotConfigured
	unclear   = tracer.FailureOther
)

func noNetworkFaults() []fault {
	asTarget := func(s *scene) {
		s.c.TargetPod.Network, s.c.SourcePod.Network = s.c.SourcePod.Network, nil
		s.c.TargetPod.Phase = "Pending"
	}
	return []fault{
		{"no address left", "no-free-address", "cni-no-ip-exhausted", suspected, "Node n1", []change{noNetwork(failed(exhausted, "host-local", time.Second))}},
		{"no address left for the target", "no-free-address", "cni-no-ip-exhausted", suspected, "Node n1", []change{noNetwork(failed(exhausted, "aws-cni", time.Second)), asTarget}},
		{"no address left, with a healthy agent", "no-free-address", "cni-no-ip-exhausted", suspected, "Node n1", []change{noNetwork(failed(exhausted, "aws-cni", time.Second), withAgent("aws-node", true, time.Hour))}},
		{"the agent does not answer", "no-agent", "cni-daemon-down", suspected, "Pod kube-system/aws-node-x1", []change{noNetwork(failed(noAgent, "aws-cni", time.Second), withAgent("aws-node", false, time.Minute))}},
		{"the agent does not answer, and is not known", "no-agent", "cni-daemon-down", suspected, "Node n1", []change{noNetwork(failed(noAgent, "cilium-cni", time.Second))}},
		{"the agent is ready, and did not answer after that", "no-agent", "cni-daemon-down", suspected, "Pod kube-system/calico-node-x1", []change{noNetwork(failed(noAgent, "calico", time.Second), withAgent("calico-node", true, time.Hour))}},
		{"subnet.env is missing, and flannel ends again and again", "no-agent", "cni-daemon-down", suspected, "Pod kube-system/kube-flannel-ds-x1", []change{noNetwork(failed(unset, "flannel", time.Second), withAgent("kube-flannel-ds", false, time.Minute))}},
		{"nothing was read, and the agent has no pod here", "no-agent", "cni-daemon-down", suspected, "DaemonSet kube-system/cilium", []change{noNetwork(noEvents, agentMissing("cilium"))}},
		{"the plugin fails somehow, and its agent is down", "no-agent", "cni-daemon-down", suspected, "Pod kube-system/calico-node-x1", []change{noNetwork(failed(unclear, "calico", time.Second), withAgent("calico-node", false, time.Minute))}},
		{"it ran, and its network fails again and again", "no-free-address", "cni-no-ip-exhausted", suspected, "Node n1", []change{noNetwork(progressed(50*time.Second), failed(exhausted, "host-local", time.Second), anHourOld)}},
		{"what failed was said the last time minutes ago, as Events are held back", "no-free-address", "cni-no-ip-exhausted", suspected, "Node n1", []change{noNetwork(longAgo(5*time.Minute + time.Minute/2))}},
		{"multus does not answer, beside calico, which is well", "no-agent", "cni-daemon-down", suspected, "Node n1", []change{noNetwork(failed(noAgent, "multus-shim", time.Second), withAgent("calico-node", true, time.Hour))}},
		{"a shared plugin fails somehow, and the only CNI's agent is down", "no-agent", "cni-daemon-down", suspected, "Pod kube-system/kindnet-x1", []change{noNetwork(failed(unclear, "ptp", time.Second), withAgent("kindnet", false, time.Minute))}},
		{"no node has a range, and flannel ends again and again", "no-agent", "cni-daemon-down", suspected, "Pod kube-system/kube-flannel-ds-x1", []change{noNetwork(failed(unset, "flannel", time.Second), withAgent("kube-flannel-ds", false, time.Minute), noRange, noRangesElsewhere)}},
		{"canal's agent is down", "no-agent", "cni-daemon-down", suspected, "Pod kube-system/canal-x1", []change{noNetwork(noEvents, withAgent("canal", false, time.Minute))}},
		{"a policy agent beside the CNI's, which is down", "no-agent", "cni-daemon-down", suspected, "Pod kube-system/aws-node-x1", []change{noNetwork(failed(noAgent, "aws-cni", time.Second), withAgent("calico-node", true, time.Hour), withAgent("aws-node", false, time.Minute))}},
		{"no configuration", "not-configured", "cni-config-missing", suspected, "Node n1", []change{noNetwork(notReadyEvent, nodeIs("False", unset, time.Minute))}},
		{"no configuration, by the node alone", "not-configured", "cni-config-missing", suspected, "Node n1", []change{noNetwork(noEvents, nodeIs("False", unset, time.Minute))}},
		{"a plugin's program is missing", "not-configured", "cni-config-missing", suspected, "Node n1", []change{noNetwork(failed(unset, "", time.Second), withAgent("calico-node", true, time.Hour))}},
		{"flannel ends for want of a range", "not-configured", "cni-config-missing", suspected, "Node n1", []change{noNetwork(failed(unset, "flannel", time.Second), withAgent("kube-flannel-ds", false, time.Minute), noRange)}},
	}
}

// What looks like it is no fault of the CNI's, or not yet.
func TestNoNetworkLookAlikes(t *testing.T) {
	e := NewEngine()
	for _, tt := range []struct {
		name string
		with []change
	}{
		{"started just now, and no Event", []change{noNetwork(scheduledAgo(2 * time.Second))}},
		{"started just now, and one try failed", []change{noNetwork(failed(exhausted, "host-local", time.Minute-2*time.Second))}},
		{"started just now, and nothing was read of it, while the agent is down", []change{noNetwork(noEvents, scheduledAgo(2*time.Second), agentMissing("cilium"))}},
		{"waits for a minute, and nothing says why", []change{noNetwork()}},
		{"waits for a minute, and the node is fine, and nothing was read", []change{noNetwork(noEvents)}},
		{"an image is pulled", []change{noNetwork(waitingFor("ImagePullBackOff: back-off"), failed(exhausted, "host-local", 30*time.Second))}},
		{"has had a network", []change{noNetwork(func(n *tracer.PodNetwork) { n.Ready = "True" }, failed(exhausted, "host-local", 30*time.Second))}},
		{"no node takes it", []change{noNetwork(waitingFor("Unschedulable: 0/2 nodes")), func(s *scene) { s.c.SourcePod.Node, s.c.SourcePod.Network.Node = "", nil }}},
		{"no node takes it, for they have no CNI", []change{noNetwork(func(n *tracer.PodNetwork) { n.Waiting = "" }, nodeIs("False", unset, time.Hour)), func(s *scene) { s.c.SourcePod.Node = "" }}},
		{"it is being deleted", []change{noNetwork(failed(exhausted, "host-local", time.Second)), func(s *scene) { s.c.SourcePod.Terminating = true }}},
		{"an image is pulled, after the network failed for 30 s", []change{noNetwork(failed(exhausted, "host-local", 30*time.Second), progressed(29*time.Second))}},
		{"an image is pulled, after the node had no CNI", []change{noNetwork(failed(unset, "loopback", 30*time.Second), progressed(29*time.Second), nodeIs("False", unset, 25*time.Second))}},
		{"an image is pulled, and the node's CNI was taken away", []change{noNetwork(progressed(50*time.Second), nodeIs("False", unset, time.Minute))}},
		{"the network failed long ago, and what came after is not known", []change{noNetwork(longAgo(9 * time.Minute))}},
		{"nothing was read, and an agent that runs is not ready", []change{noNetwork(noEvents, withAgent("calico-node", false, time.Hour), func(n *tracer.PodNetwork) { n.Agents[0].Waiting, n.Agents[0].Restarts = "", 0 })}},
		{"nothing was read, and the agent ran when the pod came", []change{noNetwork(noEvents, withAgent("calico-node", false, 30*time.Second))}},
		{"nothing was read, and the node lost its CNI after the pod came", []change{noNetwork(noEvents, nodeIs("False", unset, 30*time.Second))}},
		{"an old pod on a node that was started, and one try failed", []change{noNetwork(once(noAgent, "calico", time.Second), withAgent("calico-node", false, 2*time.Second), anHourOld)}},
		{"it ran, and one try to make its network again failed", []change{noNetwork(progressed(3*time.Second), failed(exhausted, "host-local", time.Second), anHourOld)}},
		{"the agent has come back, and one try failed after", []change{noNetwork(failed(noAgent, "aws-cni", time.Second), withAgent("aws-node", true, 5*time.Second))}},
		{"the plugin failed, and its agent is not ready since", []change{noNetwork(failed(unclear, "calico", 10*time.Second), withAgent("calico-node", false, 15*time.Second))}},
		{"a plugin that is not known fails somehow, and the only CNI's agent is down", []change{noNetwork(failed(unclear, "acme", time.Second), withAgent("calico-node", false, time.Minute))}},
		{"the plugin does not reach the API server, and its agent, which does not either, is down", []change{noNetwork(failed(tracer.FailureNoAPI, "calico", time.Second), withAgent("calico-node", false, time.Minute))}},
		{"the sandbox's image is not there, on a node without a CNI", []change{noNetwork(failed(unclear, "", time.Second), nodeIs("False", unset, time.Minute))}},
		{"a volume is not mounted", []change{noNetwork(failed(tracer.FailureVolume, "", time.Second), withAgent("calico-node", false, time.Minute))}},
		{"a volume is not mounted, after the network failed once", []change{noNetwork(failed(exhausted, "host-local", 50*time.Second), failed(tracer.FailureVolume, "", time.Second))}},
		{"the node is lost", []change{noNetwork(failed(noAgent, "aws-cni", 20*time.Second), nodeIs("Unknown", unclear, time.Minute))}},
		{"the node has just come up", []change{noNetwork(noEvents, nodeIs("False", unset, 5*time.Second))}},
		{"it is configured by now", []change{noNetwork(notReadyEvent)}},
		{"the node is not ready of something else", []change{noNetwork(noEvents, nodeIs("False", unclear, time.Minute))}},
		{"the agent has come back", []change{noNetwork(failed(noAgent, "aws-cni", 20*time.Second), withAgent("aws-node", true, 5*time.Second))}},
		{"the plugin fails somehow, and its agent is well", []change{noNetwork(failed(unclear, "calico", time.Second), withAgent("calico-node", true, time.Hour))}},
		{"the sandbox's image is not there, while the agent is down", []change{noNetwork(failed(unclear, "", time.Second), withAgent("calico-node", false, time.Minute))}},
		{"nothing was read, and one of two CNIs' agents is down", []change{noNetwork(noEvents, withAgent("calico-node", false, time.Minute), withAgent("aws-node", true, time.Hour))}},
		{"the plugin fails somehow, and another CNI's agent is down", []change{noNetwork(failed(unclear, "calico", time.Second), withAgent("calico-node", true, time.Hour), withAgent("cilium", false, time.Hour))}},
		{"the plugin fails somehow, and a DaemonSet of something else is down", []change{noNetwork(failed(unclear, "calico", time.Second), withAgent("calico-node", true, time.Hour), withAgent("node-exporter", false, time.Hour))}},
		{"Events are known, and have nothing, while the agent is down", []change{noNetwork(withAgent("calico-node", false, time.Minute))}},
		{"nothing was read, and the agent was started just now", []change{noNetwork(noEvents, withAgent("calico-node", false, 5*time.Second), func(n *tracer.PodNetwork) { n.Agents[0].Restarts = 0 })}},
		{"there are no routes to the node", []change{noNetwork(noRoutes)}},
		{"there are no routes to the node, and nothing was read", []change{noNetwork(noEvents, noRoutes)}},
		{"there are no routes to the node, which has no range, and nothing was read", []change{noNetwork(noEvents, noRoutes, noRange)}},
		{"there are no routes to the node, which is not ready of something else", []change{noNetwork(noEvents, noRoutes, nodeIs("False", unclear, time.Minute))}},
		{"there are no routes to the node, and the agent is well", []change{noNetwork(failed(unclear, "calico", time.Second), noRoutes, withAgent("calico-node", true, time.Hour))}},
		{"the pod has a network", []change{unseen}},
	} {
		if v := e.Decide(given(tt.with...)); v.Code != tracer.CodeUnknown || len(v.AlsoSeen) != 0 {
			t.Errorf("%s: %s, also %v: %s", tt.name, v.Code, v.AlsoSeen, v.Summary)
		}
	}
}

// A pod that sends packets has a network, whatever the API has said of it.
func TestNoNetworkWithPackets(t *testing.T) {
	in := given(noNetwork(failed(exhausted, "host-local", time.Second)), outcomeIs(tracer.OutcomeNoAnswer))
	if v := NewEngine().Decide(in); strings.HasPrefix(v.Code, "cni-no") {
		t.Errorf("%s: %s", v.Code, v.Summary)
	}
}

func TestNoNetworkSays(t *testing.T) {
	e := NewEngine()
	for _, tt := range []struct {
		name          string
		with          []networkChange
		summary       string
		evidence      []string
		remedy        []string
		blind, notyet string
	}{
		{"the range is used up", []networkChange{failed(exhausted, "host-local", time.Second)},
			"the CNI's allocator gives no address to pod shop/web on node n1, so that it has no network (pods on it that have one: 253; its range 10.1.0.0/24 has 253; it takes 300 pods)",
			[]string{"FailedCreatePodSandBox ×4: the plugin's words", "Pending, ContainerCreating, no address, PodReadyToStartContainers False; on node n1 since"},
			[]string{"kubectl -n shop describe pod shop", "kubectl cordon n1", "ENABLE_PREFIX_DELEGATION", "WARM_IP_TARGET"}, "", ""},
		{"addresses of pods that are gone", []networkChange{failed(exhausted, "host-local", time.Second), func(n *tracer.PodNetwork) { n.Node.Addresses = 3 }},
			"pods on it that have one: 3; its range 10.1.0.0/24 has 253, of which the rest is reserved for pods that are gone", nil, []string{"/var/lib/cni/networks"}, "", ""},
		{"the agent ends again and again", []networkChange{failed(noAgent, "aws-cni", time.Second), withAgent("aws-node", false, time.Minute)},
			"pod shop/web has no network, because aws-vpc-cni's agent on node n1 is not ready (aws-node-x1: Running, CrashLoopBackOff: back-off, 5 restarts)", []string{"on node n1: is not ready"},
			[]string{"kubectl -n kube-system delete pod aws-node-x1", "rollout restart ds/aws-node", "logs aws-node-x1", "AmazonEKS_CNI_Policy"}, "", ""},
		{"no DaemonSet is known", []networkChange{failed(noAgent, "cilium-cni", time.Second)}, "because cilium's agent on node n1 does not answer there", nil,
			[]string{"rollout restart ds/cilium"}, "no DaemonSet of that CNI is known", ""},
		{"no node has a range", []networkChange{failed(unset, "flannel", time.Second), withAgent("kube-flannel-ds", false, time.Minute), noRange, noRangesElsewhere}, "flannel's agent on node n1 is not ready",
			[]string{"spec.podCIDR is empty, as on all nodes: flannel does not start without one, unless"}, nil, "", ""},
		{"a plugin that is not known does not reach its agent", []networkChange{failed(noAgent, "multus-shim", time.Second), withAgent("calico-node", true, time.Hour)},
			"because the agent of CNI plugin multus-shim on node n1 does not answer there", nil, nil, "no DaemonSet of that CNI is known", ""},
		{"Events may not be read", []networkChange{noEvents, agentMissing("kube-flannel-ds")}, "flannel's agent on node n1 has no pod there (on other nodes: 2)", nil, nil, "the pod's Events were not read: what the runtime says of its network is not known; a volume that is not mounted, or an image that is being pulled", ""},
		{"nothing of a CNI", []networkChange{noEvents, nodeIs("False", unset, time.Minute)}, "pod shop/web has no network on node n1: its container runtime has no CNI configuration",
			[]string{"Ready is False: KubeletNotReady: the runtime's words"}, []string{"kubectl describe node n1", "--allocate-node-cidrs"}, "", ""},
		{"nothing of a CNI, and no routes", []networkChange{noEvents, noRoutes, nodeIs("False", unset, time.Minute)}, "its container runtime has no CNI configuration",
			[]string{"NetworkUnavailable: NoRouteCreated: RouteController failed to create a route"}, nil, "", ""},
		{"no range", []networkChange{failed(unset, "flannel", time.Second), withAgent("kube-flannel-ds", false, time.Minute), noRange}, "the node has no pod range (spec.podCIDR), without which flannel does not start", nil, nil, "", ""},
		{"the agent that would set it up is down", []networkChange{notReadyEvent, nodeIs("False", unset, time.Minute), withAgent("calico-node", false, time.Minute)}, "calico's agent on node n1 is not ready", nil, nil, "", "cni-config-missing"},
	} {
		v := e.Decide(given(noNetwork(tt.with...), withoutAddress))
		sound(t, v)
		has := func(list []string, want string) {
			if want != "" && !slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, want) }) {
				t.Errorf("%s: %q is not in %q", tt.name, want, list)
			}
		}
		var evidence, blind, also []string
		for _, x := range v.Evidence {
			evidence = append(evidence, x.What)
		}
		for _, x := range v.Blind {
			blind = append(blind, x.What+": "+x.Effect)
		}
		for _, x := range v.AlsoSeen {
			also = append(also, x.Code+" "+x.Why)
		}
		has([]string{v.Summary}, tt.summary)
		for _, want := range tt.evidence {
			has(evidence, want)
		}
		for _, want := range tt.remedy {
			has(v.Remedy, strings.Replace(want, "describe pod shop", "describe pod web", 1))
		}
		has(blind, tt.blind)
		has(also, tt.notyet)
		if v.Confidence != suspected || v.Outcome != tracer.OutcomeNotSent {
			t.Errorf("%s: %s, %s", tt.name, v.Confidence, v.Outcome)
		}
	}
}

// Without cluster data of the node or the pod nothing is said.
func TestNoNetworkUnknown(t *testing.T) {
	e := NewEngine()
	in := given(noNetwork(failed(exhausted, "host-local", time.Second), func(n *tracer.PodNetwork) { n.Node, n.Scheduled = nil, time.Time{} }))
	if v := e.Decide(in); v.Code != "cni-no-ip-exhausted" || strings.Contains(v.Summary, "range") {
		t.Errorf("%s: %s", v.Code, v.Summary)
	}
	if v := e.Decide(given(noNetwork(), withoutAddress, func(s *scene) { s.c.SourcePod = nil })); strings.Contains(v.Summary, "invalid") || v.Code != tracer.CodeUnknown {
		t.Errorf("%s: %s", v.Code, v.Summary)
	}
}

func TestDNSLoop(t *testing.T) {
	e := NewEngine()
	exits := func(list ...tracer.PodExit) change { return func(s *scene) { s.c.Service.Exits = list } }
	loop := tracer.PodExit{Namespace: "kube-system", Name: "coredns-a", Says: tracer.FailureDNSLoop, Text: "[FATAL] plugin/loop: Loop", Restarts: 6}
	dns := func(s *scene) { s.c.Service.DNS, s.c.Service.Matches, s.c.Service.Ready = true, 1, 0 }
	two := func(s *scene) { s.c.Service.Matches = 2 }
	again := loop
	again.Name = "coredns-b"
	runs := func(ago time.Duration) change {
		return func(s *scene) {
			e := loop
			e.Again = s.Now.Add(-ago)
			exits(e)(s)
		}
	}
	for _, tt := range []struct {
		name, code string
		with       []change
	}{
		{"its pods say so", "dns-loop", []change{toService, noEndpointsLeft, filtered(), dns, exits(loop)}},
		{"both say so", "dns-loop", []change{toService, noEndpointsLeft, filtered(), dns, two, exits(loop, again)}},
		{"it was started again just now", "dns-loop", []change{toService, noEndpointsLeft, filtered(), dns, runs(2 * time.Second)}},
		{"by a clock that is ahead", "dns-loop", []change{toService, noEndpointsLeft, filtered(), dns, runs(-5 * time.Second)}},
		{"it runs for longer than it takes to find a loop", "dns-coredns-down", []change{toService, noEndpointsLeft, filtered(), dns, runs(time.Minute)}},
		{"one of two says so", "dns-coredns-down", []change{toService, noEndpointsLeft, filtered(), dns, two, exits(loop)}},
		{"they end of something else", "dns-coredns-down", []change{toService, noEndpointsLeft, filtered(), dns, exits(tracer.PodExit{Name: "a", Says: unclear})}},
		{"they say nothing", "dns-coredns-down", []change{toService, noEndpointsLeft, filtered(), dns}},
		{"it is no DNS", "svc-no-endpoints", []change{toService, noEndpointsLeft, filtered(), exits(loop)}},
	} {
		v := e.Decide(given(tt.with...))
		if v.Code != tt.code || v.Confidence != confirmed {
			t.Errorf("%s: %s %s: %s", tt.name, v.Confidence, v.Code, v.Summary)
		}
		if said := slices.ContainsFunc(v.Evidence, func(x tracer.Evidence) bool { return strings.Contains(x.What, "6 restarts, ended: [FATAL]") }); said != (v.Code == "dns-loop" || strings.HasPrefix(tt.name, "one of two") || strings.HasPrefix(tt.name, "it runs for longer")) {
			t.Errorf("%s: %+v", tt.name, v.Evidence)
		}
	}
	// One that the API takes for ready yet.
	refusing := func(with ...change) []change {
		return append([]change{toService, translated(apiIP, 8080), ofClusterDNS, dns, refusedByTarget}, with...)
	}
	mine := func(ago time.Duration, ready bool) tracer.PodExit {
		e := loop
		e.Namespace, e.Name, e.Again, e.Ready = "db", "api", start.Add(8*time.Second-ago), ready
		return e
	}
	other := mine(time.Second, true)
	other.Name = "api-2"
	for _, tt := range []struct {
		name, code, object string
		exits              []tracer.PodExit
		with               []change
	}{
		{"the one that refuses ended of it", "dns-loop", "Service db/api", []tracer.PodExit{mine(2*time.Second, true)}, nil},
		{"and is known not to be ready", "dns-loop", "Service db/api", []tracer.PodExit{mine(2*time.Second, false)}, nil},
		{"both did", "dns-loop", "Service db/api", []tracer.PodExit{mine(2*time.Second, true), other}, []change{two}},
		{"the other one did not", "dns-loop", "Pod db/api", []tracer.PodExit{mine(2*time.Second, true)}, []change{two}},
		{"another one ended of it", "dns-coredns-down", "Pod db/api", []tracer.PodExit{other}, []change{two}},
		{"it has run for longer since", "dns-coredns-down", "Pod db/api", []tracer.PodExit{mine(time.Minute, true)}, nil},
	} {
		v := e.Decide(given(refusing(append(tt.with, exits(tt.exits...))...)...))
		if v.Code != tt.code || v.Object == nil || v.Object.Kind+" "+v.Object.Namespace+"/"+v.Object.Name != tt.object || v.Confidence != confirmed {
			t.Errorf("%s: %s %s %v: %s", tt.name, v.Confidence, v.Code, v.Object, v.Summary)
		}
	}
	// One that serves in spite of what others ended of.
	if v := e.Decide(given(toService, filtered(), dns, exits(loop))); v.Code == "dns-loop" {
		t.Errorf("%s: %s", v.Code, v.Summary)
	}
}
