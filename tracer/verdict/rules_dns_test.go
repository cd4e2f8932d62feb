package verdict

import (
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

func TestLookups(t *testing.T) {
	answered := func(rcode uint8, after time.Duration) tracer.Lookup {
		return tracer.Lookup{Asked: 1, Answered: 1, RCode: rcode, Slowest: after}
	}
	lost := answered(0, 5002*ms)
	lost.Repeated = 1
	tried := answered(tracer.RCodeNXDomain, ms)
	tried.FoundLater = true
	partly := tracer.Lookup{Asked: 2}
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
		{"not answered yet", []change{asks(partly)}, "ok", confirmed, ""},
		{"slow, but not by seconds", []change{asks(answered(0, 900*ms))}, "ok", confirmed, ""},
		{"no such name", []change{asks(answered(tracer.RCodeNXDomain, ms))}, "dns-nxdomain-search", confirmed, "Pod shop/web"},
		{"the resolver fails", []change{asks(answered(tracer.RCodeServFail, 2*time.Second))}, "dns-servfail", confirmed, "Pod db/api"},
		{"an odd failure", []change{asks(answered(1, ms))}, "dns-servfail", confirmed, ""},
		{"the resolver refuses", []change{asks(answered(tracer.RCodeRefused, ms))}, "dns-refused", confirmed, "Pod db/api"},
		{"slow", []change{asks(answered(0, 1500*ms))}, "dns-slow", probable, "Pod db/api"},
		{"sent again", []change{asks(lost)}, "dns-slow", probable, ""},
		{"sent again, and an entry failed", []change{asks(lost), raced}, "svc-conntrack-race", confirmed, "Node n1"},
		{"slow, and an entry failed elsewhere", []change{asks(answered(0, 1500*ms)), raced}, "dns-slow", probable, ""},
		{"a resolver outside knows no such name", []change{asks(answered(tracer.RCodeNXDomain, ms)), outsideResolver}, "dns-resolvconf-wrong", probable, "Pod shop/web"},
		{"a resolver outside fails", []change{asks(answered(tracer.RCodeServFail, ms)), outsideResolver}, "dns-servfail", confirmed, ""},
		{"the DNS pod itself asks outside", []change{asks(answered(tracer.RCodeNXDomain, ms)), outsideResolver, func(s *scene) { s.c.SourcePod.DNS = true }}, "dns-nxdomain-search", confirmed, ""},
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
			if len(v.AlsoSeen) > 0 {
				t.Errorf("beside an answer: %+v", v.AlsoSeen)
			}
		})
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
