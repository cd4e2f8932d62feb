package verdict

import "github.com/podpath/podpath/tracer"

// network is a CNI as a node shows it: what it leaves there, and which way it
// sends packets. Several may share the work (canal: Calico joins the pods, flannel
// the nodes), and a node may be set up in a way that the table does not know: what
// differs from it is evidence and no fault.
type network struct {
	name string
	// daemonSet is its DaemonSet where its own manifests put it, "namespace/name",
	// "" if it has none.
	daemonSet string
	signs     []sign
	// pods is the way from a pod to the node's forwarding; backwards, the way in.
	pods leg
	// nodes are the ways from the node's forwarding to another node, the usual first.
	nodes []crossing
	// agents are other names that its DaemonSet has, with * for the rest, and plugins those of its CNI
	// plugins that are not called like it.
	agents, plugins []string
	// nodeRange: it takes each node's range of addresses from spec.podCIDR.
	nodeRange bool
	// plain: this is what several networks use, and says nothing where one of them
	// is known.
	plain bool
}

// sign is a trace of a network on a node. Those that are set must all hold.
type sign struct {
	// device is a name, with * for the rest of it; kind is rtnetlink's; role is ours.
	device, kind string
	role         tracer.DeviceRole
	// owner writes rules or BPF programs here; services translates Services.
	owner, services string
	// weak: others use the same; two such signs are needed.
	weak bool
}

// leg is a part of a way, as the packet goes.
type leg []stop

// stop is a place that a packet passes, and how it looks there.
type stop struct {
	hook tracer.EventKind
	role tracer.DeviceRole
	// device is a name, with * for the rest of it, "" for any.
	device string
	// inside is the encapsulation ("vxlan"), "" for none.
	inside string
	// as says which addresses it has by then.
	as address
	// may: it need not be seen there, because the kernel can pass it by (a bridge
	// that forwards, a program that redirects).
	may bool
	// routed: a route other than the default leads there.
	routed bool
}

// address is what a packet carries at a stop.
type address string

const (
	asSent       address = ""             // as the client sent it
	asTranslated address = "translated"   // a Service's address is replaced
	asEnclosed   address = "encapsulated" // the outer ones are the nodes'
)

func (a address) words() string {
	switch a {
	case asTranslated:
		return "the Service's address to be translated by then"
	case asEnclosed:
		return "the tunnel to lead to the target's node"
	}
	return "the packet as it was sent"
}

// crossing is a way to another node.
type crossing struct {
	by  string // in words: "flannel's VXLAN"
	leg leg
	// bare: only where the node has no tunnel of the network.
	bare bool
}

func tx(role tracer.DeviceRole, device string) stop {
	return stop{hook: tracer.EventTX, role: role, device: device, as: asTranslated}
}

func rx(role tracer.DeviceRole, device string) stop {
	return stop{hook: tracer.EventRX, role: role, device: device}
}

func (s stop) maybe() stop { s.may = true; return s }

// fromPod is the way out of a pod that every network has: by a veth pair, of
// which the node's end has such a name.
func fromPod(end string, then ...stop) leg {
	own := tx(tracer.RolePod, "")
	own.as = asSent
	return append(leg{own, rx(tracer.RolePodHost, end)}, then...)
}

// overBridge is fromPod to a bridge. The bridge itself sees only what the node
// routes.
func overBridge(bridge string) leg { return fromPod("", rx(tracer.RoleBridge, bridge).maybe()) }

// encapsulated is the way by a device that encapsulates. What a packet looks like on
// the wire behind it is known for encapsulations that can be read.
func encapsulated(words, device, inside string) crossing {
	c := crossing{by: words, leg: leg{tx(tracer.RoleTunnel, device)}}
	if inside != "" {
		c.leg = append(c.leg, stop{hook: tracer.EventTX, role: tracer.RoleUplink, inside: inside, as: asEnclosed})
	}
	return c
}

// byRoute is the way by a route of the network's own, direct by any route.
func byRoute(words string) crossing {
	out := tx(tracer.RoleUplink, "")
	out.routed = true
	return crossing{by: words, leg: leg{out}}
}

func direct(words string) crossing { return crossing{by: words, leg: leg{tx(tracer.RoleUplink, "")}} }

// outside is the way out of the cluster, of every network. Whose address a pod's
// packets have there is the operator's choice.
func outside() leg { return leg{tx(tracer.RoleUplink, "")} }

// networks are the CNIs that can be told by what they leave on a node. Sources:
// their documentation and source code; flannel, Calico's pods and the bridge
// plugin are held against packets of real clusters (testbed/scenario/way.go).
func networks() []network {
	pod, tunnel, bridge := tracer.RolePodHost, tracer.RoleTunnel, tracer.RoleBridge
	calicoFabric := direct("the network's routes")
	calicoFabric.bare = true // routers that speak BGP with Calico know the pods
	return []network{
		{
			name: "flannel", daemonSet: "kube-flannel/kube-flannel-ds", agents: []string{"kube-flannel*", "canal", "rke2-canal"}, nodeRange: true, pods: overBridge("cni0"),
			signs: []sign{{device: "flannel.*", kind: "vxlan"}, {device: "flannel-v6.*", kind: "vxlan"}, {device: "flannel-wg*"}, {owner: "flannel"}},
			nodes: []crossing{
				encapsulated("flannel's VXLAN", "flannel.*", "vxlan"), encapsulated("flannel's VXLAN", "flannel-v6.*", "vxlan"),
				encapsulated("flannel's WireGuard", "flannel-wg*", ""), byRoute("a route of flannel's"),
			},
		},
		{
			name: "calico", daemonSet: "kube-system/calico-node", agents: []string{"canal", "rke2-canal"}, plugins: []string{"calico-ipam"}, pods: fromPod("cali*"),
			signs: []sign{
				{device: "cali*", role: pod}, {device: "vxlan.calico", kind: "vxlan"}, {device: "vxlan-v6.calico", kind: "vxlan"},
				{device: "wireguard.cali"}, {device: "wg-v6.cali"}, {services: tracer.ProxyCalicoBPF},
				{owner: "calico", weak: true}, {device: "tunl0", role: tunnel, weak: true}, // also policies beside another CNI
			},
			nodes: []crossing{
				encapsulated("Calico's VXLAN", "vxlan.calico", "vxlan"), encapsulated("Calico's VXLAN", "vxlan-v6.calico", "vxlan"),
				encapsulated("Calico's IP-in-IP", "tunl0", "ipip"), encapsulated("Calico's WireGuard", "wireguard.cali", ""),
				encapsulated("Calico's WireGuard", "wg-v6.cali", ""), byRoute("a route of Calico's"), calicoFabric,
			},
		},
		{
			name: "cilium", daemonSet: "kube-system/cilium", // its programs redirect past devices
			pods: leg{fromPod("")[0].maybe(), rx(pod, "").maybe()},
			signs: []sign{
				{device: "cilium_host"}, {device: "cilium_vxlan"}, {device: "cilium_geneve"}, {device: "lxc*", role: pod, weak: true},
				{owner: "cilium", weak: true}, {services: tracer.ProxyCilium, weak: true},
			},
			nodes: []crossing{
				maySkip(encapsulated("Cilium's VXLAN", "cilium_vxlan", "vxlan")), maySkip(encapsulated("Cilium's Geneve", "cilium_geneve", "geneve")),
				encapsulated("Cilium's WireGuard", "cilium_wg0", ""), direct("the network's routes"),
			},
		},
		{
			name: "aws-vpc-cni", daemonSet: "kube-system/aws-node", plugins: []string{"aws-cni"}, pods: fromPod("eni*"),
			signs: []sign{{device: "eni*", role: pod}, {owner: "aws-vpc-cni"}},
			nodes: []crossing{direct("the VPC, which knows the pods' addresses")},
		},
		{
			name: "azure", daemonSet: "kube-system/azure-cns", plugins: []string{"azure-vnet"}, pods: fromPod("azv*"), signs: []sign{{device: "azv*", role: pod}},
			nodes: []crossing{direct("the virtual network, which knows the pods' addresses")},
		},
		{
			name: "gke", daemonSet: "kube-system/netd", pods: fromPod("gke*"), signs: []sign{{device: "gke*", role: pod}},
			nodes: []crossing{direct("the VPC, which knows the pods' addresses")},
		},
		{
			name: "kindnet", daemonSet: "kube-system/kindnet", nodeRange: true, pods: fromPod("veth*"), signs: []sign{{owner: "kindnet"}},
			nodes: []crossing{byRoute("a route of kindnet's")},
		},
		{
			name: "kube-router", daemonSet: "kube-system/kube-router", nodeRange: true, pods: overBridge("kube-bridge"),
			signs: []sign{{device: "kube-bridge", role: bridge}}, // its policies and IPVS run beside other CNIs too
			nodes: []crossing{encapsulated("kube-router's IP-in-IP", "tun-*", "ipip"), byRoute("a route of kube-router's"), direct("the network's routes")},
		},
		{
			name: "weave", daemonSet: "kube-system/weave-net", plugins: []string{"weave-net"}, pods: overBridge("weave"),
			signs: []sign{{device: "weave", role: bridge}, {device: "vxlan-6784"}, {owner: "weave", weak: true}},
			// The rest is Open vSwitch's datapath and an encryption of its own.
		},
		{
			name: "antrea", daemonSet: "kube-system/antrea-agent", pods: fromPod(""),
			signs: []sign{{device: "antrea-gw0"}, {device: "antrea-tun0"}, {services: tracer.ProxyAntrea, weak: true}, {owner: "antrea", weak: true}},
			nodes: []crossing{maySkip(encapsulated("Antrea's Geneve", "genev_sys_*", "geneve")), maySkip(encapsulated("Antrea's VXLAN", "vxlan_sys_*", "vxlan")), direct("the network's routes")},
		},
		{
			name: "ovn-kubernetes", daemonSet: "ovn-kubernetes/ovnkube-node", plugins: []string{"ovn-k8s-cni-overlay"}, pods: fromPod(""),
			signs: []sign{{device: "ovn-k8s-mp0"}, {services: tracer.ProxyOVN, weak: true}, {owner: "ovn-kubernetes", weak: true}},
			nodes: []crossing{maySkip(encapsulated("OVN's Geneve", "genev_sys_*", "geneve"))},
		},
		{
			name: "kube-ovn", daemonSet: "kube-system/kube-ovn-cni", pods: fromPod(""), signs: []sign{{device: "ovn0"}, {owner: "kube-ovn"}},
			nodes: []crossing{maySkip(encapsulated("Kube-OVN's Geneve", "genev_sys_*", "geneve")), maySkip(encapsulated("Kube-OVN's VXLAN", "vxlan_sys_*", "vxlan")), direct("the network's routes")},
		},
		{
			// The bridge plugin, of whatever CNI: how it joins nodes is not known.
			name: "bridge", pods: overBridge("cni0"), signs: []sign{{device: "cni0", role: bridge}}, plain: true,
		},
	}
}

// maySkip is a crossing of which the device need not be passed: a program or a
// switch hands the packets over.
func maySkip(c crossing) crossing {
	c.leg[0].may = true
	return c
}
