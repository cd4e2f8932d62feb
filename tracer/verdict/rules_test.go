package verdict

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// fault is a scene that one rule must explain. Code, confidence and object are
// the verdict's.
type fault struct {
	name   string
	rule   string
	code   string
	sure   tracer.Confidence
	object string // "Kind namespace/name", "" if it does not matter
	with   []change
}

func ref(r *tracer.Ref) string {
	if r == nil {
		return ""
	}
	return strings.TrimSuffix(r.Kind+" "+strings.TrimPrefix(r.Namespace+"/"+r.Name, "/"), " ")
}

const (
	confirmed = tracer.Confirmed
	probable  = tracer.Probable
	suspected = tracer.Suspected
)

func faults() []fault {
	srcPeer := func(n *tracer.NodeFacts) *tracer.Device { return n.SrcPeer }
	dstPeer := func(n *tracer.NodeFacts) *tracer.Device { return n.DstPeer }
	dstDev := func(n *tracer.NodeFacts) *tracer.Device { return n.DstDevice }
	loopbackPort := dropOf("NO_SOCKET", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(webNS, lo)), func(d *tracer.DropSeen) { d.Tuple.Dst = ap("127.0.0.1", 15001) })
	unanswered := answer(tracer.AnswerSynAck, tracer.EventTX, on(apiNS, eth0), from(apiIP))
	return append(slices.Concat(pathFaults(), publishedFaults(), idleFaults(), startupFaults(), expectedFaults(), stateFaults(), noNetworkFaults()), []fault{
		// In the pods.
		{"outbound sidecar", "sidecar", "app-sidecar-missing", confirmed, "Pod shop/web", []change{loopbackPort, outcomeIs(tracer.OutcomeRefused)}},
		{"inbound sidecar", "sidecar-refused", "app-sidecar-missing", confirmed, "Pod db/api", []change{reached,
			noSocket(func(d *tracer.DropSeen) { d.Tuple.Dst = ap(apiIP, 15006) }), answer(tracer.AnswerRST, tracer.EventTX, on(apiNS, eth0)), outcomeIs(tracer.OutcomeRefused)}},
		{"firewall in the target", "pod-firewall", "app-pod-firewall", confirmed, "Pod db/api", []change{reached, filtered(at3(on(apiNS, eth0)))}},
		{"firewall in the client, for answers", "pod-firewall", "app-pod-firewall", confirmed, "Pod shop/web", []change{reached, filtered(at3(on(webNS, eth0)), ofReply)}},
		{"target's veth went down under a connection", "pod-link", "cni-veth-down", confirmed, "Pod db/api", []change{reached, established, outcomeIs(tracer.OutcomeConnectedNoData), linkDown(dstPeer),
			dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(strangerNS, eth0)))}},
		{"client's veth went down under a connection, and nothing gets out", "pod-link", "cni-veth-down", confirmed, "Pod shop/web", []change{reached, established, outcomeIs(tracer.OutcomeConnectedNoData), linkDown(srcPeer),
			noNeighbour(at3(on(webNS, eth0)))}},
		{"client's veth went down under a connection", "pod-link", "cni-veth-down", confirmed, "Pod shop/web", []change{reached, established, outcomeIs(tracer.OutcomeConnectedNoData), linkDown(srcPeer),
			dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(apiNS, eth0)), ofReply)}},
		{"a client with a blackhole for it", "source-no-route", "cni-pod-no-default-route", suspected, "Pod shop/web", []change{unseen, routeIs("src-pod", "blackhole", "10.0.0.0/8")}},
		{"a target with a blackhole for the client", "pod-no-route-back", "cni-pod-no-default-route", confirmed, "Pod db/api", []change{reached, routeIs("dst-pod", "blackhole", "10.0.0.0/8")}},
		{"client's veth down", "pod-link", "cni-veth-down", confirmed, "Pod shop/web", []change{unseenOnNode, linkDown(srcPeer)}},
		{"target's veth down", "pod-link", "cni-veth-down", confirmed, "Pod db/api", []change{linkDown(dstPeer), noNeighbour()}},
		{"target's interface down", "pod-link", "cni-pod-eth-down", confirmed, "Pod db/api", []change{linkDown(dstDev), noNeighbour()}},
		{"target's veth left the bridge", "pod-link", "cni-veth-detached", confirmed, "Pod db/api", []change{noNeighbour(), func(s *scene) { s.n.DstPeer.Master = 0 }}},
		{"target's veth left the bridge, of which only the node's error tells", "pod-link", "cni-veth-detached", confirmed, "Pod db/api", []change{icmpFromNode(3, 1), outcomeIs(tracer.OutcomeICMPError), func(s *scene) { s.n.DstPeer.Master = 0 }}},
		{"one of two pods' veths left the bridge", "pod-link", "cni-veth-detached", confirmed, "Pod db/api", []change{noNeighbour(), func(s *scene) {
			s.n.DstPeer.Master = 0
			for i := range s.Inventory.Devices {
				if d := &s.Inventory.Devices[i]; d.DeviceKey == on(hostNS, vethAPI) {
					d.Master = 0
				}
			}
		}}},
		// Services.
		{"no endpoints, rejected", "no-endpoints", "svc-no-endpoints", confirmed, "Service db/api", []change{toService, noEndpointsLeft, filtered(), rule("kube-proxy", "reject"),
			icmpFromNode(3, 3), outcomeIs(tracer.OutcomeRefused)}},
		{"no endpoints of DNS", "no-endpoints", "dns-coredns-down", confirmed, "", []change{toService, noEndpointsLeft, filtered(), func(s *scene) { s.c.Service.DNS = true }}},
		{"no endpoint here, Local", "no-local-endpoints", "svc-no-local-endpoints", confirmed, "Service db/api", []change{toService, filtered(), rule("kube-proxy", "drop"),
			func(s *scene) { s.c.Service.InternalLocal, s.c.Service.Endpoints[0].Node = true, "n2" }}},
		{"no endpoint here for a client outside", "no-local-endpoints", "svc-no-local-endpoints", confirmed, "", []change{toService, filtered(), rule("kube-proxy", "drop"), func(s *scene) {
			s.c.Service.ExternalLocal, s.c.Service.Frontend, s.c.Service.Endpoints[0].Node = true, "node-port", "n2"
			s.c.Source, s.c.SourcePod = tracer.Endpoint{IP: addr(world), Kind: tracer.KindExternal}, nil
		}}},
		{"no endpoint here for another node", "no-local-endpoints", "svc-no-local-endpoints", confirmed, "Service db/api", []change{toService, localNodePort, otherNode, inputDrop,
			rule("kube-proxy", "drop", hookIs("input")), func(s *scene) { s.n.Services.NoLocal = true }}},
		{"no endpoint here for another node, as older recordings have it", "no-local-endpoints", "svc-no-local-endpoints", confirmed, "Service db/api", []change{toService, localNodePort, otherNode, inputDrop,
			rule("kube-proxy", "drop", hookIs("input")), func(s *scene) { s.n.Services.NoEndpoints = true }}},
		{"no endpoint here for a pod in another node's network", "no-local-endpoints", "svc-no-local-endpoints", confirmed, "Service db/api", []change{toService, localNodePort,
			asksFrom(node2IP, tracer.Endpoint{Kind: tracer.KindPod, Namespace: "kube-system", Name: "agent", Node: "n2", HostNetwork: true}), inputDrop,
			rule("kube-proxy", "drop", hookIs("input")), func(s *scene) { s.n.Services.NoLocal = true }}},
		{"proxy still drops for want of local endpoints", "stale-no-endpoints", "svc-stale-endpoint", confirmed, "Service db/api", []change{toService, localNodePort, outsideClient, inputDrop,
			rule("kube-proxy", "drop", hookIs("input")), func(s *scene) { s.n.Services.NoLocal, s.c.Service.Endpoints[0].Node = true, "n1" }}},
		{"client outside the source ranges", "source-ranges", "svc-lb-source-ranges", confirmed, "Service db/api", []change{toService, filtered(), rule("kube-proxy", "drop"), func(s *scene) {
			s.c.Service.Frontend, s.c.Service.SourceRanges = "load-balancer", []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		}}},
		{"proxy still rejects", "stale-no-endpoints", "svc-stale-endpoint", confirmed, "Service db/api", []change{toService, filtered(), rule("kube-proxy", "reject"), icmpFromNode(3, 3),
			outcomeIs(tracer.OutcomeRefused), func(s *scene) { s.n.Services.NoEndpoints, s.n.Services.Targets = true, nil }}},
		{"datagrams older than the rules", "conntrack-before-rules", "svc-udp-ct-before-rules", confirmed, "Service db/api", []change{toService, proto(tracer.ProtoUDP), left(nodeIP),
			func(s *scene) { s.j.CTSeen = true }}},
		{"no such port", "wrong-service-port", "svc-wrong-service-port", confirmed, "Service db/api", []change{toService, left(nodeIP), func(s *scene) { s.c.Service.PortKnown, s.c.Service.Endpoints = false, nil }}},
		{"ping of a Service", "wrong-service-port", "svc-wrong-service-port", probable, "Service db/api", []change{toService, proto(tracer.ProtoICMP), left(nodeIP),
			func(s *scene) { s.c.Service.PortKnown, s.c.Service.Endpoints = false, nil }}},
		{"no rules at all", "no-service-rules", "svc-kubeproxy-no-rules", confirmed, "Node n1", []change{toService, noRules, left(nodeIP)}},
		{"no rule for this Service", "no-service-rules", "svc-kubeproxy-no-rules", confirmed, "Service db/api", []change{toService, left(nodeIP), func(s *scene) { s.n.Services.HasFrontend, s.n.Services.Targets = false, nil }}},
		{"no virtual server for this Service", "no-service-rules", "svc-kubeproxy-no-rules", confirmed, "Service db/api", []change{toService, func(s *scene) {
			s.n.Services = &tracer.ServiceRules{Implementations: []string{tracer.ProxyIPVS}, Any: true, Complete: true}
			s.j.DstDevice = on(hostNS, uplink)
		}, noSocket(at3(on(hostNS, uplink))), answer(tracer.AnswerRST, tracer.EventTX, on(hostNS, vethWeb)), outcomeIs(tracer.OutcomeRefused)}},
		{"no virtual server at all", "no-service-rules", "svc-kubeproxy-no-rules", confirmed, "Node n1", []change{toService, left(nodeIP), func(s *scene) {
			s.n.Services = &tracer.ServiceRules{Implementations: []string{tracer.ProxyIPVS}, Complete: true}
		}}},
		{"no rules, the outside refuses", "no-service-rules", "svc-kubeproxy-no-rules", confirmed, "", []change{toService, noRules, left(nodeIP), icmpFromWorld(3, 0), outcomeIs(tracer.OutcomeICMPError)}},
		{"no rules, no route either", "no-service-rules", "svc-kubeproxy-no-rules", confirmed, "", []change{toService, noRules, noRouteAt(), routeIs("forward", "none", "")}},
		{"NodePort without rules: the node refuses", "no-service-rules", "svc-kubeproxy-no-rules", probable, "", []change{toService, noRules, func(s *scene) {
			s.j.Flow.Dst = ap(nodeIP, 30080)
			s.j.Translated, s.j.DstDevice = s.j.Flow, on(hostNS, uplink)
			s.c.Service.Frontend, s.n.Services.Complete = "node-port", false
		}, noSocket(at3(on(hostNS, uplink))), answer(tracer.AnswerRST, tracer.EventTX, on(hostNS, uplink)), outcomeIs(tracer.OutcomeRefused)}},
		{"an address that no Service has", "unallocated-cluster-ip", "svc-clusterip-unallocated", probable, "", []change{toService, left(nodeIP), func(s *scene) {
			s.c.Service, s.c.Destination = nil, tracer.Endpoint{IP: addr(svcIP), Kind: tracer.KindUnknown}
		}}},
		{"rules name a dead endpoint", "stale-endpoint", "svc-stale-endpoint", confirmed, "Service db/api", []change{toService, translated("10.1.0.66", 8080), noNeighbour(),
			func(s *scene) { s.n.Services.Targets = append(s.n.Services.Targets, ap("10.1.0.66", 8080)) }}},
		{"affinity keeps a client with a dead endpoint", "stale-endpoint", "svc-stale-affinity", confirmed, "Service db/api", []change{toService, translated("10.1.0.66", 8080), noNeighbour(), staleTarget, kept(true)}},
		{"affinity of iptables, whose list is not read", "stale-endpoint", "svc-stale-affinity", confirmed, "Service db/api", []change{toService, translated("10.1.0.66", 8080), noNeighbour(), staleTarget, kept(false)}},
		{"affinity, and old data of the cluster", "stale-endpoint", "svc-stale-affinity", probable, "", []change{toService, translated("10.1.0.66", 8080), noNeighbour(), staleTarget, kept(true), func(s *scene) { s.c.Stale = 90 * 1e9 }}},
		{"rules were just put right", "stale-endpoint", "svc-stale-endpoint", probable, "", []change{toService, translated("10.1.0.66", 8080), noNeighbour()}},
		{"the pod went away under a connection", "stale-endpoint", "svc-terminating-endpoint", probable, "", []change{toService, established, translated("10.1.0.66", 8080), noNeighbour(),
			outcomeIs(tracer.OutcomeConnectedNoData)}},
		{"an old entry pins datagrams", "stale-endpoint", "svc-stale-udp-conntrack", confirmed, "", []change{toService, proto(tracer.ProtoUDP), translated("10.1.0.66", 8080), noNeighbour()}},
		{"endpoint being deleted, and not serving", "stale-endpoint", "svc-terminating-endpoint", confirmed, "Pod db/api", []change{toService, translated(apiIP, 8080), refusedByTarget, terminating(false)}},
		{"endpoint being deleted, and silent", "stale-endpoint", "svc-terminating-endpoint", confirmed, "Pod db/api", []change{toService, translated(apiIP, 8080), reached, terminating(false)}},
		{"endpoint being deleted, serving, and refusing", "stale-endpoint", "svc-terminating-endpoint", probable, "Pod db/api", []change{toService, translated(apiIP, 8080), refusedByTarget, terminating(true)}},
		{"endpoint being deleted, serving, and gone", "stale-endpoint", "svc-terminating-endpoint", probable, "Pod db/api", []change{toService, translated(apiIP, 8080), noNeighbour(), terminating(true)}},
		{"hairpin off", "hairpin", "cni-hairpin-off", confirmed, "Pod shop/web", []change{toService, translated(webIP, 8080), ownEndpoint,
			dropOf("NOT_SPECIFIED", "br_handle_frame_finish", tracer.StageBridge, "", at3(on(hostNS, vethWeb)))}},
		{"hairpin without masquerade", "hairpin", "svc-hairpin-nomasq", confirmed, "Service db/api", []change{toService, translated(webIP, 8080), ownEndpoint,
			dropOf("IP_LOCAL_SOURCE", "ip_rcv_finish_core", tracer.StageRouting, "", at3(on(webNS, eth0)))}},
		{"bridged answers bypass conntrack", "reply-not-translated", "node-bridge-nf-off", confirmed, "Node n1", []change{toService, translated(apiIP, 8080), reached, unanswered, clientResets,
			sysctl("net.bridge.bridge-nf-call-iptables", "0"), noSocket(at3(on(webNS, eth0)), ofReply)}},
		{"answers in another zone of conntrack", "reply-not-translated", "node-notrack", confirmed, "FirewallRule inet raw PRE", []change{toService, translated(apiIP, 8080), reached, unanswered, clientResets, otherZone,
			dropOf("NO_SOCKET", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(webNS, eth0)), ofReply)}},
		{"answers to the node's own address, in another zone", "reply-not-translated", "node-notrack", confirmed, "FirewallRule inet raw PRE", []change{toWorld, left(nodeIP), otherZone, func(s *scene) { s.j.ClientReset, s.Outcome = true, tracer.OutcomeReset },
			dropOf("NO_SOCKET", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(hostNS, uplink)), ofReply, func(d *tracer.DropSeen) {
				d.Tuple = tracer.Tuple{Src: ap(nodeIP, 61000), Dst: ap(world, 443), Proto: tracer.ProtoTCP}
			})}},
		{"an answer judged invalid", "reply-not-translated", "svc-conntrack-invalid-rst", confirmed, "", []change{toService, translated(apiIP, 8080), reached, unanswered, clientResets,
			noSocket(at3(on(webNS, eth0)), ofReply), counted(hostNS, "conntrack.invalid", 3)}},
		// Programs and filters.
		{"unknown program", "bpf-drop", "pol-foreign-bpf", confirmed, "BPFProgram prog", []change{byTC(), program("", "tc ingress", on(hostNS, vethWeb))}},
		{"unknown program, not found any more", "bpf-drop", "pol-foreign-bpf", probable, "", []change{byTC()}},
		{"XDP", "bpf-drop", "pol-xdp-drop", confirmed, "", []change{dropOf("NOT_SPECIFIED", "do_xdp_generic", tracer.StageIngress, "xdp"), program("", "xdp", on(hostNS, bridge))}},
		{"the CNI's program, and a policy denies", "bpf-drop", "pol-egress-deny", confirmed, "NetworkPolicy db/deny", []change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), denies("egress", "peer")}},
		{"the CNI's program at the target, and a policy denies", "bpf-drop", "pol-ingress-deny", confirmed, "", []change{
			dropOf("TC_EGRESS", "__dev_queue_xmit", tracer.StageEgress, "tc", at3(on(hostNS, vethAPI))), program("cilium", "tcx egress", on(hostNS, vethAPI)), denies("ingress", "peer")}},
		{"an unknown program, and a policy denies", "bpf-drop", "pol-egress-deny", probable, "", []change{byTC(), program("", "tc ingress", on(hostNS, vethWeb)), denies("egress", "peer")}},
		{"the CNI's program, and policies allow", "bpf-drop", "pol-agent-stale", suspected, "", []change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb))}},
		{"queue without a reader", "nfqueue", "pol-nfqueue-down", confirmed, "Node n1", []change{dropOf("NOT_SPECIFIED", "nf_queue", tracer.StageForward, "nfqueue")}},
		{"NodePort by loopback", "nodeport-localhost", "svc-nodeport-localhost", confirmed, "Service db/api", []change{toService, inCore(tracer.StageOutput, func(d *tracer.DropSeen) {
			d.Tuple.Src, d.Tuple.Dst = ap("127.0.0.1", 4000), ap(apiIP, 8080)
		})}},
		{"no source port left", "conntrack-drop", "egr-snat-port-exhausted", confirmed, "Node n1", []change{toWorld, counted(hostNS, "conntrack.insert_failed", 4), inCore(tracer.StagePostrouting, func(d *tracer.DropSeen) {
			d.CT = &tracer.CT{Orig: d.Tuple, Reply: d.Tuple.Reverse()}
			d.Tuple.Src = ap(nodeIP, 40000)
		})}},
		{"table full", "conntrack-drop", "node-conntrack-full", confirmed, "Node n1", []change{inCore(tracer.StagePrerouting), counted(hostNS, "conntrack.drop", 9)}},
		{"table full, and read", "conntrack-drop", "node-conntrack-full", confirmed, "Node n1", []change{inCore(tracer.StagePrerouting), counted(hostNS, "conntrack.drop", 9), tableAt("262100", "262144")}},
		{"table was full", "conntrack-drop", "node-conntrack-full", probable, "Node n1", []change{inCore(tracer.StagePrerouting), counted(hostNS, "conntrack.drop", 9), tableAt("85000", "100000")}},
		{"ingress policy", "policy", "pol-ingress-deny", confirmed, "NetworkPolicy db/deny", []change{filtered(), denies("ingress", "peer"), rule("calico", "drop")}},
		{"egress policy", "policy", "pol-egress-deny", confirmed, "", []change{filtered(), rule("calico", "drop"), denies("egress", "peer")}},
		{"both: the rule names the one", "policy", "pol-ingress-deny", confirmed, "", []change{filtered(), denies("egress", "peer"), denies("ingress", "peer"),
			func(s *scene) {
				s.c.Egress.Selected = []tracer.Ref{{Kind: "NetworkPolicy", Namespace: "shop", Name: "other"}}
			}, rule("cni", "drop", naming("db/deny"))}},
		{"DNS by UDP", "policy", "pol-dns-egress", confirmed, "", []change{proto(tracer.ProtoUDP), func(s *scene) { s.j.Flow.Dst = ap(apiIP, 53) }, filtered(), rule("calico", "drop"), denies("egress", "peer")}},
		{"DNS by TCP", "policy", "pol-dns-egress", confirmed, "", []change{func(s *scene) { s.j.Flow.Dst = ap(apiIP, 53) }, filtered(), rule("calico", "drop"), denies("egress", "peer")}},
		{"policy for the port before translation", "policy", "pol-wrong-port", confirmed, "", []change{filtered(), rule("calico", "drop"), denies("ingress", "port-before-dnat")}},
		{"a selector that selects nobody", "policy", "pol-selector-mismatch", confirmed, "NetworkPolicy db/deny", []change{filtered(), rule("calico", "drop"), denies("ingress", "selector-typo")}},
		{"a namespace without the label", "policy", "pol-selector-mismatch", confirmed, "", []change{filtered(), rule("calico", "drop"), denies("ingress", "namespace-label")}},
		{"no namespaceSelector", "policy", "pol-selector-mismatch", confirmed, "", []change{filtered(), rule("calico", "drop"), denies("egress", "own-namespace")}},
		{"the target's policy allows, the client's does not", "policy", "pol-one-side-only", confirmed, "NetworkPolicy db/deny", []change{filtered(), rule("calico", "drop"), denies("egress", "peer"), allowedAt("ingress")}},
		{"the client's policy allows, the target's does not", "policy", "pol-one-side-only", confirmed, "NetworkPolicy db/deny", []change{filtered(), rule("calico", "drop"), denies("ingress", "peer"), allowedAt("egress")}},
		{"a Service's address, before translation", "bpf-drop", "pol-clusterip-pre-dnat", confirmed, "NetworkPolicy db/deny", []change{toService, byTC(), program("aws-network-policy-agent", "tc ingress", on(hostNS, vethWeb)), denies("egress", "before-dnat")}},
		{"policy with a named port", "policy", "pol-named-port", confirmed, "", []change{filtered(), rule("calico", "drop"), denies("ingress", "named-port")}},
		{"policy after SNAT", "policy", "pol-ipblock-after-snat", confirmed, "", []change{filtered(), rule("calico", "drop"), denies("ingress", "ip-block"),
			func(s *scene) {
				s.j.Translations = []tracer.Translation{{Kind: "snat", From: s.j.Flow.Src, To: ap(nodeIP, 5)}}
			}}},
		{"policy against a node", "policy", "pol-probe-or-host-source", confirmed, "", []change{filtered(), rule("calico", "drop"), denies("ingress", "peer"), func(s *scene) {
			s.c.Source, s.c.SourcePod = tracer.Endpoint{IP: addr(node2IP), Kind: tracer.KindNode, Name: "n2"}, nil
		}}},
		{"a cluster-wide policy denies ingress", "policy", "pol-cluster-deny", confirmed, "AdminNetworkPolicy guard", []change{filtered(), clusterDenies("ingress", "admin"), rule("calico", "drop")}},
		{"a rule names the cluster-wide policy", "policy", "pol-cluster-deny", confirmed, "AdminNetworkPolicy guard", []change{filtered(), clusterDenies("ingress", "admin"), rule("", "drop", func(r *tracer.RuleFact) { r.Comment = "AdminNetworkPolicy guard ingress rule 0" })}},
		{"a baseline denies egress", "policy", "pol-cluster-deny", confirmed, "BaselineAdminNetworkPolicy default", []change{filtered(), rule("calico", "drop"), clusterDenies("egress", "baseline")}},
		{"a cluster-wide policy denies DNS", "policy", "pol-cluster-deny", confirmed, "AdminNetworkPolicy guard", []change{func(s *scene) { s.j.Flow.Dst = ap(apiIP, 53) }, filtered(), rule("calico", "drop"), clusterDenies("egress", "admin")}},
		{"it may be allowed by a domain name", "policy", "pol-cluster-deny", probable, "AdminNetworkPolicy guard", []change{toWorld, filtered(), clusterDenies("egress", "admin"), uncertain("egress")}},
		{"the CNI's program, and a cluster-wide policy denies", "bpf-drop", "pol-cluster-deny", confirmed, "AdminNetworkPolicy guard", []change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), clusterDenies("egress", "admin")}},
		{"a policy of Calico's own selects the pod", "unevaluated-policy", "pol-cni-policy", probable, "GlobalNetworkPolicy lock", []change{filtered(), rule("calico", "drop"), ofCNI("ingress", "Calico", "GlobalNetworkPolicy", true)}},
		{"it may select the pod", "unevaluated-policy", "pol-cni-policy", suspected, "GlobalNetworkPolicy lock", []change{filtered(), rule("calico", "drop"), ofCNI("ingress", "Calico", "GlobalNetworkPolicy", false)}},
		{"the chain is the client's egress", "unevaluated-policy", "pol-cni-policy", probable, "GlobalNetworkPolicy out", []change{filtered(), rule("calico", "drop", chainIs("cali-fw-cali12ab")),
			ofCNI("ingress", "Calico", "GlobalNetworkPolicy", true), ofCNI("egress", "Calico", "GlobalNetworkPolicy", true, "out")}},
		{"a policy of Cilium's own at the client's program", "bpf-drop", "pol-cni-policy", probable, "CiliumNetworkPolicy lock", []change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), ofCNI("egress", "Cilium", "CiliumNetworkPolicy", true)}},
		{"a rule by nobody known", "foreign-rule", "node-forward-drop", confirmed, "FirewallRule inet t c", []change{filtered(), rule("", "drop")}},
		{"the rule was not found", "foreign-rule", "node-forward-drop", probable, "Node n1", []change{filtered()}},
		{"base chain policy", "foreign-rule", "node-forward-drop", confirmed, "", []change{filtered(), rule("docker", "drop", basePolicy)}},
		{"firewalld rejects", "foreign-rule", "node-firewall-reject", confirmed, "", []change{filtered(), rule("firewalld", "reject"), icmpFromNode(3, 13), outcomeIs(tracer.OutcomeICMPError)}},
		{"a port of the node", "foreign-rule", "node-input-blocked", confirmed, "", []change{dropOf("NETFILTER_DROP", "nft_do_chain", tracer.StageInput, "nftables"), rule("ufw", "drop", hookIs("input"))}},
		{"the agent drops what policies allow", "foreign-rule", "pol-agent-stale", suspected, "", []change{filtered(), rule("calico", "drop")}},
		{"invalid in a connection that began here", "foreign-rule", "svc-invalid-drop-window", confirmed, "FirewallRule ip filter KUBE-FORWARD", []change{toService, translated(apiIP, 8080), reached, established,
			outcomeIs(tracer.OutcomeConnectedNoData), filtered(ofReply, func(d *tracer.DropSeen) { d.TCPFlags = tracer.TCPAck }), rule("kube-proxy", "drop", ofInvalid)}},
		{"Local, and the kubelet drops by mark for kube-proxy", "no-local-endpoints", "svc-no-local-endpoints", confirmed, "Service db/api", []change{toService, localNodePort, outsideClient,
			inputDrop, rule("kubelet", "drop", hookIs("input"), chainIs("KUBE-FIREWALL"))}},
		{"source ranges, and the kubelet drops by mark for kube-proxy", "source-ranges", "svc-lb-source-ranges", confirmed, "Service db/api", []change{toService, inputDrop,
			rule("kubelet", "drop", hookIs("input"), chainIs("KUBE-FIREWALL")), func(s *scene) {
				s.c.Service.Frontend, s.c.Service.SourceRanges = "load-balancer", []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
			}}},
		{"an agent's rule here, and a policy of a far client denies", "policy", "pol-egress-deny", confirmed, "NetworkPolicy db/deny", []change{farClient, filtered(), rule("cni", "drop", naming("db/deny")), denies("egress", "peer")}},
		{"kube-network-policies, and a policy denies", "policy", "pol-ingress-deny", confirmed, "NetworkPolicy db/deny", []change{filtered(), rule("kube-network-policies", "drop"), denies("ingress", "peer")}},
		{"kube-network-policies, and policies allow", "foreign-rule", "pol-agent-stale", suspected, "", []change{filtered(), rule("kube-network-policies", "drop")}},
		{"invalid in mid-stream", "foreign-rule", "svc-invalid-drop-asymmetric", confirmed, "", []change{filtered(func(d *tracer.DropSeen) { d.TCPFlags = tracer.TCPAck }), rule("kube-proxy", "drop"), func(s *scene) { s.j.Mid = true }}},
		{"invalid, and nothing of the other direction passes here", "foreign-rule", "svc-invalid-drop-asymmetric", confirmed, "", []change{filtered(func(d *tracer.DropSeen) { d.TCPFlags = tracer.TCPAck }), rule("kube-proxy", "drop", ofInvalid)}},
		// Routing.
		{"forwarding off", "forwarding-off", "node-ip-forward-off", confirmed, "Node n1", []change{dropOf("IP_INADDRERRORS", "ip_error", tracer.StageRouting, ""), sysctl("net.ipv4.ip_forward", "0")}},
		{"blackhole", "special-route", "cni-route-blackhole", confirmed, "Route blackhole 10.2.0.0/16", []change{toFar, dropOf("NOT_SPECIFIED", "ip_error", tracer.StageRouting, ""), routeIs("forward", "blackhole", "10.2.0.0/16")}},
		{"prohibited by a routing rule", "special-route", "cni-route-blackhole", confirmed, "RoutingRule prohibit", []change{toFar, dropOf("NOT_SPECIFIED", "ip_error", tracer.StageRouting, ""), routeIs("forward", "prohibit", "")}},
		{"unreachable default", "special-route", "egr-no-default-route", confirmed, "", []change{toWorld, dropOf("NOT_SPECIFIED", "ip_error", tracer.StageRouting, ""), routeIs("forward", "unreachable", "0.0.0.0/0")}},
		{"route to an own pod is gone", "host-route-missing", "cni-host-route-missing", confirmed, "Pod db/api", []change{routed, dropOf("NOT_SPECIFIED", "ip_error", tracer.StageRouting, ""), routeIs("forward", "blackhole", "10.1.0.0/26")}},
		{"uplink down", "uplink-down", "node-link-down", confirmed, "Node n1", []change{toWorld, noRouteAt(), routeIs("forward", "none", ""), func(s *scene) { s.Inventory.Devices[1].Up = false }}},
		{"no default route", "no-route", "egr-no-default-route", confirmed, "Node n1", []change{toWorld, noRouteAt(), routeIs("forward", "none", ""), icmpFromNode(3, 0), outcomeIs(tracer.OutcomeICMPError)}},
		{"no route to pods", "no-route", "cni-route-none", confirmed, "", []change{toFar, noRouteAt(), routeIs("forward", "none", "")}},
		{"no route back to the world", "no-route", "egr-no-default-route", confirmed, "", []change{fromWorld, reached, noRouteAt(ofReply), routeIs("reverse", "none", "")}},
		{"reverse path", "rp-filter", "node-rp-filter", confirmed, "Node n1", []change{dropOf("IP_RPFILTER", "ip_rcv_finish_core", tracer.StageRouting, ""), sysctl("net.ipv4.conf.all.rp_filter", "1")}},
		{"loop", "routing-loop", "node-routing-loop", confirmed, "", []change{toWorld, left(webIP), func(s *scene) {
			hop(tracer.EventRX, on(hostNS, uplink))(s)
			s.j.Hops[2].Tuple, s.j.Hops[3].Tuple = s.j.LeftAs, s.j.LeftAs
		}}},
		{"martian", "martian", "node-martian", confirmed, "", []change{dropOf("IP_INVALID_SOURCE", "ip_rcv_finish_core", tracer.StageRouting, "")}},
		// Next hops.
		{"FDB", "overlay", "cni-overlay-fdb-missing", confirmed, "", []change{toFar, overlayCNI, dropOf("NO_TX_TARGET", "vxlan_xmit", tracer.StageTunnel, "", at3(on(hostNS, vxlan)))}},
		{"FDB, no reason", "overlay", "cni-overlay-fdb-missing", probable, "", []change{toFar, overlayCNI, dropOf("", "vxlan_xmit", tracer.StageTunnel, "", at3(on(hostNS, vxlan)))}},
		{"tunnel to the wrong node", "tunnel-end", "cni-overlay-fdb-wrong-node", confirmed, "Node n1", []change{toFar, overlayCNI, viaTunnel("192.0.2.3")}},
		{"the tunnel's far end is down", "tunnel-end", "node-down", confirmed, "Node n2", []change{toFar, overlayCNI, viaTunnel(node2IP), noNeighbour(at3(on(hostNS, uplink)), func(d *tracer.DropSeen) {
			d.Tuple = tracer.Tuple{Src: ap(nodeIP, 5000), Dst: ap(node2IP, 8472), Proto: tracer.ProtoUDP}
		})}},
		{"overlay neighbour", "overlay", "cni-overlay-neigh-missing", confirmed, "", []change{toFar, overlayCNI, noNeighbour(at3(on(hostNS, vxlan)))}},
		{"VNI", "overlay", "cni-overlay-vni-mismatch", confirmed, "", []change{dropOf("VXLAN_VNI_NOT_FOUND", "vxlan_rcv", tracer.StageTunnel, "")}},
		{"stale VTEP", "overlay", "cni-overlay-stale-vtep-mac", confirmed, "", []change{overlayCNI, dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(hostNS, vxlan)))}},
		{"underlay gone", "overlay", "node-link-down", confirmed, "", []change{toFar, dropOf("IP_OUTNOROUTES", "vxlan_xmit_one", tracer.StageTunnel, "")}},
		{"checksum of TCP", "checksum", "node-csum", confirmed, "Node n1", []change{reached, dropOf("TCP_CSUM", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(apiNS, eth0)))}},
		{"checksum of UDP", "checksum", "node-csum", confirmed, "", []change{proto(tracer.ProtoUDP), reached, dropOf("UDP_CSUM", "__udp4_lib_rcv", tracer.StageSocket, "", at3(on(apiNS, eth0)))}},
		{"checksum of the answer", "checksum", "node-csum", confirmed, "", []change{reached, dropOf("TCP_CSUM", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(webNS, eth0)), ofReply)}},
		{"checksum of IP", "checksum", "node-csum", confirmed, "", []change{dropOf("IP_CSUM", "ip_rcv_core", tracer.StagePrerouting, "")}},
		{"checksum of the tunnel's packet", "checksum", "cni-csum-offload", probable, "Node n2", []change{overlayCNI, dropOf("UDP_CSUM", "udp_queue_rcv_one_skb", tracer.StageSocket, "", outerPacket)}},
		{"the same, with another port for each try", "checksum", "cni-csum-offload", probable, "Node n2", []change{overlayCNI,
			dropOf("UDP_CSUM", "udp_queue_rcv_one_skb", tracer.StageSocket, "", outerPacket, times(1)),
			dropOf("UDP_CSUM", "udp_queue_rcv_one_skb", tracer.StageSocket, "", outerPacket, times(1), func(d *tracer.DropSeen) { d.Tuple.Src = ap(node2IP, 50123) })}},
		{"gateway dead", "neighbour", "egr-gateway-dead", confirmed, "Gateway " + gatewayIP, []change{toWorld, noNeighbour(at3(on(hostNS, uplink))), neighbourIs(gatewayIP, "FAILED")}},
		{"node down", "neighbour", "node-down", confirmed, "Node n2", []change{toFar, noNeighbour(at3(on(hostNS, uplink))), neighbourIs(node2IP, "FAILED")}},
		{"host on the node's network down", "neighbour", "egr-remote-down", probable, "ExternalHost " + world, []change{toWorld, noNeighbour(at3(on(hostNS, uplink))), func(s *scene) { s.n.Routes[0].Via = netip.Addr{} }}},
		{"pod's gateway silent", "neighbour", "cni-gateway-arp", probable, "Pod shop/web", []change{unseenOnNode, noNeighbour(at3(on(webNS, eth0)))}},
		{"pod silent on its bridge", "neighbour", "cni-stale-neigh", probable, "Pod db/api", []change{noNeighbour()}},
		{"pod asks its neighbour itself", "neighbour", "cni-stale-neigh", probable, "Pod db/api", []change{noNeighbour(at3(on(webNS, eth0))), routeIs("src-pod", "unicast", "10.1.0.0/24")}},
		{"no device for an own pod", "neighbour", "cni-host-route-missing", probable, "Pod db/api", []change{noNeighbour(), func(s *scene) {
			s.j.DstDevice, s.n.DstDevice, s.n.DstPeer = tracer.DeviceKey{}, nil, nil
		}}},
		{"wrong MAC at the target", "other-host", "cni-stale-neigh", probable, "Pod db/api", []change{dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(apiNS, eth0)))}},
		{"wrong MAC on the uplink, from a pod of another node", "other-host", "node-underlay-arp", probable, "Node n2", []change{farClient, dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(hostNS, uplink)))}},
		{"wrong MAC on the uplink, of a tunnel's packet", "other-host", "node-underlay-arp", probable, "Node n2", []change{overlayCNI, dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", outerPacket, at3(on(hostNS, uplink)))}},
		// Size.
		{"told, but goes on", "mtu", "cni-mtu-pod-too-big", confirmed, "Pod shop/web", []change{toWorld, tooBigDrop(), icmpFromNode(3, 4, func(a *tracer.Answer) { a.ICMPMTU = 1400 })}},
		{"black hole", "mtu", "cni-mtu-blackhole", confirmed, "Pod shop/web", []change{toWorld, established, outcomeIs(tracer.OutcomeConnectedNoData), tooBigDrop(),
			dropOf("NETFILTER_DROP", "nft_do_chain", tracer.StageOutput, "nftables", ofICMP)}},
		{"answers too big", "mtu", "cni-mtu-pod-too-big", probable, "Pod db/api", []change{reached, established, outcomeIs(tracer.OutcomeConnectedNoData), tooBigDrop(ofReply)}},
		// The target.
		{"two pods with the address", "duplicate-ip", "cni-duplicate-ip", probable, "Pod db/api", []change{refusedByTarget, duplicate}},
		{"nothing listens", "refused-here", "app-no-listener", confirmed, "Pod db/api", []change{refusedByTarget}},
		{"listens on loopback", "refused-here", "app-localhost-only", confirmed, "Pod db/api", []change{refusedByTarget, listening("127.0.0.1:8080")}},
		{"wrong target port of a pod with a sidecar", "refused-here", "svc-wrong-targetport", confirmed, "Service db/api", []change{toService, translated(apiIP, 9999), endpointPort(9999), refusedByTarget,
			declares(15090), listening("0.0.0.0:15090", "0.0.0.0:8080")}},
		{"wrong target port of a pod that is not ready, and serves what it declares", "refused-here", "svc-wrong-targetport", confirmed, "Service db/api", []change{toService, translated(apiIP, 9999), endpointPort(9999),
			refusedByTarget, unwell(0), listening("0.0.0.0:8080")}},
		{"wrong target port of a pod that was restarted once, and serves another", "refused-here", "svc-wrong-targetport", confirmed, "Service db/api", []change{toService, translated(apiIP, 9999), endpointPort(9999),
			refusedByTarget, listening("0.0.0.0:8080"), func(s *scene) { s.c.TargetPod.Restarts = 1 }}},
		{"wrong target port", "refused-here", "svc-wrong-targetport", confirmed, "Service db/api", []change{toService, translated(apiIP, 9999), endpointPort(9999), refusedByTarget, listening("0.0.0.0:8080")}},
		{"nothing listens in a DNS pod", "refused-here", "dns-coredns-down", confirmed, "Pod db/api", []change{toService, translated(apiIP, 8080), refusedByTarget, ofClusterDNS}},
		{"nothing listens in a DNS pod that is asked directly", "refused-here", "dns-coredns-down", confirmed, "Pod db/api", []change{toDNSPod, refusedByTarget}},
		{"datagrams refused", "refused-here", "app-no-listener", confirmed, "Pod db/api", []change{proto(tracer.ProtoUDP), reached, noSocket(times(1)), answer(tracer.AnswerICMP, tracer.EventTX, on(apiNS, eth0), from(apiIP), func(a *tracer.Answer) { a.ICMPType, a.ICMPCode, a.Proto = 3, 3, tracer.ProtoICMP }),
			outcomeIs(tracer.OutcomeRefused)}},
		{"no route in the target", "pod-no-route-back", "cni-pod-no-default-route", confirmed, "Pod db/api", []change{reached, routeIs("dst-pod", "none", "")}},
		{"accept queue full", "listen-overflow", "app-listen-overflow", confirmed, "Pod db/api", []change{reached, counted(apiNS, "TcpExtListenOverflows", 3),
			func(s *scene) {
				s.n.Listeners = []tracer.Listener{{NetNS: apiNS, Proto: tracer.ProtoTCP, Addr: ap("0.0.0.0", 8080), Queue: 2, Backlog: 1}}
			}}},
		{"accept queue full, by the counter alone", "listen-overflow", "app-listen-overflow", probable, "", []change{reached, counted(apiNS, "TcpExtListenOverflows", 3)}},
		{"receive buffer full", "receive-buffer", "app-udp-rcvbuf", confirmed, "Pod db/api", []change{proto(tracer.ProtoUDP), reached, dropOf("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", tracer.StageSocket, "", at3(on(apiNS, eth0)))}},
		{"a DNS pod waits for its upstream", "upstream-silent", "dns-upstream-unreachable", probable, "Pod db/api", []change{asks(tracer.Lookup{Asked: 1}), noReply, silentUpstream}},
		{"TCP refused by a DNS pod", "tcp-refused", "dns-tcp-blocked", confirmed, "Pod db/api", []change{toDNSPod, refusedByTarget, overUDP(true)}},
		{"TCP refused by a DNS pod that listens now", "tcp-refused", "dns-tcp-blocked", probable, "Pod db/api", []change{toDNSPod, refusedByTarget, overUDP(true), listening("0.0.0.0:53")}},
		{"TCP not answered by a resolver outside", "tcp-silent", "dns-tcp-blocked", probable, "", []change{toWorld, left(nodeIP), overUDP(false), func(s *scene) { s.j.Flow.Dst = ap(world, 53); s.j.Translated = s.j.Flow }}},
		{"hang", "no-data", "app-hang", probable, "Pod db/api", []change{reached, established, outcomeIs(tracer.OutcomeConnectedNoData), func(s *scene) { s.j.RequestBytes = 200 }}},
		{"reset after accept", "reset", "app-reset", probable, "Pod db/api", []change{reached, established, answer(tracer.AnswerRST, tracer.EventTX, on(apiNS, eth0)), outcomeIs(tracer.OutcomeReset)}},
		// Beyond.
		{"remote refuses", "refused-outside", "egr-remote-refused", confirmed, "ExternalHost " + world, []change{toWorld, left(nodeIP), answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink)), outcomeIs(tracer.OutcomeRefused)}},
		{"far pod refuses", "refused-outside", "app-no-listener", probable, "Pod db/far", []change{toFar, left(webIP), answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink)), outcomeIs(tracer.OutcomeRefused)}},
		{"far DNS pod refuses", "refused-outside", "dns-coredns-down", probable, "Pod db/far", []change{toFarService, ofClusterDNS, farRefuses}},
		{"far DNS pod refuses another port than it declares", "refused-outside", "svc-wrong-targetport", probable, "Service db/api", []change{toFarService, ofClusterDNS, farRefuses, func(s *scene) {
			s.c.TargetPod.Ports = []tracer.ContainerPort{{Port: 5353, Proto: tracer.ProtoUDP}}
		}}},
		{"firewall outside", "prohibited-outside", "egr-firewall-reject", confirmed, "Firewall " + router, []change{toWorld, left(nodeIP), icmpFromWorld(3, 13), outcomeIs(tracer.OutcomeICMPError)}},
		{"a firewall outside, not seen at the uplink", "prohibited-outside", "egr-firewall-reject", confirmed, "", []change{toWorld, left(nodeIP), outcomeIs(tracer.OutcomeICMPError),
			icmpFromNode(3, 13, from(router))}},
		{"no masquerade", "masquerade", "egr-masq-missing", confirmed, "Node n1", []change{toWorld, left(webIP)}},
		{"no masquerade, rules not read", "masquerade", "egr-masq-missing", probable, "", []change{toWorld, left(webIP), func(s *scene) { s.n.MasqueradeRead = false }}},
		{"no masquerade towards a private network", "masquerade", "egr-masq-missing", suspected, "", []change{toWorld, left(webIP), func(s *scene) {
			s.j.Flow.Dst = ap("172.20.0.9", 443)
			s.j.Translated = s.j.Flow
		}}},
		{"overlay leaks", "un-encapsulated", "cni-route-missing", confirmed, "Node n1", []change{toFar, overlayCNI, defaultRoute, left(webIP)}},
		{"nodes route to each other", "un-encapsulated", "cni-route-missing", probable, "Node n1", []change{toFar, reachedBy("host-gw"), defaultRoute, left(webIP)}},
		{"the network does not know pods", "un-encapsulated", "cni-route-missing", probable, "Node n1", []change{toFar, defaultRoute, left(webIP), icmpFromWorld(3, 1), outcomeIs(tracer.OutcomeICMPError)}},
		{"client without a route", "source-no-route", "cni-pod-no-default-route", confirmed, "Pod shop/web", []change{unseen, routeIs("src-pod", "none", ""), counted(webNS, "IpOutNoRoutes", 2)}},
		{"silence of a node that is not ready", "silent-node", "node-down", probable, "Node n2", []change{toFar, left(webIP), nodesNotReady("n2")}},
		{"silence of a NodePort of a node that is not ready", "silent-node", "node-down", probable, "Node n2", []change{toNode2, left(webIP), nodesNotReady("n2")}},
		{"silence outside", "beyond-node", "beyond-node", probable, "", []change{toWorld, left(nodeIP)}},
		{"silence of a far node", "beyond-node", "beyond-node", probable, "", []change{toFar, left(webIP)}},
		{"a far node rejects", "beyond-node", "beyond-node", probable, "", []change{toFar, left(webIP), icmpFromWorld(3, 3), outcomeIs(tracer.OutcomeRefused)}},
	}...)
}

// viaTunnel: the route leads into the overlay, which sends to an address.
func viaTunnel(end string) change {
	return func(s *scene) {
		s.n.Routes[0].Dev, s.n.Routes[0].OIF, s.n.Routes[0].Via = "flannel.1", vxlan, addr("10.2.0.0")
		s.c.Nodes = append(s.c.Nodes, tracer.NodeInfo{Name: "n3", IPs: []netip.Addr{addr("192.0.2.3")}})
		left(webIP)(s)
		h := &s.j.Hops[len(s.j.Hops)-1]
		h.Inner = &tracer.Inner{Tunnel: "vxlan", VNI: 1, Tuple: s.j.Translated}
		h.Tuple = tracer.Tuple{Src: ap(nodeIP, 5000), Dst: ap(end, 8472), Proto: tracer.ProtoUDP}
		s.j.LeftAs = h.Tuple
	}
}

func ownEndpoint(s *scene) {
	s.c.Service.Endpoints[0].Addr = ap(webIP, 8080)
	s.c.Target, s.c.TargetPod, s.j.DstDevice = s.c.Source, s.c.SourcePod, s.j.SrcDevice
}

func endpointPort(port uint16) change {
	return func(s *scene) { s.c.Service.Endpoints[0].Addr, s.c.Service.TargetPort = ap(apiIP, port), "9999" }
}

func clientResets(s *scene) { s.j.ClientReset, s.Outcome = true, tracer.OutcomeReset }

// routed makes the CNI one without a bridge.
func routed(s *scene) {
	for i := range s.Inventory.Devices {
		s.Inventory.Devices[i].Master = 0
	}
	s.n.SrcPeer.Master, s.n.DstPeer.Master = 0, 0
	s.n.Routes[0].Dev, s.n.Routes[1].Dev = "veth2", "veth1"
}

func fromWorld(s *scene) {
	s.j.Flow.Src = ap(world, 50000)
	s.j.Translated, s.j.SrcDevice = s.j.Flow, tracer.DeviceKey{}
	s.c.Source, s.c.SourcePod, s.c.Egress = tracer.Endpoint{IP: addr(world), Kind: tracer.KindExternal}, nil, nil
	s.n.SrcDevice, s.n.SrcPeer = nil, nil
	s.n.Routes[1].Dst = addr(world)
}

func duplicate(s *scene) {
	s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(strangerNS, eth0), Name: "eth0", Role: tracer.RolePod, Up: true,
		Addrs: []netip.Prefix{netip.PrefixFrom(addr(apiIP), 24)}})
}

func tooBigDrop(with ...func(*tracer.DropSeen)) change {
	return dropOf("PKT_TOO_BIG", "ip_forward", tracer.StageForward, "", append([]func(*tracer.DropSeen){func(d *tracer.DropSeen) { d.Len = 1500 }}, with...)...)
}

func TestFaults(t *testing.T) {
	e := NewEngine()
	shown := map[string]bool{}
	for _, tt := range append(faults(), agentFaults()...) {
		t.Run(tt.rule+"/"+tt.name, func(t *testing.T) {
			in := given(tt.with...)
			v := e.Decide(in)
			if v.Code != tt.code || v.Confidence != tt.sure || tt.object != "" && ref(v.Object) != tt.object {
				t.Errorf("%s %s %q, want %s %s %q\n%s\nalso: %+v", v.Confidence, v.Code, ref(v.Object), tt.sure, tt.code, tt.object, v.Summary, v.AlsoSeen)
			}
			if v.Component != e.Catalogue().Get(tt.code).Component {
				t.Errorf("component %s", v.Component)
			}
			for _, r := range e.rules {
				if f := r.Eval(in); r.Name == tt.rule {
					shown[r.Name] = true
					if f == nil || f.Code != tt.code {
						t.Errorf("rule %s does not say it: %+v", r.Name, f)
					}
				}
			}
			sound(t, v)
		})
	}
	// See TestGuesses and TestAntiSpoof.
	elsewhere := map[string]bool{"denied-elsewhere": true, "un-encapsulated-guess": true, "anti-spoof": true}
	for _, r := range e.rules {
		if !shown[r.Name] && !elsewhere[r.Name] {
			t.Errorf("rule %s is never shown", r.Name)
		}
	}
}

// sound holds a verdict to what every reader expects of one.
func sound(t *testing.T, v *tracer.Verdict) {
	t.Helper()
	if v.Summary == "" || strings.Contains(v.Summary, "%!") || strings.Contains(v.Summary, "invalid IP") || strings.Contains(v.Summary, "  ") {
		t.Errorf("summary %q", v.Summary)
	}
	if v.Code != tracer.CodeOK && v.Code != tracer.CodeUnknown && v.Code != "svc-nodeport-localhost" && len(v.Evidence) == 0 {
		t.Error("no evidence")
	}
	for _, r := range v.Remedy {
		if i := strings.Index(r, "{"); i >= 0 && placeholder.MatchString(r) {
			t.Errorf("remedy %q", r)
		}
	}
	for _, a := range v.AlsoSeen {
		if a.Code == v.Code || a.Why == "" {
			t.Errorf("also seen %+v", a)
		}
	}
}

// A guess never stands first where packets say where the flow was lost.
func TestGuesses(t *testing.T) {
	e := NewEngine()
	v := e.Decide(given(toFar, defaultRoute, left(webIP), denies("ingress", "peer")))
	if v.Code != tracer.CodeBeyondNode {
		t.Fatalf("%s: %s", v.Code, v.Summary)
	}
	var codes []string
	for _, a := range v.AlsoSeen {
		codes = append(codes, a.Code)
	}
	if s := strings.Join(codes, " "); s != "pol-ingress-deny cni-route-missing" {
		t.Errorf("also seen %s", s)
	}
}

// Whatever rule speaks: without facts it must not panic, nor be sure of more
// than a drop alone can show.
func TestWithoutFacts(t *testing.T) {
	e := NewEngine()
	byPacketAlone := map[string]bool{ // the kernel's own reason and place say all of it
		"app-sidecar-missing": true, "app-pod-firewall": true, "pol-nfqueue-down": true, "app-udp-rcvbuf": true, "cni-hairpin-off": true, "svc-hairpin-nomasq": true,
		"node-martian": true, "node-routing-loop": true, "node-link-down": true, "node-csum": true, "cni-mtu-pod-too-big": true, "cni-mtu-blackhole": true,
		"cni-overlay-fdb-missing": true, "cni-overlay-neigh-missing": true, "cni-overlay-vni-mismatch": true, "cni-overlay-stale-vtep-mac": true,
		"svc-no-endpoints": true, "egr-firewall-reject": true,
		"node-neigh-overflow": true, "node-softnet-drops": true, "node-memory": true, "egr-frag-loss": true, "cni-overlay-port-mismatch": true, "app-sctp-unsupported": true, "cni-csum-offload": true,
		"dns-nodelocal-broken": true,
	}
	for _, tt := range faults() {
		t.Run(tt.rule+"/"+tt.name, func(t *testing.T) {
			for name, cut := range map[string][]change{"node": {noFacts}, "cluster": {noCluster}, "both": {noFacts, noCluster}, "inventory": {noFacts, noCluster, func(s *scene) { s.Inventory = nil }}} {
				in := given(append(append([]change{}, tt.with...), cut...)...)
				v := e.Decide(in)
				if v.Confidence == confirmed && name == "both" && !byPacketAlone[v.Code] {
					t.Errorf("without facts of %s: confirmed %s: %s", name, v.Code, v.Summary)
				}
				if v.Component == tracer.ComponentPolicy && name != "node" && v.Code != "pol-nfqueue-down" {
					t.Errorf("without facts of %s: %s: %s", name, v.Code, v.Summary)
				}
				sound(t, v)
			}
			e.Decide(&Input{Journey: in0(tt), Outcome: given(tt.with...).Outcome, Now: start})
		})
	}
}

func in0(f fault) *tracer.Journey { return given(f.with...).Journey }

// What rests on nothing having been seen is worth less after losses.
func TestLostEvents(t *testing.T) {
	e := NewEngine()
	for _, tt := range faults() {
		in := given(append(append([]change{}, tt.with...), lost)...)
		v := e.Decide(in)
		if v.LostEvents != 5 {
			t.Errorf("%s: lost %d", tt.name, v.LostEvents)
		}
		if len(in.Journey.Drops) == 0 && v.Confidence == confirmed {
			t.Errorf("%s: %s is confirmed by what was not seen", tt.name, v.Code)
		}
		if (v.Code == tracer.CodeBeyondNode || v.Code == "app-hang") && v.Confidence != suspected {
			t.Errorf("%s: %s is %s", tt.name, v.Code, v.Confidence)
		}
	}
}

// A flow that was answered is healthy, whatever happened on the way.
func TestHealthyWithNoise(t *testing.T) {
	e := NewEngine()
	for _, tt := range faults() {
		v := e.Decide(given(append(append([]change{}, tt.with...), outcomeIs(tracer.OutcomeDelivered))...))
		if v.Code != tracer.CodeOK || v.Component != tracer.ComponentNone || len(v.AlsoSeen) != 0 {
			t.Errorf("%s: %s", tt.name, v.Code)
		}
	}
}

// The same input gives the same verdict.
func TestDecideIsPure(t *testing.T) {
	e := NewEngine()
	for _, tt := range faults() {
		in := given(tt.with...)
		a, b := e.Decide(in), e.Decide(in)
		if a.Summary != b.Summary || a.Code != b.Code || len(a.AlsoSeen) != len(b.AlsoSeen) || len(a.Evidence) != len(b.Evidence) {
			t.Errorf("%s: %s, then %s", tt.name, a.Summary, b.Summary)
		}
	}
}

// tableAt says how full conntrack is.
func tableAt(count, limit string) change {
	return func(s *scene) {
		sysctl("net.netfilter.nf_conntrack_count", count)(s)
		sysctl("net.netfilter.nf_conntrack_max", limit)(s)
	}
}
