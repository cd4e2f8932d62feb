package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// Entry is what is known of one code. In Remedy, words in braces stand for the
// names of the case at hand: {src.ns}, {src.pod}, {dst.ns}, {dst.pod},
// {svc.ns}, {svc}, {node}, {dst.ip}, {dst.port}, {target.port}, {policy.ns},
// {policy}, {policy.kind}, {dev}, {tunnel}, {left.ip} (the source with which it left
// the node), {gateway}; of a pod without a network {stuck.ns}, {stuck.pod},
// {stuck.node}, and of its CNI {agent.ns}, {agent.ds}, {agent.pod}.
type Entry struct {
	Code      string
	Component tracer.Component
	// Title is what the user sees; Meaning is what is wrong.
	Title   string
	Meaning string
	// Evidence is what podpath needs to see to say it.
	Evidence string
	// LookAlikes are what it is confused with, and what tells them apart.
	LookAlikes []string
	Remedy     []string
	// Shown says how the rule is tested: "lab" (a fault of the demo),
	// "machine" (one of the lab's that needs a machine of its own), "cluster" (a
	// scenario of the real clusters), "unit" (on constructed journeys only).
	Shown string
}

// Catalogue is every code that podpath can give.
type Catalogue struct {
	entries map[string]Entry
}

// NewCatalogue builds the catalogue.
func NewCatalogue() Catalogue {
	c := Catalogue{entries: map[string]Entry{}}
	for _, group := range [][]Entry{general(), noNetworkEntries(), cniEntries(), policyEntries(), serviceEntries(), egressEntries(), pathEntries(), limitEntries(), dnsEntries(), nodeEntries(), applicationEntries()} {
		for _, e := range group {
			c.entries[e.Code] = e
		}
	}
	return c
}

// Get returns an entry; an unknown code gets the component "unknown".
func (c Catalogue) Get(code string) Entry {
	e, ok := c.entries[code]
	if !ok {
		return Entry{Code: code, Component: tracer.ComponentUnknown}
	}
	return e
}

// Has reports whether the code exists.
func (c Catalogue) Has(code string) bool { _, ok := c.entries[code]; return ok }

// Codes lists every code, sorted.
func (c Catalogue) Codes() []string {
	var s []string
	for k := range c.entries {
		s = append(s, k)
	}
	slices.Sort(s)
	return s
}

// remedy fills the names of the case into the entry's remedies.
func (e Entry) remedy(in *Input, f *Finding) []string {
	if f.Remedy != nil {
		return f.Remedy
	}
	r := strings.NewReplacer(in.words(f)...)
	out := slices.Clone(f.First)
	for _, s := range e.Remedy {
		out = append(out, r.Replace(s))
	}
	return out
}

func (in *Input) words(f *Finding) []string {
	j, c := in.Journey, in.Cluster
	w := map[string]string{
		"node": in.NodeName, "dst.ip": j.Flow.Dst.Addr().String(), "dst.port": fmt.Sprint(j.Flow.Dst.Port()),
		"target.port": fmt.Sprint(j.Translated.Dst.Port()), "target.ip": j.Translated.Dst.Addr().String(),
		"src.ip": j.Flow.Src.Addr().String(), "proto": tracer.ProtoName(j.Flow.Proto),
		"dev": in.device(j.LeftBy).Name, "gateway": "",
	}
	if j.LeftNode {
		w["left.ip"] = j.LeftAs.Src.Addr().String()
	}
	if hop := in.gateway(); hop.IsValid() {
		w["gateway"] = hop.String()
	}
	pod := func(prefix string, p *tracer.PodFacts) {
		if p != nil {
			w[prefix+".ns"], w[prefix+".pod"] = p.Namespace, p.Name
		}
	}
	pod("src", c.SourcePod)
	pod("dst", c.TargetPod)
	if s := c.Service; s != nil {
		w["svc.ns"], w["svc"] = s.Namespace, s.Name
	}
	if o := f.Object; o != nil && strings.Contains(o.Kind, "NetworkPolicy") {
		w["policy.ns"], w["policy"], w["policy.kind"] = o.Namespace, o.Name, strings.ToLower(o.Kind)
		if o.Namespace == "" {
			w["policy.ns"] = "default" // kubectl does not mind for what has no namespace
		}
	}
	if f.Object != nil && f.Object.Kind == "Pod" {
		w["pod.ns"], w["pod"] = f.Object.Namespace, f.Object.Name
	}
	if f.Rule != nil {
		w["family"], w["table"], w["chain"] = f.Rule.Family, f.Rule.Table, f.Rule.Chain
	}
	if d := in.cause(); d != nil {
		w["dev"] = in.device(d.Device).Name
	}
	if d := in.lost(in.badChecksum); d != nil {
		w["tunnel"] = in.tunnelOn(d.Tuple.Dst.Port())
	}
	w["cni.ns"], w["cni.ds"] = in.daemonSet()
	in.stuckWords(w)
	d := in.dnsServer()
	w["dns.ns"], w["dns.port"] = d.namespace, fmt.Sprint(d.port)
	out := []string{"{dns.labels}", d.labels} // which is YAML already
	for k, v := range w {
		if v == "" {
			continue
		}
		out = append(out, "{"+k+"}", shellWord(v))
	}
	for _, k := range []string{"left.ip", "gateway", "src.ns", "src.pod", "dst.ns", "dst.pod", "svc.ns", "svc", "policy.ns", "policy", "policy.kind", "pod.ns", "pod", "family", "table", "chain", "dev", "tunnel", "cni.ns", "cni.ds", "stuck.ns", "stuck.pod", "stuck.node", "agent.ns", "agent.ds", "agent.pod"} {
		if w[k] == "" {
			out = append(out, "{"+k+"}", "<"+k+">")
		}
	}
	return out
}

// stuckWords are the names of a pod without a network, and of what ought to make it.
// Where the CNI's agent is not known, it stands where its own manifests put it.
func (in *Input) stuckWords(w map[string]string) {
	s := in.stuck()
	if s == nil {
		return
	}
	w["stuck.ns"], w["stuck.pod"], w["stuck.node"] = s.pod.Namespace, s.pod.Name, s.pod.Node
	if a := in.agent(s); a != nil {
		w["agent.ns"], w["agent.ds"], w["agent.pod"] = a.Namespace, a.Name, a.Pod
	} else if n := in.network(s); n != nil {
		w["agent.ns"], w["agent.ds"], _ = strings.Cut(n.daemonSet, "/")
	}
}

// shellWord quotes a name for a command line that people paste, unless it needs
// none: a dump can hold any name.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._:/@-", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func general() []Entry {
	return []Entry{
		{Code: tracer.CodeOK, Component: tracer.ComponentNone, Title: "healthy", Shown: "lab",
			Meaning:  "The flow was answered and the answer reached the client.",
			Evidence: "Packets of both directions, the answer seen at the client."},
		{Code: tracer.CodeUnknown, Component: tracer.ComponentUnknown, Title: "undecided", Shown: "unit",
			Meaning:  "The flow failed, or was not seen, and nothing that was seen or read explains it.",
			Evidence: "The output says where the packets were seen last and what could not be observed.",
			Remedy: []string{
				"run podpath on the other nodes of the path, and with --wide to watch every device of this node",
				"give cluster data (--kubeconfig, or --cluster-dump FILE) if there was none: Services and policies cannot be judged without",
			}},
		{Code: tracer.CodeBeyondNode, Component: tracer.ComponentExternal, Title: "lost beyond this node", Shown: "lab",
			Meaning:    "The packets left this node as they should and were not answered. The far side was not observed, so nobody is blamed.",
			Evidence:   "The packets at the uplink with the right source and destination; no drop, no answer.",
			LookAlikes: []string{"egr-masq-missing: the packet leaves with the pod's own address", "cni-route-missing: traffic to another node's pods leaves without encapsulation"},
			Remedy: []string{
				"if {dst.ip} is in the cluster: run podpath on its node at the same time",
				"from the node itself: nc -vz {dst.ip} {dst.port}; if that fails too, look at the NAT gateway, firewall or security group beyond {node}",
				"if only pods fail: check whether the far side allows the address that they are translated to",
				"in a private network without internet access: configure a NAT gateway, an HTTP proxy, or VPC endpoints for the cloud's own services",
				withProxy(),
			}},
	}
}

// restartCNI says how, with the names of the CNI that the node shows.
func restartCNI() string {
	return "restart the CNI on this node: delete its pod on {node} (kubectl -n {cni.ns} get pods --field-selector spec.nodeName={node}), or kubectl -n {cni.ns} rollout restart ds/{cni.ds} for all nodes; kubectl get ds -A lists what runs on every node"
}

func cniEntries() []Entry {
	c := tracer.ComponentCNI
	restart := restartCNI()
	return []Entry{
		{Code: "cni-veth-down", Component: c, Title: "a pod is unreachable: its veth pair is down", Shown: "lab",
			Meaning:    "The node's end of the pod's veth pair is down, so nothing passes in or out.",
			Evidence:   "The link state, and packets that die waiting for an address resolution (NEIGH_FAILED), or are sent without an answer.",
			LookAlikes: []string{"svc-stale-endpoint: no pod has the address", "cni-pod-eth-down: the pod's own end is down"},
			Remedy:     []string{"delete the pod, so that the CNI builds its network anew: kubectl -n {pod.ns} delete pod {pod}", "to confirm first, on {node}: ip link show type veth", restart}},
		{Code: "cni-veth-detached", Component: c, Title: "a pod is unreachable: its veth left the bridge", Shown: "lab",
			Meaning:    "The node's end of the veth pair is up, but no longer a port of the pod bridge.",
			Evidence:   "Link state, unanswered address resolution.",
			LookAlikes: []string{"routed CNIs (Calico, AWS) use no bridge: podpath compares with the other pods of the node"},
			Remedy:     []string{"kubectl -n {pod.ns} delete pod {pod}", restart}},
		{Code: "cni-port-isolated", Component: c, Title: "two pods of one node do not reach each other, others do", Shown: "lab",
			Meaning:    "The bridge ports of both pods are isolated: the bridge passes packets between them and the node, and none between the two.",
			Evidence:   "The drop in the bridge, or unanswered address resolution, and the flag of both ports.",
			LookAlikes: []string{"cni-hairpin-off: a pod and itself", "cni-veth-detached: the pod reaches nobody", "node-forward-drop: a rule drops"},
			Remedy:     []string{"on {node}: bridge -d link show (isolated on); bridge link set dev VETH isolated off", "the CNI's bridge plugin sets it: portIsolation in its configuration; then recreate the pods"}},
		{Code: "cni-pod-eth-down", Component: c, Title: "a pod is unreachable: its own interface is down", Shown: "lab",
			Meaning: "The interface inside the pod's namespace is down.", Evidence: "Link state in the pod's namespace.",
			Remedy: []string{"kubectl -n {pod.ns} delete pod {pod}", "find what took it down: an init container, a VPN client, or the CNI"}},
		{Code: "cni-pod-no-default-route", Component: c, Title: "a pod cannot answer, or cannot send: no route", Shown: "lab",
			Meaning:    "The pod has no route to the other side. As a target it takes requests and cannot answer; as a client its connect fails before a packet exists.",
			Evidence:   "The request seen arriving in the pod, no answer, no drop; the pod's FIB has no route, its OutNoRoutes counter rises.",
			LookAlikes: []string{"app-hang: a SYN-ACK is sent", "app-listen-overflow: ListenOverflows rises, and the route is there", "pol-ingress-deny: there is a drop"},
			Remedy:     []string{"look at the routes in the pod: kubectl -n {pod.ns} exec {pod} -- ip route", "kubectl -n {pod.ns} delete pod {pod}, so that the CNI sets its routes again", "if it happens again: look for an init container, Multus network or VPN that changes routes"}},
		{Code: "cni-gateway-arp", Component: c, Title: "a pod gets no answer for its gateway's address", Shown: "lab",
			Meaning:    "The pod asks for its gateway's MAC address, its link is up, and the node does not answer.",
			Evidence:   "NEIGH_FAILED in the pod's namespace, veth up on both ends.",
			LookAlikes: []string{"cni-veth-down: the link is down"},
			Remedy:     []string{"on {node}: check the bridge's address (ip addr), or proxy_arp on the pod's veth for CNIs that use 169.254.1.1", restart}},
		{Code: "cni-antispoof", Component: c, Title: "traffic with an address that is not the pod's dies at the node", Shown: "lab",
			Meaning:    "The node drops packets that enter by a pod's veth with a source that the pod does not have: a VPN or a second network inside of the pod, or a floating address.",
			Evidence:   "The drop before routing, and the addresses of the pod behind that veth.",
			LookAlikes: []string{"pol-egress-deny: the source is the pod's own address"},
			Remedy:     []string{"translate the source to the pod's address inside of the pod, or let the CNI allow it (Calico: allowedSourcePrefixes)"}},
		{Code: "cni-stale-neigh", Component: c, Title: "packets go to a wrong MAC address", Shown: "lab",
			Meaning:  "The node's neighbour entry for the pod is wrong, or the pod does not answer address resolution although its link is up.",
			Evidence: "OTHERHOST or NEIGH_FAILED on the pod's side of the node.",
			Remedy:   []string{"on {node}: ip neigh show {target.ip}; then ip neigh del {target.ip} dev {dev}", "check for two pods with one address: kubectl get pods -A -o wide | grep {target.ip}"}},
		{Code: "cni-duplicate-ip", Component: c, Title: "now and then the wrong application answers", Shown: "lab",
			Meaning:    "Two pods of this node have the same address, and packets reach one or the other.",
			Evidence:   "Two namespaces that own the address, and a refusal from one that is not the target.",
			LookAlikes: []string{"app-no-listener: the right pod refuses", "cni-stale-neigh: one pod has the address, and its neighbour entry is wrong"},
			Remedy:     []string{"find both: kubectl get pods -A -o wide | grep {target.ip}; delete the newer one", "clean up the CNI's address management on {node}: leaked or reused allocations"}},
		{Code: "cni-host-route-missing", Component: c, Title: "the node has no way to its own pod", Shown: "lab",
			Meaning:  "The cluster says that the pod runs on this node, but no device here carries its address, or no route leads to it: the route is gone, or another one (of an earlier pod with this address) leads elsewhere.",
			Evidence: "NEIGH_FAILED for the pod's address, and no namespace of the node owns it, or the FIB look-up names another device than the pod's.",
			Remedy:   []string{"on {node}: ip route get {target.ip}; a route to it that names another device is left over: ip route del", "kubectl -n {dst.ns} delete pod {dst.pod}", restart}},
		{Code: "cni-route-none", Component: c, Title: "\"Network is unreachable\" at once for other pods", Shown: "lab",
			Meaning:    "The node has no route to the pod range, and no default route either.",
			Evidence:   "IP_INNOROUTES, the FIB look-up says so.",
			LookAlikes: []string{"egr-no-default-route: the destination is outside the cluster", "cni-route-missing: there is a default route, and packets leave by it"},
			Remedy:     []string{"on {node}: ip route get {target.ip}", restart}},
		{Code: "cni-route-missing", Component: c, Title: "pods of another node time out from this one", Shown: "lab",
			Meaning:    "The node has no route to the other node's pod range, so packets leave by the default route without encapsulation.",
			Evidence:   "Pod-to-pod addresses at the uplink, the FIB answers with the default route.",
			LookAlikes: []string{"ext-src-dst-check: direct routing with the right route", "cni-overlay-fdb-missing: dies in the tunnel device"},
			Remedy:     []string{"flannel: check the lease (logs, /run/flannel/subnet.env); Calico: calicoctl node status", restart}},
		{Code: "cni-route-blackhole", Component: c, Title: "a whole pod range is unreachable from this node", Shown: "lab",
			Meaning:    "The best route to the destination is a blackhole, unreachable or prohibit route.",
			Evidence:   "The drop in ip_error or its IPv6 kin, and the FIB's answer.",
			LookAlikes: []string{"a NetworkPolicy: netfilter drops elsewhere", "cni-route-none: no route at all"},
			Remedy:     []string{"on {node}: ip route show type blackhole; ip rule", "Calico keeps a blackhole for its own blocks: the /32 of the pod, or the block's route to the other node, is missing: " + restart, "if someone added it by hand: ip route del blackhole PREFIX"}},
		{Code: "cni-hairpin-off", Component: c, Title: "a pod cannot reach itself through its own Service", Shown: "lab",
			Meaning:    "The bridge does not send a frame back by the port it came from.",
			Evidence:   "The drop in br_handle_frame_finish with source and target the same pod.",
			LookAlikes: []string{"svc-hairpin-nomasq: the packet comes back, with the pod's own address as source"},
			Remedy:     []string{"set hairpinMode: true in the bridge plugin's CNI configuration and recreate the pod", "on {node}: bridge -d link show dev {dev}"}},
		{Code: "cni-hostport-stale", Component: c, Title: "a hostPort leads to a pod that is gone", Shown: "lab",
			Meaning:    "The node maps one of its own ports, which is no Service's, to an address of its pod range that no pod has: the port mapping of a pod that is gone was left behind, and comes before that of the present one.",
			Evidence:   "The translation of a port of the node to an address that no pod has, and the failed address resolution.",
			LookAlikes: []string{"svc-stale-endpoint: the port is a Service's", "cni-hostport-missing: there is no mapping at all", "app-no-listener: the mapping leads to a pod"},
			Remedy:     []string{"on {node}: iptables -t nat -S | grep -E 'CNI-(DN|HOSTPORT)'; nft list table inet cni_hostport: which rules name {target.ip}?", "conntrack -D -p udp --dport {dst.port} on {node}, if only some UDP clients fail", "delete that rule, or recreate the pod that has the hostPort; if it comes back, upgrade the portmap plugin"}},
		{Code: "cni-hostport-missing", Component: c, Title: "a hostPort leads nowhere: the node itself answers for it", Shown: "lab",
			Meaning:    "A pod of the node has a hostPort, and the rule that sends this port of the node to the pod is not there: the portmap plugin is not in the CNI's configuration, has no portMappings capability, or something flushed its rules. The node takes the packets for its own and refuses or drops them.",
			Evidence:   "The pod's hostPort, packets for it that reach the node's own sockets or input rules untranslated, and NAT rules of which none takes them. Only the pod's own node shows that: from another one the refusal looks like the pod's.",
			LookAlikes: []string{"cni-hostport-stale: the port is mapped, to an address that is gone", "app-no-listener: the refusal comes from the pod, or no pod has this hostPort", "svc-kubeproxy-no-rules: the port is a Service's NodePort", "a hostPort bound to another address (hostIP) is refused by design"},
			Remedy:     []string{"on {node}: iptables -t nat -S | grep -E 'CNI-(DN|HOSTPORT)'; nft list table inet cni_hostport: is there anything for port {dst.port}?", "on {node}: grep -A3 portmap /etc/cni/net.d/*.conflist: is the plugin there, with capabilities portMappings true?", "recreate the pod, which writes its mapping again: kubectl -n {pod.ns} delete pod {pod}", "if a firewall's reload took the rules away (firewalld, nft flush ruleset), every hostPort of the node is gone: keep it from flushing what is not its own"}},
		{Code: "cni-mtu-pod-too-big", Component: c, Title: "large packets are dropped, small ones pass", Shown: "lab",
			Meaning:    "The pod sends packets that are larger than a later link and must not be fragmented. It is told so (ICMP), but goes on.",
			Evidence:   "PKT_TOO_BIG again and again, and the ICMP message arriving at the sender.",
			LookAlikes: []string{"cni-mtu-blackhole: the ICMP message does not arrive", "a first drop followed by smaller packets is path MTU discovery at work, and no fault"},
			Remedy:     []string{"set the CNI's MTU to the smallest link's, less the overhead of encapsulation (VXLAN 50, WireGuard 60 to 80 bytes), and recreate the pods", "applications that set DF on UDP must handle EMSGSIZE"}},
		{Code: "cni-mtu-blackhole", Component: c, Title: "connects, then large transfers hang", Shown: "lab",
			Meaning:    "Packets larger than a later link are dropped and the ICMP message that says so does not reach the sender.",
			Evidence:   "PKT_TOO_BIG again and again, no ICMP at the sender, or the ICMP message itself dropped.",
			LookAlikes: []string{"app-hang: no large packets are dropped"},
			Remedy:     []string{"allow ICMP type 3 code 4 (IPv6: type 2) on {node} and in host firewalls", "set the CNI's MTU to fit, or clamp the MSS"}},
		{Code: "cni-overlay-fdb-missing", Component: c, Title: "one other node's pods time out", Shown: "lab", Meaning: "The VXLAN device has no forwarding entry for the other node.", Evidence: "NO_TX_TARGET in vxlan_xmit.",
			LookAlikes: []string{"beyond-node: the outer packet is seen leaving"}, Remedy: []string{"on {node}: bridge fdb show dev {dev}", restart}},
		{Code: "cni-overlay-fdb-wrong-node", Component: c, Title: "one other node's pods time out, after its address changed", Shown: "lab",
			Meaning:    "The tunnel's entry for the other node names an address that is not that node's.",
			Evidence:   "The tunnel's packets: to another node's address, or to one that nobody answers for on the wire; the Node's addresses.",
			LookAlikes: []string{"node-down: the address is the node's, and it does not answer", "beyond-node: the address is the node's, and nothing comes back"},
			Remedy:     []string{"on {node}: bridge fdb show; compare with kubectl get nodes -o wide", "if the CNI chose a wrong interface: flannel --iface, Calico IP_AUTODETECTION_METHOD", restart}},
		{Code: "cni-overlay-neigh-missing", Component: c, Title: "one other node's pods: \"No route to host\" after 3 s", Shown: "lab", Meaning: "The node has no neighbour entry for the other node's tunnel end.", Evidence: "NEIGH_FAILED on the tunnel device.",
			Remedy: []string{"on {node}: ip neigh show dev {dev}", restart}},
		{Code: "cni-overlay-vni-mismatch", Component: c, Title: "tunnel packets with an unknown VNI", Shown: "lab", Meaning: "The node receives VXLAN packets with a VNI that it has no device for.", Evidence: "VXLAN_VNI_NOT_FOUND.",
			Remedy: []string{"compare ip -d link show type vxlan on both nodes; two clusters or CNIs must not share a port"}},
		{Code: "cni-overlay-stale-vtep-mac", Component: c, Title: "works one way only, often after a reboot", Shown: "lab", Meaning: "Tunnel packets carry the MAC address of an earlier incarnation of this node's tunnel device.", Evidence: "OTHERHOST on the tunnel device.",
			Remedy: []string{"restart the CNI on {node} (it publishes its address), then on the sending nodes: kubectl -n {cni.ns} rollout restart ds/{cni.ds} does it on all", "set MACAddressPolicy=none for tunnel devices (systemd-networkd)"}},
	}
}

// withProxy says how pods are told of a proxy.
func withProxy() string {
	return "where only a proxy leads outside: set HTTP_PROXY, HTTPS_PROXY and NO_PROXY in the containers' env, and in NO_PROXY the pod range, the Service range, .svc and .cluster.local, which the proxy cannot reach"
}

// allowAll is a policy to test whether a policy is the cause.
func allowAll(direction string) string {
	d := strings.ToLower(direction)
	return "to test whether it is a policy: allow all " + d + " in {policy.ns} for a moment, and delete that again (kubectl -n {policy.ns} delete networkpolicy allow-all-" + d + "):\n" +
		"kubectl apply -f - <<EOF\n" +
		"apiVersion: networking.k8s.io/v1\n" +
		"kind: NetworkPolicy\n" +
		"metadata:\n" +
		"  name: allow-all-" + d + "\n" +
		"  namespace: {policy.ns}\n" +
		"spec:\n" +
		"  podSelector: {}\n" +
		"  policyTypes: [" + direction + "]\n" +
		"  " + d + ": [{}]\n" +
		"EOF"
}

func policyEntries() []Entry {
	c := tracer.ComponentPolicy
	allow := "add a rule that allows it to {policy.ns}/{policy}, or a new NetworkPolicy in {policy.ns} (policies add up)"
	return []Entry{
		{Code: "pol-ingress-deny", Component: c, Title: "a NetworkPolicy does not let this client in", Shown: "lab",
			Meaning:    "A policy selects the target pod for ingress and none allows this source on this port.",
			Evidence:   "The drop, and the evaluation of the cluster's policies; for Calico's own kinds the name in the rule that dropped.",
			LookAlikes: []string{"node-forward-drop: no policy denies the flow", "pol-egress-deny: the client's own policy", "app-listen-overflow: no drop"},
			Remedy:     []string{"kubectl -n {policy.ns} describe networkpolicy {policy}", allow, allowAll("Ingress")}},
		{Code: "pol-egress-deny", Component: c, Title: "a NetworkPolicy does not let this pod out", Shown: "lab",
			Meaning:    "A policy selects the client pod for egress and none allows this destination on this port.",
			Evidence:   "The drop on the client's node, and the evaluation of the cluster's policies.",
			LookAlikes: []string{"beyond-node: no drop on the node", "pol-ingress-deny: the target's policy"},
			Remedy:     []string{"kubectl -n {policy.ns} describe networkpolicy {policy}", allow, allowAll("Egress")}},
		{Code: "pol-dns-egress", Component: c, Title: "names do not resolve since a default-deny egress policy", Shown: "lab",
			Meaning:    "A policy selects the client pod for egress and none allows DNS.",
			Evidence:   "Queries to port 53 dropped on the client's node, and the evaluation of the policies.",
			LookAlikes: []string{"svc-no-endpoints: CoreDNS has no ready pod", "beyond-node: the query left"},
			Remedy: []string{"allow DNS, UDP and TCP, for every pod of the namespace:\n" +
				"kubectl apply -f - <<EOF\n" +
				"apiVersion: networking.k8s.io/v1\n" +
				"kind: NetworkPolicy\n" +
				"metadata: {name: allow-dns, namespace: {policy.ns}}\n" +
				"spec:\n" +
				"  podSelector: {}\n" +
				"  policyTypes: [Egress]\n" +
				"  egress:\n" +
				"  - to:\n" +
				"    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {dns.ns}}}\n" +
				"      podSelector: {matchLabels: {{dns.labels}}}\n" +
				"    ports: [{protocol: UDP, port: {dns.port}}, {protocol: TCP, port: {dns.port}}]\n" +
				"EOF",
				"where the DNS server has no address of its own (hostNetwork, NodeLocal DNSCache), no podSelector matches it: allow its address by ipBlock"}},
		{Code: "pol-wrong-port", Component: c, Title: "a NetworkPolicy allows the Service's port, not the pod's", Shown: "lab",
			Meaning:    "Policies judge the packet after translation: the rule lists the Service port, the packet carries the targetPort.",
			Evidence:   "The drop, and a rule that would allow the flow on the port before translation.",
			LookAlikes: []string{"svc-wrong-targetport: an RST, no drop"},
			Remedy:     []string{"in {policy.ns}/{policy}, allow port {target.port} (the container's port) instead of {dst.port}"}},
		{Code: "pol-reject-mode", Component: c, Title: "\"connection refused\" by a policy", Shown: "lab",
			Meaning:    "A NetworkPolicy does not allow the flow, and the agent that enforces it answers with a refusal, so that it looks like the application's.",
			Evidence:   "The drop by a rule that rejects, the ICMP message from the node, and the policies that deny.",
			LookAlikes: []string{"app-no-listener: an RST from the pod itself", "svc-no-endpoints: the Service's address is rejected before translation", "node-firewall-reject: no policy denies it"},
			Remedy:     []string{"allow the flow: kubectl -n {policy.ns} edit networkpolicy {policy}", "kubectl -n {policy.ns} describe networkpolicy {policy}"}},
		{Code: "pol-nodelocal-dns", Component: c, Title: "names do not resolve with a node-local DNS cache and policies", Shown: "lab",
			Meaning:    "Lookups go to the node-local cache's own address, which no pod has: an egress rule that selects the DNS pods does not cover it.",
			Evidence:   "The drop of a query to a link-local address, and the policy that selects the pod.",
			LookAlikes: []string{"pol-dns-egress: the cluster's DNS Service is asked", "dns-nodelocal-broken: the query arrives and is refused"},
			Remedy:     []string{"allow it in {policy.ns}/{policy}: an egress rule to ipBlock {dst.ip}/32, port 53, UDP and TCP, beside the one for the DNS pods"}},
		{Code: "pol-selector-mismatch", Component: c, Title: "a NetworkPolicy means this client, and misses it", Shown: "lab",
			Meaning:    "The rule that comes closest selects nobody in the cluster, and would select this end but for one mistake: a label that is spelt otherwise, a namespace without the label that is asked for, or a podSelector without namespaceSelector, which means the policy's own namespace.",
			Evidence:   "The drop, the evaluation of the policies, and that no pod matches the rule's selectors.",
			LookAlikes: []string{"pol-ingress-deny, pol-egress-deny: the rule selects others, so that it is not a mistake"},
			Remedy:     []string{"correct the selector in {policy.ns}/{policy}, or the labels", "kubectl get pods -A --show-labels; kubectl get namespaces --show-labels"}},
		{Code: "pol-one-side-only", Component: c, Title: "one end's policies allow it, the other's do not", Shown: "lab",
			Meaning:    "A connection needs both: the client's policies must let it out, and the target's must let it in. A policy at one end allows exactly this, and those at the other end do not.",
			Evidence:   "The drop, and the evaluation of the policies of both ends.",
			LookAlikes: []string{"pol-ingress-deny, pol-egress-deny: nothing at the other end says anything about it"},
			Remedy:     []string{"add a rule that allows it to {policy.ns}/{policy} too, or a new NetworkPolicy in {policy.ns}", "kubectl -n {policy.ns} describe networkpolicy {policy}"}},
		{Code: "pol-clusterip-pre-dnat", Component: c, Title: "the policy allows the pods, and the Service's address is denied", Shown: "lab",
			Meaning:    "The agent judged the packet before the Service's address was translated. The policy allows every pod behind the Service, and the Service's own address is no pod.",
			Evidence:   "The drop of a packet that still has the Service's address, and the evaluation of the policies for it and for each endpoint.",
			LookAlikes: []string{"pol-egress-deny: the pods behind the Service are denied too", "svc-kubeproxy-no-rules: nothing translates the address"},
			Remedy:     []string{"AWS network policy agent: the Service's selector and ports must be those of the pods (a port like the targetPort); look at kubectl get policyendpoints -A", "allow the Service range by ipBlock in {policy.ns}/{policy}"}},
		{Code: "pol-named-port", Component: c, Title: "a NetworkPolicy names a port that the pod does not have", Shown: "lab",
			Meaning: "The rule's named port does not resolve on the target pod.", Evidence: "The drop, and the pod's declared ports.",
			Remedy: []string{"name the port in the pod's containers[].ports, or use its number in {policy.ns}/{policy}"}},
		{Code: "pol-ipblock-after-snat", Component: c, Title: "an allowed client address is still denied", Shown: "lab",
			Meaning: "The policy allows the client's address, but the packet carries a node's address when the policy sees it.", Evidence: "SNAT before the drop, an ipBlock rule that does not hold the translated address.",
			Remedy: []string{"set externalTrafficPolicy: Local on the Service, or allow the nodes' addresses in {policy.ns}/{policy}"}},
		{Code: "pol-probe-or-host-source", Component: c, Title: "traffic from a node is denied", Shown: "lab",
			Meaning: "The source is a node (kubelet, hostNetwork pod); pod selectors never match it.", Evidence: "The source is a node address, the drop, and the policies' denial.",
			Remedy: []string{"allow the nodes' addresses by ipBlock in {policy.ns}/{policy}"}},
		{Code: "pol-agent-stale", Component: c, Title: "the policy agent drops what no NetworkPolicy denies", Shown: "lab",
			Meaning:    "A rule or program of the policy agent drops what no policy denies. Calico's rules name the policies that they are for: one that is gone, one that is missing, or a pod that they do not know proves that the agent's state is out of date. Where the rules say nothing it is a guess: a policy of a kind that podpath does not evaluate can deny it as well.",
			Evidence:   "The drop, its rule's owner and what the rule says about itself, and policies that do not deny.",
			LookAlikes: []string{"pol-ingress-deny, pol-egress-deny: the rule names a policy of the agent's own kind that is still there", "pol-cni-policy: a policy of the CNI's own kind selects the pod", "pol-cluster-deny: a cluster-wide policy denies the flow"},
			Remedy:     []string{"look whether the agent runs on {node}, and what it logs", "check policies of kinds that podpath could not read: kubectl api-resources | grep -i polic", "restart the policy agent's pod on {node}"}},
		{Code: "pol-startup-race", Component: c, Title: "the first seconds of a new pod are lost", Shown: "lab",
			Meaning:    "The policy agent drops what no policy denies, at a pod that was created less than 30 s ago: the pod runs before the agent has set up its policies, and until then it denies all (strict modes), or the answers to what the pod has begun already.",
			Evidence:   "The drop by an agent's rule or program, policies that do not deny, and when the pod was created.",
			LookAlikes: []string{"pol-agent-stale: the pod is not new", "pol-ingress-deny, pol-egress-deny: a policy denies the flow, now and later"},
			Remedy:     []string{"have the application try again, or wait in an init container until the first connection works", "AWS: NETWORK_POLICY_ENFORCING_MODE standard lets new pods through until their policies are there, strict denies", "if it lasts: look whether the agent runs on {node}, what it logs, and whether it reaches the API server"}},
		{Code: "pol-host-firewall", Component: c, Title: "a policy for the node itself drops the packets", Shown: "lab",
			Meaning:    "The policy agent protects the node itself (Calico: a HostEndpoint), and no policy there lets the packet in or out.",
			Evidence:   "The drop, and its rule in the agent's chains for the node.",
			LookAlikes: []string{"pol-ingress-deny, pol-egress-deny: a policy for the pod", "node-input-blocked: a rule that is no policy agent's"},
			Remedy:     []string{"Calico: kubectl get hostendpoints.crd.projectcalico.org,globalnetworkpolicies.crd.projectcalico.org", "add a policy that allows it for the node"}},
		{Code: "pol-cluster-deny", Component: c, Title: "a cluster-wide policy denies it", Shown: "lab",
			Meaning:    "A rule of an AdminNetworkPolicy, ClusterNetworkPolicy or BaselineAdminNetworkPolicy denies the flow. Those of the admin tier are asked before any NetworkPolicy, and none can overrule them; those of the baseline tier are asked where no NetworkPolicy selects the pod.",
			Evidence:   "The drop, and the evaluation of the cluster's policies in the order of tiers and priorities.",
			LookAlikes: []string{"pol-ingress-deny, pol-egress-deny: a NetworkPolicy of the namespace denies it", "pol-cni-policy: a policy of the CNI's own kind"},
			Remedy: []string{"kubectl describe {policy.kind} {policy}", "admin tier: let those who run the cluster add a rule that passes or allows the flow, before that one or in a policy with a lower priority number",
				"baseline tier: a NetworkPolicy that selects the pod and allows the flow overrules it"}},
		{Code: "pol-cni-policy", Component: c, Title: "a policy of the CNI's own kind is likely to deny it", Shown: "lab",
			Meaning:    "The CNI's agent dropped what no NetworkPolicy and no cluster-wide policy denies, and a policy of the CNI's own kind (Calico's NetworkPolicy or GlobalNetworkPolicy, Cilium's) selects the pod. podpath does not evaluate these: likely, not proven.",
			Evidence:   "The drop by a rule or program of that CNI, the evaluation of the other policies, and the selector of the named policy.",
			LookAlikes: []string{"pol-agent-stale: no such policy selects the pod", "pol-ingress-deny, pol-egress-deny: a NetworkPolicy denies the flow"},
			Remedy:     []string{"kubectl -n {policy.ns} get {policy.kind} {policy} -o yaml: is there a rule that allows the flow, in order before one that denies it?", "restart the policy agent's pod on {node}, if the policy allows it"}},
		{Code: "pol-nfqueue-down", Component: c, Title: "everything behind the policy agent is lost", Shown: "lab",
			Meaning: "Packets are queued to a user-space policy agent that does not run.", Evidence: "The drop in nf_queue.", Remedy: []string{"restart the network policy agent (kindnet, kube-network-policies) on {node}"}},
		{Code: "pol-foreign-bpf", Component: tracer.ComponentNode, Title: "a BPF program or a tc filter on the way drops the packets", Shown: "lab",
			Meaning:    "A tc or cgroup program that belongs to no known CNI or policy agent drops the packets, or a tc filter that is no program (u32, flower, matchall) does: its action is to drop, or to redirect to a device that is down. No NetworkPolicy is to blame.",
			Evidence:   "TC_INGRESS, TC_EGRESS or BPF_CGROUP drop, and the programs attached at that device; of filters, the counter of what they dropped, which moved over the trace.",
			LookAlikes: []string{"TC_INGRESS on a pod's veth is the pod's egress: a CNI's program may enforce an egress policy there", "cni-bandwidth-shaper: the filter's action is a policer"},
			Remedy:     []string{"on {node}: bpftool net show dev {dev}; bpftool prog show; tc -s filter show dev {dev} ingress (and egress)", "find who loaded it (bpftool prog show, pids), and detach it", "a filter: tc filter del dev {dev} with the side, pref, kind and handle of the rule above; with a redirect, ip link set up the device that it leads to"}},
		{Code: "pol-xdp-drop", Component: tracer.ComponentNode, Title: "an XDP program drops the packets", Shown: "lab",
			Meaning: "An XDP program drops the packets before the network stack sees them.", Evidence: "The drop in do_xdp_generic or veth_xdp_rcv_skb, and the attached program.",
			Remedy: []string{"on {node}: ip -d link show dev {dev}; bpftool net", "ip link set dev {dev} xdp off, if it should not be there"}},
	}
}

func serviceEntries() []Entry {
	k, s := tracer.ComponentKubeProxy, tracer.ComponentService
	return []Entry{
		{Code: "svc-kubeproxy-no-rules", Component: k, Title: "ClusterIP does not work from this node, pod IPs do", Shown: "lab",
			Meaning:    "The node has no translation for the Service: kube-proxy is not running, has not programmed it, or its rules were flushed.",
			Evidence:   "The packet keeps the ClusterIP (leaves the node, or finds no route), endpoints exist, no rule names the Service.",
			LookAlikes: []string{"svc-wrong-service-port: the Service has other ports", "svc-no-endpoints: rejected", "socket load-balancing (Cilium): the pod sends to the endpoint directly"},
			Remedy:     []string{"kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide --field-selector spec.nodeName={node}", "restart it: kubectl -n kube-system delete pod -l k8s-app=kube-proxy --field-selector spec.nodeName={node}", "look for a firewall reload that flushed the rules: iptables -t nat -L KUBE-SERVICES, nft list table ip kube-proxy"}},
		{Code: "svc-stale-endpoint", Component: k, Title: "a share of connections to a Service fails", Shown: "lab",
			Meaning:    "The node translates the Service to an address that is no endpoint any more, to a port that the endpoint does not have any more, or to an endpoint that ought not to get it: not ready while others are, or on another node although the traffic policy is Local.",
			Evidence:   "The DNAT seen in conntrack, the EndpointSlices, and the node's rules, which still name that address.",
			LookAlikes: []string{"svc-stale-affinity: session affinity keeps a client with that endpoint", "svc-stale-udp-conntrack: the rules are right, an old entry is not", "cni-host-route-missing: the pod exists", "svc-terminating-endpoint: the pod is just being deleted"},
			Remedy:     []string{"kubectl -n {svc.ns} get endpointslices -l kubernetes.io/service-name={svc}", "does kube-proxy on {node} still sync? kubectl -n kube-system get pods -l k8s-app=kube-proxy --field-selector spec.nodeName={node}, then kubectl -n kube-system logs of that pod", "restart kube-proxy on {node}: kubectl -n kube-system delete pod -l k8s-app=kube-proxy --field-selector spec.nodeName={node}"}},
		{Code: "svc-stale-affinity", Component: k, Title: "a Service fails for some clients always, and never for others", Shown: "lab",
			Meaning:    "The node's rules still name an endpoint that is gone, and session affinity (ClientIP) keeps this client with it. Trying again does not help: each connection renews the affinity.",
			Evidence:   "The translation to an address in no EndpointSlice, rules that keep clients with their endpoint for a time, and ready endpoints in the same rules. Of kube-proxy's nftables mode the list of clients is read as well; in iptables mode (xt_recent) that the client is on it follows from its own connection.",
			LookAlikes: []string{"svc-stale-endpoint: no affinity, a share of every client's connections fails", "svc-terminating-endpoint: IPVS keeps a client with a destination of weight 0", "an endpoint that is listed and does not answer: the fault is the endpoint's, and the evidence says that affinity keeps the client there"},
			Remedy:     []string{"kubectl -n {svc.ns} get endpointslices -l kubernetes.io/service-name={svc}", "restart kube-proxy on {node}, which does not sync: kubectl -n kube-system delete pod -l k8s-app=kube-proxy --field-selector spec.nodeName={node}", "if clients need not stay with an endpoint, or not for so long: kubectl -n {svc.ns} edit service {svc} (spec.sessionAffinity, spec.sessionAffinityConfig.clientIP.timeoutSeconds)"}},
		{Code: "svc-mixed-backends", Component: k, Title: "a Service goes to dead pods although kube-proxy is up to date", Shown: "lab",
			Meaning:    "Rules of two of kube-proxy's modes are on the node: those of an earlier mode were left over, are stale, and translate first.",
			Evidence:   "The translation to an address in no EndpointSlice, and Service rules of more than one kind.",
			LookAlikes: []string{"svc-stale-endpoint: one kind of rules, out of date"},
			Remedy:     []string{"on {node}: kube-proxy --cleanup, then restart kube-proxy (a reboot does the same)", "iptables-save | grep -c KUBE-; iptables-legacy-save | grep -c KUBE-; nft list table ip kube-proxy"}},
		{Code: "svc-stale-udp-conntrack", Component: k, Title: "a UDP client keeps talking to a dead pod", Shown: "lab",
			Meaning:    "An old conntrack entry pins the client's socket to an endpoint that is gone; the rules are right.",
			Evidence:   "The translation seen, rules that name other endpoints, and conntrack's entry for the flow.",
			LookAlikes: []string{"svc-stale-endpoint: the rules still name the endpoint, or named it when the flow began (its entry is no older)", "svc-udp-ct-before-rules: the entry has no translation", "svc-terminating-endpoint: the endpoint is still listed, and ends"},
			Remedy:     []string{"on {node}: conntrack -D -p udp --orig-src {src.ip} --orig-dst {dst.ip}", "restart the client's socket; upgrade kube-proxy"}},
		{Code: "svc-nodeport-masq-missing", Component: k, Title: "a NodePort works only on the nodes that have a pod of it", Shown: "lab",
			Meaning:    "What comes from outside by a NodePort or a load balancer, for a pod of another node, is passed on with the client's own address. The pod answers the client directly, which has asked somebody else and resets that.",
			Evidence:   "The translation to another node's pod, the client's address as source at the uplink, nothing that comes back, and externalTrafficPolicy Cluster, with which kube-proxy has to masquerade.",
			LookAlikes: []string{"beyond-node: the source is the node's own address", "externalTrafficPolicy Local and proxies that answer directly (Cilium's DSR) keep the client's address on purpose"},
			Remedy:     []string{"on {node}: iptables -t nat -S KUBE-POSTROUTING; nft list chain ip kube-proxy masquerading: is there a rule for mark 0x4000, and does something clear that mark?", "restart kube-proxy on {node}: kubectl -n kube-system delete pod -l k8s-app=kube-proxy --field-selector spec.nodeName={node}", "trace on the pod's node as well: the answer leaves there with the pod's address"}},
		{Code: "svc-udp-ct-before-rules", Component: k, Title: "a UDP client that started early never reaches the Service", Shown: "lab",
			Meaning:    "The client's conntrack entry was made before the Service had rules. It has no translation, and lives as long as the client keeps sending.",
			Evidence:   "Untranslated packets with a conntrack entry, while the node's rules do translate the Service.",
			LookAlikes: []string{"svc-kubeproxy-no-rules: there are no rules", "svc-stale-udp-conntrack: the entry translates to an old endpoint"},
			Remedy:     []string{"on {node}: conntrack -D -p udp --orig-src {src.ip} --orig-dst {dst.ip}", "restart the client's socket; upgrade kube-proxy"}},
		{Code: "svc-conntrack-invalid-rst", Component: k, Title: "connections are reset now and then", Shown: "lab",
			Meaning:    "An answer was not translated back and reached the client with the endpoint's address; the client reset it.",
			Evidence:   "The untranslated answer at the client, the invalid counter.",
			LookAlikes: []string{"node-bridge-nf-off: every connection between pods of one node"},
			Remedy:     []string{"on {node}: sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1, or upgrade kube-proxy (it drops INVALID packets)"}},
		{Code: "svc-conntrack-race", Component: k, Title: "lookups now and then take 5 s", Shown: "unit",
			Meaning:    "Two datagrams of one socket, sent at once, raced for one conntrack entry on their way through a Service's translation; one was dropped, and sent again by the client's timer.",
			Evidence:   "A lookup that was answered only when sent again, and insert_failed rising meanwhile.",
			LookAlikes: []string{"dns-slow: nothing failed to be inserted", "egr-snat-port-exhausted: packets of one destination outside die, every time"},
			Remedy:     []string{"a cache on each node (NodeLocal DNSCache), or options single-request-reopen in the pod's dnsConfig", "newer kernels (5.0 and later) resolve most of these races"}},
		{Code: "svc-hairpin-nomasq", Component: k, Title: "a pod cannot reach itself through its own Service", Shown: "lab",
			Meaning: "The connection came back to the pod with its own address as source: it was not masqueraded.", Evidence: "IP_LOCAL_SOURCE in the pod.", LookAlikes: []string{"cni-hairpin-off: the bridge does not send it back"},
			Remedy: []string{"check kube-proxy's --cluster-cidr and detect-local mode on {node}"}},
		{Code: "svc-invalid-drop-asymmetric", Component: k, Title: "mid-stream packets are dropped as INVALID", Shown: "lab",
			Meaning:    "kube-proxy's INVALID rule dropped a packet of a connection whose beginning, or whose other direction, this node never saw: it takes another way.",
			Evidence:   "The drop by kube-proxy's rule, of a packet that opens nothing, and no beginning of its connection here; or an acknowledgement, and nothing that it could be for.",
			LookAlikes: []string{"svc-invalid-drop-window: both directions pass here, from the beginning on", "node-conntrack-full: the entry could not be kept"},
			Remedy:     []string{"look for asymmetric routing: does the other direction pass another node? net.netfilter.nf_conntrack_tcp_be_liberal=1 avoids the drop"}},
		{Code: "svc-invalid-drop-window", Component: k, Title: "connects, then packets are dropped as INVALID", Shown: "lab",
			Meaning:    "kube-proxy's INVALID rule dropped packets of a connection that began here: conntrack finds that they do not fit to it, as segments outside of the window.",
			Evidence:   "The beginning of the connection, and the drop of a later packet by kube-proxy's rule for INVALID.",
			LookAlikes: []string{"svc-invalid-drop-asymmetric: the beginning never passed here", "svc-conntrack-invalid-rst: the packets go on untranslated, and the client resets"},
			Remedy:     []string{"on {node}: sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1 lets them pass", "look for what changes sequence numbers on the way (a firewall, a NAT device, a mesh), or holds segments back for long"}},
		{Code: "svc-no-endpoints", Component: s, Title: "\"connection refused\" at once on a Service", Shown: "lab",
			Meaning:    "The Service has no ready endpoint, so the proxy rejects connections by design.",
			Evidence:   "EndpointSlices without a ready endpoint; the REJECT (netfilter drop and ICMP port unreachable).",
			LookAlikes: []string{"app-no-listener: an RST from the pod", "a policy agent that rejects: the endpoints are ready"},
			Remedy:     []string{"kubectl -n {svc.ns} describe service {svc}", "kubectl -n {svc.ns} get pods --show-labels: does the selector match, are the pods Ready?"}},
		{Code: "svc-no-local-endpoints", Component: s, Title: "a Service works from some nodes only", Shown: "lab",
			Meaning: "The Service's traffic policy is Local and this node has no endpoint.", Evidence: "The drop, and endpoints on other nodes only.",
			Remedy: []string{"run an endpoint on {node} (DaemonSet), use the load balancer's health check, or set the traffic policy to Cluster"}},
		{Code: "svc-wrong-service-port", Component: s, Title: "the Service has no such port", Shown: "lab",
			Meaning: "The client uses a port that the Service does not define.", Evidence: "The Service's ports, and the packet that is not translated.", Remedy: []string{"kubectl -n {svc.ns} get service {svc}: use one of its ports"}},
		{Code: "svc-clusterip-unallocated", Component: s, Title: "a Service address that no Service has", Shown: "lab",
			Meaning: "The client uses an address from the Service range that belongs to no Service: a stale variable, or a typing error.", Evidence: "The address, the Services.", Remedy: []string{"use the Service's DNS name; restart clients that keep *_SERVICE_HOST variables"}},
		{Code: "svc-lb-source-ranges", Component: s, Title: "a load balancer's address works for some clients only", Shown: "lab",
			Meaning:    "The Service's loadBalancerSourceRanges leave this client out, and the proxy drops it by design.",
			Evidence:   "The drop before translation, the client's address and the ranges.",
			LookAlikes: []string{"svc-no-local-endpoints: the ranges allow the client", "beyond-node: the cloud's load balancer filters before the node"},
			Remedy:     []string{"add the client's range: kubectl -n {svc.ns} edit service {svc} (spec.loadBalancerSourceRanges); behind a proxy or NAT it is that one's address"}},
		{Code: "svc-nodeport-localhost", Component: s, Title: "a NodePort does not work by 127.0.0.1", Shown: "lab",
			Meaning:    "The node asked for a NodePort by its loopback address. The kernel forwards nothing from there, and kube-proxy's nftables mode does not serve it.",
			Evidence:   "The drop after translation with a loopback source, and no rule that drops.",
			LookAlikes: []string{"node-forward-drop: a rule drops"},
			Remedy:     []string{"use the node's address: curl http://NODE-ADDRESS:{dst.port}", "in iptables mode only: sysctl -w net.ipv4.conf.all.route_localnet=1 on {node} (kube-proxy sets it for nodePortAddresses with loopback)"}},
		{Code: "svc-wrong-targetport", Component: s, Title: "\"connection refused\" through a Service only", Shown: "lab",
			Meaning:    "The Service sends to a port of the pod that it does not serve.",
			Evidence:   "The translation, the RST from the pod, and the pod's listening and declared ports; those of an injected proxy do not count.",
			LookAlikes: []string{"app-no-listener: the port is the right one, the process is not there; or the pod is not Ready, and declared ports are all that speaks for another", "svc-stale-endpoint: the Service has the right port, and the node's rules an old one"},
			Remedy:     []string{"set targetPort of Service {svc.ns}/{svc} to the port that the container serves: kubectl -n {svc.ns} edit service {svc}"}},
		{Code: "svc-terminating-endpoint", Component: s, Title: "errors during each rollout", Shown: "lab",
			Meaning:    "The connection was sent to a pod that is being deleted, or to one that is gone and that IPVS keeps for those who had it.",
			Evidence:   "The translation, the terminating endpoint or the destination of weight 0 in IPVS, and a failure at that pod, not on the way to it.",
			LookAlikes: []string{"pol-ingress-deny: a policy drops what goes to the pod, as to any other of the Service", "app-hang: the pod still counts as serving, and is silent"},
			Remedy:     []string{"add a preStop sleep of a few seconds and handle SIGTERM by finishing open requests"}},
	}
}

func egressEntries() []Entry {
	c := tracer.ComponentEgress
	return []Entry{
		{Code: "egr-masq-missing", Component: c, Title: "pods reach nothing outside, the node does", Shown: "lab",
			Meaning:    "Pod traffic leaves with the pod's own address, which nobody outside can answer.",
			Evidence:   "The pod's address as source at the uplink, an external destination, silence; no masquerade rule matches.",
			LookAlikes: []string{"beyond-node: the source is translated", "networks that route pod addresses (VPC CNIs, VPNs): there the far side is silent for another reason"},
			Remedy:     []string{"check the CNI's masquerade setting (flannel --ip-masq, Calico natOutgoing, ip-masq-agent, AWS AWS_VPC_K8S_CNI_EXTERNALSNAT), and restart it on {node}", "on {node}: iptables -t nat -S POSTROUTING; nft list ruleset", "if only some ranges fail: take them out of nonMasqueradeCIDRs (ip-masq-agent) or EXCLUDE_SNAT_CIDRS, or have their network route the pod range back"}},
		{Code: "egr-no-default-route", Component: c, Title: "\"Network is unreachable\" for everything outside", Shown: "lab",
			Meaning:    "The node has no usable default route.",
			Evidence:   "IP_INNOROUTES and the FIB's answer for an external destination.",
			LookAlikes: []string{"cni-route-none: the destination is a pod", "cni-pod-no-default-route: the pod has none"},
			Remedy:     []string{"on {node}: ip route; restore the default route (DHCP, systemd-networkd, cloud-init)"}},
		{Code: "egr-gateway-dead", Component: c, Title: "\"No route to host\" after 3 s for everything outside", Shown: "lab",
			Meaning:    "The node's gateway does not answer address resolution.",
			Evidence:   "NEIGH_FAILED on the uplink, the gateway's neighbour entry FAILED.",
			LookAlikes: []string{"node-down: the next hop is another node"},
			Remedy:     []string{"on {node}: ip neigh show; is the gateway's address right (ip route), does the network's router run?"}},
		{Code: codeNoWayOut, Component: c, Title: "nothing on the internet answers, private addresses do", Shown: "lab",
			Meaning: "What goes to the internet leaves the node as it should, by the right device and with an address that can be answered, and none of it is answered. " +
				"Behind the node's gateway there is no NAT or Internet gateway, no route to one, or a firewall that lets nothing out: which of them does not show, so that this is never confirmed.",
			Evidence: "Within a minute, at least three silent destinations in different networks, on at least two ports, and none that answered. " +
				"Private addresses behind the gateway answer, and the node itself asks in vain beside a pod, or a second client asks for other hosts (probable). " +
				"With one client, or if only the gateway itself is known to be there, or only web ports were tried, it is suspected.",
			LookAlikes: []string{"egr-gateway-dead: the gateway does not answer address resolution", "egr-masq-missing: the packets leave with the pod's own address",
				"beyond-node: other destinations answer, or fewer were tried, or all on one port, which a filter of that port explains", "a firewall that wants a proxy to be used: only 80 and 443 are silent", "a firewall that lets only some destinations through: those answer, if they are asked",
				"hosts that are gone (a list of peers, targets that are monitored): other clients, and the node itself, are answered"},
			Remedy: []string{
				"from {node} itself: nc -vz -w 3 {dst.ip} {dst.port}; if that works, look at what tells its connections from the pods', which leave as {left.ip} (security group of that interface, routing rules)",
				"the default route of the subnet of {left.ip}, beyond {gateway}, must lead to a NAT gateway, or to an Internet gateway if the node has a public address. " +
					"AWS: aws ec2 describe-instances --filters Name=network-interface.addresses.private-ip-address,Values={left.ip} --query 'Reservations[].Instances[].[SubnetId,SecurityGroups]', then aws ec2 describe-route-tables for that subnet",
				"allow egress in its security group, network ACL or firewall: from {left.ip} to 0.0.0.0/0 (::/0), at least {proto} {dst.port}",
				withProxy(),
				"for the cloud's own services (S3, ECR, DynamoDB, STS) a VPC endpoint needs no internet",
			}},
		{Code: "egr-snat-port-exhausted", Component: c, Title: "bursts to one destination fail", Shown: "lab",
			Meaning: "No free source port is left to translate to.", Evidence: "The drop after translation, insert_failed rises.", Remedy: []string{"keep connections alive, use more source addresses, masquerade with --random-fully"}},
		{Code: "egr-remote-refused", Component: tracer.ComponentExternal, Title: "the far side refuses", Shown: "lab",
			Meaning:    "The packets left the node, and the destination itself answered with a refusal.",
			Evidence:   "The RST or ICMP message arriving by the uplink.",
			LookAlikes: []string{"app-no-listener: the target is a pod here", "a firewall that forges an RST looks the same"},
			Remedy:     []string{"is {dst.ip} the right host, and {dst.port} the right port?", "from elsewhere: nc -vz {dst.ip} {dst.port}"}},
		{Code: "egr-remote-down", Component: tracer.ComponentExternal, Title: "\"No route to host\" after 3 s for one host", Shown: "lab",
			Meaning:    "The destination is on the node's own network, and does not answer address resolution: it is down, or the address is wrong.",
			Evidence:   "NEIGH_FAILED on the uplink, and a route without a gateway.",
			LookAlikes: []string{"egr-gateway-dead: the next hop is a gateway", "node-down: the destination is another node"},
			Remedy:     []string{"is {dst.ip} the right address, and does that host run? on {node}: ip neigh show {dst.ip}"}},
		{Code: "egr-firewall-reject", Component: tracer.ComponentExternal, Title: "a firewall outside rejects", Shown: "lab",
			Meaning: "A router beyond this node answered \"administratively prohibited\".", Evidence: "The ICMP message and its sender.",
			LookAlikes: []string{"beyond-node: the answer comes from the address of a pod, and so from its node"}, Remedy: []string{"ask whoever runs that firewall to allow {dst.ip} {dst.port}; check whether a proxy is required", withProxy()}},
	}
}

func nodeEntries() []Entry {
	c := tracer.ComponentNode
	return []Entry{
		{Code: "node-forward-drop", Component: c, Title: "a host firewall drops forwarded traffic", Shown: "lab",
			Meaning:    "A rule, or the policy, of a netfilter chain drops the packet, and no NetworkPolicy denies it.",
			Evidence:   "The drop, the rule where it can be told, and the policies' answer.",
			LookAlikes: []string{"pol-ingress-deny, pol-egress-deny: a policy denies the flow", "pol-agent-stale: the rule is the policy agent's", "node-conntrack-full"},
			Remedy:     []string{"look at it on {node}: nft list chain {family} {table} {chain} (or iptables -L FORWARD)", "if Docker or a hardening script set it: iptables -P FORWARD ACCEPT, or allow the pod range", "delete the rule, or have its owner allow the pod range"}},
		{Code: "node-firewall-reject", Component: c, Title: "\"No route to host\" at once", Shown: "lab",
			Meaning:    "A firewall on the node rejects the packet: with an ICMP message (prohibited, port unreachable), or with a reset in the name of the target.",
			Evidence:   "The drop, the rule, and the message or the reset that the node made.",
			LookAlikes: []string{"a missing route: ICMP code 0 or 1", "egr-firewall-reject: the message comes from outside", "app-no-listener: the reset is the target's own"},
			Remedy:     []string{"firewalld: put the pod range and the CNI's devices in the trusted zone; ufw: ufw route allow", "on {node}: nft list ruleset"}},
		{Code: "node-input-blocked", Component: c, Title: "a port of the node itself is blocked", Shown: "lab",
			Meaning:  "The node's input firewall drops it: a port of the node's own, or the ICMPv6 questions by which pods find their gateway.",
			Evidence: "The drop in the input hook.",
			Remedy: []string{"open the port on {node}: overlay (udp 8472, 4789), kubelet (10250), NodePorts, BGP (179)",
				"IPv6 needs ICMPv6 types 133 to 136 (neighbour discovery, RFC 4890) at every hook"}},
		{Code: "node-notrack", Component: c, Title: "Services, or everything outside, fail for what a rule keeps from conntrack", Shown: "lab",
			Meaning:    "A rule before conntrack (notrack, or CT --notrack in a raw table) exempts the packets from it. What conntrack does not see is not translated: a Service's address stays as it is, and a pod's own address leaves the node. Or it puts the answers into another zone (ct zone set, CT --zone), in which the connection is not known: they are not translated back.",
			Evidence:   "The packet going on with its addresses and without a conntrack entry, the rule, and the rules that would translate it; or the answer with the endpoint's address, and the rule for the zone.",
			LookAlikes: []string{"svc-kubeproxy-no-rules: there are no rules to translate it", "svc-udp-ct-before-rules: there is a conntrack entry, without translation", "egr-masq-missing: no rule masquerades it", "NodeLocal DNSCache: it exempts the DNS Service's address on purpose, and serves it on the node itself"},
			Remedy:     []string{"on {node}: nft list ruleset | grep -n -e notrack -e 'zone set'; iptables -t raw -S", "take pods' addresses out of the exemption, or limit it to the traffic of the node itself; of a zone: give it to both directions, or to the outer direction only (ct original zone set, --zone-orig)"}},
		{Code: "node-redirected", Component: c, Title: "a foreign rule sends connections to another place", Shown: "lab",
			Meaning:    "A rule of the node that is no part of Kubernetes (dnat or redirect: a published container port, a transparent proxy, a port forward) matches what pods send, and gives it another destination before the cluster's own rules see it. What fails there says nothing of what was asked for.",
			Evidence:   "The translation in conntrack, and the rule that makes it, which is no Service's.",
			LookAlikes: []string{"svc-stale-endpoint: the proxy's own rules send it there", "app-no-listener: nothing listens where the client asked", "cni-hostport-stale: the node's own address was asked, and the rule is a hostPort's"},
			Remedy:     []string{"on {node}: nft -a list ruleset | grep -nw -e dnat -e redirect; iptables -t nat -S", "limit the rule to the node's own address (fib daddr type local, -d NODE-IP), or to the interface that it is meant for, or delete it", "connections that it has translated stay so: conntrack -D --orig-dst {dst.ip}"}},
		{Code: "node-ip-forward-off", Component: c, Title: "pods reach nothing off their node", Shown: "lab",
			Meaning:    "The node does not forward IP packets.",
			Evidence:   "IP_INADDRERRORS in ip_error (IPv6: ip6_forward), and the sysctl.",
			LookAlikes: []string{"node-forward-drop: netfilter drops"},
			Remedy:     []string{"on {node}: sysctl -w net.ipv4.ip_forward=1 (net.ipv6.conf.all.forwarding=1), and keep it in /etc/sysctl.d", "find what resets it: cloud-init, a hardening script"}},
		{Code: "node-rp-filter", Component: c, Title: "asymmetric paths die silently", Shown: "lab",
			Meaning:    "Strict reverse-path filtering drops packets that arrive by another device than the route back uses.",
			Evidence:   "IP_RPFILTER, the sysctl, the counter.",
			LookAlikes: []string{"node-forward-drop"},
			Remedy:     []string{"on {node}: sysctl -w net.ipv4.conf.{dev}.rp_filter=2 and net.ipv4.conf.all.rp_filter=2 (loose)", "or make the route symmetric: ip route get, ip rule"}},
		{Code: "node-bridge-nf-off", Component: c, Title: "a Service fails only between pods of one node", Shown: "lab",
			Meaning:    "Bridged packets do not pass netfilter, so answers between pods of one bridge are not translated back.",
			Evidence:   "The answer at the client with the endpoint's address, and the sysctl.",
			LookAlikes: []string{"svc-conntrack-invalid-rst: now and then, and between nodes too"},
			Remedy:     []string{"on {node}: modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1, and keep both over a reboot"}},
		{Code: "node-conntrack-full", Component: c, Title: "new connections fail on the whole node", Shown: "machine",
			Meaning:    "The conntrack table is full, so that no new flow gets an entry, and the kernel drops its packets.",
			Evidence:   "The drop outside any rule, conntrack's drop counter, and a table that is at its limit (confirmed from 95 %, likely from 80 %).",
			LookAlikes: []string{"egr-snat-port-exhausted: the table has room, and the translation finds no free port", "node-forward-drop: a rule drops", "conntrack drops for other reasons too (a hash chain too long, a clash): the table is not near its limit"},
			Remedy: []string{"on {node}: sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; raise the limit (kube-proxy sets it: conntrack.maxPerCore, conntrack.min)",
				"find who fills it: conntrack -L | awk '{print $5}' | sort | uniq -c | sort -n | tail"}},
		{Code: "node-conntrack-expired", Component: c, Title: "connections through a Service that were quiet are reset when they are used again", Shown: "lab",
			Meaning:    "The node's conntrack forgot a translated connection, because it was quiet for longer than the node keeps one. Its next packet is taken for a new connection's, and goes elsewhere, or with another source.",
			Evidence:   "No packet in either direction for longer than net.netfilter.nf_conntrack_tcp_timeout_established of the node, then a reset by somebody who does not know the connection; certain if the connection's packets were translated in two ways.",
			LookAlikes: []string{"ext-idle-timeout: the node keeps connections for longer than the pause", "svc-invalid-drop-asymmetric: the packet is dropped as INVALID", "svc-terminating-endpoint: the pod went away"},
			Remedy:     []string{"on {node}: sysctl net.netfilter.nf_conntrack_tcp_timeout_established; kube-proxy sets it (conntrack.tcpEstablishedTimeout, 24 h by default), and something else lowered it", "TCP keepalive in the client below that time"}},
		{Code: "node-link-down", Component: c, Title: "the node's uplink is down", Shown: "lab", Meaning: "The uplink or the way to the other nodes is down.", Evidence: "No route under the tunnel.", Remedy: []string{"on {node}: ip link; ip route"}},
		{Code: "node-down", Component: c, Title: "another node does not answer", Shown: "lab",
			Meaning:    "The node that holds the target does not answer address resolution, or is NotReady and silent.",
			Evidence:   "NEIGH_FAILED on the uplink (confirmed), or a NotReady node from which nothing comes back (likely: the kubelet alone may have stopped).",
			LookAlikes: []string{"beyond-node: the node is Ready, and nothing comes back", "egr-gateway-dead: the next hop is a gateway", "cni-overlay-fdb-wrong-node: the address is not the node's"},
			Remedy:     []string{"kubectl get nodes -o wide; kubectl describe node, for since when it is NotReady", "look at the machine itself; while it is down, pods with tolerationSeconds move after five minutes"}},
		{Code: "node-underlay-arp", Component: c, Title: "packets go to a wrong machine", Shown: "lab",
			Meaning:    "Packets for this node, or for a pod of it, come with another machine's MAC address: the node that sends them here has a wrong neighbour entry, often a permanent one from before a card or a machine was replaced.",
			Evidence:   "OTHERHOST on the uplink, for an address of this node. Who sends sees silence only, and calls it beyond-node.",
			LookAlikes: []string{"copies for other machines, which a switch sends by all ports: their addresses are not this node's", "cni-overlay-stale-vtep-mac: the tunnel's inner packets have the wrong address", "node-down: nobody answers address resolution"},
			Remedy:     []string{"on the node that sends: ip neigh show nud permanent; ip neigh get ADDRESS dev DEV, and compare with ip link on {node}; delete the stale entry, and find who writes it"}},
		{Code: "node-martian", Component: c, Title: "a packet with an impossible source", Shown: "lab",
			Meaning:    "The kernel refused a loopback, multicast or own address as source.",
			Evidence:   "IP_LOCALNET, IP_INVALID_SOURCE or IP_LOCAL_SOURCE, in the node's or an end's namespace.",
			LookAlikes: []string{"svc-hairpin-nomasq: a pod refuses its own address, as it reaches itself through its Service", "node-rp-filter: the source is possible, and comes from elsewhere", "node-routing-loop: what the node itself had sent comes back to it"},
			Remedy:     []string{"find the translation that made this source on {node}: nft list ruleset, iptables -t nat -S"}},
		{Code: "node-routing-loop", Component: c, Title: "packets loop until their TTL runs out", Shown: "lab", Meaning: "Two routers send the packet to each other.", Evidence: "Time exceeded.", Remedy: []string{"on {node}: ip route get {target.ip}; compare with the next hop's route"}},
		{Code: "node-csum", Component: c, Title: "packets arrive with wrong checksums", Shown: "lab",
			Meaning:    "The receiver drops packets for their checksum, often because a card, a driver or a program on the way computes it wrongly.",
			Evidence:   "TCP_CSUM, UDP_CSUM, IP_CSUM or ICMP_CSUM, more than once, and most of what was dropped.",
			LookAlikes: []string{"cni-csum-offload: the tunnel's own packet is the broken one", "app-no-listener: the checksum is right, and there is no socket", "a single broken packet of a flow that goes on is no fault"},
			Remedy:     []string{"on the sending node: ethtool -K DEV tx off for the device that the packets leave by, and for the pod's veth; if that helps, upgrade the kernel or the driver", "on {node}: nstat -az | grep -i csum, to see whether it goes on"}},
	}
}

func applicationEntries() []Entry {
	c := tracer.ComponentApplication
	return []Entry{
		{Code: "app-no-listener", Component: c, Title: "\"connection refused\" by the pod", Shown: "lab",
			Meaning:    "The packet reached the right pod, and nothing listens on that port.",
			Evidence:   "NO_SOCKET and the RST (UDP: port unreachable) in the pod's namespace, and its sockets.",
			LookAlikes: []string{"svc-no-endpoints and rejecting policies: an ICMP message from a node", "svc-wrong-targetport: the pod serves another port", "app-localhost-only"},
			Remedy:     []string{"kubectl -n {dst.ns} get pod {dst.pod}; kubectl -n {dst.ns} logs {dst.pod}: does the process run, on which port?", "kubectl -n {dst.ns} exec {dst.pod} -- ss -ltnu"}},
		{Code: "app-localhost-only", Component: c, Title: "works inside the pod, refused from outside", Shown: "lab",
			Meaning:    "The application listens on the loopback address only.",
			Evidence:   "The RST in the pod's namespace, and its sockets.",
			LookAlikes: []string{"app-no-listener"},
			Remedy:     []string{"make the application in {dst.ns}/{dst.pod} listen on 0.0.0.0 or [::]"}},
		{Code: "app-listen-overflow", Component: c, Title: "connecting times out under load", Shown: "lab",
			Meaning:    "The accept queue is full, and the kernel drops connection requests.",
			Evidence:   "ListenOverflows in the pod's namespace, SYNs that reach the pod without an answer.",
			LookAlikes: []string{"cni-pod-no-default-route: no route, ListenOverflows does not rise"},
			Remedy:     []string{"raise the listen backlog and net.core.somaxconn; find out why {dst.ns}/{dst.pod} accepts slowly; add replicas"}},
		{Code: "app-hang", Component: c, Title: "connects, then no answer", Shown: "lab", Meaning: "The application took the request and does not answer.", Evidence: "Handshake and request delivered, no payload back, no drop.",
			LookAlikes: []string{"cni-mtu-blackhole: large segments are dropped"}, Remedy: []string{"kubectl -n {dst.ns} logs {dst.pod}; look at what it waits for"}},
		{Code: "app-reset", Component: c, Title: "\"connection reset by peer\"", Shown: "lab", Meaning: "The application closed the connection abruptly.", Evidence: "An RST made in the pod's namespace after the handshake.", Remedy: []string{"kubectl -n {dst.ns} logs {dst.pod} --previous"}},
		{Code: "app-udp-rcvbuf", Component: c, Title: "datagrams are lost at the receiver", Shown: "lab", Meaning: "The application does not read its socket fast enough.", Evidence: "SOCKET_RCVBUFF in the pod's namespace.", Remedy: []string{"raise net.core.rmem_max and the socket's buffer, or read faster"}},
		{Code: "app-sctp-unsupported", Component: c, Title: "SCTP is not answered: protocol unreachable", Shown: "lab",
			Meaning:    "The packets reach the pod, and its node's kernel has no SCTP: the module is not loaded, so no application there can listen.",
			Evidence:   "IP_NOPROTO at the target, ICMP protocol unreachable.",
			LookAlikes: []string{"app-no-listener: the protocol is known, the port is closed"},
			Remedy:     []string{"on the node of {dst.ns}/{dst.pod}: modprobe sctp; NAT and kube-proxy rules for SCTP need nf_conntrack's SCTP support there as well"}},
		{Code: "app-sidecar-missing", Component: c, Title: "everything is refused in a mesh pod", Shown: "lab", Meaning: "Traffic is redirected to a sidecar proxy that does not run.", Evidence: "NO_SOCKET on lo in the client's namespace.", Remedy: []string{"kubectl -n {src.ns} get pod {src.pod} -o wide: is the proxy container ready? kubectl -n {src.ns} logs {src.pod} -c istio-proxy"}},
		{Code: "app-pod-firewall", Component: c, Title: "a firewall inside the pod drops", Shown: "lab", Meaning: "A rule in the pod's own network namespace drops the packet.", Evidence: "NETFILTER_DROP in the pod's namespace.", Remedy: []string{"nsenter into the pod's namespace on {node}: nft list ruleset; iptables -S"}},
	}
}
