package k8s

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/client-go/kubernetes"
)

// Addresses of the cluster. Every one of its networks is in its own namespaces,
// so they collide with nothing.
const (
	underlay       = "192.168.50."
	controlAddr    = underlay + "1"
	gatewayAddr    = underlay + "254"
	ServiceCIDR    = "10.96.0.0/16"
	apiServer      = "https://" + controlAddr + ":6443"
	apiServiceAddr = "10.96.0.1"
	dnsAddr        = "10.96.0.10"
	PodCIDR        = "10.244.0.0/16"
	// outsideAddr stands for a host in the internet.
	outsideAddr = "203.0.113.10"
)

// CNI is what connects the pods of a node.
type CNI string

const (
	// Bridge is the bridge plugin over flannel.
	Bridge CNI = "bridge"
	// Calico is Calico's plugin and Felix over flannel: Canal's layout.
	Calico CNI = "calico"
)

// NodeConfig says what runs on a node.
type NodeConfig struct {
	Name string
	// Proxy is kube-proxy's mode: iptables or nftables.
	Proxy string
	// Legacy uses iptables' legacy backend instead of nft's.
	Legacy bool
}

// Flavour is a kind of cluster.
type Flavour struct {
	Name, About string
	CNI         CNI
	// Dual gives nodes, pods and Services both families; scenarios then speak
	// IPv6.
	Dual bool
	// Full has a kubelet, containerd and runc on each node, which make the pods;
	// without it the test does.
	Full bool
	// Backend is flannel's: vxlan or host-gw.
	Backend string
	Nodes   []NodeConfig
}

// Flavours are the clusters that can be brought up.
func Flavours() []Flavour {
	nodes := []NodeConfig{{Name: "n1", Proxy: "iptables"}, {Name: "n2", Proxy: "nftables"}}
	return []Flavour{
		{Name: "flannel", About: "bridge plugin, flannel with vxlan; kube-proxy: iptables (nft) on n1, nftables on n2", CNI: Bridge, Backend: "vxlan", Nodes: nodes},
		{Name: "flannel-hostgw", About: "bridge plugin, flannel with host-gw; kube-proxy: iptables (legacy) on n1, nftables on n2", CNI: Bridge, Backend: "host-gw",
			Nodes: []NodeConfig{{Name: "n1", Proxy: "iptables", Legacy: true}, {Name: "n2", Proxy: "nftables"}}},
		{Name: "flannel-dual", About: "bridge plugin, flannel with vxlan over IPv4 and IPv6; kube-proxy: iptables (nft) on n1, nftables on n2", CNI: Bridge, Backend: "vxlan", Dual: true, Nodes: nodes},
		{Name: "flannel-full", About: "flannel with kubelets, containerd and runc", CNI: Bridge, Backend: "vxlan", Full: true, Nodes: nodes},
		{Name: "calico", About: "Calico's plugin and Felix over flannel with vxlan; kube-proxy: iptables (nft) on n1, nftables on n2", CNI: Calico, Backend: "vxlan", Nodes: nodes},
	}
}

// FlavourOf is the flavour with that name.
func FlavourOf(name string) (Flavour, error) {
	all := Flavours()
	i := slices.IndexFunc(all, func(f Flavour) bool { return f.Name == name })
	if i >= 0 {
		return all[i], nil
	}
	var names []string
	for _, f := range all {
		names = append(names, f.Name)
	}
	return Flavour{}, fmt.Errorf("unknown flavour %q: use one of %v", name, names)
}

// Config says how a cluster is made.
type Config struct {
	Flavour Flavour
	// Tree is the checkout, Bin the folder that Build returned, Run an empty
	// folder for everything that the cluster writes.
	Tree, Bin, Run string
	// Group is the name for cgroups that Isolate returned, Workload the program
	// that pods run.
	Group, Workload string
	// Say gets progress.
	Say io.Writer
}

// Cluster is a running one. Its methods may be called by one goroutine at a
// time.
type Cluster struct {
	Flavour Flavour
	Client  kubernetes.Interface
	// Outside is the host beyond the nodes' default route.
	Outside *Space

	tree, bin, run  string
	group, workload string
	say             io.Writer
	fabric, control *Space
	nodes           []*Node
	pods            []*Pod
	dns             *Pod
	manifest        string
}

// Node is a node of the cluster.
type Node struct {
	NodeConfig
	*Space
	// Addr is the node's address in the family that scenarios speak.
	Addr string
	// addrs are all of them, IPv4 first.
	addrs []string
	// Daemons by name: flanneld, kube-proxy, calico-felix, containerd, kubelet.
	Daemons map[string]*Process
	cluster *Cluster
}

// Up brings a cluster up, in the namespaces that Isolate made. There is no
// Down: everything ends with the process.
func Up(ctx context.Context, cfg Config) (*Cluster, error) {
	c := &Cluster{Flavour: cfg.Flavour, tree: cfg.Tree, bin: cfg.Bin, run: cfg.Run, group: cfg.Group, workload: cfg.Workload, say: cfg.Say}
	if err := os.MkdirAll(filepath.Join(c.run, "log"), 0o755); err != nil {
		return nil, err
	}
	var err error
	if c.Flavour.CNI == Calico {
		if c.manifest, err = calicoManifest(c.tree); err != nil {
			return nil, err
		}
	}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"certificates", func(context.Context) error { return c.secrets() }},
		{"network", func(context.Context) error { return c.wire() }},
		{"control plane", c.startControl},
		{"nodes", c.startNodes},
		{"policy", c.startPolicy},
		{"DNS", c.startDNS},
	}
	for _, s := range steps {
		if err := c.step(ctx, s.name, s.do); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Node is the node with that name, nil if there is none.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Nodes are all of them.
func (c *Cluster) Nodes() []*Node { return slices.Clone(c.nodes) }

// Pods are the pods that run.
func (c *Cluster) Pods() []*Pod { return slices.Clone(c.pods) }

// PodNamed is a pod that runs, nil if there is none of that name.
func (c *Cluster) PodNamed(namespace, name string) *Pod {
	for _, p := range c.pods {
		if p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	return nil
}
