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
	if in.delivered() {
		return nil
	}
	return in.drop(func(d *tracer.DropSeen) bool { return netfilter(d) && !in.inSource(d.Device) && !in.inTarget(d.Device) })
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

// bpfDrop: a tc, XDP or cgroup program dropped the packet.
func bpfDrop(in *Input) *Finding {
	d := in.drop(func(d *tracer.DropSeen) bool {
		return d.Drop.Engine == "tc" || d.Drop.Engine == "xdp" || d.Drop.Engine == "cgroup"
	})
	if d == nil || in.delivered() {
		return nil
	}
	progs := in.programsAt(d)
	f := &Finding{Confidence: tracer.Probable, Evidence: []tracer.Evidence{in.seenDrop(d)}}
	who := d.Drop.Engine + " program"
	var owner string
	if len(progs) > 0 {
		p := progs[0]
		who = fmt.Sprintf("%s program %q (id %d)", p.Attach, p.Name, p.ID)
		owner = p.Owner
		f.Object = &tracer.Ref{Kind: "BPFProgram", Name: p.Name}
		f.Evidence = append(f.Evidence, in.seenState(in.where(p.Device), "%s is attached", who))
	}
	if len(progs) > 1 {
		f.Blind = append(f.Blind, tracer.Blind{What: fmt.Sprintf("%d programs are attached there", len(progs)), Effect: "which of them dropped the packet is not known"})
	}
	if p := in.denying(d); p != nil && owner != "" {
		pf := in.policyFinding(p, d)
		pf.Evidence = append(f.Evidence, pf.Evidence...)
		return pf
	}
	if owner != "" {
		f.Code = "pol-agent-stale"
		f.Summary = fmt.Sprintf("%s of %s dropped %s to %s at %s although the cluster's NetworkPolicies allow it", who, owner, in.source(), in.destination(), in.where(d.Device))
		if !in.Cluster.Known {
			return nil
		}
		return f
	}
	f.Code = "pol-foreign-bpf"
	if d.Drop.Engine == "xdp" {
		f.Code = "pol-xdp-drop"
	}
	f.Summary = fmt.Sprintf("%s on %s dropped the packets of %s to %s; it belongs to no known CNI or policy agent",
		who, in.where(d.Device), in.source(), in.destination())
	if len(progs) == 1 {
		f.Confidence = tracer.Confirmed
	}
	return f
}

// programsAt lists the programs that could have dropped there: same device and
// same side.
func (in *Input) programsAt(d *tracer.DropSeen) []tracer.BPFProgram {
	var out []tracer.BPFProgram
	for _, p := range in.Node.Programs {
		if p.Device != d.Device {
			continue
		}
		side := d.Drop.Engine == "xdp" && p.Attach == "xdp" || d.Drop.Engine == "cgroup" ||
			d.Drop.Engine == "tc" && strings.HasSuffix(p.Attach, " "+string(d.Drop.Stage))
		if side {
			out = append(out, p)
		}
	}
	return out
}

// nfqueue: queued to user space, and nobody took it.
func nfqueue(in *Input) *Finding {
	d := in.drop(func(d *tracer.DropSeen) bool { return d.Drop.Engine == "nfqueue" || d.Drop.Location == "nf_queue" })
	if d == nil || in.delivered() {
		return nil
	}
	return &Finding{
		Code: "pol-nfqueue-down", Confidence: tracer.Confirmed, Rule: in.ruleFor(d), Object: in.nodeRef(),
		Summary:  fmt.Sprintf("node %s queues packets to a policy agent (NFQUEUE) that does not take them", in.NodeName),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
}

// conntrackDrop: conntrack itself refused the packet: the table is full, or
// the translated tuple is taken.
func conntrackDrop(in *Input) *Finding {
	d := in.hostFilter()
	if d == nil || d.Drop.Engine != "xtables" || in.ruleFor(d) != nil {
		return nil
	}
	host := in.Inventory.HostNetNS
	ev := []tracer.Evidence{in.seenDrop(d)}
	if n := in.counter(host, "conntrack.insert_failed"); n > 0 && d.CT != nil && d.Tuple.Src != d.CT.Orig.Src {
		return &Finding{
			Code: "egr-snat-port-exhausted", Confidence: tracer.Confirmed, Object: in.nodeRef(),
			Summary:  fmt.Sprintf("node %s found no free source port to translate %s to for %s (insert_failed +%d)", in.NodeName, in.source(), in.Journey.Translated.Dst, n),
			Evidence: append(ev, in.seenState(in.NodeName, "conntrack insert_failed +%d", n)),
		}
	}
	if n := in.counter(host, "conntrack.drop"); n > 0 && (d.Drop.Stage == tracer.StagePrerouting || d.Drop.Stage == tracer.StageOutput) {
		return &Finding{
			Code: "node-conntrack-full", Confidence: tracer.Confirmed, Object: in.nodeRef(),
			Summary:  fmt.Sprintf("the conntrack table of node %s is full: new flows are dropped (drop +%d)", in.NodeName, n),
			Evidence: append(ev, in.seenState(in.NodeName, "conntrack drop +%d", n)),
		}
	}
	return nil
}

// denying returns the policy decision that denies the flow, the one on the side
// where the drop was seen first.
func (in *Input) denying(d *tracer.DropSeen) *tracer.PolicyDecision {
	if d.Direction != tracer.DirRequest {
		return nil // policies judge connections, not answers
	}
	e, i := in.Cluster.Egress, in.Cluster.Ingress
	e2, i2 := in.denies(e, d), in.denies(i, d)
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

// denies: the decision denies the flow. Traffic between a pod and its own node
// is exempt in most implementations, so there the rule must be an enforcer's.
func (in *Input) denies(p *tracer.PolicyDecision, d *tracer.DropSeen) bool {
	if p == nil || p.Allowed {
		return false
	}
	if p.Exempt == "" {
		return true
	}
	r := in.ruleFor(d)
	return r != nil && (enforcer(r.Owner) || names(p, r.Policy))
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
	if p == nil {
		return nil
	}
	return in.policyFinding(p, d)
}

func (in *Input) policyFinding(p *tracer.PolicyDecision, d *tracer.DropSeen) *Finding {
	f := &Finding{Confidence: tracer.Confirmed, Code: in.policyCode(p), Rule: in.ruleFor(d)}
	ref := tracer.Ref{Kind: "NetworkPolicy"}
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
	if f.Code == "pol-dns-egress" {
		verb = fmt.Sprintf("does not allow %s to ask DNS at %s on %s (egress)", in.source(), in.destination(), in.port())
	}
	f.Summary = fmt.Sprintf("%s %s/%s %s: %s; dropped on %s", ref.Kind, ref.Namespace, ref.Name, verb, why, in.at(d))
	f.Evidence = []tracer.Evidence{in.seenDrop(d)}
	for _, s := range p.Selected {
		f.Evidence = append(f.Evidence, in.seenState("NetworkPolicy", "%s/%s selects the pod for %s", s.Namespace, s.Name, p.Direction))
	}
	if f.Rule != nil {
		f.Evidence = append(f.Evidence, seenRule(in, f.Rule))
		if foreignOwner(f.Rule.Owner) {
			f.Confidence = tracer.Probable // it would be denied anyway, but another rule took it
		}
	}
	return f
}

// policyCode refines a denial by what the nearest rule missed.
func (in *Input) policyCode(p *tracer.PolicyDecision) string {
	dns := in.Journey.Flow.Dst.Port() == 53 || in.Cluster.Service != nil && in.Cluster.Service.DNS
	if dns && p.Direction == "egress" {
		return "pol-dns-egress"
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
	case p.Direction == "egress":
		return "pol-egress-deny"
	}
	return "pol-ingress-deny"
}

// foreignOwner: writers of host firewalls, none of which enforces NetworkPolicies.
func foreignOwner(owner string) bool {
	switch owner {
	case "firewalld", "ufw", "docker":
		return true
	}
	return false
}

// enforcer: writers that enforce NetworkPolicies.
func enforcer(owner string) bool {
	switch owner {
	case "calico", "cilium", "kube-router", "weave", "antrea", "ovn-kubernetes", "kube-ovn", "azure-npm", "kindnet", "cni", "aws-network-policy-agent":
		return true
	}
	return false
}

// foreignRule: netfilter dropped the packet although policies do not deny it.
func foreignRule(in *Input) *Finding {
	d := in.hostFilter()
	if d == nil || !in.Cluster.Known || in.denying(d) != nil {
		return nil
	}
	r := in.ruleFor(d)
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
	}
	tail := fmt.Sprintf("dropped %s to %s %s on %s; no NetworkPolicy denies this flow", in.source(), in.target(), in.targetPort(), in.at(d))
	rejected := r != nil && r.Verdict == "reject" || in.icmp(func(a *tracer.Answer) bool { return prohibited(a) && in.madeHere(a) }) != nil
	switch {
	case r != nil && enforcer(r.Owner):
		f.Code = "pol-agent-stale"
		f.Object = &tracer.Ref{Kind: "FirewallRule", Name: r.Family + " " + r.Table + " " + r.Chain}
	case r != nil && r.Owner == "kube-proxy" && in.Cluster.Service != nil && in.untranslated():
		f.Code = "svc-stale-endpoint"
		f.Object = serviceRef(in.Cluster.Service)
	case r != nil && r.Owner == "kube-proxy":
		f.Code = "svc-invalid-drop-asymmetric"
	case rejected:
		f.Code = "node-firewall-reject"
		if a := in.icmp(func(a *tracer.Answer) bool { return prohibited(a) }); a != nil {
			f.Evidence = append(f.Evidence, in.seenAnswer(a))
		}
	case d.Drop.Stage == tracer.StageInput:
		f.Code = "node-input-blocked"
	case d.Drop.Stage == tracer.StageOutput || d.Drop.Stage == tracer.StagePostrouting || d.Drop.Stage == tracer.StagePrerouting ||
		d.Drop.Stage == tracer.StageForward || d.Drop.Stage == tracer.StageBridge:
		f.Code = "node-forward-drop"
	default:
		return nil
	}
	f.Summary = what + " " + tail
	return f
}

func (in *Input) policyAgreement(d *tracer.DropSeen) []tracer.Evidence {
	var ev []tracer.Evidence
	if d.Direction == tracer.DirReply {
		return []tracer.Evidence{in.seenState("NetworkPolicy", "the dropped packet is an answer; policies judge only the request")}
	}
	for _, p := range []*tracer.PolicyDecision{in.Cluster.Egress, in.Cluster.Ingress} {
		switch {
		case p == nil:
		case p.AllowedBy != nil:
			ev = append(ev, in.seenState("NetworkPolicy", "%s allowed by %s/%s", p.Direction, p.AllowedBy.Namespace, p.AllowedBy.Name))
		case len(p.Selected) == 0:
			ev = append(ev, in.seenState("NetworkPolicy", "no policy selects the pod for %s", p.Direction))
		}
	}
	return ev
}
