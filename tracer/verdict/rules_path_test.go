package verdict

import (
	"net/netip"
	"slices"

	"github.com/podpath/podpath/tracer"
)

const (
	docker   uint32 = 7
	uplink2  uint32 = 8
	uplinkIP        = "198.51.100.20"
	nodeDNS         = "169.254.20.10"
)

// secondUplink gives the node another way out.
func secondUplink(s *scene) {
	s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(hostNS, uplink2), Name: "ens4", Role: tracer.RoleUplink, Up: true, Carrier: true,
		Addrs: []netip.Prefix{netip.MustParsePrefix(uplinkIP + "/24")}})
}

// leftBySecond: as left, by the second uplink.
func leftBySecond(src string) change {
	return func(s *scene) {
		secondUplink(s)
		left(src)(s)
		s.j.LeftBy = on(hostNS, uplink2)
		s.j.Hops[len(s.j.Hops)-1].Device = s.j.LeftBy
	}
}

// dockerCovers: a bridge of the node has the range that the destination is in.
func dockerCovers(s *scene) {
	s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(hostNS, docker), Name: "docker0", Kind: "bridge", Role: tracer.RoleBridge, Up: true})
	s.n.Routes[0] = tracer.RouteFact{For: "forward", NetNS: hostNS, Dst: addr(world), Type: "unicast", Prefix: "203.0.113.0/24", Dev: "docker0", OIF: docker}
}

func queueFull(with ...dropChange) change {
	return dropOf("QDISC_DROP", "__dev_queue_xmit", tracer.StageDevice, "", append([]dropChange{at3(on(hostNS, vethAPI))}, with...)...)
}

// outerPacket: what was dropped carried the flow between two nodes.
func outerPacket(d *tracer.DropSeen) {
	d.Tuple = tracer.Tuple{Src: ap(node2IP, 5000), Dst: ap(nodeIP, 8472), Proto: tracer.ProtoUDP}
	d.Device = on(hostNS, uplink)
}

// bulk: large segments were sent again and again.
func bulk(size uint32, again uint64) change {
	return func(s *scene) {
		s.j.Established, s.j.RequestBytes, s.j.Retransmits = true, 20000, again
		s.j.Hops[len(s.j.Hops)-1].MaxLen = size
		s.Outcome = tracer.OutcomeConnectedNoData
	}
}

// toNodeLocal: a lookup at the cache on the node.
func toNodeLocal(s *scene) {
	proto(tracer.ProtoUDP)(s)
	s.j.Flow.Dst = ap(nodeDNS, 53)
	s.j.Translated, s.j.DstDevice = s.j.Flow, on(hostNS, lo)
	s.n.DstDevice, s.n.DstPeer = nil, nil
	s.c.Destination = tracer.Endpoint{IP: addr(nodeDNS), Port: 53, Kind: tracer.KindExternal}
	s.c.Target, s.c.TargetPod, s.c.Ingress = s.c.Destination, nil, nil
}

func refusedByNode(s *scene) {
	dropOf("NO_SOCKET", "__udp4_lib_rcv", tracer.StageSocket, "", at3(on(hostNS, lo)))(s)
	icmpFromNode(3, 3, from(nodeDNS))(s)
	s.Outcome = tracer.OutcomeRefused
}

func twoProxies(s *scene) {
	s.n.Services.Implementations = []string{"kube-proxy-nftables", "kube-proxy-iptables"}
}

// byIPVS has a destination that is no endpoint of the Service.
func byIPVS(weight int32) change {
	return func(s *scene) {
		r := s.n.Services
		r.Implementations = []string{"ipvs"}
		r.IPVS = &tracer.VirtualServer{Scheduler: "rr", Destinations: []tracer.VirtualDestination{
			{Addr: ap(apiIP, 8080), Method: tracer.IPVSMasquerade, Weight: 1}, {Addr: ap("10.1.0.66", 8080), Method: tracer.IPVSMasquerade, Weight: weight, Active: 1}}}
		if weight > 0 {
			r.Targets = append(r.Targets, ap("10.1.0.66", 8080))
		}
	}
}

func elsewhereMasqueraded(s *scene) {
	s.n.MasqueradeElsewhere = &tracer.RuleFact{Engine: "nftables", Family: "ip", Table: "flannel-ipv4", Chain: "postrtg", Verdict: "masquerade", How: "computed", Text: "masquerade"}
}

func pathFaults() []fault {
	farTunnel := func(src string) change {
		return func(s *scene) {
			toFar(s)
			overlayCNI(s)
			secondUplink(s)
			viaTunnel(node2IP)(s)
			s.j.Hops[len(s.j.Hops)-1].Tuple.Src = ap(src, 5000)
		}
	}
	return append(slices.Concat(lossFaults(), nextHopFaults(), subnetFaults(), redirectedFaults()), []fault{
		{"a bandwidth limit", "shaper", "cni-bandwidth-shaper", probable, "Pod db/api", []change{queueFull()}},
		{"a bandwidth limit of the client", "shaper", "cni-bandwidth-shaper", probable, "Pod shop/web", []change{queueFull(at3(on(webNS, eth0)))}},
		{"no room for a neighbour", "kernel-limit", "node-neigh-overflow", confirmed, "Node n1", []change{dropOf("NEIGH_CREATEFAIL", "ip_finish_output2", tracer.StageNeighbour, "")}},
		{"the CPU's backlog", "kernel-limit", "node-softnet-drops", confirmed, "Node n1", []change{dropOf("CPU_BACKLOG", "enqueue_to_backlog", tracer.StageDevice, "")}},
		{"no memory", "kernel-limit", "node-memory", confirmed, "Node n1", []change{dropOf("NOMEM", "ip_finish_output2", tracer.StageNeighbour, "")}},
		{"no memory for sockets", "kernel-limit", "node-memory", confirmed, "Node n1", []change{reached, dropOf("PROTO_MEM", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(apiNS, eth0)))}},
		{"fragments missing", "fragments", "egr-frag-loss", confirmed, "", []change{toWorld, left(nodeIP), dropOf("FRAG_REASM_TIMEOUT", "ip_expire", tracer.StageRouting, "", ofReply)}},
		{"docker0 has the range", "overlap", "cni-cidr-overlap", confirmed, "Route unicast 203.0.113.0/24", []change{toWorld, dockerCovers, noNeighbour(at3(on(hostNS, docker)))}},
		{"the other uplink's source", "wrong-uplink", "egr-wrong-interface", probable, "Node n1", []change{toWorld, leftBySecond(nodeIP)}},
		{"the tunnel's source is no address of the Node", "wrong-tunnel-source", "cni-wrong-interface", probable, "Node n1", []change{farTunnel(uplinkIP)}},
		{"a tunnel's port that nobody has", "tunnel-port", "cni-overlay-port-mismatch", confirmed, "Node n1", []change{
			dropOf("NO_SOCKET", "__udp4_lib_rcv", tracer.StageSocket, "", outerPacket)}},
		{"reset from outside", "reset-outside", "egr-remote-reset", probable, "ExternalHost " + world, []change{toWorld, left(nodeIP), established,
			answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink)), outcomeIs(tracer.OutcomeReset)}},
		{"reset by a pod elsewhere", "reset-outside", "app-reset", probable, "Pod db/far", []change{toFar, left(webIP), established,
			answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink)), outcomeIs(tracer.OutcomeReset)}},
		{"large segments vanish outside", "big-lost-outside", "ext-mtu-fabric", probable, "", []change{toWorld, left(nodeIP), bulk(1514, 5)}},
		{"SCTP without SCTP", "no-protocol", "app-sctp-unsupported", confirmed, "Pod db/api", []change{proto(tracer.ProtoSCTP), reached,
			dropOf("IP_NOPROTO", "ip_local_deliver_finish", tracer.StageSocket, "", at3(on(apiNS, eth0))), icmpFromNode(3, 2, from(apiIP)), outcomeIs(tracer.OutcomeICMPError)}},
		{"no cache on the node", "local-cache", "dns-nodelocal-broken", confirmed, "Node n1", []change{toNodeLocal, refusedByNode}},
		{"a policy forgets the node's cache", "policy", "pol-nodelocal-dns", confirmed, "NetworkPolicy db/deny", []change{toNodeLocal, filtered(), rule("cni", "drop"), denies("egress", "peer")}},
		{"a policy's agent rejects", "policy", "pol-reject-mode", confirmed, "NetworkPolicy db/deny", []change{filtered(), rule("kube-router", "reject"), denies("ingress", "peer"),
			icmpFromNode(3, 3), outcomeIs(tracer.OutcomeRefused)}},
		{"a DNS pod is too slow", "receive-buffer", "dns-throttled", confirmed, "Pod db/api", []change{proto(tracer.ProtoUDP), reached, func(s *scene) { s.c.TargetPod.DNS = true },
			dropOf("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", tracer.StageSocket, "", at3(on(apiNS, eth0)))}},
		{"rules of two kinds, one stale", "stale-endpoint", "svc-mixed-backends", confirmed, "Node n1", []change{toService, twoProxies, translated("10.1.0.66", 8080), noNeighbour()}},
		{"IPVS keeps an endpoint for old connections", "stale-endpoint", "svc-terminating-endpoint", confirmed, "Service db/api", []change{toService, byIPVS(0), translated("10.1.0.66", 8080), noNeighbour()}},
		{"masquerade leaves a range out", "masquerade", "egr-masq-excluded", confirmed, "Node n1", []change{toWorld, left(webIP), elsewhereMasqueraded}},
		{"masquerade leaves a private range out", "masquerade", "egr-masq-excluded", suspected, "", []change{toWorld, left(webIP), elsewhereMasqueraded, func(s *scene) {
			s.j.Flow.Dst = ap("172.20.0.9", 443)
			s.j.Translated = s.j.Flow
		}}},
	}...)
}

func pathLookalikes() []lookalike {
	noCarrier := func(s *scene) {
		for i := range s.Inventory.Devices {
			if d := &s.Inventory.Devices[i]; d.DeviceKey == on(hostNS, vethAPI) {
				d.Carrier = false
			}
		}
	}
	sameNetwork := func(s *scene) {
		for i := range s.Inventory.Devices {
			if d := &s.Inventory.Devices[i]; d.DeviceKey == on(hostNS, uplink2) {
				d.Addrs = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}
			}
		}
	}
	return append(slices.Concat(lossLookalikes(), nextHopLookalikes(), subnetLookalikes(), redirectedLookalikes()), []lookalike{
		{"a queue without carrier is no limit", []change{queueFull(), noCarrier}, "unknown", "cni-bandwidth-shaper", ""},
		{"a limit that is only met now and then", []change{queueFull(times(1), lasting(0, 0)), outcomeIs(tracer.OutcomeDelivered)}, "ok", "cni-bandwidth-shaper", ""},
		{"a neighbour that fails is no full table", []change{noNeighbour()}, "cni-stale-neigh", "node-neigh-overflow", ""},
		{"the uplink's own network is no overlap", []change{toWorld, routeIs("forward", "unicast", "203.0.113.0/24"), noNeighbour(at3(on(hostNS, uplink))), func(s *scene) { s.n.Routes[0].OIF = uplink }}, "egr-remote-down", "cni-cidr-overlap", ""},
		{"a pod's address is no overlap", []change{dockerCovers, noNeighbour(at3(on(hostNS, docker)))}, "cni-stale-neigh", "cni-cidr-overlap", ""},
		{"two uplinks in one network", []change{toWorld, leftBySecond(nodeIP), sameNetwork}, "beyond-node", "egr-wrong-interface", ""},
		{"the uplink's own source", []change{toWorld, leftBySecond(uplinkIP)}, "beyond-node", "egr-wrong-interface", ""},
		{"the tunnel's source is the Node's", []change{toFar, overlayCNI, secondUplink, viaTunnel(node2IP)}, "beyond-node", "cni-wrong-interface", ""},
		{"a closed port of a pod is no tunnel's", []change{proto(tracer.ProtoUDP), reached, dropOf("NO_SOCKET", "__udp4_lib_rcv", tracer.StageSocket, "", at3(on(apiNS, eth0))),
			icmpFromNode(3, 3, from(apiIP)), outcomeIs(tracer.OutcomeRefused)}, "app-no-listener", "cni-overlay-port-mismatch", ""},
		{"small segments that vanish", []change{toWorld, left(nodeIP), bulk(600, 5)}, "beyond-node", "ext-mtu-fabric", ""},
		{"large segments, one lost", []change{toWorld, left(nodeIP), bulk(1514, 1)}, "beyond-node", "ext-mtu-fabric", ""},
		{"large segments, and the message comes", []change{toWorld, left(nodeIP), bulk(1514, 5), icmpFromWorld(3, 4)}, "beyond-node", "ext-mtu-fabric", ""},
		{"reset by the node's own firewall", []change{toWorld, left(nodeIP), established, filtered(), rule("", "reject"), answer(tracer.AnswerRST, tracer.EventTX, on(hostNS, vethWeb)), outcomeIs(tracer.OutcomeReset)},
			"node-firewall-reject", "egr-remote-reset", ""},
		{"another port of the node's own address", []change{toNodeLocal, refusedByNode, func(s *scene) { s.j.Flow.Dst, s.j.Translated.Dst = ap(nodeDNS, 80), ap(nodeDNS, 80) }}, "app-no-listener", "dns-nodelocal-broken", ""},
		{"the cluster's DNS, denied", []change{toNodeLocal, filtered(), rule("cni", "drop"), denies("egress", "peer"), func(s *scene) { s.j.Flow.Dst, s.j.Translated.Dst = ap(svcIP, 53), ap(svcIP, 53) }}, "pol-dns-egress", "pol-nodelocal-dns", ""},
		{"a policy's agent drops", []change{filtered(), rule("kube-router", "drop"), denies("ingress", "peer")}, "pol-ingress-deny", "pol-reject-mode", ""},
		{"a host firewall rejects, and no policy denies", []change{filtered(), rule("firewalld", "reject"), icmpFromNode(3, 10), outcomeIs(tracer.OutcomeICMPError)}, "node-firewall-reject", "pol-reject-mode pol-host-firewall", ""},
		{"rules of two kinds, both right", []change{toService, twoProxies, translated(apiIP, 8080), refusedByTarget}, "app-no-listener", "svc-mixed-backends", ""},
		{"one kind of rules, stale", []change{toService, translated("10.1.0.66", 8080), noNeighbour(), func(s *scene) { s.n.Services.Targets = append(s.n.Services.Targets, ap("10.1.0.66", 8080)) }}, "svc-stale-endpoint", "svc-mixed-backends", ""},
		{"IPVS sends new connections to a dead endpoint", []change{toService, byIPVS(1), translated("10.1.0.66", 8080), noNeighbour()}, "svc-stale-endpoint", "svc-terminating-endpoint", ""},
		{"IPVS drains one endpoint and asks another", []change{toService, byIPVS(0), translated(apiIP, 8080), refusedByTarget}, "app-no-listener", "svc-terminating-endpoint svc-stale-endpoint", ""},
		{"masqueraded, and silent", []change{toWorld, left(nodeIP), elsewhereMasqueraded}, "beyond-node", "egr-masq-excluded egr-masq-missing", ""},
	}...)
}
