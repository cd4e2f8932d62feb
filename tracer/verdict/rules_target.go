package verdict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// refusal is the answer of a target that has no socket: an RST, or an ICMP port
// unreachable from the very address that was asked.
func (in *Input) refusal() *tracer.Answer {
	if in.Outcome != tracer.OutcomeRefused {
		return nil
	}
	t := in.Journey.Translated.Dst.Addr()
	if a := in.answer(tracer.AnswerRST); a != nil {
		return a
	}
	return in.icmp(func(a *tracer.Answer) bool {
		return portUnreachable(a) && (a.From == t || a.From == in.Journey.Flow.Dst.Addr()) && in.Journey.Flow.Proto != tracer.ProtoTCP
	})
}

// refusedHere: the packet reached its target on this node and the kernel there
// found no socket.
func refusedHere(in *Input) *Finding {
	a := in.refusal()
	noSocket := in.drop(func(d *tracer.DropSeen) bool {
		return d.Direction == tracer.DirRequest && d.Drop.Reason == "NO_SOCKET" && d.Drop.Location != "cookie_v4_check"
	})
	if a == nil || !in.targetHere() || !in.Journey.ReachedTarget && noSocket == nil && !in.inTarget(a.Device) {
		return nil
	}
	f := &Finding{Confidence: tracer.Probable, Object: podRef(in.Cluster.TargetPod), Evidence: []tracer.Evidence{in.seenAnswer(a)}}
	if noSocket != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(noSocket))
	}
	if in.Node.ListenersRead {
		f.Confidence = tracer.Confirmed
	}
	f.Code, f.Summary = in.whyRefused(f)
	if f.Confidence == tracer.Suspected && noSocket == nil && in.cause() != nil {
		return nil // somebody listens, and what dropped the packets answered for it
	}
	return f
}

// duplicateIP: two namespaces of this node own the target's address, and the one
// that was not meant refused.
func duplicateIP(in *Input) *Finding {
	a := in.refusal()
	if a == nil || in.Cluster.TargetPod == nil || in.Cluster.TargetPod.HostNetwork {
		return nil
	}
	dst := in.Journey.Translated.Dst.Addr()
	owners := map[uint32]bool{}
	for i := range in.Inventory.Devices {
		d := &in.Inventory.Devices[i]
		if !in.onHost(d.DeviceKey) && slices.ContainsFunc(d.Addrs, func(p netip.Prefix) bool { return p.Addr() == dst }) {
			owners[d.NetNS] = true
		}
	}
	if len(owners) < 2 || !owners[a.Device.NetNS] && in.onHost(a.Device) && a.Hook == tracer.EventTX {
		return nil
	}
	return &Finding{
		Code: "cni-duplicate-ip", Confidence: tracer.Probable, Object: podRef(in.Cluster.TargetPod),
		Summary:  fmt.Sprintf("%d pods of node %s have the address %s; which of them refused %s is not certain", len(owners), in.NodeName, dst, in.targetPort()),
		Evidence: []tracer.Evidence{in.seenAnswer(a), in.seenState(in.NodeName, "%d network namespaces own %s", len(owners), dst)},
	}
}

// whyRefused tells a wrong targetPort, a loopback-only listener and a missing
// process apart by the sockets in the target's namespace and by the ports that
// the pod declares.
func (in *Input) whyRefused(f *Finding) (code, summary string) {
	port, proto := in.Journey.Translated.Dst.Port(), in.Journey.Flow.Proto
	var loopback *tracer.Listener
	var others, astray []string
	var elsewhere []uint16
	for i := range in.Node.Listeners {
		l := &in.Node.Listeners[i]
		if l.Proto != proto {
			continue
		}
		switch {
		case l.Addr.Port() != port:
			if !l.Addr.Addr().IsLoopback() {
				others = append(others, l.Addr.String())
				elsewhere = append(elsewhere, l.Addr.Port())
			}
		case l.Addr.Addr().IsLoopback():
			loopback = l
		case !takes(l, in.Journey.Translated.Dst.Addr()):
			astray = append(astray, l.Addr.String())
		default:
			f.Confidence = tracer.Suspected
			f.Evidence = append(f.Evidence, in.seenState(in.target(), "%s listens now", l.Addr))
		}
	}
	slices.Sort(others)
	others = slices.Compact(others)
	where := in.target()
	what := "pod " + where
	if in.onHost(in.Journey.DstDevice) {
		what = where
		if f.Object == nil {
			f.Object = in.nodeRef()
		}
	}
	if loopback != nil {
		f.Evidence = append(f.Evidence, in.seenState(where, "listens on %s only", loopback.Addr))
		return "app-localhost-only", fmt.Sprintf("%s listens for %s on %s only, which others cannot reach", what, in.targetPort(), loopback.Addr.Addr())
	}
	if in.Node.ListenersRead {
		f.Evidence = append(f.Evidence, in.seenState(where, "no socket for %s; listening: %s", in.targetPort(), orNone(others)))
	}
	if s := in.Cluster.Service; s != nil && in.wrongTargetPort(elsewhere, in.Node.ListenersRead) {
		f.Object = serviceRef(s)
		return "svc-wrong-targetport", fmt.Sprintf("Service %s/%s sends port %d to targetPort %s of pod %s, where nothing listens; the pod listens on %s%s",
			s.Namespace, s.Name, s.Port, s.TargetPort, where, orNone(others), in.declared())
	}
	tail := ""
	if len(astray) > 0 {
		tail = fmt.Sprintf(" at %s: what listens there takes other addresses only (%s)", in.Journey.Translated.Dst.Addr(), strings.Join(astray, ", "))
	}
	if in.asksClusterDNS() {
		code, why := in.refusing(f)
		return code, fmt.Sprintf("%s is an endpoint of the cluster DNS Service, but nothing listens on %s%s", what, in.targetPort(), tail) + why
	}
	if p := in.Cluster.TargetPod; p != nil && (!p.Ready || p.Restarts > 0) {
		f.Evidence = append(f.Evidence, in.seenState(where, "%s", health(p)))
	}
	return "app-no-listener", fmt.Sprintf("%s is reachable, but nothing listens on %s%s", what, in.targetPort(), tail)
}

// takes: the socket takes what is sent to an address.
func takes(l *tracer.Listener, dst netip.Addr) bool {
	at := l.Addr.Addr()
	switch {
	case !at.IsUnspecified():
		return at == dst
	case at.Is4():
		return dst.Is4()
	}
	return dst.Is6() || !l.V6Only
}

// health is how a pod's containers do.
func health(p *tracer.PodFacts) string {
	if p.Ready {
		return fmt.Sprintf("the pod is Ready, and its containers were restarted %d times", p.Restarts)
	}
	return fmt.Sprintf("the pod is not Ready, and its containers were restarted %d times", p.Restarts)
}

// wrongTargetPort: the pod serves another port than the Service sends to, and not
// none. A declared port only informs (ContainerPort in core/v1), and a proxy that was
// injected declares and serves its own: what speaks for it is that the application
// listens elsewhere, or is well and declares others. elsewhere are the other ports on
// which the pod listens, if they were read.
func (in *Input) wrongTargetPort(elsewhere []uint16, read bool) bool {
	p := in.Cluster.TargetPod
	if p == nil || in.untranslated() || in.declares(p) {
		return false
	}
	elsewhere = slices.DeleteFunc(slices.Clone(elsewhere), ofSidecar)
	var declared []uint16
	for _, c := range p.Ports {
		if c.Proto == in.Journey.Flow.Proto && !ofSidecar(c.Port) {
			declared = append(declared, c.Port)
		}
	}
	switch {
	case !p.Ready: // it may be about to listen, or have stopped
		return slices.ContainsFunc(elsewhere, func(n uint16) bool { return slices.Contains(declared, n) })
	case len(elsewhere) > 0:
		return true
	}
	return len(declared) > 0 && (p.Restarts == 0 || !read)
}

// ofSidecar: a port of a proxy that is injected into pods (Istio's and Linkerd's
// documentation of the ports that they use).
func ofSidecar(port uint16) bool {
	switch port {
	case 15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090:
		return true
	case 4140, 4143, 4190, 4191:
		return true
	}
	return false
}

// declares: the pod declares the port that it is asked on.
func (in *Input) declares(p *tracer.PodFacts) bool {
	return slices.ContainsFunc(p.Ports, func(c tracer.ContainerPort) bool {
		return c.Port == in.Journey.Translated.Dst.Port() && c.Proto == in.Journey.Flow.Proto
	})
}

func (in *Input) declared() string {
	p := in.Cluster.TargetPod
	if p == nil || len(p.Ports) == 0 {
		return ""
	}
	var s []string
	for _, c := range p.Ports {
		s = append(s, portOf(c.Proto, c.Port))
	}
	return " and declares " + strings.Join(s, ", ")
}

func orNone(s []string) string {
	if len(s) == 0 {
		return "nothing"
	}
	return strings.Join(s, ", ")
}

// podNoRouteBack: the request arrived in the pod and the pod could not route an
// answer. The kernel frees nothing here: counters and the pod's FIB tell.
func podNoRouteBack(in *Input) *Finding {
	j := in.Journey
	if !j.ReachedTarget || in.Outcome != tracer.OutcomeNoAnswer || has(j, tracer.AnswerSynAck) || has(j, tracer.AnswerReply) || in.cause() != nil {
		return nil
	}
	r := in.route("dst-pod")
	n := in.counter(j.DstDevice.NetNS, "IpOutNoRoutes") + in.counter(j.DstDevice.NetNS, "Ip6OutNoRoutes")
	none := r != nil && leadsNowhere(r)
	if !none && (n == 0 || r != nil) || !in.targetHere() || in.onHost(j.DstDevice) {
		return nil // with a route there, the counter speaks of other packets
	}
	f := &Finding{
		Code: "cni-pod-no-default-route", Confidence: tracer.Probable, Object: podRef(in.Cluster.TargetPod),
		Summary:  fmt.Sprintf("pod %s received the packets but has no route back to %s", in.target(), j.Translated.Src.Addr()),
		Evidence: []tracer.Evidence{in.seenState(in.target(), "received the request, sent no answer")},
	}
	if none {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(in.target(), "FIB look-up for %s: %s", r.Dst, wayNowhere(r)))
	}
	if n > 0 {
		f.Evidence = append(f.Evidence, in.seenState(in.target(), "OutNoRoutes +%d", n))
	}
	return f
}

// listenOverflow: the accept queue is full; the kernel drops the SYN silently.
func listenOverflow(in *Input) *Finding {
	j := in.Journey
	d := in.drop(func(d *tracer.DropSeen) bool { return d.Drop.Reason == "TCP_LISTEN_OVERFLOW" })
	n := in.counter(j.DstDevice.NetNS, "TcpExtListenOverflows")
	silent := j.ReachedTarget && in.targetHere() && in.Outcome == tracer.OutcomeNoAnswer && !has(j, tracer.AnswerSynAck) &&
		j.Flow.Proto == tracer.ProtoTCP && in.cause() == nil
	if d == nil && (n == 0 || !silent) || in.delivered() {
		return nil
	}
	f := &Finding{
		Code: "app-listen-overflow", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.TargetPod),
		Summary: fmt.Sprintf("the accept queue of pod %s on %s is full: the application does not accept connections fast enough", in.target(), in.targetPort()),
	}
	if d != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	}
	if n > 0 {
		f.Evidence = append(f.Evidence, in.seenState(in.target(), "ListenOverflows +%d", n))
	}
	if d == nil {
		f.Confidence = tracer.Probable // the counter is the namespace's, for all its sockets
	}
	for _, l := range in.Node.Listeners {
		if l.Addr.Port() == j.Translated.Dst.Port() && l.Backlog > 0 {
			if l.Queue >= l.Backlog {
				f.Confidence = tracer.Confirmed
			}
			f.Evidence = append(f.Evidence, in.seenState(in.target(), "accept queue %d of %d on %s", l.Queue, l.Backlog, l.Addr))
		}
	}
	return f
}

// receiveBuffer: the target's socket buffer is full.
func receiveBuffer(in *Input) *Finding {
	d := in.drop(func(d *tracer.DropSeen) bool {
		full := d.Drop.Reason == "SOCKET_RCVBUFF" ||
			unnamed(d, "udp_queue_rcv_one_skb", "udpv6_queue_rcv_one_skb") && in.receiveErrors(d.Device.NetNS) > 0
		return full && d.Direction == tracer.DirRequest && d.Count >= 2
	})
	if c := in.cause(); d == nil || in.delivered() || c != nil && graver(c, d) {
		return nil
	}
	f := &Finding{
		Code: "app-udp-rcvbuf", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.TargetPod),
		Summary:  fmt.Sprintf("the receive buffer of pod %s on %s is full: the application does not read fast enough", in.target(), in.targetPort()),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
	if p := in.Cluster.TargetPod; p != nil && p.DNS {
		f.Code = "dns-throttled"
		f.Summary = fmt.Sprintf("DNS pod %s does not take queries as fast as they come: its receive buffer on %s is full", in.target(), in.targetPort())
	}
	return f
}

// receiveErrors counts datagrams that found a full buffer.
func (in *Input) receiveErrors(netns uint32) uint64 {
	return in.counter(netns, "UdpRcvbufErrors") + in.counter(netns, "Udp6RcvbufErrors")
}

// connectedNoData: the connection stands, the request arrived, nothing comes back.
func connectedNoData(in *Input) *Finding {
	if in.Outcome != tracer.OutcomeConnectedNoData || in.cause() != nil || !in.Journey.ReachedTarget || !in.targetHere() {
		return nil
	}
	return &Finding{
		Code: "app-hang", Confidence: tracer.Probable, Object: podRef(in.Cluster.TargetPod),
		Summary: fmt.Sprintf("pod %s accepted the connection and took %d bytes, but has sent no data for %s",
			in.target(), in.Journey.RequestBytes, in.Now.Sub(in.Journey.Last).Round(1e8)),
		Evidence: []tracer.Evidence{in.seenState(in.target(), "handshake complete, request delivered, no payload back")},
	}
}

// resetByApplication: an RST that the target's own namespace made after the
// connection was up.
func resetByApplication(in *Input) *Finding {
	a := in.answer(tracer.AnswerRST)
	if a == nil || in.Outcome != tracer.OutcomeReset && in.Outcome != tracer.OutcomeResetMidFlow || !in.targetHere() {
		return nil
	}
	if !in.Journey.Established || in.onHost(in.Journey.DstDevice) || a.From != in.Journey.Translated.Dst.Addr() && a.From != in.Journey.Flow.Dst.Addr() {
		return nil
	}
	return &Finding{
		Code: "app-reset", Confidence: tracer.Probable, Object: podRef(in.Cluster.TargetPod),
		Summary:  fmt.Sprintf("pod %s reset the connection after accepting it", in.target()),
		Evidence: []tracer.Evidence{in.seenAnswer(a)},
	}
}
