package lab

// How sure a tool on the node may be.
const (
	confirmed = "confirmed"
	probable  = "probable"
	suspected = "suspected"
)

// hidden says of which faults the node shows the packets and not the state that
// is wrong, and why: there a tool may say what is probable, and no more.
func hidden() map[string]string {
	const (
		process = "what a process waits for, or why it ends, is inside of it"
		farNode = "the state that is wrong is another node's"
		outside = "what happens outside is not observed"
		names   = "names are not read, so that the time alone tells for whom a DNS server asks its upstream"
		lookups = "names are not read, so that what a lookup was for is concluded from what did not follow"
		svcs    = "the range of Services is known from the Services in it only"
	)
	return map[string]string{
		"app-hang":                        process,
		"app-reset":                       process,
		"reset-after-loss":                process,
		"hang-after-loss":                 process,
		"terminating-endpoint":            process,
		"listen-overflow":                 "the queue was full when the packet came, not when the node is read",
		"dns-slow":                        process,
		"dns-wrong-resolver":              "a pod's resolv.conf is a file, and is not read",
		"dns-upstream-silent":             names,
		"dns-upstream-refused":            names,
		"dns-upstream-policy":             names,
		"name-not-found":                  lookups,
		"name-servfail":                   lookups,
		"name-dns-down":                   lookups,
		"name-dns-policy":                 lookups,
		"duplicate-ip":                    "which of two owners is the right one, no packet says",
		"routed-gateway-arp":              "which device ought to answer is the CNI's to know",
		"unallocated-cluster-ip":          svcs,
		"unallocated-cluster-ip-iptables": svcs,
		"overlay-wrong-source":            farNode,
		"overlay-fdb-wrong-node":          farNode,
		"overlay-vni-mismatch-far":        farNode,
		"overlay-underlay-drops":          farNode,
		"overlay-remote-policy":           farNode,
		"overlay-wrong-checksum":          farNode,
		"underlay-stale-mac":              farNode,
		"quiet-forgotten-outside":         outside,
		"overlay-remote-hang":             farNode,
		"overlay-remote-not-listening":    farNode,
		"wrong-uplink":                    outside,
		"external-silent":                 outside,
		"external-silent-beside-faults":   outside,
		"no-way-out":                      outside,
		"one-of-many-outside-silent":      outside,
		"one-port-outside-filtered":       outside,
		"external-small-mtu":              outside,
		"external-no-masquerade":          outside,
		"external-reset":                  outside,
		"hang-beside-faults":              process,
		"startup-race":                    "what the agent has set up, and when, is inside of it",
		"cilium-policy":                   "policies of the CNI's own kinds are not evaluated",
	}
}

// doubted says which faults show no more than something else would, too, and why: a
// tool may suspect them.
func doubted() map[string]string {
	return map[string]string{
		"no-way-out-one-client": "hosts that are gone, of which one client knows, look the same",
	}
}
