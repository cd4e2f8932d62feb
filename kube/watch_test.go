package kube

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/podpath/podpath/testbed/apiserver"
)

// until polls; the deadline is only reached by a bug.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func fakePod(name, ip string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.Now()},
		Spec:       corev1.PodSpec{NodeName: "n1"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
	}
}

func TestWatchFollowsChanges(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client := fake.NewClientset(fakePod("a", "10.0.0.1"))
	st, err := watch(ctx, clients{core: client}, "fake", WatchOptions{Debounce: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ip1, ip2 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	if p, ok := st.Current().PodByIP(ip1); !ok || p.Name != "a" {
		t.Fatalf("10.0.0.1 after the sync: got %v", p)
	}
	changes, stop := st.Subscribe()
	defer stop()
	if _, err := client.CoreV1().Pods("shop").Create(ctx, fakePod("b", "10.0.0.2"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case c := <-changes:
		if !c.Pods || c.Services {
			t.Errorf("got change %+v, want pods only", c)
		}
		if _, ok := c.Snapshot.PodByIP(ip2); !ok {
			t.Error("the snapshot of the change does not have pod b")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no change was told")
	}
	before := time.Now()
	if err := client.CoreV1().Pods("shop").Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "pod a gone", func() bool { _, ok := st.Current().PodByIP(ip1); return !ok })
	if p, ok := st.At(before).PodByIP(ip1); !ok || p.Name != "a" {
		t.Errorf("before the deletion: got %v", p)
	}
	if f, ok := st.Current().FormerPod(ip1); !ok || f.Pod.Name != "a" || f.Gone.Before(before) {
		t.Errorf("former pod: got %+v", f)
	}
	if st.Staleness() != 0 {
		t.Error("a connected store must not be stale")
	}
}

// forbid makes a fake server refuse a resource.
func forbid(client *fake.Clientset, group, resource string) {
	client.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: group, Resource: resource}, "", errors.New("no"))
	})
}

func TestWatchForbidden(t *testing.T) {
	client := fake.NewClientset()
	forbid(client, "", "pods")
	_, err := watch(t.Context(), clients{core: client}, "fake", WatchOptions{})
	var access *AccessError
	if !errors.As(err, &access) {
		t.Fatalf("got %v, want an AccessError", err)
	}
	if access.Resource != "pods" || !strings.Contains(access.Hint(), `pods (apiGroup "")`) {
		t.Errorf("got %v; hint %s", access, access.Hint())
	}
}

// TestWatchPartlyForbidden: what may not be read is no error but known to be
// unread, also after the snapshot was written and read again.
func TestWatchPartlyForbidden(t *testing.T) {
	client := fake.NewClientset(fakePod("a", "10.0.0.1"))
	forbid(client, "networking.k8s.io", "networkpolicies")
	forbid(client, "", "nodes")
	st, err := watch(t.Context(), clients{core: client}, "fake", WatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := st.Current()
	again, _, err := ReadDump(strings.NewReader(dumpText(t, s)), "again")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Snapshot{s, again} {
		if got := strings.Join(s.Unread(), " "); got != "Node NetworkPolicy" || s.PoliciesKnown() || !s.ServicesKnown() {
			t.Errorf("unread: %s; policies known: %v, services known: %v", got, s.PoliciesKnown(), s.ServicesKnown())
		}
	}
	if refused := st.Refused(); len(refused) != 2 || !strings.Contains(refused[1].Hint(), "networkpolicies") {
		t.Errorf("refused: %v", refused)
	}
	if st.Staleness() != 0 {
		t.Error("what is never followed is not lost")
	}
	for _, k := range s.Unread() {
		if UnreadEffect(k) == "" {
			t.Errorf("no word about what is unknown without %s", k)
		}
	}
}

func TestWatchOptionalForbidden(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client := fake.NewClientset(fakePod("a", "10.0.0.1"))
	client.PrependReactor("list", "servicecidrs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "servicecidrs"}, "", errors.New("no"))
	})
	if _, err := watch(ctx, clients{core: client}, "fake", WatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestWatchReplicaSets: the owner comes from the ReplicaSet's metadata, and
// from the name where that is not readable.
func TestWatchReplicaSets(t *testing.T) {
	yes := true
	pod := fakePod("web-77-x", "10.0.0.1")
	pod.Labels = map[string]string{templateHashLabel: "77"}
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-77", Controller: &yes}}
	set := &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ReplicaSet"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web-77", OwnerReferences: []metav1.OwnerReference{{Kind: "Rollout", Name: "web", Controller: &yes}},
		},
	}
	scheme := runtime.NewScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for want, forbid := range map[string]bool{"Rollout/web": false, "Deployment/web": true} {
		ctx, cancel := context.WithCancel(context.Background())
		md := metadatafake.NewSimpleMetadataClient(scheme, set)
		if forbid {
			md.PrependReactor("list", "replicasets", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Group: "apps", Resource: "replicasets"}, "", errors.New("no"))
			})
		}
		st, err := watch(ctx, clients{core: fake.NewClientset(pod), metadata: md}, "fake", WatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p, _ := st.Current().Pod("shop", "web-77-x")
		if got := st.Current().Owner(p).String(); got != want {
			t.Errorf("forbidden %v: got %q, want %q", forbid, got, want)
		}
		cancel()
	}
}

func TestWatchSyncTimeout(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewInternalError(errors.New("etcd has no leader"))
	})
	_, err := watch(context.Background(), clients{core: client}, "fake", WatchOptions{SyncTimeout: 300 * time.Millisecond})
	var se *SyncError
	if !errors.As(err, &se) || len(se.Missing) != 1 || se.Missing[0] != "pods" {
		t.Fatalf("got %v, want a SyncError about pods", err)
	}
	if !strings.Contains(err.Error(), "etcd has no leader") {
		t.Errorf("the last error is missing in %q", err)
	}
}

func TestWatchUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, err = Watch(context.Background(), &rest.Config{Host: "http://" + addr}, WatchOptions{})
	var ue *UnreachableError
	if !errors.As(err, &ue) {
		t.Fatalf("got %v, want an UnreachableError", err)
	}
}

func TestWatchSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts into the backlog, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Watch(context.Background(), &rest.Config{Host: "http://" + l.Addr().String()},
		WatchOptions{SyncTimeout: 200 * time.Millisecond})
	var ue *UnreachableError
	if !errors.As(err, &ue) {
		t.Fatalf("got %v, want an UnreachableError", err)
	}
}

func TestWatchUnauthorized(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status:   metav1.StatusFailure, Reason: metav1.StatusReasonUnauthorized, Code: http.StatusUnauthorized,
		})
	}))
	defer srv.Close()
	_, err := Watch(context.Background(), &rest.Config{Host: srv.URL}, WatchOptions{})
	var access *AccessError
	if !errors.As(err, &access) || !strings.Contains(access.Hint(), "credentials") {
		t.Fatalf("got %v, want an AccessError about the credentials", err)
	}
}

// serve starts an API server with some objects.
func serve(t *testing.T, objs ...runtime.Object) *apiserver.Server {
	t.Helper()
	api, err := apiserver.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Put(objs...); err != nil {
		t.Fatal(err)
	}
	if err := api.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return api
}

// statuses collects what Watch says of the connection.
type statuses chan Status

func (c statuses) take(s Status) { c <- s }

func (c statuses) next(t *testing.T, what string) Status {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: no status within 30 s", what)
		return Status{}
	}
}

func TestWatchServerGoesAway(t *testing.T) {
	api := serve(t, fakePod("a", "10.0.0.1"))
	said := make(statuses, 16)
	st, err := Watch(t.Context(), &rest.Config{Host: api.URL()}, WatchOptions{
		Debounce: time.Millisecond, Heartbeat: 50 * time.Millisecond, OnStatus: said.take,
	})
	if err != nil {
		t.Fatal(err)
	}
	api.Close()
	if s := said.next(t, "server gone"); s.Connected || s.Err == nil || !s.Lost() {
		t.Errorf("after the server went: got %+v", s)
	}
	until(t, "staleness grows", func() bool { return st.Staleness() > 20*time.Millisecond })
	ip1, ip2 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	if _, ok := st.Current().PodByIP(ip1); !ok {
		t.Error("what was known must stay known")
	}
	for _, err := range []error{api.Remove(fakePod("a", "")), api.Put(fakePod("b", "10.0.0.2")), api.Listen()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if s := said.next(t, "server back"); !s.Connected {
		t.Errorf("after the server came back: got %+v", s)
	}
	if st.Staleness() != 0 {
		t.Errorf("stale by %v after the server came back", st.Staleness())
	}
	until(t, "what changed meanwhile", func() bool {
		_, old := st.Current().PodByIP(ip1)
		_, young := st.Current().PodByIP(ip2)
		return !old && young
	})
}

func fakePodWithPort(port int32) *corev1.Pod {
	p := fakePod("p", "")
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: port}}}}
	return p
}
