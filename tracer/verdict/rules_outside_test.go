package verdict

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// depart is a flow to somewhere that left the node by its uplink: begun at a second,
// and answered or not.
type depart struct {
	at   int
	to   string
	port uint16
	ok   bool
	with []change
}

func (d depart) input() *Input {
	with := []change{toWorld, func(s *scene) {
		s.j.Flow.Dst = ap(d.to, d.port)
		s.j.Translated = s.j.Flow
		s.c.Destination.IP, s.c.Destination.Port = addr(d.to), d.port
		s.c.Target = s.c.Destination
	}, left(nodeIP), neighbourIs(gatewayIP, "STALE")}
	with = append(with, d.with...)
	return given(append(with, func(s *scene) {
		began := start.Add(time.Duration(d.at) * time.Second)
		s.j.ID, s.j.First, s.j.Last, s.Now = uint64(d.at+1), began, began.Add(3*time.Second), began.Add(4*time.Second)
		s.n.At = s.Now
		if d.ok {
			s.Outcome = tracer.OutcomeDelivered
			answer(tracer.AnswerSynAck, tracer.EventRX, on(hostNS, uplink), arrivedAt)(s)
		}
		for i := range s.j.Answers {
			s.j.Answers[i].Time = began.Add(ms)
		}
	})...)
}

// left6 are changes that make the flow one of IPv6.
func sixthFamily(s *scene) {
	s.j.Flow.Src, s.j.LeftAs.Src, s.j.LeftAs.Dst = ap("fd00::10", 40000), ap("2001:db8::1", 61000), s.j.Flow.Dst
}

func asNode(s *scene) {
	s.j.Flow.Src, s.j.LeftAs.Src, s.j.SrcDevice = ap(nodeIP, 40000), ap(nodeIP, 40000), on(hostNS, uplink)
	s.c.Source, s.c.SourcePod = tracer.Endpoint{IP: addr(nodeIP), Kind: tracer.KindNode, Name: "n1"}, nil
	s.j.Translations = nil
}

func leftAs(ip string) change { return func(s *scene) { s.j.LeftAs.Src = ap(ip, 61000) } }

// reachable: the gateway has just answered for its address.
func reachable(s *scene) { s.n.Neighbours[0].State = "REACHABLE" }

// told is the evidence of a verdict, and what it could not see.
func told(v *tracer.Verdict) string {
	s := []string{text(v)}
	for _, b := range v.Blind {
		s = append(s, b.What+": "+b.Effect)
	}
	return strings.Join(s, "\n")
}

// departed judges flows one after the other, and gives the verdict on the last.
func departed(list ...depart) *tracer.Verdict { return departedWith(nil, list...) }

// followed are the flows of a trace: those without a verdict, and all by their ID.
type followed []*tracer.Journey

func (f followed) Unjudged() []*tracer.Journey {
	return slices.DeleteFunc(slices.Clone(f), func(j *tracer.Journey) bool { return j.ID < 100 })
}

func (f followed) Peek(id uint64) (*tracer.Journey, bool) {
	i := slices.IndexFunc(f, func(j *tracer.Journey) bool { return j.ID == id })
	if i < 0 {
		return nil, false
	}
	return f[i], true
}

func departedWith(flows followed, list ...depart) *tracer.Verdict {
	l, e := &Ledger{}, NewEngine()
	var v *tracer.Verdict
	for _, d := range list {
		in := d.input()
		in.Beside = l.Beside(in, false)
		l.Add(in, false)
		in.Outside = l.Outside(in, flows)
		v = e.Decide(in)
	}
	return v
}

const netA, netB, netC, inVPC = "203.0.113.9", "198.51.100.7", "192.88.7.3", "10.77.0.8"

// Nothing outside answers, and what is not outside does: the way out is missing. How
// sure that is follows from what else was seen; who takes it away is never said.
func TestNoWayOut(t *testing.T) {
	a, b, c := depart{at: 0, to: netA, port: 443}, depart{at: 5, to: netB, port: 25}, depart{at: 10, to: netC, port: 443}
	with := func(d depart, ch ...change) depart { d.with = ch; return d }
	vpc := depart{at: 3, to: inVPC, port: 3128, ok: true}
	soon := func(d depart, at int) depart { d.at = at; return d }
	cart := as("cart", "n1", "10.1.0.31")
	n := with(a, asNode) // the node itself asks too
	const ask, noNode = "whether others are answered from outside: neither the node itself", "whether the node itself is answered from outside"
	for _, tt := range []struct {
		name  string
		flows []depart
		sure  tracer.Confidence // "": beyond-node
		says  string            // of the evidence
	}{
		{"three networks, two ports, private addresses answer, and the node itself asks in vain", []depart{n, vpc, b, c}, probable, "private addresses behind the same uplink answered meanwhile: 10.77.0.8:3128 TCP"},
		{"the node is named", []depart{n, vpc, b, c}, probable, "asked by shop/web, node n1 (the node itself)"},
		{"the node asks for the same host only", []depart{with(soon(c, 1), asNode), a, vpc, b, c}, probable, ""},
		{"one client is another pod", []depart{with(a, cart), vpc, b, c}, probable, "asked by shop/web, shop/cart"},
		{"two pods, and the node was not tried", []depart{with(a, cart), vpc, b, c}, probable, noNode},
		{"two pods that know the same hosts", []depart{with(a, cart), with(soon(b, 1), cart), with(soon(c, 2), cart), vpc, soon(a, 4), b, c}, suspected, ask},
		{"one client", []depart{a, vpc, b, c}, suspected, ask},
		{"the node alone", []depart{n, vpc, with(b, asNode), with(c, asNode)}, suspected, ask},
		{"no private address was asked, the gateway is resolved for long", []depart{n, b, c}, suspected, "neighbour 192.0.2.254 dev ens3: STALE"},
		{"no private address was asked, the gateway may be gone", []depart{a, soon(b, 1), soon(c, 2)}, "", "nothing outside answered"},
		{"no private address was asked, the gateway has just answered", []depart{n, soon(b, 1), with(soon(c, 2), reachable)}, suspected, "none was asked"},
		{"only web ports were tried", []depart{n, vpc, {at: 5, to: netB, port: 80}, c}, suspected, "whether other ports than those of the web"},
		{"two networks only", []depart{a, vpc, b, {at: 10, to: "198.51.7.8", port: 443}}, "", "nothing outside answered"},
		{"one port only", []depart{a, vpc, {at: 5, to: netB, port: 443}, c}, "", "nothing outside answered"},
		{"one destination", []depart{a}, "", ""},
		{"one that answered", []depart{n, vpc, b, {at: 11, to: "192.0.9.9", port: 443, ok: true}, c}, "", "the way out works: by ens3 192.0.9.9:443 TCP answered meanwhile"},
		{"one that refused", []depart{n, vpc, b, {at: 11, to: "192.0.9.9", port: 443, with: []change{refusedFar}}, c}, "", "the way out works"},
		{"a router's error is no answer of the outside", []depart{n, vpc, b, {at: 8, to: "192.0.9.9", port: 443, with: []change{icmpFromWorld(3, 0), outcomeIs(tracer.OutcomeICMPError)}}, c}, probable, ""},
		{"it answered long ago", []depart{{at: -70, to: "192.0.9.9", port: 443, ok: true}, n, vpc, b, c}, probable, ""},
		{"the others were long ago", []depart{a, vpc, b, soon(c, 100)}, "", ""},
		{"private addresses of the uplink's own network say nothing of the gateway", []depart{a, {at: 3, to: "192.0.2.7", port: 22, ok: true}, soon(b, 1), soon(c, 2)}, "", ""},
		{"the API server's Service, at private addresses", []depart{n, {at: 3, to: "10.9.0.1", port: 443, ok: true, with: []change{func(s *scene) {
			s.j.Translated.Dst, s.j.LeftAs.Dst = ap(inVPC, 6443), ap(inVPC, 6443)
			s.c.Destination = tracer.Endpoint{IP: addr("10.9.0.1"), Kind: tracer.KindService, Namespace: "default", Name: "kubernetes"}
			s.c.Target = tracer.Endpoint{IP: addr(inVPC), Kind: tracer.KindExternal}
		}}}, b, c}, probable, "private addresses behind the same uplink answered meanwhile: 10.9.0.1:443 TCP"},
		{"a pod of another node, which has a route of its own", []depart{a, {at: 3, to: farIP, port: 8080, ok: true, with: []change{toFar, leftAs(webIP)}}, soon(b, 1), soon(c, 2)}, "", ""},
		{"others left by another uplink", []depart{with(a, bySecond), vpc, with(b, bySecond), c}, "", ""},
		{"others were of the other family", []depart{{at: 0, to: "2001:4860::8", port: 443, with: []change{sixthFamily}}, vpc, b, c}, "", ""},
		{"others were dropped here", []depart{with(a, filtered()), vpc, with(b, filtered()), c}, "", ""},
		{"packets of others were held back", []depart{with(a, heldBack), vpc, with(b, heldBack), c}, "", ""},
		{"others were pings", []depart{with(a, proto(tracer.ProtoICMP)), vpc, with(b, proto(tracer.ProtoICMP)), c}, "", ""},
		{"others were datagrams that need no answer", []depart{with(a, proto(tracer.ProtoUDP)), vpc, with(b, proto(tracer.ProtoUDP)), c}, "", ""},
		{"others were lookups", []depart{with(a, proto(tracer.ProtoUDP), lookedUp), vpc, with(b, asNode), c}, probable, "203.0.113.9:443 UDP"},
		{"the destinations are private", []depart{{at: 0, to: "10.1.9.1", port: 443}, vpc, {at: 1, to: "172.20.0.1", port: 25}, {at: 10, to: "192.168.9.9", port: 80}}, "", ""},
		{"what is the cluster's is not known", []depart{with(a, unread("Service")), vpc, with(b, unread("Service")), c}, "", ""},
	} {
		v := departed(tt.flows...)
		code, sure := codeNoWayOut, tt.sure
		if sure == "" {
			code, sure = tracer.CodeBeyondNode, probable
		}
		if v.Code != code || v.Confidence != sure || !strings.Contains(told(v), tt.says) {
			t.Errorf("%s: %s %s, want %s %s with %q: %s\n%s", tt.name, v.Code, v.Confidence, code, sure, tt.says, v.Summary, told(v))
		}
		if code == codeNoWayOut && (v.Component != tracer.ComponentEgress || *v.Object != tracer.Ref{Kind: "Gateway", Name: gatewayIP}) {
			t.Errorf("%s: %s %v", tt.name, v.Component, v.Object)
		}
	}
}

func refusedFar(s *scene) {
	answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink), arrivedAt)(s)
	s.Outcome = tracer.OutcomeRefused
}

func bySecond(s *scene) {
	secondUplink(s)
	s.j.LeftBy = on(hostNS, uplink2)
}

func heldBack(s *scene) { s.Held = 3 }
func lookedUp(s *scene) { s.j.Lookup = &tracer.Lookup{Asked: 1} }

// What has a name of its own keeps it: other causes of silence to the outside do not
// become a missing way out, however many destinations are silent.
func TestNoWayOutLookAlikes(t *testing.T) {
	flows := func(ch ...change) []depart {
		return []depart{{at: 0, to: netA, port: 443, with: ch}, {at: 3, to: inVPC, port: 3128, ok: true}, {at: 5, to: netB, port: 25, with: ch}, {at: 10, to: netC, port: 8443, with: ch}}
	}
	unmasqueraded := func(s *scene) { s.j.LeftAs.Src = s.j.Flow.Src; s.j.Translations = nil }
	for _, tt := range []struct {
		name string
		with []change
		want string
	}{
		{"no masquerade", []change{unmasqueraded}, "egr-masq-missing"},
		{"the gateway does not answer", []change{dropOf("NEIGH_FAILED", "neigh_invalidate", tracer.StageNeighbour, "", at3(on(hostNS, uplink)), func(d *tracer.DropSeen) { d.Tuple.Src = ap(nodeIP, 61000) }), func(s *scene) {
			s.n.Neighbours[0].State = "FAILED"
		}}, "egr-gateway-dead"},
		{"a firewall outside rejects", []change{icmpFromWorld(3, 13), outcomeIs(tracer.OutcomeICMPError)}, "egr-firewall-reject"},
		{"the wrong uplink for the source", []change{secondUplink, leftAs(uplinkIP)}, "egr-wrong-interface"},
		{"a policy drops", []change{filtered(), denies("egress", "peer")}, "pol-egress-deny"},
	} {
		if v := departed(flows(tt.with...)...); v.Code != tt.want {
			t.Errorf("%s: %s, want %s: %s", tt.name, v.Code, tt.want, v.Summary)
		}
	}
}

// One flow or a part of them is silent: what answers tells what it is not.
func TestOthersAnswer(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []depart
		says []string
		not  string
	}{
		{"one host", []depart{{at: 4, to: netB, port: 443, ok: true}, {at: 3, to: netC, port: 443, ok: true}, {at: 2, to: netA, port: 443}},
			[]string{"the way out works: by ens3 198.51.100.7:443 TCP, 192.88.7.3:443 TCP answered meanwhile"}, "a filter"},
		{"one host, and nothing was asked since", []depart{{at: 0, to: netB, port: 443, ok: true}, {at: 1, to: netC, port: 443, ok: true}, {at: 2, to: netA, port: 443}},
			[]string{"the way out by ens3 worked until 999ms before this flow began, when the last answer came (of 192.88.7.3:443 TCP); whether it still does is not known"}, "the way out works"},
		{"a host that answered at another port before", []depart{{at: 0, to: netA, port: 22, ok: true}, {at: 2, to: netA, port: 443}},
			[]string{"the way out by ens3 worked until 2s before"}, "the host is there"},
		{"one port of a host", []depart{{at: 3, to: netA, port: 22, ok: true}, {at: 2, to: netA, port: 443}},
			[]string{"the host is there, and answers at 203.0.113.9:22 TCP: silent is TCP 443 of it"}, "of that port, or one that"},
		{"one port of all hosts", []depart{{at: 1, to: netB, port: 443}, {at: 2, to: netB, port: 22, ok: true}, {at: 3, to: netA, port: 443}},
			[]string{"on TCP 443 nothing answered (203.0.113.9:443 TCP, 198.51.100.7:443 TCP), on other ports something did"}, "the host is there"},
		{"the other port was answered before all that are silent", []depart{{at: 0, to: netB, port: 22, ok: true}, {at: 1, to: netB, port: 443}, {at: 2, to: netA, port: 443}},
			[]string{"the way out by ens3 worked until 2s before", "nothing outside answered since; silent are 203.0.113.9:443 TCP, 198.51.100.7:443 TCP, asked by shop/web"}, "a filter"},
		{"only the node is answered", []depart{{at: 3, to: netA, port: 443, ok: true, with: []change{asNode, leftAs("192.0.2.9")}}, {at: 2, to: netA, port: 443}},
			[]string{"only the node's own connections were answered, which left as 192.0.2.9", "by source-address: 192.0.2.1 1 of 1, 192.0.2.9 0 of 1"}, "all that were answered"},
		{"only the node was answered, before", []depart{{at: 0, to: netA, port: 443, ok: true, with: []change{asNode, leftAs("192.0.2.9")}}, {at: 2, to: netA, port: 443}},
			[]string{"worked until 2s before"}, "only the node's"},
		{"another source address is answered", []depart{{at: 3, to: netA, port: 443, ok: true, with: []change{leftAs("192.0.2.9")}}, {at: 2, to: netA, port: 443}},
			[]string{"all that were answered left as 192.0.2.9, this one as 192.0.2.1"}, "only the node's"},
		{"now and then", []depart{{at: 0, to: netA, port: 443, ok: true}, {at: 1, to: netA, port: 443}, {at: 2, to: netA, port: 443, ok: true}, {at: 3, to: netA, port: 443}},
			[]string{"is answered now and then: a NAT gateway out of ports"}, "a filter"},
	} {
		v := departed(tt.list...)
		if v.Code != tracer.CodeBeyondNode || v.Confidence != probable || strings.Contains(told(v), tt.not) {
			t.Errorf("%s: %s %s\n%s", tt.name, v.Code, v.Confidence, told(v))
		}
		for _, want := range tt.says {
			if !strings.Contains(told(v), want) {
				t.Errorf("%s: no %q in\n%s", tt.name, want, told(v))
			}
		}
	}
}

// Flows that have no verdict yet, and have been sent again in vain, count as well.
func TestSilentSoFar(t *testing.T) {
	flow := func(id uint64, to string, port uint16, with ...func(*tracer.Journey)) *tracer.Journey {
		in := depart{at: int(id), to: to, port: port}.input()
		j := in.Journey
		j.ID, j.Attempts = 100+id, 2
		for _, f := range with {
			f(j)
		}
		return j
	}
	vpc, last := depart{at: 0, to: inVPC, port: 3128, ok: true}, depart{at: 1, to: netA, port: 443}
	sentOnce := func(j *tracer.Journey) { j.Attempts = 1 }
	replied := func(j *tracer.Journey) {
		j.Answers = []tracer.Answer{{Kind: tracer.AnswerSynAck, Device: on(hostNS, uplink), Hook: tracer.EventRX}}
	}
	untranslated := func(j *tracer.Journey) { j.LeftAs.Src = j.Flow.Src }
	for _, tt := range []struct {
		name string
		with []func(*tracer.Journey)
		want string
	}{
		{"sent again in vain", nil, codeNoWayOut},
		{"sent once", []func(*tracer.Journey){sentOnce}, tracer.CodeBeyondNode},
		{"answered meanwhile", []func(*tracer.Journey){replied}, tracer.CodeBeyondNode},
		{"perhaps a pod's", []func(*tracer.Journey){untranslated}, tracer.CodeBeyondNode},
	} {
		open := followed{flow(1, netB, 25, tt.with...), flow(2, netC, 443, tt.with...)}
		if v := departedWith(open, vpc, last); v.Code != tt.want {
			t.Errorf("%s: %s, want %s\n%s", tt.name, v.Code, tt.want, told(v))
		}
	}
}

// A flow that was not judged yet is of a client that is known by another one.
func TestUnjudgedClientIsNamed(t *testing.T) {
	cart := as("cart", "n1", "10.1.0.31")
	j := depart{at: 6, to: netB, port: 25, with: []change{cart}}.input().Journey
	j.ID, j.Attempts = 106, 2
	v := departedWith(followed{j},
		depart{at: 0, to: netA, port: 443, with: []change{cart}}, depart{at: 3, to: inVPC, port: 3128, ok: true}, depart{at: 10, to: netC, port: 443})
	if said := told(v); v.Code != codeNoWayOut || !strings.Contains(said, "asked by shop/web, shop/cart") || strings.Contains(said, "10.1.0.31") {
		t.Errorf("%s\n%s", v.Code, said)
	}
}

// A connection of long ago that is still answered shows that there is a way out, and
// so does one that has no verdict yet.
func TestOlderOnesStillAnswered(t *testing.T) {
	old := depart{at: -300, to: "192.0.9.9", port: 443, ok: true}
	flows := []depart{old, {at: 0, to: netA, port: 443}, {at: 3, to: inVPC, port: 3128, ok: true}, {at: 5, to: netB, port: 25}, {at: 10, to: netC, port: 443}}
	for _, tt := range []struct {
		name string
		last time.Duration // of its answers, before the last flow began; 0: it is not followed any more
		open bool
		want string
	}{
		{"forgotten", 0, false, codeNoWayOut},
		{"quiet for long", 2 * time.Minute, false, codeNoWayOut},
		{"answered half a minute ago", 30 * time.Second, false, tracer.CodeBeyondNode},
		{"has no verdict yet", 0, true, tracer.CodeBeyondNode},
	} {
		in := old.input()
		j := in.Journey
		j.Hops = append(j.Hops, tracer.Hop{Direction: tracer.DirReply, Tuple: j.LeftAs.Reverse(), Last: start.Add(10*time.Second - tt.last)})
		var f followed
		list := flows
		switch {
		case tt.open:
			j.ID, j.First, list = 100, start.Add(5*time.Second), flows[1:]
			f = followed{j}
		case tt.last > 0:
			f = followed{j}
		}
		if v := departedWith(f, list...); v.Code != tt.want {
			t.Errorf("%s: %s, want %s\n%s", tt.name, v.Code, tt.want, told(v))
		}
	}
}

// What to do names the gateway, the address and a proxy that answers.
func TestNoWayOutRemedy(t *testing.T) {
	flows := []depart{{at: 0, to: netA, port: 443}, {at: 3, to: inVPC, port: 3128, ok: true}, {at: 5, to: netB, port: 25}, {at: 10, to: netC, port: 443}}
	all := strings.Join(departed(flows...).Remedy, "\n")
	for _, want := range []string{"curl -x http://10.77.0.8:3128", "the default route of the subnet of 192.0.2.1, beyond 192.0.2.254", "Values=192.0.2.1 ", "NAT gateway", "VPC endpoint", "HTTPS_PROXY", "security group", "from n1 itself: nc -vz -w 3 192.88.7.3 443"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	flows[1].port = 5432
	if v := departed(flows...); strings.Contains(strings.Join(v.Remedy, "\n"), "curl -x") {
		t.Errorf("a database is no proxy: %q", v.Remedy)
	}
}

// In the first minute of an outage the text does not say that the way out works, for
// an answer of before; nor is it called missing before that minute is over.
func TestOutageJustBegun(t *testing.T) {
	last := depart{at: -50, to: "192.0.9.9", port: 443, ok: true}
	dead := depart{at: -55, to: "192.0.8.8", port: 8443} // of before
	flows := []depart{{at: 0, to: netA, port: 443, with: []change{asNode}}, {at: 3, to: inVPC, port: 3128, ok: true}, {at: 5, to: netB, port: 25}, {at: 8, to: netC, port: 443}}
	for _, before := range [][]depart{{last}, {dead, last}} {
		v := departed(append(before, flows...)...)
		for _, want := range []string{
			"the way out by ens3 worked until 58s before this flow began, when the last answer came (of 192.0.9.9:443 TCP)",
			"nothing outside answered since; silent are 192.88.7.3:443 TCP, 203.0.113.9:443 TCP, 198.51.100.7:25 TCP, asked by shop/web, node n1 (the node itself)",
		} {
			if !strings.Contains(told(v), want) {
				t.Errorf("no %q in\n%s", want, told(v))
			}
		}
		if v.Code != tracer.CodeBeyondNode || strings.Contains(told(v), "the way out works") {
			t.Errorf("%s\n%s", v.Code, told(v))
		}
	}
}

// Many silent ones push out none that was answered, and are not counted as if they
// were all; many that were answered leave it open whether an older one still is.
func TestManyDepartures(t *testing.T) {
	host := func(i int) string { return fmt.Sprintf("203.%d.113.%d", i%200, i/200+1) }
	node, vpc := depart{at: 1, to: netA, port: 443, with: []change{asNode}}, depart{at: 3, to: inVPC, port: 3128, ok: true}
	many := func(at int, ok bool) []depart {
		var list []depart
		for i := range maxDepartures + 76 {
			list = append(list, depart{at: at, to: host(i), port: uint16(80 + i%2), ok: ok})
		}
		return list
	}
	for _, tt := range []struct {
		name  string
		flows []depart
		code  string
		sure  tracer.Confidence
		says  string
	}{
		{"one answered a second before", slices.Concat([]depart{{at: 1, to: "192.0.9.9", port: 443, ok: true}, node, vpc}, many(2, false)), tracer.CodeBeyondNode, probable, "worked until 999ms before"},
		{"none answered", slices.Concat([]depart{node, vpc}, many(2, false)), codeNoWayOut, suspected, "there were more silent ones than are remembered"},
		{"so many silent were long ago", slices.Concat(many(-100, false), []depart{node, vpc, {at: 5, to: netB, port: 25}, {at: 8, to: netC, port: 443}}), codeNoWayOut, probable, ""},
		{"so many were answered long ago", slices.Concat(many(-100, true), []depart{node, vpc, {at: 5, to: netB, port: 25}, {at: 8, to: netC, port: 443}}), codeNoWayOut, suspected, "more were answered than are remembered"},
		{"so many private addresses answered", slices.Concat([]depart{node}, manyInside(), []depart{{at: 5, to: netB, port: 25}, {at: 8, to: netC, port: 443}}), codeNoWayOut, probable, ""},
	} {
		v := departedApart(tt.flows...)
		if v.Code != tt.code || v.Confidence != tt.sure || !strings.Contains(told(v), tt.says) {
			t.Errorf("%s: %s %s, want %s %s with %q: %s\n%s", tt.name, v.Code, v.Confidence, tt.code, tt.sure, tt.says, v.Summary, told(v))
		}
		if all := strings.Contains(v.Summary, "answers: at least "); all != strings.Contains(tt.says, "more silent ones") {
			t.Errorf("%s: %s", tt.name, v.Summary)
		}
	}
}

func manyInside() []depart {
	var list []depart
	for i := range maxDepartures + 76 {
		list = append(list, depart{at: 3, to: fmt.Sprintf("10.77.%d.%d", i/200, i%200+1), port: 5432, ok: true})
	}
	return list
}

// departedApart gives the verdict on the last of many flows, which have IDs of their
// own although they begin at once.
func departedApart(list ...depart) *tracer.Verdict {
	l := &Ledger{}
	for i, d := range list {
		in := d.input()
		in.Journey.ID = uint64(1000 + i)
		if i < len(list)-1 {
			l.Add(in, false)
			continue
		}
		in.Beside = l.Beside(in, false)
		l.Add(in, false)
		in.Outside = l.Outside(in, followed(nil))
		return NewEngine().Decide(in)
	}
	return nil
}

// BenchmarkOutside compares one flow with as many silent ones as are remembered, and
// as many that were answered: all other flows wait for it.
func BenchmarkOutside(b *testing.B) {
	l := &Ledger{}
	add := func(i int, ok bool) *Input {
		in := depart{at: i % 50, to: fmt.Sprintf("203.%d.113.%d", i%200, i/200+1), port: uint16(1000 + i%2000), ok: ok}.input()
		in.Journey.ID = uint64(1000 + i)
		l.Add(in, false)
		return in
	}
	var in *Input
	for i := range maxDepartures {
		add(i+maxDepartures, true)
		in = add(i, false)
	}
	for b.Loop() {
		o := l.Outside(in, followed(nil))
		f := &Finding{}
		in.othersAnswer(f, o)
		in.allSilent(f, o)
	}
}

// However many flows leave, a bounded number of each kind is kept, the newest ones;
// one that is judged twice is one, and one that was answered is not silent.
func TestDeparturesAreBounded(t *testing.T) {
	l := &Ledger{}
	for i := range maxDepartures + 10 {
		l.Add(depart{at: i, to: fmt.Sprintf("203.0.113.%d", i%250), port: 443}.input(), false)
	}
	l.Add(depart{at: maxDepartures, to: netA, port: 443, ok: true}.input(), true)
	l.Add(depart{at: maxDepartures, to: netA, port: 443}.input(), true)
	silent, answered := &l.left.silent, &l.left.answered
	if len(silent.of) != maxDepartures-1 || len(silent.order) != maxDepartures-1 || silent.order[0] != 11 || silent.gone != 10 || !slices.Equal(answered.order, []uint64{maxDepartures + 1}) {
		t.Errorf("%d silent, from %d on, %d are gone; answered: %v", len(silent.of), silent.order[0], silent.gone, answered.order)
	}
	for i := range maxDepartures + 10 {
		l.Add(depart{at: i, to: netA, port: 443, ok: true}.input(), false)
	}
	if len(answered.of) != maxDepartures || len(silent.of) != 0 {
		t.Errorf("%d answered, %d silent", len(answered.of), len(silent.of))
	}
}
