package main

import (
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/testbed/apiserver"
)

// testAPI is an API server for one test, whose errors end the test.
type testAPI struct{ *apiserver.Server }

// newAPI makes a server with the objects of a dump that does not listen yet.
func newAPI(t *testing.T, dump []byte) *testAPI {
	t.Helper()
	srv, err := apiserver.New()
	if err != nil {
		t.Fatal(err)
	}
	s := &testAPI{srv}
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
	return s
}

// serveAPI starts a server with the objects of a dump.
func serveAPI(t *testing.T, dump []byte) *testAPI {
	t.Helper()
	s := newAPI(t, dump)
	s.up(t)
	t.Cleanup(s.Close)
	return s
}

func (s *testAPI) up(t *testing.T) {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
}

func (s *testAPI) put(t *testing.T, obj runtime.Object) {
	t.Helper()
	if err := s.Put(obj); err != nil {
		t.Fatal(err)
	}
}

func (s *testAPI) remove(t *testing.T, obj runtime.Object) {
	t.Helper()
	if err := s.Remove(obj); err != nil {
		t.Fatal(err)
	}
}

// kubeconfig writes one that leads here.
func (s *testAPI) kubeconfig(t *testing.T) string {
	t.Helper()
	return writeKubeconfig(t, s.Kubeconfig(nil))
}

func writeKubeconfig(t *testing.T, text []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// get returns a copy of an object for a change.
func get[T runtime.Object](t *testing.T, s *testAPI, namespace, name string) T {
	t.Helper()
	obj, ok := apiserver.Get[T](s.Server, namespace, name)
	if !ok {
		t.Fatalf("there is no %T %s/%s", obj, namespace, name)
	}
	return obj
}
