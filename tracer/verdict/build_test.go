package verdict

import (
	"net/netip"
	"time"

	"github.com/podpath/podpath/tracer"
)

// The world of these tests: node n1 with a bridge; the client pod shop/web in
// namespace 10 and the target pod db/api in 11. Node n2 is not observed.
const (
	hostNS, webNS, apiNS, strangerNS uint32 = 1, 10, 11, 12

	lo, uplink, bridge, vethWeb, vethAPI, vxlan uint32 = 1, 2, 3, 4, 5, 6
	eth0                                        uint32 = 2

	webIP, apiIP, farIP, nodeIP, node2IP = "10.1.0.10", "10.1.0.11", "10.2.0.7", "192.0.2.1", "192.0.2.2"
	gatewayIP, svcIP, world, router      = "192.0.2.254", "10.9.0.5", "203.0.113.9", "198.51.100.1"
)

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ms    = time.Millisecond
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
func ap(s string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(addr(s), port)
}
func on(ns, index uint32) tracer.DeviceKey { return tracer.DeviceKey{NetNS: ns, IfIndex: index} }

// scene is an Input in the making.
type scene struct {
	*Input
	j *tracer.Journey
	c *tracer.ClusterFacts
	n *tracer.NodeFacts
}

type change func(*scene)

func devices() []tracer.Device {
	d := func(ns, index uint32, name, kind string, role tracer.DeviceRole, addrs ...string) tracer.Device {
		out := tracer.Device{DeviceKey: on(ns, index), Name: name, Kind: kind, Role: role, Up: true, Carrier: true, MTU: 1500, MAC: "02:00:00:00:00:01"}
		for _, a := range addrs {
			out.Addrs = append(out.Addrs, netip.PrefixFrom(addr(a), 24))
		}
		return out
	}
	web, api := d(hostNS, vethWeb, "veth1", "veth", tracer.RolePodHost), d(hostNS, vethAPI, "veth2", "veth", tracer.RolePodHost)
	web.Master, api.Master = bridge, bridge
	web.Peer, api.Peer = on(webNS, eth0), on(apiNS, eth0)
	pw, pa := d(webNS, eth0, "eth0", "veth", tracer.RolePod, webIP), d(apiNS, eth0, "eth0", "veth", tracer.RolePod, apiIP)
	pw.Peer, pa.Peer = web.DeviceKey, api.DeviceKey
	return []tracer.Device{
		d(hostNS, lo, "lo", "", tracer.RoleLoopback, "127.0.0.1"), d(hostNS, uplink, "ens3", "", tracer.RoleUplink, nodeIP),
		d(hostNS, bridge, "br0", "bridge", tracer.RoleBridge, "10.1.0.1"), web, api, pw, pa,
	}
}

// given makes a flow from shop/web to db/api, TCP 8080, that was seen leaving
// the client three times and was not answered, and applies the changes.
func given(with ...change) *Input {
	flow := tracer.Tuple{Src: ap(webIP, 40000), Dst: ap(apiIP, 8080), Proto: tracer.ProtoTCP}
	j := &tracer.Journey{
		ID: 1, Flow: flow, Translated: flow, First: start, Last: start.Add(3 * time.Second), Attempts: 3, Retransmits: 2,
		SrcDevice: on(webNS, eth0), DstDevice: on(apiNS, eth0),
	}
	inv := &tracer.Inventory{HostNetNS: hostNS, Devices: devices()}
	allowed := func(dir string) *tracer.PolicyDecision {
		return &tracer.PolicyDecision{Direction: dir, Allowed: true, Port: 8080}
	}
	web := &tracer.PodFacts{Namespace: "shop", Name: "web", Phase: "Running", Ready: true, Node: "n1"}
	api := &tracer.PodFacts{Namespace: "db", Name: "api", Phase: "Running", Ready: true, Node: "n1", Ports: []tracer.ContainerPort{{Port: 8080, Proto: tracer.ProtoTCP}}}
	pod := func(p *tracer.PodFacts, ip string) tracer.Endpoint {
		return tracer.Endpoint{IP: addr(ip), Kind: tracer.KindPod, Namespace: p.Namespace, Name: p.Name, Node: p.Node}
	}
	c := &tracer.ClusterFacts{
		Known: true, Node: "n1", Source: pod(web, webIP), Destination: pod(api, apiIP), Target: pod(api, apiIP),
		SourcePod: web, TargetPod: api, Egress: allowed("egress"), Ingress: allowed("ingress"), InPodCIDR: "n1",
		Nodes: []tracer.NodeInfo{{Name: "n1", Ready: true, IPs: []netip.Addr{addr(nodeIP)}}, {Name: "n2", Ready: true, IPs: []netip.Addr{addr(node2IP)}}},
	}
	dev := func(k tracer.DeviceKey) *tracer.Device { d, _ := inv.Device(k); return &d }
	n := &tracer.NodeFacts{
		HostNetNS: hostNS, SrcDevice: dev(on(webNS, eth0)), SrcPeer: dev(on(hostNS, vethWeb)), DstDevice: dev(on(apiNS, eth0)), DstPeer: dev(on(hostNS, vethAPI)),
		ListenersRead: true, MasqueradeRead: true, Counters: map[uint32]map[string]uint64{},
		Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": "1"},
		Routes: []tracer.RouteFact{
			{For: "forward", NetNS: hostNS, Dst: addr(apiIP), Type: "unicast", Prefix: "10.1.0.0/24", Dev: "br0", MTU: 1500},
			{For: "reverse", NetNS: hostNS, Dst: addr(webIP), Type: "unicast", Prefix: "10.1.0.0/24", Dev: "br0", MTU: 1500},
			{For: "src-pod", NetNS: webNS, Dst: addr(apiIP), Type: "unicast", Prefix: "0.0.0.0/0", Dev: "eth0", Via: addr("10.1.0.1")},
			{For: "dst-pod", NetNS: apiNS, Dst: addr(webIP), Type: "unicast", Prefix: "0.0.0.0/0", Dev: "eth0", Via: addr("10.1.0.1")},
		},
	}
	s := &scene{Input: &Input{Journey: j, Outcome: tracer.OutcomeNoAnswer, Node: n, Cluster: c, Inventory: inv, NodeName: "n1", Now: start.Add(8 * time.Second), networks: networks()}, j: j, c: c, n: n}
	hop(tracer.EventTX, on(webNS, eth0))(s)
	hop(tracer.EventRX, on(hostNS, vethWeb))(s)
	for _, f := range with {
		f(s)
	}
	return s.Input
}

func hop(kind tracer.EventKind, at tracer.DeviceKey) change {
	return func(s *scene) {
		s.j.Hops = append(s.j.Hops, tracer.Hop{Direction: tracer.DirRequest, Kind: kind, Device: at, Tuple: s.j.Flow, First: start, Last: start,
			FirstMonoNS: uint64(len(s.j.Hops) + 1), Packets: 3, Event: uint64(len(s.j.Hops) + 1)})
	}
}

// back is a sighting of an answer.
func back(kind tracer.EventKind, at tracer.DeviceKey, after time.Duration) change {
	return func(s *scene) {
		s.j.Hops = append(s.j.Hops, tracer.Hop{Direction: tracer.DirReply, Kind: kind, Device: at, Tuple: s.j.Flow.Reverse(), First: start, Last: start.Add(after), Packets: 1})
	}
}

func reached(s *scene) {
	s.j.ReachedTarget = true
	hop(tracer.EventTX, on(hostNS, vethAPI))(s)
	hop(tracer.EventRX, on(apiNS, eth0))(s)
}

// unseenOnNode takes back that the packets came out of the pod.
func unseenOnNode(s *scene) { s.j.Hops = s.j.Hops[:1] }

// dropOf starts a drop of the request at the node's bridge, three times.
func dropOf(reason, location string, stage tracer.Stage, engine string, with ...func(*tracer.DropSeen)) change {
	return func(s *scene) {
		d := tracer.DropSeen{Direction: tracer.DirRequest, Count: 3, First: start, Last: start.Add(3 * time.Second), Event: 70 + uint64(len(s.j.Drops)), Len: 60}
		d.Device, d.Tuple = on(hostNS, bridge), s.j.Translated
		d.Drop = tracer.Drop{Reason: reason, Location: location, Stage: stage, Engine: engine}
		for _, f := range with {
			f(&d)
		}
		if d.Direction == tracer.DirReply {
			d.Tuple = d.Tuple.Reverse()
		}
		s.j.Drops = append(s.j.Drops, d)
	}
}

type dropChange = func(*tracer.DropSeen)

func at3(k tracer.DeviceKey) dropChange { return func(d *tracer.DropSeen) { d.Device = k } }
func times(n uint64) dropChange         { return func(d *tracer.DropSeen) { d.Count = n } }
func ofReply(d *tracer.DropSeen)        { d.Direction = tracer.DirReply }
func ofICMP(d *tracer.DropSeen)         { d.ICMPError, d.Direction = true, tracer.DirReply }
func lasting(from, to time.Duration) dropChange {
	return func(d *tracer.DropSeen) { d.First, d.Last = start.Add(from), start.Add(to) }
}

// Often used drops.
func filtered(with ...dropChange) change {
	return dropOf("NETFILTER_DROP", "nft_do_chain", tracer.StageForward, "nftables", with...)
}
func inCore(stage tracer.Stage, with ...dropChange) change {
	return dropOf("NETFILTER_DROP", "nf_hook_slow", stage, "xtables", with...)
}
func byTC(with ...dropChange) change {
	return dropOf("TC_INGRESS", "__netif_receive_skb_core", tracer.StageIngress, "tc", append([]dropChange{at3(on(hostNS, vethWeb))}, with...)...)
}
func noNeighbour(with ...dropChange) change {
	return dropOf("NEIGH_FAILED", "neigh_invalidate", tracer.StageNeighbour, "", with...)
}
func noRouteAt(with ...dropChange) change {
	return dropOf("IP_INNOROUTES", "ip_error", tracer.StageRouting, "", with...)
}
func noSocket(with ...dropChange) change {
	return dropOf("NO_SOCKET", "tcp_v4_rcv", tracer.StageSocket, "", append([]dropChange{at3(on(apiNS, eth0))}, with...)...)
}

// answer is what came back, first seen at a place.
func answer(kind tracer.AnswerKind, hook tracer.EventKind, at tracer.DeviceKey, with ...func(*tracer.Answer)) change {
	return func(s *scene) {
		a := tracer.Answer{Kind: kind, From: s.j.Translated.Dst.Addr(), Device: at, Hook: hook, Proto: s.j.Flow.Proto, Time: start.Add(ms), Count: 1, Event: 9}
		if kind == tracer.AnswerICMP {
			a.Proto, a.From = tracer.ProtoICMP, addr(nodeIP)
		}
		for _, f := range with {
			f(&a)
		}
		s.j.Answers = append(s.j.Answers, a)
	}
}

func arrivedAt(a *tracer.Answer) { a.ReachedClient = true }
func from(ip string) func(*tracer.Answer) {
	return func(a *tracer.Answer) { a.From = addr(ip) }
}

// icmpFromNode is an error that the node made, icmpFromWorld one that came in.
func icmpFromNode(typ, code uint8, with ...func(*tracer.Answer)) change {
	return answer(tracer.AnswerICMP, tracer.EventTX, on(hostNS, vethWeb), append([]func(*tracer.Answer){arrivedAt, func(a *tracer.Answer) { a.ICMPType, a.ICMPCode = typ, code }}, with...)...)
}
func icmpFromWorld(typ, code uint8) change {
	return answer(tracer.AnswerICMP, tracer.EventRX, on(hostNS, uplink), arrivedAt, from(router), func(a *tracer.Answer) { a.ICMPType, a.ICMPCode = typ, code })
}

func outcomeIs(o tracer.Outcome) change { return func(s *scene) { s.Outcome = o } }

// refusedByTarget: an RST made in the target's namespace.
func refusedByTarget(s *scene) {
	reached(s)
	noSocket(times(1))(s)
	answer(tracer.AnswerRST, tracer.EventTX, on(apiNS, eth0), arrivedAt)(s)
	s.Outcome = tracer.OutcomeRefused
}

func established(s *scene) {
	s.j.Established, s.j.Attempts = true, 1
	answer(tracer.AnswerSynAck, tracer.EventTX, on(apiNS, eth0), arrivedAt)(s)
	back(tracer.EventTX, on(apiNS, eth0), ms)(s)
}

// toService: the client addresses a Service with one ready endpoint, db/api.
func toService(s *scene) {
	s.j.Flow.Dst = ap(svcIP, 80)
	s.j.Translated, s.j.DstDevice = s.j.Flow, tracer.DeviceKey{}
	s.n.DstDevice, s.n.DstPeer = nil, nil
	for i := range s.j.Hops {
		s.j.Hops[i].Tuple = s.j.Flow
	}
	s.c.Destination = tracer.Endpoint{IP: addr(svcIP), Port: 80, Kind: tracer.KindService, Namespace: "db", Name: "api"}
	s.c.Target, s.c.TargetPod, s.c.InPodCIDR, s.c.InServiceRange, s.c.Ingress = s.c.Destination, nil, "", true, nil
	s.c.Service = &tracer.ServiceFacts{
		Namespace: "db", Name: "api", Type: "ClusterIP", Frontend: "cluster-ip", PortKnown: true, Port: 80, TargetPort: "8080", Ports: []string{"80/TCP"},
		Selector: "app=api", Matches: 1, Ready: 1, Endpoints: []tracer.ServiceEndpoint{{Addr: ap(apiIP, 8080), Ready: true, Serving: true, Pod: "db/api", Node: "n1"}},
	}
	s.n.Services = &tracer.ServiceRules{Implementations: []string{"kube-proxy-nftables"}, Any: true, HasFrontend: true, Targets: []netip.AddrPort{ap(apiIP, 8080)}, Complete: true}
}

// translated: the node sent the flow to an endpoint.
func translated(to string, port uint16) change {
	return func(s *scene) {
		s.j.Translated.Dst, s.j.CTSeen = ap(to, port), true
		s.j.Translations = append(s.j.Translations, tracer.Translation{Kind: "dnat", From: s.j.Flow.Dst, To: ap(to, port), Event: 4})
		s.c.Target = tracer.Endpoint{IP: addr(to), Port: port, Kind: tracer.KindUnknown}
		if to != apiIP {
			return
		}
		s.j.DstDevice = on(apiNS, eth0)
		d, _ := s.Inventory.Device(on(apiNS, eth0))
		p, _ := s.Inventory.Device(on(hostNS, vethAPI))
		s.n.DstDevice, s.n.DstPeer = &d, &p
		s.c.Target = tracer.Endpoint{IP: addr(to), Kind: tracer.KindPod, Namespace: "db", Name: "api", Node: "n1"}
		s.c.TargetPod = &tracer.PodFacts{Namespace: "db", Name: "api", Phase: "Running", Ready: true, Node: "n1", Ports: []tracer.ContainerPort{{Port: 8080, Proto: tracer.ProtoTCP}}}
	}
}

// terminating: the endpoint's pod is being deleted, and is ready no more.
func terminating(serving bool) change {
	return func(s *scene) {
		e := &s.c.Service.Endpoints[0]
		e.Ready, e.Serving, e.Terminating, s.c.TargetPod.Terminating = false, serving, true, true
	}
}

func noEndpointsLeft(s *scene) {
	s.c.Service.Endpoints, s.c.Service.Ready = nil, 0
	s.n.Services.Targets, s.n.Services.NoEndpoints = nil, true
}

// localNodePort: a NodePort of this node, for the Service with externalTrafficPolicy
// Local, whose only endpoint is on n2.
func localNodePort(s *scene) {
	s.j.Flow.Dst = ap(nodeIP, 30080)
	s.j.Translated, s.c.InServiceRange = s.j.Flow, false
	s.c.Service.Frontend, s.c.Service.ExternalLocal, s.c.Service.Endpoints[0].Node = "node-port", true, "n2"
	s.n.Services.Targets = nil
	s.c.Destination = tracer.Endpoint{IP: addr(nodeIP), Kind: tracer.KindNode, Name: "n1"}
	s.c.Target = s.c.Destination
}

// asksFrom: the client is not here; its packets came in by the uplink.
func asksFrom(ip string, who tracer.Endpoint) change {
	return func(s *scene) {
		who.IP = addr(ip)
		s.j.Flow.Src, s.j.SrcDevice, s.j.Hops = ap(ip, 40000), tracer.DeviceKey{}, nil
		s.j.Translated.Src = s.j.Flow.Src
		s.c.Source, s.c.SourcePod, s.c.Egress = who, nil, nil
		s.n.SrcDevice, s.n.SrcPeer = nil, nil
		hop(tracer.EventRX, on(hostNS, uplink))(s)
	}
}

func outsideClient(s *scene) { asksFrom(world, tracer.Endpoint{Kind: tracer.KindExternal})(s) }

func otherNode(s *scene) { asksFrom(node2IP, tracer.Endpoint{Kind: tracer.KindNode, Name: "n2"})(s) }
func ownNode(s *scene)   { asksFrom(nodeIP, tracer.Endpoint{Kind: tracer.KindNode, Name: "n1"})(s) }

// inputDrop is a drop by a rule in the node's INPUT hook.
func inputDrop(s *scene) {
	dropOf("NETFILTER_DROP", "nft_do_chain", tracer.StageInput, "nftables", at3(on(hostNS, uplink)))(s)
}

// ofInvalid is kube-proxy's rule against what conntrack calls INVALID.
func ofInvalid(r *tracer.RuleFact) {
	r.Family, r.Table, r.Chain, r.Text = "ip", "filter", "KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP"
}

func noRules(s *scene) { s.n.Services = &tracer.ServiceRules{Complete: true} }

// left: the packets went out by the uplink, with these addresses.
func left(src string) change {
	return func(s *scene) {
		s.j.LeftNode, s.j.LeftBy = true, on(hostNS, uplink)
		s.j.LeftAs = s.j.Translated
		s.j.LeftAs.Src = ap(src, 61000)
		hop(tracer.EventTX, on(hostNS, uplink))(s)
		if src != webIP {
			s.j.Translations = append(s.j.Translations, tracer.Translation{Kind: "snat", From: s.j.Flow.Src, To: s.j.LeftAs.Src})
		}
	}
}

// toWorld: the client addresses a host outside.
func toWorld(s *scene) {
	s.j.Flow.Dst = ap(world, 443)
	s.j.Translated, s.j.DstDevice = s.j.Flow, tracer.DeviceKey{}
	s.n.DstDevice, s.n.DstPeer = nil, nil
	s.c.Destination = tracer.Endpoint{IP: addr(world), Port: 443, Kind: tracer.KindExternal}
	s.c.Target, s.c.TargetPod, s.c.Ingress, s.c.InPodCIDR = s.c.Destination, nil, nil, ""
	s.n.Routes[0] = tracer.RouteFact{For: "forward", NetNS: hostNS, Dst: addr(world), Type: "unicast", Prefix: "0.0.0.0/0", Dev: "ens3", Via: addr(gatewayIP), MTU: 1500}
}

// toFar: the target is a pod of node n2.
func toFar(s *scene) {
	s.j.Flow.Dst = ap(farIP, 8080)
	s.j.Translated, s.j.DstDevice = s.j.Flow, tracer.DeviceKey{}
	s.n.DstDevice, s.n.DstPeer = nil, nil
	s.c.Destination = tracer.Endpoint{IP: addr(farIP), Port: 8080, Kind: tracer.KindPod, Namespace: "db", Name: "far", Node: "n2"}
	s.c.Target, s.c.InPodCIDR = s.c.Destination, "n2"
	s.c.TargetPod = &tracer.PodFacts{Namespace: "db", Name: "far", Phase: "Running", Ready: true, Node: "n2"}
	s.n.Routes[0] = tracer.RouteFact{For: "forward", NetNS: hostNS, Dst: addr(farIP), Type: "unicast", Prefix: "10.2.0.0/24", Dev: "ens3", Via: addr(node2IP), MTU: 1500}
}

// ofClusterDNS makes the Service the cluster's DNS, asked for a lookup.
func ofClusterDNS(s *scene) {
	s.c.Service.DNS, s.c.Service.Port, s.c.Service.PortName = true, 53, "dns"
}

// toDNSPod: a pod of the cluster's DNS is asked by its own address.
func toDNSPod(s *scene) {
	s.j.Flow.Dst = ap(apiIP, 53)
	s.j.Translated = s.j.Flow
	s.c.TargetPod.DNS, s.c.TargetPod.Ports = true, nil
}

// toFarService: a datagram to a Service, whose only pod is of node n2.
func toFarService(s *scene) {
	toService(s)
	toFar(s)
	proto(tracer.ProtoUDP)(s)
	s.j.Flow.Dst, s.c.Service.Endpoints[0].Node = ap(svcIP, 53), "n2"
	s.j.Translated.Dst, s.c.TargetPod.DNS = ap(farIP, 53), true
	s.j.Translations = []tracer.Translation{{Kind: "dnat", From: s.j.Flow.Dst, To: s.j.Translated.Dst, Event: 4}}
	s.c.Service.Endpoints[0].Addr = s.j.Translated.Dst
	s.c.TargetPod.Ports = []tracer.ContainerPort{{Port: 53, Proto: tracer.ProtoUDP}}
}

// farRefuses: the target's own ICMP message came in by the uplink.
func farRefuses(s *scene) {
	left(webIP)(s)
	answer(tracer.AnswerICMP, tracer.EventRX, on(hostNS, uplink), arrivedAt, from(farIP), func(a *tracer.Answer) { a.ICMPType, a.ICMPCode = 3, 3 })(s)
	s.Outcome = tracer.OutcomeRefused
}

func defaultRoute(s *scene) {
	s.n.Routes[0].Prefix, s.n.Routes[0].Via, s.n.Routes[0].Dev = "0.0.0.0/0", addr(gatewayIP), "ens3"
}

// reachedBy: flannel says how the other node's pods are reached.
func reachedBy(network string) change {
	return func(s *scene) { s.c.Nodes[1].PodNetwork = network }
}

func overlayCNI(s *scene) {
	s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(hostNS, vxlan), Name: "flannel.1", Kind: "vxlan", Role: tracer.RoleTunnel, Up: true})
}

func routeIs(question, typ, prefix string) change {
	return func(s *scene) {
		for i := range s.n.Routes {
			if r := &s.n.Routes[i]; r.For == question {
				r.Type, r.Prefix, r.Dev, r.Via = typ, prefix, "", netip.Addr{}
			}
		}
	}
}

// denies makes the policies of one side deny the flow.
func denies(direction, miss string) change {
	return func(s *scene) {
		ref := tracer.Ref{Kind: "NetworkPolicy", Namespace: "db", Name: "deny"}
		p := &tracer.PolicyDecision{Direction: direction, Selected: []tracer.Ref{ref}, Port: 8080,
			Nearest: &tracer.PolicyNearMiss{Policy: ref, Rule: 0, Why: "allows nobody", Miss: miss}}
		if direction == "egress" {
			s.c.Egress = p
		} else {
			s.c.Ingress = p
		}
	}
}

// clusterDenies is a denial by a cluster-wide policy, with a NetworkPolicy that
// would allow.
func clusterDenies(direction, tier string) change {
	return func(s *scene) {
		r := tracer.PolicyRule{Policy: tracer.Ref{Kind: "AdminNetworkPolicy", Name: "guard"}, Tier: tier, Priority: new(int32), Action: tracer.PolicyDeny, Why: "from every pod"}
		if tier == "baseline" {
			r.Policy, r.Priority = tracer.Ref{Kind: "BaselineAdminNetworkPolicy", Name: "default"}, nil
		}
		*s.decision(direction) = &tracer.PolicyDecision{Direction: direction, Port: 8080, Rules: []tracer.PolicyRule{r}}
	}
}

func (s *scene) decision(direction string) **tracer.PolicyDecision {
	if direction == "egress" {
		return &s.c.Egress
	}
	return &s.c.Ingress
}

// allowedAt: a policy at that end allows exactly this flow.
func allowedAt(direction string) change {
	return func(s *scene) {
		by := tracer.Ref{Kind: "NetworkPolicy", Namespace: "x", Name: "allow"}
		*s.decision(direction) = &tracer.PolicyDecision{Direction: direction, Allowed: true, Port: 8080, Selected: []tracer.Ref{by}, AllowedBy: &by}
	}
}

func uncertain(direction string) change {
	return func(s *scene) { (*s.decision(direction)).Uncertain = "rule 1 is for the domain name example.com" }
}

// ofCNI is a policy of a CNI's own kind that selects a pod.
func ofCNI(direction, cni, kind string, sure bool, name ...string) change {
	return func(s *scene) {
		u := tracer.UnevaluatedPolicy{Ref: tracer.Ref{Kind: kind, Name: append(name, "lock")[0]}, CNI: cni, Sure: sure}
		d := *s.decision(direction)
		d.Unevaluated = append(d.Unevaluated, u)
	}
}

func chainIs(name string) func(*tracer.RuleFact) { return func(r *tracer.RuleFact) { r.Chain = name } }

func rule(owner, verdict string, with ...func(*tracer.RuleFact)) change {
	return func(s *scene) {
		r := tracer.RuleFact{Engine: "nftables", Family: "inet", Table: "t", Chain: "c", Hook: "forward", Verdict: verdict, Owner: owner, How: "computed", Text: verdict}
		for _, f := range with {
			f(&r)
		}
		s.n.Rules = append(s.n.Rules, r)
	}
}

func basePolicy(r *tracer.RuleFact)          { r.BasePolicy = true }
func hookIs(h string) func(*tracer.RuleFact) { return func(r *tracer.RuleFact) { r.Hook = h } }
func naming(policy string) func(*tracer.RuleFact) {
	return func(r *tracer.RuleFact) { r.Policy = policy }
}

func counted(ns uint32, name string, n uint64) change {
	return func(s *scene) {
		if s.n.Counters[ns] == nil {
			s.n.Counters[ns] = map[string]uint64{}
		}
		s.n.Counters[ns][name] = n
	}
}

func sysctl(k, v string) change { return func(s *scene) { s.n.Sysctls[k] = v } }

func program(owner, attach string, at tracer.DeviceKey) change {
	return func(s *scene) {
		s.n.Programs = append(s.n.Programs, tracer.BPFProgram{Device: at, Attach: attach, Name: "prog", ID: 77, Owner: owner})
	}
}

func listening(addrs ...string) change {
	return func(s *scene) {
		for _, a := range addrs {
			s.n.Listeners = append(s.n.Listeners, tracer.Listener{NetNS: apiNS, Proto: tracer.ProtoTCP, Addr: netip.MustParseAddrPort(a)})
		}
	}
}

// declares has the target's pod declare these ports, and no others.
func declares(ports ...uint16) change {
	return func(s *scene) {
		s.c.TargetPod.Ports = nil
		for _, p := range ports {
			s.c.TargetPod.Ports = append(s.c.TargetPod.Ports, tracer.ContainerPort{Port: p, Proto: s.j.Flow.Proto})
		}
	}
}

// unwell: the target's pod is not Ready.
func unwell(restarts int32) change {
	return func(s *scene) { s.c.TargetPod.Ready, s.c.TargetPod.Restarts = false, restarts }
}

func linkDown(which func(*tracer.NodeFacts) *tracer.Device) change {
	return func(s *scene) { which(s.n).Up = false }
}

func proto(p uint8) change {
	return func(s *scene) { s.j.Flow.Proto, s.j.Translated.Proto = p, p }
}

func noCluster(s *scene) { *s.c = tracer.ClusterFacts{} }
func lost(s *scene)      { s.Lost = 5 }
func noFacts(s *scene)   { *s.n = tracer.NodeFacts{} }

func neighbourIs(ip, state string) change {
	return func(s *scene) {
		s.n.Neighbours = append(s.n.Neighbours, tracer.NeighbourFact{NetNS: hostNS, Dev: "ens3", Addr: addr(ip), State: state})
	}
}

// unseen: no packet was seen.
func unseen(s *scene) {
	s.j.Hops, s.j.Attempts, s.Outcome = nil, 0, tracer.OutcomeNotSeen
}

// unread is a cluster of which a kind may not be read, and what rests on it is
// not known.
func unread(kind string) change {
	return func(s *scene) {
		s.c.Unread = append(s.c.Unread, kind)
		s.c.Egress, s.c.Ingress, s.c.Service = nil, nil, nil
	}
}
