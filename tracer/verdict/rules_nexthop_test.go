package verdict

import (
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
		{"two gateways, and the bridge's own neighbour is silent", []change{noNeighbour(), twoGateways("REACHABLE", "FAILED")}, "cni-stale-neigh", "egr-gateway-dead", ""},
	}
}

const oldVeth = 30

// leftBehind: the node has a route to the target's address by a device that is not
// its veth.
func leftBehind(s *scene) {
	r := &s.n.Routes[0]
	r.Prefix, r.Dev, r.OIF = apiIP+"/32", "vethold", oldVeth
	s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(hostNS, oldVeth), Name: "vethold", Kind: "veth", Role: tracer.RoleOther, Up: true})
}
