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

// unmapped: a pod of node n1 wants port 9000 of it, and the node refuses what asks
// for it.
func unmapped(s *scene) {
	byHostPort(s)
	s.j.Translated, s.j.Translations, s.j.CTSeen = s.j.Flow, nil, false
	s.c.Target, s.c.TargetPod, s.c.InPodCIDR = s.c.Destination, nil, ""
	s.j.DstDevice, s.j.ReachedTarget = on(hostNS, uplink), true
	s.n.Services = &tracer.ServiceRules{Implementations: []string{"kube-proxy-nftables"}, Any: true, Complete: true}
	s.c.Published = &tracer.PodFacts{Namespace: "db", Name: "api", Phase: "Running", Ready: true, Node: "n1",
		Ports: []tracer.ContainerPort{{Port: 8080, Proto: tracer.ProtoTCP, HostPort: 9000}}}
}

// nodeRefuses: the node has no socket for it.
func nodeRefuses(s *scene) {
	noSocket(at3(on(hostNS, uplink)))(s)
	answer(tracer.AnswerRST, tracer.EventTX, on(hostNS, uplink), arrivedAt)(s)
	s.Outcome = tracer.OutcomeRefused
}

// blockedAtNode: a rule of the node's input drops it.
func blockedAtNode(s *scene) {
	inCore(tracer.StageInput, at3(on(hostNS, uplink)))(s)
	rule("firewalld", "drop", hookIs("input"))(s)
}

func publishedFaults() []fault {
	return []fault{
		{"a NodePort passed on with the client's address", "answer-past-node", "svc-nodeport-masq-missing", probable, "Service db/api", []change{byNodePort, unmasked}},
		{"a load balancer's address, of IPVS", "answer-past-node", "svc-nodeport-masq-missing", probable, "Service db/api", []change{byNodePort, unmasked, func(s *scene) {
			s.c.Service.Frontend, s.n.Services.Implementations = "load-balancer", []string{"ipvs"}
		}}},
		{"a hostPort of a pod that is gone", "stale-host-port", "cni-hostport-stale", confirmed, "Node n1", []change{byHostPort, noNeighbour()}},
		{"a hostPort, and only silence", "stale-host-port", "cni-hostport-stale", probable, "Node n1", []change{byHostPort}},
		{"a hostPort that nothing maps", "no-host-port", "cni-hostport-missing", confirmed, "Pod db/api", []change{unmapped, nodeRefuses}},
		{"a hostPort that nothing maps, behind a firewall", "no-host-port", "cni-hostport-missing", confirmed, "Pod db/api", []change{unmapped, blockedAtNode}},
		{"a hostPort that nothing maps, asked by a pod", "no-host-port", "cni-hostport-missing", confirmed, "Pod db/api", []change{unmapped, nodeRefuses, func(s *scene) {
			s.j.Flow.Src, s.j.Translated.Src = ap(webIP, 40000), ap(webIP, 40000)
			s.c.Source = tracer.Endpoint{IP: addr(webIP), Kind: tracer.KindPod, Namespace: "shop", Name: "web", Node: "n1"}
		}}},
		{"a hostPort that nothing maps, and rules that could not be read", "no-host-port", "cni-hostport-missing", probable, "Pod db/api", []change{unmapped, nodeRefuses, func(s *scene) { s.n.Services.Complete = false }}},
		{"a hostPort that Cilium's programs map", "no-host-port", "cni-hostport-missing", probable, "Pod db/api", []change{unmapped, nodeRefuses, func(s *scene) { s.n.Services.Implementations = []string{"cilium"} }}},
		{"a hostPort that nothing maps, and old data of the cluster", "no-host-port", "cni-hostport-missing", probable, "Pod db/api", []change{unmapped, nodeRefuses, func(s *scene) { s.c.Stale = 90 * 1e9 }}},
		{"a hostPort, and old data of the cluster", "stale-host-port", "cni-hostport-stale", probable, "Node n1", []change{byHostPort, noNeighbour(), func(s *scene) { s.c.Stale = 90 * 1e9 }}},
	}
}

func publishedLookalikes() []lookalike {
	const masq, stale, missing = "svc-nodeport-masq-missing", "cni-hostport-stale", "cni-hostport-missing"
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
		{"a port of the node that no pod publishes", []change{unmapped, nodeRefuses, func(s *scene) { s.c.Published = nil }}, "app-no-listener", missing + " " + stale, ""},
		{"a hostPort that a rule maps, for newer packets", []change{unmapped, nodeRefuses, func(s *scene) { s.n.Services.HasFrontend = true }}, "app-no-listener", missing, ""},
		{"a hostPort whose pod refuses", []change{unmapped, translated(apiIP, 8080), refusedByTarget}, "app-no-listener", missing + " " + stale, ""},
		{"a hostPort whose mapping leads to a pod that is gone", []change{unmapped, translated("10.1.0.66", 8080), noNeighbour(), func(s *scene) { s.c.InPodCIDR, s.j.DstDevice = "n1", tracer.DeviceKey{} }}, stale, missing, ""},
		{"another node's hostPort, refused there", []change{unmapped, func(s *scene) {
			s.c.Published.Node, s.j.DstDevice, s.j.ReachedTarget = "n2", tracer.DeviceKey{}, false
			s.j.Flow.Dst, s.j.Translated.Dst = ap(node2IP, 9000), ap(node2IP, 9000)
			s.c.Destination = tracer.Endpoint{IP: addr(node2IP), Kind: tracer.KindNode, Name: "n2"}
			s.c.Target = s.c.Destination
		}, left(nodeIP), answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink), arrivedAt), outcomeIs(tracer.OutcomeRefused)}, "unknown", missing + " " + stale, ""},
		{"a NodePort without rules, of a pod that has a hostPort as well", []change{unmapped, nodeRefuses, func(s *scene) {
			s.c.Service = &tracer.ServiceFacts{Namespace: "db", Name: "api", Type: "NodePort", Frontend: "node-port", PortKnown: true, Port: 80, Ports: []string{"80/TCP"}, Matches: 1, Ready: 1,
				Endpoints: []tracer.ServiceEndpoint{{Addr: ap(apiIP, 8080), Ready: true, Serving: true, Pod: "db/api", Node: "n1"}}}
		}}, "svc-kubeproxy-no-rules", missing, ""},
		{"a hostPort that a program on the way drops", []change{unmapped, byTC(at3(on(hostNS, uplink)))}, "pol-foreign-bpf", missing, ""},
		{"a hostPort that the node serves itself", []change{unmapped, func(s *scene) {
			answer(tracer.AnswerSynAck, tracer.EventTX, on(hostNS, uplink))(s)
			s.j.Established, s.j.ReplyBytes, s.j.RequestBytes, s.Outcome = true, 10, 10, tracer.OutcomeDelivered
		}}, "ok", missing, ""},
		{"a hostPort that answers", []change{byHostPort, func(s *scene) {
			answer(tracer.AnswerSynAck, tracer.EventRX, on(hostNS, bridge))(s)
			s.j.Established, s.j.ReplyBytes, s.j.RequestBytes, s.Outcome = true, 10, 10, tracer.OutcomeDelivered
		}}, "ok", stale, ""},
	}
}
