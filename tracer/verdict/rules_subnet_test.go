package verdict

import (
	"net/netip"

	"github.com/podpath/podpath/tracer"
)

const nodeMAC, strangerMAC = "02:00:00:00:00:01", "02:00:00:00:00:99"

// gatewayAt: the pod in a namespace sends what is for its gateway to a MAC address.
func gatewayAt(ns uint32, mac, state string) change {
	return func(s *scene) {
		s.n.Neighbours = append(s.n.Neighbours, tracer.NeighbourFact{NetNS: ns, Dev: "eth0", Addr: addr("10.1.0.1"), MAC: mac, State: state})
	}
}

// claimed: another pod has the gateway's address and the MAC address that is used.
func claimed(s *scene) {
	s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(strangerNS, eth0), Name: "eth0", Role: tracer.RolePod, Up: true, MAC: strangerMAC,
		Addrs: []netip.Prefix{netip.PrefixFrom(addr("10.1.0.1"), 32)}})
	s.c.Bystanders = []tracer.Bystander{{NetNS: strangerNS, Namespace: "x", Name: "vpn"}}
}

// onlyFlooded: the request went from the client's veth to other ports at most.
func onlyFlooded(s *scene) {
	hop(tracer.EventTX, on(hostNS, vethAPI))(s)
	s.j.DstDevice, s.j.ReachedTarget = tracer.DeviceKey{}, false
}

func isolatedPorts(devs ...uint32) change {
	return func(s *scene) {
		for _, d := range devs {
			s.n.Ports = append(s.n.Ports, tracer.BridgePort{Device: on(hostNS, d), Dev: s.nameOf(on(hostNS, d)), Bridge: "br0", Isolated: true})
		}
	}
}

// wideMask: the client's route for its own link covers the destination.
func wideMask(s *scene) {
	for i := range s.n.Routes {
		if r := &s.n.Routes[i]; r.For == "src-pod" {
			r.Dst, r.Prefix, r.Via = s.j.Flow.Dst.Addr(), "10.0.0.0/8", netip.Addr{}
		}
	}
}

// overSix makes the flow one of IPv6.
func overSix(s *scene) {
	s.j.Flow.Src, s.j.Flow.Dst = ap("fd00::a", 40000), ap("fd00::b", 8080)
	s.j.Translated = s.j.Flow
}

// blockedQuestion: a firewall dropped the client's neighbour solicitation.
func blockedQuestion(stage tracer.Stage, with ...dropChange) change {
	return func(s *scene) {
		dropOf("NETFILTER_DROP", "nft_do_chain", stage, "nftables", append([]dropChange{func(d *tracer.DropSeen) {
			d.ARP, d.Tuple = true, tracer.Tuple{Src: netip.AddrPortFrom(s.j.Flow.Src.Addr(), 0), Dst: ap("fd00::1", 0), Proto: tracer.ProtoICMPv6}
		}}, with...)...)(s)
	}
}

// smallPort: the target's port of the bridge has a smaller MTU.
func smallPort(s *scene) {
	for i := range s.Inventory.Devices {
		if d := &s.Inventory.Devices[i]; d.DeviceKey == on(hostNS, vethAPI) {
			d.MTU = 1400
		}
	}
}

func inBridge(location string, size uint32, with ...dropChange) change {
	return dropOf("NOT_SPECIFIED", location, tracer.StageBridge, "", append([]dropChange{at3(on(hostNS, vethAPI)), func(d *tracer.DropSeen) { d.Len = size }}, with...)...)
}

// notTracked: a rule keeps conntrack from the flow.
func notTracked(s *scene) {
	s.n.Untracked = []tracer.RuleFact{{Engine: "nftables", Family: "inet", Table: "raw", Chain: "PRE", Hook: "prerouting", Verdict: "notrack", Text: "notrack", How: "computed"}}
}

// otherZone: a rule has conntrack look for the answers where it does not know them.
func otherZone(s *scene) {
	s.n.Zoned = []tracer.RuleFact{{Engine: "nftables", Family: "inet", Table: "raw", Chain: "PRE", Hook: "prerouting", Verdict: "zone", Text: "ct zone set 7", How: "computed"}}
}

// masqueraded: a rule would give the flow the node's address.
func masqueraded(s *scene) {
	s.n.Masquerade = []tracer.RuleFact{{Family: "ip", Table: "nat", Chain: "POST", Verdict: "masquerade", Text: "masquerade", How: "computed"}}
}

// boundHere: a device of the node has the Service's address.
func boundHere(s *scene) {
	s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(hostNS, 20), Name: "dummy0", Kind: "dummy", Up: true, Addrs: []netip.Prefix{netip.PrefixFrom(addr(svcIP), 32)}})
}

func tracked(s *scene) { s.j.CTSeen = true }

func subnetFaults() []fault {
	flooded := dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(strangerNS, eth0)))
	inPod := noNeighbour(at3(on(webNS, eth0)))
	return []fault{
		{"a Service's address is not tracked", "untracked", "node-notrack", confirmed, "FirewallRule inet raw PRE", []change{toService, left(webIP), notTracked}},
		{"the same, and IPVS has the address", "untracked", "node-notrack", confirmed, "FirewallRule inet raw PRE", []change{toService, left(webIP), notTracked, boundHere, func(s *scene) {
			s.n.Services.Implementations = []string{tracer.ProxyIPVS}
		}}},
		{"what goes outside is not tracked", "untracked", "node-notrack", confirmed, "FirewallRule inet raw PRE", []change{toWorld, left(webIP), notTracked, masqueraded}},
		{"both ports are isolated", "isolated", "cni-port-isolated", confirmed, "Pod db/api", []change{inBridge("br_forward", 74), isolatedPorts(vethWeb, vethAPI)}},
		{"both ports are isolated, and the client finds nobody", "isolated", "cni-port-isolated", confirmed, "Pod db/api", []change{inPod, isolatedPorts(vethWeb, vethAPI)}},
		{"the pod's mask covers another node's pods", "own-link", "cni-cidr-overlap", confirmed, "Pod shop/web", []change{toFar, wideMask, noNeighbour(at3(on(webNS, eth0)))}},
		{"the pod's mask covers the outside", "own-link", "cni-cidr-overlap", confirmed, "Pod shop/web", []change{toWorld, wideMask, noNeighbour(at3(on(webNS, eth0)))}},
		{"neighbour discovery is dropped", "discovery-blocked", "node-input-blocked", confirmed, "FirewallRule inet t c", []change{overSix, noNeighbour(at3(on(webNS, eth0))), blockedQuestion(tracer.StageInput), rule("", "drop", hookIs("input"))}},
		{"neighbour discovery is dropped, by which rule is not known", "discovery-blocked", "node-input-blocked", probable, "Node n1", []change{overSix, noNeighbour(at3(on(webNS, eth0))), blockedQuestion(tracer.StageInput)}},
		{"neighbour discovery is dropped where pods are forwarded", "discovery-blocked", "node-forward-drop", probable, "Node n1", []change{overSix, noNeighbour(at3(on(webNS, eth0))), blockedQuestion(tracer.StageForward)}},
		{"the client has a wrong MAC address for its gateway", "gateway-elsewhere", "cni-stale-neigh", confirmed, "Pod shop/web", []change{toWorld, onlyFlooded, flooded, gatewayAt(webNS, strangerMAC, "PERMANENT")}},
		{"another pod is taken for the client's gateway", "gateway-elsewhere", "cni-duplicate-ip", confirmed, "Pod x/vpn", []change{toWorld, onlyFlooded, gatewayAt(webNS, strangerMAC, "REACHABLE"), claimed}},
		{"another pod, whose name is not known, is taken for the target's gateway", "gateway-elsewhere", "cni-duplicate-ip", confirmed, "Pod", []change{reached, gatewayAt(apiNS, strangerMAC, "STALE"), claimed, func(s *scene) { s.c.Bystanders = nil }}},
		{"the bridge's port has a smaller MTU", "bridge-mtu", "cni-mtu-blackhole", confirmed, "Pod db/api", []change{inBridge("br_dev_queue_push_xmit", 1514), smallPort}},
		// Lost on the way to one endpoint, and sent to another when tried again.
		{"a stale endpoint, and another at the next try", "stale-endpoint", "svc-stale-endpoint", confirmed, "Service db/api", []change{toService, translated("10.1.0.66", 8080), noNeighbour(), translated(apiIP, 8080),
			icmpFromNode(3, 1), outcomeIs(tracer.OutcomeICMPError), func(s *scene) { s.n.Services.Targets = append(s.n.Services.Targets, ap("10.1.0.66", 8080)) }}},
		{"a rule at a device", "foreign-rule", "node-forward-drop", confirmed, "FirewallRule netdev t c", []change{dropOf("NETFILTER_DROP", "nft_do_chain", tracer.StageIngress, "nftables", at3(on(hostNS, vethWeb))),
			rule("", "drop", hookIs("ingress"), func(r *tracer.RuleFact) { r.Family = "netdev" })}},
	}
}

func subnetLookalikes() []lookalike {
	flooded := dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(strangerNS, eth0)))
	inPod := noNeighbour(at3(on(webNS, eth0)))
	uplinkInBridge := func(s *scene) {
		for i := range s.Inventory.Devices {
			if d := &s.Inventory.Devices[i]; d.DeviceKey == on(hostNS, uplink) {
				d.Master = bridge
			}
		}
	}
	return []lookalike{
		{"a rule that exempts others, and the Service has no rules", []change{toService, left(webIP), noRules, notTracked}, "svc-kubeproxy-no-rules", "node-notrack", ""},
		{"the flow is tracked all the same", []change{toWorld, left(webIP), notTracked, masqueraded, tracked}, "egr-masq-missing", "node-notrack", ""},
		{"not tracked, and answered by nobody outside", []change{toWorld, left(nodeIP), notTracked, masqueraded}, "beyond-node", "node-notrack", ""},
		{"the node serves the address itself, and its firewall drops", []change{toService, notTracked, boundHere, inputDrop, rule("", "drop", hookIs("input"))}, "node-input-blocked", "node-notrack", ""},
		{"not tracked, between pods", []change{toFar, left(webIP), notTracked}, "beyond-node", "node-notrack", ""},
		{"only the target's port is isolated", []change{noNeighbour(), isolatedPorts(vethAPI)}, "cni-stale-neigh", "cni-port-isolated", ""},
		{"both ports are isolated, and a rule drops", []change{filtered(), rule("", "drop"), isolatedPorts(vethWeb, vethAPI)}, "node-forward-drop", "cni-port-isolated", ""},
		{"the pods' bridge reaches beyond the node", []change{toFar, wideMask, uplinkInBridge, inPod}, "unknown", "cni-cidr-overlap", ""},
		{"a neighbour of its own node is silent", []change{wideMask, inPod}, "cni-stale-neigh", "cni-cidr-overlap", ""},
		{"another's question was dropped", []change{overSix, noNeighbour(at3(on(webNS, eth0))), blockedQuestion(tracer.StageInput, func(d *tracer.DropSeen) { d.Tuple.Src = ap("fd00::c", 0) })}, "cni-gateway-arp", "node-input-blocked", ""},
		{"a question was dropped, and the flow by a policy", []change{overSix, filtered(), denies("ingress", "peer"), blockedQuestion(tracer.StageInput)}, "pol-ingress-deny", "node-input-blocked", ""},
		{"the gateway has its own MAC address", []change{toWorld, onlyFlooded, flooded, gatewayAt(webNS, nodeMAC, "REACHABLE")}, "cni-stale-neigh", "cni-duplicate-ip", probable},
		{"a wrong MAC address, and the packets came through", []change{toWorld, left(nodeIP), gatewayAt(webNS, strangerMAC, "STALE")}, "beyond-node", "cni-stale-neigh", ""},
		{"a gateway that is not the node's", []change{toWorld, onlyFlooded, flooded, gatewayAt(webNS, strangerMAC, "REACHABLE"), func(s *scene) {
			for i := range s.Inventory.Devices {
				if d := &s.Inventory.Devices[i]; d.DeviceKey == on(hostNS, bridge) {
					d.Addrs = nil
				}
			}
		}}, "cni-stale-neigh", "cni-duplicate-ip", probable},
		{"the target answers past a wrong MAC address", []change{reached, established, gatewayAt(apiNS, strangerMAC, "STALE"), outcomeIs(tracer.OutcomeConnectedNoData)}, "app-hang", "cni-stale-neigh", ""},
		{"a small frame in the bridge", []change{inBridge("br_dev_queue_push_xmit", 74), smallPort}, "unknown", "cni-mtu-blackhole", ""},
		{"a large frame that a rule of the bridge drops", []change{inBridge("nft_do_chain", 1514, func(d *tracer.DropSeen) { d.Drop.Reason, d.Drop.Engine = "NETFILTER_DROP", "nftables" }), smallPort, rule("", "drop", hookIs("forward"))}, "node-forward-drop", "cni-mtu-blackhole", ""},
		{"the firewall resets in the name of a Service's endpoint", []change{toService, translated(apiIP, 8080), filtered(times(1)), rule("", "reject"), unheardReset, outcomeIs(tracer.OutcomeRefused)}, "node-firewall-reject", "svc-conntrack-invalid-rst", ""},
		{"a good endpoint at the first try and the next", []change{toService, translated(apiIP, 8080), noNeighbour()}, "cni-stale-neigh", "svc-stale-endpoint", ""},
	}
}

// unheardReset: a reset came to the client with the endpoint's own address, and its
// socket does not know it.
func unheardReset(s *scene) {
	dropOf("NO_SOCKET", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(webNS, eth0)), ofReply, times(1))(s)
	answer(tracer.AnswerRST, tracer.EventTX, on(hostNS, vethWeb))(s)
}
