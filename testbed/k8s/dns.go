package k8s

import (
	"context"
	"fmt"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// dnsPod is the name of the pod that CoreDNS runs in, in kube-system, if the
// testbed makes it.
const dnsPod = "coredns-7c9d"

func dnsLabels() map[string]string { return map[string]string{"k8s-app": "kube-dns"} }

// DNS is the pod that CoreDNS runs in.
func (c *Cluster) DNS() *Pod { return c.dns }

// startDNS runs CoreDNS behind Service kube-system/kube-dns. It reaches the API
// server through its Service, as in any cluster.
func (c *Cluster) startDNS(ctx context.Context) error {
	if err := c.createDNSService(ctx); err != nil {
		return err
	}
	if c.Flavour.Full {
		return c.deployDNS(ctx)
	}
	if err := os.WriteFile(c.file("Corefile"), []byte(c.lightCorefile("")), 0o644); err != nil {
		return err
	}
	var err error
	c.dns, err = c.StartPod(ctx, PodSpec{
		Namespace: metav1.NamespaceSystem, Name: dnsPod, Node: c.nodes[0].Name, Labels: dnsLabels(), Ports: dnsPorts(),
	})
	if err != nil {
		return err
	}
	return c.ServeDNS(ctx)
}

func (c *Cluster) lightCorefile(upstream string) string {
	return corefile("kubeconfig "+c.podKubeconfig()+" testbed", upstream)
}

// ForwardDNS starts CoreDNS anew, in the pod that the testbed made: names that are
// none of the cluster's are asked for at upstream, ADDRESS:PORT, or nowhere if
// that is empty.
func (c *Cluster) ForwardDNS(ctx context.Context, upstream string) error {
	if err := c.dns.Crash(); err != nil {
		return err
	}
	if err := os.WriteFile(c.file("Corefile"), []byte(c.lightCorefile(upstream)), 0o644); err != nil {
		return err
	}
	return c.ServeDNS(ctx)
}

func (c *Cluster) createDNSService(ctx context.Context) error {
	policy := corev1.IPFamilyPolicySingleStack
	if c.Flavour.Dual {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	_, err := c.Client.CoreV1().Services(metav1.NamespaceSystem).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "kube-dns", Labels: dnsLabels()},
		Spec: corev1.ServiceSpec{
			ClusterIP: dnsAddr, ClusterIPs: c.Flavour.both(dnsAddr, dnsAddr6),
			IPFamilies: c.Flavour.families(), IPFamilyPolicy: &policy, Selector: dnsLabels(),
			Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)},
			},
		},
	}, metav1.CreateOptions{})
	return err
}

func dnsPorts() []corev1.ContainerPort {
	return []corev1.ContainerPort{
		{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
		{Name: "dns-tcp", ContainerPort: 53, Protocol: corev1.ProtocolTCP},
	}
}

// ServeDNS starts CoreDNS in the pod that the testbed made, and waits until it
// answers.
func (c *Cluster) ServeDNS(ctx context.Context) error {
	dns, err := c.dns.StartProcess("coredns", nil, c.program("coredns"), "-conf", c.file("Corefile"))
	if err != nil {
		return err
	}
	return dns.await(ctx, "CoreDNS", func() bool { return c.dns.healthy("http://127.0.0.1:8181/ready") })
}

// corefile is CoreDNS's configuration; api says how it finds the API server, and
// upstream, if any, whom it asks for other names than the cluster's.
func corefile(api, upstream string) string {
	forward := ""
	if upstream != "" {
		forward = "    forward . " + upstream + "\n"
	}
	return `.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        ` + api + `
        pods insecure
    }
` + forward + `    loop
    reload
    loadbalance
}
`
}

// deployDNS runs CoreDNS as clusters do: a Deployment with probes, a ConfigMap,
// and a service account that may read what it needs.
func (c *Cluster) deployDNS(ctx context.Context) error {
	if err := c.allowDNS(ctx); err != nil {
		return err
	}
	name := metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "coredns"}
	_, err := c.Client.CoreV1().ConfigMaps(name.Namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: name, Data: map[string]string{"Corefile": corefile("", "")},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	w := Workload{Kind: "Deployment", Namespace: name.Namespace, Name: name.Name, Labels: dnsLabels(), Pods: 1, Ports: dnsPorts()}
	_, err = c.Client.AppsV1().Deployments(name.Namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: name,
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: w.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: w.Labels}, Spec: dnsSpec()},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	pods, err := c.awaitPods(ctx, w)
	if err != nil {
		return err
	}
	c.dns = pods[0]
	return nil
}

// LoopDNS has CoreDNS forward what it does not know to itself, and starts it anew: it
// notices, and ends. Only in the full layout, where it returns when the kubelet has
// said how it ended, and waits for longer than a trace takes before the next start: for
// a moment after each CoreDNS answers.
func (c *Cluster) LoopDNS(ctx context.Context) error {
	if err := c.configureDNS(ctx, "127.0.0.1:53"); err != nil {
		return err
	}
	if err := c.dns.CrashContainer(); err != nil {
		return err
	}
	last := ""
	return poll(ctx, "CoreDNS to end of its loop", func() (bool, error) {
		object, err := c.dnsObject(ctx)
		if err != nil || len(object.Status.ContainerStatuses) == 0 {
			return false, err
		}
		status := object.Status.ContainerStatuses[0]
		last = fmt.Sprint(status.State, status.LastTerminationState)
		end, waits := status.LastTerminationState.Terminated, status.State.Waiting
		return end != nil && strings.Contains(end.Message, "plugin/loop") && status.RestartCount >= 2 && waits != nil && waits.Reason == "CrashLoopBackOff", nil
	}, func() string { return last })
}

// UnloopDNS undoes LoopDNS, and waits until the kubelet has started CoreDNS again.
func (c *Cluster) UnloopDNS(ctx context.Context) error {
	if err := c.configureDNS(ctx, ""); err != nil {
		return err
	}
	last := ""
	return poll(ctx, "CoreDNS to be ready", func() (bool, error) {
		object, err := c.dnsObject(ctx)
		if err != nil {
			return false, err
		}
		if last = fmt.Sprint(object.Status.ContainerStatuses); !podReady(object) {
			return false, nil
		}
		return true, c.dns.take(object)
	}, func() string { return last })
}

func (c *Cluster) dnsObject(ctx context.Context) (*corev1.Pod, error) {
	return c.Client.CoreV1().Pods(metav1.NamespaceSystem).Get(ctx, c.dns.Name, metav1.GetOptions{})
}

// configureDNS changes the ConfigMap, which the kubelet puts in place when it starts
// the container.
func (c *Cluster) configureDNS(ctx context.Context, upstream string) error {
	_, err := c.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Update(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "coredns"}, Data: map[string]string{"Corefile": corefile("", upstream)},
	}, metav1.UpdateOptions{})
	return err
}

func dnsSpec() corev1.PodSpec {
	spec := kubeletPod(PodSpec{Ports: dnsPorts()})
	spec.ServiceAccountName, spec.DNSPolicy = "coredns", corev1.DNSDefault
	spec.Volumes = []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "coredns"}},
	}}}
	main := &spec.Containers[0]
	main.Image, main.Args = corednsImage, []string{"-conf", "/etc/coredns/Corefile"}
	main.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError // as OpenShift's
	main.VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/etc/coredns"}}
	main.ReadinessProbe = httpProbe(8181, "/ready")
	main.LivenessProbe = httpProbe(8080, "/health")
	return spec
}

func httpProbe(port int32, path string) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(port), Path: path}},
		PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 5,
	}
}

// allowDNS makes CoreDNS's service account and what it may do.
func (c *Cluster) allowDNS(ctx context.Context) error {
	name := metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "coredns"}
	account := &corev1.ServiceAccount{ObjectMeta: name}
	if _, err := c.Client.CoreV1().ServiceAccounts(name.Namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return err
	}
	read := []string{"list", "watch"}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "coredns"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"endpoints", "services", "pods", "namespaces"}, Verbs: read},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: read},
	}}
	if _, err := c.Client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := c.Client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "coredns"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "coredns"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: name.Namespace, Name: "coredns"}},
	}, metav1.CreateOptions{})
	return err
}
