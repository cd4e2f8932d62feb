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
		{"the second of two gateways is silent", "neighbour", "egr-gateway-dead", confirmed, "Gateway " + secondGateway, []change{toWorld, silent, twoGateways("REACHABLE", "FAILED")}},
		{"the first of two gateways is silent", "neighbour", "egr-gateway-dead", confirmed, "Gateway " + gatewayIP, []change{toWorld, silent, twoGateways("INCOMPLETE", "STALE")}},
		{"two gateways, and which is silent is not known", "neighbour", "egr-gateway-dead", probable, "Node n1", []change{toWorld, silent, twoGateways("REACHABLE", "")}},
		{"two gateways, both silent", "neighbour", "egr-gateway-dead", probable, "Node n1", []change{toWorld, silent, twoGateways("FAILED", "FAILED")}},
	}
}

func nextHopLookalikes() []lookalike {
	return []lookalike{
		{"two gateways, one silent, and the flow left by the other", []change{toWorld, left(nodeIP), twoGateways("REACHABLE", "FAILED")}, "beyond-node", "egr-gateway-dead", ""},
		{"two gateways, and the bridge's own neighbour is silent", []change{noNeighbour(), twoGateways("REACHABLE", "FAILED")}, "cni-stale-neigh", "egr-gateway-dead", ""},
	}
}
