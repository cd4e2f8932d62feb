package verdict

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// upstreamWait is how long a DNS server waits for another one before it tries
// again or gives up (CoreDNS's forward: 2 s).
const upstreamWait = 2 * time.Second

// gaveUp is the least that a server waits for another one.
const gaveUp = 500 * time.Millisecond

// upstreamSilent: the query reached a DNS pod, which asked others, in vain, and
// has not answered either.
func upstreamSilent(in *Input) *Finding {
	l, p := in.Journey.Lookup, in.Cluster.TargetPod
	if l == nil || l.Answered == l.Asked || in.Outcome != tracer.OutcomeNoAnswer || p == nil || !p.DNS || !in.Journey.ReachedTarget || in.cause() != nil {
		return nil
	}
	if !in.upstreamFailed() || in.Now.Sub(in.Journey.Upstream[0].First) < upstreamWait {
		return nil
	}
	f := &Finding{Object: podRef(p), Evidence: []tracer.Evidence{in.seenState(in.target(), "%s", lookupText(l))}}
	in.unreachable(f, "does not answer")
	return f
}

// upstreamFailed: whomever the DNS server asked for its client, nobody answered.
func (in *Input) upstreamFailed() bool {
	u := in.Journey.Upstream
	return len(u) > 0 && !slices.ContainsFunc(u, func(u tracer.Upstream) bool { return !u.Failed() })
}

// upstreamToBlame: the answer is a failure because those that were asked failed.
// A server that gave up at once did not wait for them, unless they refused.
func (in *Input) upstreamToBlame(l *tracer.Lookup) bool {
	refused := slices.ContainsFunc(in.Journey.Upstream, func(u tracer.Upstream) bool { return u.Refused })
	return in.upstreamFailed() && (refused || l.Slowest >= gaveUp)
}

// unreachable fills in that a DNS server cannot reach those that it asks; answer
// is what its client gets of it. Whose question it was is told by the time only, so
// that it is never certain.
func (in *Input) unreachable(f *Finding, answer string) {
	f.Code, f.Confidence = "dns-upstream-unreachable", tracer.Probable
	why := "it gets no answer itself from "
	if slices.ContainsFunc(in.Journey.Upstream, func(u tracer.Upstream) bool { return u.Refused }) {
		why = "it is refused itself by "
	}
	f.Summary = fmt.Sprintf("%s %s, because %s%s; the path from %s to it is fine", in.resolver(), answer, why, in.upstreams(), in.source())
	f.Evidence = append(f.Evidence, in.seenUpstream()...)
	f.Blind = append(f.Blind, in.upstreamUnseen()...)
	if v := in.Behind; v != nil {
		in.because(f, v)
	}
}

// because takes over why the DNS server's own lookup failed, if that is certain
// and something of the cluster or the node; else it stands beside. That it is why
// this client's failed is no more than probable.
func (in *Input) because(f *Finding, v *tracer.Verdict) {
	switch v.Component {
	case tracer.ComponentNone, tracer.ComponentUnknown:
		return
	case tracer.ComponentPolicy, tracer.ComponentCNI, tracer.ComponentNode, tracer.ComponentEgress, tracer.ComponentKubeProxy, tracer.ComponentService:
		if v.Confidence == tracer.Confirmed && v.Code != tracer.CodeBeyondNode {
			f.Summary = fmt.Sprintf("%s gets no answer from %s, so that lookups of %s fail: %s", in.resolver(), in.upstreams(), in.source(), v.Summary)
			f.Code, f.Object, f.Rule, f.Remedy = v.Code, v.Object, v.Rule, v.Remedy
			f.Evidence = append(f.Evidence, v.Evidence...)
			return
		}
	}
	f.Also = append(f.Also, tracer.AlsoSeen{Component: v.Component, Code: v.Code, Why: v.Summary})
}

// upstreams names those that the DNS server asked.
func (in *Input) upstreams() string {
	var names []string
	for i := range in.Journey.Upstream {
		u := &in.Journey.Upstream[i]
		names = append(names, fmt.Sprintf("%s (%s)", u.Resolver, tracer.ProtoName(u.Proto)))
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// seenUpstream is what the DNS server asked of others, as evidence.
func (in *Input) seenUpstream() []tracer.Evidence {
	var list []tracer.Evidence
	for i := range in.Journey.Upstream {
		u := &in.Journey.Upstream[i]
		list = append(list, tracer.Evidence{Time: u.First, Where: in.target(), What: "meanwhile it asked " + upstreamText(u)})
	}
	return list
}

func upstreamText(u *tracer.Upstream) string {
	who := fmt.Sprintf("%s over %s", u.Resolver, tracer.ProtoName(u.Proto))
	switch {
	case u.Unshown && u.Asked == 0:
		return who + " on a socket that it had before: its single questions are not followed"
	case u.Refused && u.Answered == 0:
		return fmt.Sprintf("%s %s, and was refused", who, howOften(u.Asked))
	case u.Answered == 0:
		return fmt.Sprintf("%s %s, without an answer", who, howOften(u.Asked))
	case u.Proto == tracer.ProtoTCP:
		return who + ", and was connected"
	}
	return fmt.Sprintf("%s %s, %d answered: %s, slowest after %s", who, howOften(u.Asked), u.Answered, tracer.RCodeName(u.RCode), inShort(u.Slowest))
}

func howOften(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// failingUpstream is the server that passed its own failure on, nil if none did.
func (in *Input) failingUpstream() *tracer.Upstream {
	for i := range in.Journey.Upstream {
		if u := &in.Journey.Upstream[i]; u.Answered > 0 && u.RCode != tracer.RCodeNoError && u.RCode != tracer.RCodeNXDomain {
			return u
		}
	}
	return nil
}

// slowUpstream is the server for which the DNS server had to wait.
func (in *Input) slowUpstream() *tracer.Upstream {
	for i := range in.Journey.Upstream {
		if u := &in.Journey.Upstream[i]; u.Slowest >= slowLookup {
			return u
		}
	}
	return nil
}

// upstreamUnseen says what is not known of what a DNS server asked of others.
func (in *Input) upstreamUnseen() []tracer.Blind {
	if len(in.Journey.Upstream) > 0 {
		return []tracer.Blind{{What: fmt.Sprintf("for whom %s asked its upstream: names are not read", in.target()),
			Effect: fmt.Sprintf("that it was for %s is told by the time only; another client's question looks the same", in.source())}}
	}
	p := in.Cluster.TargetPod
	if p == nil || !p.DNS {
		return nil
	}
	who := p.Namespace + "/" + p.Name
	switch {
	case p.Node != in.NodeName && p.Node != "":
		return []tracer.Blind{{What: fmt.Sprintf("DNS pod %s runs on node %s", who, p.Node),
			Effect: "what it asks of its upstream is seen there only: run this trace on that node as well"}}
	case !in.Followed:
		return []tracer.Blind{{What: fmt.Sprintf("what DNS pod %s asks of its upstream was not followed", who),
			Effect: fmt.Sprintf("why it fails is not known: podpath trace --from %s/pod/%s --to any:53", p.Namespace, p.Name)}}
	}
	return []tracer.Blind{{What: fmt.Sprintf("no question of DNS pod %s to a server outside was seen on ports 53 and 853 meanwhile", who),
		Effect: "what it rests on is its own zones, its cache, the API server, or an upstream inside the cluster"}}
}

// tcpRefused: DNS is fine over UDP, and refused over TCP, which answers need that
// do not fit.
func tcpRefused(in *Input) *Finding {
	a := in.refusal()
	if a == nil || !in.answeredOverUDP() {
		return nil
	}
	f := in.tcpBlocked("refuses TCP")
	f.Evidence = append(f.Evidence, in.seenAnswer(a))
	if in.targetHere() && in.Node.ListenersRead && !in.listens() {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenState(in.target(), "no socket for %s", in.targetPort()))
	}
	return f
}

// listens: a socket of the target listens on the port that was asked.
func (in *Input) listens() bool {
	return slices.ContainsFunc(in.Node.Listeners, func(l tracer.Listener) bool {
		return l.Proto == in.Journey.Flow.Proto && l.Addr.Port() == in.Journey.Translated.Dst.Port()
	})
}

// tcpSilent: DNS is fine over UDP, and there is no answer over TCP.
func tcpSilent(in *Input) *Finding {
	if !in.answeredOverUDP() || in.Outcome != tracer.OutcomeNoAnswer || in.cause() != nil || len(in.Journey.Answers) > 0 {
		return nil
	}
	f := in.tcpBlocked("does not answer over TCP: what drops it lets UDP through")
	if in.Journey.LeftNode {
		f.Evidence = append(f.Evidence, in.seenLeft())
		f.Blind = append(f.Blind, tracer.Blind{What: "what happens to the packets after they left node " + in.NodeName, Effect: "who drops them is not known"})
	}
	return f
}

func (in *Input) answeredOverUDP() bool {
	return in.Journey.OverUDP != nil && in.Journey.OverUDP.Answered > 0
}

func (in *Input) tcpBlocked(how string) *Finding {
	return &Finding{
		Code: "dns-tcp-blocked", Confidence: tracer.Probable, Object: podRef(in.Cluster.TargetPod),
		Summary:  fmt.Sprintf("%s answers %s over UDP and %s; answers that do not fit into a datagram are lost", in.resolver(), in.source(), how),
		Evidence: []tracer.Evidence{in.seenState(in.target(), "over UDP: %s", lookupText(in.Journey.OverUDP))},
	}
}

// seenLookup is whom the client asked, and why by TCP, as evidence for whatever
// became of a lookup.
func (in *Input) seenLookup() []tracer.Evidence {
	j := in.Journey
	if !in.lookup() || len(j.Hops) == 0 {
		return nil
	}
	list := []tracer.Evidence{{Time: j.First, Where: in.source(), What: "asked " + in.asked()}}
	if j.OverUDP != nil && j.OverUDP.Truncated {
		list = append(list, in.seenState(in.source(), "the answer over UDP was truncated, so that it asked again over TCP"))
	}
	return list
}

// asked says which resolver it was, and to whom the question was handed on.
func (in *Input) asked() string {
	j := in.Journey
	var s string
	switch c := in.Cluster; {
	case in.nodeLocal():
		s = fmt.Sprintf("the node's own DNS cache, %s", j.Flow.Dst)
	case c.Destination.Kind == tracer.KindService:
		s = fmt.Sprintf("%s, %s", in.destination(), j.Flow.Dst)
	case c.TargetPod != nil && c.TargetPod.DNS:
		s = fmt.Sprintf("DNS pod %s, %s", in.target(), j.Flow.Dst)
	default:
		s = fmt.Sprintf("the resolver %s", j.Flow.Dst)
	}
	if j.Translated.Dst == j.Flow.Dst {
		return s
	}
	return fmt.Sprintf("%s, translated to %s (%s)", s, j.Translated.Dst, in.target())
}

// allowResolver is what to do about a policy that keeps a pod from a resolver
// outside.
func (in *Input) allowResolver(policy tracer.Ref) []string {
	to := in.Journey.Flow.Dst.Addr()
	return []string{
		fmt.Sprintf("allow it in %s/%s: an egress rule to ipBlock %s/%d, port 53, UDP and TCP", policy.Namespace, policy.Name, to, to.BitLen()),
		fmt.Sprintf("kubectl -n %s edit networkpolicy %s", policy.Namespace, policy.Name),
	}
}
