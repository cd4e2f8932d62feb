package render

import (
	"net/netip"
	"strings"
	"time"

	"github.com/podpath/podpath/tracer"
)

// Two pods, their Service, and the node's devices between them.
const (
	hostNS   = 4026531840
	clientNS = 4026532100
	serverNS = 4026532200
)

func start() time.Time { return time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC) }

func inventory() *tracer.Inventory {
	dev := func(ns, index uint32, name string, role tracer.DeviceRole, peer tracer.DeviceKey) tracer.Device {
		return tracer.Device{DeviceKey: tracer.DeviceKey{NetNS: ns, IfIndex: index}, Name: name, Role: role, Peer: peer, Up: true}
	}
	return &tracer.Inventory{HostNetNS: hostNS, Devices: []tracer.Device{
		dev(clientNS, 2, "eth0", tracer.RolePod, tracer.DeviceKey{NetNS: hostNS, IfIndex: 11}),
		dev(serverNS, 2, "eth0", tracer.RolePod, tracer.DeviceKey{NetNS: hostNS, IfIndex: 12}),
		dev(hostNS, 11, "veth11", tracer.RolePodHost, tracer.DeviceKey{NetNS: clientNS, IfIndex: 2}),
		dev(hostNS, 12, "veth12", tracer.RolePodHost, tracer.DeviceKey{NetNS: serverNS, IfIndex: 2}),
		dev(hostNS, 3, "cni0", tracer.RoleBridge, tracer.DeviceKey{}),
		dev(hostNS, 4, "eth0", tracer.RoleUplink, tracer.DeviceKey{}),
	}}
}

func device(name string) tracer.DeviceKey {
	return map[string]tracer.DeviceKey{
		"client": {NetNS: clientNS, IfIndex: 2}, "server": {NetNS: serverNS, IfIndex: 2},
		"veth11": {NetNS: hostNS, IfIndex: 11}, "veth12": {NetNS: hostNS, IfIndex: 12},
		"cni0": {NetNS: hostNS, IfIndex: 3}, "uplink": {NetNS: hostNS, IfIndex: 4},
		"stranger": {NetNS: 4026539999, IfIndex: 2},
	}[name]
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func tcp(src, dst string) tracer.Tuple {
	return tracer.Tuple{Src: addr(src), Dst: addr(dst), Proto: tracer.ProtoTCP}
}

func icmp(src, dst string) tracer.Tuple {
	return tracer.Tuple{Src: addr(src + ":0"), Dst: addr(dst + ":0"), Proto: tracer.ProtoICMP}
}

func asked() tracer.Tuple    { return tcp("10.244.1.7:39514", "10.96.0.20:80") }
func after() tracer.Tuple    { return tcp("10.244.1.7:39514", "10.244.1.9:8080") }
func answer() tracer.Tuple   { return after().Reverse() }
func answered() tracer.Tuple { return asked().Reverse() }

// travel builds a journey step by step, a millisecond apart.
type travel struct{ j tracer.Journey }

func newTravel(flow tracer.Tuple) *travel {
	return &travel{tracer.Journey{
		ID: 1, Flow: flow, Translated: flow, First: start(), Last: start(),
		SrcDevice: device("client"), DstDevice: device("server"),
	}}
}

func (t *travel) now() (time.Time, uint64) {
	n := len(t.j.Hops) + len(t.j.Drops)
	return start().Add(time.Duration(n) * time.Millisecond), uint64(1000 + n)
}

func (t *travel) hop(dir tracer.Direction, kind tracer.EventKind, dev string, tuple tracer.Tuple, packets uint64) *travel {
	at, mono := t.now()
	t.j.Hops = append(t.j.Hops, tracer.Hop{
		Direction: dir, Kind: kind, Device: device(dev), Tuple: tuple, First: at, Last: at, FirstMonoNS: mono, Packets: packets, Event: mono - 999,
	})
	return t
}

func (t *travel) request(kind tracer.EventKind, dev string, tuple tracer.Tuple, packets uint64) *travel {
	return t.hop(tracer.DirRequest, kind, dev, tuple, packets)
}

func (t *travel) reply(kind tracer.EventKind, dev string, tuple tracer.Tuple, packets uint64) *travel {
	return t.hop(tracer.DirReply, kind, dev, tuple, packets)
}

func (t *travel) drop(dev string, tuple tracer.Tuple, d tracer.Drop, count uint64) *travel {
	at, mono := t.now()
	t.j.Drops = append(t.j.Drops, tracer.DropSeen{
		DropSite: tracer.DropSite{Device: device(dev), Tuple: tuple, Drop: d}, Direction: tracer.DirRequest,
		Count: count, First: at, Last: at, MonoNS: mono, Event: mono - 999,
	})
	return t
}

func (t *travel) dnat() *travel {
	t.j.Translated = after()
	t.j.Translations = append(t.j.Translations, tracer.Translation{Kind: "dnat", From: asked().Dst, To: after().Dst, Event: 3})
	return t
}

func cluster() *tracer.ClusterFacts {
	return &tracer.ClusterFacts{
		Known: true, Node: "n1",
		Source:      tracer.Endpoint{IP: asked().Src.Addr(), Kind: tracer.KindPod, Namespace: "shop", Name: "checkout-7d9f-x2x4q", Node: "n1", Owner: "Deployment/checkout"},
		Destination: tracer.Endpoint{IP: asked().Dst.Addr(), Kind: tracer.KindService, Namespace: "payments", Name: "api"},
		Target:      tracer.Endpoint{IP: after().Dst.Addr(), Kind: tracer.KindPod, Namespace: "payments", Name: "api-5c-aaaaa", Node: "n1"},
		SourcePod:   &tracer.PodFacts{Namespace: "shop", Name: "checkout-7d9f-x2x4q"},
		TargetPod:   &tracer.PodFacts{Namespace: "payments", Name: "api-5c-aaaaa"},
	}
}

// policyVerdict: translated, then dropped in front of the target.
func policyVerdict() *tracer.Verdict {
	t := newTravel(asked()).dnat().
		request(tracer.EventTX, "client", asked(), 2).
		request(tracer.EventRX, "veth11", asked(), 2).
		request(tracer.EventTX, "cni0", after(), 1).
		drop("veth12", after(), tracer.Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stage: tracer.StageForward, Engine: "nftables"}, 2)
	rule := `counter drop comment "no ingress policy of pod payments/api-5c-aaaaa allows"`
	return &tracer.Verdict{
		Time: start(), Node: "n1", Component: tracer.ComponentPolicy, Code: "pol-ingress-deny", Confidence: tracer.Confirmed,
		Summary: "NetworkPolicy payments/allow-frontend does not allow shop/checkout-7d9f-x2x4q to reach payments/api-5c-aaaaa on TCP 8080 (ingress); dropped on n1 veth12 (forward hook, nftables)",
		Outcome: tracer.OutcomeNoAnswer, Journey: &t.j, Cluster: cluster(),
		Object:   &tracer.Ref{Kind: "NetworkPolicy", Namespace: "payments", Name: "allow-frontend"},
		Rule:     &tracer.RuleFact{Engine: "nftables", Table: "netpol", Chain: "pod-ingress-a1", Text: rule, How: "counter", Owner: "cni"},
		Evidence: []tracer.Evidence{{Time: start(), Where: "n1 veth12", What: "NETFILTER_DROP at nft_do_chain, 2 times", Event: 4}, {Time: start(), Where: "n1", What: "rule (counter): " + rule}},
		Remedy:   []string{"kubectl -n payments describe networkpolicy allow-frontend", "allow it:\nkubectl apply -f - <<EOF\nkind: NetworkPolicy\nEOF"},
	}
}

// errorVerdict: nobody owns the target, and the node says so in the Service's
// name.
func errorVerdict() *tracer.Verdict {
	t := newTravel(asked()).dnat()
	t.j.DstDevice = tracer.DeviceKey{}
	t.request(tracer.EventTX, "client", asked(), 4).
		drop("cni0", after(), tracer.Drop{Reason: "NEIGH_FAILED", Location: "neigh_invalidate", Stage: tracer.StageNeighbour}, 3).
		reply(tracer.EventTX, "cni0", icmp("10.96.0.20", "10.244.1.7"), 2).
		reply(tracer.EventTX, "veth11", icmp("10.96.0.20", "10.244.1.7"), 2).
		reply(tracer.EventRX, "client", icmp("10.96.0.20", "10.244.1.7"), 2)
	t.j.Answers = []tracer.Answer{{Kind: tracer.AnswerICMP, From: netip.MustParseAddr("10.96.0.20"), Device: device("cni0"), Hook: tracer.EventTX, Proto: tracer.ProtoICMP, ICMPType: 3, ICMPCode: 1}}
	c := cluster()
	c.TargetPod, c.Target = nil, tracer.Endpoint{IP: after().Dst.Addr(), Kind: tracer.KindUnknown}
	return &tracer.Verdict{
		Time: start(), Node: "n1", Component: tracer.ComponentKubeProxy, Code: "svc-stale-endpoint", Confidence: tracer.Probable,
		Summary: "node n1 translates Service payments/api to 10.244.1.9:8080, which is in no EndpointSlice of it",
		Outcome: tracer.OutcomeICMPError, Journey: &t.j, Cluster: c,
		AlsoSeen:   []tracer.AlsoSeen{{Component: tracer.ComponentCNI, Code: "cni-veth-down", Why: "the veth of another pod is down"}},
		Remedy:     []string{"restart kube-proxy on n1"},
		Blind:      []tracer.Blind{{What: "drop reasons", Effect: "the kernel gives none before 5.17"}},
		LostEvents: 12,
	}
}

// healthyVerdict: there and back through a Service.
func healthyVerdict() *tracer.Verdict {
	t := newTravel(asked()).dnat()
	t.j.ReachedTarget = true
	t.request(tracer.EventTX, "client", asked(), 5).
		request(tracer.EventTX, "veth12", after(), 5).
		request(tracer.EventRX, "server", after(), 5).
		reply(tracer.EventTX, "server", answer(), 5).
		reply(tracer.EventTX, "veth11", answered(), 5).
		reply(tracer.EventRX, "client", answered(), 5)
	return &tracer.Verdict{
		Time: start(), Node: "n1", Component: tracer.ComponentNone, Code: tracer.CodeOK, Confidence: tracer.Confirmed,
		Summary: "shop/checkout-7d9f-x2x4q reaches Service payments/api on TCP 80 and gets answers",
		Outcome: tracer.OutcomeDelivered, Journey: &t.j, Cluster: cluster(),
	}
}

// tunnelVerdict: IPv6 over VXLAN, from a namespace that nobody knows.
func tunnelVerdict() *tracer.Verdict {
	flow := tcp("[fd00:1::7]:39514", "[fd00:2::9]:8080")
	t := newTravel(flow)
	t.j.SrcDevice, t.j.DstDevice, t.j.LeftNode = tracer.DeviceKey{}, tracer.DeviceKey{}, true
	t.request(tracer.EventTX, "stranger", flow, 1).
		request(tracer.EventTX, "uplink", tracer.Tuple{Src: addr("192.168.1.11:50123"), Dst: addr("192.168.1.12:8472"), Proto: tracer.ProtoUDP}, 1)
	t.j.Hops[1].Inner = &tracer.Inner{Tunnel: "vxlan", VNI: 1, Tuple: flow}
	return &tracer.Verdict{
		Time: start(), Node: "n1", Component: tracer.ComponentExternal, Code: tracer.CodeBeyondNode, Confidence: tracer.Suspected,
		Summary: "the packets left n1 intact and were not answered", Outcome: tracer.OutcomeNoAnswer,
		Journey: &t.j, Cluster: &tracer.ClusterFacts{},
	}
}

// mtuVerdict: small packets left, translated; a later large one died before
// that, and so did the message about it.
func mtuVerdict() *tracer.Verdict {
	flow := tcp("10.244.1.7:39514", "203.0.113.10:443")
	out := tcp("192.168.1.11:26306", "203.0.113.10:443")
	t := newTravel(flow)
	t.j.DstDevice, t.j.LeftNode = tracer.DeviceKey{}, true
	t.j.Translations = []tracer.Translation{{Kind: "snat", From: flow.Src, To: out.Src, Event: 2}}
	t.request(tracer.EventTX, "client", flow, 6).
		request(tracer.EventTX, "uplink", out, 2).
		drop("cni0", flow, tracer.Drop{Reason: "PKT_TOO_BIG", Location: "ip_forward", Stage: tracer.StageForward}, 4).
		drop("none", icmp("10.244.1.1", "10.244.1.7"), tracer.Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stage: tracer.StageOutput, Engine: "nftables"}, 4)
	t.j.Drops[1].ICMPError, t.j.Drops[1].Device = true, tracer.DeviceKey{NetNS: hostNS}
	c := cluster()
	c.TargetPod, c.Destination, c.Target = nil, tracer.Endpoint{}, tracer.Endpoint{}
	return &tracer.Verdict{
		Time: start(), Node: "n1", Component: tracer.ComponentCNI, Code: "cni-mtu-blackhole", Confidence: tracer.Confirmed,
		Summary: "packets of 7292 bytes from 10.244.1.7 do not fit the next link (MTU 1400)", Outcome: tracer.OutcomeConnectedNoData,
		Journey: &t.j, Cluster: c,
	}
}

// unseenVerdict has no path at all.
func unseenVerdict() *tracer.Verdict {
	t := newTravel(asked())
	return &tracer.Verdict{
		Time: start(), Node: "n1", Component: tracer.ComponentUnknown, Code: tracer.CodeUnknown, Confidence: tracer.Suspected,
		Summary: "no packet from shop/checkout-7d9f-x2x4q to Service payments/api was seen on node n1", Outcome: tracer.OutcomeNotSeen,
		Journey: &t.j, Cluster: cluster(), Remedy: []string{"run podpath on the other nodes of the path"},
	}
}

const hostile = "evil\x1b[2J\x1b]0;owned\x07\u202etxt\r\nFAKE LINE\u2028\x9b31m"

// hostileVerdict has an attack in every string that others choose.
func hostileVerdict() *tracer.Verdict {
	v := policyVerdict()
	v.Summary, v.Node = hostile, hostile
	v.Object = &tracer.Ref{Kind: hostile, Namespace: hostile, Name: hostile}
	v.Rule = &tracer.RuleFact{Engine: hostile, Table: hostile, Chain: hostile, Text: hostile, How: hostile}
	v.Evidence = []tracer.Evidence{{Where: hostile, What: hostile + "2"}}
	v.AlsoSeen = []tracer.AlsoSeen{{Component: hostile, Code: hostile, Why: hostile}}
	v.Remedy = []string{strings.ReplaceAll(hostile, "\n", "")} // a line break is the catalogue's own
	v.Blind = []tracer.Blind{{What: hostile, Effect: hostile}}
	c := v.Cluster
	c.Source.Name, c.Destination.Name, c.Destination.Namespace = hostile, hostile, hostile
	c.SourcePod = &tracer.PodFacts{Namespace: hostile, Name: hostile}
	v.Journey.Drops[0].Drop = tracer.Drop{Reason: hostile, Location: hostile, Stage: hostile, Engine: hostile}
	v.Code, v.Confidence, v.Outcome = hostile, hostile, hostile
	return v
}

func drop() *Drop {
	d := NewDrop()
	d.Time, d.Node, d.Reason, d.Location, d.Stage, d.Engine = start(), "n1", "NETFILTER_DROP", "nft_do_chain", tracer.StageForward, "nftables"
	d.Device, d.NetNS, d.Workload, d.Owner, d.Direction = "veth12", hostNS, "payments/api-5c-aaaaa", "Deployment/api", "ingress"
	d.Rule = &Rule{Engine: "nftables", Table: "netpol", Chain: "pod-ingress-a1", Text: "counter drop", How: "counter"}
	d.Example, d.Count, d.Bytes, d.PerSecond, d.First, d.Last = after().String(), 1234, 74040, 123.4, start(), start().Add(time.Second)
	return d
}

func bareDrop() *Drop {
	d := NewDrop()
	d.Time, d.Node, d.Location, d.Count, d.PerSecond, d.First, d.Last = start(), "n1", "tcp_v6_rcv", 1, 0.1, start(), start()
	d.Noise, d.Example = "socket-teardown", tcp("[fd00:1::7]:39514", "[fd00:2::9]:8080").String()
	return d
}

func hostileDrop() *Drop {
	d := drop()
	d.Reason, d.Location, d.Stage, d.Engine, d.Device, d.Workload, d.Owner, d.Direction = hostile, hostile, hostile, hostile, hostile, hostile, hostile, hostile
	d.Example, d.Noise = hostile, hostile
	d.Rule = &Rule{Table: hostile, Chain: hostile, Text: hostile}
	return d
}

func summary() *Summary {
	s := NewSummary()
	s.Time, s.Node, s.Duration, s.Flows, s.Tier = start(), "n1", "1.424s", 3, "tcx"
	s.Verdicts = map[string]int{"pol-ingress-deny": 1, "ok": 2}
	s.Events, s.Lost, s.Counters = 63, 1, map[string]uint64{"rx.events": 40}
	s.Blind = []tracer.Blind{{What: "XDP", Effect: "packets that an XDP program takes are not seen"}}
	s.Cost = &Cost{CPUSeconds: 0.25, UserSeconds: 0.2, SystemSeconds: 0.05, CPUPercent: 2.5, EventsPerSecond: 120, MaxRSSKiB: 65536,
		Runs: map[string]uint64{"rx": 5000, "tx": 4000}, Programs: map[string]uint64{"tcx_ingress": 400000}, MeasuredRuns: map[string]uint64{"tcx_ingress": 2000}}
	s.Shares = []tracer.Shares{{Destination: "payments/svc/api:80", Protocol: "TCP", Outcome: tracer.OutcomeIntermittent, Flows: 3, Failed: 1,
		By: []tracer.Share{{Kind: "endpoint", Name: "payments/api-5c-aaaaa (10.244.1.9:8080)", Flows: 1, Failed: 1}, {Kind: "endpoint", Name: "payments/api-5c-bbbbb (10.244.2.9:8080)", Flows: 2},
			{Kind: "node", Name: "n1", Flows: 1, Failed: 1}, {Kind: "node", Name: "n2", Flows: 2}},
		Shared: []string{"every one that failed, and none that was answered, was of endpoint payments/api-5c-aaaaa (10.244.1.9:8080)"}}}
	s.Budget = &Budget{MaxCPU: 0.5, MaxEvents: 1000, Held: 12, Steps: []tracer.BudgetStep{{Time: s.Time, Level: tracer.BudgetFlows, Why: "1500 events a second were due"}}}
	return s
}

func dropSummary() *Summary {
	s := NewSummary()
	s.Time, s.Node, s.Duration, s.Tier, s.Lost = start(), "n1", "10s", "tracepoint", 2
	s.Drops = &DropTotals{Total: 1235, Noise: map[string]uint64{"multicast": 3, "socket-teardown": 1}, Unlisted: 1}
	return s
}

func hostileSummary() *Summary {
	s := summary()
	s.Duration, s.Tier, s.Node = hostile, hostile, hostile
	s.Verdicts = map[string]int{hostile: 1}
	s.Shares = []tracer.Shares{{Destination: hostile, Protocol: hostile, Outcome: hostile, By: []tracer.Share{{Kind: hostile, Name: hostile}}, Shared: []string{hostile}}}
	return s
}
