package verdict

import (
	"net/netip"
	"slices"

	"github.com/podpath/podpath/tracer"
)

const secondGateway = "192.0.2.253"

// twoGateways: the default route has two next hops, in these states.
func twoGateways(first, second string) change {
	return func(s *scene) {
		s.n.Routes[0].Hops = []tracer.NextHop{{Dev: "ens3", OIF: uplink, Via: addr(gatewayIP)}, {Dev: "ens3", OIF: uplink, Via: addr(secondGateway)}}
		for via, state := range map[string]string{gatewayIP: first, secondGateway: second} {
			if state != "" {
				s.n.Neighbours = append(s.n.Neighbours, tracer.NeighbourFact{NetNS: hostNS, Dev: "ens3", Addr: addr(via), State: state})
			}
		}
		slices.SortFunc(s.n.Neighbours, func(a, b tracer.NeighbourFact) int { return a.Addr.Compare(b.Addr) })
	}
}

func nextHopFaults() []fault {
	silent := noNeighbour(at3(on(hostNS, uplink)))
	return []fault{
		{"a route of an earlier pod leads elsewhere", "neighbour", "cni-host-route-missing", confirmed, "Pod db/api", []change{noNeighbour(at3(on(hostNS, oldVeth))), leftBehind}},
		{"the second of two gateways is silent", "neighbour", "egr-gateway-dead", confirmed, "Gateway " + secondGateway, []change{toWorld, silent, twoGateways("REACHABLE", "FAILED")}},
		{"the first of two gateways is silent", "neighbour", "egr-gateway-dead", confirmed, "Gateway " + gatewayIP, []change{toWorld, silent, twoGateways("INCOMPLETE", "STALE")}},
		{"two gateways, and which is silent is not known", "neighbour", "egr-gateway-dead", probable, "Node n1", []change{toWorld, silent, twoGateways("REACHABLE", "")}},
		{"two gateways, both silent", "neighbour", "egr-gateway-dead", probable, "Node n1", []change{toWorld, silent, twoGateways("FAILED", "FAILED")}},
		{"a silent host of the node's network, told by the node's own error", "neighbour", "egr-remote-down", confirmed, "ExternalHost " + world, []change{toWorld, onLink, toldHostUnreachable, neighbourIs(world, "FAILED")}},
		{"a silent gateway, told by the node's own error", "neighbour", "egr-gateway-dead", confirmed, "Gateway " + gatewayIP, []change{toWorld, toldHostUnreachable, byUplink, neighbourIs(gatewayIP, "INCOMPLETE")}},
		{"one of two gateways is silent, told by the node's own error", "neighbour", "egr-gateway-dead", confirmed, "Gateway " + secondGateway, []change{toWorld, toldHostUnreachable, byUplink, twoGateways("REACHABLE", "FAILED")}},
	}
}

func nextHopLookalikes() []lookalike {
	return []lookalike{
		{"the pod's own veth is routed to, and the pod is silent", []change{noNeighbour(at3(on(hostNS, vethAPI))), func(s *scene) {
			s.n.Routes[0].Dev, s.n.Routes[0].OIF, s.n.DstPeer.Master = s.n.DstPeer.Name, vethAPI, 0
		}}, "cni-stale-neigh", "cni-host-route-missing", probable},
		{"packets are given to everybody under a connection, and the link is up", []change{reached, established, outcomeIs(tracer.OutcomeConnectedNoData),
			dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(strangerNS, eth0)))}, "unknown", "cni-veth-down", ""},
		{"a rule drops under a connection, and the link is down since", []change{reached, established, outcomeIs(tracer.OutcomeConnectedNoData), filtered(), rule("", "drop"), linkDown(func(n *tracer.NodeFacts) *tracer.Device { return n.DstPeer })}, "node-forward-drop", "cni-veth-down", ""},
		{"the node refuses an answer", []change{toWorld, left(nodeIP), dropOf("NO_SOCKET", "__udp4_lib_rcv", tracer.StageSocket, "", at3(on(hostNS, uplink)), ofReply, func(d *tracer.DropSeen) {
			d.Tuple = tracer.Tuple{Src: ap(nodeIP, 61000), Dst: ap(world, 443), Proto: tracer.ProtoTCP}
		})}, "unknown", "beyond-node", ""},
		{"its bridge is routed to, and the pod is silent", []change{noNeighbour(at3(on(hostNS, bridge))), func(s *scene) { s.n.Routes[0].OIF = bridge }}, "cni-stale-neigh", "cni-host-route-missing", probable},
		{"a route of an earlier pod, gone since", []change{noNeighbour(at3(on(hostNS, oldVeth)))}, "cni-stale-neigh", "cni-host-route-missing", probable},
		{"prohibited in the name of another node's pod", []change{toFar, left(webIP), answer(tracer.AnswerICMP, tracer.EventRX, on(hostNS, uplink), arrivedAt, from(farIP), func(a *tracer.Answer) { a.ICMPType, a.ICMPCode = 3, 10 }), outcomeIs(tracer.OutcomeICMPError)},
			"beyond-node", "egr-firewall-reject", probable},
		{"prohibited on the way to another node's pod", []change{toFar, left(webIP), icmpFromWorld(3, 13), outcomeIs(tracer.OutcomeICMPError)}, "egr-firewall-reject", "cni-host-route-missing", ""},
		{"two gateways, one silent, and the flow left by the other", []change{toWorld, left(nodeIP), twoGateways("REACHABLE", "FAILED")}, "beyond-node", "egr-gateway-dead", ""},
		{"the node says host unreachable, and its neighbour answers", []change{toWorld, onLink, toldHostUnreachable, neighbourIs(world, "REACHABLE")}, "unknown", "egr-remote-down", ""},
		{"the node says network unreachable, and a neighbour is silent", []change{toWorld, onLink, icmpFromNode(3, 0), outcomeIs(tracer.OutcomeICMPError), neighbourIs(world, "FAILED")}, "unknown", "egr-remote-down", ""},
		{"another router says host unreachable, and the node's neighbour is silent", []change{toWorld, onLink, left(nodeIP), icmpFromWorld(3, 1), outcomeIs(tracer.OutcomeICMPError), neighbourIs(world, "FAILED")}, "beyond-node", "egr-remote-down", ""},
		{"a rule drops, and says host unreachable, and a neighbour is silent", []change{toWorld, onLink, filtered(), toldHostUnreachable, neighbourIs(world, "FAILED")}, "node-forward-drop", "egr-remote-down", ""},
		{"a rule for another zone, and the answer comes to a target that hangs", []change{reached, established, outcomeIs(tracer.OutcomeConnectedNoData), otherZone}, "app-hang", "node-notrack", ""},
		{"a rule for another zone, and nothing listens", []change{refusedByTarget, otherZone}, "app-no-listener", "node-notrack", ""},
		{"two gateways, and the bridge's own neighbour is silent", []change{noNeighbour(), twoGateways("REACHABLE", "FAILED")}, "cni-stale-neigh", "egr-gateway-dead", ""},
	}
}

// byUplink: the way out is by the uplink; onLink: and by no gateway.
func byUplink(s *scene) { s.n.Routes[0].OIF = uplink }
func onLink(s *scene) {
	byUplink(s)
	s.n.Routes[0].Via = netip.Addr{}
}

// toldHostUnreachable: the node told the client so itself, and no drop was recorded.
func toldHostUnreachable(s *scene) {
	icmpFromNode(3, 1)(s)
	s.Outcome = tracer.OutcomeICMPError
}

const oldVeth = 30

// leftBehind: the node has a route to the target's address by a device that is not
// its veth.
func leftBehind(s *scene) {
	r := &s.n.Routes[0]
	r.Prefix, r.Dev, r.OIF = apiIP+"/32", "vethold", oldVeth
	s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(hostNS, oldVeth), Name: "vethold", Kind: "veth", Role: tracer.RoleOther, Up: true})
}
