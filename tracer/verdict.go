package tracer

import "time"

// Component is who is at fault (contract: "component").
type Component string

const (
	ComponentCNI         Component = "cni"
	ComponentPolicy      Component = "policy"
	ComponentKubeProxy   Component = "kube-proxy"
	ComponentService     Component = "service"
	ComponentEgress      Component = "egress"
	ComponentDNS         Component = "dns"
	ComponentNode        Component = "node"
	ComponentApplication Component = "application"
	ComponentExternal    Component = "external"
	ComponentNone        Component = "none"
	ComponentUnknown     Component = "unknown"
)

// Codes that are not faults of the catalogue.
const (
	CodeOK         = "ok"
	CodeUnknown    = "unknown"
	CodeBeyondNode = "beyond-node"
)

// Confidence is how far the evidence goes.
type Confidence string

const (
	Confirmed Confidence = "confirmed" // packet evidence and state agree
	Probable  Confidence = "probable"  // packet evidence alone
	Suspected Confidence = "suspected" // state alone, or a ranked guess
)

// Verdict is the answer for one flow.
type Verdict struct {
	Time       time.Time
	Node       string
	Component  Component
	Code       string
	Confidence Confidence
	// Summary is one sentence that names the object.
	Summary string
	Outcome Outcome
	Journey *Journey
	Cluster *ClusterFacts
	// CNI are the networks that connect the pods of the node ("flannel"), as far as
	// they show there; Proxies is what translates Services (see ServiceRules), if
	// the node was asked.
	CNI, Proxies []string
	// Object is the culprit; nil if there is none to name.
	Object   *Ref
	Rule     *RuleFact
	Evidence []Evidence
	AlsoSeen []AlsoSeen
	Remedy   []string
	Blind    []Blind
	// LostEvents is how many events the kernel could not hand over so far.
	LostEvents uint64
}

// Evidence is one observation that the verdict rests on.
type Evidence struct {
	Time  time.Time `json:"time"`
	Where string    `json:"where"` // "n1 cali12ab", "EndpointSlice", ...
	What  string    `json:"what"`
	Event uint64    `json:"event,omitempty"`
}

// AlsoSeen is another finding about the flow that is not the cause.
type AlsoSeen struct {
	Component Component `json:"component"`
	Code      string    `json:"code"`
	Why       string    `json:"why"`
}
