package k8s

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Workload is something that the controllers make pods from.
type Workload struct {
	// Kind is Deployment, StatefulSet or DaemonSet.
	Kind, Namespace, Name string
	Labels                map[string]string
	// Node is the only one that its pods may run on; "" for any.
	Node string
	// Pods is how many there will be; a DaemonSet has one on each node.
	Pods  int
	Ports []corev1.ContainerPort
	// HostNetwork: its pods use their node's network. Command is what the image's
	// program does, if not wait; only in the full layout.
	HostNetwork bool
	Command     []string
}

// StartWorkload makes the object, waits until controllers and scheduler have
// made pods of it, and serves each as a kubelet does. The pods' Remove takes
// them away, RemoveWorkload the object: first the object, or there will be new
// pods.
func (c *Cluster) StartWorkload(ctx context.Context, w Workload) ([]*Pod, error) {
	if err := c.CreateWorkload(ctx, w); err != nil {
		return nil, err
	}
	return c.awaitPods(ctx, w)
}

// awaitPods waits until controllers and scheduler have made the workload's
// pods, and serves each.
func (c *Cluster) awaitPods(ctx context.Context, w Workload) ([]*Pod, error) {
	var objects []corev1.Pod
	err := poll(ctx, fmt.Sprintf("%d pods of %s %s", w.Pods, w.Kind, w.Name), func() (bool, error) {
		var err error
		objects, err = c.assigned(ctx, w)
		if err != nil || len(objects) == 0 {
			return false, err
		}
		// A StatefulSet makes the next pod when the one before is ready.
		for i := range objects {
			if c.PodNamed(w.Namespace, objects[i].Name) == nil {
				if _, err := c.adopt(ctx, w, &objects[i]); err != nil {
					return false, err
				}
			}
		}
		return len(objects) == w.Pods, nil
	}, func() string { return fmt.Sprintf("%d pods have a node", len(objects)) })
	if err != nil {
		return nil, err
	}
	var pods []*Pod
	for i := range objects {
		pods = append(pods, c.PodNamed(w.Namespace, objects[i].Name))
	}
	return pods, nil
}

// assigned are the workload's pods that the scheduler has found a node for.
func (c *Cluster) assigned(ctx context.Context, w Workload) ([]corev1.Pod, error) {
	list, err := c.Client.CoreV1().Pods(w.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(w.Labels).String(),
	})
	if err != nil {
		return nil, err
	}
	var found []corev1.Pod
	for _, p := range list.Items {
		if p.Spec.NodeName != "" {
			found = append(found, p)
		}
	}
	return found, nil
}

func (c *Cluster) adopt(ctx context.Context, w Workload, object *corev1.Pod) (*Pod, error) {
	return c.serve(ctx, &Pod{PodSpec: PodSpec{
		Namespace: object.Namespace, Name: object.Name, Node: object.Spec.NodeName, Labels: w.Labels, Ports: w.Ports,
		Owner: w.Kind + "/" + w.Name,
	}}, object)
}

// CreateWorkload makes the object, and waits for nothing: what its pods run may end.
func (c *Cluster) CreateWorkload(ctx context.Context, w Workload) error {
	if err := c.createWorkload(ctx, w); err != nil {
		return fmt.Errorf("create %s %s: %w", w.Kind, w.Name, err)
	}
	return nil
}

func (c *Cluster) createWorkload(ctx context.Context, w Workload) error {
	meta := metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name}
	selector := &metav1.LabelSelector{MatchLabels: w.Labels}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: w.Labels}, Spec: c.podSpec(PodSpec{Ports: w.Ports, Node: w.Node, HostNetwork: w.HostNetwork, Command: w.Command})}
	replicas := int32(w.Pods)
	apps := c.Client.AppsV1()
	var err error
	switch w.Kind {
	case "Deployment":
		_, err = apps.Deployments(w.Namespace).Create(ctx, &appsv1.Deployment{
			ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector, Template: template},
		}, metav1.CreateOptions{})
	case "StatefulSet":
		_, err = apps.StatefulSets(w.Namespace).Create(ctx, &appsv1.StatefulSet{
			ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: &replicas, Selector: selector, Template: template, ServiceName: w.Name},
		}, metav1.CreateOptions{})
	case "DaemonSet":
		_, err = apps.DaemonSets(w.Namespace).Create(ctx, &appsv1.DaemonSet{
			ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template},
		}, metav1.CreateOptions{})
	default:
		err = fmt.Errorf("unknown kind")
	}
	return err
}

// RemoveWorkload takes the object away, and with it the objects of its pods. Their
// networks and processes are for their Remove.
func (c *Cluster) RemoveWorkload(ctx context.Context, w Workload) error {
	background := metav1.DeletePropagationBackground
	opts := metav1.DeleteOptions{PropagationPolicy: &background}
	apps := c.Client.AppsV1()
	switch w.Kind {
	case "Deployment":
		return apps.Deployments(w.Namespace).Delete(ctx, w.Name, opts)
	case "StatefulSet":
		return apps.StatefulSets(w.Namespace).Delete(ctx, w.Name, opts)
	}
	return apps.DaemonSets(w.Namespace).Delete(ctx, w.Name, opts)
}
