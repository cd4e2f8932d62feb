package scenario

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// unconnected breaks what a pod needs to get a network, waits until it is seen that it
// gets none, has podpath say why, heals it, and waits until the pod has one.
func (r *Runner) unconnected(ctx context.Context, stage *Stage, scene *Scene, out *Result) error {
	heal := scene.healOnce()
	stage.onClose(heal)
	if err := scene.Break(ctx); err != nil {
		return fmt.Errorf("break: %w", err)
	}
	if err := scene.Stuck(ctx); err != nil {
		return fmt.Errorf("the symptom: %w", err)
	}
	if err := r.explain(ctx, scene, out); err != nil {
		return err
	}
	if err := heal(ctx); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	if err := scene.Freed(ctx); err != nil {
		return fmt.Errorf("after it was healed: %w", err)
	}
	return nil
}

// explain has podpath say what is wrong, which takes one verdict and no traffic.
func (r *Runner) explain(ctx context.Context, scene *Scene, out *Result) error {
	kubeconfig := scene.Kubeconfig
	if kubeconfig == "" {
		kubeconfig = r.Cluster.Kubeconfig()
	}
	args := []string{"trace", "--from", scene.From, "--to", scene.To}
	if r.Keep != nil {
		args = append(args, "--write", r.recording())
	}
	p, code, err := runPodpath(ctx, r.Podpath, scene.Node, kubeconfig, args...)
	if err != nil {
		return err
	}
	out.Case = scene.judge(p.verdicts, 1)
	if code != 1 {
		out.Otherwise = fmt.Sprintf("exit code %d", code)
	}
	out.replay = scene.replay()
	out.Detail = fmt.Sprintf("%s\n%s\n%s", &p.errors, out.Otherwise, p.text())
	return nil
}

// stuckFor is how long a pod has to fail to get its network before podpath is asked:
// longer than what an agent takes that is restarted.
const stuckFor = 25 * time.Second

// notConnected waits until the kubelet has said for that long that the pod gets no
// network, by Events with one of the reasons.
func (s *Stage) notConnected(ctx context.Context, pod string, reasons ...string) error {
	last := ""
	return s.within(ctx, 2*time.Minute, "pod "+pod+" to be without a network", &last, func() (bool, error) {
		object, err := s.Client.CoreV1().Pods(s.Namespace).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if len(object.Status.PodIPs) > 0 {
			return false, fmt.Errorf("pod %s has the address %s", pod, object.Status.PodIP)
		}
		list, err := s.Client.CoreV1().Events(s.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + pod})
		if err != nil {
			return false, err
		}
		for i := range list.Items {
			e := &list.Items[i]
			last = e.Reason + ": " + e.Message
			for _, reason := range reasons {
				if e.Reason == reason && e.LastTimestamp.Sub(object.CreationTimestamp.Time) >= stuckFor {
					return true, nil
				}
			}
		}
		return false, nil
	})
}

// connected waits until the pod has an address.
func (s *Stage) connected(ctx context.Context, pod string) error {
	last := ""
	return s.within(ctx, 2*time.Minute, "pod "+pod+" to have an address", &last, func() (bool, error) {
		object, err := s.Client.CoreV1().Pods(s.Namespace).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		last = string(object.Status.Phase)
		return object.Status.Phase == corev1.PodRunning && len(object.Status.PodIPs) > 0, nil
	})
}

// within polls with a limit of its own: kubelets try again only every ten seconds or
// so.
func (s *Stage) within(ctx context.Context, limit time.Duration, what string, last *string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: last %s", what, ctx.Err(), *last)
		case <-time.After(300 * time.Millisecond):
		}
	}
}
