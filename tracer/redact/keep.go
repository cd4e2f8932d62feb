package redact

import "strings"

// Where a string of a record stands decides what it is. Paths name the keys from
// the record on; elements of lists have none. What is not listed is text.
//
// keep: the values are fixed words of the kernel, of Kubernetes or of podpath.
var keep = set(`
	format podpath kernel tier started time kind
	event.time event.kind event.inner.tunnel
	event.drop.reason event.drop.location event.drop.stack event.drop.stage event.drop.engine event.drop.noise
	inventory.devices.kind inventory.devices.role
	facts.at facts.routes.for facts.routes.type facts.routes.table facts.routes.protocol
	facts.neighbours.state
	facts.src_device.kind facts.src_device.role facts.src_peer.kind facts.src_peer.role
	facts.dst_device.kind facts.dst_device.role facts.dst_peer.kind facts.dst_peer.role
	facts.programs.attach facts.programs.tag facts.programs.owner
	facts.filters.side facts.filters.kind facts.filters.actions.kind
	facts.tunnels.kind facts.queues.kind facts.mtus.kind facts.tracked.state
	facts.services.implementations
	count.kind count.last budget.time budget.level
	` + ofRules("engine family hook verdict how owner agent.why agent.policies.kind"))

// identified are names: every word of them counts.
var identified = set(`
	node namespace selector
	inventory.devices.name
	facts.src_device.name facts.src_peer.name facts.dst_device.name facts.dst_peer.name
	facts.routes.iif facts.routes.dev facts.neighbours.dev facts.programs.dev
	facts.ports.dev facts.ports.bridge facts.tunnels.dev facts.tunnels.underlay facts.forwarding.dev facts.forwarding.bridge
	facts.queues.dev facts.mtus.dev facts.filters.dev facts.filters.actions.to
	` + ofRules("policy service agent.policies.namespace agent.policies.name"))

// ofRules are fields of rules, at every place where a rule stands.
func ofRules(fields string) string {
	var out []string
	for _, at := range []string{"facts.rules", "facts.masquerade", "facts.masquerade_elsewhere", "facts.untracked", "facts.zoned", "facts.redirected"} {
		for f := range strings.FieldsSeq(fields) {
			out = append(out, at+"."+f)
		}
	}
	return strings.Join(out, " ")
}

// heldAddresses are devices' addresses with the length of their network.
var heldAddresses = set(`
	inventory.devices.addrs facts.src_device.addrs facts.src_peer.addrs facts.dst_device.addrs facts.dst_peer.addrs`)

// endpoints are as the person wrote them.
var endpoints = set(`from to command`)

// placed are the keep ones that are addresses in the kernel where it does not tell
// the name.
var placed = set(`event.drop.location event.drop.stack`)

// numbered are numbers that are addresses in the kernel.
var numbered = set(`event.skb`)

// The cluster's objects are Kubernetes' own JSON. What is not listed is a name.
//
// clusterKeep are fields whose values the API fixes.
var clusterKeep = set(`
	apiVersion phase protocol addressType operator policyTypes types unread read
	firstTimestamp lastTimestamp dnsPolicy
	creationTimestamp deletionTimestamp lastTransitionTime lastProbeTime startTime startedAt finishedAt
	externalTrafficPolicy internalTrafficPolicy ipFamilies ipFamilyPolicy sessionAffinity resourceVersion`)

// written is where it says when an object was written, and counted how many pods a
// node takes, which the API writes as text ("110", "2k").
var (
	written = set(`items.metadata.managedFields.time changes.at`)
	counted = set(`items.status.allocatable.pods`)
)

// clusterTyped are fixed words in some objects and the user's in others.
var clusterTyped = set(`kind type status reason clusterIP clusterIPs action tier`)

// clusterExpressions are selectors written as expressions (Calico's), where the
// words of the language stay.
var clusterExpressions = set(`selector namespaceSelector serviceAccountSelector`)

// clusterSentences are what kubelets and runtimes write about anything: every word in
// them is replaced, and addresses as addresses, so that both are found again.
var clusterSentences = set(`message`)

// clusterWays are annotations in which an agent says how pods are reached, and the
// one in which podpath keeps what a message says that is replaced. They have one of
// the wayWords; another is replaced.
var (
	clusterWays = set(`flannel.alpha.coreos.com/backend-type podpath.dev/says`)
	wayWords    = set(`vxlan host-gw wireguard udp ipip ipsec alloc extension
		other no-free-address agent-not-reached not-configured api-not-reached volume dns-loop`)
)

// clusterNotes are annotations of podpath's own, of which the value is a name.
var clusterNotes = set(`podpath.dev/plugin`)

// clusterData are maps with keys of the user.
var clusterData = set(`labels annotations matchLabels selector nodeSelector`)

// apiWords are the ones that kinds, types, conditions and reasons have in
// podpath's reduced objects; another is replaced.
var apiWords = set(`List Pod Service EndpointSlice Node Namespace NetworkPolicy ReplicaSet ServiceCIDR
	AdminNetworkPolicy BaselineAdminNetworkPolicy ClusterNetworkPolicy
	GlobalNetworkPolicy NetworkPolicy.crd.projectcalico.org CiliumNetworkPolicy CiliumClusterwideNetworkPolicy
	Allow Accept Deny Pass Admin Baseline
	Event FailedCreatePodSandBox FailedKillPod NetworkNotReady FailedMount FailedAttachVolume Pulling Pulled Created Started SandboxChanged
	PodReadyToStartContainers PodScheduled NetworkUnavailable KubeletNotReady NodeStatusUnknown
	NodeStatusNeverUpdated NoRouteCreated CalicoIsDown Unschedulable SchedulingGated
	Deployment StatefulSet DaemonSet Job CronJob ReplicationController
	True False Unknown None Ready InternalIP ExternalIP Hostname
	ClusterIP NodePort LoadBalancer ExternalName
	CrashLoopBackOff ImagePullBackOff ErrImagePull ErrImageNeverPull InvalidImageName CreateContainerConfigError
	CreateContainerError RunContainerError ContainerCreating PodInitializing`)

// notes are the remarks that a replay acts on.
var notes = map[string]bool{"end of the trace": true, "enough verdicts": true, "no address": true}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
