package verdict

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// entry is the flow's in conntrack: where its answers come from, and how old it is
// when the node is read, 10 s after the flow began.
func entry(from netip.AddrPort, age time.Duration) change {
	return func(s *scene) {
		s.n.At, s.n.TrackedRead = start.Add(10*time.Second), true
		s.n.Tracked = []tracer.TrackedFact{{NetNS: hostNS, Orig: s.j.Flow, Reply: tracer.Tuple{Src: from, Dst: s.j.Flow.Src, Proto: s.j.Flow.Proto}, Timeout: 25 * time.Second, Age: age}}
	}
}

func noEntry(s *scene) { s.n.At, s.n.TrackedRead = start.Add(10*time.Second), true }

func portIs(k tracer.DeviceKey, hairpin bool) change {
	return func(s *scene) {
		s.n.Ports = append(s.n.Ports, tracer.BridgePort{Device: k, Dev: "veth1", Bridge: "br0", Hairpin: hairpin})
	}
}

func queueIs(k tracer.DeviceKey, kind string, rate uint64) change {
	return func(s *scene) {
		s.n.Queues = append(s.n.Queues, tracer.QueueFact{Device: k, Dev: "veth2", Kind: kind, RateBytes: rate, Drops: 14})
	}
}

// farEnd is the overlay's route and neighbour for the far pods, with or without the
// forwarding entry that goes with it.
func farEnd(remote string) change {
	return func(s *scene) {
		s.n.Routes[0].Dev, s.n.Routes[0].OIF, s.n.Routes[0].Via = "flannel.1", vxlan, addr("10.2.0.0")
		s.n.Neighbours = append(s.n.Neighbours, tracer.NeighbourFact{NetNS: hostNS, Dev: "flannel.1", Addr: addr("10.2.0.0"), MAC: "02:00:00:00:00:07", State: "PERMANENT"})
		s.n.ForwardingRead = true
		if remote != "" {
			s.n.Forwarding = append(s.n.Forwarding, tracer.ForwardingFact{NetNS: hostNS, Dev: "flannel.1", MAC: "02:00:00:00:00:07", Remote: addr(remote), Permanent: true})
		}
	}
}

func tunnelIs(port uint16, external bool) change {
	return func(s *scene) {
		s.n.Tunnels = append(s.n.Tunnels, tracer.TunnelFact{Device: on(hostNS, vxlan), Dev: "flannel.1", Kind: "vxlan", VNI: 1, Port: port, External: external})
	}
}

func pathMTU(question string, mtu int) change {
	return func(s *scene) {
		for i := range s.n.Routes {
			if s.n.Routes[i].For == question {
				s.n.Routes[i].PathMTU = mtu
			}
		}
	}
}

func stateFaults() []fault {
	dead := ap("10.1.0.66", 8080)
	pinned := []change{toService, proto(tracer.ProtoUDP), translated("10.1.0.66", 8080), noNeighbour()}
	before := []change{toService, proto(tracer.ProtoUDP), left(nodeIP), func(s *scene) { s.j.CTSeen = true }}
	self := []change{toService, translated(webIP, 8080), ownEndpoint, dropOf("NOT_SPECIFIED", "br_handle_frame_finish", tracer.StageBridge, "", at3(on(hostNS, vethWeb)))}
	noFDB := func(reason string, with ...change) []change {
		return append([]change{toFar, overlayCNI, dropOf(reason, "vxlan_xmit", tracer.StageTunnel, "", at3(on(hostNS, vxlan)))}, with...)
	}
	hole := []change{toWorld, established, outcomeIs(tracer.OutcomeConnectedNoData), tooBigDrop()}
	with := func(scene []change, more ...change) []change { return append(append([]change{}, scene...), more...) }
	return []fault{
		{"an old entry, seen", "stale-endpoint", "svc-stale-udp-conntrack", confirmed, "Service db/api", with(pinned, entry(dead, 20*time.Minute))},
		{"an entry without a time stamp", "stale-endpoint", "svc-stale-udp-conntrack", confirmed, "Service db/api", with(pinned, entry(dead, 0))},
		{"an entry that is gone", "stale-endpoint", "svc-stale-udp-conntrack", probable, "Service db/api", with(pinned, noEntry)},
		{"an entry that leads elsewhere now", "stale-endpoint", "svc-stale-udp-conntrack", probable, "Service db/api", with(pinned, entry(ap(apiIP, 8080), 0))},
		{"datagrams older than the rules, and their entry", "conntrack-before-rules", "svc-udp-ct-before-rules", confirmed, "Service db/api", with(before, entry(ap(svcIP, 80), time.Hour))},
		{"datagrams older than the rules, and no entry", "conntrack-before-rules", "svc-udp-ct-before-rules", probable, "Service db/api", with(before, noEntry)},
		{"hairpin off, as the port says", "hairpin", "cni-hairpin-off", confirmed, "Pod shop/web", with(self, portIs(on(hostNS, vethWeb), false))},
		{"no forwarding entry, as the device says", "overlay", "cni-overlay-fdb-missing", confirmed, "", noFDB("NO_TX_TARGET", farEnd(""))},
		{"no forwarding entry, and no reason", "overlay", "cni-overlay-fdb-missing", confirmed, "", noFDB("", farEnd(""))},
		{"a forwarding entry that came later", "overlay", "cni-overlay-fdb-missing", probable, "", noFDB("NO_TX_TARGET", farEnd(node2IP))},
		{"a tunnel on another port", "tunnel-port", "cni-overlay-port-mismatch", confirmed, "Node n1", []change{overlayCNI, tunnelIs(4789, false), dropOf("NO_SOCKET", "__udp4_lib_rcv", tracer.StageSocket, "", outerPacket)}},
		{"a tunnel on the port, later", "tunnel-port", "cni-overlay-port-mismatch", probable, "Node n1", []change{overlayCNI, tunnelIs(8472, false), dropOf("NO_SOCKET", "__udp4_lib_rcv", tracer.StageSocket, "", outerPacket)}},
		{"a bandwidth limit, read", "shaper", "cni-bandwidth-shaper", confirmed, "Pod db/api", []change{queueFull(), queueIs(on(hostNS, vethAPI), "tbf", 125000)}},
		{"a bandwidth limit with a queue below it", "shaper", "cni-bandwidth-shaper", confirmed, "Pod db/api", []change{queueFull(), queueIs(on(hostNS, vethAPI), "fq_codel", 0), queueIs(on(hostNS, vethAPI), "htb", 0)}},
		{"a bandwidth limit on the uplink", "shaper", "cni-bandwidth-shaper", confirmed, "Node n1", []change{toWorld, left(nodeIP), queueFull(at3(on(hostNS, uplink))), queueIs(on(hostNS, uplink), "htb", 0)}},
		{"a black hole of which the sender knows", "mtu", "cni-mtu-blackhole", probable, "Pod shop/web", with(hole, pathMTU("src-pod", 1400))},
	}
}

func stateLookalikes() []lookalike {
	dead := ap("10.1.0.66", 8080)
	pinned := func(with ...change) []change {
		return append([]change{toService, proto(tracer.ProtoUDP), translated("10.1.0.66", 8080), noNeighbour()}, with...)
	}
	return []lookalike{
		{"an entry as young as the flow", pinned(entry(dead, 10*time.Second)), "svc-stale-endpoint", "svc-stale-udp-conntrack", probable},
		{"a bridge drops where hairpin is on", []change{toService, translated(webIP, 8080), ownEndpoint, portIs(on(hostNS, vethWeb), true),
			dropOf("NOT_SPECIFIED", "br_handle_frame_finish", tracer.StageBridge, "", at3(on(hostNS, vethWeb)))}, "unknown", "cni-hairpin-off", ""},
		{"no reason, and the forwarding entry is there", []change{toFar, overlayCNI, dropOf("", "vxlan_xmit", tracer.StageTunnel, "", at3(on(hostNS, vxlan))), farEnd(node2IP)}, "unknown", "cni-overlay-fdb-missing", ""},
		{"no reason, and the device is driven by metadata", []change{toFar, overlayCNI, dropOf("", "vxlan_xmit", tracer.StageTunnel, "", at3(on(hostNS, vxlan))), tunnelIs(8472, true)}, "unknown", "cni-overlay-fdb-missing", ""},
		{"the uplink's own queue drops", []change{toWorld, left(nodeIP), queueFull(at3(on(hostNS, uplink)))}, "unknown", "cni-bandwidth-shaper", ""},
		{"the uplink's own queue drops, and is read", []change{toWorld, left(nodeIP), queueFull(at3(on(hostNS, uplink))), queueIs(on(hostNS, uplink), "fq_codel", 0)}, "unknown", "cni-bandwidth-shaper", ""},
		{"somebody's netem loses packets of a pod", []change{queueFull(), queueIs(on(hostNS, vethAPI), "netem", 0)}, "unknown", "cni-bandwidth-shaper", ""},
	}
}

// What was read of the state stands in the verdict.
func TestStateIsEvidence(t *testing.T) {
	e := NewEngine()
	for name, want := range map[string]string{
		"an old entry, seen":                      "20m0s old, older than what was seen of this flow",
		"an entry without a time stamp":           "answered by 10.1.0.66:8080, for another 25s",
		"hairpin off, as the port says":           "port of br0: hairpin off",
		"no forwarding entry, as the device says": "no forwarding entry for 02:00:00:00:00:07",
		"a tunnel on another port":                "vxlan device, VNI 1, UDP port 4789",
		"a bandwidth limit, read":                 "queue tbf: 125000 bytes a second, 14 packets dropped",
		"a black hole of which the sender knows":  "sends at most 1400 bytes",
	} {
		for _, tt := range stateFaults() {
			if tt.name != name {
				continue
			}
			var all []string
			for _, ev := range e.Decide(given(tt.with...)).Evidence {
				all = append(all, ev.What)
			}
			if !strings.Contains(strings.Join(all, "\n"), want) {
				t.Errorf("%s: not in %q: %s", name, all, want)
			}
		}
	}
	v := e.Decide(given(toWorld, tooBigDrop(), icmpFromNode(3, 4), func(s *scene) {
		s.n.Routes[0].OIF = uplink
		s.n.MTUs = []tracer.MTUFact{{Device: on(webNS, eth0), MTU: 9000}, {Device: on(hostNS, uplink), MTU: 1400}}
	}))
	if len(v.Evidence) < 3 || v.Evidence[1].What != "MTU 9000" || v.Evidence[2].What != "MTU 1400" {
		t.Errorf("%+v", v.Evidence)
	}
}

// That a next hop's address was written by somebody is said, and blamed on nobody: it
// may well be the right one.
func TestPermanentNextHop(t *testing.T) {
	for state, said := range map[string]bool{"PERMANENT": true, "REACHABLE": false} {
		v := NewEngine().Decide(given(toFar, left(webIP), neighbourIs(node2IP, state)))
		got := slices.ContainsFunc(v.Evidence, func(e tracer.Evidence) bool { return strings.Contains(e.What, "neighbour "+node2IP+" dev ens3") })
		if v.Code != tracer.CodeBeyondNode || got != said {
			t.Errorf("%s: %s, said %t: %+v", state, v.Code, got, v.Evidence)
		}
	}
}
