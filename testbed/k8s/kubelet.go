package k8s

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// machineWide are settings that a kubelet writes and that no namespace has: it
// gets copies.
var machineWide = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// startKubelets starts containerd and a kubelet on each node, which register it.
func (c *Cluster) startKubelets(ctx context.Context) error {
	if err := c.hideSettings(); err != nil {
		return err
	}
	archive := c.file("images.tar")
	err := writeImages(archive, []image{
		{pauseImage, "pause", c.program("pause")},
		{workloadImage, "workload", c.workload},
		{corednsImage, "coredns", c.program("coredns")},
	})
	if err != nil {
		return err
	}
	for _, n := range c.nodes {
		if err := n.startContainerd(ctx, archive); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
		if err := n.startKubelet(ctx); err != nil {
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return os.Remove(archive)
}

func (c *Cluster) hideSettings() error {
	for _, name := range machineWide {
		setting := filepath.Join("/proc/sys", name)
		b, err := os.ReadFile(setting)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		mine := c.file("settings/" + strings.ReplaceAll(name, "/", "."))
		if err := os.MkdirAll(filepath.Dir(mine), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(mine, b, 0o644); err != nil {
			return err
		}
		if err := unix.Mount(mine, setting, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hide %s: %w", setting, err)
		}
	}
	return nil
}

// runcRoot is where containerd's shims have runc keep its containers.
const runcRoot = "/run/containerd/runc/k8s.io"

func (n *Node) socket() string { return n.file("containerd.sock") }

func (n *Node) startContainerd(ctx context.Context, archive string) error {
	if err := os.MkdirAll(n.file("net.d"), 0o755); err != nil {
		return err
	}
	// Without CAP_SYS_RESOURCE nobody may lower an oom_score_adj.
	conf := fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
[plugins."io.containerd.internal.v1.opt"]
path = %[3]q
[grpc]
address = %[4]q
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %[5]q
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = %[6]q
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
`, n.file("containerd"), n.file("containerd-state"), n.file("opt"), n.socket(), pauseImage, n.file("net.d"))
	if err := os.WriteFile(n.file("containerd.toml"), []byte(conf), 0o644); err != nil {
		return err
	}
	p, err := n.start("containerd", nil, "containerd", "--config", n.file("containerd.toml"))
	if err != nil {
		return err
	}
	err = p.await(ctx, "containerd", func() bool { return n.Run("ctr", "-a", n.socket(), "version") == nil })
	if err != nil {
		return err
	}
	return n.Run("ctr", "-a", n.socket(), "-n", "k8s.io", "images", "import", archive)
}

func (n *Node) startKubelet(ctx context.Context) error {
	group := n.cluster.group + "/" + n.Name
	if err := makeGroup(group); err != nil {
		return err
	}
	conf := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"cgroupDriver": "cgroupfs", "cgroupRoot": "/" + group, "cgroupsPerQOS": true, "enforceNodeAllocatable": []string{},
		"failCgroupV1": false, "failSwapOn": false, "localStorageCapacityIsolation": false,
		"containerRuntimeEndpoint": "unix://" + n.socket(), "podLogsDir": n.file("pod-logs"),
		"authentication": map[string]any{"anonymous": map[string]any{"enabled": true}, "webhook": map[string]any{"enabled": false}},
		"authorization":  map[string]any{"mode": "AlwaysAllow"},
		"clusterDNS":     n.cluster.Flavour.both(dnsAddr, dnsAddr6), "clusterDomain": "cluster.local",
		// The machine's disk is not the cluster's to keep free.
		"imageMinimumGCAge": "24h", "evictionHard": map[string]string{"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
	}
	b, err := json.Marshal(conf)
	if err != nil {
		return err
	}
	if err := os.WriteFile(n.file("kubelet.json"), b, 0o644); err != nil {
		return err
	}
	p, err := n.start("kubelet", nil, n.cluster.program("kubelet"), "--config="+n.file("kubelet.json"),
		"--kubeconfig="+n.cluster.Kubeconfig(), "--hostname-override="+n.Name, "--node-ip="+strings.Join(n.addrs, ","),
		"--root-dir="+n.file("kubelet"), "--cert-dir="+n.file("pki"), "--v=2")
	if err != nil {
		return err
	}
	return p.await(ctx, "the pod CIDR of "+n.Name, func() bool {
		node, err := n.cluster.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		return err == nil && node.Spec.PodCIDR != ""
	})
}

// AwaitReady waits until the kubelet says that the node is ready, and the
// controllers let pods on it.
func (n *Node) AwaitReady(ctx context.Context) error {
	last := ""
	return poll(ctx, "node "+n.Name, func() (bool, error) {
		node, err := n.cluster.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		last = fmt.Sprint(node.Spec.Taints)
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				last += " " + c.Message
				return c.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0, nil
			}
		}
		return false, nil
	}, func() string { return last })
}

// gate is a condition of pods that only the testbed sets: with it a test makes
// a pod ready, or not.
const gate corev1.PodConditionType = "testbed.podpath.dev/up"

// kubeletPod has a program that only waits, if nothing else is asked for:
// others are started beside it, in its container.
func kubeletPod(p PodSpec) corev1.PodSpec {
	grace := int64(1)
	main := corev1.Container{
		Name: "main", Image: workloadImage, ImagePullPolicy: corev1.PullNever, Args: []string{"workload", "wait"}, Ports: p.Ports,
	}
	if p.Command != nil {
		main.Args = p.Command
	}
	if p.Liveness != 0 {
		main.LivenessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(p.Liveness)}},
			PeriodSeconds: 1, TimeoutSeconds: 1, FailureThreshold: 3,
		}
	}
	spec := corev1.PodSpec{
		HostNetwork: p.HostNetwork, TerminationGracePeriodSeconds: &grace, RestartPolicy: p.Restart,
		ReadinessGates: []corev1.PodReadinessGate{{ConditionType: gate}}, Containers: []corev1.Container{main},
	}
	if p.Node != "" {
		spec.NodeSelector = map[string]string{corev1.LabelHostname: p.Node}
	}
	return spec
}

// follow waits for what the scheduler, the kubelet, containerd, runc and the
// plugins make of a pod.
func (p *Pod) follow(ctx context.Context, c *Cluster) error {
	last := "no status"
	pods := c.Client.CoreV1().Pods(p.Namespace)
	err := poll(ctx, "the kubelet to run pod "+p.Name, func() (bool, error) {
		object, err := pods.Get(ctx, p.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		last = fmt.Sprint(object.Spec.NodeName, object.Status.ContainerStatuses)
		if p.node = c.Node(object.Spec.NodeName); p.node == nil || len(object.Status.PodIPs) == 0 || len(object.Status.ContainerStatuses) == 0 {
			return false, nil
		}
		return object.Status.ContainerStatuses[0].State.Running != nil, p.take(object)
	}, func() string { return last })
	if err != nil {
		return err
	}
	p.Node = p.node.Name
	if err := p.enter(); err != nil {
		return err
	}
	return p.SetReady(ctx, !p.NotReady)
}

// take reads what the kubelet says about the pod.
func (p *Pod) take(object *corev1.Pod) error {
	_, p.container, _ = strings.Cut(object.Status.ContainerStatuses[0].ContainerID, "://")
	addrs := make([]string, 0, len(object.Status.PodIPs))
	for _, ip := range object.Status.PodIPs {
		addrs = append(addrs, ip.IP)
	}
	return p.setAddrs(addrs)
}

// enter opens the pod's network namespace.
func (p *Pod) enter() error {
	if p.HostNetwork {
		p.Space = p.node.Space
		return nil
	}
	pid, err := p.first()
	if err != nil {
		return err
	}
	p.Space, err = openSpace(p.Namespace+"-"+p.Name, fmt.Sprintf("/proc/%d/ns/net", pid))
	return err
}

// first is the container's own process.
func (p *Pod) first() (pid int, err error) {
	b, err := os.ReadFile(filepath.Join(runcRoot, p.container, "state.json"))
	if err != nil {
		return 0, fmt.Errorf("container of pod %s: %w", p.Name, err)
	}
	var state struct {
		Pid int `json:"init_process_pid"`
	}
	if err := json.Unmarshal(b, &state); err != nil {
		return 0, fmt.Errorf("container of pod %s: %w", p.Name, err)
	}
	return state.Pid, nil
}

// CrashContainer ends the container's own process, and so the container. What
// follows is for the kubelet.
func (p *Pod) CrashContainer() error {
	pid, err := p.first()
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("end the container of pod %s: %w", p.Name, err)
	}
	return nil
}

// Exec runs the image's program in the container by kubectl exec: through the
// API server, the kubelet and containerd.
func (p *Pod) Exec(args ...string) (string, error) {
	c := p.node.cluster
	argv := []string{"--kubeconfig", c.Kubeconfig(), "exec", "-n", p.Namespace, p.Name, "--", "/workload"}
	return p.node.Output(c.program("kubectl"), append(argv, args...)...)
}

// setGate sets the testbed's condition, and waits for what the kubelet makes
// of it.
func (p *Pod) setGate(ctx context.Context, ready bool) error {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []any{
		map[string]any{"type": gate, "status": status},
	}}})
	if err != nil {
		return err
	}
	pods := p.node.cluster.Client.CoreV1().Pods(p.Namespace)
	if _, err := pods.Patch(ctx, p.Name, "application/strategic-merge-patch+json", patch, metav1.PatchOptions{}, "status"); err != nil {
		return err
	}
	last := ""
	return poll(ctx, fmt.Sprintf("pod %s to be ready: %t", p.Name, ready), func() (bool, error) {
		object, err := pods.Get(ctx, p.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		last = fmt.Sprint(object.Status.Conditions)
		return podReady(object) == ready, nil
	}, func() string { return last })
}

func podReady(object *corev1.Pod) bool {
	for _, c := range object.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// inContainer is the command for a program of the image, in the pod's
// container; for one that only the node has it is nil.
func (p *Pod) inContainer(argv []string, flags ...string) []string {
	if p.container == "" || argv[0] != p.node.cluster.workload {
		return nil
	}
	command := append([]string{"runc", "--root", runcRoot, "exec"}, flags...)
	return append(append(command, p.container, "/workload"), argv[1:]...)
}

// Output runs a command in the pod: a program of the image in its container,
// one that only the node has in its network.
func (p *Pod) Output(name string, args ...string) (string, error) {
	if argv := p.inContainer(append([]string{name}, args...)); argv != nil {
		return p.node.Output(argv[0], argv[1:]...)
	}
	return p.Space.Output(name, args...)
}

// delete has the API server and the kubelet take the pod away, and waits until
// both have.
func (p *Pod) delete(ctx context.Context) error {
	if !p.HostNetwork {
		if err := p.file.Close(); err != nil {
			return err
		}
	}
	pods := p.node.cluster.Client.CoreV1().Pods(p.Namespace)
	if err := pods.Delete(ctx, p.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return poll(ctx, "the kubelet to remove pod "+p.Name, func() (bool, error) {
		_, err := pods.Get(ctx, p.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	}, func() string { return "" })
}
