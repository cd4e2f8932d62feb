package verdict

import (
	"fmt"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// undecided says what was seen last and what is missing.
func undecided(in *Input) *Finding {
	f := &Finding{Code: tracer.CodeUnknown, Confidence: tracer.Suspected}
	d := in.cause()
	if d != nil {
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	}
	switch {
	case in.unseen() && in.partial():
		f.Summary = fmt.Sprintf("whether packets from %s to %s passed node %s is not known: %s", in.source(), in.destination(), in.NodeName, in.why())
	case in.unseen():
		f.Summary = fmt.Sprintf("no packet from %s to %s was seen on node %s", in.source(), in.destination(), in.NodeName)
	case in.unwatched() && d != nil && d.Count == 1 && !final(in.Journey):
		f.Summary = fmt.Sprintf("one packet from %s to %s was dropped at %s; whether the next one passed is not known: %s", in.source(), in.target(), in.at(d), in.why())
	case in.early() != inTime:
		in.notYet(f, d)
	case d != nil:
		in.unexplainedDrop(f, d)
	default:
		in.unexplained(f)
	}
	if len(in.Journey.Hops) > 0 {
		f.Evidence = append(f.Evidence, in.seenNetwork()...)
	}
	if in.Journey.ReachedTarget && in.lookup() {
		f.Blind = append(f.Blind, in.upstreamUnseen()...)
		f.Evidence = append(f.Evidence, in.seenUpstream()...)
	}
	return f
}

// why packets may have passed unseen.
func (in *Input) why() string {
	if in.Unwatched {
		return "there are devices that take no program to watch them"
	}
	if in.Unheard {
		return "what one of the ends receives passes no tracepoint"
	}
	return "to keep within the budget not every packet was shown"
}

// notYet: the trace ended before the flow could be judged.
func (in *Input) notYet(f *Finding, d *tracer.DropSeen) {
	j := in.Journey
	age := in.Now.Sub(j.First).Round(10 * time.Millisecond)
	f.Summary = fmt.Sprintf("too early to say: the trace ended %s after the first packet from %s to %s, when an answer could still come", age, in.source(), in.destination())
	if d != nil {
		f.Summary = fmt.Sprintf("too early to say: the trace ended %s after the first packet from %s to %s; one was dropped at %s, and it was not seen whether the next try passes",
			age, in.source(), in.destination(), in.at(d))
	}
	f.Blind = append(f.Blind, tracer.Blind{What: "the trace ended " + age.String() + " after the flow began", Effect: "run it for longer: silence needs " + silentTCP.String()})
}

func (in *Input) unexplainedDrop(f *Finding, d *tracer.DropSeen) {
	f.Summary = fmt.Sprintf("packets from %s to %s are dropped at %s (%s@%s), but nothing here explains why",
		in.source(), in.target(), in.at(d), d.Drop.Reason, d.Drop.Location)
	if in.onTheWay(d.Device) {
		in.droppedOnTheWay(f, d)
		return
	}
	if !in.Cluster.Known {
		f.Blind = append(f.Blind, tracer.Blind{What: "no cluster data", Effect: "whether a NetworkPolicy or Service explains the drop cannot be said"})
	} else if !in.policiesKnown() {
		f.Blind = append(f.Blind, tracer.Blind{What: "the cluster's policies could not all be read", Effect: "whether one of them explains the drop cannot be said"})
	}
	if q := in.queueOf(d.Device); q != nil && strings.HasPrefix(d.Drop.Reason, "QDISC_") {
		f.Evidence = append(f.Evidence, in.seenQueue(q))
	}
	if n := in.droppedByConntrack(d); netfilter(d) && n > 0 {
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "conntrack drop +%d", n))
		if count, limit, known := in.tableUse(); known {
			f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "net.netfilter.nf_conntrack_count = %d, nf_conntrack_max = %d: the table is not full", count, limit))
		}
	}
	if r := in.ruleFor(d); r != nil && netfilter(d) {
		f.Rule, f.Evidence = r, append(f.Evidence, seenRule(in, r))
	}
	in.knownReason(f, d)
	if neighbourFailed(d) && in.Cluster.Known && d.Direction == tracer.DirRequest && in.Cluster.TargetPod == nil && in.Cluster.Target.Kind != tracer.KindNode {
		f.Summary = fmt.Sprintf("no pod has the address %s: nobody answers for it on %s", d.Tuple.Dst.Addr(), in.where(d.Device))
	}
}

// knownReason says what a drop's reason means, where no code is for it: why it came to
// that is not to be seen.
func (in *Input) knownReason(f *Finding, d *tracer.DropSeen) {
	where := in.at(d)
	switch ended := in.icmp(func(a *tracer.Answer) bool { return timeExceeded(a) && in.madeHere(a) }); {
	case ended != nil && at(d, "", "ip_forward", "ip6_forward"):
		f.Evidence = append(f.Evidence, in.seenAnswer(ended))
		f.Summary = fmt.Sprintf("the TTL (hop limit) of packets from %s to %s ends at %s: they were sent with too small a one, or have been in a loop that passes by here", in.source(), in.target(), where)
	case strings.HasPrefix(d.Drop.Reason, "XFRM_"):
		f.Summary = fmt.Sprintf("packets from %s to %s are dropped at %s by IPsec (%s): a policy blocks them, or has no state to send them by; ip xfrm policy and ip xfrm state there tell which", in.source(), in.target(), where, d.Drop.Reason)
	case at(d, "IP_RPFILTER") && (in.inSource(d.Device) || in.inTarget(d.Device)):
		f.Summary = fmt.Sprintf("rp_filter inside the pod drops packets from %s to %s at %s: the pod's own route back to %s leaves by another interface", in.source(), in.target(), where, d.Tuple.Src.Addr())
		if r := in.route("dst-pod"); in.inTarget(d.Device) && r != nil && r.Dev != "" && r.Dst == d.Tuple.Src.Addr() {
			f.Evidence = append(f.Evidence, in.seenState(in.target(), "FIB look-up for %s: %s dev %s", r.Dst, r.Prefix, r.Dev))
		}
	}
}

// droppedOnTheWay: in the namespace of a pod that is neither end. Whether it was
// meant to pass the packets on is its own affair.
func (in *Input) droppedOnTheWay(f *Finding, d *tracer.DropSeen) {
	who := "a namespace that is neither the node's nor one of the ends' (a gateway, a VPN, a node in a container)"
	if b := in.bystander(d.Device); b != nil {
		who = fmt.Sprintf("pod %s/%s, which is neither end", b.Namespace, b.Name)
		f.Object = &tracer.Ref{Kind: "Pod", Namespace: b.Namespace, Name: b.Name}
	}
	f.Summary = fmt.Sprintf("packets from %s to %s are dropped inside %s: at %s (%s@%s)", in.source(), in.target(), who, in.at(d), d.Drop.Reason, d.Drop.Location)
	if r := in.ruleFor(d); r != nil && netfilter(d) {
		seen := seenRule(in, r)
		seen.Where = in.where(d.Device)
		f.Rule, f.Evidence = r, append(f.Evidence, seen)
	}
}

func (in *Input) unexplained(f *Finding) {
	j := in.Journey
	if a := in.ending(); a != nil {
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
		f.Summary = fmt.Sprintf("the connection from %s to %s ended with a %s, first seen at %s; nothing here says why",
			in.source(), in.destination(), answerText(a), in.where(a.Device))
		return
	}
	switch {
	case in.turnedBack() != nil:
		d := in.turnedBack()
		f.Evidence = append(f.Evidence, in.seenDrop(d))
		f.Summary = fmt.Sprintf("an answer of %s came back to the node's own address %s and was not translated back to %s: node %s has no such connection, and refused it",
			in.target(), d.Tuple.Dst, in.source(), in.NodeName)
	case in.Outcome == tracer.OutcomeReset && j.ClientReset:
		f.Summary = fmt.Sprintf("%s itself reset the connection to %s while it was being set up; nothing here says why", in.source(), in.destination())
	case in.Outcome == tracer.OutcomeNoAnswer && len(j.Answers) > 0:
		a := &j.Answers[len(j.Answers)-1]
		f.Evidence = append(f.Evidence, in.seenAnswer(a))
		f.Summary = fmt.Sprintf("an answer to %s came back (%s, at %s), but the exchange did not go on; no drop was recorded", in.source(), answerText(a), in.where(a.Device))
	case in.Outcome == tracer.OutcomeConnectedNoData:
		f.Summary = fmt.Sprintf("%s connected to %s, but no data came back; nothing here explains why", in.source(), in.destination())
	case j.ReachedTarget:
		f.Summary = fmt.Sprintf("packets from %s reached %s, which did not answer; nothing here explains why", in.source(), in.target())
	default:
		f.Summary = fmt.Sprintf("packets from %s to %s were last seen %s, and not after; no drop was recorded", in.source(), in.destination(), in.lastSeen())
		f.Evidence = append(f.Evidence, in.seenEnd(tracer.DirRequest)...)
	}
}

// ending is the RST or ICMP error that ended the flow.
func (in *Input) ending() *tracer.Answer {
	switch in.Outcome {
	case tracer.OutcomeRefused, tracer.OutcomeReset, tracer.OutcomeResetMidFlow, tracer.OutcomeICMPError:
	default:
		return nil
	}
	if a := in.answer(tracer.AnswerRST); a != nil {
		return a
	}
	return in.icmp(fatal)
}

// lastSeen is the last place of the request.
func (in *Input) lastSeen() string {
	last := "nowhere"
	for i := range in.Journey.Hops {
		if h := &in.Journey.Hops[i]; h.Direction == tracer.DirRequest {
			last = fmt.Sprintf("%s at %s", h.Kind, in.where(h.Device))
		}
	}
	return last
}

// turnedBack is the drop of an answer for which the node found no socket of its own:
// it was masqueraded, and conntrack did not know it again.
func (in *Input) turnedBack() *tracer.DropSeen {
	left := in.Journey.LeftAs.Src
	return in.drop(func(d *tracer.DropSeen) bool {
		return d.Direction == tracer.DirReply && d.Drop.Stage == tracer.StageSocket && in.onHost(d.Device) && d.Tuple.Dst == left && left.Addr() != in.Journey.Flow.Src.Addr()
	})
}
