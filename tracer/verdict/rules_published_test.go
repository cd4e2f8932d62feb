package verdict

import (
	"github.com/podpath/podpath/tracer"
)

// byNodePort: somebody outside asks node n1 for a NodePort whose pod is on n2.
func byNodePort(s *scene) {
	toService(s)
	toFar(s)
	fromOutside(s)
	s.j.Flow.Dst = ap(nodeIP, 30080)
	s.j.Translated.Src, s.j.CTSeen = s.j.Flow.Src, true
	s.j.Translations = []tracer.Translation{{Kind: "dnat", From: s.j.Flow.Dst, To: s.j.Translated.Dst, Event: 4}}
	s.c.Destination = tracer.Endpoint{IP: addr(nodeIP), Kind: tracer.KindNode, Name: "n1"}
	s.c.InServiceRange = false
	s.c.Service.Frontend, s.c.Service.Type, s.c.Service.Endpoints[0].Node = "node-port", "NodePort", "n2"
	s.c.Service.Endpoints[0].Addr = s.j.Translated.Dst
}

func fromOutside(s *scene) {
	s.j.Flow.Src, s.j.SrcDevice = ap(world, 50000), tracer.DeviceKey{}
	s.c.Source, s.c.SourcePod, s.c.Egress = tracer.Endpoint{IP: addr(world), Kind: tracer.KindExternal}, nil, nil
	s.n.SrcDevice, s.n.SrcPeer = nil, nil
	s.j.Hops = nil
	hop(tracer.EventRX, on(hostNS, uplink))(s)
}

// unmasked: it went on with the client's own address.
func unmasked(s *scene) {
	s.j.LeftNode, s.j.LeftBy, s.j.LeftAs = true, on(hostNS, uplink), s.j.Translated
	hop(tracer.EventTX, on(hostNS, uplink))(s)
}

// byHostPort: somebody outside asks node n1 for a port that it maps to an
// address of its pods.
func byHostPort(s *scene) {
	toService(s)
	fromOutside(s)
	s.j.Flow.Dst = ap(nodeIP, 9000)
	s.j.Translated = s.j.Flow
	translated("10.1.0.66", 8080)(s)
	s.c.Service, s.c.InServiceRange, s.c.InPodCIDR = nil, false, "n1"
	s.c.Destination = tracer.Endpoint{IP: addr(nodeIP), Kind: tracer.KindNode, Name: "n1"}
}

func publishedFaults() []fault {
	return []fault{
		{"a NodePort passed on with the client's address", "answer-past-node", "svc-nodeport-masq-missing", probable, "Service db/api", []change{byNodePort, unmasked}},
		{"a load balancer's address, of IPVS", "answer-past-node", "svc-nodeport-masq-missing", probable, "Service db/api", []change{byNodePort, unmasked, func(s *scene) {
			s.c.Service.Frontend, s.n.Services.Implementations = "load-balancer", []string{"ipvs"}
		}}},
		{"a hostPort of a pod that is gone", "stale-host-port", "cni-hostport-stale", confirmed, "Node n1", []change{byHostPort, noNeighbour()}},
		{"a hostPort, and only silence", "stale-host-port", "cni-hostport-stale", probable, "Node n1", []change{byHostPort}},
		{"a hostPort, and old data of the cluster", "stale-host-port", "cni-hostport-stale", probable, "Node n1", []change{byHostPort, noNeighbour(), func(s *scene) { s.c.Stale = 90 * 1e9 }}},
	}
}

func publishedLookalikes() []lookalike {
	const masq, stale = "svc-nodeport-masq-missing", "cni-hostport-stale"
	return []lookalike{
		{"a NodePort that was masqueraded, and silence", []change{byNodePort, left(nodeIP)}, "beyond-node", masq, ""},
		{"a NodePort of a proxy that has the pod answer directly", []change{byNodePort, unmasked, func(s *scene) { s.n.Services.Implementations = []string{"cilium"} }}, "beyond-node", masq, ""},
		{"a NodePort, and nobody knows who translated", []change{byNodePort, unmasked, func(s *scene) { s.n.Services = nil }}, "beyond-node", masq, ""},
		{"a NodePort with externalTrafficPolicy Local", []change{byNodePort, unmasked, func(s *scene) { s.c.Service.ExternalLocal = true }}, "beyond-node", masq, ""},
		{"a ClusterIP that a router sends here", []change{byNodePort, unmasked, func(s *scene) { s.c.Service.Frontend = "cluster-ip" }}, "beyond-node", masq, ""},
		{"a node is the client, whose address is its own", []change{byNodePort, unmasked, func(s *scene) { s.c.Source.Kind = tracer.KindNode }}, "beyond-node", masq, ""},
		{"a NodePort to an endpoint that is gone", []change{byNodePort, noNeighbour(), func(s *scene) { s.c.Service.Endpoints[0].Addr = ap("10.2.0.99", 8080) }}, "svc-stale-endpoint", masq + " " + stale, ""},
		{"a hostPort to a pod that does not answer for its address", []change{byHostPort, translated(apiIP, 8080), noNeighbour()}, "cni-stale-neigh", stale, ""},
		{"somebody's translation to a host that is no pod's", []change{byHostPort, noNeighbour(), func(s *scene) { s.c.InPodCIDR = "" }}, "unknown", stale, ""},
		{"somebody's translation to another node's pods", []change{byHostPort, func(s *scene) { s.c.InPodCIDR = "n2" }}, "unknown", stale, ""},
		{"a hostPort, without data of the cluster", []change{byHostPort, noNeighbour(), noCluster}, "unknown", stale, ""},
		{"a hostPort of a pod that is too new to be known", []change{byHostPort, answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, bridge)), outcomeIs(tracer.OutcomeRefused)}, "unknown", stale, ""},
		{"a hostPort to an address that a namespace here has", []change{byHostPort, func(s *scene) { s.j.DstDevice = on(apiNS, eth0) }}, "unknown", stale, ""},
		{"a hostPort that answers", []change{byHostPort, func(s *scene) {
			answer(tracer.AnswerSynAck, tracer.EventRX, on(hostNS, bridge))(s)
			s.j.Established, s.j.ReplyBytes, s.j.RequestBytes, s.Outcome = true, 10, 10, tracer.OutcomeDelivered
		}}, "ok", stale, ""},
	}
}
