package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// packet is one of a client's, seen at its own device.
type packet struct {
	after     time.Duration
	from, to  string
	answer    bool
	id        uint16
	rcode     uint8
	records   uint16
	tcpSyn    bool
	portError bool // the answer is an ICMP port unreachable
}

func (p packet) event(began time.Time, seq uint64) *tracer.Event {
	t := tracer.Tuple{Src: netip.MustParseAddrPort(p.from), Dst: netip.MustParseAddrPort(p.to), Proto: tracer.ProtoUDP}
	e := &tracer.Event{Seq: seq, Time: began.Add(p.after), MonoNS: uint64(p.after) + seq, Kind: tracer.EventTX, NetNS: 7, IfIndex: 2, Tuple: t, Payload: 40, Len: 68}
	if p.tcpSyn {
		e.Tuple.Proto, e.TCPFlags, e.TCPSeq, e.Payload = tracer.ProtoTCP, tracer.TCPSyn, uint32(seq), 0
		return e
	}
	e.DNS = &tracer.DNS{ID: p.id, Questions: 1}
	if p.answer {
		e.Kind, e.Tuple = tracer.EventRX, t.Reverse()
		e.DNS.Response, e.DNS.RCode, e.DNS.Answers = true, p.rcode, p.records
	}
	if p.portError {
		e.Kind, e.DNS = tracer.EventRX, nil
		e.Tuple = tracer.Tuple{Src: netip.AddrPortFrom(t.Dst.Addr(), 0), Dst: netip.AddrPortFrom(t.Src.Addr(), 0), Proto: tracer.ProtoICMP}
		e.ICMPType, e.ICMPCode, e.Quoted = 3, 3, &t
	}
	return e
}

// askedFor is a question, with its answer.
func askedFor(after time.Duration, from string, id uint16, rcode uint8, records uint16) []packet {
	q := packet{after: after, from: from, to: "10.96.0.10:53", id: id}
	a := q
	a.after, a.answer, a.rcode, a.records = after+2*time.Millisecond, true, rcode, records
	return []packet{q, a}
}

// lookupsOf gives the verdicts of a trace whose packets are these.
func lookupsOf(t *testing.T, from, to string, packets []packet) []*tracer.Verdict {
	t.Helper()
	var events []func(time.Time, uint64) *tracer.Event
	var at []time.Duration
	for _, p := range packets {
		events, at = append(events, p.event), append(at, p.after)
	}
	return traced(t, from, to, at, events)
}

// traced gives the verdicts of a trace with these events, in their order in time.
func traced(t *testing.T, from, to string, when []time.Duration, events []func(time.Time, uint64) *tracer.Event) []*tracer.Verdict {
	t.Helper()
	return tracedFor(t, 12*time.Second, from, to, when, events)
}

// tracedFor is the same of one that ends after a time.
func tracedFor(t *testing.T, long time.Duration, from, to string, when []time.Duration, events []func(time.Time, uint64) *tracer.Event) []*tracer.Verdict {
	t.Helper()
	view, _, err := kube.ReadDump(strings.NewReader(dnsDump), "dump")
	if err != nil {
		t.Fatal(err)
	}
	e, err := parseEndpoints(from, to, "", "shop", "n1")
	if err != nil {
		t.Fatal(err)
	}
	aim, err := e.resolve(t.Context(), view)
	if err != nil {
		t.Fatal(err)
	}
	a := newAnalyser("n1", aim.want)
	a.view = func(time.Time) *kube.Snapshot { return view }
	a.inventory(tracer.Inventory{HostNetNS: 1, Devices: []tracer.Device{{DeviceKey: tracer.DeviceKey{NetNS: 7, IfIndex: 2}, Name: "eth0", Role: tracer.RolePod, Addrs: prefixes("10.244.1.7/24", "fd00::7/64")}}})
	a.expect(aim)
	var got []*tracer.Verdict
	a.emit = func(v *tracer.Verdict) bool { got = append(got, v); return true }
	began := time.Unix(1000, 0)
	next := 0
	for at := time.Duration(0); at <= long; at += tickEvery {
		for ; next < len(events) && when[next] <= at; next++ {
			a.event(events[next](began, uint64(next+1)))
		}
		a.tick(began.Add(at), false)
	}
	a.end(began.Add(long + tickEvery))
	return got
}

// A lookup that fails and that nothing follows is the verdict for a destination
// that was given by name; one that is followed by a try, or by a better answer, is
// not worth a word.
func TestNothingTriedAfterALookup(t *testing.T) {
	const ms, web, svc = time.Millisecond, "10.244.1.7:40000", "shop/svc/web"
	join := func(lists ...[]packet) (all []packet) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	question := func(after time.Duration, from string) []packet {
		return []packet{{after: after, from: from, to: "10.96.0.10:53", id: 9}}
	}
	connects := func(after time.Duration) []packet {
		return []packet{{after: after, from: "10.244.1.7:50000", to: "10.96.0.99:80", tcpSyn: true}}
	}
	refused := []packet{{from: web, to: "10.96.0.10:53", id: 1}, {after: ms, from: web, to: "10.96.0.10:53", portError: true}}
	for name, tt := range map[string]struct {
		from, to string
		packets  []packet
		code     string // of the only verdict about a lookup, "" for none
	}{
		"no such name":                        {"shop/pod/web", svc, join(askedFor(0, web, 1, 3, 0), askedFor(5*ms, "10.244.1.7:40001", 2, 3, 0)), "dns-nxdomain-search"},
		"no such name, again and again":       {"shop/pod/web", svc, join(askedFor(0, web, 1, 3, 0), askedFor(3000*ms, "10.244.1.7:40001", 2, 3, 0), askedFor(6000*ms, "10.244.1.7:40002", 3, 3, 0)), "dns-nxdomain-search"},
		"the server fails":                    {"shop/pod/web", svc, askedFor(0, web, 1, 2, 0), "dns-servfail"},
		"the server fails, for a host's name": {"10.244.1.7", "web.shop.svc.cluster.local", askedFor(0, web, 1, 2, 0), "dns-servfail"},
		"the server refuses":                  {"shop/pod/web", svc, askedFor(0, web, 1, 5, 0), "dns-refused"},
		"nobody answers":                      {"shop/pod/web", svc, join(question(0, web), question(2500*ms, web)), tracer.CodeUnknown},
		"refused":                             {"shop/pod/web", svc, refused, "svc-kubeproxy-no-rules"},
		"both families fail":                  {"shop/pod/web", svc, join(askedFor(0, web, 1, 3, 0), askedFor(0, "10.244.1.7:40001", 2, 3, 0)), "dns-nxdomain-search"},

		"a search list that ends well":           {"shop/pod/web", svc, join(askedFor(0, web, 1, 3, 0), askedFor(5*ms, "10.244.1.7:40001", 2, 0, 1), connects(10*ms)), ""},
		"a search list that ends well, and idle": {"shop/pod/web", svc, join(askedFor(0, web, 1, 3, 0), askedFor(5*ms, "10.244.1.7:40001", 2, 0, 1)), ""},
		"one family of two":                      {"shop/pod/web", svc, join(askedFor(0, web, 1, 0, 1), askedFor(0, "10.244.1.7:40001", 2, 3, 0), connects(10*ms)), ""},
		"one family of two, on one socket":       {"shop/pod/web", svc, join(askedFor(0, web, 1, 3, 0), askedFor(0, web, 2, 0, 1), connects(10*ms)), ""},
		"one family is never answered":           {"shop/pod/web", svc, join(question(0, "10.244.1.7:40001"), askedFor(0, web, 1, 0, 1), connects(10*ms)), ""},
		"the other resolver answers":             {"shop/pod/web", svc, join(question(0, web), askedFor(5000*ms, "10.244.1.7:40001", 1, 0, 1), connects(5010*ms)), ""},
		"found late":                             {"shop/pod/web", svc, join(askedFor(0, web, 1, 2, 0), askedFor(1500*ms, "10.244.1.7:40001", 1, 0, 1)), ""},
		"found, and nothing sent":                {"shop/pod/web", svc, askedFor(0, web, 1, 0, 1), ""},
		"connected before":                       {"shop/pod/web", svc, join(connects(0), askedFor(50*ms, web, 1, 3, 0)), ""},
		"connects all the same":                  {"shop/pod/web", svc, join(askedFor(0, web, 1, 3, 0), connects(1500*ms)), ""},
		"connects over the other family": {"shop/pod/web", svc, join(askedFor(0, web, 1, 3, 0),
			[]packet{{after: 100 * ms, from: "[fd00::7]:50000", to: "[fd00:96::99]:80", tcpSyn: true}}), ""},
		"another pod's lookup":         {"shop/pod/web", svc, askedFor(0, "10.244.1.53:40000", 1, 3, 0), ""},
		"a destination without a name": {"shop/pod/web", "10.96.0.99:80", askedFor(0, web, 1, 3, 0), ""},
		"anybody of a namespace":       {"ns/shop", svc, askedFor(0, web, 1, 3, 0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var about []*tracer.Verdict
			for _, v := range lookupsOf(t, tt.from, tt.to, tt.packets) {
				if v.Journey.Flow.Dst.Port() == 53 {
					about = append(about, v)
				}
			}
			switch {
			case tt.code == "" && len(about) > 0:
				t.Errorf("blames a lookup: %s: %s", about[0].Code, about[0].Summary)
			case tt.code != "" && len(about) != 1:
				t.Errorf("%d verdicts about lookups, want one", len(about))
			case tt.code != "":
				v := about[0]
				if v.Code != tt.code || v.Confidence == tracer.Confirmed || !strings.Contains(v.Summary, "nothing was sent to Service shop/web") || len(v.Blind) == 0 {
					t.Errorf("%s %s: %s (%v), want %s", v.Confidence, v.Code, v.Summary, v.Blind, tt.code)
				}
			}
		})
	}
}

// Whom a client asks is watched only where the answer can be the reason.
func TestResolversSelection(t *testing.T) {
	view, _, err := kube.ReadDump(strings.NewReader(dnsDump), "dump")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"shop/pod/web", "shop/svc/web", true},
		{"10.244.1.7", "web.shop.svc.cluster.local", true},
		{"shop/pod/web", "10.96.0.99:80", false},
		{"shop/pod/web", "shop/pod/far", false},
		{"shop/pod/web", "any", false},
		{"shop/pod/web", "internet", false},
		{"any", "shop/svc/web", false},
		{"ns/shop", "shop/svc/web", false},
		{"10.244.1.0/24", "shop/svc/web", false},
	} {
		e, err := parseEndpoints(tt.from, tt.to, "", "shop", "n1")
		if err != nil {
			t.Fatal(err)
		}
		a, err := e.resolve(t.Context(), view)
		if err != nil {
			t.Fatalf("%s to %s: %v", tt.from, tt.to, err)
		}
		a.addHost(view, &tracer.Inventory{}, "n1")
		for _, ip := range []string{"10.96.0.10/32", "10.244.1.53/32", "169.254.20.10/32"} {
			p := netip.MustParsePrefix(ip)
			got := false
			for _, b := range a.selected().B {
				got = got || b == p
			}
			if got != tt.want {
				t.Errorf("%s to %s: %s is selected: %v, want %v", tt.from, tt.to, ip, got, tt.want)
			}
		}
		if a.want(tracer.Tuple{Src: netip.MustParseAddrPort("10.244.1.7:40000"), Dst: netip.MustParseAddrPort("10.96.0.10:53"), Proto: tracer.ProtoUDP}) && tt.to != "any" {
			t.Errorf("%s to %s: lookups count as what was asked for", tt.from, tt.to)
		}
	}
}
