package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// Flows to the outside are held against those before them and those beside them that
// have no verdict yet: tried at once, each of them tells that there is no way out;
// tried one after the other, the third.
func TestNothingOutsideAnswers(t *testing.T) {
	hosts := []string{"203.0.113.9:443", "198.51.100.9:8443", "192.88.7.9:443"}
	for name, tt := range map[string]struct {
		apart    time.Duration
		answered bool // the second one
		codes    string
	}{
		"in one tick":               {0, false, "egr-no-nat-gateway egr-no-nat-gateway egr-no-nat-gateway"},
		"a moment apart":            {300 * time.Millisecond, false, "egr-no-nat-gateway egr-no-nat-gateway egr-no-nat-gateway"},
		"one after the other":       {5 * time.Second, false, "beyond-node beyond-node egr-no-nat-gateway"},
		"a minute and more between": {65 * time.Second, false, "beyond-node beyond-node beyond-node"},
		"one answers":               {0, true, "egr-remote-refused beyond-node beyond-node"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, v := range outsideVerdicts(t, hosts, tt.apart, tt.answered) {
				got = append(got, v.Code)
			}
			if s := strings.Join(got, " "); s != tt.codes {
				t.Errorf("%s, want %s", s, tt.codes)
			}
		})
	}
}

// outsideVerdicts has a pod try hosts, so far apart, each with a SYN that is sent
// twice more; the second may be refused.
func outsideVerdicts(t *testing.T, hosts []string, apart time.Duration, answered bool) []*tracer.Verdict {
	t.Helper()
	view, _, err := kube.ReadDump(strings.NewReader(dnsDump), "dump")
	if err != nil {
		t.Fatal(err)
	}
	const host, uplink = 1, 3
	a := newAnalyser("n1", nil)
	a.view = func(time.Time) *kube.Snapshot { return view }
	a.ask = func(_ uint64, q tracer.Query) *tracer.NodeFacts {
		gw := netip.MustParseAddr("192.0.2.254")
		return &tracer.NodeFacts{HostNetNS: host, Routes: []tracer.RouteFact{{For: "forward", NetNS: host, Dst: q.Flow.Dst.Addr(), Type: "unicast", Prefix: "0.0.0.0/0", Dev: "ens3", Via: gw}},
			Neighbours: []tracer.NeighbourFact{{NetNS: host, Dev: "ens3", Addr: gw, State: "REACHABLE"}}}
	}
	var got []*tracer.Verdict
	a.emit = func(v *tracer.Verdict) bool { got = append(got, v); return true }
	device := func(ns, index uint32, name string, role tracer.DeviceRole, addr string) tracer.Device {
		return tracer.Device{DeviceKey: tracer.DeviceKey{NetNS: ns, IfIndex: index}, Name: name, Role: role, Addrs: prefixes(addr)}
	}
	a.inventory(tracer.Inventory{HostNetNS: host, Devices: []tracer.Device{device(7, 2, "eth0", tracer.RolePod, "10.244.1.7/24"), device(host, uplink, "ens3", tracer.RoleUplink, "192.0.2.1/24")}})
	began, seq := time.Unix(1000, 0), uint64(0)
	send := func(at time.Time, i int, answer bool) {
		asked := tracer.Tuple{Src: netip.AddrPortFrom(netip.MustParseAddr("10.244.1.7"), uint16(40000+i)), Dst: netip.MustParseAddrPort(hosts[i]), Proto: tracer.ProtoTCP}
		left := asked
		left.Src = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), asked.Src.Port())
		ct := &tracer.CT{Orig: asked, Reply: left.Reverse()}
		syn := tracer.Event{Time: at, Kind: tracer.EventTX, NetNS: 7, IfIndex: 2, Tuple: asked, TCPFlags: tracer.TCPSyn, TCPSeq: 7}
		out := syn
		out.NetNS, out.IfIndex, out.Tuple, out.CT = host, uplink, left, ct
		list := []tracer.Event{syn, out}
		if answer {
			in, end := out, syn
			in.Kind, in.Tuple, in.TCPFlags, in.CT = tracer.EventRX, left.Reverse(), tracer.TCPRst|tracer.TCPAck, nil
			end.Kind, end.Tuple, end.TCPFlags = tracer.EventRX, asked.Reverse(), tracer.TCPRst|tracer.TCPAck
			list = append(list, in, end)
		}
		for i := range list {
			seq++
			list[i].Seq, list[i].MonoNS = seq, uint64(at.Sub(began))+seq
			a.event(&list[i])
		}
	}
	due := func(at, i int) time.Duration { return time.Duration(i)*apart + time.Duration(at)*time.Second }
	last := due(3, len(hosts)-1)
	for at := time.Duration(0); at <= last+2*time.Second; at += 100 * time.Millisecond {
		for i := range hosts {
			for n := range 3 {
				refused := answered && i == 1
				if due(n, i) == at && !(refused && n > 0) {
					send(began.Add(at), i, refused)
				}
			}
		}
		a.tick(began.Add(at), false)
	}
	a.end(began.Add(last + 3*time.Second))
	return got
}
