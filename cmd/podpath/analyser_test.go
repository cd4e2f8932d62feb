package main

import (
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/session"
)

// refusal is a SYN and the RST that answers it.
func refusal(at time.Time) []tracer.Event {
	there := tracer.Tuple{Src: netip.MustParseAddrPort("10.0.0.1:4000"), Dst: netip.MustParseAddrPort("10.0.0.2:80"), Proto: tracer.ProtoTCP}
	return []tracer.Event{
		{Seq: 1, Time: at, MonoNS: 1, Kind: tracer.EventTX, NetNS: 1, IfIndex: 2, Tuple: there, TCPFlags: tracer.TCPSyn, TCPSeq: 7},
		{Seq: 2, Time: at, MonoNS: 2, Kind: tracer.EventRX, NetNS: 1, IfIndex: 2, Tuple: there.Reverse(), TCPFlags: tracer.TCPRst | tracer.TCPAck, TCPAck: 8},
	}
}

// A verdict knows of the losses before it, also of those since the counters were
// read last.
func TestVerdictKnowsOfLoss(t *testing.T) {
	began := time.Now()
	a := newAnalyser("n", nil)
	a.recount = func() session.Stats { return session.Stats{Seen: 9, Lost: 5} }
	var got *tracer.Verdict
	a.emit = func(v *tracer.Verdict) bool { got = v; return true }
	a.stats(began, session.Stats{Seen: 2})
	for _, ev := range refusal(began) {
		a.event(&ev)
	}
	a.tick(began.Add(time.Second), false)
	if got == nil || got.Outcome != tracer.OutcomeRefused || got.LostEvents != 5 {
		t.Fatalf("got %+v", got)
	}
}

// Asked about everything outside, and without a packet, a missing route is still
// named; that nothing was sent is no fault.
func TestUnseenOutside(t *testing.T) {
	a4, a6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for name, c := range map[string]struct {
		src      netip.Addr
		internet bool
		route    string
		want     string
		sure     tracer.Confidence
		noRoutes uint64
	}{
		"no route, and it was tried":  {a4, true, "none", "cni-pod-no-default-route", tracer.Confirmed, 3},
		"no route":                    {a4, true, "none", "cni-pod-no-default-route", tracer.Suspected, 0},
		"no route, IPv6":              {a6, true, "none", "cni-pod-no-default-route", tracer.Confirmed, 1},
		"a route, and nothing to say": {a4, true, "unicast", "", "", 0},
		"a route, another's packets":  {a4, true, "unicast", "", "", 3},
		"a route to one address":      {a4, false, "unicast", tracer.CodeUnknown, tracer.Suspected, 0},
	} {
		t.Run(name, func(t *testing.T) {
			to := kube.Resolved{Internet: true}
			if !c.internet {
				to = kube.Resolved{Targets: []kube.Target{{Prefix: netip.MustParsePrefix("10.0.0.9/32"), Port: 80}}}
			}
			aimed := &aim{from: kube.Resolved{Targets: []kube.Target{{Prefix: netip.PrefixFrom(c.src, c.src.BitLen())}}}, to: to}
			flows, standIn := aimed.unseen()
			if len(flows) != 1 || standIn != c.internet || flows[0].Src.Addr() != c.src || flows[0].Dst.Addr().Is4() != c.src.Is4() {
				t.Fatalf("would speak of %v, %v", flows, standIn)
			}
			a := newAnalyser("n", nil)
			a.inv = tracer.Inventory{HostNetNS: 1, Devices: []tracer.Device{{DeviceKey: tracer.DeviceKey{NetNS: 2, IfIndex: 2}, Name: "eth0", Role: tracer.RolePod, Addrs: []netip.Prefix{netip.PrefixFrom(c.src, 24)}}}}
			a.ask = func(uint64, tracer.Query) *tracer.NodeFacts {
				return &tracer.NodeFacts{Routes: []tracer.RouteFact{{For: "src-pod", Dst: flows[0].Dst.Addr(), Type: c.route}}, Counters: map[uint32]map[string]uint64{2: {"IpOutNoRoutes": c.noRoutes}}}
			}
			var got tracer.Verdict
			a.emit = func(v *tracer.Verdict) bool { got = *v; return true }
			if given := a.unseen(flows, standIn, time.Now()); given != (c.want != "") || got.Code != c.want || got.Confidence != c.sure {
				t.Errorf("given %v: %s %s: %s", given, got.Code, got.Confidence, got.Summary)
			}
		})
	}
}

// With two families each is looked at: one may have its route.
func TestUnseenFamilies(t *testing.T) {
	single := func(s string) kube.Target { return kube.Target{Prefix: netip.MustParsePrefix(s)} }
	aimed := &aim{from: kube.Resolved{Targets: []kube.Target{single("10.0.0.1/32"), single("10.0.0.2/32"), single("fd00::1/128")}}, to: kube.Resolved{Internet: true}}
	flows, standIn := aimed.unseen()
	a, noRoutes := newAnalyser("n", nil), uint64(2)
	a.ask = func(_ uint64, q tracer.Query) *tracer.NodeFacts {
		typ := "unicast"
		if q.Flow.Src.Addr().Is6() {
			typ = "none"
		}
		return &tracer.NodeFacts{Routes: []tracer.RouteFact{{For: "src-pod", Dst: q.Flow.Dst.Addr(), Type: typ}}, Counters: map[uint32]map[string]uint64{0: {"Ip6OutNoRoutes": noRoutes}}}
	}
	var got []*tracer.Verdict
	a.emit = func(v *tracer.Verdict) bool { got = append(got, v); return true }
	if given := a.unseen(flows, standIn, time.Now()); !given || len(flows) != 2 || len(got) != 1 || !got[0].Journey.Flow.Src.Addr().Is6() {
		t.Errorf("of %v: %v", flows, got)
	}
	noRoutes = 0
	if a.unseen(flows, standIn, time.Now()) {
		t.Errorf("blames a family that nobody tried: %v", got)
	}
}

// A recording in which nothing was seen ends with what the node's state told then: a
// replay says the same, once.
func TestUnseenInReplay(t *testing.T) {
	began, src := time.Unix(1000, 0), netip.MustParseAddr("10.0.0.1")
	inv := tracer.Inventory{HostNetNS: 1, Devices: []tracer.Device{{DeviceKey: tracer.DeviceKey{NetNS: 2, IfIndex: 2}, Name: "eth0", Role: tracer.RolePod, Addrs: []netip.Prefix{netip.PrefixFrom(src, 24)}}}}
	facts := func(to string) *tracer.NodeFacts {
		return &tracer.NodeFacts{Routes: []tracer.RouteFact{{For: "src-pod", Dst: netip.MustParseAddr(to), Type: "none"}}, Counters: map[uint32]map[string]uint64{2: {"IpOutNoRoutes": 3}}}
	}
	for name, c := range map[string]struct {
		to    string
		facts *tracer.NodeFacts
		want  string
	}{
		"no route to it":              {"203.0.113.9", facts("203.0.113.9"), "cni-pod-no-default-route"},
		"no route to what is outside": {"internet", facts(tracer.Outside(true).String()), "cni-pod-no-default-route"},
		"nothing known":               {"203.0.113.9", nil, tracer.CodeUnknown},
	} {
		file := filepath.Join(t.TempDir(), "session")
		w, err := session.Create(file, session.Header{Node: "n", From: src.String(), To: c.to, Started: began})
		if err != nil {
			t.Fatal(err)
		}
		errs := []error{w.Inventory(&inv), w.Note(began, endNote)}
		if c.facts != nil { // the second time nobody asks
			errs = append(errs, w.Facts(0, c.facts), w.Facts(0, c.facts))
		}
		if err := errors.Join(append(errs, w.Close())...); err != nil {
			t.Fatal(err)
		}
		if vs := replayFile(t, file); len(vs) != 1 || vs[0].Code != c.want {
			t.Errorf("%s: said %+v", name, vs)
		}
	}
}

// The end of a trace between the packets of a flow says nothing against it, nor does
// a packet that was sent again only because its acknowledgement came late.
func TestUnderWayAtTheEnd(t *testing.T) {
	now := time.Unix(1000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	client, server := netip.MustParseAddrPort("10.244.1.7:40000"), netip.MustParseAddrPort("10.244.1.9:80")
	healthy := func() *tracer.Journey {
		flow := tracer.Tuple{Src: client, Dst: server, Proto: tracer.ProtoTCP}
		return &tracer.Journey{Flow: flow, Translated: flow, First: ago(100 * time.Millisecond), Last: ago(20 * time.Millisecond), Attempts: 1, Established: true, RequestBytes: 10,
			Hops:    []tracer.Hop{{Direction: tracer.DirRequest, Kind: tracer.EventTX, Tuple: flow, Packets: 3}},
			Answers: []tracer.Answer{{Kind: tracer.AnswerSynAck, ReachedClient: true, Count: 1}}}
	}
	dropped := func(reason string, stage tracer.Stage, n uint64) func(*tracer.Journey) {
		return func(j *tracer.Journey) {
			j.Drops = []tracer.DropSeen{{DropSite: tracer.DropSite{Tuple: j.Flow, Drop: tracer.Drop{Reason: reason, Stage: stage}}, Direction: tracer.DirRequest, Count: n, First: j.Last, Last: j.Last}}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*tracer.Journey)
		want   bool
	}{
		{"between request and answer", func(*tracer.Journey) {}, true},
		{"an acknowledgement came late", func(j *tracer.Journey) { j.Retransmits = 1 }, true},
		{"and the socket had the packet twice", func(j *tracer.Journey) {
			j.Retransmits = 1
			dropped("TCP_OLD_SEQUENCE", tracer.StageSocket, 1)(j)
		}, true},
		{"sent again after a time-out", func(j *tracer.Journey) { j.Retransmits, j.First = 1, ago(250*time.Millisecond) }, false},
		{"sent again and again", func(j *tracer.Journey) { j.Retransmits = 2 }, false},
		{"a second SYN", func(j *tracer.Journey) { j.Attempts = 2 }, false},
		{"a drop on the way", dropped("NETFILTER_DROP", tracer.StageForward, 1), false},
		{"a drop at the socket that is no repetition", dropped("SOCKET_FILTER", tracer.StageSocket, 1), false},
		{"silent for long", func(j *tracer.Journey) { j.First, j.Last = ago(199*time.Millisecond), ago(160*time.Millisecond) }, false},
	} {
		j := healthy()
		tt.change(j)
		if got := underWay(j, now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
