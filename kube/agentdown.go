package kube

import (
	"cmp"
	"slices"
	"sync"

	"github.com/podpath/podpath/tracer"
)

// downAgents are the agents that are not ready, by node, made when they are first
// asked for and shared by all copies of a snapshot: few are, of many pods.
type downAgents struct {
	once sync.Once
	on   map[string][]tracer.Agent
}

// AgentsDown are the DaemonSets with the network of their nodes that have a pod on a
// node, of which none there is ready; by name. Those that have no pod there are not
// among them, nor is how many they have elsewhere counted.
func (s *Snapshot) AgentsDown(node string) []tracer.Agent {
	if s.down == nil {
		return nil
	}
	s.down.once.Do(func() { s.down.on = s.agentsDown() })
	return s.down.on[node]
}

func (s *Snapshot) agentsDown() map[string][]tracer.Agent {
	type place struct {
		set  Key
		node string
	}
	newest := map[place]*Pod{}
	for p := range s.Pods() {
		if !p.isAgent() {
			continue
		}
		k := place{Key{p.Namespace, p.Controller.Name}, p.Node}
		if have := newest[k]; have == nil || !have.Ready && (p.Ready || p.Created.After(have.Created)) {
			newest[k] = p
		}
	}
	out := map[string][]tracer.Agent{}
	for k, p := range newest {
		if p.Ready {
			continue
		}
		a := tracer.Agent{Namespace: k.set.Namespace, Name: k.set.Name}
		runsAs(&a, p)
		out[k.node] = append(out[k.node], a)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b tracer.Agent) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
	}
	return out
}

// isAgent: a pod of a DaemonSet that uses its node's network, as those of CNIs do.
func (p *Pod) isAgent() bool {
	return p.Controller.Kind == "DaemonSet" && p.HostNetwork && p.Node != "" && p.Deleting.IsZero()
}

// runsAs takes the state of an agent's pod.
func runsAs(a *tracer.Agent, p *Pod) {
	a.Pod, a.Phase, a.Ready, a.Since = p.Name, p.Phase, p.Ready, p.ReadySince
	a.Waiting, a.Restarts, a.Created = p.Waiting, p.Restarts, p.Created
}
