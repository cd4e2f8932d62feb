package verdict

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// asks makes the flow a lookup at the cluster's DNS, whose pod is the target.
func asks(l tracer.Lookup) change {
	return func(s *scene) {
		proto(tracer.ProtoUDP)(s)
		reached(s)
		s.j.Flow.Dst, s.j.Translated.Dst = ap(svcIP, 53), ap(apiIP, 53)
		s.j.Lookup = &l
		s.c.TargetPod.DNS = true
		reply(s)
	}
}

// outsideResolver: what is asked is none of the cluster's.
func outsideResolver(s *scene) {
	l := s.j.Lookup
	toWorld(s)
	s.j.Flow.Dst = ap(world, 53)
	s.j.Translated, s.j.Lookup = s.j.Flow, l
	left(nodeIP)(s)
}

func dnsPolicy(p string) change { return func(s *scene) { s.c.SourcePod.DNSPolicy = p } }

// noReply takes back that an answer arrived.
func noReply(s *scene) { s.j.Answers, s.Outcome = nil, tracer.OutcomeNoAnswer }

// silentUpstream: the DNS pod has asked a server outside, which does not answer.
func silentUpstream(s *scene) {
	s.Followed = true
	s.j.Upstream = []tracer.Upstream{{Resolver: ap(router, 53), Proto: tracer.ProtoUDP, Asked: 2, First: start}}
}

// says: the DNS pod's upstream answered.
func says(rcode uint8, after time.Duration) change {
	return func(s *scene) {
		silentUpstream(s)
		u := &s.j.Upstream[0]
		u.Answered, u.RCode, u.Slowest = 2, rcode, after
	}
}

// overUDP: the client asked over UDP before, and was answered.
func overUDP(cut bool) change {
	return func(s *scene) {
		s.j.OverUDP = &tracer.Lookup{Asked: 1, Answered: 1, Truncated: cut}
	}
}

// behind is the verdict on the DNS pod's own lookup.
func behind(c tracer.Component, code string, sure tracer.Confidence) change {
	return func(s *scene) {
		silentUpstream(s)
		s.Behind = &tracer.Verdict{Component: c, Code: code, Confidence: sure, Summary: "the reason", Object: &tracer.Ref{Kind: "NetworkPolicy", Namespace: "db", Name: "deny"},
			Evidence: []tracer.Evidence{{Where: "n1", What: "a drop"}}, Remedy: []string{"allow it"}}
	}
}

func TestLookups(t *testing.T) {
	answered := func(rcode uint8, after time.Duration) tracer.Lookup {
		return tracer.Lookup{Asked: 1, Answered: 1, RCode: rcode, Slowest: after}
	}
	lost := answered(0, 5002*ms)
	lost.Repeated = 1
	tried := answered(tracer.RCodeNXDomain, ms)
	tried.FoundLater = true
	askedOn := answered(tracer.RCodeNXDomain, ms)
	askedOn.AskedOn = true
	partly := tracer.Lookup{Asked: 2}
	lostOnce := lost
	lost.Asked, lost.Answered, lost.Together = 2, 2, true
	long := answered(0, 90*ms)
	long.Misses, long.Took = 11, 1100*ms
	searched := answered(0, ms)
	searched.Misses, searched.Took = 8, 20*ms
	full, blockLists, slowBlockLists := long, long, long
	full.Misses, full.Took = 12, 1200*ms
	blockLists.Misses, blockLists.Took = 20, 1200*ms
	slowBlockLists.Misses, slowBlockLists.Slowest = 20, 1500*ms
	failed := answered(tracer.RCodeServFail, 4*time.Second)
	late, lateRefusal := answered(tracer.RCodeServFail, 0), answered(tracer.RCodeRefused, 0)
	late.Unasked, lateRefusal.Unasked = true, true
	raced := counted(hostNS, "conntrack.insert_failed", 1)
	tests := []struct {
		name   string
		with   []change
		code   string
		sure   tracer.Confidence
		object string
	}{
		{"answered", []change{asks(answered(0, ms))}, "ok", confirmed, ""},
		{"a try of the search list", []change{asks(tried)}, "ok", confirmed, ""},
		{"a try of a search list that fails in the end", []change{asks(askedOn)}, "ok", confirmed, ""},
		{"not answered yet", []change{asks(partly)}, "ok", confirmed, ""},
		{"answered, but the answer was held back", []change{asks(partly), func(s *scene) { s.Held = 5 }}, "ok", probable, ""},
		{"slow, but not by seconds", []change{asks(answered(0, 900*ms))}, "ok", confirmed, ""},
		{"no such name", []change{asks(answered(tracer.RCodeNXDomain, ms))}, "dns-nxdomain-search", confirmed, "Pod shop/web"},
		{"the resolver fails", []change{asks(answered(tracer.RCodeServFail, 2*time.Second))}, "dns-servfail", confirmed, "Pod db/api"},
		{"an odd failure", []change{asks(answered(1, ms))}, "dns-servfail", confirmed, ""},
		{"the resolver refuses", []change{asks(answered(tracer.RCodeRefused, ms))}, "dns-refused", confirmed, "Pod db/api"},
		{"slow", []change{asks(answered(0, 1500*ms))}, "dns-slow", probable, "Pod db/api"},
		{"sent again", []change{asks(lost)}, "dns-slow", probable, ""},
		{"sent again, and an entry failed", []change{asks(lost), raced}, "svc-conntrack-race", confirmed, "Node n1"},
		{"one question sent again, and an entry failed elsewhere", []change{asks(lostOnce), raced}, "dns-slow", probable, ""},
		{"a long search list", []change{asks(long)}, "dns-slow", probable, ""},
		{"the longest search list", []change{asks(full)}, "dns-slow", probable, ""},
		{"twenty block lists, one after the other", []change{asks(blockLists)}, "ok", confirmed, ""},
		{"twenty block lists, and a slow answer", []change{asks(slowBlockLists)}, "dns-slow", probable, ""},
		{"a search list", []change{asks(searched)}, "ok", confirmed, ""},
		{"it fails on what was asked before the trace", []change{asks(late)}, "dns-servfail", probable, "Pod db/api"},
		{"the same, and the client has gone", []change{asks(late), noSocket(at3(on(webNS, eth0)), ofReply, times(1))}, "dns-servfail", probable, "Pod db/api"},
		{"it refuses what was asked before the trace", []change{asks(lateRefusal)}, "dns-refused", confirmed, "Pod db/api"},
		{"the upstream is silent", []change{asks(failed), silentUpstream}, "dns-upstream-unreachable", probable, "Pod db/api"},
		{"it fails at once, while another client's upstream is silent", []change{asks(answered(tracer.RCodeServFail, ms)), silentUpstream}, "dns-servfail", confirmed, "Pod db/api"},
		{"the upstream refuses", []change{asks(failed), behind(tracer.ComponentExternal, "egr-remote-refused", confirmed)}, "dns-upstream-unreachable", probable, "Pod db/api"},
		{"a policy keeps the DNS pod from asking", []change{asks(failed), behind(tracer.ComponentPolicy, "pol-dns-egress", confirmed)}, "pol-dns-egress", probable, "NetworkPolicy db/deny"},
		{"a policy might keep the DNS pod from asking", []change{asks(failed), behind(tracer.ComponentPolicy, "pol-dns-egress", probable)}, "dns-upstream-unreachable", probable, "Pod db/api"},
		{"the upstream fails", []change{asks(failed), says(tracer.RCodeServFail, ms)}, "dns-servfail", confirmed, "Pod db/api"},
		{"the upstream answers, and it fails all the same", []change{asks(failed), says(0, ms)}, "dns-servfail", confirmed, "Pod db/api"},
		{"it fails, and asks others on a socket of which little is shown", []change{asks(failed), silentUpstream, func(s *scene) { s.j.Upstream[0].Unshown = true }}, "dns-servfail", confirmed, ""},
		{"slow, because of its upstream", []change{asks(answered(0, 1500*ms)), says(0, 1400*ms)}, "dns-slow", probable, "Pod db/api"},
		{"slow, and an entry failed elsewhere", []change{asks(answered(0, 1500*ms)), raced}, "dns-slow", probable, ""},
		{"a resolver outside knows no such name", []change{asks(answered(tracer.RCodeNXDomain, ms)), outsideResolver}, "dns-resolvconf-wrong", probable, "Pod shop/web"},
		{"a resolver outside fails", []change{asks(answered(tracer.RCodeServFail, ms)), outsideResolver}, "dns-servfail", confirmed, ""},
		{"the DNS pod itself asks outside", []change{asks(answered(tracer.RCodeNXDomain, ms)), outsideResolver, func(s *scene) { s.c.SourcePod.DNS = true }}, "dns-nxdomain-search", confirmed, ""},
		{"a pod that ought to ask the cluster's DNS asks outside", []change{asks(answered(tracer.RCodeNXDomain, ms)), outsideResolver, dnsPolicy("ClusterFirst")}, "dns-resolvconf-wrong", probable, "Pod shop/web"},
		{"the same, refused", []change{asks(answered(tracer.RCodeRefused, ms)), outsideResolver, dnsPolicy("ClusterFirst")}, "dns-resolvconf-wrong", probable, "Pod shop/web"},
		{"the same, in the node's network", []change{asks(answered(tracer.RCodeNXDomain, ms)), outsideResolver, dnsPolicy("ClusterFirstWithHostNet"), func(s *scene) { s.c.SourcePod.HostNetwork = true }}, "dns-resolvconf-wrong", probable, "Pod shop/web"},
		{"a pod that asks the node's resolver makes a slip", []change{asks(answered(tracer.RCodeNXDomain, ms)), outsideResolver, dnsPolicy("Default")}, "dns-nxdomain-search", confirmed, "Pod shop/web"},
		{"a pod that asks a resolver of its own makes a slip", []change{asks(answered(tracer.RCodeNXDomain, ms)), outsideResolver, dnsPolicy("None")}, "dns-nxdomain-search", confirmed, "Pod shop/web"},
		{"a pod's own resolver does not serve it", []change{asks(answered(tracer.RCodeRefused, ms)), outsideResolver, dnsPolicy("None")}, "dns-refused", confirmed, ""},
		{"ClusterFirst in the node's network is Default", []change{asks(answered(tracer.RCodeNXDomain, ms)), outsideResolver, dnsPolicy("ClusterFirst"), func(s *scene) { s.c.SourcePod.HostNetwork = true }}, "dns-nxdomain-search", confirmed, "Pod shop/web"},
		{"a pod of the host's network asks outside", []change{asks(answered(tracer.RCodeNXDomain, ms)), outsideResolver, func(s *scene) { s.c.SourcePod.HostNetwork = true }}, "dns-nxdomain-search", confirmed, ""},
	}
	e := NewEngine()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := given(tt.with...)
			in.Outcome = Answered(in.Journey, in.Journey.Lookup)
			v := e.Decide(in)
			if v.Code != tt.code || v.Confidence != tt.sure || tt.object != "" && ref(v.Object) != tt.object {
				t.Errorf("%s %s %s, want %s %s %s: %s", v.Confidence, v.Code, ref(v.Object), tt.sure, tt.code, tt.object, v.Summary)
			}
			sound(t, v)
			if len(v.AlsoSeen) > 0 && in.Behind == nil {
				t.Errorf("beside an answer: %+v", v.AlsoSeen)
			}
		})
	}
	well := given(asks(blockLists))
	well.Outcome = Answered(well.Journey, well.Journey.Lookup)
	v := e.Decide(well)
	if !slices.ContainsFunc(v.Evidence, func(e tracer.Evidence) bool {
		return strings.Contains(e.What, "20 questions right before it found nothing, 1.2s in all")
	}) {
		t.Errorf("what came before is not said: %+v", v.Evidence)
	}
	j := given(asks(answered(tracer.RCodeServFail, ms))).Journey
	j.Partial = true
	if o := Answered(j, j.Lookup); o != tracer.OutcomeDelivered {
		t.Errorf("held back packets may hold the better answer, but: %s", o)
	}
	if o := Answered(j, nil); o != tracer.OutcomeDelivered {
		t.Errorf("no lookup: %s", o)
	}
}

// What a lookup that failed says besides: whom it asked, what the DNS pod asked
// meanwhile, and what is not seen of that.
func TestLookupEvidence(t *testing.T) {
	failed := tracer.Lookup{Asked: 1, Answered: 1, RCode: tracer.RCodeServFail, Slowest: 4 * time.Second}
	service := func(s *scene) {
		s.c.Destination = tracer.Endpoint{IP: addr(svcIP), Port: 53, Kind: tracer.KindService, Namespace: "kube-system", Name: "kube-dns"}
	}
	far := func(s *scene) { s.c.TargetPod.Node = "n2" }
	followed := func(s *scene) { s.Followed = true }
	refused := func(s *scene) { silentUpstream(s); s.j.Upstream[0].Refused = true }
	overTCP := func(s *scene) { silentUpstream(s); s.j.Upstream[0].Proto, s.j.Upstream[0].Asked = tracer.ProtoTCP, 1 }
	tests := []struct {
		name            string
		with            []change
		evidence, blind string // part of one
	}{
		{"the Service", []change{service}, "asked Service kube-system/kube-dns, 10.9.0.5:53, translated to 10.1.0.11:53 (db/api)", ""},
		{"rcode and latency", nil, "1 questions, 1 answered: SERVFAIL, slowest after 4s", ""},
		{"not followed", nil, "", "not followed"},
		{"asked before the trace", []change{func(s *scene) { s.j.Lookup.Unasked = true }}, "answered SERVFAIL, to a question from before the trace", "the question, and what the resolver asked of others"},
		{"on another node", []change{far}, "", "DNS pod db/api runs on node n2"},
		{"asked nobody", []change{followed}, "", "no question of DNS pod db/api to a server outside"},
		{"silent upstream", []change{silentUpstream}, "meanwhile it asked 198.51.100.1:53 over UDP 2 times, without an answer", "for whom db/api asked its upstream"},
		{"upstream that refuses", []change{refused}, "meanwhile it asked 198.51.100.1:53 over UDP 2 times, and was refused", ""},
		{"upstream over TCP", []change{overTCP}, "meanwhile it asked 198.51.100.1:53 over TCP once, without an answer", ""},
		{"upstream that fails", []change{says(tracer.RCodeServFail, 3*ms)}, "2 answered: SERVFAIL, slowest after 3ms", "for whom db/api asked its upstream"},
		{"an older socket", []change{silentUpstream, func(s *scene) { s.j.Upstream[0].Asked, s.j.Upstream[0].Unshown = 0, true }}, "its single questions are not followed", ""},
		{"why it asked its upstream in vain", []change{behind(tracer.ComponentPolicy, "pol-dns-egress", confirmed)}, "a drop", "for whom db/api asked its upstream"},
	}
	e := NewEngine()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := given(append([]change{asks(failed)}, tt.with...)...)
			in.Outcome = tracer.OutcomeDNSError
			v := e.Decide(in)
			sound(t, v)
			if tt.evidence != "" && !slices.ContainsFunc(v.Evidence, func(e tracer.Evidence) bool { return strings.Contains(e.What, tt.evidence) }) {
				t.Errorf("evidence %+v, want %q", v.Evidence, tt.evidence)
			}
			if tt.blind != "" != slices.ContainsFunc(v.Blind, func(b tracer.Blind) bool { return strings.Contains(b.What, cmp.Or(tt.blind, "DNS pod")) }) && tt.name != "the Service" && tt.name != "rcode and latency" {
				t.Errorf("blind %+v, want %q", v.Blind, tt.blind)
			}
		})
	}
}

// What resembles a failed lookup, or an application that hangs, and is another thing.
func TestLookupLookalikes(t *testing.T) {
	says := func(rcode uint8, slowest time.Duration, with ...func(*tracer.Lookup)) change {
		l := tracer.Lookup{Asked: 1, Answered: 1, RCode: rcode, Slowest: slowest, Took: slowest}
		for _, f := range with {
			f(&l)
		}
		return asks(l)
	}
	found := func(l *tracer.Lookup) { l.FoundLater = true }
	in := func(with ...change) []change { return with }
	const lookups = "dns-nxdomain-search dns-servfail dns-refused dns-slow dns-resolvconf-wrong"
	tests := []lookalike{
		{"a try of a search list that ends well", in(says(tracer.RCodeNXDomain, ms, found)), "ok", lookups, ""},
		{"an answer that comes soon", in(says(tracer.RCodeNoError, 900*ms)), "ok", lookups, ""},
		{"an outside name, asked outside and found", in(says(tracer.RCodeNoError, ms), outsideResolver, dnsPolicy("ClusterFirst")), "ok", lookups, ""},
		{"the name does not exist, and it took long", in(says(tracer.RCodeNXDomain, 3*time.Second)), "dns-nxdomain-search", "dns-slow dns-servfail", ""},
		{"the resolver fails, and it took long", in(says(tracer.RCodeServFail, 3*time.Second)), "dns-servfail", "dns-slow dns-nxdomain-search dns-refused", ""},
		{"the resolver refuses to answer, and a socket would refuse by ICMP", in(says(tracer.RCodeRefused, ms)), "dns-refused", "app-no-listener dns-coredns-down dns-servfail", ""},
		{"the cluster's DNS knows no such name", in(says(tracer.RCodeNXDomain, ms), dnsPolicy("ClusterFirst")), "dns-nxdomain-search", "dns-resolvconf-wrong", ""},
		{"a slow answer from outside", in(says(tracer.RCodeNoError, 2*time.Second), outsideResolver, dnsPolicy("Default")), "dns-slow", "dns-resolvconf-wrong dns-servfail", ""},
	}
	e := NewEngine()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := given(tt.with...)
			g.Outcome = Answered(g.Journey, g.Journey.Lookup)
			alike(t, e, &tt, g)
		})
	}
	hung := in(reached, established, outcomeIs(tracer.OutcomeConnectedNoData))
	for _, tt := range []lookalike{
		{"connected and silent, and answers are dropped", append(hung, filtered(ofReply), rule("", "drop")), "node-forward-drop", "app-hang", ""},
		{"connected and silent, and the accept queue overflows elsewhere", append(hung, counted(apiNS, "TcpExtListenOverflows", 3)), "app-hang", "app-listen-overflow", ""},
		{"connected, and the answer came", in(reached, established, data, outcomeIs(tracer.OutcomeDelivered)), "ok", "app-hang", ""},
		{"large segments are dropped", append(hung, dropOf("PKT_TOO_BIG", "ip_forward", tracer.StageForward, "", times(5))), "cni-mtu-blackhole", "app-hang", ""},
	} {
		t.Run(tt.name, func(t *testing.T) { alike(t, e, &tt, given(tt.with...)) })
	}
}
