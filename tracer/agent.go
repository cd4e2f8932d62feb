package tracer

// Kinds of policies, as Ref.Kind has them. Calico's own NetworkPolicy has the
// same kind as Kubernetes', so that its group tells them apart, as kubectl
// writes it.
const (
	KindNetworkPolicy = "NetworkPolicy"
	KindCalicoPolicy  = "NetworkPolicy.crd.projectcalico.org"
	KindGlobalPolicy  = "GlobalNetworkPolicy"
)

// AgentReason is why a policy agent's rule drops, as its chains and comments say.
type AgentReason string

const (
	// AgentDenies: a policy has a rule that denies the packet.
	AgentDenies AgentReason = "denies"
	// AgentUnmatched: policies apply, and none of them let the packet pass.
	AgentUnmatched AgentReason = "unmatched"
	// AgentUnknownPod: the agent does not know the pod's device or namespace.
	AgentUnknownPod AgentReason = "unknown-pod"
	// AgentInvalid: conntrack does not know the connection.
	AgentInvalid AgentReason = "invalid"
	// AgentSource: the source does not belong behind the device.
	AgentSource AgentReason = "source"
)

// AgentRule is what a policy agent's rule says about itself.
type AgentRule struct {
	Why AgentReason `json:"why"`
	// Side is "ingress" or "egress" of the pod, or of the node if Node is set;
	// "" if the rule is for neither.
	Side string `json:"side,omitempty"`
	Node bool   `json:"node,omitempty"`
	// Policies are those that the agent applied until this rule dropped the
	// packet: the one that denies, or all of which none let it pass.
	Policies []Ref `json:"policies,omitempty"`
}
