package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// apiServer speaks enough of the Kubernetes API over real HTTP for informers:
// lists, watches from a resource version on, streaming lists, JSON and protobuf,
// whichever the client asks for. It can go away and come back on its address.
type apiServer struct {
	addr string

	mu      sync.Mutex
	rv      int
	objects map[string]map[string]runtime.Object // by path, then namespace/name
	log     []apiEvent
	grown   chan struct{}  // closed and replaced when log grows
	asked   map[string]int // media types that were served

	srv *http.Server
}

// apiEvent is one change of one kind.
type apiEvent struct {
	path string
	typ  watch.EventType
	obj  runtime.Object
	rv   int
}

// apiPaths are the kinds that are served.
func apiPaths() map[string]runtime.Object {
	return map[string]runtime.Object{
		"/api/v1/pods":       &corev1.PodList{},
		"/api/v1/services":   &corev1.ServiceList{},
		"/api/v1/nodes":      &corev1.NodeList{},
		"/api/v1/namespaces": &corev1.NamespaceList{},
		"/apis/discovery.k8s.io/v1/endpointslices":   &discoveryv1.EndpointSliceList{},
		"/apis/networking.k8s.io/v1/networkpolicies": &networkingv1.NetworkPolicyList{},
	}
}

// serveAPI starts a server with the objects of a dump.
func serveAPI(t *testing.T, dump []byte) *apiServer {
	t.Helper()
	s := &apiServer{objects: map[string]map[string]runtime.Object{}, grown: make(chan struct{}), asked: map[string]int{}}
	var list metav1.List
	if err := yaml.Unmarshal(dump, &list); err != nil {
		t.Fatal(err)
	}
	for _, item := range list.Items {
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(item.Raw, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.put(t, obj)
	}
	s.up(t)
	t.Cleanup(s.down)
	return s
}

// up listens, on the address of before if there was one.
func (s *apiServer) up(t *testing.T) {
	t.Helper()
	addr := s.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	srv := &http.Server{Handler: s}
	s.srv = srv
	go func() { _ = srv.Serve(l) }()
}

// down closes the port and every connection, as a machine that dies.
func (s *apiServer) down() { _ = s.srv.Close() }

// kubeconfig writes one that leads here.
func (s *apiServer) kubeconfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://%s"}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, s.addr)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// pathOf is where a kind is served.
func pathOf(obj runtime.Object) (string, error) {
	switch obj.(type) {
	case *corev1.Pod:
		return "/api/v1/pods", nil
	case *corev1.Service:
		return "/api/v1/services", nil
	case *corev1.Node:
		return "/api/v1/nodes", nil
	case *corev1.Namespace:
		return "/api/v1/namespaces", nil
	case *discoveryv1.EndpointSlice:
		return "/apis/discovery.k8s.io/v1/endpointslices", nil
	case *networkingv1.NetworkPolicy:
		return "/apis/networking.k8s.io/v1/networkpolicies", nil
	}
	return "", fmt.Errorf("%T is not served", obj)
}

func objectKey(obj runtime.Object) string {
	m, err := meta.Accessor(obj)
	if err != nil {
		return ""
	}
	return m.GetNamespace() + "/" + m.GetName()
}

// put creates or changes an object and tells the watches.
func (s *apiServer) put(t *testing.T, obj runtime.Object) {
	t.Helper()
	path, err := pathOf(obj)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.objects[path]
	if all == nil {
		all = map[string]runtime.Object{}
		s.objects[path] = all
	}
	typ := watch.Added
	if all[objectKey(obj)] != nil {
		typ = watch.Modified
	}
	obj = obj.DeepCopyObject()
	s.tell(path, typ, obj)
	all[objectKey(obj)] = obj
}

// remove deletes an object and tells the watches.
func (s *apiServer) remove(t *testing.T, obj runtime.Object) {
	t.Helper()
	path, err := pathOf(obj)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects[path], objectKey(obj))
	s.tell(path, watch.Deleted, obj.DeepCopyObject())
}

// tell logs an event; the lock is held.
func (s *apiServer) tell(path string, typ watch.EventType, obj runtime.Object) {
	s.rv++
	if m, err := meta.Accessor(obj); err == nil {
		m.SetResourceVersion(strconv.Itoa(s.rv))
	}
	s.log = append(s.log, apiEvent{path, typ, obj, s.rv})
	close(s.grown)
	s.grown = make(chan struct{})
}

// get returns a copy of an object for a change.
func get[T runtime.Object](t *testing.T, s *apiServer, path, key string) T {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	obj, ok := s.objects[path][key].(T)
	if !ok {
		t.Fatalf("%s has no %s", path, key)
	}
	out, _ := obj.DeepCopyObject().(T)
	return out
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/version" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"major":"1","minor":"35","gitVersion":"v1.35.0"}`)
		return
	}
	list, ok := apiPaths()[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	info := s.negotiate(r.Header.Get("Accept"))
	if r.URL.Query().Get("watch") != "" {
		s.watch(w, r, info)
		return
	}
	s.list(w, r.URL.Path, list, info)
}

// negotiate takes the first media type of the client that this server has.
func (s *apiServer) negotiate(accept string) runtime.SerializerInfo {
	all := scheme.Codecs.SupportedMediaTypes()
	for _, want := range strings.Split(accept, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(want), ";")
		if info, ok := runtime.SerializerInfoForMediaType(all, name); ok {
			s.mu.Lock()
			s.asked[name]++
			s.mu.Unlock()
			return info
		}
	}
	info, _ := runtime.SerializerInfoForMediaType(all, "application/json")
	return info
}

func encoder(info runtime.SerializerInfo) runtime.Encoder {
	return scheme.Codecs.EncoderForVersion(info.Serializer, schema.GroupVersions(scheme.Scheme.PrioritizedVersionsAllGroups()))
}

func (s *apiServer) list(w http.ResponseWriter, path string, list runtime.Object, info runtime.SerializerInfo) {
	s.mu.Lock()
	var items []runtime.Object
	for _, key := range slices.Sorted(keys(s.objects[path])) {
		items = append(items, s.objects[path][key])
	}
	rv := s.rv
	s.mu.Unlock()
	if err := meta.SetList(list, items); err != nil {
		panic(err)
	}
	if m, err := meta.ListAccessor(list); err == nil {
		m.SetResourceVersion(strconv.Itoa(rv))
	}
	w.Header().Set("Content-Type", info.MediaType)
	_ = encoder(info).Encode(list, w)
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// watch streams what comes after the client's resource version; a streaming
// list begins with everything and a bookmark.
func (s *apiServer) watch(w http.ResponseWriter, r *http.Request, info runtime.SerializerInfo) {
	q := r.URL.Query()
	from, _ := strconv.Atoi(q.Get("resourceVersion"))
	w.Header().Set("Content-Type", info.MediaType+";stream=watch")
	w.WriteHeader(http.StatusOK)
	out := streaming.NewEncoder(info.StreamSerializer.NewFrameWriter(w), info.StreamSerializer.Serializer)
	send := func(typ watch.EventType, obj runtime.Object) error {
		var raw bytes.Buffer
		if err := encoder(info).Encode(obj, &raw); err != nil {
			return err
		}
		err := out.Encode(&metav1.WatchEvent{Type: string(typ), Object: runtime.RawExtension{Raw: raw.Bytes()}})
		w.(http.Flusher).Flush()
		return err
	}
	if q.Get("sendInitialEvents") == "true" {
		var err error
		if from, err = s.initial(r.URL.Path, send); err != nil {
			return
		}
	}
	w.(http.Flusher).Flush()
	next := 0
	for {
		s.mu.Lock()
		events, grown := s.log[next:], s.grown
		next = len(s.log)
		s.mu.Unlock()
		for _, e := range events {
			if e.path == r.URL.Path && e.rv > from {
				if send(e.typ, e.obj) != nil {
					return
				}
			}
		}
		select {
		case <-grown:
		case <-r.Context().Done():
			return
		}
	}
}

// initial sends everything there is, and the bookmark that says so.
func (s *apiServer) initial(path string, send func(watch.EventType, runtime.Object) error) (rv int, err error) {
	s.mu.Lock()
	var all []runtime.Object
	for _, o := range s.objects[path] {
		all = append(all, o)
	}
	rv = s.rv
	s.mu.Unlock()
	for _, o := range all {
		if err := send(watch.Added, o); err != nil {
			return 0, err
		}
	}
	kinds := map[string]runtime.Object{
		"pods": &corev1.Pod{}, "services": &corev1.Service{}, "nodes": &corev1.Node{}, "namespaces": &corev1.Namespace{},
		"endpointslices": &discoveryv1.EndpointSlice{}, "networkpolicies": &networkingv1.NetworkPolicy{},
	}
	mark := kinds[filepath.Base(path)]
	m, err := meta.Accessor(mark)
	if err != nil {
		return 0, err
	}
	m.SetResourceVersion(strconv.Itoa(rv))
	m.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	return rv, send(watch.Bookmark, mark)
}
