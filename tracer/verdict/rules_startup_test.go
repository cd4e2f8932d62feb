package verdict

import (
	"time"

	"github.com/podpath/podpath/tracer"
)

func created(before time.Duration, pods ...func(*tracer.ClusterFacts) *tracer.PodFacts) change {
	return func(s *scene) {
		for _, p := range pods {
			p(s.c).Created = start.Add(-before)
		}
	}
}

func client(c *tracer.ClusterFacts) *tracer.PodFacts { return c.SourcePod }
func target(c *tracer.ClusterFacts) *tracer.PodFacts { return c.TargetPod }

// allKinds: the cluster-wide policies were read.
func allKinds(s *scene) { s.c.AgentKinds = clusterWide() }

func startupFaults() []fault {
	agent := program("aws-network-policy-agent", "tc ingress", on(hostNS, vethWeb))
	return []fault{
		{"an agent's program at a new pod", "bpf-drop", "pol-startup-race", probable, "Pod shop/web", []change{byTC(), agent, allKinds, created(2*time.Second, client)}},
		{"an agent's program at a new pod, and kinds that were not read", "bpf-drop", "pol-startup-race", suspected, "Pod shop/web", []change{byTC(), agent, created(2*time.Second, client)}},
		{"an agent's rule for a new target", "foreign-rule", "pol-startup-race", probable, "Pod db/api", []change{filtered(), rule("kube-router", "reject"), allKinds, created(time.Second, target)}},
	}
}

func startupLookalikes() []lookalike {
	const race = "pol-startup-race"
	agent := program("aws-network-policy-agent", "tc ingress", on(hostNS, vethWeb))
	return []lookalike{
		{"an agent's program at a pod that is a minute old", []change{byTC(), agent, created(time.Minute, client, target)}, "pol-agent-stale", race, suspected},
		{"an agent's program at an old pod that asks a new one", []change{byTC(), agent, created(time.Minute, client), created(time.Second, target)}, "pol-agent-stale", race, suspected},
		{"an agent's program at a pod of which the age is not known", []change{byTC(), agent}, "pol-agent-stale", race, suspected},
		{"a pod that is newer than the drop", []change{byTC(), agent, created(-time.Minute, client)}, "pol-agent-stale", race, suspected},
		{"a new pod, and a policy denies", []change{byTC(), agent, created(time.Second, client), denies("egress", "peer")}, "pol-egress-deny", race, ""},
		{"a new pod, and a rule of nobody's", []change{filtered(), rule("", "drop"), created(time.Second, client, target)}, "node-forward-drop", race, ""},
		{"a new pod, and a program of nobody's", []change{byTC(), program("", "tc ingress", on(hostNS, vethWeb)), created(time.Second, client)}, "pol-foreign-bpf", race, ""},
		{"a new pod, and an agent that applies what is gone", []change{byFelix(tracer.AgentUnmatched, "ingress", knpDeny), created(time.Second, client, target)}, "pol-agent-stale", race, ""},
		{"a new pod, and old data of the cluster", []change{byTC(), agent, created(time.Second, client), func(s *scene) { s.c.Stale = time.Minute }}, "pol-agent-stale", race, suspected},
	}
}
