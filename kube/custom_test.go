package kube

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	fakediscovery "k8s.io/client-go/discovery/fake"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"
)

// customObjects has every kind once, in YAML as people write them.
const customObjects = `
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: guard, labels: {x: y}, managedFields: []}
spec:
  priority: 7
  subject: {namespaces: {matchLabels: {team: billing}}}
  ingress:
  - name: no-web
    action: Deny
    from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}}]
    ports: [{portNumber: {protocol: TCP, port: 80}}, {portRange: {protocol: UDP, start: 5, end: 9}}, {namedPort: metrics}]
  egress:
  - action: Allow
    to: [{domainNames: ["*.example.com"]}, {networks: [10.0.0.0/8, "fd00::/8"]}, {nodes: {matchLabels: {role: edge}}}]
  - action: Pass
    to: [{namespaces: {}}]
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec:
  subject: {namespaces: {}}
  ingress: [{action: Deny, from: [{namespaces: {}}]}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: base}
spec:
  tier: Baseline
  priority: 3
  subject: {pods: {namespaceSelector: {}, podSelector: {}}}
  egress:
  - action: Accept
    to: [{networks: [0.0.0.0/0]}]
    protocols: [{tcp: {destinationPort: {number: 443}}}, {udp: {}}, {sctp: {destinationPort: {range: {start: 1, end: 2}}}}, {destinationNamedPort: dns}]
---
apiVersion: crd.projectcalico.org/v1
kind: NetworkPolicy
metadata: {name: default.lock, namespace: db}
spec: {tier: default, selector: "app == 'api'", types: [Ingress], ingress: [{action: Deny, source: {nets: [10.0.0.0/8]}}]}
---
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkPolicy
metadata: {name: lock}
spec: {selector: "all()", namespaceSelector: "projectcalico.org/name != 'kube-system'", egress: [{action: Deny}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: lock, namespace: db}
spec: {endpointSelector: {matchLabels: {"k8s:app": api}}, ingress: [{fromEndpoints: [{}]}]}
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: hosts}
specs: [{nodeSelector: {}, ingress: [{}]}, {endpointSelector: {}, egressDeny: [{}]}]
---
apiVersion: v1
kind: Namespace
metadata: {name: db}
`

func customs4tests(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for doc := range strings.SplitSeq(customObjects, "---\n") {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatal(err)
		}
		if o.GetKind() != "Namespace" {
			out = append(out, &o)
		}
	}
	return out
}

// TestCustomDump: every kind is read, written and read again, and says the same.
func TestCustomDump(t *testing.T) {
	first, report, err := ReadDump(strings.NewReader(customObjects), "in")
	if err != nil {
		t.Fatal(err)
	}
	for k := kindAdminPolicy; k < kinds; k++ {
		if report.Objects[k.String()] != 1 {
			t.Errorf("%s: %d", k, report.Objects[k.String()])
		}
	}
	if n := len(first.Policies("db")); n != 0 {
		t.Errorf("%d NetworkPolicies: another API's was taken for one", n)
	}
	text := dumpText(t, first)
	if strings.Contains(text, "10.0.0.0/8\"]}}]") || strings.Contains(text, "managedFields") {
		t.Errorf("more is kept than needed:\n%s", text)
	}
	again, _, err := ReadDump(strings.NewReader(text), "again")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(text, dumpText(t, again)); d != "" {
		t.Errorf("(-first +again)\n%s", d)
	}
	for _, s := range []*Snapshot{first, again} {
		checkCustoms(t, s)
	}
}

func checkCustoms(t *testing.T, s *Snapshot) {
	t.Helper()
	admin, base := s.ClusterPolicies(TierAdmin), s.ClusterPolicies(TierBaseline)
	if len(admin) != 1 || len(base) != 2 || base[0].Name != "base" || base[1].Kind != "BaselineAdminNetworkPolicy" {
		t.Fatalf("tiers: %d admin, %d baseline", len(admin), len(base))
	}
	p := admin[0]
	if p.Priority != 7 || p.Ingress[0].Name != "no-web" || p.Ingress[0].Action != ActionDeny || len(p.Ingress[0].Ports) != 3 ||
		len(p.Egress[0].Peers) != 3 || p.Egress[1].Action != ActionPass || p.Egress[1].Peers[0].Pods == nil {
		t.Errorf("admin: %+v", p)
	}
	if r := base[0].Egress[0]; r.Action != ActionAllow || len(r.Ports) != 4 || r.Ports[1].To != 65535 || r.UnknownPorts {
		t.Errorf("cluster: %+v", r)
	}
	api := Labels{Namespace: "db", Own: map[string]string{"app": "api"}}
	web := Labels{Namespace: "db", Own: map[string]string{"app": "web"}}
	var in, out []string
	for _, c := range s.CNIPolicies("db") {
		if c.Selects(api, true) == Yes && c.Selects(web, true) == No {
			in = append(in, c.Kind+" "+c.Name)
		}
		if c.Selects(web, false) == Yes {
			out = append(out, c.Kind+" "+c.Name)
		}
	}
	if d := cmp.Diff([]string{"CiliumNetworkPolicy lock", "NetworkPolicy.crd.projectcalico.org default.lock"}, in); d != "" {
		t.Errorf("ingress of the api (-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"CiliumClusterwideNetworkPolicy hosts", "GlobalNetworkPolicy lock"}, out); d != "" {
		t.Errorf("egress of every pod (-want +got)\n%s", d)
	}
	if len(s.CNIPolicies("shop")) != 2 {
		t.Error("another namespace's policies")
	}
}

// TestCustomUnknown: what a newer version of the API says is neither an error nor
// taken for nothing.
func TestCustomUnknown(t *testing.T) {
	s, _, err := ReadDump(strings.NewReader(`{"kind":"List","items":[
		{"kind":"Namespace","metadata":{"name":"x"}},
		{"apiVersion":"policy.networking.k8s.io/v1beta1","kind":"ClusterNetworkPolicy","metadata":{"name":"a"},"spec":{"tier":"Admin","priority":"high"}},
		{"apiVersion":"policy.networking.k8s.io/v1beta1","kind":"ClusterNetworkPolicy","metadata":{"name":"b"},"spec":{"tier":"Platform","subject":{"namespaces":{}}}},
		{"apiVersion":"policy.networking.k8s.io/v1beta1","kind":"ClusterNetworkPolicy","metadata":{"name":"c"},"spec":{"tier":"Admin","subject":{"accounts":{}},
		  "ingress":[{"action":"Log","from":[{"accounts":{}}],"protocols":[{"icmp":{}}]}]}},
		{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"d","namespace":"x"},"spec":[]},
		{"apiVersion":"crd.antrea.io/v1beta1","kind":"ClusterNetworkPolicy","metadata":{"name":"e"},"spec":{"priority":5}}]}`), "in")
	if err != nil {
		t.Fatal(err)
	}
	list := s.ClusterPolicies(TierAdmin)
	if len(list) != 3 {
		t.Fatalf("%d policies", len(list))
	}
	for _, p := range list {
		if !p.Subject.Unknown {
			t.Errorf("%s: the subject is known", p.Name)
		}
	}
	if r := list[2].Ingress[0]; r.Action != ActionUnknown || !r.Peers[0].Unknown || !r.UnknownPorts {
		t.Errorf("%+v", r)
	}
	if got := s.CNIPolicies("x")[0].Selects(Labels{Namespace: "x"}, true); got != Undecided {
		t.Errorf("unreadable: %v", got)
	}
}

// served makes a fake API server serve the custom kinds of some groups, in the
// oldest version.
func served(client *fake.Clientset, groups ...string) {
	d := client.Discovery().(*fakediscovery.FakeDiscovery)
	by := map[string]*metav1.APIResourceList{}
	for _, c := range customs() {
		if !slices.Contains(groups, c.group) {
			continue
		}
		gv := c.group + "/" + c.versions[len(c.versions)-1]
		if by[gv] == nil {
			by[gv] = &metav1.APIResourceList{GroupVersion: gv}
			d.Resources = append(d.Resources, by[gv])
		}
		by[gv].APIResources = append(by[gv].APIResources, metav1.APIResource{Name: c.resource, Kind: c.name})
	}
}

func dynamicClient(objs ...*unstructured.Unstructured) *dynamicfake.FakeDynamicClient {
	kinds := map[schema.GroupVersionResource]string{}
	for _, c := range customs() {
		for _, v := range c.versions {
			kinds[c.at(v)] = c.name + "List"
		}
	}
	var list []runtime.Object
	for _, o := range objs {
		list = append(list, o)
	}
	return dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, list...)
}

func TestWatchCustom(t *testing.T) {
	client, custom := fake.NewClientset(fakePod("a", "10.0.0.1")), dynamicClient(customs4tests(t)...)
	served(client, policyGroup, calicoGroup, ciliumGroup)
	st, err := watch(t.Context(), clients{core: client, custom: custom}, "fake", WatchOptions{Debounce: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s := st.Current()
	if len(s.ClusterPolicies(TierAdmin)) != 1 || len(s.CNIPolicies("db")) == 0 {
		t.Fatalf("%d cluster-wide, %d of CNIs", len(s.ClusterPolicies(TierAdmin)), len(s.CNIPolicies("db")))
	}
	if len(s.Read()) != int(kinds-kindAdminPolicy) || len(s.Unread()) != 0 || len(st.Refused()) != 0 {
		t.Errorf("read %v, unread %v, refused %v", s.Read(), s.Unread(), st.Refused())
	}
	changes, stop := st.Subscribe()
	defer stop()
	gvr := schema.GroupVersionResource{Group: policyGroup, Version: "v1alpha1", Resource: "adminnetworkpolicies"}
	if err := custom.Resource(gvr).Delete(t.Context(), "guard", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the policy gone", func() bool { return len(st.Current().ClusterPolicies(TierAdmin)) == 0 })
	if c := <-changes; !c.Policies {
		t.Errorf("change %+v", c)
	}
}

// TestWatchCustomAbsent: a cluster without such kinds has none, which is known,
// and nobody is asked for them.
func TestWatchCustomAbsent(t *testing.T) {
	client, custom := fake.NewClientset(fakePod("a", "10.0.0.1")), dynamicClient(customs4tests(t)...)
	st, err := watch(t.Context(), clients{core: client, custom: custom}, "fake", WatchOptions{Debounce: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	// Calico's may be kept elsewhere.
	s := st.Current()
	if d := cmp.Diff([]string{"AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"}, s.Read()); d != "" || len(s.Unread()) != 0 {
		t.Errorf("unread %v; (-want +got)\n%s", s.Unread(), d)
	}
	if n := len(custom.Actions()); n != 0 {
		t.Errorf("%d requests for what there is not", n)
	}
}

// TestSeekLater: kinds that the server gets later are told of, and followed.
func TestSeekLater(t *testing.T) {
	client, custom := fake.NewClientset(), dynamicClient(customs4tests(t)...)
	var came []string
	f := &feed{store: newStore(newSnapshot(nil, time.Now()), 0), log: WatchOptions{}.withDefaults().Logger, shared: newShared(), onCustom: func(k string) { came = append(came, k) }}
	f.store.link = newLink(time.Now(), nil)
	f.loaded.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := newSeeker(f, clients{core: client, custom: custom})
	look := func() {
		t.Helper()
		if err := s.look(ctx, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	look()
	served(client, policyGroup)
	look()
	look() // what is followed is not begun again
	if len(came) != 3 {
		t.Errorf("told of %v", came)
	}
	until(t, "the policies", func() bool { f.store.flush(); return len(f.store.Current().ClusterPolicies(TierBaseline)) == 2 })
}

// TestWatchCustomForbidden: kinds that there are and that may not be read are
// told, and known to be unread; the rest works.
func TestWatchCustomForbidden(t *testing.T) {
	client, custom := fake.NewClientset(fakePod("a", "10.0.0.1")), dynamicClient(customs4tests(t)...)
	served(client, policyGroup, ciliumGroup)
	custom.PrependReactor("list", "adminnetworkpolicies", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: policyGroup, Resource: "adminnetworkpolicies"}, "", http.ErrNoCookie)
	})
	st, err := watch(t.Context(), clients{core: client, custom: custom}, "fake", WatchOptions{Debounce: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s := st.Current()
	if got := strings.Join(s.Unread(), " "); got != "AdminNetworkPolicy" || !s.PoliciesKnown() {
		t.Errorf("unread %q", got)
	}
	if r := st.Refused(); len(r) != 1 || !strings.Contains(r[0].Hint(), `adminnetworkpolicies (apiGroup "policy.networking.k8s.io")`) {
		t.Errorf("refused %v", r)
	}
	if len(s.ClusterPolicies(TierBaseline)) != 2 {
		t.Error("what may be read was not")
	}
	again, _, err := ReadDump(strings.NewReader(dumpText(t, s)), "again")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s.Unread(), again.Unread()) + cmp.Diff(s.Read(), again.Read()); d != "" {
		t.Error(d)
	}
}
