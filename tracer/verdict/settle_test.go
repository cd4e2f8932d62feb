package verdict

import (
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// journey starts from a bare flow; the changes say what was seen of it.
func seen(p uint8, with ...change) *tracer.Journey {
	in := given(append([]change{proto(p), func(s *scene) { s.j.Last, s.j.Attempts = start, 1 }}, with...)...)
	return in.Journey
}

func sent(n uint64, last time.Duration) change {
	return func(s *scene) { s.j.Attempts, s.j.Last = n, start.Add(last) }
}

func replies(n uint64) change { return func(s *scene) { s.j.ReplyPackets, s.j.ReplyBytes = n, 100*n } }
func asked(n uint64) change   { return func(s *scene) { s.j.RequestBytes = n } }
func fin(s *scene) {
	answer(tracer.AnswerFin, tracer.EventTX, on(apiNS, eth0))(s)
	s.j.Closed = true
}
func data(s *scene) {
	answer(tracer.AnswerData, tracer.EventTX, on(apiNS, eth0), arrivedAt)(s)
	s.j.ReplyBytes, s.j.RequestBytes = 100, 100
}
func unreached(s *scene) {
	answer(tracer.AnswerData, tracer.EventTX, on(apiNS, eth0))(s)
	s.j.ReplyBytes = 100
}
func rst(s *scene) {
	answer(tracer.AnswerRST, tracer.EventTX, on(apiNS, eth0), arrivedAt)(s)
	s.j.Closed = true
}
func reply(s *scene) { answer(tracer.AnswerReply, tracer.EventTX, on(apiNS, eth0), arrivedAt)(s) }

// step is what is settled at a moment after the first packet.
type step struct {
	at      time.Duration
	outcome tracer.Outcome
	due     bool
}

func TestSettle(t *testing.T) {
	const tcp, udp, ping = tracer.ProtoTCP, tracer.ProtoUDP, tracer.ProtoICMP
	none, ok := tracer.OutcomeNoAnswer, tracer.OutcomeDelivered
	stillNothing := tracer.OutcomeConnectedNoData
	tests := []struct {
		name  string
		j     *tracer.Journey
		steps []step
	}{
		{"one SYN", seen(tcp), []step{{100 * ms, none, false}, {900 * ms, none, false}, {30 * time.Second, none, false}}},
		{"SYN and one more", seen(tcp, sent(2, time.Second)), []step{{1100 * ms, none, false}, {10 * time.Second, none, false}}},
		{"the second retransmission", seen(tcp, sent(3, 3*time.Second)), []step{{3040 * ms, none, false}, {3400 * ms, none, false}, {3600 * ms, none, true}}},
		{"early retransmissions wait for the neighbour", seen(tcp, sent(3, 2*time.Second)), []step{{2500 * ms, none, false}, {3600 * ms, none, true}}},
		{"connected, and no next hop for what the client says", seen(tcp, established, noNeighbour(at3(on(webNS, eth0)), lasting(3*time.Second, 3*time.Second))), []step{{3100 * ms, stillNothing, true}}},
		{"connected, and no next hop before that", seen(tcp, established, noNeighbour(at3(on(webNS, eth0)), lasting(-2*time.Second, -time.Second))), []step{{6 * time.Second, ok, true}}},
		{"connected and closed, and no next hop for the last packet", seen(tcp, established, fin, noNeighbour(at3(on(webNS, eth0)), lasting(3*time.Second, 3*time.Second))), []step{{6 * time.Second, ok, true}}},
		{"an RST", seen(tcp, rst), []step{{10 * ms, tracer.OutcomeRefused, false}, {70 * ms, tracer.OutcomeRefused, true}}},
		{"port unreachable", seen(udp, icmpFromNode(3, 3)), []step{{70 * ms, tracer.OutcomeRefused, true}}},
		{"prohibited", seen(tcp, icmpFromNode(3, 13)), []step{{70 * ms, tracer.OutcomeICMPError, true}}},
		{"too big is not fatal", seen(udp, icmpFromNode(3, 4)), []step{{70 * ms, none, false}}},
		{"dropped once", seen(tcp, filtered(times(1), lasting(0, 0))), []step{{500 * ms, none, false}}},
		{"dropped twice", seen(tcp, sent(2, time.Second), filtered(times(2), lasting(0, time.Second))), []step{{1100 * ms, none, true}}},
		{"the neighbour gave up", seen(tcp, sent(2, 3*time.Second), noNeighbour(times(1), lasting(3*time.Second, 3*time.Second))), []step{{3100 * ms, none, true}}},
		{"address resolution alone is not the flow", seen(tcp, dropOf("QDISC_DROP", "__dev_queue_xmit", "", "", func(d *tracer.DropSeen) { d.ARP = true })), []step{{time.Second, none, false}}},
		{"connected, idle", seen(tcp, established), []step{{time.Second, ok, false}, {6 * time.Second, ok, true}}},
		{"a conversation", seen(tcp, established, data), []step{{500 * ms, ok, false}, {1100 * ms, ok, true}}},
		{"a conversation that ended", seen(tcp, established, data, fin), []step{{70 * ms, ok, true}}},
		{"retransmitted, and recovered", seen(tcp, established, data, filtered(times(1), lasting(0, 0)), back(tracer.EventRX, on(webNS, eth0), 300*ms)), []step{{1500 * ms, ok, true}}},
		{"no data", seen(tcp, established, asked(100)), []step{{4 * time.Second, stillNothing, false}, {6 * time.Second, stillNothing, true}}},
		{"one side spoke, both closed", seen(tcp, established, asked(100), fin), []step{{70 * ms, ok, true}}},
		{"the client gave up waiting", seen(tcp, established, asked(100), sent(1, 9*time.Second), fin), []step{{15 * time.Second, stillNothing, true}}},
		{"reset without data", seen(tcp, established, asked(10), rst), []step{{70 * ms, tracer.OutcomeReset, true}}},
		{"reset in the middle", seen(tcp, established, data, rst), []step{{70 * ms, tracer.OutcomeResetMidFlow, true}}},
		{"reset after the server's FIN", seen(tcp, established, data, fin, rst), []step{{70 * ms, ok, true}}},
		{"a health check resets", seen(tcp, answer(tracer.AnswerSynAck, tracer.EventTX, on(apiNS, eth0), arrivedAt), func(s *scene) { s.j.ClientReset = true }), []step{{70 * ms, ok, true}}},
		{"the client resets an answer it does not know", seen(tcp, answer(tracer.AnswerSynAck, tracer.EventTX, on(apiNS, eth0)), func(s *scene) { s.j.ClientReset = true }), []step{{70 * ms, tracer.OutcomeReset, true}}},
		{"two random losses far apart, the last one just now",
			seen(tcp, established, data, sent(1, 600*time.Second), back(tracer.EventRX, on(webNS, eth0), 599*time.Second), filtered(times(2), lasting(time.Second, 600*time.Second))),
			[]step{{600*time.Second + 70*ms, ok, false}, {601500 * ms, ok, false}}},
		{"… and recovered",
			seen(tcp, established, data, sent(1, 600*time.Second), back(tracer.EventRX, on(webNS, eth0), 600500*ms), filtered(times(2), lasting(time.Second, 600*time.Second))),
			[]step{{602 * time.Second, ok, true}}},
		{"dropped again and again", seen(tcp, established, data, sent(1, 1500*ms), filtered(times(3), lasting(100*ms, 1500*ms))), []step{{1600 * ms, stillNothing, true}}},
		{"dropped twice, then nothing", seen(tcp, established, data, sent(1, 500*ms), filtered(times(2), lasting(100*ms, 500*ms))), []step{{700 * ms, ok, false}, {1600 * ms, ok, false}, {3100 * ms, stillNothing, true}}},
		{"the answer's data dropped, its FIN passed",
			seen(tcp, established, unreached, asked(100), sent(1, 4*time.Second), filtered(ofReply, times(3), lasting(100*ms, 900*ms)), back(tracer.EventRX, on(webNS, eth0), 4*time.Second), fin),
			[]step{{4100 * ms, stillNothing, true}}},
		{"data that is not the client's, which it resets",
			seen(tcp, established, unreached, asked(100), noSocket(at3(on(webNS, eth0)), ofReply, times(1)), func(s *scene) { s.j.ClientReset = true }), []step{{70 * ms, stillNothing, true}}},
		{"data that was dropped twice and came through", seen(tcp, established, data, filtered(ofReply, times(3), lasting(100*ms, 900*ms)), back(tracer.EventRX, on(webNS, eth0), 1200*ms), fin), []step{{1300 * ms, ok, true}}},
		{"path MTU discovery at work", seen(tcp, established, data, tooBigDrop(times(1), lasting(10*ms, 10*ms)), icmpFromNode(3, 4), back(tracer.EventRX, on(webNS, eth0), 50*ms)), []step{{1200 * ms, ok, true}}},
		{"the message does not help", seen(tcp, established, asked(9000), sent(1, 900*ms), tooBigDrop(lasting(10*ms, 900*ms)), icmpFromNode(3, 4), func(s *scene) {
			back(tracer.EventRX, on(webNS, eth0), 900*ms)(s)
			s.j.Hops[len(s.j.Hops)-1].Tuple.Proto = tracer.ProtoICMP
		}), []step{{time.Second, stillNothing, true}}},
		{"one query", seen(udp), []step{{time.Second, none, false}, {3600 * ms, none, false}, {5600 * ms, none, true}}},
		{"two queries", seen(udp, sent(2, 2*time.Second)), []step{{3600 * ms, none, true}}},
		{"one query dropped", seen(udp, filtered(times(1), lasting(0, 0))), []step{{time.Second, none, false}, {3600 * ms, none, true}}},
		{"one query lost, the next answered", seen(udp, sent(2, 5*time.Second), reply, replies(1), filtered(times(1), lasting(0, 0))), []step{{5500 * ms, ok, false}, {6100 * ms, ok, true}}},
		{"an answer that the client's socket does not know", seen(udp, answer(tracer.AnswerReply, tracer.EventTX, on(apiNS, eth0))), []step{{6 * time.Second, none, true}}},
		{"answers dropped at the client", seen(udp, sent(2, time.Second), reply, replies(2), filtered(at3(on(webNS, eth0)), ofReply, times(2))), []step{{1100 * ms, none, true}}},
		{"ping", seen(ping, reply, replies(1)), []step{{1100 * ms, ok, true}}},
		{"ping without an answer", seen(ping, sent(3, 2*time.Second)), []step{{3600 * ms, none, true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, s := range tt.steps {
				o, due := Settle(tt.j, start.Add(s.at), false)
				if o != s.outcome || due != s.due {
					t.Errorf("after %s: %s %t, want %s %t", s.at, o, due, s.outcome, s.due)
				}
				if _, due := Settle(tt.j, start.Add(s.at), true); !due {
					t.Errorf("after %s: not judged at the end", s.at)
				}
			}
		})
	}
	empty := &tracer.Journey{Flow: given().Journey.Flow}
	if o, due := Settle(empty, start, false); o != tracer.OutcomeNotSeen || due {
		t.Errorf("nothing seen: %s %t", o, due)
	}
	if o, due := Settle(empty, start, true); o != tracer.OutcomeNotSeen || !due {
		t.Errorf("nothing seen at the end: %s %t", o, due)
	}
}

// ended is a scene whose trace ended so long after its first packet.
func ended(after time.Duration) change {
	return func(s *scene) { s.Now = start.Add(after) }
}

// A trace that ends too early proves nothing.
func TestTooEarly(t *testing.T) {
	e := NewEngine()
	once := []dropChange{times(1), lasting(0, 0)}
	tests := []struct {
		name string
		with []change
		code string
		also string
	}{
		{"a SYN 100 ms old, gone out", []change{toWorld, left(nodeIP), sent(1, 0), ended(100 * ms)}, "unknown", "beyond-node"},
		{"a SYN 100 ms old, without masquerade", []change{toWorld, left(webIP), sent(1, 0), ended(100 * ms)}, "unknown", "egr-masq-missing"},
		{"two SYNs, gone out", []change{toWorld, left(webIP), sent(2, time.Second), ended(2900 * ms)}, "unknown", "egr-masq-missing"},
		{"three SYNs, gone out", []change{toWorld, left(webIP), sent(3, 3*time.Second), ended(3100 * ms)}, "unknown", "egr-masq-missing"},
		{"in time", []change{toWorld, left(webIP), sent(3, 3*time.Second), ended(4 * time.Second)}, "egr-masq-missing", ""},
		{"dropped once just now", []change{sent(1, 0), byTC(once...), program("", "tc ingress", on(hostNS, vethWeb)), ended(100 * ms)}, "unknown", "pol-foreign-bpf"},
		{"dropped once, and no second try came", []change{sent(1, 0), byTC(once...), program("", "tc ingress", on(hostNS, vethWeb)), ended(1500 * ms)}, "pol-foreign-bpf", ""},
		{"dropped twice", []change{sent(2, time.Second), byTC(times(2), lasting(0, time.Second)), ended(1020 * ms)}, "pol-foreign-bpf", ""},
		{"an RST just now", []change{refusedByTarget, sent(1, 0), ended(10 * ms)}, "app-no-listener", ""},
		{"one query 100 ms old", []change{proto(tracer.ProtoUDP), toWorld, left(nodeIP), proto(tracer.ProtoUDP), sent(1, 0), ended(100 * ms)}, "unknown", "beyond-node"},
		{"one query dropped by policy, the trace ended a little later", []change{proto(tracer.ProtoUDP), sent(1, 0), filtered(once...), denies("egress", "peer"), ended(2 * time.Second)}, "pol-egress-deny", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := e.Decide(given(tt.with...))
			if v.Code != tt.code {
				t.Errorf("%s: %s", v.Code, v.Summary)
			}
			if tt.code == "unknown" && (len(v.AlsoSeen) == 0 || v.AlsoSeen[0].Code != tt.also || v.Summary[:9] != "too early" || v.Component != tracer.ComponentUnknown) {
				t.Errorf("%s\nalso %+v", v.Summary, v.AlsoSeen)
			}
			sound(t, v)
		})
	}
}
