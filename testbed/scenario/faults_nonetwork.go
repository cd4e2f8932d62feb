package scenario

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/testbed/replays"
)

// Pods that get no network, of real kubelets and a real container runtime.
func noNetworkFaults() []Scenario {
	return []Scenario{
		{Name: "nonet-no-address", About: "every address of the node's range is reserved, for pods that are gone", Flavours: full, Build: noAddress},
		{Name: "nonet-no-config", About: "the node's CNI configuration was taken away", Flavours: full, Build: noCNIConfig},
		{Name: "nonet-no-plugin", About: "the node's CNI configuration names a plugin that is not installed", Flavours: full, Build: noCNIPlugin},
		{Name: "nonet-agent-crashes", About: "the DaemonSet that would install the plugin crashes", Flavours: full, Build: cniAgentCrashes},
		{Name: "nonet-events-refused", About: "the DaemonSet crashes, and podpath may not read Events", Flavours: full, Build: eventsRefused},
		{Name: "nonet-volume", About: "a pod waits for a volume, and not for a network: podpath blames nobody", Flavours: full, Check: waitsForVolume},
	}
}

// stuckPod is a scene in which a new pod of a node is to get no network.
func (s *Stage) stuckPod(n *k8s.Node, code string, object Object, reasons ...string) (*Scene, string) {
	pod := s.Word()
	s.onClose(func(ctx context.Context) error {
		now := int64(0)
		return s.Client.CoreV1().Pods(s.Namespace).Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	return &Scene{
		Node: n, From: s.ref("pod", pod), To: "any",
		Stuck: func(ctx context.Context) error { return s.notConnected(ctx, pod, reasons...) },
		Freed: func(ctx context.Context) error { return s.connected(ctx, pod) },
		Want:  Want{Component: "cni", Code: code, Object: object, Confidence: replays.Suspected},
	}, pod
}

// place makes a pod of a node.
func (s *Stage) place(ctx context.Context, n *k8s.Node, pod string) error {
	return s.Place(ctx, k8s.PodSpec{Namespace: s.Namespace, Name: pod, Node: n.Name, Labels: map[string]string{"app": pod}}, nil)
}

// brokenBy breaks a node in a way that can be taken back, and makes the pod after.
func (s *Stage) brokenBy(sc *Scene, pod string, do func() (restore func() error, err error)) {
	var restore func() error
	sc.Break = func(ctx context.Context) (err error) {
		if restore, err = do(); err != nil {
			return err
		}
		return s.place(ctx, sc.Node, pod)
	}
	sc.Heal = func(context.Context) error {
		if restore == nil {
			return nil
		}
		return restore()
	}
}

func noAddress(_ context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, pod := s.stuckPod(n, "cni-no-ip-exhausted", Object{Kind: "Node", Name: n.Name}, "FailedCreatePodSandBox")
	s.brokenBy(sc, pod, n.TakeAddresses)
	return sc, nil
}

func noCNIConfig(_ context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, pod := s.stuckPod(n, "cni-config-missing", Object{Kind: "Node", Name: n.Name}, "NetworkNotReady")
	s.brokenBy(sc, pod, n.HideCNI)
	// The controllers taint a node that is not ready: what comes after needs one that is.
	freed := sc.Freed
	sc.Freed = func(ctx context.Context) error {
		if err := freed(ctx); err != nil {
			return err
		}
		return n.AwaitReady(ctx)
	}
	return sc, nil
}

func noCNIPlugin(_ context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	sc, pod := s.stuckPod(n, "cni-config-missing", Object{Kind: "Node", Name: n.Name}, "FailedCreatePodSandBox", "FailedKillPod", "SandboxChanged")
	s.brokenBy(sc, pod, func() (func() error, error) { return n.ReplacePlugin("flannel") })
	return sc, nil
}

// crashingAgent is a DaemonSet as flannel's manifest has it, of which the pods end
// at once, before they have installed anything.
func (s *Stage) crashingAgent(ctx context.Context, n *k8s.Node) (pod string, err error) {
	w := k8s.Workload{
		Kind: "DaemonSet", Namespace: s.Namespace, Name: "kube-flannel-ds", Labels: map[string]string{"app": s.Word()},
		Node: n.Name, HostNetwork: true, Command: []string{"workload", "no-such-command"},
	}
	if err := s.CreateWorkload(ctx, w); err != nil {
		return "", err
	}
	s.onClose(func(ctx context.Context) error { return s.RemoveWorkload(ctx, w) })
	err = s.await(ctx, "the DaemonSet's pod to crash twice", func() bool {
		list, err := s.Client.CoreV1().Pods(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + w.Labels["app"]})
		if err != nil || len(list.Items) == 0 || len(list.Items[0].Status.ContainerStatuses) == 0 {
			return false
		}
		pod = list.Items[0].Name
		return list.Items[0].Status.ContainerStatuses[0].RestartCount > 0
	})
	return pod, err
}

func cniAgentCrashes(ctx context.Context, s *Stage) (*Scene, error) {
	n := s.Pick()
	agent, err := s.crashingAgent(ctx, n)
	if err != nil {
		return nil, err
	}
	sc, pod := s.stuckPod(n, "cni-daemon-down", Object{"Pod", s.Namespace, agent}, "FailedCreatePodSandBox", "FailedKillPod", "SandboxChanged")
	s.brokenBy(sc, pod, func() (func() error, error) { return n.ReplacePlugin("flannel") })
	return sc, nil
}

func eventsRefused(ctx context.Context, s *Stage) (*Scene, error) {
	sc, err := cniAgentCrashes(ctx, s)
	if err != nil {
		return nil, err
	}
	return sc, s.permitted(ctx, sc, "events")
}

func waitsForVolume(ctx context.Context, r *Runner, s *Stage) (string, error) {
	n, pod := s.Pick(), s.Word()
	agent, err := s.crashingAgent(ctx, n)
	if err != nil {
		return "", err
	}
	err = s.Place(ctx, k8s.PodSpec{Namespace: s.Namespace, Name: pod, Node: n.Name}, func(object *corev1.Pod) {
		object.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: s.Word()}},
		}}}
		// The kubelet waits only for what a container mounts.
		object.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	})
	if err != nil {
		return "", err
	}
	s.onClose(func(ctx context.Context) error {
		now := int64(0)
		return s.Client.CoreV1().Pods(s.Namespace).Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
	if err := s.notConnected(ctx, pod, "FailedMount"); err != nil {
		return "", err
	}
	p, code, err := runPodpath(ctx, r.Podpath, n, r.Cluster.Kubeconfig(), "trace", "--from", s.ref("pod", pod), "--to", "any")
	if err != nil {
		return "", err
	}
	if code != 2 || len(p.verdicts) > 0 {
		return fmt.Sprintf("exit code %d, %d verdicts, while %s crashes beside: %s", code, len(p.verdicts), agent, p.text()), nil
	}
	return "", nil
}
