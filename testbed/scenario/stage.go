package scenario

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podpath/podpath/testbed/k8s"
)

// Stage makes the objects of one scenario, and takes them away.
type Stage struct {
	*k8s.Cluster
	// Self is the program that workloads run.
	Self string
	// Namespace is the scenario's own.
	Namespace string
	rand      *rand.Rand
	used      map[string]bool
	undo      []func(context.Context) error
}

// newStage makes a namespace. Names and ports follow from the seed.
func newStage(ctx context.Context, c *k8s.Cluster, self string, seed uint64) (*Stage, error) {
	s := &Stage{Cluster: c, Self: self, rand: rand.New(rand.NewPCG(seed, 0)), used: map[string]bool{}}
	s.Namespace = s.Word()
	_, err := c.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: s.Namespace, Labels: map[string]string{"team": s.Word()},
	}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("make namespace: %w", err)
	}
	s.onClose(func(ctx context.Context) error {
		return c.Client.CoreV1().Namespaces().Delete(ctx, s.Namespace, metav1.DeleteOptions{})
	})
	return s, nil
}

func (s *Stage) onClose(f func(context.Context) error) { s.undo = append(s.undo, f) }

// close takes everything away, the last first, and gives the first error.
func (s *Stage) close(ctx context.Context) error {
	var first error
	for i := len(s.undo) - 1; i >= 0; i-- {
		if err := s.undo[i](ctx); err != nil && first == nil {
			first = err
		}
	}
	s.undo = nil
	return first
}

// Word is a name that this stage has not used yet.
func (s *Stage) Word() string {
	const letters, vowels = "bcdfghklmnprstvz", "aeiou"
	for {
		var w []byte
		for range 3 {
			w = append(w, letters[s.rand.IntN(len(letters))], vowels[s.rand.IntN(len(vowels))])
		}
		if name := string(w); !s.used[name] {
			s.used[name] = true
			return name
		}
	}
}

// Port is a port for a workload.
func (s *Stage) Port() int32 { return 3000 + s.rand.Int32N(6000) }

// Other is the other one of the two nodes.
func (s *Stage) Other(n *k8s.Node) *k8s.Node {
	for _, other := range s.Nodes() {
		if other != n {
			return other
		}
	}
	return nil
}

// Pick is one of the nodes.
func (s *Stage) Pick() *k8s.Node {
	nodes := s.Nodes()
	return nodes[s.rand.IntN(len(nodes))]
}

// Pod makes a pod that does nothing.
func (s *Stage) Pod(ctx context.Context, node *k8s.Node, app string, ports ...corev1.ContainerPort) (*k8s.Pod, error) {
	return s.pod(ctx, k8s.PodSpec{Node: node.Name, Labels: map[string]string{"app": app}, Ports: ports})
}

func (s *Stage) pod(ctx context.Context, spec k8s.PodSpec) (*k8s.Pod, error) {
	spec.Namespace = cmp.Or(spec.Namespace, s.Namespace)
	if spec.Name == "" {
		spec.Name = fmt.Sprintf("%s-%s", spec.Labels["app"], s.Word())
	}
	p, err := s.StartPod(ctx, spec)
	if err != nil {
		return nil, err
	}
	s.onClose(p.Remove)
	return p, nil
}

// Server makes a pod that answers on a port, by TCP and by UDP.
func (s *Stage) Server(ctx context.Context, node *k8s.Node, app string, port int32) (*k8s.Pod, error) {
	p, err := s.Pod(ctx, node, app, corev1.ContainerPort{Name: "main", ContainerPort: port})
	if err != nil {
		return nil, err
	}
	return p, s.Listen(ctx, p, "", port)
}

// Listen starts a server in the pod, on every address or on one.
func (s *Stage) Listen(ctx context.Context, p *k8s.Pod, addr string, port int32) error {
	if addr == "" {
		addr = s.everywhere()
	}
	listen := at(addr, port)
	for _, network := range []string{"tcp", "udp"} {
		_, err := p.StartProcess(network, nil, s.Self, "workload", "listen", listen, "--network", network, "--name", p.Name)
		if err != nil {
			return err
		}
	}
	return s.await(ctx, "a server in "+p.Name, func() bool {
		dial := listen
		if addr == s.everywhere() {
			dial = at(s.loopback(), port)
		}
		out, err := p.Output(s.Self, "workload", "dial", dial, "--limit", "300ms")
		return err == nil && tries(out).all("ok")
	})
}

// Service makes a Service for the pods of an app. edit, if not nil, changes it
// before it is made.
func (s *Stage) Service(ctx context.Context, app string, port, target int32, edit func(*corev1.Service)) (*corev1.Service, error) {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: app},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": app},
			Ports: []corev1.ServicePort{
				{Name: "main", Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromInt32(target)},
				{Name: "main-udp", Protocol: corev1.ProtocolUDP, Port: port, TargetPort: intstr.FromInt32(target)},
			},
		},
	}
	s.families(svc)
	if edit != nil {
		edit(svc)
	}
	return s.Client.CoreV1().Services(s.Namespace).Create(ctx, svc, metav1.CreateOptions{})
}

// Policy makes a NetworkPolicy.
func (s *Stage) Policy(ctx context.Context, name string, spec networkingv1.NetworkPolicySpec) (*networkingv1.NetworkPolicy, error) {
	return s.Client.NetworkingV1().NetworkPolicies(s.Namespace).Create(ctx, &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name}, Spec: spec,
	}, metav1.CreateOptions{})
}

// RemovePolicy takes a NetworkPolicy away.
func (s *Stage) RemovePolicy(ctx context.Context, name string) error {
	return s.Client.NetworkingV1().NetworkPolicies(s.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

// permitted has podpath run with the rights that deploy/ gives it, but for an
// API group or a resource ("": all of them).
func (s *Stage) permitted(ctx context.Context, sc *Scene, except string) error {
	file, undo, err := s.Access(ctx, s.Word(), except)
	if undo != nil {
		s.onClose(undo)
	}
	sc.Kubeconfig = file
	return err
}

// await polls with a limit that a busy machine meets.
func (s *Stage) await(ctx context.Context, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }

// at is HOST:PORT.
func at(addr string, port int32) string {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port)).String()
}

// ref is an endpoint of podpath.
func (s *Stage) ref(kind, name string) string { return s.Namespace + "/" + kind + "/" + name }
