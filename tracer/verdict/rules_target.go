package verdict

import (
	"fmt"
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
	return f
}

// whyRefused tells a wrong targetPort, a loopback-only listener and a missing
// process apart by the sockets in the target's namespace and by the ports that
// the pod declares.
func (in *Input) whyRefused(f *Finding) (code, summary string) {
	port, proto := in.Journey.Translated.Dst.Port(), in.Journey.Flow.Proto
	var loopback *tracer.Listener
	var others []string
	for i := range in.Node.Listeners {
		l := &in.Node.Listeners[i]
		if l.Proto != proto {
			continue
		}
		switch {
		case l.Addr.Port() != port:
			if !l.Addr.Addr().IsLoopback() {
				others = append(others, l.Addr.String())
			}
		case l.Addr.Addr().IsLoopback():
			loopback = l
		default:
			f.Confidence = tracer.Suspected
			f.Evidence = append(f.Evidence, in.seenState(in.target(), "%s listens now", l.Addr))
		}
	}
	slices.Sort(others)
	others = slices.Compact(others)
	where := in.target()
	if loopback != nil {
		f.Evidence = append(f.Evidence, in.seenState(where, "listens on %s only", loopback.Addr))
		return "app-localhost-only", fmt.Sprintf("pod %s listens for %s on %s only, which other pods cannot reach", where, in.targetPort(), loopback.Addr.Addr())
	}
	if in.Node.ListenersRead {
		f.Evidence = append(f.Evidence, in.seenState(where, "no socket for %s; listening: %s", in.targetPort(), orNone(others)))
	}
	if s := in.Cluster.Service; s != nil && in.wrongTargetPort(len(others) > 0) {
		f.Object = serviceRef(s)
		return "svc-wrong-targetport", fmt.Sprintf("Service %s/%s sends port %d to targetPort %s of pod %s, where nothing listens; the pod listens on %s%s",
			s.Namespace, s.Name, s.Port, s.TargetPort, where, orNone(others), in.declared())
	}
	return "app-no-listener", fmt.Sprintf("pod %s is reachable, but nothing listens on %s", where, in.targetPort())
}

// wrongTargetPort: the Service's target port is not one that the pod declares;
// for a pod that declares none, another listening port is the sign.
func (in *Input) wrongTargetPort(listensElsewhere bool) bool {
	p := in.Cluster.TargetPod
	if p == nil || in.untranslated() {
		return false
	}
	if len(p.Ports) == 0 {
		return listensElsewhere
	}
	return !slices.ContainsFunc(p.Ports, func(c tracer.ContainerPort) bool {
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
	none := r != nil && (r.Type == "none" || r.Type == "unreachable")
	if !none && n == 0 || !in.targetHere() || in.onHost(j.DstDevice) {
		return nil
	}
	f := &Finding{
		Code: "cni-pod-no-default-route", Confidence: tracer.Probable, Object: podRef(in.Cluster.TargetPod),
		Summary:  fmt.Sprintf("pod %s received the packets but has no route back to %s", in.target(), j.Translated.Src.Addr()),
		Evidence: []tracer.Evidence{in.seenState(in.target(), "received the request, sent no answer")},
	}
	if none {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(in.target(), "FIB look-up for %s: no route", r.Dst))
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
	silent := j.ReachedTarget && in.targetHere() && in.Outcome == tracer.OutcomeNoAnswer && !has(j, tracer.AnswerSynAck)
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
	for _, l := range in.Node.Listeners {
		if l.Addr.Port() == j.Translated.Dst.Port() && l.Backlog > 0 {
			f.Evidence = append(f.Evidence, in.seenState(in.target(), "accept queue %d of %d on %s", l.Queue, l.Backlog, l.Addr))
		}
	}
	return f
}

// receiveBuffer: the target's socket buffer is full.
func receiveBuffer(in *Input) *Finding {
	d := in.drop(func(d *tracer.DropSeen) bool {
		return d.Drop.Reason == "SOCKET_RCVBUFF" && d.Direction == tracer.DirRequest && d.Count >= 2
	})
	if d == nil || in.delivered() {
		return nil
	}
	return &Finding{
		Code: "app-udp-rcvbuf", Confidence: tracer.Confirmed, Object: podRef(in.Cluster.TargetPod),
		Summary:  fmt.Sprintf("the receive buffer of pod %s on %s is full: the application does not read fast enough", in.target(), in.targetPort()),
		Evidence: []tracer.Evidence{in.seenDrop(d)},
	}
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
