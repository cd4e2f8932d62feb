package k8s

import (
	"context"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func (c *Cluster) program(name string) string { return filepath.Join(c.bin, name) }

// startControl starts etcd, the API server, the controllers and the scheduler.
func (c *Cluster) startControl(ctx context.Context) error {
	if _, err := c.start(c.control, "etcd", nil, c.program("etcd"), "--data-dir", c.file("etcd")); err != nil {
		return err
	}
	api, err := c.start(c.control, "kube-apiserver", nil, c.program("kube-apiserver"),
		"--etcd-servers=http://127.0.0.1:2379", "--advertise-address="+controlAddr, "--secure-port=6443",
		"--tls-cert-file="+c.file("apiserver.crt"), "--tls-private-key-file="+c.file("apiserver.key"),
		"--client-ca-file="+c.file("ca.crt"), "--token-auth-file="+c.file("tokens.csv"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.file("accounts.pub"), "--service-account-signing-key-file="+c.file("accounts.key"),
		"--service-cluster-ip-range="+strings.Join(c.Flavour.both(ServiceCIDR, serviceCIDR6), ","), "--allow-privileged",
		"--kubelet-preferred-address-types=InternalIP", "--profiling=false")
	if err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	err = api.await(ctx, "the API server", func() bool {
		b, err := c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil && string(b) == "ok"
	})
	if err != nil {
		return err
	}
	controllers := "*"
	if !c.Flavour.Full {
		// Nobody sends heartbeats: without these controllers nodes stay what they
		// are said to be.
		controllers = "*,-node-lifecycle-controller,-taint-eviction-controller,-device-taint-eviction-controller"
	}
	kcm, err := c.start(c.control, "kube-controller-manager", nil, c.program("kube-controller-manager"),
		"--kubeconfig="+c.Kubeconfig(), "--service-account-private-key-file="+c.file("accounts.key"),
		"--root-ca-file="+c.file("ca.crt"), "--allocate-node-cidrs", "--cluster-cidr="+c.podCIDRs(), "--leader-elect=false",
		"--controllers="+controllers)
	if err != nil {
		return err
	}
	if _, err := c.start(c.control, "kube-scheduler", nil, c.program("kube-scheduler"),
		"--kubeconfig="+c.Kubeconfig(), "--leader-elect=false"); err != nil {
		return err
	}
	return kcm.await(ctx, "the default service account", func() bool {
		_, err := c.Client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
}

func (c *Cluster) podCIDRs() string { return strings.Join(c.Flavour.both(PodCIDR, podCIDR6), ",") }

// connect makes the client. This process is not in the control plane's network:
// it dials there.
func (c *Cluster) connect() error {
	cfg, err := c.restConfig()
	if err != nil {
		return err
	}
	c.Client, err = kubernetes.NewForConfig(cfg)
	return err
}

func (c *Cluster) restConfig() (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	cfg.Dial = c.control.Dial
	cfg.QPS, cfg.Burst = 200, 400
	return cfg, nil
}
