package k8s

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
)

var (
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	clusterInfo = calico("clusterinformations")
)

// calico is a resource of Calico's.
func calico(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "crd.projectcalico.org", Version: "v1", Resource: resource}
}

// CalicoObject is an object of a kind of Calico's own.
type CalicoObject struct {
	// Resource is its plural: globalnetworkpolicies, networkpolicies,
	// hostendpoints.
	Resource, Kind string
	// Namespace is "" for kinds of the whole cluster.
	Namespace, Name string
	Labels          map[string]string
	Spec            map[string]any
}

func (c *Cluster) calicoClient(o CalicoObject) (dynamic.ResourceInterface, error) {
	cfg, err := c.restConfig()
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	if o.Namespace == "" {
		return client.Resource(calico(o.Resource)), nil
	}
	return client.Resource(calico(o.Resource)).Namespace(o.Namespace), nil
}

// CreateCalico makes an object of Calico's.
func (c *Cluster) CreateCalico(ctx context.Context, o CalicoObject) error {
	client, err := c.calicoClient(o)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "crd.projectcalico.org/v1", "kind": o.Kind, "metadata": map[string]any{"name": o.Name}, "spec": o.Spec,
	}}
	object.SetLabels(o.Labels)
	if _, err = client.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create %s %s: %w", o.Kind, o.Name, err)
	}
	return nil
}

// DeleteCalico takes an object of Calico's away.
func (c *Cluster) DeleteCalico(ctx context.Context, o CalicoObject) error {
	client, err := c.calicoClient(o)
	if err != nil {
		return err
	}
	return client.Delete(ctx, o.Name, metav1.DeleteOptions{})
}

// startPolicy starts what enforces NetworkPolicies, if the flavour has it.
func (c *Cluster) startPolicy(ctx context.Context) error {
	if c.Flavour.CNI != Calico {
		return nil
	}
	if err := c.defineCalico(ctx); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if err := n.StartFelix(ctx); err != nil {
			return err
		}
	}
	return nil
}

// defineCalico makes Calico's kinds known to the API server.
func (c *Cluster) defineCalico(ctx context.Context) error {
	cfg, err := c.restConfig()
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return err
	}
	manifest, err := os.ReadFile(c.manifest)
	if err != nil {
		return err
	}
	docs := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		var object unstructured.Unstructured
		err := docs.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", c.manifest, err)
		}
		if object.Object == nil {
			continue
		}
		if _, err := client.Resource(definitions).Create(ctx, &object, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("define %s: %w", object.GetName(), err)
		}
	}
	info := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "crd.projectcalico.org/v1", "kind": "ClusterInformation", "metadata": map[string]any{"name": "default"},
		"spec": map[string]any{"datastoreReady": true, "clusterType": "k8s,canal", "calicoVersion": "v3.28.5"},
	}}
	return poll(ctx, "Calico's kinds", func() (bool, error) {
		_, err := client.Resource(clusterInfo).Create(ctx, info, metav1.CreateOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	}, func() string { return "" })
}

func (n *Node) calicoPlugin(s map[string]string) map[string]any {
	return map[string]any{
		"type": "calico", "log_level": "info", "log_file_path": n.file("calico-cni.log"),
		"datastore_type": "kubernetes", "nodename": n.Name, "nodename_file_optional": true,
		"mtu":  json.Number(s["FLANNEL_MTU"]),
		"ipam": map[string]any{"type": "host-local", "subnet": "usePodCidr"}, "policy": map[string]any{"type": "k8s"},
		"kubernetes": map[string]any{"kubeconfig": n.cluster.Kubeconfig()},
	}
}

// StartFelix starts Calico's policy daemon as Canal does: policy by iptables
// and ipset, routes and tunnels by others.
func (n *Node) StartFelix(ctx context.Context) error {
	backend := "NFT"
	if n.Legacy {
		backend = "Legacy"
	}
	env := []string{
		"FELIX_DATASTORETYPE=kubernetes", "DATASTORE_TYPE=kubernetes", "KUBECONFIG=" + n.cluster.Kubeconfig(),
		"FELIX_FELIXHOSTNAME=" + n.Name, "FELIX_IPINIPENABLED=false", "FELIX_VXLANENABLED=false", "FELIX_IPV6SUPPORT=false",
		"FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT", "FELIX_IPTABLESBACKEND=" + backend,
		"FELIX_HEALTHENABLED=true", "FELIX_HEALTHHOST=127.0.0.1", "FELIX_USAGEREPORTINGENABLED=false",
		// Built without cgo it has no BPF, and must not look for it.
		"FELIX_BPFENABLED=false", "FELIX_XDPENABLED=false", "FELIX_DebugSkipCTLBCleanup=true",
		"FELIX_LOGSEVERITYSCREEN=Info", "FELIX_LOGFILEPATH=none",
	}
	p, err := n.start("calico-felix", env, n.cluster.program("calico-felix"))
	if err != nil {
		return err
	}
	return p.await(ctx, "Felix on "+n.Name, func() bool { return n.healthy("http://127.0.0.1:9099/readiness") })
}
