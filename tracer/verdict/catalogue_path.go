package verdict

import "github.com/podpath/podpath/tracer"

// pathEntries are faults of where packets go, and as what.
func pathEntries() []Entry {
	c, e, x := tracer.ComponentCNI, tracer.ComponentEgress, tracer.ComponentExternal
	return []Entry{
		{Code: "cni-overlay-port-mismatch", Component: c, Title: "tunnel packets to a port where no tunnel listens", Shown: "lab",
			Meaning:    "The other node sends its tunnel's packets to a UDP port on which this node has no tunnel device: the CNI is not running here, or the two use different ports (8472 and 4789 are both in use).",
			Evidence:   "NO_SOCKET for a UDP packet that carries the flow, in the node's own namespace.",
			LookAlikes: []string{"cni-overlay-vni-mismatch: a tunnel device listens, and does not know the VNI", "cni-csum-offload: the datagram's checksum is wrong", "node-input-blocked: a firewall drops the packets before"},
			Remedy:     []string{"on {node}: ip -d link show type vxlan; compare dstport with the other node's", restartCNI()}},
		{Code: "cni-csum-offload", Component: c, Title: "pods of another node time out: the tunnel's checksums are wrong", Shown: "lab",
			Meaning:    "The outer packets of the tunnel arrive with a wrong UDP checksum, and this node drops them before its tunnel device sees them: the sending node leaves the checksum to an offload that does not do it for tunnels (with NAT of the tunnel's packets, some kernels and virtual cards).",
			Evidence:   "UDP_CSUM in the node's own namespace, for a UDP packet that carries the flow.",
			LookAlikes: []string{"cni-overlay-port-mismatch: the checksum is right, and no tunnel device listens on the port", "node-csum: the packet inside is the broken one"},
			Remedy:     []string{"on the sending node: ethtool -K {tunnel} tx-checksum-ip-generic off (its tunnel device; that of {node} is named here)", "if that helps, keep it over reboots until the kernel is upgraded: Calico does so by FELIX_FEATUREDETECTOVERRIDE=ChecksumOffloadBroken=true"}},
		{Code: "cni-wrong-interface", Component: c, Title: "other nodes' pods time out on a node with several interfaces", Shown: "lab",
			Meaning:    "The tunnel sends from an address that the Node object does not have: the CNI chose another interface, often one behind NAT, and networks or firewalls between the nodes drop it.",
			Evidence:   "The tunnel packet's source at the uplink, the node's addresses, no answer.",
			LookAlikes: []string{"cni-overlay-fdb-wrong-node: the far end's address is wrong", "beyond-node: both addresses are right"},
			Remedy:     []string{"tell the CNI which interface: flannel --iface=DEV, Calico IP_AUTODETECTION_METHOD=interface=DEV, and restart it", "kubectl get nodes -o wide; on {node}: ip -d link show type vxlan (local)"}},
		{Code: "cni-cidr-overlap", Component: c, Title: "one outside range is unreachable from this node", Shown: "lab",
			Meaning:    "The destination is outside of the cluster, but a bridge or tunnel of the node has a range that it lies in (the pod range, docker0, another network), so that it is looked for there. Or the pod itself takes the address for one on its own link, since its network mask is too wide.",
			Evidence:   "A route of a local bridge, or of the pod's own link, that covers the destination, and NEIGH_FAILED there.",
			LookAlikes: []string{"svc-stale-endpoint: the address was a pod's", "egr-remote-down: the range is the uplink's, and right"},
			Remedy:     []string{"on {node}, and in the pod: ip route get {dst.ip}; ip addr", "move the overlapping range: the CNI's pool, docker's bip and default-address-pools, or the cluster's podCIDR"}},
		{Code: "egr-masq-excluded", Component: e, Title: "some outside ranges fail, others work", Shown: "lab",
			Meaning:    "The node masquerades what goes to the internet, but not to this range, which a list of exceptions has. The pod's own address leaves, and the far side has no route back.",
			Evidence:   "The pod's address as source at the uplink, silence, no masquerade rule for this destination, and one that matches other destinations.",
			LookAlikes: []string{"egr-masq-missing: nothing is masqueraded", "beyond-node: the far network routes pods, and is silent for another reason"},
			Remedy:     []string{"take the range of {dst.ip} out of nonMasqueradeCIDRs (ip-masq-agent), AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS or the CNI's pools with natOutgoing", "or let the far network route the pods' range back to the nodes"}},
		{Code: "egr-wrong-interface", Component: e, Title: "outside is silent, on a node with several uplinks", Shown: "lab",
			Meaning:    "Packets leave by one uplink with the address of another: a missing or misplaced routing rule. Clouds and routers drop a source that does not belong to the interface.",
			Evidence:   "The source and the device at which the packet left, the owner of that address, silence.",
			LookAlikes: []string{"egr-masq-missing: the source is the pod's own", "beyond-node: source and device agree"},
			Remedy:     []string{"on {node}: ip rule; ip route get {dst.ip} from SOURCE", "AWS VPC CNI: systemd-networkd removes its rules: ManageForeignRoutingPolicyRules=no, then restart aws-node on {node}"}},
		{Code: "egr-remote-reset", Component: x, Title: "connections outside are reset after they were up", Shown: "lab",
			Meaning:    "The connection stood, and a reset came in from outside: the far application, or a firewall, load balancer or NAT gateway whose idle time was over.",
			Evidence:   "The RST arriving by the uplink after the handshake.",
			LookAlikes: []string{"egr-remote-refused: reset before it was up", "app-reset: the target is a pod of this node"},
			Remedy:     []string{"look at the far side's log for {dst.ip} {dst.port}", "resets after minutes of silence: TCP keepalive below the idle time of the load balancer or NAT gateway (often 350 s)"}},
		{Code: "ext-idle-timeout", Component: x, Title: "connections that were quiet are reset when they are used again", Shown: "lab",
			Meaning:    "A NAT gateway, load balancer or firewall outside forgets connections that are quiet for its idle time, often 60, 240 or 350 s, and answers the next packet with a reset.",
			Evidence:   "No packet in either direction for at least 55 s, then a reset from outside without an acknowledgement, as one who does not know the connection sends it, and no FIN before. Silence after a pause is not called: what became of the packets outside is not seen.",
			LookAlikes: []string{"egr-remote-reset: the reset acknowledges, or comes without a pause: the far application ended the connection", "a far host that crashed and was started anew answers in the same way, which the verdict says", "node-conntrack-expired: the node's own time-out is shorter than the pause", "an application that closes a quiet connection sends a FIN"},
			Remedy:     []string{"TCP keepalive in the client below the idle time of the load balancer or NAT gateway (60 s is safe for most): SO_KEEPALIVE with TCP_KEEPIDLE, or the connection pool's idle and life times", "raise the idle time there, if it can be set", "has {dst.ip} been started anew? its uptime, and the log of {dst.port}, say"}},
		{Code: "egr-frag-loss", Component: x, Title: "large datagrams fail, small ones pass", Shown: "lab",
			Meaning:    "Of fragmented datagrams only a part arrives: something on the way, often a firewall or a NAT, drops fragments.",
			Evidence:   "FRAG_REASM_TIMEOUT: the rest did not come in time.",
			LookAlikes: []string{"ext-mtu-fabric: TCP, nothing is fragmented"},
			Remedy:     []string{"allow IP fragments between {node} and {dst.ip}", "send smaller datagrams (DNS: EDNS buffer size 1232), or use TCP"}},
		{Code: "ext-mtu-fabric", Component: x, Title: "connects, then large transfers to the outside hang", Shown: "lab",
			Meaning:    "Full-sized segments leave the node and are never acknowledged, without a message that they are too big: a link of the network beyond has a smaller MTU, and the messages are filtered.",
			Evidence:   "The connection stands, segments near the MTU are sent again and again, no ICMP comes.",
			LookAlikes: []string{"cni-mtu-blackhole: a link of this node is the small one", "app-hang: the segments are acknowledged", "beyond-node: small packets are lost as well"},
			Remedy:     []string{"from {node}: ping -M do -s 1472 {dst.ip}, and smaller, until it passes; set the uplink's and the pods' MTU to what passes", "allow ICMP type 3 code 4 (IPv6: type 2) on the way, or clamp the MSS"}},
	}
}

// limitEntries are what a node has only so much of.
func limitEntries() []Entry {
	n := tracer.ComponentNode
	return []Entry{
		{Code: "cni-bandwidth-shaper", Component: tracer.ComponentCNI, Title: "a pod's packets are lost by a bandwidth limit", Shown: "lab",
			Meaning:    "A queue on the pod's interface, as the bandwidth plugin sets it, or a tc policer, as virtual switches set it, drops what exceeds the limit, or what is larger than its burst.",
			Evidence:   "QDISC_DROP or QDISC_OVERLIMIT on a device that is up and has carrier; or TC_INGRESS or TC_EGRESS where a tc filter polices, and its counter of what it dropped moved.",
			LookAlikes: []string{"cni-veth-down: the device has no carrier"},
			Remedy:     []string{"on {node}: tc -s qdisc show dev {dev}; tc -s filter show dev {dev} ingress (and egress)", "raise kubernetes.io/ingress-bandwidth and egress-bandwidth of the pod, or take the annotation away and recreate it"}},
		{Code: "node-neigh-overflow", Component: n, Title: "random \"no buffer space\" on a node with many neighbours", Shown: "machine",
			Meaning:  "The kernel's neighbour table, which all namespaces share, is full.",
			Evidence: "NEIGH_CREATEFAIL.",
			Remedy:   []string{"on {node}: ip neigh | wc -l; sysctl net.ipv4.neigh.default.gc_thresh3, and raise it (net.ipv6 as well)"}},
		{Code: "node-softnet-drops", Component: n, Title: "loss under load on the whole node", Shown: "machine",
			Meaning:  "Packets come faster than the node's CPUs take them, and their backlog overflows.",
			Evidence: "CPU_BACKLOG.",
			Remedy:   []string{"on {node}: cat /proc/net/softnet_stat (second column); spread interrupts (RSS, RPS), raise net.core.netdev_max_backlog"}},
		{Code: "node-memory", Component: n, Title: "packets are dropped for want of memory", Shown: "machine",
			Meaning:  "The kernel has no memory left for packets, or its limit for a protocol is reached.",
			Evidence: "NOMEM or PROTO_MEM.",
			Remedy:   []string{"on {node}: cat /proc/net/sockstat; sysctl net.ipv4.tcp_mem net.ipv4.udp_mem; look for sockets that are never read"}},
	}
}
