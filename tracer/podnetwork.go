package tracer

import (
	"fmt"
	"net/netip"
	"time"
)

// StartFailure is what the message of a failure to start a pod, or the state of its
// node, says is wrong. It outlives the message where names are taken out of a
// recording.
type StartFailure string

const (
	// FailureOther: the message is none that is known.
	FailureOther StartFailure = "other"
	// FailureNoAddress: the CNI's allocator gives no address.
	FailureNoAddress StartFailure = "no-free-address"
	// FailureNoAgent: the CNI's plugin does not reach its agent on the node.
	FailureNoAgent StartFailure = "agent-not-reached"
	// FailureNotConfigured: the node has no configuration of a CNI, or a part of it
	// is missing.
	FailureNotConfigured StartFailure = "not-configured"
	// FailureNoAPI: the CNI's plugin asks the API server, which does not answer it, or
	// not as it should: that is no fault of the CNI's.
	FailureNoAPI StartFailure = "api-not-reached"
	// FailureVolume: a volume is not mounted, which comes before the network.
	FailureVolume StartFailure = "volume"
	// FailureDNSLoop: CoreDNS ended because its own question came back to it.
	FailureDNSLoop StartFailure = "dns-loop"
)

// Known reports whether it is one of those above.
func (f StartFailure) Known() bool {
	switch f {
	case FailureOther, FailureNoAddress, FailureNoAgent, FailureNotConfigured, FailureNoAPI, FailureVolume, FailureDNSLoop:
		return true
	}
	return false
}

// PodNetwork is what the API says of a pod that has no address.
type PodNetwork struct {
	// Scheduled is when the pod was given to its node, zero if that is not known.
	Scheduled time.Time `json:"scheduled,omitzero"`
	// Ready is the condition PodReadyToStartContainers, "True" once the pod has had a
	// network; "" in clusters that do not have it (before Kubernetes 1.29).
	Ready string `json:"ready,omitempty"`
	// Waiting is why the first container that waits does so ("ContainerCreating").
	Waiting string `json:"waiting,omitempty"`
	// EventsKnown is false if the pod's Events were not read. Failures are of those,
	// the newest first.
	EventsKnown bool           `json:"events_known"`
	Failures    []StartAttempt `json:"failures,omitempty"`
	// Progress is the last time at which an Event told that the pod had come past its
	// network (an image that is pulled, a container that is made), zero without one. The
	// kubelet reports neither the address nor PodReadyToStartContainers before a
	// container has started.
	Progress time.Time `json:"progress,omitzero"`
	// Node is what its node says of itself, nil if it is not known.
	Node *NodeNetwork `json:"node,omitempty"`
	// Agents are the DaemonSets that run with the network of the nodes, each with its
	// pod on this one.
	Agents []Agent `json:"agents,omitempty"`
}

// StartAttempt is an Event of a pod: something that kept it from starting.
type StartAttempt struct {
	Reason string       `json:"reason"` // "FailedCreatePodSandBox"
	Says   StartFailure `json:"says"`
	// Plugin is the CNI plugin that failed ("flannel"), "" if the text names none.
	Plugin string `json:"plugin,omitempty"`
	// Text is the message, without what is the same in all, and shortened.
	Text  string    `json:"text,omitempty"`
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	Count int32     `json:"count"`
}

// NodeNetwork is what a node's object says of its pods' network.
type NodeNetwork struct {
	Name string `json:"name"`
	// Ready is the condition's status: "True", "False", or "Unknown" if the kubelet
	// has not been heard; since when, and why not.
	Ready string       `json:"ready"`
	Since time.Time    `json:"since,omitzero"`
	Text  string       `json:"text,omitempty"`
	Says  StartFailure `json:"says,omitempty"`
	// Unavailable is the condition NetworkUnavailable, with its text.
	Unavailable     bool   `json:"unavailable,omitempty"`
	UnavailableText string `json:"unavailable_text,omitempty"`
	// PodCIDRs is the range that the node's pods have addresses of, where the
	// controller manager gives nodes one; RangesElsewhere: other nodes have one.
	PodCIDRs        []netip.Prefix `json:"pod_cidrs,omitempty"`
	RangesElsewhere bool           `json:"ranges_elsewhere,omitempty"`
	// Addresses counts the pods of the node that have one of their own, MaxPods is
	// how many pods it takes, 0 if it does not say.
	Addresses int   `json:"addresses"`
	MaxPods   int64 `json:"max_pods,omitempty"`
}

// Agent is a DaemonSet that runs with its nodes' network, as those of CNIs do.
type Agent struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Elsewhere counts the other nodes on which it has a pod.
	Elsewhere int `json:"elsewhere"`
	// Pod is its pod on the node, "" if it has none there.
	Pod string `json:"pod,omitempty"`
	// Phase, Ready and what follows are of that pod.
	Phase    string    `json:"phase,omitempty"`
	Ready    bool      `json:"ready,omitempty"`
	Since    time.Time `json:"since,omitzero"` // of Ready's value
	Waiting  string    `json:"waiting,omitempty"`
	Restarts int32     `json:"restarts,omitempty"`
	Created  time.Time `json:"created,omitzero"`
}

// State is what became of the agent on the node, in words.
func (a *Agent) State() string {
	switch {
	case a.Pod == "":
		return fmt.Sprintf("has no pod there (on other nodes: %d)", a.Elsewhere)
	case a.Ready:
		return "is ready"
	}
	text := "is not ready (" + a.Pod + ": " + a.Phase
	if a.Waiting != "" {
		text += ", " + a.Waiting
	}
	if a.Restarts > 0 {
		text += fmt.Sprintf(", %d restarts", a.Restarts)
	}
	return text + ")"
}

// PodExit is how a container of a pod ended last.
type PodExit struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Says      StartFailure `json:"says"`
	// Text is what it left as its last words (terminationMessagePolicy), shortened.
	Text string    `json:"text,omitempty"`
	At   time.Time `json:"at,omitzero"`
	// Again is when it was started again, zero if it does not run.
	Again    time.Time `json:"again,omitzero"`
	Restarts int32     `json:"restarts,omitempty"`
	// Ready: it counts as ready, which the API may only not know better yet.
	Ready bool `json:"ready,omitempty"`
}
