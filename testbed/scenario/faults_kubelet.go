package scenario

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/workload"
)

var full = []string{"flannel-full"}

// What needs a kubelet, and a container runtime, to happen.
func kubeletFaults() []Scenario {
	return []Scenario{
		{Name: "kubelet-exec", About: "the client is a program that kubectl exec runs", Flavours: full, Build: byExec},
		{Name: "kubelet-liveness-blocked", About: "somebody's own nftables table drops the node's way to the pod, and the kubelet kills the container for it", Flavours: full, Build: livenessBlocked},
		{Name: "kubelet-container-crashed", About: "the only container behind a Service crashed, and is not started again", Flavours: full, Build: containerCrashed},
		{Name: "kubelet-host-port-crashed", About: "a hostPort, and nobody listens in the pod any more", Flavours: full, Build: hostPortCrashed},
	}
}

// execed is a client in a pod, by kubectl exec.
type execed struct{ pod *k8s.Pod }

func (e execed) Output(_ string, args ...string) (string, error) { return e.pod.Exec(args...) }

func byExec(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, err := s.podToPod(ctx, n, s.Other(n), "tcp")
	if err != nil {
		return nil, err
	}
	sc.Client = execed{sc.Client.(*k8s.Pod)}
	return sc, nil
}

// listening is a pod whose container is a server.
func (s *Stage) listening(ctx context.Context, spec k8s.PodSpec, port int32) (*k8s.Pod, error) {
	spec.Name = s.Word()
	spec.Command = []string{"workload", "listen", at(s.everywhere(), port), "--name", spec.Name}
	spec.Ports = []corev1.ContainerPort{{Name: "main", ContainerPort: port}}
	return s.pod(ctx, spec)
}

func livenessBlocked(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	port, table := s.Port(), s.Word()
	p, err := s.listening(ctx, k8s.PodSpec{Node: n.Name, Labels: map[string]string{"app": s.Word()}, Liveness: port}, port)
	if err != nil {
		return nil, err
	}
	rule := fmt.Sprintf("table %s %s { chain output { type filter hook output priority 10; %s daddr %s tcp dport %d drop; }; }",
		s.table(), table, s.table(), p.Addr, port)
	return &Scene{
		Client: n.Space, Network: "tcp", Target: at(p.Addr.String(), port), Node: n,
		From: "node/" + n.Name, To: s.ref("pod", p.Name) + ":" + itoa(port), GoesOn: true, // the kubelet's probes
		Break: func(ctx context.Context) error {
			if err := n.Run("nft", rule); err != nil {
				return err
			}
			return s.await(ctx, "the kubelet to kill the container", func() bool { return s.restarts(ctx, p) > 0 })
		},
		Heal:    func(context.Context) error { return n.Run("nft", "delete", "table", s.table(), table) },
		Symptom: []workload.Outcome{workload.Timeout},
		Want:    Want{Component: "node", Code: "node-forward-drop", Object: Object{Kind: "FirewallRule", Name: s.table() + " " + table + " output"}},
	}, nil
}

// restarts is how often the kubelet has started the pod's container again.
func (s *Stage) restarts(ctx context.Context, p *k8s.Pod) int32 {
	object, err := s.Client.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
	if err != nil || len(object.Status.ContainerStatuses) == 0 {
		return 0
	}
	return object.Status.ContainerStatuses[0].RestartCount
}

func containerCrashed(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	app, port, target := s.Word(), s.Port(), s.Port()
	server := func(ctx context.Context) (*k8s.Pod, error) {
		return s.listening(ctx, k8s.PodSpec{Node: n.Name, Labels: map[string]string{"app": app}, Restart: corev1.RestartPolicyNever}, target)
	}
	p, err := server(ctx)
	if err != nil {
		return nil, err
	}
	svc, err := s.Service(ctx, app, port, target, nil)
	if err != nil {
		return nil, err
	}
	client, err := s.Pod(ctx, s.Other(n), s.Word())
	if err != nil {
		return nil, err
	}
	return &Scene{
		Client: client, Network: "tcp", Target: at(svc.Spec.ClusterIP, port), Node: s.Other(n),
		From: s.ref("pod", client.Name), To: s.ref("svc", app) + ":" + itoa(port), Service: app,
		Break: func(ctx context.Context) error {
			if err := p.CrashContainer(); err != nil {
				return err
			}
			return s.awaitEndpoints(ctx, app, 0)
		},
		Heal: func(ctx context.Context) error {
			_, err := server(ctx)
			return err
		},
		Symptom: []workload.Outcome{workload.Refused},
		Want:    Want{Component: "service", Code: "svc-no-endpoints", Object: Object{"Service", s.Namespace, app}},
	}, nil
}

func hostPortCrashed(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := hostPort(ctx, s, s.Pick())
	if err != nil {
		return nil, err
	}
	server := s.PodNamed(s.Namespace, podOf(sc.To))
	sc.Break = func(context.Context) error { return server.Crash() }
	sc.Heal = func(ctx context.Context) error { return s.Listen(ctx, server, "", server.Ports[0].ContainerPort) }
	sc.Symptom = []workload.Outcome{workload.Refused}
	sc.Want = Want{Component: "application", Code: "app-no-listener", Object: Object{"Pod", s.Namespace, server.Name}}
	return sc, nil
}
