package apiserver

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind is one kind of objects that is served.
type kind struct {
	path string
	gvk  schema.GroupVersionKind
}

// served is what informers of podpath ask for.
func served() []kind {
	core := schema.GroupVersion{Version: "v1"}
	networking := schema.GroupVersion{Group: "networking.k8s.io", Version: "v1"}
	discovery := schema.GroupVersion{Group: "discovery.k8s.io", Version: "v1"}
	apps := schema.GroupVersion{Group: "apps", Version: "v1"}
	return []kind{
		{"/api/v1/pods", core.WithKind("Pod")},
		{"/api/v1/services", core.WithKind("Service")},
		{"/api/v1/nodes", core.WithKind("Node")},
		{"/api/v1/namespaces", core.WithKind("Namespace")},
		{"/api/v1/events", core.WithKind("Event")},
		{"/apis/discovery.k8s.io/v1/endpointslices", discovery.WithKind("EndpointSlice")},
		{"/apis/networking.k8s.io/v1/networkpolicies", networking.WithKind("NetworkPolicy")},
		{"/apis/networking.k8s.io/v1/servicecidrs", networking.WithKind("ServiceCIDR")},
		{"/apis/apps/v1/replicasets", apps.WithKind("ReplicaSet")},
	}
}

// kindAt finds what is asked for. In a namespace those of all are served, and a field
// selector is passed over: who asks has to bear more than was asked for.
func kindAt(path string) (kind, bool) {
	if rest, ok := strings.CutPrefix(path, "/api/v1/namespaces/"); ok {
		if _, resource, ok := strings.Cut(rest, "/"); ok {
			path = "/api/v1/" + resource
		}
	}
	for _, k := range served() {
		if k.path == path {
			return k, true
		}
	}
	return kind{}, false
}

// kindOf is the kind of an object, by its type.
func (s *Server) kindOf(obj runtime.Object) (kind, error) {
	gvks, _, err := s.scheme.ObjectKinds(obj)
	if err != nil {
		return kind{}, fmt.Errorf("find the kind of %T: %w", obj, err)
	}
	for _, k := range served() {
		if k.gvk == gvks[0] {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("%s is not served", gvks[0])
}

// partial is the metadata of an object, as the API gives it on its own.
func partial(obj runtime.Object) (runtime.Object, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("read the metadata of %T: %w", obj, err)
	}
	out := meta.AsPartialObjectMetadata(m)
	out.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
	return out, nil
}
