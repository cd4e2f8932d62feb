package verdict

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/tracer"
)

// refusedOutside: an RST, or a port unreachable from the destination itself,
// came in from off this node.
func refusedOutside(in *Input) *Finding {
	a := in.refusal()
	if a == nil || in.targetHere() || in.madeHere(a) && !in.Journey.LeftNode {
		return nil
	}
	f := &Finding{Confidence: tracer.Probable, Evidence: []tracer.Evidence{in.seenAnswer(a)}}
	if in.Journey.LeftNode {
		f.Evidence = append(f.Evidence, in.seenLeft())
	}
	if in.external() {
		f.Code, f.Confidence = "egr-remote-refused", tracer.Confirmed
		f.Object = &tracer.Ref{Kind: "ExternalHost", Name: in.Journey.Flow.Dst.Addr().String()}
		f.Summary = fmt.Sprintf("%s refused the connection to %s: the packets left node %s and the refusal came back from outside",
			in.Journey.Flow.Dst.Addr(), in.port(), in.NodeName)
		return f
	}
	if in.Cluster.TargetPod == nil {
		return nil
	}
	f.Code, f.Object = "app-no-listener", podRef(in.Cluster.TargetPod)
	f.Summary = fmt.Sprintf("%s refused %s; it runs on node %s, which is not observed here", in.target(), in.targetPort(), in.Cluster.TargetPod.Node)
	if in.Cluster.Service != nil && in.wrongTargetPort(false) {
		f.Code, f.Object = "svc-wrong-targetport", serviceRef(in.Cluster.Service)
		f.Summary += "; the Service's targetPort is not a port that the pod declares"
	}
	return f
}

// prohibitedOutside: a firewall off this node said so.
func prohibitedOutside(in *Input) *Finding {
	a := in.icmp(func(a *tracer.Answer) bool { return prohibited(a) && !in.madeHere(a) })
	if a == nil || !in.Journey.LeftNode || in.delivered() {
		return nil
	}
	f := &Finding{
		Code: "egr-firewall-reject", Confidence: tracer.Confirmed, Object: &tracer.Ref{Kind: "Firewall", Name: a.From.String()},
		Summary:  fmt.Sprintf("a firewall at %s, beyond node %s, answered \"administratively prohibited\" for %s %s", a.From, in.NodeName, in.Journey.Flow.Dst.Addr(), in.port()),
		Evidence: []tracer.Evidence{in.seenAnswer(a), in.seenLeft()},
	}
	return f
}

// masqueradeMissing: pod traffic to the outside left with the pod's own address
// and nobody answered.
func masqueradeMissing(in *Input) *Finding {
	j := in.Journey
	if !j.LeftNode || in.Outcome != tracer.OutcomeNoAnswer || !in.external() || in.Cluster.SourcePod == nil || in.Cluster.Source.HostNetwork {
		return nil
	}
	if j.LeftAs.Src.Addr() != j.Flow.Src.Addr() || len(j.Answers) > 0 || in.cause() != nil {
		return nil
	}
	f := &Finding{
		Code: "egr-masq-missing", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary: fmt.Sprintf("traffic of %s to %s leaves node %s by %s with the pod's own address %s: no masquerade rule took it, so no answer can come back",
			in.source(), j.Flow.Dst.Addr(), in.NodeName, in.device(j.LeftBy).Name, j.LeftAs.Src.Addr()),
		Evidence: []tracer.Evidence{in.seenLeft()},
	}
	if !in.Node.MasqueradeRead {
		f.Blind = append(f.Blind, tracer.Blind{What: "the NAT rules could not be read", Effect: "that no masquerade rule matches is inferred from the packet"})
		return f
	}
	var elsewhere bool
	for _, r := range in.Node.Masquerade {
		if r.Verdict == "masquerade" || r.Verdict == "snat" {
			elsewhere = true
			f.Evidence = append(f.Evidence, seenRule(in, &r))
		}
	}
	f.Confidence = tracer.Confirmed
	if elsewhere {
		f.Confidence = tracer.Probable // a rule seems to match, yet did not
		if private(j.Flow.Dst.Addr()) {
			f.Code = "egr-masq-excluded"
			f.Summary = fmt.Sprintf("%s is excluded from masquerade on node %s, and nothing routes the pod address %s back", j.Flow.Dst.Addr(), in.NodeName, j.LeftAs.Src.Addr())
		}
	} else {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "no masquerade or SNAT rule matches this flow"))
	}
	return f
}

func private(a netip.Addr) bool { return a.IsPrivate() || a.IsLinkLocalUnicast() }

// routeMissing: an overlay exists, but traffic to another node's pods left
// without it.
func routeMissing(in *Input) *Finding {
	j := in.Journey
	if !j.LeftNode || in.Cluster.InPodCIDR == "" || in.Cluster.InPodCIDR == in.NodeName || in.delivered() || has(j, tracer.AnswerSynAck) {
		return nil
	}
	overlay := false
	for i := range in.Inventory.Devices {
		overlay = overlay || in.Inventory.Devices[i].Role == tracer.RoleTunnel && in.onHost(in.Inventory.Devices[i].DeviceKey)
	}
	r := in.route("forward")
	bare := false
	for i := range j.Hops {
		h := &j.Hops[i]
		bare = bare || h.Device == j.LeftBy && h.Kind == tracer.EventTX && h.Direction == tracer.DirRequest && h.Inner == nil
	}
	isDefault := r != nil && (r.Prefix == "0.0.0.0/0" || r.Prefix == "::/0" || r.Prefix == "default")
	if !bare || !overlay && !isDefault {
		return nil
	}
	f := &Finding{
		Code: "cni-route-missing", Confidence: tracer.Probable, Object: in.nodeRef(), Evidence: []tracer.Evidence{in.seenLeft()},
		Summary: fmt.Sprintf("node %s has no route to the pod range of node %s: packets for %s left by %s without encapsulation",
			in.NodeName, in.Cluster.InPodCIDR, j.Translated.Dst.Addr(), in.device(j.LeftBy).Name),
	}
	if isDefault {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "route to %s: default via %s dev %s", r.Dst, r.Via, r.Dev))
	} else if overlay {
		return nil // a direct route beside an overlay is a choice, not a fault
	}
	return f
}

// sourceNoRoute: the client pod has no route, so no packet was ever sent.
func sourceNoRoute(in *Input) *Finding {
	j := in.Journey
	if in.Outcome != tracer.OutcomeNotSeen && in.Outcome != tracer.OutcomeNotSent || len(j.Hops) > 0 {
		return nil
	}
	r := in.route("src-pod")
	if r == nil || r.Type != "none" && r.Type != "unreachable" {
		return nil
	}
	f := &Finding{
		Code: "cni-pod-no-default-route", Confidence: tracer.Suspected, Object: podRef(in.Cluster.SourcePod),
		Summary:  fmt.Sprintf("pod %s has no route to %s: connecting fails before a packet exists", in.source(), j.Flow.Dst.Addr()),
		Evidence: []tracer.Evidence{in.seenState(in.source(), "FIB look-up for %s: no route", j.Flow.Dst.Addr())},
	}
	if n := in.counter(j.SrcDevice.NetNS, "IpOutNoRoutes") + in.counter(j.SrcDevice.NetNS, "Ip6OutNoRoutes"); n > 0 {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(in.source(), "OutNoRoutes +%d", n))
	}
	return f
}

// beyondNode: the packets left this node as they should and nothing came back.
func beyondNode(in *Input) *Finding {
	j := in.Journey
	if !j.LeftNode || in.targetHere() || in.cause() != nil || in.delivered() {
		return nil
	}
	if in.Outcome != tracer.OutcomeNoAnswer && in.Outcome != tracer.OutcomeConnectedNoData && in.Outcome != tracer.OutcomeICMPError {
		return nil
	}
	if a := in.answer(tracer.AnswerSynAck); a != nil && in.Outcome == tracer.OutcomeNoAnswer {
		return nil // something came back: it was lost here
	}
	f := &Finding{
		Code: tracer.CodeBeyondNode, Confidence: tracer.Probable, Evidence: []tracer.Evidence{in.seenLeft()},
		Summary: fmt.Sprintf("packets to %s %s left node %s intact by %s as %s; no answer in %s, and the far side is not observed",
			in.Journey.Flow.Dst.Addr(), in.port(), in.NodeName, in.device(j.LeftBy).Name, j.LeftAs.Src.Addr(), in.Now.Sub(j.First).Round(1e8)),
	}
	if a := in.icmp(func(a *tracer.Answer) bool { return !in.madeHere(a) }); a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
		f.Summary = fmt.Sprintf("packets to %s %s left node %s intact by %s; %s came back", in.Journey.Flow.Dst.Addr(), in.port(), in.NodeName,
			in.device(j.LeftBy).Name, answerText(a))
	}
	if _, ok := in.translation("snat"); ok {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "source translated to %s", j.LeftAs.Src))
	}
	return f
}

// healthy is the finding for a flow that was answered.
func healthy(in *Input) *Finding {
	f := &Finding{Code: tracer.CodeOK, Confidence: tracer.Confirmed}
	f.Summary = fmt.Sprintf("%s reaches %s on %s and gets answers", in.source(), in.destination(), in.port())
	if in.Cluster.Target != in.Cluster.Destination && in.Cluster.Target.IP.IsValid() {
		f.Summary += " (" + in.target() + ")"
	}
	if n := in.Journey.Retransmits; n > 0 {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "%d retransmitted packets, recovered", n))
	}
	return f
}

// undecided says what was seen last and what is missing.
func undecided(in *Input) *Finding {
	j := in.Journey
	f := &Finding{Code: tracer.CodeUnknown, Confidence: tracer.Suspected}
	if in.Outcome == tracer.OutcomeNotSeen {
		f.Summary = fmt.Sprintf("no packet from %s to %s was seen on node %s", in.source(), in.destination(), in.NodeName)
		return f
	}
	if d := in.cause(); d != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
		f.Summary = fmt.Sprintf("packets from %s to %s are dropped at %s (%s@%s), but nothing here explains why",
			in.source(), in.target(), in.at(d), d.Drop.Reason, d.Drop.Location)
		if !in.Cluster.Known {
			f.Blind = append(f.Blind, tracer.Blind{What: "no cluster data", Effect: "whether a NetworkPolicy or Service explains the drop cannot be said"})
		}
		if neighbourFailed(d) && in.Cluster.Known && in.Cluster.TargetPod == nil {
			f.Summary = fmt.Sprintf("no pod has the address %s: nobody answers for it on %s", d.Tuple.Dst.Addr(), in.where(d.Device))
		}
		return f
	}
	last := ""
	for i := range j.Hops {
		if h := &j.Hops[i]; h.Direction == tracer.DirRequest {
			last = fmt.Sprintf("%s at %s", h.Kind, in.where(h.Device))
		}
	}
	if j.ReachedTarget {
		f.Summary = fmt.Sprintf("packets from %s reached %s, which did not answer; nothing here explains why", in.source(), in.target())
		return f
	}
	f.Summary = fmt.Sprintf("packets from %s to %s were last seen %s, and not after; no drop was recorded", in.source(), in.destination(), last)
	return f
}
