package verdict

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

// lookalike is a scene that resembles what some rules explain, and is something
// else. code is what a careful engineer says; never are codes that must be
// neither the verdict nor beside it.
type lookalike struct {
	name  string
	with  []change
	code  string
	never string
	most  tracer.Confidence // at most this sure, "" if it does not matter
}

func lookalikes() []lookalike {
	srcPeer := func(n *tracer.NodeFacts) *tracer.Device { return n.SrcPeer }
	dstPeer := func(n *tracer.NodeFacts) *tracer.Device { return n.DstPeer }
	world4 := func(with ...change) []change { return append([]change{toWorld}, with...) }
	svc := func(with ...change) []change { return append([]change{toService}, with...) }
	blackholed := dropOf("NOT_SPECIFIED", "ip_error", tracer.StageRouting, "")
	once := []dropChange{times(1), lasting(0, 0)}
	ending := func(serving bool, with ...change) []change {
		return append(svc(translated(apiIP, 8080), terminating(serving)), with...)
	}
	return append(slices.Concat(pathLookalikes(), publishedLookalikes(), idleLookalikes(), affinityLookalikes(), startupLookalikes(), stateLookalikes(), proxyLookalikes(), expectedLookalikes()), []lookalike{
		// Policies.
		{"a policy denies egress, but the neighbour failed", []change{noNeighbour(), denies("egress", "peer")}, "cni-stale-neigh", "pol-egress-deny", ""},
		{"a policy denies ingress, but the answer was dropped", []change{reached, filtered(ofReply), denies("ingress", "peer"), rule("", "drop")}, "node-forward-drop", "pol-ingress-deny", ""},
		{"a policy denies egress, but the route is a blackhole", []change{toFar, blackholed, routeIs("forward", "blackhole", "10.2.0.0/16"), denies("egress", "peer")}, "cni-route-blackhole", "pol-egress-deny", ""},
		{"a policy denies ingress, but the client's own program dropped", []change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), denies("ingress", "peer")}, "pol-agent-stale", "pol-ingress-deny", suspected},
		{"a policy denies egress, but the target's program dropped", []change{dropOf("TC_EGRESS", "__dev_queue_xmit", tracer.StageEgress, "tc", at3(on(hostNS, vethAPI))),
			program("cilium", "tc egress", on(hostNS, vethAPI)), denies("egress", "peer")}, "pol-agent-stale", "pol-egress-deny", suspected},
		{"firewalld drops what a policy denies as well", []change{filtered(), denies("ingress", "peer"), rule("firewalld", "drop")}, "pol-ingress-deny", "", probable},
		{"the FORWARD policy drops what a policy denies as well", []change{filtered(), denies("ingress", "peer"), rule("", "drop", basePolicy)}, "pol-ingress-deny", "", probable},
		{"a policy denies the pod's own node, and the rule is nobody's", []change{filtered(), rule("", "drop"), denies("ingress", "peer"), func(s *scene) { s.c.Ingress.Exempt = "own-node" }}, "node-forward-drop", "pol-ingress-deny pol-probe-or-host-source", ""},
		{"a policy denies the pod's own node, and the rule is an agent's", []change{filtered(), rule("kube-router", "reject"), denies("ingress", "peer"), func(s *scene) {
			s.c.Ingress.Exempt, s.c.Source, s.c.SourcePod = "own-node", tracer.Endpoint{IP: addr(nodeIP), Kind: tracer.KindNode, Name: "n1"}, nil
		}}, "pol-probe-or-host-source", "", ""},
		{"metrics of DNS are not DNS", []change{filtered(), denies("egress", "peer"), func(s *scene) {
			s.c.Service = &tracer.ServiceFacts{Namespace: "kube-system", Name: "kube-dns", DNS: true, PortKnown: true, PortName: "metrics", Endpoints: []tracer.ServiceEndpoint{{Ready: true, Addr: ap(apiIP, 8080)}}}
			s.j.Translated.Dst = ap(apiIP, 9153)
		}}, "pol-egress-deny", "pol-dns-egress", ""},
		{"metrics of DNS are not lookups", svc(translated(apiIP, 8080), ofClusterDNS, refusedByTarget, func(s *scene) { s.c.Service.Port, s.c.Service.PortName = 9153, "metrics" }), "app-no-listener", "dns-coredns-down", ""},
		// An endpoint that is being deleted, and another fault.
		{"a policy denies ingress to a pod that ends and serves", ending(true, filtered(), denies("ingress", "peer")), "pol-ingress-deny", "svc-terminating-endpoint", ""},
		{"a policy denies ingress to a pod that ends and does not serve", ending(false, filtered(), denies("ingress", "peer")), "pol-ingress-deny", "svc-terminating-endpoint", ""},
		{"a policy denies egress to a pod that ends", ending(true, filtered(), denies("egress", "peer")), "pol-egress-deny", "svc-terminating-endpoint", ""},
		{"the node drops what goes to a pod that ends", ending(true, filtered(), rule("ufw", "drop")), "node-forward-drop", "svc-terminating-endpoint", ""},
		{"the table is full, and the pod ends", ending(false, inCore(tracer.StagePrerouting), counted(hostNS, "conntrack.drop", 9)), "node-conntrack-full", "svc-terminating-endpoint", ""},
		{"a pod that ends, serves and hangs", ending(true, reached, established, outcomeIs(tracer.OutcomeConnectedNoData)), "app-hang", "svc-terminating-endpoint", ""},
		{"a wrong targetPort of a pod that ends", ending(true, refusedByTarget, func(s *scene) { s.c.TargetPod.Ports[0].Port = 9090 }), "svc-wrong-targetport", "svc-terminating-endpoint", ""},
		{"a pod that ends, and is asked without its Service", []change{refusedByTarget, func(s *scene) { s.c.TargetPod.Terminating = true }}, "app-no-listener", "svc-terminating-endpoint", ""},
		{"an endpoint that refuses and does not end", svc(translated(apiIP, 8080), refusedByTarget), "app-no-listener", "svc-terminating-endpoint", ""},
		{"a Service like any other, on port 53", svc(translated(apiIP, 8080), refusedByTarget, func(s *scene) { s.c.Service.Port = 53 }), "app-no-listener", "dns-coredns-down", ""},
		{"a far pod that does not listen on 53 is no DNS", []change{toFarService, ofClusterDNS, farRefuses, func(s *scene) { s.c.Service.DNS, s.c.TargetPod.DNS = false, false }}, "app-no-listener", "dns-coredns-down", probable},
		{"a DNS pod on a port that it does not declare", []change{toDNSPod, refusedByTarget, func(s *scene) {
			s.c.TargetPod.Ports = []tracer.ContainerPort{{Port: 5353, Proto: tracer.ProtoTCP}}
		}}, "app-no-listener", "dns-coredns-down", ""},
		{"DNS over TCP is refused, and so is UDP", []change{toDNSPod, refusedByTarget, func(s *scene) { s.j.OverUDP = &tracer.Lookup{Asked: 1} }}, "dns-coredns-down", "dns-tcp-blocked", ""},
		{"DNS over TCP is kept out by a policy", []change{toDNSPod, filtered(), denies("egress", "port"), overUDP(true)}, "pol-dns-egress", "dns-tcp-blocked", ""},
		{"a resolver outside is kept out by a policy", []change{toWorld, filtered(), denies("egress", "peer"), func(s *scene) { s.j.Flow.Dst = ap(world, 53); s.j.Translated = s.j.Flow }}, "pol-dns-egress", "dns-tcp-blocked", ""},
		{"DNS over TCP, and UDP was not asked", []change{toDNSPod, refusedByTarget}, "dns-coredns-down", "dns-tcp-blocked", ""},
		{"a DNS pod that asks nobody, and is silent", []change{asks(tracer.Lookup{Asked: 1}), noReply}, "unknown", "dns-upstream-unreachable", ""},
		{"a DNS pod that has only just asked", []change{asks(tracer.Lookup{Asked: 1}), noReply, silentUpstream, func(s *scene) { s.j.Upstream[0].First = s.Now.Add(-time.Second) }}, "unknown", "dns-upstream-unreachable", ""},
		{"a DNS pod with one upstream that answers", []change{asks(tracer.Lookup{Asked: 1}), noReply, silentUpstream, func(s *scene) {
			s.j.Upstream = append(s.j.Upstream, tracer.Upstream{Resolver: ap(world, 53), Asked: 1, Answered: 1})
		}}, "unknown", "dns-upstream-unreachable", ""},
		{"another pod that asks DNS, and is silent", []change{asks(tracer.Lookup{Asked: 1}), noReply, silentUpstream, func(s *scene) { s.c.TargetPod.DNS = false }}, "unknown", "dns-upstream-unreachable", ""},
		{"no cluster data: no policy, no foreigner", []change{filtered(), rule("calico", "drop"), noCluster}, "unknown", "pol-agent-stale node-forward-drop", ""},
		{"no cluster data: ufw is ufw", []change{filtered(), rule("ufw", "drop"), noCluster}, "node-forward-drop", "pol-agent-stale", probable},
		{"policies unread: no policy, no foreigner", []change{filtered(), rule("calico", "drop"), unread("NetworkPolicy")}, "unknown", "pol-agent-stale node-forward-drop", ""},
		{"policies unread: a rule of nobody known", []change{filtered(), rule("", "drop"), unread("NetworkPolicy")}, "unknown", "pol-agent-stale node-forward-drop", ""},
		{"policies unread: ufw is ufw", []change{filtered(), rule("ufw", "drop"), unread("NetworkPolicy")}, "node-forward-drop", "pol-agent-stale", probable},
		{"policies unread: an agent's program", []change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), unread("NetworkPolicy")}, "unknown", "pol-agent-stale pol-ingress-deny", ""},
		{"namespaces unread: their labels select", []change{filtered(), rule("calico", "drop"), unread("Namespace")}, "unknown", "pol-agent-stale node-forward-drop", ""},
		{"a slip of a selector, but the neighbour failed", []change{noNeighbour(), denies("ingress", "selector-typo")}, "cni-stale-neigh", "pol-selector-mismatch", ""},
		{"a rule for others", []change{filtered(), denies("ingress", "namespace")}, "pol-ingress-deny", "pol-selector-mismatch", ""},
		{"both ends deny", []change{filtered(), denies("egress", "peer"), denies("ingress", "peer")}, "pol-egress-deny", "pol-one-side-only", ""},
		{"one end denies, and nothing is said at the other", []change{filtered(), denies("ingress", "peer")}, "pol-ingress-deny", "pol-one-side-only", ""},
		{"DNS allowed at the DNS pods only", []change{func(s *scene) { s.j.Flow.Dst = ap(apiIP, 53) }, filtered(), denies("egress", "peer"), allowedAt("ingress")}, "pol-dns-egress", "pol-one-side-only", ""},
		{"the Service's pods are denied too", []change{toService, byTC(), program("aws-network-policy-agent", "tc ingress", on(hostNS, vethWeb)), denies("egress", "peer")}, "pol-egress-deny", "pol-clusterip-pre-dnat", ""},
		{"a cluster-wide policy denies, but the neighbour failed", []change{noNeighbour(), clusterDenies("egress", "admin")}, "cni-stale-neigh", "pol-cluster-deny", ""},
		{"a cluster-wide policy denies, but the answer was dropped", []change{reached, filtered(ofReply), clusterDenies("ingress", "admin"), rule("", "drop")}, "node-forward-drop", "pol-cluster-deny", ""},
		{"a cluster-wide policy allows, and the rule is nobody's", []change{filtered(), rule("", "drop"), clusterAllows}, "node-forward-drop", "pol-cluster-deny pol-cni-policy", ""},
		{"a cluster-wide policy denies the pod's own node, and the rule is nobody's", []change{filtered(), rule("", "drop"), clusterDenies("ingress", "admin"), func(s *scene) { s.c.Ingress.Exempt = "own-node" }}, "node-forward-drop", "pol-cluster-deny", ""},
		{"cluster-wide policies unread: an agent's rule", []change{filtered(), rule("calico", "drop"), unread("AdminNetworkPolicy")}, "unknown", "pol-agent-stale pol-cni-policy node-forward-drop", ""},
		{"a domain name may allow what a rule of nobody's drops", []change{toWorld, filtered(), rule("", "drop"), uncertain("egress")}, "node-forward-drop", "pol-cluster-deny", probable},
		{"a policy of Calico's own, and a rule of nobody's", []change{filtered(), rule("", "drop"), ofCNI("ingress", "Calico", "GlobalNetworkPolicy", true)}, "node-forward-drop", "pol-cni-policy", ""},
		{"a policy of Calico's own, and firewalld's rule", []change{filtered(), rule("firewalld", "drop"), ofCNI("ingress", "Calico", "GlobalNetworkPolicy", true)}, "node-forward-drop", "pol-cni-policy", ""},
		{"a policy of Cilium's own, and Calico's rule", []change{filtered(), rule("calico", "drop"), ofCNI("ingress", "Cilium", "CiliumNetworkPolicy", true)}, "pol-agent-stale", "pol-cni-policy", suspected},
		{"a policy of Calico's own, and a NetworkPolicy denies", []change{filtered(), rule("calico", "drop"), ofCNI("ingress", "Calico", "GlobalNetworkPolicy", true), denies("ingress", "peer")}, "pol-ingress-deny", "pol-cni-policy", ""},
		{"a policy of Calico's own, for the other direction", []change{filtered(), rule("calico", "drop", chainIs("cali-tw-cali12ab")), ofCNI("egress", "Calico", "GlobalNetworkPolicy", true)}, "pol-agent-stale", "pol-cni-policy", suspected},
		{"a policy of Calico's own, and the answer was dropped", []change{reached, filtered(ofReply), rule("calico", "drop"), ofCNI("ingress", "Calico", "GlobalNetworkPolicy", true)}, "pol-agent-stale", "pol-cni-policy", suspected},
		{"a policy of Cilium's own, and a program of nobody's", []change{byTC(), program("", "tc ingress", on(hostNS, vethWeb)), ofCNI("egress", "Cilium", "CiliumNetworkPolicy", true)}, "pol-foreign-bpf", "pol-cni-policy", ""},
		// Programs.
		{"one packet dropped by a program, then a policy", []change{byTC(once...), filtered(times(2)), denies("ingress", "peer")}, "pol-ingress-deny", "pol-foreign-bpf", ""},
		{"one packet dropped by a rule, then silence outside", world4(left(nodeIP), filtered(once...)), "node-forward-drop", "", ""},
		{"two programs at one hook, policies allow", []change{byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), program("", "tc ingress", on(hostNS, vethWeb))}, "pol-foreign-bpf", "pol-agent-stale", probable},
		{"two programs at one hook, a policy denies", []change{byTC(), program("", "tc ingress", on(hostNS, vethWeb)), program("cilium", "tc ingress", on(hostNS, vethWeb)), denies("egress", "peer")}, "pol-egress-deny", "pol-foreign-bpf", probable},
		{"a program on the other side of the device", []change{byTC(), program("", "tc egress", on(hostNS, vethWeb))}, "pol-foreign-bpf", "", probable},
		{"an unknown program, without cluster data", []change{byTC(), program("", "tc ingress", on(hostNS, vethWeb)), noCluster}, "pol-foreign-bpf", "", probable},
		{"a program before the Service is translated", svc(noRules, byTC(), program("", "tc ingress", on(hostNS, vethWeb))), "pol-foreign-bpf", "svc-kubeproxy-no-rules", ""},
		{"a program before the Service is translated, rules not read", svc(byTC(), func(s *scene) { s.n.Services = nil }), "pol-foreign-bpf", "svc-kubeproxy-no-rules", ""},
		// Services.
		{"no endpoints, but a policy agent's program drops", svc(noEndpointsLeft, byTC(), program("cilium", "tc ingress", on(hostNS, vethWeb)), denies("egress", "peer")), "pol-egress-deny", "", ""},
		{"ready endpoints and a reject by an agent", svc(filtered(), rule("kube-router", "reject"), icmpFromNode(3, 3), outcomeIs(tracer.OutcomeRefused)), "pol-agent-stale", "svc-no-endpoints svc-stale-endpoint app-no-listener", suspected},
		{"rejecting policy at the pod", []change{filtered(), rule("kube-router", "reject"), icmpFromNode(3, 3), outcomeIs(tracer.OutcomeRefused), denies("ingress", "peer")}, "pol-reject-mode", "app-no-listener", ""},
		{"translated by IPVS, which conntrack does not show", svc(left(nodeIP), func(s *scene) {
			s.n.Services.Implementations = []string{tracer.ProxyIPVS}
		}), "unknown", "svc-kubeproxy-no-rules beyond-node", ""},
		{"IPVS has a server by mark, which may be for it", svc(left(nodeIP), func(s *scene) {
			s.n.Services = &tracer.ServiceRules{Implementations: []string{tracer.ProxyIPVS}, Any: true}
		}), "unknown", "svc-kubeproxy-no-rules beyond-node", ""},
		{"Cilium translates", svc(left(nodeIP), func(s *scene) {
			s.n.Services = &tracer.ServiceRules{Implementations: []string{tracer.ProxyCilium}, Complete: true}
		}), "unknown", "svc-kubeproxy-no-rules", ""},
		{"Calico's eBPF translates", svc(left(nodeIP), func(s *scene) {
			s.n.Services = &tracer.ServiceRules{Implementations: []string{tracer.ProxyCalicoBPF}, Complete: true}
		}), "unknown", "svc-kubeproxy-no-rules", ""},
		{"OVN translates", svc(left(nodeIP), func(s *scene) {
			s.n.Services = &tracer.ServiceRules{Implementations: []string{tracer.ProxyOVN}, Complete: true}
		}), "unknown", "svc-kubeproxy-no-rules", ""},
		{"Antrea translates", svc(left(nodeIP), func(s *scene) {
			s.n.Services = &tracer.ServiceRules{Implementations: []string{tracer.ProxyAntrea}, Complete: true}
		}), "unknown", "svc-kubeproxy-no-rules", ""},
		{"another node's NodePort", svc(noRules, left(nodeIP), func(s *scene) {
			s.j.Flow.Dst = ap(node2IP, 30080)
			s.j.Translated = s.j.Flow
			s.c.Service.Frontend, s.c.InServiceRange = "node-port", false
			s.c.Destination = tracer.Endpoint{IP: addr(node2IP), Kind: tracer.KindNode, Name: "n2"}
		}), "beyond-node", "svc-kubeproxy-no-rules", ""},
		{"a load balancer's address that goes to the load balancer", svc(left(nodeIP), func(s *scene) {
			s.c.Service.Frontend, s.c.InServiceRange, s.n.Services.HasFrontend = "load-balancer", false, false
		}), "beyond-node", "svc-kubeproxy-no-rules", ""},
		{"a pod's client is not bound by externalTrafficPolicy", svc(filtered(), rule("", "drop"), func(s *scene) {
			s.c.Service.ExternalLocal, s.c.Service.Frontend, s.c.Service.Endpoints[0].Node = true, "load-balancer", "n2"
		}), "node-forward-drop", "svc-no-local-endpoints", ""},
		{"translated to an endpoint that is listed", svc(translated(apiIP, 8080), noNeighbour()), "cni-stale-neigh", "svc-stale-endpoint", ""},
		{"the dump has no EndpointSlices", svc(translated(apiIP, 8080), noNeighbour(), func(s *scene) { s.c.Service.Endpoints = nil }), "cni-stale-neigh", "svc-stale-endpoint", ""},
		{"the API server is away", svc(translated("10.1.0.66", 8080), noNeighbour(), func(s *scene) {
			s.c.Stale = time.Minute
			s.n.Services.Targets = []netip.AddrPort{ap("10.1.0.66", 8080)}
		}), "svc-stale-endpoint", "", probable},
		{"a headless Service is its pods", []change{refusedByTarget}, "app-no-listener", "svc-kubeproxy-no-rules svc-wrong-targetport", ""},
		{"wrong targetPort, but the pod declares it", svc(translated(apiIP, 8080), refusedByTarget, listening("0.0.0.0:9090")), "app-no-listener", "svc-wrong-targetport", ""},
		{"sysctls were not read", svc(translated(apiIP, 8080), reached, answer(tracer.AnswerSynAck, tracer.EventTX, on(apiNS, eth0)), clientResets, noSocket(at3(on(webNS, eth0)), ofReply),
			func(s *scene) { s.n.Sysctls = nil }), "svc-conntrack-invalid-rst", "node-bridge-nf-off", probable},
		{"a hung server whose answers a pod's own rules translate", svc(translated(apiIP, 8080), reached, established, outcomeIs(tracer.OutcomeConnectedNoData), func(s *scene) {
			back(tracer.EventRX, on(webNS, eth0), ms)(s)
			s.j.Hops[len(s.j.Hops)-1].Tuple = s.j.Translated.Reverse()
		}), "app-hang", "svc-conntrack-invalid-rst node-bridge-nf-off", ""},
		{"kube-proxy's rule drops for a reason that does not show", svc(filtered(), rule("kube-proxy", "drop")), "unknown", "svc-stale-endpoint svc-invalid-drop-asymmetric", ""},
		// Conntrack's table.
		{"conntrack dropped as many, its table is nearly empty", []change{inCore(tracer.StagePrerouting), counted(hostNS, "conntrack.drop", 3), tableAt("1200", "262144")}, "unknown", "node-conntrack-full node-forward-drop", ""},
		{"conntrack dropped as many, its table has no limit", []change{inCore(tracer.StagePrerouting), counted(hostNS, "conntrack.drop", 3), tableAt("1200", "0")}, "unknown", "node-conntrack-full node-forward-drop", ""},
		{"conntrack dropped one of somebody's, and a rule that was not found these", []change{inCore(tracer.StagePrerouting), counted(hostNS, "conntrack.drop", 1), tableAt("1200", "262144")}, "node-forward-drop", "node-conntrack-full", probable},
		{"the table is full, and a policy's rule drops", []change{inCore(tracer.StagePrerouting), counted(hostNS, "conntrack.drop", 2), tableAt("262144", "262144"), rule("calico", "drop", hookIs("prerouting")), denies("ingress", "peer")}, "pol-ingress-deny", "node-conntrack-full", ""},
		{"the table is full, and no drop was counted", []change{inCore(tracer.StagePrerouting), tableAt("262144", "262144")}, "node-forward-drop", "node-conntrack-full", probable},
		// What lies on the way, and is neither the node nor an end.
		{"a gateway's pod drops", world4(dropOf("NETFILTER_DROP", "nft_do_chain", tracer.StageForward, "nftables", at3(on(strangerNS, eth0))), rule("", "drop"), gatewayPod), "unknown", "node-forward-drop", ""},
		{"a gateway's pod drops what a policy denies as well", world4(filtered(at3(on(strangerNS, eth0))), denies("egress", "peer"), gatewayPod), "unknown", "node-forward-drop pol-egress-deny", ""},
		{"a gateway's pod refuses an own address as source", world4(dropOf("IP_LOCAL_SOURCE", "ip_rcv_finish_core", tracer.StageRouting, "", at3(on(strangerNS, eth0))), gatewayPod), "unknown", "node-martian", ""},
		{"a gateway's pod queues to nobody", world4(dropOf("NOT_SPECIFIED", "nf_queue", tracer.StageForward, "nfqueue", at3(on(strangerNS, eth0))), gatewayPod), "unknown", "pol-nfqueue-down", ""},
		{"a gateway's pod has a silent gateway", world4(noNeighbour(at3(on(strangerNS, eth0))), gatewayPod), "unknown", "cni-stale-neigh egr-gateway-dead", ""},
		{"a pod on the way rejects what goes to a Service", svc(noEndpointsLeft, filtered(at3(on(strangerNS, eth0))), gatewayPod), "svc-no-endpoints", "node-forward-drop", probable},
		{"the node drops, and a gateway's pod is on the way", world4(hop(tracer.EventRX, on(strangerNS, eth0)), filtered(), rule("", "drop"), gatewayPod), "node-forward-drop", "", ""},
		{"a martian of the node's own", []change{dropOf("IP_LOCAL_SOURCE", "ip_rcv_finish_core", tracer.StageRouting, "", at3(on(hostNS, uplink)))}, "node-martian", "", ""},
		{"own source at the client's own Service", svc(translated(webIP, 8080), ownEndpoint, dropOf("IP_LOCAL_SOURCE", "ip_rcv_finish_core", tracer.StageRouting, "", at3(on(webNS, eth0)))), "svc-hairpin-nomasq", "", ""},
		// Links and next hops.
		{"the client's veth is down now, but packets came out", []change{linkDown(srcPeer), hop(tracer.EventTX, on(hostNS, bridge)), filtered(), denies("ingress", "peer")}, "pol-ingress-deny", "cni-veth-down", ""},
		{"the target's veth is down, but a policy took the packet", []change{linkDown(dstPeer), filtered(), denies("ingress", "peer")}, "pol-ingress-deny", "cni-veth-down", ""},
		{"routed CNI beside bridged containers", []change{noNeighbour(), func(s *scene) { s.n.DstPeer.Master, s.n.Routes[0].Dev = 0, s.n.DstPeer.Name }}, "cni-stale-neigh", "cni-veth-detached", ""},
		{"a pod asks a neighbour that does not exist", []change{noNeighbour(at3(on(webNS, eth0))), routeIs("src-pod", "unicast", "10.1.0.0/24"), func(s *scene) {
			s.c.TargetPod, s.j.DstDevice, s.n.DstDevice, s.n.DstPeer = nil, tracer.DeviceKey{}, nil, nil
			s.c.Target, s.c.Destination = tracer.Endpoint{Kind: tracer.KindUnknown}, tracer.Endpoint{Kind: tracer.KindUnknown}
		}}, "unknown", "cni-gateway-arp", ""},
		{"the pod is being deleted", []change{noNeighbour(), func(s *scene) { s.c.TargetPod.Terminating = true }}, "unknown", "cni-stale-neigh", ""},
		{"the answer's next hop", []change{reached, noNeighbour(ofReply)}, "cni-stale-neigh", "cni-gateway-arp", ""},
		{"flooded copies, because the target's veth is down", []change{linkDown(dstPeer), dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(strangerNS, eth0)))}, "cni-veth-down", "cni-stale-neigh", ""},
		{"flooded back to the client, because the target's veth left the bridge", []change{func(s *scene) { s.n.DstPeer.Master = 0 }, dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(webNS, eth0)))}, "cni-veth-detached", "cni-stale-neigh", ""},
		{"flooded copies and a real drop", []change{dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(strangerNS, eth0)), times(9)), filtered(), denies("ingress", "peer")}, "pol-ingress-deny", "node-underlay-arp", ""},
		{"flooded copies and silence outside", world4(left(nodeIP), dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(strangerNS, eth0)))), "unknown", "cni-stale-neigh node-underlay-arp", ""},
		{"a switch's copy of what is for another machine", []change{toFar, dropOf("OTHERHOST", "ip_rcv_core", tracer.StageRouting, "", at3(on(hostNS, uplink)))}, "unknown", "node-underlay-arp cni-stale-neigh", ""},
		{"traceroute's first hop", world4(dropOf("IP_INHDR", "ip_forward", tracer.StageForward, ""), icmpFromNode(11, 0), outcomeIs(tracer.OutcomeICMPError)), "unknown", "node-routing-loop", ""},
		{"traceroute further out", world4(left(nodeIP), icmpFromWorld(11, 0), outcomeIs(tracer.OutcomeICMPError)), "beyond-node", "node-routing-loop", ""},
		{"IPv6 drops a bad source while forwarding is on", []change{dropOf("IP_INADDRERRORS", "ip6_forward", tracer.StageRouting, ""), func(s *scene) {
			s.j.Flow.Dst = ap("fd00::b", 8080)
			s.n.Sysctls["net.ipv6.conf.all.forwarding"], s.n.Sysctls["net.ipv6.conf.br0.forwarding"] = "1", "1"
		}}, "unknown", "node-ip-forward-off", ""},
		{"rp_filter inside a pod", []change{dropOf("IP_RPFILTER", "ip_rcv_finish_core", tracer.StageRouting, "", at3(on(apiNS, eth0)))}, "unknown", "node-rp-filter", ""},
		{"no route, and no cluster data", []change{toWorld, noRouteAt(), routeIs("forward", "none", ""), noCluster}, "egr-no-default-route", "cni-route-none", ""},
		// Egress.
		{"a private network that routes pods is answered", world4(left(webIP), outcomeIs(tracer.OutcomeDelivered)), "ok", "egr-masq-missing", ""},
		{"pods of the uplink's own network", world4(left(webIP), func(s *scene) {
			s.Inventory.Devices[1].Addrs = append(s.Inventory.Devices[1].Addrs, netip.MustParsePrefix("10.1.0.3/16"))
		}), "beyond-node", "egr-masq-missing", ""},
		{"a public IPv6 address needs no masquerade", world4(left(webIP), func(s *scene) {
			s.j.Flow.Src, s.j.Flow.Dst = ap("2001:db8::10", 40000), ap("2001:db8:f::1", 443)
			s.j.Translated, s.j.LeftAs = s.j.Flow, s.j.Flow
		}), "beyond-node", "egr-masq-missing", ""},
		{"a pod on the node's network", world4(left(nodeIP), func(s *scene) {
			s.c.Source = tracer.Endpoint{IP: addr(nodeIP), Kind: tracer.KindNode, Name: "n1", HostNetwork: true}
			s.j.Flow.Src = ap(nodeIP, 40000)
			s.j.LeftAs.Src, s.j.Translations = s.j.Flow.Src, nil
		}), "beyond-node", "egr-masq-missing", ""},
		{"cluster data does not know the client", world4(left(webIP), func(s *scene) { s.c.SourcePod, s.c.Source = nil, tracer.Endpoint{} }), "beyond-node", "egr-masq-missing", ""},
		{"flannel was here once", []change{toFar, reachedBy("host-gw"), rename(vethWeb, "eni1a"), defaultRoute, left(webIP)}, "beyond-node", "", ""},
		{"flannel leaves routing to the cloud's network", []change{toFar, reachedBy("alloc"), defaultRoute, left(webIP)}, "beyond-node", "", ""},
		{"direct routing in a cloud's network", []change{toFar, defaultRoute, left(webIP)}, "beyond-node", "", ""},
		{"an untranslated Service beyond the node is not intact", svc(left(nodeIP), func(s *scene) { s.j.CTSeen = false }), "unknown", "beyond-node", ""},
		{"the outside resets in the middle", world4(left(nodeIP), established, data, answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink)), outcomeIs(tracer.OutcomeResetMidFlow)), "egr-remote-reset", "app-reset egr-remote-refused beyond-node", probable},
		{"the node itself rejects on the way out", world4(filtered(), rule("", "reject"), answer(tracer.AnswerRST, tracer.EventTX, on(hostNS, vethWeb)), outcomeIs(tracer.OutcomeRefused)), "node-firewall-reject", "egr-remote-refused", ""},
		{"prohibited by the node, not by the outside", world4(left(nodeIP), filtered(), rule("firewalld", "reject"), icmpFromNode(3, 13), outcomeIs(tracer.OutcomeICMPError)), "node-firewall-reject", "egr-firewall-reject", ""},
		// Targets.
		{"a route in the pod, and its counter moves", []change{reached, counted(apiNS, "IpOutNoRoutes", 2)}, "unknown", "cni-pod-no-default-route", ""},
		{"another socket's queue, and a policy drops", []change{counted(apiNS, "TcpExtListenOverflows", 3), reached, filtered(ofReply), rule("", "drop")}, "node-forward-drop", "app-listen-overflow", ""},
		{"datagrams, and some TCP queue overflows", []change{proto(tracer.ProtoUDP), reached, counted(apiNS, "TcpExtListenOverflows", 3)}, "unknown", "app-listen-overflow", ""},
		{"ping that the pod ignores", []change{proto(tracer.ProtoICMP), reached}, "unknown", "app-no-listener pol-ingress-deny", ""},
		{"a far node refuses a NodePort", []change{toFar, left(nodeIP), answer(tracer.AnswerRST, tracer.EventRX, on(hostNS, uplink)), outcomeIs(tracer.OutcomeRefused), func(s *scene) {
			s.c.TargetPod, s.c.Target = nil, tracer.Endpoint{IP: addr(node2IP), Kind: tracer.KindNode, Name: "n2"}
			s.c.Destination = s.c.Target
		}}, "unknown", "app-no-listener", ""},
		{"a port of the node that nobody serves", []change{reached, noSocket(at3(on(hostNS, uplink)), times(1)), answer(tracer.AnswerRST, tracer.EventTX, on(hostNS, uplink)), outcomeIs(tracer.OutcomeRefused), func(s *scene) {
			s.j.Flow.Dst = ap(nodeIP, 9100)
			s.j.Translated, s.j.DstDevice = s.j.Flow, on(hostNS, uplink)
			s.c.TargetPod, s.c.Ingress = nil, nil
			s.c.Target = tracer.Endpoint{IP: addr(nodeIP), Kind: tracer.KindNode, Name: "n1"}
			s.c.Destination = s.c.Target
		}}, "app-no-listener", "svc-kubeproxy-no-rules", ""},
		{"only an ICMP error was dropped", []change{reached, dropOf("NETFILTER_DROP", "nft_do_chain", tracer.StageOutput, "nftables", ofICMP), rule("", "drop")}, "unknown", "node-forward-drop cni-mtu-blackhole", ""},
		{"a checksum in a flow that a policy drops", []change{dropOf("TCP_CSUM", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(apiNS, eth0)), times(1)), filtered(), denies("ingress", "peer")}, "pol-ingress-deny", "node-csum", ""},
		{"checksums in a flow that a policy drops more of", []change{dropOf("TCP_CSUM", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(apiNS, eth0)), times(2)), filtered(), denies("ingress", "peer")}, "pol-ingress-deny", "node-csum", ""},
		{"one broken packet, then silence outside", world4(left(nodeIP), dropOf("TCP_CSUM", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(webNS, eth0)), ofReply, times(1))), "beyond-node", "node-csum", ""},
		{"a socket that is there no more", []change{reached, dropOf("NO_SOCKET", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(apiNS, eth0)))}, "unknown", "node-csum node-memory", ""},
		{"a wrong checksum of the tunnel's packet", []change{overlayCNI, dropOf("UDP_CSUM", "udp_queue_rcv_one_skb", tracer.StageSocket, "", outerPacket)}, "cni-csum-offload", "cni-overlay-port-mismatch node-csum", ""},
		{"the same, by a kernel without reasons", []change{overlayCNI, dropOf("", "__udp4_lib_rcv", tracer.StageSocket, "", outerPacket), counted(hostNS, "UdpInCsumErrors", 3)}, "cni-csum-offload", "cni-overlay-port-mismatch", probable},
		{"a tunnel's port that nobody has, by a kernel without reasons", []change{overlayCNI, dropOf("", "__udp4_lib_rcv", tracer.StageSocket, "", outerPacket)}, "cni-overlay-port-mismatch", "cni-csum-offload", ""},
		{"a wrong checksum inside of the tunnel", []change{overlayCNI, reached, dropOf("TCP_CSUM", "tcp_v4_rcv", tracer.StageSocket, "", at3(on(apiNS, eth0)))}, "node-csum", "cni-csum-offload", ""},
		{"a routed pod's veth is down, so its route is gone", []change{routed, linkDown(dstPeer), blackholed, routeIs("forward", "blackhole", "10.1.0.0/26")}, "cni-veth-down", "", ""},
		{"a bridged pod's veth is down, and its range is a blackhole", []change{linkDown(dstPeer), blackholed, routeIs("forward", "blackhole", "10.1.0.0/26")}, "cni-route-blackhole", "cni-veth-down", ""},
		// Nothing seen.
		{"nothing seen, and the Service has no endpoints", svc(noEndpointsLeft, unseen), "unknown", "", ""},
		{"nothing seen, and the client's link is down", []change{unseen, linkDown(srcPeer)}, "cni-veth-down", "", suspected},
		{"nothing seen", []change{unseen}, "unknown", "", ""},
	}...)
}

func TestLookalikes(t *testing.T) {
	e := NewEngine()
	for _, tt := range lookalikes() {
		t.Run(tt.name, func(t *testing.T) { alike(t, e, &tt, given(tt.with...)) })
	}
}

// alike decides a scene, and holds the verdict against what it resembles.
func alike(t *testing.T, e *Engine, tt *lookalike, in *Input) {
	t.Helper()
	rank := []tracer.Confidence{suspected, probable, confirmed}
	v := e.Decide(in)
	if v.Code != tt.code {
		t.Errorf("%s %s, want %s\n%s\nalso %+v", v.Confidence, v.Code, tt.code, v.Summary, v.AlsoSeen)
	}
	for bad := range strings.FieldsSeq(tt.never) {
		if v.Code == bad || slices.ContainsFunc(v.AlsoSeen, func(a tracer.AlsoSeen) bool { return a.Code == bad }) {
			t.Errorf("%s is said: %s\nalso %+v", bad, v.Summary, v.AlsoSeen)
		}
	}
	if tt.most != "" && slices.Index(rank, v.Confidence) > slices.Index(rank, tt.most) {
		t.Errorf("%s, want at most %s", v.Confidence, tt.most)
	}
	sound(t, v)
}

// clusterAllows: a rule of the admin tier allows.
func clusterAllows(s *scene) {
	s.c.Ingress.Rules = []tracer.PolicyRule{{Policy: tracer.Ref{Kind: "AdminNetworkPolicy", Name: "guard"}, Tier: "admin", Action: tracer.PolicyAllow, Why: "from every pod"}}
}

// gatewayPod: a third pod has the stranger's namespace.
func gatewayPod(s *scene) {
	s.Inventory.Devices = append(s.Inventory.Devices, tracer.Device{DeviceKey: on(strangerNS, eth0), Name: "eth0", Role: tracer.RolePod, Up: true, Carrier: true})
	s.c.Bystanders = append(s.c.Bystanders, tracer.Bystander{NetNS: strangerNS, Namespace: "egress", Name: "gateway"})
}

func TestPodOnTheWayIsNamed(t *testing.T) {
	v := NewEngine().Decide(given(toWorld, filtered(at3(on(strangerNS, eth0))), rule("", "drop"), gatewayPod))
	if ref(v.Object) != "Pod egress/gateway" || v.Rule == nil || !strings.Contains(v.Summary, "pod egress/gateway") || !strings.Contains(v.Summary, "egress/gateway eth0") {
		t.Errorf("%s %q: %s", ref(v.Object), v.Code, v.Summary)
	}
}
