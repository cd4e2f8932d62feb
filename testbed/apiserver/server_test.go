package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

func start(t *testing.T, pods int) (*Server, *rest.Config) {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods {
		if err := s.Put(testPod(fmt.Sprintf("p%03d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, &rest.Config{Host: s.URL()}
}

func testPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, Labels: map[string]string{"app": name}}}
}

func client(t *testing.T, c *rest.Config, contentType string) kubernetes.Interface {
	t.Helper()
	c = rest.CopyConfig(c)
	c.ContentType = contentType
	k, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestListInPages(t *testing.T) {
	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		s, config := start(t, 25)
		pods := client(t, config, contentType).CoreV1().Pods("")
		var names []string
		opts := metav1.ListOptions{Limit: 10}
		for {
			l, err := pods.List(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range l.Items {
				names = append(names, p.Name)
			}
			if opts.Continue = l.Continue; opts.Continue == "" {
				break
			}
			if len(names) == 10 { // the pages are of one moment
				if err := s.Put(testPod("p0005")); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(names) != 25 || names[0] != "p000" || names[24] != "p024" {
			t.Errorf("%s: got %v", contentType, names)
		}
		if s.Served(contentType) != 3 || s.Asked("list", "pods") != 3 {
			t.Errorf("%s: served %d of it, asked %d times", contentType, s.Served(contentType), s.Asked("list", "pods"))
		}
	}
}

func TestForgottenPageIsGone(t *testing.T) {
	s, config := start(t, 25)
	pods := client(t, config, "").CoreV1().Pods("")
	l, err := pods.List(t.Context(), metav1.ListOptions{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	s.Forget()
	_, err = pods.List(t.Context(), metav1.ListOptions{Limit: 10, Continue: l.Continue})
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("got %v, want that the page is gone", err)
	}
}

// next takes an event from a watch.
func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case e := <-w.ResultChan():
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event within 20 s")
		return watch.Event{}
	}
}

func TestWatch(t *testing.T) {
	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		s, config := start(t, 2)
		pods := client(t, config, contentType).CoreV1().Pods("")
		l, err := pods.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w, err := pods.Watch(t.Context(), metav1.ListOptions{ResourceVersion: l.ResourceVersion})
		if err != nil {
			t.Fatal(err)
		}
		changed := testPod("p001")
		changed.Labels["app"] = "other"
		for _, err := range []error{s.Put(testPod("new")), s.Put(changed), s.Remove(testPod("p000"))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		rv, _ := strconv.Atoi(l.ResourceVersion)
		for i, want := range []string{"ADDED new", "MODIFIED p001", "DELETED p000"} {
			e := next(t, w)
			p, ok := e.Object.(*corev1.Pod)
			if !ok || string(e.Type)+" "+p.Name != want || p.ResourceVersion != strconv.Itoa(rv+i+1) {
				t.Errorf("%s: got %s %+v, want %s", contentType, e.Type, e.Object, want)
			}
		}
		w.Stop()
	}
}

func TestWatchOfForgottenVersion(t *testing.T) {
	s, config := start(t, 2)
	s.Forget()
	w, err := client(t, config, "").CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{ResourceVersion: "2"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	e := next(t, w)
	if st, ok := e.Object.(*metav1.Status); e.Type != watch.Error || !ok || st.Code != http.StatusGone {
		t.Errorf("got %s %+v, want 410", e.Type, e.Object)
	}
}

func TestStreamingList(t *testing.T) {
	_, config := start(t, 3)
	yes := true
	opts := metav1.ListOptions{SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}
	pods := client(t, config, "application/vnd.kubernetes.protobuf").CoreV1().Pods("")
	w, err := pods.Watch(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if e := next(t, w); e.Type != watch.Added {
			t.Errorf("got %s", e.Type)
		}
	}
	e := next(t, w)
	if p, ok := e.Object.(*corev1.Pod); e.Type != watch.Bookmark || !ok || p.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("got %s %+v, want the bookmark", e.Type, e.Object)
	}
	w.Stop()
	old, config := start(t, 3)
	old.Close()
	old.NoStreaming = true
	if err := old.Listen(); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, config, "").CoreV1().Pods("").Watch(t.Context(), opts); !apierrors.IsInvalid(err) {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestMetadataOnly(t *testing.T) {
	s, config := start(t, 0)
	if err := s.Put(&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "r", Labels: map[string]string{"x": "y"}}}); err != nil {
		t.Fatal(err)
	}
	md, err := metadata.NewForConfig(metadata.ConfigFor(config))
	if err != nil {
		t.Fatal(err)
	}
	sets := md.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"})
	l, err := sets.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(l.Items) != 1 || l.Items[0].Labels["x"] != "y" {
		t.Fatalf("got %+v, %v", l, err)
	}
	w, err := sets.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if o, ok := next(t, w).Object.(*metav1.PartialObjectMetadata); !ok || o.Name != "r" {
		t.Errorf("got %+v", o)
	}
}

func TestGoneAndBack(t *testing.T) {
	s, config := start(t, 1)
	pods := client(t, config, "").CoreV1().Pods("")
	w, err := pods.Watch(t.Context(), metav1.ListOptions{ResourceVersion: "2"})
	if err != nil {
		t.Fatal(err)
	}
	addr := s.Addr()
	s.Close()
	if _, open := <-w.ResultChan(); open {
		t.Error("the watch goes on")
	}
	if _, err := pods.List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Error("the server still answers")
	}
	if err := s.Listen(); err != nil || s.Addr() != addr {
		t.Fatalf("back on %s, was on %s: %v", s.Addr(), addr, err)
	}
	if l, err := pods.List(t.Context(), metav1.ListOptions{}); err != nil || len(l.Items) != 1 {
		t.Errorf("got %v, %v", l, err)
	}
}

func TestFaults(t *testing.T) {
	s, config := start(t, 50)
	pods := client(t, config, "").CoreV1().Pods("")
	ask := func(f Fault) error {
		s.Break(f)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := pods.List(ctx, metav1.ListOptions{})
		return err
	}
	for name, c := range map[string]struct {
		fault Fault
		fine  bool
	}{
		"silent": {Silent, false}, "reset": {Reset, false}, "cut": {Cut(100), false}, "html": {Body("text/html", "<html>"), false},
		"forbidden":     {Refuse(http.StatusForbidden, metav1.StatusReasonForbidden, 0), false},
		"of others":     {Only(Reset, "nodes"), true},
		"of all others": {Except(Reset, "pods"), true},
		"drip":          {Drip(1<<16, time.Millisecond), true}, "slow": {Slow(time.Millisecond), true}, "none": {nil, true},
	} {
		if err := ask(c.fault); (err == nil) != c.fine {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
