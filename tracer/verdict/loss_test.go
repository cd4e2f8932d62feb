package verdict

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// lostOnce is one segment of the request that a rule dropped, a while after the flow
// began.
func lostOnce(with ...dropChange) change {
	return func(s *scene) {
		filtered(append([]dropChange{times(1), lasting(0, 0)}, with...)...)(s)
		rule("", "drop")(s)
	}
}

// again: a packet of one direction came to the end that it was for, so long after
// the flow began.
func again(dir tracer.Direction, kind tracer.EventKind, at tracer.DeviceKey, after time.Duration) change {
	return func(s *scene) {
		s.j.Hops = append(s.j.Hops, tracer.Hop{Direction: dir, Kind: kind, Device: at, Tuple: s.j.Flow, First: start.Add(after), Last: start.Add(after), Packets: 1})
	}
}

func lossFaults() []fault {
	arrived := again(tracer.DirRequest, tracer.EventRX, on(apiNS, eth0), time.Second)
	came := again(tracer.DirReply, tracer.EventRX, on(webNS, eth0), time.Second)
	hangs := func(s *scene) { s.j.RequestBytes, s.Outcome = 200, tracer.OutcomeConnectedNoData }
	resets := func(s *scene) {
		answer(tracer.AnswerRST, tracer.EventTX, on(apiNS, eth0))(s)
		s.Outcome = tracer.OutcomeReset
	}
	return []fault{
		{"a SYN was lost, then nobody listens", "refused-here", "app-no-listener", confirmed, "Pod db/api", []change{lostOnce(), refusedByTarget, arrived}},
		{"a SYN was lost, then the application resets", "reset", "app-reset", probable, "Pod db/api", []change{lostOnce(), reached, established, arrived, resets}},
		{"a SYN was lost, then the application hangs", "no-data", "app-hang", probable, "Pod db/api", []change{lostOnce(), reached, established, arrived, hangs}},
		{"an answer was lost, then the application hangs", "no-data", "app-hang", probable, "Pod db/api", []change{lostOnce(ofReply), reached, established, came, hangs}},
		{"a SYN was lost, then the far side refuses", "refused-outside", "egr-remote-refused", confirmed, "ExternalHost " + world, []change{toWorld, lostOnce(), left(nodeIP),
			again(tracer.DirRequest, tracer.EventTX, on(hostNS, uplink), time.Second), answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink)), outcomeIs(tracer.OutcomeRefused)}},
		// The application listens, and not where it is asked.
		{"it listens in the other family", "refused-here", "app-no-listener", confirmed, "Pod db/api", []change{refusedByTarget, listeningOnly("[::]:8080")}},
		{"it listens on another address", "refused-here", "app-no-listener", confirmed, "Pod db/api", []change{refusedByTarget, listeningOnly("192.0.2.77:8080")}},
	}
}

// listeningOnly is a socket that takes one family only.
func listeningOnly(at string) change {
	return func(s *scene) {
		listening(at)(s)
		s.n.Listeners[len(s.n.Listeners)-1].V6Only = true
	}
}

func lossLookalikes() []lookalike {
	arrived := again(tracer.DirRequest, tracer.EventRX, on(apiNS, eth0), time.Second)
	reset := answer(tracer.AnswerRST, tracer.EventTX, on(hostNS, bridge), arrivedAt)
	return []lookalike{
		{"the firewall resets what it drops", []change{filtered(times(1), lasting(0, 0)), rule("", "reject"), reset, outcomeIs(tracer.OutcomeRefused)}, "node-firewall-reject", "app-no-listener app-reset", ""},
		{"the firewall resets a connection that was up", []change{reached, established, filtered(times(1), lasting(time.Second, time.Second)), rule("", "reject"), reset, outcomeIs(tracer.OutcomeReset)}, "node-firewall-reject", "app-no-listener", ""},
		{"it was lost twice", []change{reached, established, lostOnce(times(2)), arrived, outcomeIs(tracer.OutcomeConnectedNoData)}, "node-forward-drop", "", ""},
		{"a lost datagram is not sent again", []change{proto(tracer.ProtoUDP), reached, lostOnce(), arrived}, "node-forward-drop", "", ""},
		{"it may listen for IPv4 as well", []change{refusedByTarget, listening("[::]:8080")}, "app-no-listener", "", suspected},
		{"it listens on its own address", []change{refusedByTarget, listening(apiIP + ":8080")}, "app-no-listener", "", suspected},
	}
}

// A reset that the client's socket does not take for its own does not refuse its
// connection.
func TestUnheardReset(t *testing.T) {
	reset := func(with ...func(*tracer.Answer)) change {
		return answer(tracer.AnswerRST, tracer.EventTX, on(hostNS, vethWeb), with...)
	}
	translatedBack := noSocket(at3(on(webNS, eth0)), ofReply, times(1))
	foreign := noSocket(at3(on(webNS, eth0)), ofReply, times(1))
	for _, tc := range []struct {
		name string
		with []change
		want tracer.Outcome
	}{
		{"heard", []change{reset(arrivedAt)}, tracer.OutcomeRefused},
		{"of the address that was asked", []change{toService, translatedBack, reset()}, tracer.OutcomeRefused},
		{"of another address", []change{toService, translated(apiIP, 8080), foreign, reset()}, tracer.OutcomeNoAnswer},
	} {
		in := given(tc.with...)
		if got, _ := outcome(in.Journey, in.Now); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestTakes(t *testing.T) {
	for _, tc := range []struct {
		at, dst string
		only    bool
		want    bool
	}{
		{"0.0.0.0:80", "10.0.0.1", false, true},
		{"0.0.0.0:80", "2001:db8::1", false, false},
		{"[::]:80", "10.0.0.1", false, true},
		{"[::]:80", "10.0.0.1", true, false},
		{"[::]:80", "2001:db8::1", true, true},
		{"10.0.0.1:80", "10.0.0.1", false, true},
		{"10.0.0.2:80", "10.0.0.1", false, false},
	} {
		l := tracer.Listener{Addr: netip.MustParseAddrPort(tc.at), V6Only: tc.only}
		if got := takes(&l, addr(tc.dst)); got != tc.want {
			t.Errorf("%s (IPv6 only: %t) takes %s: %t", tc.at, tc.only, tc.dst, got)
		}
	}
}
