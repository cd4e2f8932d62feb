package k8s

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	cnitypes "github.com/containernetworking/cni/pkg/types/100"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

const networkName = "pods"

// PodSpec says what a pod is.
type PodSpec struct {
	Namespace, Name, Node string
	Labels                map[string]string
	Ports                 []corev1.ContainerPort
	HostNetwork           bool
	// NotReady leaves the pod without the Ready condition.
	NotReady bool
	// What only a kubelet gives: Command is what the image's program does, if not
	// wait; Liveness a TCP port that is probed each second; Restart what follows
	// when the program ends.
	Command  []string
	Liveness int32
	Restart  corev1.RestartPolicy
	// Owner is the workload that made the pod, as KIND/NAME; "" if none did.
	Owner string
}

// Pod is an object, a network namespace, and the processes that the caller
// starts in it. In the light layout the testbed connects it to the network; in
// the full one the kubelet of its node has it made.
type Pod struct {
	PodSpec
	*Space
	// Addr is the pod's address in the family that scenarios speak, Addrs all.
	Addr    netip.Addr
	Addrs   []netip.Addr
	node    *Node
	network *libcni.CNIConfig
	list    *libcni.NetworkConfigList
	runtime *libcni.RuntimeConf
	// container is the ID of its container in the full layout.
	container string
	procs     []*Process
	removed   bool
}

// StartPod makes the object, the namespace, and has the CNI plugins connect it.
func (c *Cluster) StartPod(ctx context.Context, spec PodSpec) (*Pod, error) {
	p := &Pod{PodSpec: spec}
	object, err := c.Client.CoreV1().Pods(spec.Namespace).Create(ctx, c.object(p), metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create pod %s: %w", spec.Name, err)
	}
	return c.serve(ctx, p, object)
}

// Place makes the object of a pod, past the scheduler, and waits for nothing: the
// pod may never have a network. Only in the full layout.
func (c *Cluster) Place(ctx context.Context, spec PodSpec, edit func(*corev1.Pod)) error {
	object := c.object(&Pod{PodSpec: spec})
	object.Spec.NodeName, object.Spec.NodeSelector = spec.Node, nil
	if edit != nil {
		edit(object)
	}
	if _, err := c.Client.CoreV1().Pods(spec.Namespace).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create pod %s: %w", spec.Name, err)
	}
	return nil
}

// serve does for a pod object what a kubelet does.
func (c *Cluster) serve(ctx context.Context, p *Pod, object *corev1.Pod) (*Pod, error) {
	c.pods = append(c.pods, p)
	if c.Flavour.Full {
		return p, p.follow(ctx, c)
	}
	if p.node = c.Node(p.Node); p.node == nil {
		return nil, fmt.Errorf("pod %s: no node %q", p.Name, p.Node)
	}
	if p.HostNetwork {
		p.Space = p.node.Space
		if err := p.setAddrs(p.node.addrs); err != nil {
			return nil, err
		}
	} else if err := p.attach(ctx, string(object.UID)); err != nil {
		return nil, fmt.Errorf("pod %s: %w", p.Name, err)
	}
	return p, p.SetReady(ctx, !p.NotReady)
}

// setAddrs takes the pod's addresses, one of each family that the cluster has.
func (p *Pod) setAddrs(all []string) error {
	p.Addrs = nil
	for _, s := range all {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return err
		}
		p.Addrs = append(p.Addrs, a)
	}
	if want := p.node.cluster.Flavour.families(); len(p.Addrs) != len(want) {
		return fmt.Errorf("pod %s has addresses %v, not one for each of %v", p.Name, p.Addrs, want)
	}
	// IPv4 is the cluster's first family.
	slices.SortFunc(p.Addrs, netip.Addr.Compare)
	p.Addr = p.Addrs[len(p.Addrs)-1]
	return nil
}

func (c *Cluster) object(p *Pod) *corev1.Pod {
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels}}
	object.Spec = c.podSpec(p.PodSpec)
	if !c.Flavour.Full {
		object.Spec.NodeName = p.Node
	}
	return object
}

// podSpec is a pod that the scheduler puts on the node; "" is any.
func (c *Cluster) podSpec(p PodSpec) corev1.PodSpec {
	if c.Flavour.Full {
		return kubeletPod(p)
	}
	spec := corev1.PodSpec{
		HostNetwork: p.HostNetwork, TerminationGracePeriodSeconds: new(int64),
		Containers: []corev1.Container{{Name: "main", Image: "none", Ports: p.Ports}},
	}
	if p.Node != "" {
		spec.NodeSelector = map[string]string{corev1.LabelHostname: p.Node}
	}
	return spec
}

// attach makes the namespace and runs the plugins, as a container runtime does.
func (p *Pod) attach(ctx context.Context, uid string) error {
	name := p.Node + "-" + p.Namespace + "-" + p.Name
	space, err := newSpace(name)
	if err != nil {
		return err
	}
	p.Space = space
	conf, err := os.ReadFile(p.node.conflist())
	if err != nil {
		return err
	}
	if p.list, err = libcni.ConfListFromBytes(conf); err != nil {
		return err
	}
	p.network = libcni.NewCNIConfigWithCacheDir([]string{p.node.cluster.bin, "/usr/lib/cni"}, p.node.file("cni-cache"), quiet())
	p.runtime = &libcni.RuntimeConf{
		ContainerID: uid, NetNS: space.Path(), IfName: "eth0",
		Args: [][2]string{
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", p.Namespace}, {"K8S_POD_NAME", p.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", uid}, {"K8S_POD_UID", uid},
		},
		CapabilityArgs: map[string]any{"portMappings": p.hostPorts()},
	}
	return p.node.Space.Do(func() error { return p.add(ctx) })
}

// quiet runs plugins without what they log to standard error: an error comes in
// their answer, and Calico's plugin has a file too.
func quiet() invoke.Exec {
	return &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: io.Discard}}
}

func (p *Pod) add(ctx context.Context) error {
	result, err := p.network.AddNetworkList(ctx, p.list, p.runtime)
	if err != nil {
		return fmt.Errorf("add to the network: %w", err)
	}
	r, err := cnitypes.NewResultFromResult(result)
	if err != nil {
		return err
	}
	var addrs []string
	for _, ip := range r.IPs {
		addrs = append(addrs, ip.Address.IP.String())
	}
	return p.setAddrs(addrs)
}

func (p *Pod) hostPorts() []map[string]any {
	var maps []map[string]any
	for _, port := range p.Ports {
		if port.HostPort != 0 {
			maps = append(maps, map[string]any{"hostPort": port.HostPort, "containerPort": port.ContainerPort, "protocol": "tcp"})
		}
	}
	return maps
}

// SetReady changes the Ready condition.
func (p *Pod) SetReady(ctx context.Context, ready bool) error {
	if p.container != "" {
		return p.setGate(ctx, ready)
	}
	return p.report(ctx, ready)
}

// report writes the status that a kubelet would.
func (p *Pod) report(ctx context.Context, ready bool) error {
	return retry.RetryOnConflict(retry.DefaultRetry, func() error { return p.tryReport(ctx, ready) })
}

func (p *Pod) tryReport(ctx context.Context, ready bool) error {
	pods := p.node.cluster.Client.CoreV1().Pods(p.Namespace)
	object, err := pods.Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	now := metav1.Now()
	object.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, StartTime: &now,
		HostIP: p.node.addrs[0], PodIP: p.Addrs[0].String(),
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "main", Image: "none", Ready: ready,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		}},
	}
	for _, addr := range p.node.addrs {
		object.Status.HostIPs = append(object.Status.HostIPs, corev1.HostIP{IP: addr})
	}
	for _, addr := range p.Addrs {
		object.Status.PodIPs = append(object.Status.PodIPs, corev1.PodIP{IP: addr.String()})
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		status := corev1.ConditionTrue
		if !ready && (kind == corev1.ContainersReady || kind == corev1.PodReady) {
			status = corev1.ConditionFalse
		}
		object.Status.Conditions = append(object.Status.Conditions, corev1.PodCondition{Type: kind, Status: status, LastTransitionTime: now})
	}
	_, err = pods.UpdateStatus(ctx, object, metav1.UpdateOptions{})
	return err
}

// StartProcess starts a program in the pod.
func (p *Pod) StartProcess(name string, env []string, argv ...string) (*Process, error) {
	c := p.node.cluster
	name = p.Namespace + "-" + p.Name + "-" + name
	space, inner := p.Space, filepath.Join(c.run, "log", name+".pid")
	command := p.inContainer(argv, "--pid-file", inner)
	if command != nil {
		space, argv = p.node.Space, command
	}
	proc, err := c.start(space, name, env, argv...)
	if err != nil {
		return nil, err
	}
	if command != nil {
		proc.inner = inner
	}
	p.procs = append(p.procs, proc)
	return proc, nil
}

// Crash ends the pod's processes and leaves everything else.
func (p *Pod) Crash() error {
	for _, proc := range p.procs {
		if err := proc.Kill(); err != nil {
			return err
		}
	}
	p.procs = nil
	return nil
}

// Freeze stops the pod's processes where they are; Thaw lets them go on.
func (p *Pod) Freeze() error { return p.signal(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (p *Pod) Thaw() error { return p.signal(syscall.SIGCONT) }

func (p *Pod) signal(sig syscall.Signal) error {
	for _, proc := range p.procs {
		if err := proc.signal(sig); err != nil {
			return err
		}
	}
	return nil
}

// Remove takes the pod away as a kubelet does: processes, network, object. A
// second call does nothing.
func (p *Pod) Remove(ctx context.Context) error {
	if p.removed {
		return nil
	}
	p.removed = true
	if err := p.Crash(); err != nil {
		return err
	}
	c := p.node.cluster
	c.pods = slices.DeleteFunc(c.pods, func(q *Pod) bool { return p == q })
	if p.container != "" {
		return p.delete(ctx)
	}
	if !p.HostNetwork {
		if err := p.node.Do(func() error { return p.network.DelNetworkList(ctx, p.list, p.runtime) }); err != nil {
			return fmt.Errorf("remove pod %s from the network: %w", p.Name, err)
		}
		if err := p.Space.remove(); err != nil {
			return err
		}
	}
	now := int64(0)
	err := c.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// networkOf is the network of an address with a prefix length.
func networkOf(s string) string {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return s
	}
	return p.Masked().String()
}
