package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// untranslated: the flow was sent to a Service's address and no sighting shows
// another destination.
func (in *Input) untranslated() bool {
	_, dnat := in.translation("dnat")
	return !dnat && in.Journey.Translated.Dst == in.Journey.Flow.Dst
}

func readyEndpoints(s *tracer.ServiceFacts) (n int) {
	for _, e := range s.Endpoints {
		if e.Ready || e.Serving && e.Terminating {
			n++
		}
	}
	return n
}

// noEndpoints: the Service has the port but no endpoint that may serve; the
// proxy rejects (or drops) by design.
func noEndpoints(in *Input) *Finding {
	s := in.Cluster.Service
	if s == nil || !s.PortKnown || !in.untranslated() || readyEndpoints(s) > 0 || in.delivered() {
		return nil
	}
	f := &Finding{
		Code: noEndpointsCode(s), Confidence: tracer.Suspected, Object: serviceRef(s),
		Summary: fmt.Sprintf("Service %s/%s has no ready endpoints for port %d (%s)", s.Namespace, s.Name, s.Port, whyEmpty(s)),
	}
	f.Evidence = append(f.Evidence, in.seenState("EndpointSlice", "%d endpoints listed, none ready", len(s.Endpoints)))
	in.looping(f)
	if d := in.causeIf(in.byProxy); d != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
		f.Rule, f.Confidence = in.ruleFor(d), tracer.Confirmed
	}
	if a := in.icmp(portUnreachable); a != nil && in.madeHere(a) {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
		f.Confidence = tracer.Confirmed
	}
	return f
}

// byProxy: a netfilter drop in the node's namespace that no other known writer of
// rules has made.
func (in *Input) byProxy(d *tracer.DropSeen) bool {
	if !netfilter(d) || !in.onNode(d.Device) {
		return false
	}
	r := in.ruleFor(d)
	return r == nil || byProxyRule(r) || r.Owner == "" && !r.BasePolicy
}

// byProxyRule: kube-proxy's own rule, or the one by which the kubelet up to
// Kubernetes 1.27 drops what kube-proxy has marked for it (KUBE-MARK-DROP, KEP-3178).
// That chain has another one, against packets to loopback addresses.
func byProxyRule(r *tracer.RuleFact) bool {
	switch {
	case r == nil:
		return false
	case r.Owner == "kubelet":
		return r.Chain == "KUBE-FIREWALL" && !strings.Contains(r.Comment, "localnet")
	}
	return r.Owner == "kube-proxy"
}

func noEndpointsCode(s *tracer.ServiceFacts) string {
	if s.DNS {
		return "dns-coredns-down"
	}
	return "svc-no-endpoints"
}

func whyEmpty(s *tracer.ServiceFacts) string {
	switch {
	case s.Selector == "":
		return "the Service has no selector, so its EndpointSlices are made by hand or by a controller"
	case s.Matches == 0:
		return fmt.Sprintf("selector %s matches no pod", s.Selector)
	case s.Ready == 0:
		return fmt.Sprintf("selector %s matches %d pods, 0 Ready", s.Selector, s.Matches)
	}
	return fmt.Sprintf("selector %s matches %d pods, %d Ready, but no EndpointSlice lists them for this port", s.Selector, s.Matches, s.Ready)
}

// noLocalEndpoints: a Local traffic policy and no endpoint here.
func noLocalEndpoints(in *Input) *Finding {
	s := in.Cluster.Service
	if s == nil || !s.PortKnown || !in.untranslated() || readyEndpoints(s) == 0 || in.delivered() {
		return nil
	}
	if t := in.expected(s); !t.Local || len(t.Addrs) > 0 {
		return nil
	}
	d := in.causeIf(in.byProxy)
	if d == nil {
		return nil
	}
	which := "externalTrafficPolicy"
	if s.Frontend == "cluster-ip" {
		which = "internalTrafficPolicy"
	}
	return &Finding{
		Code: "svc-no-local-endpoints", Confidence: tracer.Confirmed, Object: serviceRef(s), Rule: in.ruleFor(d),
		Summary: fmt.Sprintf("Service %s/%s has %s: Local and no endpoint on %s; dropped by design", s.Namespace, s.Name, which, in.NodeName),
		Evidence: []tracer.Evidence{in.seenDrop(d),
			in.seenState("EndpointSlice", "%d ready endpoints, none on %s", readyEndpoints(s), in.NodeName)},
	}
}

// wrongServicePort: the Service exists but not this port of it.
func wrongServicePort(in *Input) *Finding {
	s := in.Cluster.Service
	if s == nil || s.PortKnown || !in.untranslated() || in.delivered() {
		return nil
	}
	f := &Finding{
		Code: "svc-wrong-service-port", Confidence: tracer.Probable, Object: serviceRef(s),
		Summary:  fmt.Sprintf("Service %s/%s has no port %s (it has %s)", s.Namespace, s.Name, in.port(), strings.Join(s.Ports, ", ")),
		Evidence: []tracer.Evidence{in.seenState("Service", "ports: %s", strings.Join(s.Ports, ", "))},
	}
	if p := in.Journey.Flow.Proto; p == tracer.ProtoICMP || p == tracer.ProtoICMPv6 {
		f.Summary = fmt.Sprintf("the address of Service %s/%s is there for its ports (%s) only and need not answer ping: test one of them", s.Namespace, s.Name, strings.Join(s.Ports, ", "))
		return f // which proves nothing more
	}
	in.confirmByPackets(f)
	return f
}

// pastTranslation: the drop is behind the hook where Services are translated. A
// tc or XDP program, a raw table and the client's own namespace come before it.
func (in *Input) pastTranslation(d *tracer.DropSeen) bool {
	if d == nil || !in.onHost(d.Device) || d.Direction != tracer.DirRequest {
		return false
	}
	switch d.Drop.Stage {
	case tracer.StageInput, tracer.StageForward, tracer.StagePostrouting, tracer.StageRouting, tracer.StageNeighbour, tracer.StageTunnel, tracer.StageSocket:
		return true
	}
	return false
}

// wentOn: the request was seen behind the hook where Services are translated.
func (in *Input) wentOn() bool {
	return in.Journey.LeftNode || slices.ContainsFunc(in.Journey.Hops, func(h tracer.Hop) bool {
		return h.Direction == tracer.DirRequest && h.Kind == tracer.EventTX && in.onHost(h.Device)
	})
}

// expectsTranslation: this node is the one to translate the Service's address.
// Another node's NodePort is not its affair, and a load balancer may want to see
// its traffic first.
func (in *Input) expectsTranslation() bool {
	s, r := in.Cluster.Service, in.Node.Services
	switch {
	case s == nil:
		return false
	case s.Frontend == "node-port":
		d, ok := in.Inventory.Owner(in.Journey.Flow.Dst.Addr())
		return ok && in.onHost(d.DeviceKey)
	case s.Frontend == "load-balancer":
		return r != nil && r.Complete && !r.Any
	}
	return true
}

// confirmByPackets adds how the untranslated packet ended, and with it certainty.
func (in *Input) confirmByPackets(f *Finding) {
	if d := in.causeIf(in.pastTranslation); d != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
		f.Confidence = tracer.Confirmed
	}
	if in.Journey.LeftNode {
		f.Evidence = append(f.Evidence, in.seenLeft())
		f.Confidence = tracer.Confirmed
	}
}

func (in *Input) seenLeft() tracer.Evidence {
	j := in.Journey
	return tracer.Evidence{Time: j.First, Where: in.where(j.LeftBy), What: "left the node as " + j.LeftAs.String()}
}

// noServiceRules: the Service promises a translation, the node has no rule for
// it, and the packet went on untranslated.
func noServiceRules(in *Input) *Finding {
	s, r := in.Cluster.Service, in.Node.Services
	if s == nil || !s.PortKnown || readyEndpoints(s) == 0 || !in.untranslated() || in.delivered() || !in.expectsTranslation() {
		return nil
	}
	if r != nil && (r.HasFrontend || r.NoEndpoints || r.NoLocal || translatesElsewhere(r) || hasIPVS(r) && !r.Complete) {
		return nil
	}
	unserved := in.drop(func(d *tracer.DropSeen) bool { return in.pastTranslation(d) && d.Drop.Stage == tracer.StageSocket })
	if !in.wentOn() && !in.pastTranslation(in.cause()) && in.refusal() == nil && unserved == nil {
		return nil
	}
	f := &Finding{Code: "svc-kubeproxy-no-rules", Confidence: tracer.Probable, Object: serviceRef(s)}
	f.Summary = fmt.Sprintf("node %s does not translate Service %s/%s (%s %s): no rule for it, the packet kept its destination",
		in.NodeName, s.Namespace, s.Name, in.Journey.Flow.Dst.Addr(), in.port())
	in.confirmByPackets(f)
	if unserved != nil {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenDrop(unserved))
	}
	if a := in.refusal(); a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
	}
	switch {
	case r == nil || !r.Complete:
		f.Confidence = tracer.Probable
		f.Blind = append(f.Blind, tracer.Blind{What: "the node's Service rules could not be read fully",
			Effect: "that this Service has no rules is inferred from the untranslated packet"})
	case hasIPVS(r):
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "IPVS has no virtual server for %s %s", in.port(), in.Journey.Flow.Dst.Addr()))
		if !r.Any {
			f.Object = in.nodeRef()
		}
	case !r.Any:
		f.Object = in.nodeRef()
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "no Service rules at all: kube-proxy has not programmed this node, or its rules were flushed"))
	default:
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "%s has rules for other Services, none for this one", strings.Join(r.Implementations, ", ")))
	}
	return f
}

// staleNoEndpoints: the proxy turns a Service away for want of endpoints that it
// has.
func staleNoEndpoints(in *Input) *Finding {
	s, r := in.Cluster.Service, in.Node.Services
	if s == nil || r == nil || !s.PortKnown || !r.NoEndpoints && !r.NoLocal || !in.untranslated() || in.delivered() {
		return nil
	}
	n := len(in.expected(s).Addrs)
	if n == 0 {
		return nil // a Service has endpoints, but a traffic policy leaves none
	}
	d := in.causeIf(in.byProxy)
	a := in.icmp(func(a *tracer.Answer) bool { return portUnreachable(a) && in.madeHere(a) })
	if d == nil && a == nil {
		return nil
	}
	f := &Finding{
		Code: "svc-stale-endpoint", Confidence: tracer.Confirmed, Object: serviceRef(s),
		Summary: fmt.Sprintf("node %s still turns Service %s/%s away for want of endpoints, although it has %d", in.NodeName, s.Namespace, s.Name, n),
		Evidence: []tracer.Evidence{in.seenState("EndpointSlice", "%d endpoints that this node may send to", n),
			in.seenState(in.NodeName, "the rules of %s have none", strings.Join(r.Implementations, ", "))},
	}
	if d != nil {
		f.Rule = in.ruleFor(d)
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	}
	if a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
	}
	if !r.Complete || in.Cluster.Stale > 0 {
		f.Confidence = tracer.Probable
	}
	return f
}

// sourceRanges: the Service's loadBalancerSourceRanges leave the client out.
func sourceRanges(in *Input) *Finding {
	s := in.Cluster.Service
	if s == nil || len(s.SourceRanges) == 0 || s.Frontend != "load-balancer" || in.delivered() {
		return nil
	}
	src := in.Journey.Flow.Src.Addr()
	d := in.causeIf(in.byProxy)
	if d == nil || slices.ContainsFunc(s.SourceRanges, func(p netip.Prefix) bool { return p.Contains(src) }) {
		return nil
	}
	return &Finding{
		Code: "svc-lb-source-ranges", Confidence: tracer.Confirmed, Object: serviceRef(s), Rule: in.ruleFor(d),
		Summary:  fmt.Sprintf("Service %s/%s does not accept %s: its loadBalancerSourceRanges are %s", s.Namespace, s.Name, src, s.SourceRanges),
		Evidence: []tracer.Evidence{in.seenDrop(d), in.seenState("Service", "loadBalancerSourceRanges: %s", s.SourceRanges)},
	}
}

// conntrackBeforeRules: the node has rules for the Service, but this flow of
// datagrams began before them and keeps an entry without translation.
func conntrackBeforeRules(in *Input) *Finding {
	s, r := in.Cluster.Service, in.Node.Services
	if s == nil || r == nil || !s.PortKnown || !r.Complete || !r.HasFrontend || len(r.Targets) == 0 || translatesElsewhere(r) || hasIPVS(r) || in.delivered() {
		return nil
	}
	if in.Journey.Flow.Proto != tracer.ProtoUDP || !in.untranslated() || !in.Journey.CTSeen || !in.wentOn() && !in.pastTranslation(in.cause()) {
		return nil
	}
	f := &Finding{
		Code: "svc-udp-ct-before-rules", Confidence: tracer.Confirmed, Object: serviceRef(s),
		Summary: fmt.Sprintf("a conntrack entry on %s keeps %s to Service %s/%s untranslated: it is older than the Service's rules, which are right",
			in.NodeName, in.Journey.Flow.Src, s.Namespace, s.Name),
		Evidence: []tracer.Evidence{in.seenState(in.NodeName, "the rules of %s translate it to %s", strings.Join(r.Implementations, ", "), r.Targets)},
	}
	in.confirmByPackets(f)
	in.holdToEntry(f, in.Journey.Flow.Dst)
	return f
}

// translatesElsewhere: an implementation whose rules are not read.
func translatesElsewhere(r *tracer.ServiceRules) bool {
	return slices.ContainsFunc(r.Implementations, func(name string) bool {
		switch name {
		case tracer.ProxyCilium, tracer.ProxyCalicoBPF, tracer.ProxyOVN, tracer.ProxyAntrea:
			return true
		}
		return false
	})
}

// hasIPVS: virtual servers translate here. They are read, but whether conntrack
// shows what they do is a setting (net.ipv4.vs.conntrack).
func hasIPVS(r *tracer.ServiceRules) bool {
	return slices.Contains(r.Implementations, tracer.ProxyIPVS)
}

// unallocatedClusterIP: an address of the Service range that no Service has.
func unallocatedClusterIP(in *Input) *Finding {
	c := in.Cluster
	if c.Service != nil || !in.servicesKnown() || !c.InServiceRange || !in.untranslated() || in.delivered() || c.Destination.Kind == tracer.KindPod || c.Destination.Kind == tracer.KindNode {
		return nil
	}
	f := &Finding{
		Code: "svc-clusterip-unallocated", Confidence: tracer.Suspected,
		Summary:  fmt.Sprintf("%s lies in the Service range but no Service has this address", in.Journey.Flow.Dst.Addr()),
		Evidence: []tracer.Evidence{in.seenState("Services", "none with this ClusterIP")},
	}
	in.confirmByPackets(f)
	if f.Confidence == tracer.Confirmed {
		f.Confidence = tracer.Probable // the range is known only from the Services in it
	}
	return f
}

// staleEndpoint: translated to an address that is no endpoint of the Service.
func staleEndpoint(in *Input) *Finding {
	s := in.Cluster.Service
	t, dnat := in.lostTo()
	if s == nil || !s.PortKnown || !dnat || in.delivered() || t.From != in.Journey.Flow.Dst {
		return nil
	}
	if len(s.Endpoints) == 0 && s.Ready > 0 {
		return nil // the data lacks the EndpointSlices
	}
	if in.redirection(t) != nil {
		return nil // it is not the proxy that sent it there
	}
	ev := []tracer.Evidence{in.seenTranslation(t)}
	e := listed(s, t.To)
	switch p := in.Cluster.TargetPod; {
	case e == nil:
	case e.Terminating && p != nil && p.Terminating:
		return in.terminatingEndpoint(e, ev)
	case s.Expected == nil:
		return nil
	case e.Addr != t.To:
		return in.oldPort(s, t, e, ev)
	default:
		return in.notExpected(s, t, e, ev)
	}
	ev = append(ev, in.seenState("EndpointSlice", "%s is not among the %d endpoints of %s/%s", t.To, len(s.Endpoints), s.Namespace, s.Name))
	if d := in.cause(); d != nil {
		ev = append(ev, in.seenDrop(d))
	}
	return in.staleKind(s, t, ev)
}

// lostTo is the translation to where the packets were lost. A connection that could
// not be made is translated anew when it is tried again, to another endpoint
// perhaps, and has failed for its client all the same.
func (in *Input) lostTo() (tracer.Translation, bool) {
	if d := in.cause(); d != nil && d.Direction == tracer.DirRequest {
		for _, t := range in.Journey.Translations {
			if t.Kind == "dnat" && t.To == d.Tuple.Dst {
				return t, true
			}
		}
	}
	return in.translation("dnat")
}

// staleKind tells stale rules from a conntrack entry that outlived them.
func (in *Input) staleKind(s *tracer.ServiceFacts, t tracer.Translation, ev []tracer.Evidence) *Finding {
	f := &Finding{Code: "svc-stale-endpoint", Confidence: tracer.Confirmed, Object: serviceRef(s), Evidence: ev}
	f.Summary = fmt.Sprintf("node %s translates Service %s/%s to %s, which is in no EndpointSlice of it", in.NodeName, s.Namespace, s.Name, t.To)
	if in.Cluster.Stale > 0 {
		f.Confidence = tracer.Probable // the proxy may know more than the data here
		f.Blind = append(f.Blind, tracer.Blind{What: fmt.Sprintf("the cluster data is %s old", in.Cluster.Stale.Round(time.Second)), Effect: "the endpoint may be newer than it"})
	}
	r := in.Node.Services
	if r == nil || !r.Complete || !r.HasFrontend {
		return f
	}
	if mixed(r) {
		f.Code, f.Object = "svc-mixed-backends", in.nodeRef()
		f.Summary = fmt.Sprintf("node %s has Service rules of two kinds (%s), and Service %s/%s was translated to %s, which is in no EndpointSlice of it: one kind is left over and stale",
			in.NodeName, strings.Join(r.Implementations, ", "), s.Namespace, s.Name, t.To)
		return f
	}
	if d := drained(r, t.To); d != nil {
		f.Code = "svc-terminating-endpoint"
		f.Summary = fmt.Sprintf("IPVS on node %s sent a connection to Service %s/%s to %s, which is no endpoint any more and ", in.NodeName, s.Namespace, s.Name, t.To)
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "IPVS: %s has weight 0, %d active and %d inactive connections", d.Addr, d.Active, d.Inactive))
		in.stillSent(f, s, r.IPVS.Persistence)
		return f
	}
	if n := in.keptByAffinity(s, r, t.To); n > 0 {
		in.affinityStale(f, s, t.To, n)
		return f
	}
	if slices.Contains(r.Targets, t.To) {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "the rules of %s still name %s", strings.Join(r.Implementations, ", "), t.To))
		return f
	}
	if in.Journey.Flow.Proto == tracer.ProtoUDP && len(r.Targets) > 0 && !in.madeAnew() {
		in.holdToEntry(f, t.To)
		f.Code = "svc-stale-udp-conntrack"
		f.Summary = fmt.Sprintf("a conntrack entry on %s pins %s to %s, which is no endpoint of Service %s/%s any more; the rules are right",
			in.NodeName, in.Journey.Flow.Src, t.To, s.Namespace, s.Name)
		return f
	}
	f.Confidence = tracer.Probable
	f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "the rules of %s do not name %s any more", strings.Join(r.Implementations, ", "), t.To))
	if in.Journey.Established || in.Journey.Mid {
		f.Code = "svc-terminating-endpoint"
		f.Summary = fmt.Sprintf("the connection through Service %s/%s was made to %s, which went away while it lived", s.Namespace, s.Name, t.To)
	}
	return f
}

// mixed: more than one of kube-proxy's implementations has rules here.
func mixed(r *tracer.ServiceRules) bool {
	var n int
	for _, i := range r.Implementations {
		if kubeProxys(i) {
			n++
		}
	}
	return n > 1
}

// hairpin: a pod that reaches itself through its own Service.
func hairpin(in *Input) *Finding {
	j := in.Journey
	if in.delivered() || j.Flow.Src.Addr() != j.Translated.Dst.Addr() && in.Cluster.Target.IP != j.Flow.Src.Addr() {
		return nil
	}
	if d := in.drop(func(d *tracer.DropSeen) bool { return d.Drop.Location == "br_handle_frame_finish" }); d != nil {
		return in.hairpinOff(d)
	}
	if d := in.drop(func(d *tracer.DropSeen) bool { return d.Drop.Reason == "IP_LOCAL_SOURCE" }); d != nil {
		f := &Finding{
			Code: "svc-hairpin-nomasq", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.SourcePod),
			Summary:  fmt.Sprintf("pod %s reached itself through %s with its own address as source, and refused it: the connection was not masqueraded", in.source(), in.destination()),
			Evidence: []tracer.Evidence{in.seenDrop(d)},
		}
		if s := in.Cluster.Service; s != nil {
			f.Object = serviceRef(s)
		}
		return f
	}
	return in.answeredItself()
}

// hairpinOff: the bridge did not send the frame back by its port. With hairpin mode
// on it drops there for other reasons: a port that is blocked, locked or isolated.
func (in *Input) hairpinOff(d *tracer.DropSeen) *Finding {
	f := &Finding{
		Code: "cni-hairpin-off", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.SourcePod),
		Summary:  fmt.Sprintf("hairpin mode is off on %s: pod %s cannot reach itself through %s", in.where(d.Device), in.source(), in.destination()),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
	p := in.bridgePort(d.Device)
	switch {
	case p == nil:
	case p.Hairpin:
		return nil
	default:
		f.Evidence = append(f.Evidence, in.seenState(in.where(p.Device), "port of %s: hairpin off", p.Bridge))
	}
	return f
}

// answeredItself is a hairpin without masquerade over IPv6, which does not mind
// a packet with the receiver's own source: the pod takes it, answers itself past
// the Service, and its client's socket does not know that answer.
func (in *Input) answeredItself() *Finding {
	j := in.Journey
	t, dnat := in.translation("dnat")
	if _, snat := in.translation("snat"); !dnat || snat || j.Translated.Src != j.Flow.Src {
		return nil
	}
	d := in.drop(func(d *tracer.DropSeen) bool {
		return d.Direction == tracer.DirReply && in.inSource(d.Device) && d.Drop.Stage == tracer.StageSocket && d.Tuple.Src == t.To
	})
	if d == nil {
		return nil
	}
	f := &Finding{
		Code: "svc-hairpin-nomasq", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.SourcePod),
		Summary: fmt.Sprintf("pod %s reached itself through %s with its own address as source, and so answered itself directly: the connection was not masqueraded",
			in.source(), in.destination()),
		Evidence: []tracer.Evidence{in.seenTranslation(t), in.seenDrop(d)},
	}
	if s := in.Cluster.Service; s != nil {
		f.Object = serviceRef(s)
	}
	return f
}

// replyNotTranslated: the answer came back to the client with the endpoint's
// address instead of the one it had asked, and the client reset it.
func replyNotTranslated(in *Input) *Finding {
	f := in.strangeAnswer()
	if z := in.inAnotherZone(f); z != nil || f == nil {
		return z
	}
	j := in.Journey
	t, _ := in.translation("dnat")
	if n := in.counter(in.Inventory.HostNetNS, "conntrack.invalid"); n > 0 {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "conntrack invalid +%d", n))
	}
	key := "net.bridge.bridge-nf-call-iptables"
	if in.family6() {
		key = "net.bridge.bridge-nf-call-ip6tables"
	}
	// A kernel without br_netfilter has no such key; nor has a list that was not read.
	if v, ok := in.Node.Sysctls[key]; (ok && v == "0" || !ok && len(in.Node.Sysctls) > 0) && in.sameBridge() {
		f.Code, f.Object, f.Confidence = "node-bridge-nf-off", in.nodeRef(), tracer.Confirmed
		f.Summary = fmt.Sprintf("%s is not 1 on %s: answers between pods on one bridge bypass conntrack, so %s saw %s instead of %s",
			key, in.NodeName, in.source(), t.To, j.Flow.Dst)
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "%s = %q", key, v))
	}
	return f
}

// strangeAnswer: an answer came to the client with the endpoint's own address, and it
// did not take it.
func (in *Input) strangeAnswer() *Finding {
	j := in.Journey
	t, dnat := in.translation("dnat")
	if !dnat || in.delivered() || in.turnedAway() {
		return nil
	}
	d := in.drop(func(d *tracer.DropSeen) bool {
		return d.Direction == tracer.DirReply && in.inSource(d.Device) && d.Drop.Stage == tracer.StageSocket && d.Tuple.Src == t.To
	})
	arrived := slices.ContainsFunc(j.Hops, func(h tracer.Hop) bool {
		return h.Direction == tracer.DirReply && h.Kind == tracer.EventRX && in.inSource(h.Device) && h.Tuple.Src == t.To && t.To != j.Flow.Dst
	})
	refused := d != nil || j.ClientReset || in.Outcome == tracer.OutcomeNoAnswer && !j.Established
	if d == nil && !arrived || !refused {
		return nil
	}
	f := &Finding{Confidence: tracer.Probable, Code: "svc-conntrack-invalid-rst", Object: in.nodeRef(), Evidence: []tracer.Evidence{in.seenTranslation(t)}}
	if d != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	}
	f.Summary = fmt.Sprintf("the answer reached %s from %s instead of %s: it was not translated back", in.source(), t.To, j.Flow.Dst)
	return f
}

// turnedAway: the request was dropped on this node and nothing of it got further,
// so that whatever answered was not the target.
func (in *Input) turnedAway() bool {
	d := in.cause()
	return d != nil && d.Direction == tracer.DirRequest && !in.Journey.ReachedTarget && !in.Journey.LeftNode
}

func (in *Input) sameBridge() bool {
	s, d := in.Node.SrcPeer, in.Node.DstPeer
	return s != nil && d != nil && s.Master != 0 && s.Master == d.Master && s.NetNS == d.NetNS
}
