package verdict

import (
	"fmt"
	"net/netip"
	"slices"

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
	if in.Cluster.TargetPod == nil || in.Cluster.TargetPod.HostNetwork {
		return nil
	}
	f.Object = podRef(in.Cluster.TargetPod)
	f.Code, f.Summary = in.whyRefusedOutside(f)
	return f
}

// whyRefusedOutside is what whyRefused is for a pod of another node, whose
// sockets cannot be asked for.
func (in *Input) whyRefusedOutside(f *Finding) (code, summary string) {
	p, s := in.Cluster.TargetPod, in.Cluster.Service
	who := fmt.Sprintf("%s refused %s; it runs on node %s, which is not observed here", in.target(), in.targetPort(), p.Node)
	switch {
	case s != nil && in.wrongTargetPort(nil, false):
		f.Object = serviceRef(s)
		return "svc-wrong-targetport", who + "; the Service's targetPort is not a port that the pod declares"
	case in.asksClusterDNS():
		f.Evidence = append(f.Evidence, in.seenState("EndpointSlice", "%s", in.standing(p)))
		code, why := in.refusing(f)
		return code, "DNS pod " + who + ": the cluster's lookups are sent there, and nothing listens" + why
	}
	if !p.Ready || p.Restarts > 0 {
		f.Evidence = append(f.Evidence, in.seenState(in.target(), "%s", health(p)))
	}
	return "app-no-listener", who
}

// prohibitedOutside: a firewall off this node said so.
func prohibitedOutside(in *Input) *Finding {
	a := in.icmp(func(a *tracer.Answer) bool { return prohibited(a) && !in.madeHere(a) })
	if a == nil || !in.Journey.LeftNode || in.delivered() {
		return nil
	}
	if in.Cluster.TargetPod != nil && a.From == in.Journey.Translated.Dst.Addr() {
		return nil // in a pod's name answer its own node's firewall and policy agent only
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
	if in.device(j.LeftBy).Role != tracer.RoleUplink || in.routable(j.Flow.Src.Addr()) {
		return nil // this address needs no masquerade
	}
	f := &Finding{
		Code: "egr-masq-missing", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary: fmt.Sprintf("traffic of %s to %s leaves node %s by %s with the pod's own address %s: no masquerade rule took it, so no answer can come back",
			in.source(), j.Flow.Dst.Addr(), in.NodeName, in.nameOf(j.LeftBy), j.LeftAs.Src.Addr()),
		Evidence: []tracer.Evidence{in.seenLeft()},
	}
	if !in.Node.MasqueradeRead {
		f.Blind = append(f.Blind, tracer.Blind{What: "the NAT rules could not be read", Effect: "that no masquerade rule matches is inferred from the packet"})
		return f
	}
	for _, r := range in.Node.Masquerade {
		if r.Verdict == "masquerade" || r.Verdict == "snat" {
			f.Evidence = append(f.Evidence, seenRule(in, &r)) // it seems to match, yet did not
			return f
		}
	}
	f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "no masquerade or SNAT rule matches this flow"))
	if r := in.Node.MasqueradeElsewhere; r != nil {
		f.Code = "egr-masq-excluded"
		f.Summary = fmt.Sprintf("traffic of %s to %s leaves node %s by %s with the pod's own address %s: the node masquerades what goes elsewhere, but not to this range",
			in.source(), j.Flow.Dst.Addr(), in.NodeName, in.nameOf(j.LeftBy), j.LeftAs.Src.Addr())
		f.Evidence = append(f.Evidence, seenRule(in, r))
	}
	if private(j.Flow.Dst.Addr()) {
		f.Confidence = tracer.Suspected
		f.Blind = append(f.Blind, tracer.Blind{What: fmt.Sprintf("whether the network of %s routes pod addresses back", j.Flow.Dst.Addr()),
			Effect: "private networks that do (VPN, peering) need no masquerade; then the far side is silent for another reason"})
		return f
	}
	f.Confidence = tracer.Confirmed
	return f
}

func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || sharedSpace.Contains(a)
}

// sharedSpace is RFC 6598's: clusters take pod addresses from it.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// routable: the world, or the network that the uplink is in, can answer this
// address of a pod (native routing in a cloud's network, public addresses).
func (in *Input) routable(a netip.Addr) bool {
	if !private(a) {
		return true
	}
	for i := range in.Inventory.Devices {
		d := &in.Inventory.Devices[i]
		if d.Role != tracer.RoleUplink || !in.onHost(d.DeviceKey) {
			continue
		}
		for _, p := range d.Addrs {
			if p.Contains(a) {
				return true
			}
		}
	}
	return false
}

// routeMissing: traffic to another node's pods left by the default route, where
// the cluster uses an overlay, or where the network said that it does not know
// the pod's address.
func routeMissing(in *Input) *Finding {
	f := in.defaultToPods()
	if f == nil {
		return nil
	}
	if in.overlayHere() {
		f.Confidence = tracer.Confirmed
		return f
	}
	if n := in.targetNode(); n != nil && n.PodNetwork == hostGateway && !in.otherNetwork("flannel") {
		f.Evidence = append(f.Evidence, in.seenState(n.Name, "its pods are reached by a route to the node itself (flannel's backend is host-gw)"))
		return f
	}
	unrouted := in.icmp(func(a *tracer.Answer) bool {
		return fatal(a) && !prohibited(a) && !portUnreachable(a) && !in.madeHere(a)
	})
	if unrouted == nil {
		return nil
	}
	f.Evidence = append(f.Evidence, in.seenAnswer(unrouted))
	return f
}

// routeGuess is the same without a sign that it is wrong: in networks that route
// pod addresses (GKE, AWS) the default route is the right one.
func routeGuess(in *Input) *Finding {
	f := in.defaultToPods()
	if f == nil || in.fabricKnowsPods() {
		return nil
	}
	f.Confidence = tracer.Suspected
	return f
}

// fabricKnowsPods: the networks here leave it to what is around the nodes to find
// the pods, so that the default route is the way.
func (in *Input) fabricKnowsPods() bool {
	list := in.crossings(in.networksHere())
	return len(list) > 0 && !slices.ContainsFunc(list, func(c crossing) bool {
		return c.bare || c.leg[0].routed || c.leg[0].role != tracer.RoleUplink
	})
}

// defaultToPods finds packets for another node's pods that left by the default
// route without encapsulation and were not answered.
func (in *Input) defaultToPods() *Finding {
	j := in.Journey
	node := in.Cluster.InPodCIDR
	if p := in.Cluster.TargetPod; p != nil {
		node = p.Node
	}
	if !j.LeftNode || node == "" || node == in.NodeName || in.delivered() || has(j, tracer.AnswerSynAck) || in.cause() != nil || in.Cluster.Target.Kind == tracer.KindNode {
		return nil
	}
	bare := slices.ContainsFunc(j.Hops, func(h tracer.Hop) bool {
		return h.Device == j.LeftBy && h.Kind == tracer.EventTX && h.Direction == tracer.DirRequest && h.Inner == nil
	})
	r := in.route("forward")
	if !bare || in.device(j.LeftBy).Role != tracer.RoleUplink || r == nil || !isDefault(r) {
		return nil
	}
	return &Finding{
		Code: "cni-route-missing", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary: fmt.Sprintf("node %s has no route to the pods of node %s: packets for %s left by %s, by the default route",
			in.NodeName, node, j.Translated.Dst.Addr(), in.nameOf(j.LeftBy)),
		Evidence: []tracer.Evidence{in.seenLeft(), in.seenState(in.NodeName, "route to %s: default via %s dev %s", r.Dst, r.Via, r.Dev)},
	}
}

// otherNetwork: the nodes are joined by a network that is not the one. What an
// agent once wrote into the cluster outlives it.
func (in *Input) otherNetwork(name string) bool {
	list := in.networksHere()
	return len(list) > 0 && !slices.ContainsFunc(list, func(n network) bool { return n.name == name || n.plain })
}

// hostGateway is the backend of flannel that has nodes route to each other.
const hostGateway = "host-gw"

func isDefault(r *tracer.RouteFact) bool {
	return r.Prefix == "0.0.0.0/0" || r.Prefix == "::/0" || r.Prefix == "default"
}

// overlayHere: the nodes are joined by tunnels. Where the network of the pods is
// known, only a tunnel of its own says so: others belong to a VPN, say.
func (in *Input) overlayHere() bool {
	for _, n := range in.networksHere() {
		if len(n.nodes) > 0 {
			return slices.ContainsFunc(in.crossings(in.networksHere()), func(c crossing) bool { return c.leg[0].role == tracer.RoleTunnel })
		}
	}
	return in.hasDevice(func(d *tracer.Device) bool { return d.Role == tracer.RoleTunnel })
}

// deniedElsewhere: the policies deny the flow, and its target is on a node that
// is not observed.
func deniedElsewhere(in *Input) *Finding {
	j, p := in.Journey, in.Cluster.Ingress
	if p == nil || p.Allowed || p.Exempt != "" || !j.LeftNode || in.targetHere() || in.cause() != nil || in.delivered() || has(j, tracer.AnswerSynAck) || in.answer(tracer.AnswerRST) != nil {
		return nil
	}
	if p.Nearest == nil && len(p.Selected) == 0 {
		return nil
	}
	f := in.denial(p)
	f.Confidence = tracer.Suspected
	f.Summary += "; enforced, if at all, on the target's node, which is not observed"
	return f
}

// leadsNowhere: nothing is sent by this answer of a FIB.
func leadsNowhere(r *tracer.RouteFact) bool {
	switch r.Type {
	case "none", "unreachable", "blackhole", "prohibit":
		return true
	}
	return false
}

// wayNowhere is such an answer in words.
func wayNowhere(r *tracer.RouteFact) string {
	if r.Type == "none" || r.Prefix == "" {
		return "no route"
	}
	return r.Type + " " + r.Prefix
}

// sourceNoRoute: the client pod has no route, so no packet was ever sent.
func sourceNoRoute(in *Input) *Finding {
	j := in.Journey
	if !in.unseen() || len(j.Hops) > 0 {
		return nil
	}
	r := in.route("src-pod")
	if r == nil || !leadsNowhere(r) {
		return nil
	}
	f := &Finding{
		Code: "cni-pod-no-default-route", Confidence: tracer.Suspected, Object: podRef(in.Cluster.SourcePod),
		Summary:  fmt.Sprintf("pod %s has no route to %s: connecting fails before a packet exists", in.source(), j.Flow.Dst.Addr()),
		Evidence: []tracer.Evidence{in.seenState(in.source(), "FIB look-up for %s: %s", j.Flow.Dst.Addr(), wayNowhere(r))},
	}
	if in.StandIn {
		f.Summary = fmt.Sprintf("pod %s has no %s route to what is outside: connecting fails before a packet exists", in.source(), in.familyName())
	}
	if n := in.counter(j.SrcDevice.NetNS, "IpOutNoRoutes") + in.counter(j.SrcDevice.NetNS, "Ip6OutNoRoutes"); n > 0 {
		f.Confidence, f.NotSent = tracer.Confirmed, true
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
	if in.turnedBack() != nil {
		return nil // an answer came, and the node refused it
	}
	outside := in.icmp(func(a *tracer.Answer) bool { return fatal(a) && !in.madeHere(a) })
	switch in.Outcome {
	case tracer.OutcomeNoAnswer, tracer.OutcomeConnectedNoData:
	case tracer.OutcomeICMPError, tracer.OutcomeRefused:
		if outside == nil {
			return nil
		}
	default:
		return nil
	}
	if a := in.answer(tracer.AnswerSynAck); a != nil && in.Outcome == tracer.OutcomeNoAnswer {
		return nil // something came back: it was lost here
	}
	if in.untranslated() && (in.Cluster.InServiceRange || in.expectsTranslation()) {
		return nil // a Service's address must not leave the node: it did not leave as it should
	}
	f := &Finding{
		Code: tracer.CodeBeyondNode, Confidence: tracer.Probable, Evidence: []tracer.Evidence{in.seenLeft()},
		Summary: fmt.Sprintf("packets to %s %s left node %s intact by %s as %s; no answer in %s, and the far side is not observed",
			in.Journey.Flow.Dst.Addr(), in.port(), in.NodeName, in.nameOf(j.LeftBy), j.LeftAs.Src.Addr(), in.Now.Sub(j.First).Round(1e8)),
	}
	if in.Outcome == tracer.OutcomeConnectedNoData {
		f.Summary = fmt.Sprintf("%s accepted the connection on %s, but no data came back in %s; the packets left node %s intact by %s, and the far side is not observed",
			in.Journey.Flow.Dst.Addr(), in.port(), in.Now.Sub(j.First).Round(1e8), in.NodeName, in.nameOf(j.LeftBy))
	}
	if a := outside; a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
		f.Summary = fmt.Sprintf("packets to %s %s left node %s intact by %s; %s came back", in.Journey.Flow.Dst.Addr(), in.port(), in.NodeName,
			in.nameOf(j.LeftBy), answerText(a))
	}
	if _, ok := in.translation("snat"); ok {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "source translated to %s", j.LeftAs.Src))
	}
	for _, n := range in.Node.Neighbours {
		if in.device(j.LeftBy).Role == tracer.RoleUplink && n.NetNS == j.LeftBy.NetNS && n.Dev == in.nameOf(j.LeftBy) && n.State == "PERMANENT" {
			f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "neighbour %s dev %s: %s, permanent: it was written and not asked for, and stays when the machine gets another MAC address", n.Addr, n.Dev, n.MAC))
		}
	}
	in.inTunnel(f)
	in.compared(f)
	return f
}

// healthy is the finding for a flow that was answered.
func healthy(in *Input) *Finding {
	f := &Finding{Code: tracer.CodeOK, Confidence: tracer.Confirmed}
	f.Summary = fmt.Sprintf("%s reaches %s on %s and gets answers", in.source(), in.destination(), in.port())
	if in.Cluster.Target != in.Cluster.Destination && in.Cluster.Target.IP.IsValid() {
		f.Summary += " (" + in.target() + ")"
	}
	if l := in.Journey.Lookup; l != nil && l.Answered > 0 {
		where := in.resolver()
		f.Evidence = append(f.Evidence, in.seenState(where, "%s", lookupText(l)))
		switch {
		case l.RCode == tracer.RCodeNXDomain && l.AskedOn:
			f.Evidence = append(f.Evidence, in.seenState(where, "a try of the search list; the client asked on, and the next ones did not end like this one"))
		case l.RCode == tracer.RCodeNXDomain:
			f.Evidence = append(f.Evidence, in.seenState(where, "a try of the search list; a later one was answered"))
		}
	}
	if in.answerUnread() {
		f.Confidence = tracer.Probable
		f.Blind = append(f.Blind, tracer.Blind{What: "an answer came, of which only the count was shown", Effect: "whether it is a success or a failure is not known"})
	}
	if n := in.Journey.Retransmits; n > 0 {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "%d retransmitted packets, recovered", n))
	}
	return f
}
