package k8s

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
)

func (c *Cluster) startNodes(ctx context.Context) error {
	if err := c.registerNodes(ctx); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if err := n.startFlannel(ctx); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		if err := n.writeCNI(); err != nil {
			return err
		}
		if err := n.StartProxy(ctx); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	for _, n := range c.nodes {
		if err := n.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// registerNodes makes the Node objects, or has the kubelets make them.
func (c *Cluster) registerNodes(ctx context.Context) error {
	if c.Flavour.Full {
		return c.startKubelets(ctx)
	}
	for _, n := range c.nodes {
		if err := n.register(ctx); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

// file is a file of this node in the run folder.
func (n *Node) file(name string) string { return filepath.Join(n.cluster.run, n.Name, name) }

// register does what a kubelet does for its node.
func (n *Node) register(ctx context.Context) error {
	if err := os.MkdirAll(n.file("net.d"), 0o755); err != nil {
		return err
	}
	nodes := n.cluster.Client.CoreV1().Nodes()
	_, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: n.Name, Labels: map[string]string{"kubernetes.io/hostname": n.Name, "kubernetes.io/os": "linux"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := retry.RetryOnConflict(retry.DefaultRetry, func() error { return n.report(ctx) }); err != nil {
		return err
	}
	// Admission taints every new node; the controller that lifts it needs
	// heartbeats.
	_, err = nodes.Patch(ctx, n.Name, types.MergePatchType, []byte(`{"spec":{"taints":null}}`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	return poll(ctx, "the pod CIDR of "+n.Name, func() (bool, error) {
		node, err := nodes.Get(ctx, n.Name, metav1.GetOptions{})
		return err == nil && node.Spec.PodCIDR != "", err
	}, func() string { return "" })
}

// report writes the status that a kubelet would.
func (n *Node) report(ctx context.Context) error {
	nodes := n.cluster.Client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, n.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	room := corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("110")}
	node.Status = corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: n.Name}},
		Capacity:  room, Allocatable: room,
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Testbed"}},
	}
	for _, addr := range n.addrs {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: addr})
	}
	_, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

// start runs a daemon of the node, and remembers it under its name.
func (n *Node) start(name string, env []string, argv ...string) (*Process, error) {
	if n.Legacy {
		env = append(env, "PATH="+n.legacyPath()+":"+os.Getenv("PATH"))
	}
	p, err := n.cluster.start(n.Space, name+"-"+n.Name, env, argv...)
	if err != nil {
		return nil, err
	}
	n.Daemons[name] = p
	return p, nil
}

// legacyPath is a folder in which iptables is the legacy one.
func (n *Node) legacyPath() string {
	dir := n.file("legacy")
	_ = os.MkdirAll(dir, 0o755)
	for _, tool := range []string{"iptables", "ip6tables"} {
		for _, what := range []string{"", "-save", "-restore"} {
			_ = os.Symlink("/usr/sbin/"+tool+"-legacy"+what, filepath.Join(dir, tool+what))
		}
	}
	return dir
}

func (n *Node) startFlannel(ctx context.Context) error {
	conf := map[string]any{"Network": PodCIDR, "Backend": map[string]string{"Type": n.cluster.Flavour.Backend}}
	if n.cluster.Flavour.Dual {
		conf["EnableIPv6"], conf["IPv6Network"] = true, podCIDR6
	}
	b, err := json.Marshal(conf)
	if err != nil {
		return err
	}
	if err := os.WriteFile(n.file("net-conf.json"), b, 0o644); err != nil {
		return err
	}
	p, err := n.start("flanneld", []string{"NODE_NAME=" + n.Name}, n.cluster.program("flanneld"),
		"-kubeconfig-file", n.cluster.Kubeconfig(), "-iface", "eth0",
		"-subnet-file", n.file("subnet.env"), "-net-config-path", n.file("net-conf.json"))
	if err != nil {
		return err
	}
	return p.await(ctx, "flannel", func() bool {
		s, err := n.subnet()
		return err == nil && s["FLANNEL_MTU"] != ""
	})
}

// subnet is what flannel decided for this node.
func (n *Node) subnet() (map[string]string, error) {
	b, err := os.ReadFile(n.file("subnet.env"))
	if err != nil {
		return nil, err
	}
	s := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			s[key] = value
		}
	}
	return s, nil
}

// writeCNI writes the list of plugins that the pods of the node get.
func (n *Node) writeCNI() error {
	s, err := n.subnet()
	if err != nil {
		return err
	}
	plugins := []any{n.bridgePlugin(s), map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}}}
	version := "1.0.0"
	if n.cluster.Flavour.CNI == Calico {
		plugins[0], version = n.calicoPlugin(s), "0.3.1"
	}
	b, err := json.MarshalIndent(map[string]any{"cniVersion": version, "name": networkName, "plugins": plugins}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(n.conflist(), b, 0o644)
}

func (n *Node) bridgePlugin(s map[string]string) map[string]any {
	var ranges [][]map[string]string
	for _, subnet := range n.cluster.Flavour.both(s["FLANNEL_SUBNET"], s["FLANNEL_IPV6_SUBNET"]) {
		ranges = append(ranges, []map[string]string{{"subnet": networkOf(subnet)}})
	}
	var routes []map[string]string
	for _, dst := range n.cluster.Flavour.both(PodCIDR, podCIDR6) {
		routes = append(routes, map[string]string{"dst": dst})
	}
	return map[string]any{
		"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "hairpinMode": true,
		"mtu": json.Number(s["FLANNEL_MTU"]),
		"ipam": map[string]any{
			"type": "host-local", "dataDir": n.file("ipam"),
			"ranges": ranges,
			"routes": routes,
		},
	}
}

// StartProxy starts kube-proxy, and waits until it has written its rules.
func (n *Node) StartProxy(ctx context.Context) error {
	// Conntrack's limits are the machine's, and out of reach from here.
	conf := map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": n.Proxy, "hostnameOverride": n.Name, "clusterCIDR": n.cluster.podCIDRs(),
		"clientConnection": map[string]any{"kubeconfig": n.cluster.Kubeconfig()},
		"conntrack":        map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
	b, err := json.Marshal(conf)
	if err != nil {
		return err
	}
	if err := os.WriteFile(n.file("kube-proxy.json"), b, 0o644); err != nil {
		return err
	}
	p, err := n.start("kube-proxy", nil, n.cluster.program("kube-proxy"), "--config="+n.file("kube-proxy.json"), "--v=2")
	if err != nil {
		return err
	}
	return p.await(ctx, "kube-proxy", func() bool { return n.healthy("http://127.0.0.1:10256/healthz") })
}

// healthy asks a daemon of the namespace whether it is well.
func (s *Space) healthy(url string) bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: s.Dial, DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return false
	}
	return errors.Join(resp.Body.Close()) == nil && resp.StatusCode == http.StatusOK
}
