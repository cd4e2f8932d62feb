package verdict

import "github.com/podpath/podpath/tracer"

// proxyLookalikes resemble what kube-proxy does, or ought to.
func proxyLookalikes() []lookalike {
	svc := func(with ...change) []change { return append([]change{toService}, with...) }
	return []lookalike{
		{"kube-proxy drops an answer, and not for being INVALID", svc(translated(apiIP, 8080), reached, established, outcomeIs(tracer.OutcomeConnectedNoData),
			filtered(ofReply, func(d *tracer.DropSeen) { d.TCPFlags = tracer.TCPAck }), rule("kube-proxy", "drop")), "unknown", "svc-invalid-drop-asymmetric svc-invalid-drop-window node-forward-drop", ""},
		{"kube-proxy drops as INVALID what began here", svc(translated(apiIP, 8080), reached, established, outcomeIs(tracer.OutcomeConnectedNoData),
			filtered(ofReply, func(d *tracer.DropSeen) { d.TCPFlags = tracer.TCPAck }), rule("kube-proxy", "drop", ofInvalid)), "svc-invalid-drop-window", "svc-invalid-drop-asymmetric", ""},
		{"kube-proxy drops an acknowledgement as INVALID, and the answers pass here", []change{back(tracer.EventTX, on(hostNS, vethWeb), ms), filtered(func(d *tracer.DropSeen) { d.TCPFlags = tracer.TCPAck }), rule("kube-proxy", "drop", ofInvalid)},
			"svc-invalid-drop-window", "svc-invalid-drop-asymmetric", ""},
		{"the answers are dropped here as well", []change{filtered(ofReply), filtered(func(d *tracer.DropSeen) { d.TCPFlags = tracer.TCPAck }), rule("kube-proxy", "drop", ofInvalid)},
			"svc-invalid-drop-window", "svc-invalid-drop-asymmetric", ""},
		{"the answers may have been among what was lost", []change{lost, filtered(func(d *tracer.DropSeen) { d.TCPFlags = tracer.TCPAck }), rule("kube-proxy", "drop", ofInvalid)},
			"unknown", "svc-invalid-drop-window svc-invalid-drop-asymmetric", ""},
		{"another's rule drops as INVALID", svc(translated(apiIP, 8080), reached, established, outcomeIs(tracer.OutcomeConnectedNoData),
			filtered(ofReply, func(d *tracer.DropSeen) { d.TCPFlags = tracer.TCPAck }), rule("", "drop", ofInvalid)), "node-forward-drop", "svc-invalid-drop-asymmetric svc-invalid-drop-window", ""},
		{"the kubelet drops by mark, and does not say for whom", []change{inputDrop, rule("kubelet", "drop", hookIs("input"), chainIs("KUBE-FIREWALL"))}, "unknown", "node-input-blocked svc-no-local-endpoints", ""},
		{"the kubelet keeps others from the loopback addresses", svc(localNodePort, outsideClient, inputDrop, rule("kubelet", "drop", hookIs("input"), chainIs("KUBE-FIREWALL"), func(r *tracer.RuleFact) {
			r.Comment = "block incoming localnet connections"
		})), "node-input-blocked", "svc-no-local-endpoints", ""},
		{"another node asks a Local NodePort", svc(localNodePort, otherNode, inputDrop, rule("kube-proxy", "drop", hookIs("input")), func(s *scene) { s.n.Services.NoLocal = true }), "svc-no-local-endpoints", "svc-stale-endpoint node-input-blocked", ""},
		{"the node itself asks a Local NodePort, which does not bind it", svc(localNodePort, ownNode, inputDrop, rule("kube-proxy", "drop", hookIs("input")), func(s *scene) { s.n.Services.NoLocal = true }), "svc-stale-endpoint", "svc-no-local-endpoints", ""},
		{"a NodePort that is not Local", svc(localNodePort, otherNode, inputDrop, rule("kube-proxy", "drop", hookIs("input")), func(s *scene) { s.c.Service.ExternalLocal = false }), "unknown", "svc-no-local-endpoints svc-stale-endpoint", ""},
		{"Local, and an endpoint is here", svc(localNodePort, outsideClient, inputDrop, rule("kubelet", "drop", hookIs("input"), chainIs("KUBE-FIREWALL")), func(s *scene) {
			s.c.Service.Endpoints[0].Node = "n1"
		}), "unknown", "svc-no-local-endpoints node-input-blocked", ""},
		{"kube-network-policies drops what policies allow", []change{filtered(), rule("kube-network-policies", "drop")}, "pol-agent-stale", "node-forward-drop", suspected},
		// A refusal: the Service's port, or nobody there.
		{"a sidecar declares its port, the application has crashed", svc(translated(apiIP, 8080), refusedByTarget, listening("0.0.0.0:15090"), declares(15090), unwell(7)), "app-no-listener", "svc-wrong-targetport", ""},
		{"only the sidecar listens", svc(translated(apiIP, 8080), refusedByTarget, listening("0.0.0.0:15090", "0.0.0.0:15006"), declares()), "app-no-listener", "svc-wrong-targetport", ""},
		{"Linkerd's proxy listens, the application starts", svc(translated(apiIP, 8080), refusedByTarget, listening("0.0.0.0:4143"), declares(4143, 4191), unwell(0)), "app-no-listener", "svc-wrong-targetport", ""},
		{"the application has its metrics up, and not yet its port", svc(translated(apiIP, 8080), refusedByTarget, listening("0.0.0.0:9100"), declares(), unwell(0)), "app-no-listener", "svc-wrong-targetport", ""},
		{"declares another port, and crashes", svc(translated(apiIP, 8080), refusedByTarget, declares(9090), func(s *scene) { s.c.TargetPod.Restarts = 3 }), "app-no-listener", "svc-wrong-targetport", ""},
		{"a far pod that declares another port, and is not Ready", []change{toFarService, farRefuses, declares(9090), unwell(2)}, "app-no-listener", "svc-wrong-targetport", probable},
		// A policy denies, and something else dropped.
		{"a rule of nobody's, and nothing enforces policies here", []change{filtered(), rule("", "drop"), denies("ingress", "peer")}, "pol-ingress-deny", "", probable},
		{"a rule that names another cluster-wide policy", []change{filtered(), clusterDenies("ingress", "admin"), rule("", "drop", func(r *tracer.RuleFact) { r.Comment = "AdminNetworkPolicy guard2" })}, "pol-cluster-deny", "", probable},
		{"no rule is found, and nothing enforces policies here", []change{filtered(), denies("ingress", "peer")}, "pol-ingress-deny", "", probable},
		{"the tunnel's packet dropped at INPUT, and a policy denies as well", []change{overlayCNI, outsideClient, dropOf("NETFILTER_DROP", "nft_do_chain", tracer.StageInput, "nftables", at3(on(hostNS, uplink)), ofTunnel),
			rule("", "drop", hookIs("input")), denies("ingress", "peer")}, "node-input-blocked", "pol-ingress-deny", ""},
		{"dropped here, and the client's egress is another node's affair", []change{farClient, filtered(), rule("", "drop"), denies("egress", "peer")}, "node-forward-drop", "pol-egress-deny", ""},
		{"dropped here, and the target's ingress is another node's affair", []change{toFar, filtered(), rule("", "drop"), denies("ingress", "peer")}, "node-forward-drop", "pol-ingress-deny", ""},
	}
}

// farClient: the client is a pod of n2.
func farClient(s *scene) {
	egress, pod := s.c.Egress, *s.c.SourcePod
	pod.Node = "n2"
	asksFrom(farIP, tracer.Endpoint{Kind: tracer.KindPod, Namespace: "shop", Name: "web", Node: "n2"})(s)
	s.c.SourcePod, s.c.Egress = &pod, egress
}

// ofTunnel: what was dropped is the tunnel's own packet, from node to node.
func ofTunnel(d *tracer.DropSeen) {
	d.Tuple = tracer.Tuple{Src: ap(node2IP, 5000), Dst: ap(nodeIP, 8472), Proto: tracer.ProtoUDP}
}
