package verdict

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// try is one of several connections to Service db/api: begun at a second, sent to
// an endpoint, and answered or not.
type try struct {
	at   int
	to   string
	ok   bool
	with []change
}

// input is the connection as it is judged.
func (x try) input() *Input {
	end := x.to
	with := []change{toService, func(s *scene) {
		s.j.Translated.Dst, s.j.CTSeen = ap(end, 8080), true
		s.j.Translations = append(s.j.Translations, tracer.Translation{Kind: "dnat", From: s.j.Flow.Dst, To: ap(end, 8080), Event: 4})
		name := "api-" + end[strings.LastIndex(end, ".")+1:]
		node := "n1"
		if strings.HasPrefix(end, "10.2.") {
			node = "n2"
		}
		s.c.Target = tracer.Endpoint{IP: addr(end), Kind: tracer.KindPod, Namespace: "db", Name: name, Node: node}
		s.c.TargetPod = &tracer.PodFacts{Namespace: "db", Name: name, Phase: "Running", Ready: true, Node: node}
		s.c.Service.Endpoints = []tracer.ServiceEndpoint{{Addr: ap(end, 8080), Ready: true, Serving: true}}
		s.n.Services.Targets = nil
	}}
	with = append(with, x.with...)
	if !x.ok {
		with = append(with, noNeighbour())
	}
	with = append(with, func(s *scene) {
		began := start.Add(time.Duration(x.at) * time.Second)
		s.j.ID, s.j.First, s.j.Last, s.Now = uint64(x.at+1), began, began.Add(3*time.Second), began.Add(8*time.Second)
		if s.j.Flow.Src.Port() == 40000 {
			s.j.Flow.Src = ap(webIP, uint16(41000+(x.at*7919)%1000))
		}
		if x.ok {
			s.Outcome = tracer.OutcomeDelivered
		}
	})
	return given(with...)
}

// judged gives the ledger after connections, and the verdict on the last of them.
func judged(tries ...try) (*Ledger, *tracer.Verdict) {
	l := &Ledger{}
	var v *tracer.Verdict
	e := NewEngine()
	for _, x := range tries {
		in := x.input()
		in.Beside = l.Beside(in, false)
		l.Add(in, false)
		v = e.Decide(in)
	}
	return l, v
}

func text(v *tracer.Verdict) string {
	var s []string
	for _, e := range v.Evidence {
		s = append(s, e.What)
	}
	return strings.Join(s, "\n")
}

const epA, epB, epC = "10.1.0.21", "10.1.0.22", "10.2.0.23"

// One endpoint of three is dead: the share is told, and the endpoint named.
func TestOneEndpointFails(t *testing.T) {
	l, v := judged(try{at: 0, to: epA, ok: true}, try{at: 1, to: epB}, try{at: 2, to: epC, ok: true}, try{at: 3, to: epA, ok: true}, try{at: 4, to: epB})
	if v.Outcome != tracer.OutcomeIntermittent || v.Code != "cni-host-route-missing" {
		t.Errorf("%s %s: %s", v.Outcome, v.Code, v.Summary)
	}
	for _, want := range []string{
		"2 of 5 connections to db/svc/api:80 TCP failed; by endpoint: db/api-22 (10.1.0.22:8080) 2 of 2, db/api-21 (10.1.0.21:8080) 0 of 2, db/api-23 (10.2.0.23:8080) 0 of 1; by node: n1 2 of 4, n2 0 of 1; this one: no-answer",
		"every one that failed, and none that was answered, was of endpoint db/api-22 (10.1.0.22:8080)",
	} {
		if !strings.Contains(text(v), want) {
			t.Errorf("no %q in\n%s", want, text(v))
		}
	}
	shares := l.Shares()
	if len(shares) != 1 || shares[0].Failed != 2 || shares[0].Flows != 5 || shares[0].Outcome != tracer.OutcomeIntermittent || len(shares[0].Shared) != 1 {
		t.Errorf("%+v", shares)
	}
}

// as is another client's connection, six one by IPv6.
func as(name, node, ip string) change {
	return func(s *scene) {
		s.j.Flow.Src = ap(ip, 40100)
		s.c.Source = tracer.Endpoint{IP: addr(ip), Kind: tracer.KindPod, Namespace: "shop", Name: name, Node: node}
	}
}

func six(s *scene) { s.j.Flow.Dst = ap("fd00::5", 80); s.j.Translations[0].From = s.j.Flow.Dst }

// Only what one client is told comes and goes: one that fails always, beside others
// that never do, has no answer at all.
func TestIntermittent(t *testing.T) {
	b, c := as("b", "n1", "10.1.0.31"), as("c", "n1", "10.1.0.32")
	both := func(x, y change) change { return func(s *scene) { x(s); y(s) } }
	of := func(at int, ok bool, with ...change) try { return try{at, epA, ok, with} }
	for _, tt := range []struct {
		name      string
		tries     []try
		own, some tracer.Outcome // the verdict's on the last, and the Summary's
	}{
		{"one client, now and then", []try{of(0, true), of(1, false), of(2, true), of(3, false)}, tracer.OutcomeIntermittent, tracer.OutcomeIntermittent},
		{"one client always, the other never", []try{of(0, true), of(1, false, b), of(2, true), of(3, false, b)}, tracer.OutcomeNoAnswer, tracer.OutcomeNoAnswer},
		{"one family always, the other never", []try{of(0, true), of(1, false, six), of(2, true), of(3, false, six)}, tracer.OutcomeNoAnswer, tracer.OutcomeNoAnswer},
		{"one client's one family always", []try{of(0, true, both(b, six)), of(1, false, six), of(2, true), of(3, false, both(b, six)), of(4, true, both(b, six)), of(5, false, six)},
			tracer.OutcomeNoAnswer, tracer.OutcomeIntermittent},
		{"one client always, another now and then", []try{of(0, true), of(1, false, b), of(2, false), of(3, true), of(4, false, b)}, tracer.OutcomeNoAnswer, tracer.OutcomeIntermittent},
		{"now and then, another always", []try{of(0, true), of(1, false, b), of(2, false), of(3, true), of(4, false)}, tracer.OutcomeIntermittent, tracer.OutcomeIntermittent},
		{"every client once", []try{of(0, true), of(1, false, b), of(2, true, c), of(3, false, as("d", "n1", "10.1.0.33"))}, tracer.OutcomeNoAnswer, tracer.OutcomeNoAnswer},
		{"one client from a moment on", []try{of(0, true), of(1, true), of(2, false), of(3, false)}, tracer.OutcomeNoAnswer, tracer.OutcomeNoAnswer},
	} {
		l, v := judged(tt.tries...)
		if s := l.Shares(); v.Outcome != tt.own || len(s) != 1 || s[0].Outcome != tt.some || !strings.Contains(text(v), s[0].String()) {
			t.Errorf("%s: %s, want %s; %+v, want %s", tt.name, v.Outcome, tt.own, s, tt.some)
		}
	}
}

func TestShared(t *testing.T) {
	port := func(p uint16) []change { return []change{func(s *scene) { s.j.Flow.Src = ap(webIP, p) }} }
	var ports []try
	for i := range 12 {
		low := i%2 == 0
		p := uint16(50000 - i)
		if low {
			p = uint16(30000 + i)
		}
		ports = append(ports, try{i, epA, !low, port(p)})
	}
	for _, tt := range []struct {
		name  string
		tries []try
		want  string // "": nothing is shared
	}{
		{"a node", []try{{0, epA, true, nil}, {1, epC, false, nil}, {2, epB, true, nil}, {3, "10.2.0.24", false, nil}}, "was of the endpoints on node n2"},
		{"a client", []try{{0, epA, true, nil}, {1, epA, false, []change{as("cart", "n1", "10.1.0.31")}}, {2, epA, true, nil}, {3, epA, false, []change{as("cart", "n1", "10.1.0.31")}}}, "was of client shop/cart"},
		{"the clients' node", []try{{0, epA, true, []change{as("a", "n1", "10.1.0.31")}}, {1, epA, false, []change{as("b", "n3", "10.3.0.1")}}, {2, epA, true, []change{as("c", "n1", "10.1.0.32")}}, {3, epA, false, []change{as("d", "n3", "10.3.0.2")}}}, "was of the clients on node n3"},
		{"a family", []try{{0, epA, true, nil}, {1, epA, false, []change{six}}, {2, epA, true, nil}, {3, epA, false, []change{six}}}, "was of family IPv6"},
		{"a moment", []try{{0, epA, true, nil}, {1, epB, true, nil}, {2, epA, false, nil}, {3, epB, false, nil}}, "all since 12:00:02.000 failed, and all before were answered"},
		{"until a moment", []try{{0, epA, false, nil}, {1, epB, false, nil}, {2, epA, true, nil}, {3, epB, true, nil}}, "all until 12:00:01.000 failed, and all since 12:00:02.000 were answered"},
		{"source ports", ports, "had a source port of 30000 to 30010"},
		{"nothing", []try{{0, epA, true, nil}, {1, epA, false, nil}, {2, epB, true, nil}, {3, epB, false, nil}, {4, epA, true, nil}}, ""},
		{"two endpoints of three", []try{{0, epA, true, nil}, {1, epB, false, nil}, {2, epA, true, nil}, {3, epC, false, nil}}, ""},
		{"one that failed is not enough", []try{{0, epA, true, nil}, {1, epB, false, nil}, {2, epA, true, nil}}, ""},
		{"few source ports", ports[:6], ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := judged(tt.tries...)
			shares := l.Shares()
			if len(shares) != 1 {
				t.Fatalf("%+v", shares)
			}
			got := strings.Join(shares[0].Shared, "; ")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("shared %q, want %q", got, tt.want)
			}
		})
	}
}

// Where all fail or all are answered there is no share to tell, and flows of which
// nothing is known yet do not count.
func TestNoShares(t *testing.T) {
	early := []change{func(s *scene) { s.Now = start }}
	for name, tries := range map[string][]try{
		"all answered":          {{0, epA, true, nil}, {1, epB, true, nil}},
		"all failed":            {{0, epA, false, nil}, {1, epB, false, nil}},
		"not seen":              {{0, epA, true, nil}, {1, epB, true, []change{}}},
		"of another Service":    {{0, epA, true, nil}, {1, epB, false, []change{func(s *scene) { s.c.Service.Name = "other" }}}},
		"by another port of it": {{0, epA, true, nil}, {1, epB, false, []change{func(s *scene) { s.j.Flow.Dst = ap(svcIP, 81) }}}},
	} {
		l, v := judged(tries...)
		if len(l.Shares()) > 0 || strings.Contains(text(v), "connections to") || v.Outcome == tracer.OutcomeIntermittent {
			t.Errorf("%s: %+v\n%s", name, l.Shares(), text(v))
		}
	}
	l := &Ledger{}
	for _, in := range []*Input{try{at: 0, to: epA, ok: true}.input(), given(unseen), given(append(early, toService)...)} {
		if in.Beside = l.Beside(in, false); in.Beside != nil {
			t.Errorf("%s counts as failed", in.Outcome)
		}
		l.Add(in, false)
	}
	if len(l.groups) != 1 {
		t.Errorf("%d destinations", len(l.groups))
	}
}

// A connection that was well and then failed is one, not two, in the verdict on it
// and in what is counted after it; one beside it is another.
func TestFailsLater(t *testing.T) {
	ok := func(at int) *Input { return try{at: at, to: epA, ok: true}.input() }
	for _, tt := range []struct {
		name   string
		before []*Input
		again  bool
		flows  int
		said   string // "": nothing of shares
	}{
		{"alone", []*Input{ok(0)}, true, 1, ""},
		{"beside one that was answered", []*Input{ok(1), ok(0)}, true, 2, "1 of 2 connections"},
		{"another, to the same", []*Input{ok(1)}, false, 2, "1 of 2 connections"},
	} {
		l := &Ledger{}
		for _, in := range tt.before {
			l.Add(in, false)
		}
		bad := try{at: 0, to: epA}.input()
		bad.Beside = l.Beside(bad, tt.again)
		if n := l.groups[bad.groupKey()].all; n.flows != len(tt.before) || n.failed != 0 {
			t.Errorf("%s: to look changed the count: %+v", tt.name, n)
		}
		l.Add(bad, tt.again)
		v := NewEngine().Decide(bad)
		if said := strings.Contains(text(v), "connections to"); said != (tt.said != "") || !strings.Contains(text(v), tt.said) || v.Outcome != tracer.OutcomeNoAnswer {
			t.Errorf("%s: %s\n%s", tt.name, v.Outcome, text(v))
		}
		if n := l.groups[bad.groupKey()].all; n.flows != tt.flows || n.failed != 1 || len(l.Shares()) > 0 != (tt.said != "") {
			t.Errorf("%s: %+v", tt.name, n)
		}
	}
}

// What became of the others lowers and lifts what may be claimed.
func TestWeigh(t *testing.T) {
	closed := []change{func(s *scene) { s.j.DstDevice = on(apiNS, eth0) }, refusedByTarget}
	refused := func(at int, to string) *Input {
		x := try{at: at, to: to, ok: true, with: closed}
		in := x.input()
		in.Outcome = tracer.OutcomeRefused
		return in
	}
	last := func(before []*Input, in *Input) *tracer.Verdict {
		l := &Ledger{}
		for _, x := range before {
			l.Add(x, false)
		}
		in.Beside = l.Beside(in, false)
		return NewEngine().Decide(in)
	}
	ok := func(at int, to string) *Input { return try{at: at, to: to, ok: true}.input() }
	for _, tt := range []struct {
		name   string
		before []*Input
		sure   tracer.Confidence
		blind  bool
	}{
		{"alone", nil, confirmed, false},
		{"others went elsewhere, and later", []*Input{ok(2, epB), ok(3, epC)}, confirmed, false},
		{"the same endpoint answered before", []*Input{ok(0, epA)}, confirmed, false},
		{"the same endpoint answered one that began later", []*Input{ok(2, epA)}, probable, true},
	} {
		v := last(tt.before, refused(1, epA))
		blind := slices.ContainsFunc(v.Blind, func(b tracer.Blind) bool { return strings.Contains(b.What, "the same endpoint") })
		if v.Code != "app-no-listener" || v.Confidence != tt.sure || blind != tt.blind {
			t.Errorf("%s: %s %s, blind %+v", tt.name, v.Confidence, v.Code, v.Blind)
		}
	}
	// A socket that listens by now makes it a suspicion; that all who failed, and
	// none of the others, went there speaks for it again.
	late := refused(4, epA)
	listening("0.0.0.0:8080")(&scene{Input: late, n: late.Node})
	if v := last(nil, late); v.Confidence != suspected {
		t.Errorf("alone: %s %s", v.Confidence, v.Code)
	}
	if v := last([]*Input{refused(1, epA), ok(2, epB), ok(3, epC)}, late); v.Confidence != probable {
		t.Errorf("with what they share: %s %s", v.Confidence, v.Code)
	}
}

// What a fault breaks, only that speaks against it when it is answered.
func TestWeighByReach(t *testing.T) {
	otherClient := func(s *scene) { s.c.Source.Name, s.c.SourcePod.Name = "cart", "cart" }
	same := try{at: 2, to: epA, ok: true}
	elsewhere := try{at: 2, to: epB, ok: true}
	other := try{at: 2, to: epA, ok: true, with: []change{otherClient}}
	for _, tt := range []struct {
		code  string
		later try
		sure  tracer.Confidence
	}{
		{"svc-stale-affinity", same, probable}, {"svc-stale-affinity", elsewhere, confirmed},
		{"cni-hostport-missing", same, probable}, {"cni-hostport-missing", elsewhere, confirmed},
		{"cni-port-isolated", same, probable}, {"cni-port-isolated", elsewhere, confirmed}, {"cni-port-isolated", other, confirmed},
		{"node-notrack", same, probable}, {"node-notrack", other, confirmed},
		{"node-redirected", same, probable}, {"node-redirected", other, confirmed},
	} {
		l := &Ledger{}
		l.Add(tt.later.input(), false)
		in := try{at: 1, to: epA}.input()
		in.Beside = l.Beside(in, false)
		f := &Finding{Code: tt.code, Confidence: confirmed}
		if NewEngine().weigh(in, []*Finding{f}); f.Confidence != tt.sure {
			t.Errorf("%s, and %+v answered: %s, want %s", tt.code, tt.later, f.Confidence, tt.sure)
		}
	}
}

func TestReaches(t *testing.T) {
	c := NewCatalogue()
	for _, r := range reaches() {
		for _, code := range r.codes {
			if !c.Has(code) {
				t.Errorf("%s: no code %q", r.kind, code)
			}
		}
	}
}

// However many destinations and endpoints there are, the ledger stays small.
func TestLedgerIsBounded(t *testing.T) {
	l := &Ledger{}
	for i := range maxDestinations + 10 {
		in := try{at: i, to: epA, ok: i%2 == 0}.input()
		in.Cluster.Service.Name = fmt.Sprint("s", i)
		l.Add(in, false)
	}
	for i := range maxShares + 10 {
		in := try{at: i, to: fmt.Sprintf("10.1.7.%d", i), ok: true}.input()
		in.Cluster.Service.Name = "s0"
		l.Add(in, false)
	}
	g := l.groups[l.order[0]]
	if len(l.groups) != maxDestinations || len(g.kind(byEndpoint)) != maxShares || g.all.flows != maxShares+11 {
		t.Errorf("%d destinations, %d endpoints, %d flows", len(l.groups), len(g.kind(byEndpoint)), g.all.flows)
	}
}
