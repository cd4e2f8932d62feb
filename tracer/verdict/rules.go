package verdict

// Rules returns every rule in the order in which they are asked. It decides
// between findings that do not follow from each other (see effects): the first
// thing that a packet meets, and of two readings the more specific.
func Rules() []Rule {
	return []Rule{
		// In the client's pod.
		{Name: "sidecar", Eval: sidecarMissing},
		{Name: "pod-firewall", Eval: podFirewall},
		{Name: "sidecar-refused", Eval: sidecarRefused},
		{Name: "pod-link", Eval: podLink, Unseen: true},
		// Service: what should have been translated, and to what.
		{Name: "no-endpoints", Eval: noEndpoints},
		{Name: "no-local-endpoints", Eval: noLocalEndpoints},
		{Name: "source-ranges", Eval: sourceRanges},
		{Name: "stale-no-endpoints", Eval: staleNoEndpoints},
		{Name: "conntrack-before-rules", Eval: conntrackBeforeRules},
		{Name: "wrong-service-port", Eval: wrongServicePort},
		{Name: "no-service-rules", Eval: noServiceRules},
		{Name: "unallocated-cluster-ip", Eval: unallocatedClusterIP},
		{Name: "stale-endpoint", Eval: staleEndpoint},
		{Name: "stale-host-port", Eval: hostPortStale},
		{Name: "no-host-port", Eval: hostPortMissing},
		{Name: "hairpin", Eval: hairpin},
		{Name: "reply-not-translated", Eval: replyNotTranslated},
		// Programs and filters on the way.
		{Name: "bpf-drop", Eval: bpfDrop},
		{Name: "nfqueue", Eval: nfqueue},
		{Name: "nodeport-localhost", Eval: nodePortLocalhost},
		{Name: "conntrack-drop", Eval: conntrackDrop},
		{Name: "anti-spoof", Eval: antiSpoof},
		{Name: "host-firewall", Eval: hostFirewall},
		{Name: "agent-policy", Eval: agentPolicy},
		{Name: "shaper", Eval: shaper},
		{Name: "kernel-limit", Eval: kernelLimit},
		{Name: "checksum", Eval: checksum},
		{Name: "policy", Eval: policyDrop},
		{Name: "unevaluated-policy", Eval: cniPolicy},
		{Name: "foreign-rule", Eval: foreignRule},
		// Routing.
		{Name: "forwarding-off", Eval: forwardingOff},
		{Name: "host-route-missing", Eval: hostRouteMissing},
		{Name: "special-route", Eval: specialRoute},
		{Name: "uplink-down", Eval: uplinkDown},
		{Name: "no-route", Eval: noRoute},
		{Name: "rp-filter", Eval: reversePath},
		{Name: "routing-loop", Eval: routingLoop},
		{Name: "martian", Eval: martian},
		// The next hop.
		{Name: "tunnel-end", Eval: tunnelEnd},
		{Name: "tunnel-port", Eval: tunnelPort},
		{Name: "overlay", Eval: overlay},
		{Name: "overlap", Eval: overlap},
		{Name: "neighbour", Eval: neighbour},
		{Name: "other-host", Eval: otherHost},
		// Size.
		{Name: "mtu", Eval: mtu},
		{Name: "fragments", Eval: fragments},
		// The target.
		{Name: "duplicate-ip", Eval: duplicateIP},
		{Name: "no-protocol", Eval: noProtocol},
		{Name: "local-cache", Eval: nodeLocalDNS},
		{Name: "tcp-refused", Eval: tcpRefused},
		{Name: "refused-here", Eval: refusedHere},
		{Name: "pod-no-route-back", Eval: podNoRouteBack, Silence: true},
		{Name: "listen-overflow", Eval: listenOverflow, Silence: true},
		{Name: "receive-buffer", Eval: receiveBuffer},
		{Name: "upstream-silent", Eval: upstreamSilent, Silence: true},
		{Name: "no-data", Eval: connectedNoData, Silence: true},
		{Name: "idle-timeout", Eval: idleTimeout},
		{Name: "reset", Eval: resetByApplication},
		// Beyond this node.
		{Name: "refused-outside", Eval: refusedOutside},
		{Name: "prohibited-outside", Eval: prohibitedOutside},
		{Name: "reset-outside", Eval: resetOutside},
		{Name: "masquerade", Eval: masqueradeMissing, Silence: true},
		{Name: "wrong-uplink", Eval: wrongUplink, Silence: true},
		{Name: "wrong-tunnel-source", Eval: wrongTunnelSource, Silence: true},
		{Name: "big-lost-outside", Eval: bigLostOutside, Silence: true},
		{Name: "un-encapsulated", Eval: routeMissing, Silence: true},
		{Name: "source-no-route", Eval: sourceNoRoute, Unseen: true},
		{Name: "answer-past-node", Eval: externalMasquerade, Silence: true},
		{Name: "tcp-silent", Eval: tcpSilent, Silence: true},
		{Name: "silent-node", Eval: nodeNotReady, Silence: true},
		{Name: "beyond-node", Eval: beyondNode, Silence: true},
		// Guesses that stand beside it.
		{Name: "denied-elsewhere", Eval: deniedElsewhere, Silence: true},
		{Name: "un-encapsulated-guess", Eval: routeGuess, Silence: true},
	}
}
