package verdict

// Rules returns every rule in the order in which they are asked. Service
// translation comes before the packet's fate behind it: a flow that was sent to
// a dead endpoint fails at a neighbour or in a router, but that is the
// consequence.
func Rules() []Rule {
	return []Rule{
		// In the client's pod.
		{"sidecar", sidecarMissing},
		{"pod-firewall", podFirewall},
		{"sidecar-refused", sidecarRefused},
		{"pod-link", podLink},
		// Service: what should have been translated, and to what.
		{"no-endpoints", noEndpoints},
		{"no-local-endpoints", noLocalEndpoints},
		{"wrong-service-port", wrongServicePort},
		{"no-service-rules", noServiceRules},
		{"unallocated-cluster-ip", unallocatedClusterIP},
		{"stale-endpoint", staleEndpoint},
		{"hairpin", hairpin},
		{"reply-not-translated", replyNotTranslated},
		// Programs and filters on the way.
		{"bpf-drop", bpfDrop},
		{"nfqueue", nfqueue},
		{"conntrack-drop", conntrackDrop},
		{"policy", policyDrop},
		{"foreign-rule", foreignRule},
		// Routing.
		{"forwarding-off", forwardingOff},
		{"special-route", specialRoute},
		{"uplink-down", uplinkDown},
		{"no-route", noRoute},
		{"rp-filter", reversePath},
		{"routing-loop", routingLoop},
		{"martian", martian},
		// The next hop.
		{"overlay", overlay},
		{"neighbour", neighbour},
		{"other-host", otherHost},
		// Size.
		{"mtu", mtu},
		// The target.
		{"refused-here", refusedHere},
		{"pod-no-route-back", podNoRouteBack},
		{"listen-overflow", listenOverflow},
		{"receive-buffer", receiveBuffer},
		{"no-data", connectedNoData},
		{"reset", resetByApplication},
		// Beyond this node.
		{"refused-outside", refusedOutside},
		{"prohibited-outside", prohibitedOutside},
		{"masquerade", masqueradeMissing},
		{"un-encapsulated", routeMissing},
		{"source-no-route", sourceNoRoute},
		{"beyond-node", beyondNode},
	}
}
