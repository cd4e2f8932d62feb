package verdict

import (
	"fmt"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

const dnsPort = 53

// lookup: the flow asks DNS.
func (in *Input) lookup() bool { return in.Journey.Flow.Dst.Port() == dnsPort }

// asksClusterDNS: what is asked is the cluster's DNS: its Service on the port for
// lookups (it has others, as for metrics), or one of its pods directly, on a port
// that the pod declares.
func (in *Input) asksClusterDNS() bool {
	if s := in.Cluster.Service; s != nil {
		return s.DNS && (s.Port == dnsPort || strings.HasPrefix(s.PortName, "dns"))
	}
	p := in.Cluster.TargetPod
	return p != nil && p.DNS && in.lookup() && (len(p.Ports) == 0 || in.declares(p))
}

// standing says whether the cluster still counts on a pod of its DNS.
func (in *Input) standing(p *tracer.PodFacts) string {
	ready := "not Ready"
	if p.Ready {
		ready = "Ready"
	}
	s := in.Cluster.Service
	if s == nil {
		return fmt.Sprintf("pod %s/%s is %s", p.Namespace, p.Name, ready)
	}
	return fmt.Sprintf("pod %s/%s is %s; %d of %d endpoints of Service %s/%s are ready",
		p.Namespace, p.Name, ready, readyEndpoints(s), len(s.Endpoints), s.Namespace, s.Name)
}

// nodeLocal: what is asked is the cache on the node itself, by a link-local
// address (NodeLocal DNSCache uses 169.254.20.10).
func (in *Input) nodeLocal() bool {
	return in.lookup() && in.Journey.Flow.Dst.Addr().IsLinkLocalUnicast()
}

// nodeLocalDNS: the node has the cache's address, and nothing answers there.
func nodeLocalDNS(in *Input) *Finding {
	a := in.refusal()
	if a == nil || !in.nodeLocal() || !in.targetHere() || !in.onHost(in.Journey.DstDevice) {
		return nil
	}
	f := &Finding{
		Code: "dns-nodelocal-broken", Confidence: tracer.Probable, Object: in.nodeRef(),
		Summary: fmt.Sprintf("the node-local DNS cache of node %s does not listen on %s: pods are told to ask it, and lookups are refused",
			in.NodeName, in.Journey.Flow.Dst),
		Evidence: []tracer.Evidence{in.seenAnswer(a)},
	}
	if d := in.drop(func(d *tracer.DropSeen) bool { return d.Drop.Reason == "NO_SOCKET" }); d != nil {
		f.Confidence = tracer.Confirmed
		f.Evidence = append(f.Evidence, in.seenDrop(d))
	}
	return f
}

// slowLookup: longer than resolvers take that answer from a cache or ask once.
// Clients repeat a question after 5 s (resolv.conf(5), timeout), some after 1 s.
const slowLookup = time.Second

// searchTries is the most questions that one name's search list gives: six domains,
// each for both families. Six is glibc's limit before 2.26 (resolv.conf(5)), and the
// kubelet's before Kubernetes 1.26; longer lists are allowed since, and rare. More
// than that are names of their own that do not exist, as a mail server asks block
// lists for, and how long all of them take is the client's affair.
const searchTries = 6 * 2

// longSearch: the tries of a search list took long, each of them being fast.
func longSearch(l *tracer.Lookup) bool {
	return l.Misses <= searchTries && l.Took >= slowLookup
}

// Answered is what a flow comes to whose answers arrived: of a lookup, they can
// say that it failed.
func Answered(j *tracer.Journey, l *tracer.Lookup) tracer.Outcome {
	switch {
	case l == nil || j.Partial || l.Answered == 0:
	case l.RCode == tracer.RCodeNXDomain && (l.FoundLater || l.AskedOn):
	case l.RCode != tracer.RCodeNoError:
		return tracer.OutcomeDNSError
	case l.Slowest >= slowLookup, longSearch(l):
		return tracer.OutcomeSlow
	}
	return tracer.OutcomeDelivered
}

// lookupAnswered explains a lookup that was answered, but not as the client
// would have it. Packets went both ways: no rule about lost ones applies.
func lookupAnswered(in *Input) *Finding {
	l := in.Journey.Lookup
	if l == nil || in.Outcome != tracer.OutcomeDNSError && in.Outcome != tracer.OutcomeSlow {
		return nil
	}
	f := &Finding{Confidence: tracer.Confirmed, Evidence: []tracer.Evidence{in.seenState(in.resolver(), "%s", lookupText(l))}}
	if p := in.Cluster.TargetPod; p != nil {
		f.Object = podRef(p)
	}
	who := in.source()
	switch {
	case in.Outcome == tracer.OutcomeSlow:
		in.slow(f, l)
	case in.foreignResolver():
		f.Code, f.Confidence, f.Object = "dns-resolvconf-wrong", tracer.Probable, podRef(in.Cluster.SourcePod)
		f.Summary = fmt.Sprintf("pod %s asks %s, which is not the cluster's DNS, and is told %s: names of the cluster do not exist there",
			who, in.Journey.Flow.Dst.Addr(), tracer.RCodeName(l.RCode))
		f.Blind = append(f.Blind, tracer.Blind{What: "the names that were asked for", Effect: "a name that exists nowhere gets the same answer"})
	case l.RCode == tracer.RCodeNXDomain:
		f.Code, f.Object = "dns-nxdomain-search", podRef(in.Cluster.SourcePod)
		f.Summary = fmt.Sprintf("the name that %s asks for does not exist: %s says NXDOMAIN, and no later try of its search list was answered either", who, in.resolver())
		in.meantOutside(f)
	case l.RCode == tracer.RCodeRefused:
		f.Code = "dns-refused"
		f.Summary = fmt.Sprintf("%s refuses the lookup of %s (REFUSED): it does not serve that name, or not this client", in.resolver(), who)
		in.meantOutside(f)
	case in.upstreamToBlame(l):
		in.unreachable(f, fmt.Sprintf("answers %s after %s", tracer.RCodeName(l.RCode), inShort(l.Slowest)))
		return f
	default:
		in.servfail(f, l)
	}
	return f
}

// servfail: the resolver was reached, and could not find out.
func (in *Input) servfail(f *Finding, l *tracer.Lookup) {
	f.Code = "dns-servfail"
	f.Summary = fmt.Sprintf("%s could not resolve what %s asked for (%s after %s): the path to it is fine, its own source of answers is not",
		in.resolver(), in.source(), tracer.RCodeName(l.RCode), inShort(l.Slowest))
	if l.Unasked {
		in.servfailUnasked(f, l)
		return
	}
	if u := in.failingUpstream(); u != nil {
		f.Summary = fmt.Sprintf("%s could not resolve what %s asked for (%s after %s), because its upstream %s answers %s",
			in.resolver(), in.source(), tracer.RCodeName(l.RCode), inShort(l.Slowest), u.Resolver, tracer.RCodeName(u.RCode))
	}
	f.Evidence = append(f.Evidence, in.seenUpstream()...)
	f.Blind = append(f.Blind, in.upstreamUnseen()...)
}

// servfailUnasked: only the answer was seen. What the resolver asked of others
// meanwhile was before the trace, too, and may be what is at fault.
func (in *Input) servfailUnasked(f *Finding, l *tracer.Lookup) {
	f.Confidence = tracer.Probable
	f.Summary = fmt.Sprintf("%s could not resolve what %s had asked for before the trace began (%s): the path back is fine, its own source of answers is not",
		in.resolver(), in.source(), tracer.RCodeName(l.RCode))
	f.Blind = append(f.Blind, tracer.Blind{What: "the question, and what the resolver asked of others until it answered: they were before the trace",
		Effect: "why it could not resolve it is not known"})
}

func (in *Input) slow(f *Finding, l *tracer.Lookup) {
	f.Code, f.Confidence = "dns-slow", tracer.Probable
	took := l.Slowest.Round(time.Millisecond)
	f.Summary = fmt.Sprintf("%s answered %s only after %s", in.resolver(), in.source(), took)
	if l.Repeated > 0 {
		f.Summary = fmt.Sprintf("the lookup of %s was answered by %s only after %s, when it had been sent again: the first question or its answer was lost", in.source(), in.resolver(), took)
	}
	switch u := in.slowUpstream(); {
	case l.Repeated > 0:
	case l.Slowest < slowLookup:
		f.Summary = fmt.Sprintf("the name that %s asks %s for was found after %s only: %d questions of its search list were in vain before (ndots)",
			in.source(), in.resolver(), l.Took.Round(time.Millisecond), l.Misses)
	case u != nil:
		f.Summary += fmt.Sprintf(": its upstream %s took %s", u.Resolver, u.Slowest.Round(time.Millisecond))
	}
	f.Evidence = append(f.Evidence, in.seenUpstream()...)
	f.Blind = append(f.Blind, in.upstreamUnseen()...)
	// Only what one socket sends at once is about one entry.
	if n := in.counter(in.Inventory.HostNetNS, "conntrack.insert_failed"); n > 0 && l.Repeated > 0 && l.Together {
		f.Code, f.Object, f.Confidence = "svc-conntrack-race", in.nodeRef(), tracer.Confirmed
		f.Summary += fmt.Sprintf("; two questions at once raced for one conntrack entry on node %s (insert_failed +%d)", in.NodeName, n)
		f.Evidence = append(f.Evidence, in.seenState(in.NodeName, "conntrack insert_failed +%d", n))
	}
}

// resolver names who answered: the pod behind the cluster's DNS, or the address.
func (in *Input) resolver() string {
	if in.Cluster.TargetPod != nil && in.Cluster.TargetPod.DNS {
		return "DNS pod " + in.target()
	}
	return "resolver " + in.target()
}

// foreignResolver: a pod that is meant to ask the cluster's DNS asks somebody outside,
// and the name is not found there.
func (in *Input) foreignResolver() bool {
	p := in.Cluster.SourcePod
	l := in.Journey.Lookup
	return in.external() && !in.nodeLocal() && p != nil && !asksOutside(p) && !p.DNS && (l.RCode == tracer.RCodeNXDomain || l.RCode == tracer.RCodeRefused)
}

// asksOutside: the pod is set up to ask other resolvers than the cluster's. In the
// node's network ClusterFirst means Default (core/v1, DNSPolicy).
func asksOutside(p *tracer.PodFacts) bool {
	switch p.DNSPolicy {
	case "Default", "None":
		return true
	case "ClusterFirstWithHostNet":
		return false
	}
	return p.HostNetwork
}

// meantOutside adds that the resolver which was asked is the one that the pod is set
// up to ask, and what it cannot know.
func (in *Input) meantOutside(f *Finding) {
	p := in.Cluster.SourcePod
	if !in.external() || p == nil || p.DNS || p.DNSPolicy == "" || !asksOutside(p) {
		return
	}
	f.Evidence = append(f.Evidence, in.seenState(in.source(), "dnsPolicy %s%s: it asks other resolvers than the cluster's", p.DNSPolicy, inNodes(p)))
	f.Blind = append(f.Blind, tracer.Blind{What: "the names that were asked for",
		Effect: "names of the cluster exist only in the cluster's DNS: for them the pod needs dnsPolicy " + clusterPolicy(p)})
}

func inNodes(p *tracer.PodFacts) string {
	if p.HostNetwork {
		return " in the node's network"
	}
	return ""
}

// clusterPolicy is the dnsPolicy with which a pod asks the cluster's DNS.
func clusterPolicy(p *tracer.PodFacts) string {
	if p.HostNetwork {
		return "ClusterFirstWithHostNet"
	}
	return "ClusterFirst"
}

func lookupText(l *tracer.Lookup) string {
	if l.Unasked {
		return "answered " + tracer.RCodeName(l.RCode) + ", to a question from before the trace"
	}
	s := fmt.Sprintf("%d questions, %d answered: %s, slowest after %s", l.Asked, l.Answered, tracer.RCodeName(l.RCode), inShort(l.Slowest))
	if l.Repeated > 0 {
		s += fmt.Sprintf(", %d sent again", l.Repeated)
	}
	switch {
	case l.Misses > searchTries:
		s += fmt.Sprintf("; %d questions right before it found nothing, %s in all, which is more than a search list gives", l.Misses, l.Took.Round(time.Millisecond))
	case l.Misses > 0:
		s += fmt.Sprintf("; %d questions of the search list before it found nothing, %s in all", l.Misses, l.Took.Round(time.Millisecond))
	}
	if l.Truncated {
		s += ", truncated (to be asked again over TCP)"
	}
	return s
}

// answerUnread: the budget kept the header of every answer to a lookup from being
// shown.
func (in *Input) answerUnread() bool {
	l := in.Journey.Lookup
	return in.lookup() && in.Journey.Flow.Proto == tracer.ProtoUDP && in.partial() && (l == nil || l.Answered == 0)
}

// inShort rounds a time to what matters of it.
func inShort(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
