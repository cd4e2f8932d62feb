// Package scenario holds what goes wrong in a real cluster, as tables: how each
// fault is made, which traffic shows it, how it is undone, and what podpath
// ought to say. The expectation comes from how the fault is made, and each
// scenario first proves without podpath that its symptom is there.
package scenario

import (
	"context"
	"slices"
	"time"

	"github.com/podpath/podpath/testbed/accuracy"
	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
	"github.com/podpath/podpath/testbed/workload"
)

// Scenario is one fault, or a healthy control.
type Scenario struct {
	Name, About string
	// Flavours in which it can be shown; none: in all.
	Flavours []string
	// Failing says why podpath does not get it right yet. Such a scenario runs
	// and is shown as failing; if it is right after all, that is an error, so
	// that the reason goes away.
	Failing string
	// Build makes the workloads, which work when it returns.
	Build func(ctx context.Context, s *Stage) (*Scene, error)
	// Check, in place of Build, is a test of something else than a verdict. It
	// says what is wrong, "" if nothing is.
	Check func(ctx context.Context, r *Runner, s *Stage) (wrong string, err error)
	// Beside has another thing broken on the same node, with traffic of others
	// that meets it. It must not change the answer.
	Beside bool
	// Noisy has others of the node make every kind of noise that is nobody's fault,
	// while podpath looks.
	Noisy bool
}

// Shown says whether the scenario belongs to a flavour.
func (s Scenario) Shown(flavour string) bool {
	return len(s.Flavours) == 0 || slices.Contains(s.Flavours, flavour)
}

// Scene is what Build made.
type Scene struct {
	Client Place
	// Network is tcp or udp, Target HOST:PORT; Lookup, if set, is a name to ask
	// the cluster's DNS for instead.
	Network, Target, Lookup string
	// Patience is how long a try may take before it counts as silent; 0: what is
	// usual. Servers that answer a failure later than that answer nobody, which is
	// traffic of its own in the trace that follows.
	Patience time.Duration
	// Bytes to send with each try.
	Bytes int
	// Healthy is how the client's tries end when nothing is broken; "": ok.
	Healthy workload.Outcome
	// Symptom is how tries may end once it is broken.
	Symptom []workload.Outcome
	// Break and Heal; nil in a control. Heal undoes Break.
	Break, Heal func(ctx context.Context) error
	// Stuck, in place of a client, is for a pod that is not to get a network: it
	// returns when it is seen without podpath that the pod gets none, Freed when it has
	// one. Then podpath is run to its end, which needs no traffic.
	Stuck, Freed func(ctx context.Context) error
	// Noise, if set, goes on while podpath traces, and is not what it is asked
	// about.
	Noise func(ctx context.Context)
	// others make noise, too, which the kernel counts. A Noisy scenario's Build may
	// make them itself.
	others *noise
	// GoesOn: others send what podpath is asked about, too, before and after. Flows
	// that began just before the end may be left open then; there have to be as many
	// others as the client makes tries.
	GoesOn bool
	// Node is where podpath runs; From and To are its endpoints.
	Node     *k8s.Node
	From, To string
	// Kubeconfig is podpath's; "": one with which everything may be done.
	Kubeconfig string
	// Service is the Service of the scenario's namespace that is asked, if any.
	Service string
	Tries   int
	// Verdicts that there have to be; 0: one for each try.
	Verdicts int
	// Queued: packets of earlier tries wait in the kernel, for an address that it
	// asks for in vain, and are dropped and judged as well.
	Queued bool
	Want   Want
}

// Place is where a client runs: a pod, a node, the outside.
type Place interface {
	Output(name string, args ...string) (string, error)
}

// Want is the right answer.
type Want struct {
	Component, Code string
	Object          Object
	// Confidence that is right, if it is not confirmed: what is at fault is out
	// of the node's sight, or its state is.
	Confidence replays.Confidence
	// Untold says why podpath's table of networks has no way for the packets of a
	// healthy scenario; "": they are held against it.
	Untold string
	// Path are objects that the path has to name, as KIND NAMESPACE/NAME. If there are
	// any, every translation and every tunnel has to be among them, too, as translated
	// and inTunnel have them.
	Path []string
}

// Object is a Kubernetes object; the zero value stands for none.
type Object struct{ Kind, Namespace, Name string }

func (w Want) answer() accuracy.Answer {
	return accuracy.Answer{Component: w.Component, Code: w.Code, Kind: w.Object.Kind, Namespace: w.Object.Namespace, Name: w.Object.Name}
}

// All are the scenarios, in the order in which they run.
func All() []Scenario {
	return slices.Concat(controls(), paths(), apart(), serviceFaults(), proxyFaults(), policyFaults(), calicoFaults(), cniFaults(), nodeFaults(), egressFaults(), sizeFaults(), dnsFaults(), nameFaults(), appFaults(), kubeletFaults(), noNetworkFaults())
}
