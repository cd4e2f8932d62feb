// Package deploy has no code: its test reads the manifests as the API server
// would, and holds them to what they promise.
package deploy

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// manifests are the objects of one file; unknown fields are errors.
type manifests struct {
	pods            []corev1.Pod
	namespaces      []corev1.Namespace
	serviceAccounts []corev1.ServiceAccount
	roles           []rbacv1.ClusterRole
	bindings        []rbacv1.ClusterRoleBinding
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func strict[T any](t *testing.T, list *[]T, doc []byte) {
	t.Helper()
	var v T
	if err := yaml.UnmarshalStrict(doc, &v); err != nil {
		t.Fatalf("%v in:\n%s", err, doc)
	}
	*list = append(*list, v)
}

func load(t *testing.T, names ...string) manifests {
	t.Helper()
	var m manifests
	for _, name := range names {
		for doc := range bytes.SplitSeq(read(t, name), []byte("\n---\n")) {
			var tm metav1.TypeMeta
			if err := yaml.Unmarshal(doc, &tm); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			switch tm.APIVersion + " " + tm.Kind {
			case "v1 Pod":
				strict(t, &m.pods, doc)
			case "v1 Namespace":
				strict(t, &m.namespaces, doc)
			case "v1 ServiceAccount":
				strict(t, &m.serviceAccounts, doc)
			case "rbac.authorization.k8s.io/v1 ClusterRole":
				strict(t, &m.roles, doc)
			case "rbac.authorization.k8s.io/v1 ClusterRoleBinding":
				strict(t, &m.bindings, doc)
			default:
				t.Fatalf("%s: no test knows %s %s", name, tm.APIVersion, tm.Kind)
			}
		}
	}
	return m
}

func TestEveryManifestIsRead(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return f == "kustomization.yaml" })
	m := load(t, files...)
	if len(m.pods) != 1 || len(m.namespaces) != 1 || len(m.serviceAccounts) != 1 || len(m.roles) != 1 || len(m.bindings) != 1 {
		t.Errorf("got %+v", m)
	}
	var k struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Resources  []string `json:"resources"`
	}
	if err := yaml.UnmarshalStrict(read(t, "kustomization.yaml"), &k); err != nil {
		t.Fatal(err)
	}
	for _, r := range k.Resources {
		if !slices.Contains(files, r) {
			t.Errorf("kustomization names %s, which is not there", r)
		}
	}
	if slices.Contains(k.Resources, "debug-pod.yaml") {
		t.Error("kustomization has the pod, which names no node")
	}
}

func TestRoleOnlyReads(t *testing.T) {
	role := load(t, "rbac.yaml").roles[0]
	var resources []string
	for _, rule := range role.Rules {
		verbs := []string{"get", "list", "watch"}
		if slices.Equal(rule.Resources, []string{"events"}) {
			verbs = verbs[:2] // of one pod, when it is asked about
		}
		if !slices.Equal(rule.Verbs, verbs) {
			t.Errorf("verbs %v on %v", rule.Verbs, rule.Resources)
		}
		if len(rule.NonResourceURLs)+len(rule.ResourceNames) > 0 || slices.Contains(rule.Resources, "*") || slices.Contains(rule.APIGroups, "*") {
			t.Errorf("rule %+v", rule)
		}
		for _, g := range rule.APIGroups {
			for _, r := range rule.Resources {
				resources = append(resources, g+"/"+r)
			}
		}
	}
	want := []string{"/pods", "/services", "/nodes", "/namespaces", "/events", "discovery.k8s.io/endpointslices",
		"networking.k8s.io/networkpolicies", "networking.k8s.io/servicecidrs",
		"policy.networking.k8s.io/adminnetworkpolicies", "policy.networking.k8s.io/baselineadminnetworkpolicies", "policy.networking.k8s.io/clusternetworkpolicies",
		"crd.projectcalico.org/networkpolicies", "crd.projectcalico.org/globalnetworkpolicies",
		"cilium.io/ciliumnetworkpolicies", "cilium.io/ciliumclusterwidenetworkpolicies", "apps/replicasets"}
	if !slices.Equal(resources, want) {
		t.Errorf("reads %v, want %v", resources, want)
	}
}

func TestNamesFit(t *testing.T) {
	m := load(t, "namespace.yaml", "rbac.yaml", "debug-pod.yaml")
	ns, sa, role, pod := m.namespaces[0], m.serviceAccounts[0], m.roles[0], m.pods[0]
	if ns.Labels["pod-security.kubernetes.io/enforce"] != "privileged" {
		t.Error("Pod Security would refuse the pod")
	}
	if sa.Namespace != ns.Name || pod.Namespace != ns.Name || pod.Spec.ServiceAccountName != sa.Name {
		t.Errorf("pod %s/%s, account %s/%s, namespace %s", pod.Namespace, pod.Spec.ServiceAccountName, sa.Namespace, sa.Name, ns.Name)
	}
	b := m.bindings[0]
	if b.RoleRef.Kind != "ClusterRole" || b.RoleRef.Name != role.Name {
		t.Errorf("binding is to %+v", b.RoleRef)
	}
	for _, s := range b.Subjects {
		if s.Kind != "ServiceAccount" || s.Namespace != ns.Name || s.Name != sa.Name && s.Name != "default" {
			t.Errorf("binding is of %+v", s)
		}
	}
}

func TestPodHasWhatItNeedsAndNoMore(t *testing.T) {
	pod := load(t, "debug-pod.yaml").pods[0]
	if !pod.Spec.HostNetwork || !pod.Spec.HostPID || pod.Spec.HostIPC {
		t.Error("host namespaces")
	}
	if pod.Spec.NodeName != "NODE_NAME" || pod.Spec.ActiveDeadlineSeconds == nil {
		t.Error("the pod is not for one node, or not for a limited time")
	}
	if len(pod.Spec.Containers) != 1 || len(pod.Spec.InitContainers) != 0 {
		t.Fatal("one container")
	}
	c := pod.Spec.Containers[0]
	sc := c.SecurityContext
	if sc.Privileged == nil || *sc.Privileged || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem {
		t.Error("privileged, or can write its image")
	}
	if !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("drops only %v", sc.Capabilities.Drop)
	}
	for _, v := range pod.Spec.Volumes {
		if v.HostPath != nil {
			t.Errorf("volume %s is the node's %s", v.Name, v.HostPath.Path)
		}
	}
}

// Every capability is justified in the manifest and in the requirements.
func TestCapabilitiesAreJustified(t *testing.T) {
	pod := load(t, "debug-pod.yaml").pods[0]
	manifest := string(read(t, "debug-pod.yaml"))
	requirements := string(read(t, "../docs/requirements.md"))
	var want []string
	for _, c := range pod.Spec.Containers[0].SecurityContext.Capabilities.Add {
		if !regexp.MustCompile(`(?m)^ +- ` + string(c) + ` # \S`).MatchString(manifest) {
			t.Errorf("%s has no comment", c)
		}
		want = append(want, "CAP_"+string(c))
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(CAP_[A-Z_]+)` \\|").FindAllStringSubmatch(requirements, -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("docs/requirements.md lists %s\nthe pod has %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}
