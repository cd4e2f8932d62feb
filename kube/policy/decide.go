package policy

import (
	"net/netip"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// Flow is what policies judge: the first packet of a connection as it is after
// DNAT, with the source address that the enforcing node sees (after SNAT, if
// that comes first).
type Flow struct {
	Src, Dst netip.Addr
	// SrcPod and DstPod own the addresses; nil: looked up by address.
	SrcPod, DstPod *kube.Pod
	// Port is the destination port after DNAT; 0 for ICMP.
	Port uint16
	// ServicePort is the port before DNAT, 0 if nothing was translated.
	ServicePort uint16
	// Proto is the IP protocol number.
	Proto uint8
	// Backends are what Dst and Port stand for if they are a Service's and were
	// not translated.
	Backends []netip.AddrPort
}

// Why most implementations let a flow pass whatever the policies say
// (tracer.PolicyDecision.Exempt).
const (
	// ExemptSelf: a pod cannot be isolated from itself.
	ExemptSelf = "self"
	// ExemptOwnNode: the other end is the node that the pod runs on.
	ExemptOwnNode = "own-node"
)

// Decide returns what the policies say of the source pod's egress and of the
// destination pod's ingress. A nil decision means that this end is no pod, or
// one that policies do not apply to (hostNetwork, finished).
//
// With Exempt "self" Allowed is true whatever the rules say; with "own-node"
// Allowed is what the rules say, and a drop must not be blamed on a policy
// without further evidence.
func Decide(view *kube.Snapshot, f Flow) (egress, ingress *tracer.PolicyDecision) {
	e := evaluation{view: view, Flow: f}
	e.Src, e.Dst = f.Src.Unmap(), f.Dst.Unmap()
	if e.SrcPod == nil {
		e.SrcPod, _ = view.PodByIP(e.Src)
	}
	if e.DstPod == nil {
		e.DstPod, _ = view.PodByIP(e.Dst)
	}
	if isolable(e.SrcPod) {
		egress = e.judge(sideEgress)
	}
	if isolable(e.DstPod) {
		ingress = e.judge(sideIngress)
	}
	return egress, ingress
}

func isolable(p *kube.Pod) bool { return p != nil && !p.HostNetwork && !p.Finished() }

type side uint8

const (
	sideEgress side = iota
	sideIngress
)

func (s side) String() string {
	if s == sideEgress {
		return "egress"
	}
	return "ingress"
}

// evaluation is one flow on one snapshot.
type evaluation struct {
	view *kube.Snapshot
	Flow
}

// end is the other side of the flow, as one direction's peers see it.
type end struct {
	ip  netip.Addr
	pod *kube.Pod // nil if selectors cannot match it
	// nsLabels of the pod's namespace; nsKnown is false if the namespace object
	// is not known, and then only the label that every namespace has is there.
	nsLabels map[string]string
	nsKnown  bool
}

func (e *evaluation) end(ip netip.Addr, pod *kube.Pod) end {
	out := end{ip: ip}
	if !isolable(pod) {
		// Selectors match pods with an address of their own; a hostNetwork pod
		// cannot be told from its node.
		return out
	}
	out.pod = pod
	_, out.nsKnown = e.view.Namespace(pod.Namespace)
	out.nsLabels = e.nsLabels(pod.Namespace)
	return out
}

func (e *evaluation) nsLabels(namespace string) map[string]string {
	if ns, ok := e.view.Namespace(namespace); ok {
		return ns.Labels
	}
	return map[string]string{"kubernetes.io/metadata.name": namespace}
}

// judge decides one direction of the pod at that end.
func (e *evaluation) judge(s side) *tracer.PolicyDecision {
	pod, other := e.SrcPod, e.end(e.Dst, e.DstPod)
	if s == sideIngress {
		pod, other = e.DstPod, e.end(e.Src, e.SrcPod)
	}
	d := &tracer.PolicyDecision{Direction: s.String(), Allowed: true, Port: e.Port, Exempt: e.exempt(pod, other.ip)}
	d.Unevaluated = e.unevaluated(pod, s)
	var np asked
	for _, p := range e.view.Policies(pod.Namespace) {
		rules, selects := rulesFor(p, s, pod)
		if !selects {
			continue
		}
		np.selecting = append(np.selecting, p)
		d.Selected = append(d.Selected, ref(p))
		if np.allowedBy == nil && e.allows(p, rules, &other) {
			by := ref(p)
			np.allowedBy = &by
		}
	}
	out := e.tiers(pod, &other, s, &np)
	d.Rules, d.Uncertain = out.rules, out.uncertain
	if out.byPolicies {
		d.AllowedBy = np.allowedBy
	}
	switch {
	case out.allowed:
	case d.Exempt == ExemptSelf:
		d.Uncertain = ""
	default:
		d.Allowed = false
		if out.byPolicies {
			d.Nearest = e.nearest(np.selecting, &other, s)
			if e.beforeDNAT(d) {
				d.Nearest.Miss = missBeforeDNAT
				d.Nearest.Why += "; the pods behind that Service are allowed, but the packet was judged before its address was translated"
			}
		}
	}
	return d
}

// unevaluated lists the policies of CNIs' own kinds that select the pod, or may.
func (e *evaluation) unevaluated(pod *kube.Pod, s side) []tracer.UnevaluatedPolicy {
	list := e.view.CNIPolicies(pod.Namespace)
	if len(list) == 0 {
		return nil
	}
	labels := kube.Labels{Namespace: pod.Namespace, OfNS: e.nsLabels(pod.Namespace), Own: pod.Labels}
	var out []tracer.UnevaluatedPolicy
	for _, p := range list {
		if a := p.Selects(labels, s == sideIngress); a != kube.No {
			out = append(out, tracer.UnevaluatedPolicy{
				Ref: tracer.Ref{Kind: p.Kind, Namespace: p.Namespace, Name: p.Name}, CNI: p.CNI, Tier: p.Tier, Sure: a == kube.Yes,
			})
		}
	}
	return out
}

func ref(p *kube.NetworkPolicy) tracer.Ref {
	return tracer.Ref{Kind: tracer.KindNetworkPolicy, Namespace: p.Namespace, Name: p.Name}
}

// exempt applies the two exceptions of the NetworkPolicy documentation ("The
// two sorts of pod isolation"): a pod and itself, a pod and its node.
func (e *evaluation) exempt(pod *kube.Pod, other netip.Addr) string {
	if pod.HasIP(other) {
		return ExemptSelf
	}
	if n, ok := e.view.NodeByIP(other); ok && n.Name == pod.Node {
		return ExemptOwnNode
	}
	return ""
}

func rulesFor(p *kube.NetworkPolicy, s side, pod *kube.Pod) ([]kube.PolicyRule, bool) {
	isolates := p.Egress
	if s == sideIngress {
		isolates = p.Ingress
	}
	return rulesOf(p, s), isolates && p.PodSelector.Matches(pod.Labels)
}

func rulesOf(p *kube.NetworkPolicy, s side) []kube.PolicyRule {
	if s == sideIngress {
		return p.IngressRules
	}
	return p.EgressRules
}

// allows reports whether any rule does: a peer and a port of it must match, and
// an empty list matches everything.
func (e *evaluation) allows(p *kube.NetworkPolicy, rules []kube.PolicyRule, other *end) bool {
	for i := range rules {
		if peers(p, rules[i].Peers, other) && e.ports(rules[i].Ports) {
			return true
		}
	}
	return false
}

// ports reports whether the list allows the flow's protocol and port.
func (e *evaluation) ports(list []kube.PolicyPort) bool {
	if len(list) == 0 {
		return true
	}
	for i := range list {
		if e.port(&list[i]) {
			return true
		}
	}
	return false
}

// port judges one entry. A named port is what the destination pod declares
// under that name for that protocol; outside the cluster nothing is declared.
func (e *evaluation) port(p *kube.PolicyPort) bool {
	if p.Proto != e.Proto {
		return false
	}
	if p.Name == "" {
		return p.From <= e.Port && e.Port <= p.To
	}
	return e.declares(p.Name, p.Proto, e.Port)
}

// declares looks through all declarations: nothing stops a pod from giving one
// name to a TCP and a UDP port, or to ports of two containers.
func (e *evaluation) declares(name string, proto uint8, port uint16) bool {
	if e.DstPod == nil {
		return false
	}
	for _, c := range e.DstPod.Ports {
		if c.Name == name && c.Proto == proto && c.Port == port {
			return true
		}
	}
	return false
}
