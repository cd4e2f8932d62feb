package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

func netfilter(d *tracer.DropSeen) bool {
	return d.Drop.Reason == "NETFILTER_DROP" || d.Drop.Engine == "nftables" || d.Drop.Engine == "xtables"
}

// hostFilter: dropped by netfilter in the node's own namespace.
func (in *Input) hostFilter() *tracer.DropSeen {
	return in.causeIf(func(d *tracer.DropSeen) bool { return netfilter(d) && in.onNode(d.Device) })
}

// ruleFor picks the rule that the dropped packet met: facts list them best first.
func (in *Input) ruleFor(d *tracer.DropSeen) *tracer.RuleFact {
	for i := range in.Node.Rules {
		r := &in.Node.Rules[i]
		if (r.Verdict == "drop" || r.Verdict == "reject" || r.Verdict == "queue") && (r.Hook == "" || d.Drop.Stage == "" || d.Drop.Stage == tracer.StageBridge || r.Hook == string(d.Drop.Stage)) {
			return r
		}
	}
	return nil
}

func seenRule(in *Input, r *tracer.RuleFact) tracer.Evidence {
	what := fmt.Sprintf("rule (%s) table %s chain %s: %s", r.How, r.Table, r.Chain, r.Text)
	if r.How == "counter" {
		what += fmt.Sprintf(" (+%d packets)", r.Packets)
	}
	return tracer.Evidence{Time: in.Now, Where: in.NodeName, What: what}
}

// bpfDrop: a tc, XDP or cgroup program, or a tc filter, dropped the packet.
func bpfDrop(in *Input) *Finding {
	d := in.causeIf(func(d *tracer.DropSeen) bool {
		return d.Drop.Engine == "tc" || d.Drop.Engine == "xdp" || d.Drop.Engine == "cgroup"
	})
	if d == nil {
		return nil
	}
	progs, met, denial := in.programsAt(d), in.filtersMet(d), in.denying(d)
	if m := in.theFilter(met, progs, d); m != nil && denial == nil {
		return in.filterDrop(m, met, progs, d)
	}
	f := &Finding{Confidence: tracer.Probable, Evidence: []tracer.Evidence{in.seenDrop(d)}}
	who := d.Drop.Engine + " program"
	if d.Drop.Engine == "tc" && len(progs) == 0 {
		// A filter's action does the same (police, drop), and is no program.
		who = "a tc filter (a program, or an action like police or drop)"
	}
	for i := range met {
		f.Evidence = append(f.Evidence, in.seenFilter(&met[i]))
	}
	var owner string
	if len(progs) > 0 {
		p := suspect(progs, denial != nil)
		who = fmt.Sprintf("%s program %q (id %d)", p.Attach, p.Name, p.ID)
		owner = p.Owner
		f.Object = &tracer.Ref{Kind: "BPFProgram", Name: p.Name}
		f.Evidence = append(f.Evidence, in.seenState(in.where(p.Device), "%s is attached", who))
	}
	if len(progs) > 1 {
		f.Blind = append(f.Blind, tracer.Blind{What: fmt.Sprintf("%d programs are attached there", len(progs)), Effect: "which of them dropped the packet is not known"})
	}
	if len(met) > 1 || len(met) == 1 && len(progs) > 0 {
		f.Blind = append(f.Blind, tracer.Blind{What: fmt.Sprintf("tc filters that drop are there (%d)", len(met)), Effect: "which of what is there dropped the packet is not known"})
	}
	if denial != nil {
		pf := in.policyFinding(denial, d)
		pf.Evidence = append(f.Evidence, pf.Evidence...)
		pf.Blind = append(pf.Blind, f.Blind...)
		if owner == "" || len(progs) > 1 {
			pf.Confidence = tracer.Probable // the policies deny it; whether that program enforces them is not known
		}
		return pf
	}
	if owner != "" {
		if !in.policiesKnown() {
			return nil
		}
		if other := in.unevaluatedFinding(in.unevaluated(owner, in.side(d)), d); other != nil {
			other.Evidence, other.Blind = append(f.Evidence, other.Evidence[1:]...), append(other.Blind, f.Blind...)
			return other
		}
		if in.startupRace(d, owner, f) {
			return f
		}
		f.Code, f.Confidence = "pol-agent-stale", tracer.Suspected
		f.Summary = fmt.Sprintf("%s of %s dropped %s to %s at %s, which no NetworkPolicy of the cluster denies: a policy of another kind does, or the agent's state is out of date",
			who, owner, in.from(d), in.to(d), in.where(d.Device))
		f.Blind = append(f.Blind, in.otherPolicies(owner)...)
		return f
	}
	f.Code = "pol-foreign-bpf"
	if d.Drop.Engine == "xdp" {
		f.Code = "pol-xdp-drop"
	}
	f.Summary = fmt.Sprintf("%s on %s dropped the packets of %s to %s; it belongs to no known CNI or policy agent",
		who, in.where(d.Device), in.source(), in.destination())
	switch {
	case slices.ContainsFunc(met, func(m metFilter) bool { return m.enough(d) }):
		f.Object = nil // it may as well have been that one
	case len(progs) == 1 && len(met) == 0 && in.policiesKnown():
		f.Confidence = tracer.Confirmed
	}
	return f
}

// suspect picks the program to speak of: one that enforces policies where they
// deny, one that belongs to nobody known where they do not.
func suspect(progs []tracer.BPFProgram, denied bool) tracer.BPFProgram {
	i := slices.IndexFunc(progs, func(p tracer.BPFProgram) bool { return (p.Owner != "") == denied })
	return progs[max(i, 0)]
}

// from and to name the ends of the dropped packet itself.
func (in *Input) from(d *tracer.DropSeen) string {
	if d.Direction == tracer.DirReply {
		return "the answer of " + in.target()
	}
	return in.source()
}

func (in *Input) to(d *tracer.DropSeen) string {
	if d.Direction == tracer.DirReply {
		return in.source()
	}
	return in.destination()
}

// programsAt lists the programs that could have dropped there: same device and
// same side.
func (in *Input) programsAt(d *tracer.DropSeen) []tracer.BPFProgram {
	var out []tracer.BPFProgram
	for _, p := range in.Node.Programs {
		if d.Drop.Engine == "cgroup" {
			if p.Cgroup != "" && (p.Device.NetNS == 0 || p.Device.NetNS == d.Device.NetNS) && p.Attach == "cgroup "+cgroupSide(d.Drop.Stage) {
				out = append(out, p)
			}
			continue
		}
		if p.Device != d.Device {
			continue
		}
		side := d.Drop.Engine == "xdp" && p.Attach == "xdp" || d.Drop.Engine == "tc" && strings.HasSuffix(p.Attach, " "+string(d.Drop.Stage))
		if side {
			out = append(out, p)
		}
	}
	return out
}

// cgroupSide is the hook of a control group's program that drops at a stage.
func cgroupSide(s tracer.Stage) string {
	switch s {
	case tracer.StageOutput, tracer.StagePostrouting, tracer.StageEgress:
		return "egress"
	}
	return "ingress"
}

// nfqueue: queued to user space, and nobody took it.
func nfqueue(in *Input) *Finding {
	d := in.causeIf(func(d *tracer.DropSeen) bool { return d.Drop.Engine == "nfqueue" || d.Drop.Location == "nf_queue" })
	if d == nil || in.onTheWay(d.Device) {
		return nil
	}
	return &Finding{
		Code: "pol-nfqueue-down", Confidence: tracer.Confirmed, Rule: in.ruleFor(d), Object: in.nodeRef(),
		Summary:  fmt.Sprintf("node %s queues packets to a policy agent (NFQUEUE) that does not take them", in.NodeName),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
}

// denying returns the policy decision that denies the flow, the one on the side
// where the drop was seen first.
func (in *Input) denying(d *tracer.DropSeen) *tracer.PolicyDecision {
	if d.Direction != tracer.DirRequest {
		return nil // policies judge connections, not answers
	}
	if in.outer(d) || in.encloses(d.Tuple) {
		return nil // the packet of a tunnel, from node to node
	}
	e, i := in.Cluster.Egress, in.Cluster.Ingress
	e2 := in.denies(e, d) && in.enforcedHere(in.Cluster.SourcePod, e, d)
	i2 := in.denies(i, d) && in.enforcedHere(in.Cluster.TargetPod, i, d)
	switch in.side(d) { // a program on one pod's veth enforces that pod's policies
	case "egress":
		i2 = false
	case "ingress":
		e2 = false
	}
	if r := in.ruleFor(d); r != nil && r.Policy != "" && e2 && i2 && names(i, r.Policy) && !names(e, r.Policy) {
		return i
	}
	switch {
	case e2:
		return e
	case i2:
		return i
	}
	return nil
}

// side says whose policies were enforced where the packet was dropped. An agent's
// rule may say it; else what enters the node by the client's veth is its egress,
// what leaves by the target's is its ingress.
func (in *Input) side(d *tracer.DropSeen) string {
	if _, a := in.agentRule(d); a != nil && !a.Node {
		return a.Side
	}
	if d.Drop.Engine != "tc" && d.Drop.Engine != "xdp" {
		return ""
	}
	src, dst := in.Node.SrcPeer, in.Node.DstPeer
	switch {
	case src != nil && dst != nil && src.DeviceKey == dst.DeviceKey:
	case in.inSource(d.Device) || src != nil && d.Device == src.DeviceKey:
		return "egress"
	case in.inTarget(d.Device) || dst != nil && d.Device == dst.DeviceKey:
		return "ingress"
	}
	return ""
}

// denies: the decision denies the flow. Traffic between a pod and its own node
// is exempt in most implementations, so there the rule must be an enforcer's.
func (in *Input) denies(p *tracer.PolicyDecision, d *tracer.DropSeen) bool {
	if p == nil || p.Allowed {
		return false
	}
	if p.Exempt == "" {
		return true
	}
	return enforces(in.ruleFor(d), p)
}

// enforces: the rule is one of those that enforce NetworkPolicies.
func enforces(r *tracer.RuleFact, p *tracer.PolicyDecision) bool {
	return r != nil && (enforcer(r.Owner) || names(p, r.Policy) || namesDecider(p, r.Comment))
}

// namesDecider: the text names the cluster-wide policy that decided.
func namesDecider(p *tracer.PolicyDecision, text string) bool {
	d := p.Decider()
	return d != nil && slices.Contains(strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" \t,;:()\"'", c) }), d.Policy.Name)
}

// enforcedHere: a pod's policies are enforced on its own node; what another node's
// rules drop, they do not, unless those rules say that they are for policies.
func (in *Input) enforcedHere(pod *tracer.PodFacts, p *tracer.PolicyDecision, d *tracer.DropSeen) bool {
	return pod == nil || pod.Node == "" || pod.Node == in.NodeName || enforces(in.ruleFor(d), p)
}

func names(p *tracer.PolicyDecision, nsname string) bool {
	return slices.ContainsFunc(p.Selected, func(r tracer.Ref) bool { return r.Namespace+"/"+r.Name == nsname })
}

// policyDrop: netfilter dropped the packet and the cluster's policies deny it.
func policyDrop(in *Input) *Finding {
	d := in.hostFilter()
	if d == nil {
		return nil
	}
	p := in.denying(d)
	if p == nil || in.loopbackSource(d) {
		return nil
	}
	f := in.policyFinding(p, d)
	if f.Rule == nil && in.agentHere() || enforces(f.Rule, p) {
		return f
	}
	// It would be denied, but what dropped it is not known to enforce policies.
	effect := "the rule that was met is not one that does"
	if f.Rule == nil {
		effect = "the rule that was met is not known"
	}
	if f.Confidence == tracer.Confirmed {
		f.Confidence = tracer.Probable
	}
	f.Blind = append(f.Blind, tracer.Blind{What: "whether anything enforces NetworkPolicies on this node", Effect: effect})
	return f
}

// agentHere: rules or programs that enforce NetworkPolicies were met on this node.
func (in *Input) agentHere() bool {
	return slices.ContainsFunc(in.Node.Rules, func(r tracer.RuleFact) bool { return enforcer(r.Owner) }) ||
		slices.ContainsFunc(in.Node.Programs, func(p tracer.BPFProgram) bool { return enforcer(p.Owner) })
}

// policyFinding is a denial that a drop shows.
func (in *Input) policyFinding(p *tracer.PolicyDecision, d *tracer.DropSeen) *Finding {
	f := in.denial(p)
	f.Rule = in.ruleFor(d)
	f.Summary += "; dropped on " + in.at(d)
	f.Evidence = append([]tracer.Evidence{in.seenDrop(d)}, f.Evidence...)
	if f.Rule == nil {
		return f
	}
	f.Evidence = append(f.Evidence, seenRule(in, f.Rule))
	in.rejecting(f)
	return f
}

// rejecting: the agent answers for the target instead of being silent, which
// clients take for a refusal by the application.
func (in *Input) rejecting(f *Finding) {
	a := in.icmp(func(a *tracer.Answer) bool { return fatal(a) && in.madeHere(a) })
	if f.Rule.Verdict != "reject" || f.Code != "pol-ingress-deny" && f.Code != "pol-egress-deny" && f.Code != "pol-one-side-only" {
		return
	}
	f.Code = "pol-reject-mode"
	f.Summary += "; the agent rejected it, not the application"
	if a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
	}
}

// denial is what the policies say about a flow that they do not allow.
func (in *Input) denial(p *tracer.PolicyDecision) *Finding {
	f := in.plainDenial(p)
	if r := p.Decider(); r != nil {
		f = in.clusterDenial(p, r)
	}
	unsure(f, p)
	return f
}

// plainDenial is a denial by NetworkPolicies.
func (in *Input) plainDenial(p *tracer.PolicyDecision) *Finding {
	f := &Finding{Confidence: tracer.Confirmed, Code: in.policyCode(p)}
	ref := tracer.Ref{Kind: tracer.KindNetworkPolicy}
	why := "no rule allows it"
	if p.Nearest != nil {
		ref = p.Nearest.Policy
		if p.Nearest.Why != "" {
			why = p.Nearest.Why
		}
	} else if len(p.Selected) > 0 {
		ref = p.Selected[0]
	}
	f.Object = &ref
	verb := fmt.Sprintf("does not allow %s to reach %s on %s (%s)", in.source(), in.target(), in.targetPort(), p.Direction)
	if f.Code == "pol-dns-egress" || f.Code == "pol-nodelocal-dns" {
		verb = fmt.Sprintf("does not allow %s to ask DNS at %s on %s (egress)", in.source(), in.destination(), in.port())
		if in.external() { // not the cluster's DNS, which the catalogue's policy allows
			f.Remedy = in.allowResolver(ref)
		}
	}
	f.Summary = fmt.Sprintf("%s %s/%s %s: %s", ref.Kind, ref.Namespace, ref.Name, verb, why)
	if by := in.otherSide(p); by != nil {
		f.Summary += fmt.Sprintf(" (the other end's %s is allowed by %s; both ends must allow it)", other(p.Direction), policyName(*by))
	}
	for _, s := range p.Selected {
		f.Evidence = append(f.Evidence, in.seenState("NetworkPolicy", "%s/%s selects the pod for %s", s.Namespace, s.Name, p.Direction))
	}
	for i := range p.Rules { // what passed it on to them
		f.Evidence = append(f.Evidence, in.metRule(&p.Rules[i], p.Direction))
	}
	return f
}

// policyCode refines a denial by what the nearest rule missed.
func (in *Input) policyCode(p *tracer.PolicyDecision) string {
	if code := in.dnsCode(p.Direction); code != "" {
		return code
	}
	miss := ""
	if p.Nearest != nil {
		miss = p.Nearest.Miss
	}
	_, snat := in.translation("snat")
	switch {
	case p.Direction == "ingress" && in.Cluster.Source.Kind == tracer.KindNode:
		return "pol-probe-or-host-source"
	case miss == "port-before-dnat":
		return "pol-wrong-port"
	case miss == "named-port":
		return "pol-named-port"
	case miss == "ip-block" && snat && p.Direction == "ingress":
		return "pol-ipblock-after-snat"
	case miss == "selector-typo" || miss == "namespace-label" || miss == "own-namespace":
		return "pol-selector-mismatch"
	case miss == "before-dnat":
		return "pol-clusterip-pre-dnat"
	case in.otherSide(p) != nil:
		return "pol-one-side-only"
	case p.Direction == "egress":
		return "pol-egress-deny"
	}
	return "pol-ingress-deny"
}

// dnsCode is for a client that may not ask DNS, "" if it is not that.
func (in *Input) dnsCode(side string) string {
	dns := in.Journey.Flow.Dst.Port() == 53 || in.Cluster.Service != nil && in.Cluster.Service.DNS && strings.HasPrefix(in.Cluster.Service.PortName, "dns")
	switch {
	case !dns || side != "egress":
		return ""
	case in.nodeLocal():
		return "pol-nodelocal-dns"
	}
	return "pol-dns-egress"
}

// foreignOwner: writers of host firewalls, none of which enforces NetworkPolicies.
func foreignOwner(owner string) bool {
	switch owner {
	case "firewalld", "ufw", "docker", "fail2ban", "libvirt", "podman":
		return true
	}
	return false
}

// enforcer: writers that enforce NetworkPolicies.
func enforcer(owner string) bool {
	switch owner {
	case "calico", "cilium", "kube-router", "weave", "antrea", "ovn-kubernetes", "kube-ovn", "azure-npm", "kindnet", "cni", "aws-network-policy-agent", "kube-network-policies":
		return true
	}
	return false
}

// foreignRule: netfilter dropped the packet although policies do not deny it.
func foreignRule(in *Input) *Finding {
	d := in.hostFilter()
	if d == nil || in.loopbackSource(d) {
		return nil
	}
	byConntrack := in.droppedByConntrack(d)
	if byConntrack >= max(d.Count, 1) {
		return nil // it may be all of them: where it drops looks like where xtables does
	}
	r := in.ruleFor(d)
	foreign := r != nil && foreignOwner(r.Owner)
	if !foreign && (!in.policiesKnown() || in.denying(d) != nil) {
		return nil // without the policies, an unknown rule may be theirs
	}
	f := &Finding{Rule: r, Object: in.nodeRef(), Confidence: tracer.Probable, Evidence: []tracer.Evidence{in.seenDrop(d)}}
	f.Evidence = append(f.Evidence, in.policyAgreement(d)...)
	what := "a firewall rule"
	if r != nil {
		f.Evidence = append(f.Evidence, seenRule(in, r))
		f.Confidence = tracer.Confirmed
		what = fmt.Sprintf("a rule in table %s %s, chain %s", r.Family, r.Table, r.Chain)
		f.Object = &tracer.Ref{Kind: "FirewallRule", Name: r.Family + " " + r.Table + " " + r.Chain}
		if r.BasePolicy {
			what = fmt.Sprintf("the policy DROP of chain %s %s %s", r.Family, r.Table, r.Chain)
		}
		if r.Owner != "" {
			what += " (written by " + r.Owner + ")"
		}
	} else {
		f.Blind = append(f.Blind, tracer.Blind{What: "the rule that dropped the packet", Effect: "who wrote it is not known: a policy agent that enforces more than NetworkPolicies can be behind it"})
	}
	if byConntrack > 0 {
		f.Blind = append(f.Blind, tracer.Blind{What: fmt.Sprintf("conntrack also counted drops on %s: %d, of all flows", in.NodeName, byConntrack),
			Effect: fmt.Sprintf("some of these %d packets may be among them, and dropped by no rule", d.Count)})
	}
	tail := fmt.Sprintf("dropped %s to %s %s on %s", in.source(), in.target(), in.targetPort(), in.at(d))
	if d.Direction == tracer.DirReply {
		tail = fmt.Sprintf("dropped the answer of %s to %s on %s", in.target(), in.source(), in.at(d))
	}
	if in.policiesKnown() && in.denying(d) == nil {
		tail += "; no NetworkPolicy denies this flow"
		unsure(f, in.Cluster.Egress)
		unsure(f, in.Cluster.Ingress)
	} else {
		f.Confidence = tracer.Probable
	}
	stage := d.Drop.Stage
	if stage == "" && r != nil {
		stage = tracer.Stage(r.Hook)
	}
	rejected := r != nil && r.Verdict == "reject" || in.icmp(func(a *tracer.Answer) bool { return prohibited(a) && in.madeHere(a) }) != nil
	switch {
	case r != nil && enforcer(r.Owner) && r.Agent != nil && (r.Agent.Why == tracer.AgentInvalid || r.Agent.Why == tracer.AgentSource):
		return nil // a consequence: of the way that the packets take, or of their source
	case r != nil && enforcer(r.Owner):
		f.Summary = what + " " + tail
		in.agentStale(d, r, f)
		return f
	case r != nil && r.Owner == "kube-proxy" && in.Cluster.Service != nil && in.untranslated() && r.Verdict == "reject":
		f.Code = "svc-stale-endpoint"
		f.Object = serviceRef(in.Cluster.Service)
	case byProxyRule(r) && in.midStream(d):
		if f.Code = in.invalidCode(r, d); f.Code == asymmetric && !in.Journey.Mid {
			f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "the dropped packet acknowledges what the other side sent, of which nothing passed here"))
			tail += "; the other direction takes another way, so that conntrack here knows half of the connection"
		}
	case byProxyRule(r):
		return nil // it drops many things; without knowing why, it is not to blame
	case rejected:
		f.Code = "node-firewall-reject"
		if a := in.icmp(func(a *tracer.Answer) bool { return prohibited(a) }); a != nil {
			f.Evidence = append(f.Evidence, in.seenAnswer(a))
		}
	case stage == tracer.StageInput:
		f.Code = "node-input-blocked"
	case stage == tracer.StageOutput || stage == tracer.StagePostrouting || stage == tracer.StagePrerouting ||
		stage == tracer.StageForward || stage == tracer.StageBridge || stage == tracer.StageIngress || stage == tracer.StageEgress:
		f.Code = "node-forward-drop"
	default:
		return nil
	}
	if f.Code == "" {
		return nil
	}
	f.Summary = what + " " + tail
	return f
}

// asymmetric is for a connection of which one direction, or the beginning, takes
// another way.
const asymmetric = "svc-invalid-drop-asymmetric"

// invalidCode tells apart why kube-proxy's rule against what conntrack calls INVALID
// met a packet that opens nothing: the beginning of its connection did not pass
// here, or none of its other direction does, or both do, and the packet does not fit
// to them. "" if the rule does not say that it is that one, or not enough was seen.
func (in *Input) invalidCode(r *tracer.RuleFact, d *tracer.DropSeen) string {
	invalid := strings.Contains(strings.ToLower(r.Text), "invalid")
	switch {
	case in.Journey.Mid:
		return asymmetric
	case !invalid:
		return ""
	case !in.oneWay(d):
		return "svc-invalid-drop-window"
	case in.Lost > 0 || in.partial():
		return "" // the other direction may have passed unseen
	}
	return asymmetric
}

// oneWay: the packet goes on from something that the other side sent, and nothing of
// that side was seen at the node's own devices, where its conntrack would have met it.
func (in *Input) oneWay(d *tracer.DropSeen) bool {
	if in.Journey.Flow.Proto != tracer.ProtoTCP || d.TCPFlags&tracer.TCPAck == 0 {
		return false
	}
	other := func(x tracer.Direction) bool { return x != d.Direction }
	return !slices.ContainsFunc(in.Journey.Hops, func(h tracer.Hop) bool { return other(h.Direction) && in.onNode(h.Device) }) &&
		!slices.ContainsFunc(in.Journey.Drops, func(x tracer.DropSeen) bool { return other(x.Direction) && in.onNode(x.Device) })
}

// midStream: the dropped packet does not open a connection.
func (in *Input) midStream(d *tracer.DropSeen) bool {
	return d.Direction == tracer.DirReply || in.Journey.Mid || in.Journey.Established ||
		in.Journey.Flow.Proto == tracer.ProtoTCP && d.TCPFlags != 0 && d.TCPFlags&tracer.TCPSyn == 0
}

// loopbackSource: a packet from 127.0.0.0/8 to another host, as a NodePort on
// the loopback address makes it. The kernel drops it where it is routed anew
// after translation, and no rule is to blame.
func (in *Input) loopbackSource(d *tracer.DropSeen) bool {
	return d.Drop.Engine == "xtables" && in.ruleFor(d) == nil && d.Tuple.Src.Addr().IsLoopback() && !d.Tuple.Dst.Addr().IsLoopback()
}

// nodePortLocalhost: such a packet of a Service's.
func nodePortLocalhost(in *Input) *Finding {
	d := in.hostFilter()
	s := in.Cluster.Service
	if d == nil || s == nil || !in.loopbackSource(d) {
		return nil
	}
	return &Finding{
		Code: "svc-nodeport-localhost", Confidence: tracer.Confirmed, Object: serviceRef(s),
		Summary:  fmt.Sprintf("the NodePort of Service %s/%s was asked for by the loopback address, from which the kernel forwards nothing", s.Namespace, s.Name),
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState(in.NodeName, "net.ipv4.conf.all.route_localnet = %q", in.Node.Sysctls["net.ipv4.conf.all.route_localnet"])},
	}
}

func (in *Input) policyAgreement(d *tracer.DropSeen) []tracer.Evidence {
	var ev []tracer.Evidence
	if d.Direction == tracer.DirReply {
		return []tracer.Evidence{in.seenState("NetworkPolicy", "the dropped packet is an answer; policies judge only the request")}
	}
	for _, p := range []*tracer.PolicyDecision{in.Cluster.Egress, in.Cluster.Ingress} {
		switch {
		case p == nil:
		case p.Decider() != nil:
			ev = append(ev, in.metRule(p.Decider(), p.Direction))
		case p.AllowedBy != nil:
			ev = append(ev, in.seenState("NetworkPolicy", "%s allowed by %s/%s", p.Direction, p.AllowedBy.Namespace, p.AllowedBy.Name))
		case len(p.Selected) == 0:
			ev = append(ev, in.seenState("NetworkPolicy", "no policy selects the pod for %s", p.Direction))
		}
	}
	return ev
}
