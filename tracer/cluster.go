package tracer

import (
	"net/netip"
	"time"
)

// EndpointKind says what an address belongs to.
type EndpointKind string

const (
	KindPod      EndpointKind = "pod"
	KindService  EndpointKind = "service"
	KindNode     EndpointKind = "node"
	KindExternal EndpointKind = "external"
	KindUnknown  EndpointKind = "unknown"
)

// Endpoint is one end of a flow with the name people know.
type Endpoint struct {
	IP        netip.Addr   `json:"ip"`
	Port      uint16       `json:"port,omitempty"`
	Kind      EndpointKind `json:"kind"`
	Namespace string       `json:"namespace,omitempty"`
	Name      string       `json:"name,omitempty"`
	// Node is the node a pod runs on; empty for Services and the outside.
	Node string `json:"node"`
	// Owner is the workload ("Deployment/api"), "" if none.
	Owner string `json:"owner,omitempty"`
	// HostNetwork: the pod uses the node's namespace.
	HostNetwork bool `json:"host_network,omitempty"`
}

// Ref names a Kubernetes object, or a thing on the node that is at fault.
type Ref struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// ClusterFacts is what the cluster's objects said about one flow at the moment
// it was seen.
type ClusterFacts struct {
	// Known is false without an API server or dump; then nothing below is.
	Known bool `json:"known"`
	// Stale is how old the data is if the API server cannot be reached now.
	Stale time.Duration `json:"stale,omitempty"`
	// Unread are the kinds that the credentials do not allow to read, as
	// "NetworkPolicy". Without policies or namespaces Egress and Ingress are nil,
	// without Services or EndpointSlices Service is.
	Unread []string `json:"unread,omitempty"`
	Node   string   `json:"node,omitempty"` // the traced node

	Source      Endpoint `json:"source"`
	Destination Endpoint `json:"destination"` // as the client addressed it
	// Target is the endpoint after translation; equals Destination without one.
	Target Endpoint `json:"target"`

	// SourcePod and TargetPod are set if those ends are pods.
	SourcePod *PodFacts `json:"source_pod,omitempty"`
	TargetPod *PodFacts `json:"target_pod,omitempty"`
	// Bystanders are the other pods of the traced node in whose namespaces
	// packets of the flow were seen, or that have an address of the node as well.
	Bystanders []Bystander `json:"bystanders,omitempty"`
	// Published is the pod that wants Destination, a port of its own node, to lead
	// to it (hostPort), nil if none does, or more than one. A pod that uses its
	// node's network is not meant.
	Published *PodFacts `json:"published,omitempty"`
	// Service is set if Destination is a Service's frontend.
	Service *ServiceFacts `json:"service,omitempty"`

	// Egress is the policies' answer for the source pod, Ingress for the target
	// pod. Nil if that end is no pod or policies do not apply to it.
	Egress  *PolicyDecision `json:"egress,omitempty"`
	Ingress *PolicyDecision `json:"ingress,omitempty"`

	// AgentPolicies are the policies of kinds that only a policy agent evaluates
	// (Calico's), by name. AgentKinds are the kinds of policies beyond
	// NetworkPolicy that could be read, as "AdminNetworkPolicy"; what is not among
	// them may exist, and is not known.
	AgentPolicies []Ref    `json:"agent_policies,omitempty"`
	AgentKinds    []string `json:"agent_kinds,omitempty"`

	// AgentsDown are, by node, of the traced one and those of both ends, the DaemonSets
	// with the nodes' network of which a pod there is not ready, and none is. Elsewhere
	// is not counted.
	AgentsDown map[string][]Agent `json:"agents_down,omitempty"`

	// NodeIPs are all nodes' addresses, PodCIDRs all nodes' pod ranges.
	Nodes []NodeInfo `json:"nodes,omitempty"`
	// InPodCIDR is the node whose pod range holds Target, "" if none.
	InPodCIDR string `json:"in_pod_cidr,omitempty"`
	// InServiceRange: Destination lies in the range that the known ClusterIPs
	// span (guessed, or from the ServiceCIDR object).
	InServiceRange bool `json:"in_service_range,omitempty"`
}

// Bystander is a pod that a flow passes and does not belong to, by the network
// namespace's inode.
type Bystander struct {
	NetNS     uint32 `json:"netns"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Owner     string `json:"owner,omitempty"`
}

// NodeInfo is what matters of a node.
type NodeInfo struct {
	Name     string         `json:"name"`
	Ready    bool           `json:"ready"`
	IPs      []netip.Addr   `json:"ips,omitempty"`
	PodCIDRs []netip.Prefix `json:"pod_cidrs,omitempty"`
	// PodNetwork is how the node's pods are reached from others, as flannel says
	// it: "vxlan", "host-gw"; "" if it is not known.
	PodNetwork string `json:"pod_network,omitempty"`
}

// PodFacts is what matters of a pod.
type PodFacts struct {
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
	Phase       string `json:"phase"`
	Ready       bool   `json:"ready"`
	Terminating bool   `json:"terminating,omitempty"`
	HostNetwork bool   `json:"host_network,omitempty"`
	// DNSPolicy is spec.dnsPolicy ("ClusterFirst"), "" if it is not known.
	DNSPolicy string `json:"dns_policy,omitempty"`
	Node      string `json:"node,omitempty"`
	Owner     string `json:"owner,omitempty"`
	// IPs are all the pod's addresses, of both families.
	IPs []netip.Addr `json:"ips,omitempty"`
	// Created is when the object was made, zero if that is not known.
	Created time.Time `json:"created,omitzero"`
	// Restarts counts container restarts; Ports are the declared container ports.
	Restarts int32           `json:"restarts,omitempty"`
	Ports    []ContainerPort `json:"ports,omitempty"`
	// DNS is true if this pod is cluster DNS (behind the kube-dns Service).
	DNS bool `json:"dns,omitempty"`
	// Network is set for a pod that has no address and ought to have one of its own.
	Network *PodNetwork `json:"network,omitempty"`
}

// ContainerPort is one declared container port.
type ContainerPort struct {
	Name  string `json:"name,omitempty"`
	Port  uint16 `json:"port"`
	Proto uint8  `json:"proto"`
	// HostPort is the port of the node that leads to it, 0 if none; HostIP is
	// the only address of the node that has it, zero for all, unspecified for all
	// of its family.
	HostPort uint16     `json:"host_port,omitempty"`
	HostIP   netip.Addr `json:"host_ip,omitzero"`
}

// ServiceFacts is what a Service promises for the frontend that was used.
type ServiceFacts struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Type      string `json:"type"` // "ClusterIP", "NodePort", ...
	// Frontend is "cluster-ip", "node-port", "external-ip" or "load-balancer".
	Frontend string `json:"frontend"`
	// PortKnown is false if the Service has no such port and protocol.
	PortKnown  bool     `json:"port_known"`
	PortName   string   `json:"port_name,omitempty"`
	Port       uint16   `json:"port"`
	TargetPort string   `json:"target_port,omitempty"` // as written: number or name
	Ports      []string `json:"ports,omitempty"`       // every port: "80/TCP"
	// Endpoints of that port, from the EndpointSlices.
	Endpoints []ServiceEndpoint `json:"endpoints,omitempty"`
	// Expected is where the traced node's proxy may send the flow, nil if that is
	// not known.
	Expected *ServiceTargets `json:"expected,omitempty"`
	// Selector as kubectl prints it, "" if none; Matches and Ready count the
	// pods it selects.
	Selector string `json:"selector,omitempty"`
	Matches  int    `json:"matches"`
	Ready    int    `json:"ready"`
	// ExternalLocal and InternalLocal are the traffic policies.
	ExternalLocal bool           `json:"external_local,omitempty"`
	InternalLocal bool           `json:"internal_local,omitempty"`
	SourceRanges  []netip.Prefix `json:"source_ranges,omitempty"`
	// DNS is true for the cluster's DNS Service.
	DNS bool `json:"dns,omitempty"`
	// Exits are the pods that it selects, and that left words that are known when they
	// ended last.
	Exits []PodExit `json:"exits,omitempty"`
	// Changed is when the Service was changed last. EndpointsChanged is when one of its
	// EndpointSlices had been, as the API said when they were first heard of, to the
	// second and by its server's clock; what came and went since then is in
	// EndpointChanges, of the last half minute, by when it was heard. Zero is not known.
	Changed          time.Time        `json:"changed,omitzero"`
	EndpointsChanged time.Time        `json:"endpoints_changed,omitzero"`
	EndpointChanges  []EndpointChange `json:"endpoint_changes,omitempty"`
}

// EndpointChange is that an endpoint came, went, or changed.
type EndpointChange struct {
	Addr netip.Addr `json:"addr"`
	At   time.Time  `json:"at"`
}

// ServiceTargets is where a node's proxy may send a flow to a Service.
type ServiceTargets struct {
	// Addrs are the endpoints that may be chosen. A proxy may use fewer of
	// them (topology hints, session affinity), never others.
	Addrs []netip.AddrPort `json:"addrs,omitempty"`
	// Local: only endpoints on the node count, because of a traffic policy.
	Local bool `json:"local,omitempty"`
	// Elsewhere counts the usable endpoints on other nodes that Local rules
	// out. Addrs empty and Elsewhere > 0 means "no local endpoints": the proxy
	// drops by design.
	Elsewhere int `json:"elsewhere,omitempty"`
	// Terminating: no endpoint is ready, so those that still serve while they
	// terminate are used (KEP-1669).
	Terminating bool `json:"terminating,omitempty"`
	// SourceRefused: loadBalancerSourceRanges does not hold the client.
	SourceRefused bool `json:"source_refused,omitempty"`
}

// ServiceEndpoint is one backend as an EndpointSlice lists it.
type ServiceEndpoint struct {
	Addr        netip.AddrPort `json:"addr"`
	Ready       bool           `json:"ready"`
	Serving     bool           `json:"serving"`
	Terminating bool           `json:"terminating,omitempty"`
	Pod         string         `json:"pod,omitempty"` // "namespace/name"
	Node        string         `json:"node,omitempty"`
}

// PolicyDecision is what the cluster's policies say about one side of a flow:
// cluster-wide ones of the admin tier first, by priority; then NetworkPolicies
// (additive, default deny by direction); then, if none of them selects the pod,
// cluster-wide ones of the baseline tier; else it is allowed.
type PolicyDecision struct {
	// Direction is "ingress" or "egress", of the pod.
	Direction string `json:"direction"`
	// Selected lists the NetworkPolicies that select the pod for this direction;
	// none means that they allow everything.
	Selected []Ref `json:"selected,omitempty"`
	Allowed  bool  `json:"allowed"`
	// AllowedBy is the NetworkPolicy that allows, if any selects and they were
	// asked.
	AllowedBy *Ref `json:"allowed_by,omitempty"`
	// Rules are the rules of AdminNetworkPolicies, ClusterNetworkPolicies and
	// BaselineAdminNetworkPolicies that the flow meets, in that order. The last
	// one decided, unless it passes.
	Rules []PolicyRule `json:"rules,omitempty"`
	// Uncertain says why it may be the other way round: a rule that cannot be
	// decided here, as one for a domain name. Allowed is then what the rest says.
	Uncertain string `json:"uncertain,omitempty"`
	// Unevaluated are policies of a CNI's own kinds that select the pod for this
	// direction. What they allow is not known.
	Unevaluated []UnevaluatedPolicy `json:"unevaluated,omitempty"`
	// Nearest is, for a denial by NetworkPolicies, the policy whose rule came closest, or the
	// first that selects the pod if none has rules.
	Nearest *PolicyNearMiss `json:"nearest,omitempty"`
	// Port is the port that policies judge: the one after DNAT.
	Port uint16 `json:"port,omitempty"`
	// Exempt says why most CNIs let this flow pass whatever the policies say:
	// "self" (the pod talks to itself; Allowed is then true) or "own-node" (the
	// other end is the pod's own node; Allowed is what the rules say, but a drop
	// is not to be blamed on them without more evidence). "" otherwise.
	Exempt string `json:"exempt,omitempty"`
}

// Decider is the rule of a cluster-wide policy that decided, nil if none did.
func (d *PolicyDecision) Decider() *PolicyRule {
	if n := len(d.Rules); n > 0 && d.Rules[n-1].Action != PolicyPass {
		return &d.Rules[n-1]
	}
	return nil
}

// Actions of rules of cluster-wide policies.
const (
	PolicyAllow = "Allow"
	PolicyDeny  = "Deny"
	PolicyPass  = "Pass"
)

// PolicyRule is a rule of a cluster-wide policy that a flow meets.
type PolicyRule struct {
	Policy Ref `json:"policy"`
	// Tier is "admin" or "baseline".
	Tier string `json:"tier"`
	// Priority is the policy's, nil for a BaselineAdminNetworkPolicy.
	Priority *int32 `json:"priority,omitempty"`
	// Rule is the index in spec.ingress or spec.egress; Name is the rule's own.
	Rule   int    `json:"rule"`
	Name   string `json:"name,omitempty"`
	Action string `json:"action"`
	// Why says what it matches the flow by ("from pods in namespaces with
	// team=web on TCP 80").
	Why string `json:"why"`
}

// UnevaluatedPolicy is a policy of a CNI's own kind.
type UnevaluatedPolicy struct {
	Ref
	CNI string `json:"cni"` // "Calico", "Cilium"
	// Tier is Calico's.
	Tier string `json:"tier,omitempty"`
	// Sure: it selects the pod. Otherwise it selects by something that is not
	// read (service accounts), so that it may.
	Sure bool `json:"sure"`
}

// PolicyNearMiss is the rule that almost allowed.
type PolicyNearMiss struct {
	Policy Ref `json:"policy"`
	// Rule is the index in spec.ingress or spec.egress, -1 if there are none.
	Rule int `json:"rule"`
	// Why says what did not match, in words ("allows port 80, the packet is for
	// 8080 after DNAT").
	Why string `json:"why"`
	// Miss classifies it: "no-rules", "peer", "namespace", "port",
	// "port-before-dnat", "named-port", "ip-block", "protocol"; "selector-typo",
	// "namespace-label" and "own-namespace" if the rule selects nobody, and this
	// end by a mistake only; "before-dnat" if the Service's pods are allowed.
	Miss string `json:"miss"`
}
