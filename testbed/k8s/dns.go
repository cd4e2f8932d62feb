package k8s

import (
	"context"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// DNSPod is the name of the pod that CoreDNS runs in, in kube-system.
const DNSPod = "coredns-7c9d"

// startDNS runs CoreDNS in a pod of the first node, behind Service
// kube-system/kube-dns. It reaches the API server through its Service, as in
// any cluster.
func (c *Cluster) startDNS(ctx context.Context) error {
	if err := os.WriteFile(c.file("Corefile"), []byte(c.corefile()), 0o644); err != nil {
		return err
	}
	labels := map[string]string{"k8s-app": "kube-dns"}
	policy := corev1.IPFamilyPolicySingleStack
	if c.Flavour.Dual {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "kube-dns", Labels: labels},
		Spec: corev1.ServiceSpec{ClusterIP: dnsAddr, ClusterIPs: c.Flavour.both(dnsAddr, dnsAddr6), IPFamilies: c.Flavour.families(), IPFamilyPolicy: &policy,
			Selector: labels, Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)},
			}},
	}
	if _, err := c.Client.CoreV1().Services(metav1.NamespaceSystem).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := c.StartPod(ctx, PodSpec{
		Namespace: metav1.NamespaceSystem, Name: DNSPod, Node: c.nodes[0].Name, Labels: labels,
		Ports: []corev1.ContainerPort{
			{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
			{Name: "dns-tcp", ContainerPort: 53, Protocol: corev1.ProtocolTCP},
		},
	})
	if err != nil {
		return err
	}
	return c.ServeDNS(ctx)
}

// ServeDNS starts CoreDNS in its pod, and waits until it answers.
func (c *Cluster) ServeDNS(ctx context.Context) error {
	pod := c.PodNamed(metav1.NamespaceSystem, DNSPod)
	dns, err := pod.StartProcess("coredns", nil, c.program("coredns"), "-conf", c.file("Corefile"))
	if err != nil {
		return err
	}
	return dns.await(ctx, "CoreDNS", func() bool { return pod.healthy("http://127.0.0.1:8181/ready") })
}

func (c *Cluster) corefile() string {
	return `.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig ` + c.podKubeconfig() + ` testbed
        pods insecure
    }
    loop
    reload
    loadbalance
}
`
}
