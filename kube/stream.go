package kube

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// stream follows one resource. It is the store that client-go's reflector
// fills; an informer's would hold every object, its key and its history a
// second time. Objects are reduced as they come off the wire: of a list only one
// page is in memory in full.
type stream struct {
	resource
	feed    *feed
	cancel  context.CancelFunc
	synced  atomic.Bool
	lastErr atomic.Pointer[error]
	// gone: given up, because the server refuses it or does not know it.
	gone atomic.Bool
}

func (s *stream) giveUp() {
	s.gone.Store(true)
	s.cancel()
}

// part is the stream's name for the link: a custom resource may be called like
// one of Kubernetes.
func (s *stream) part() string {
	if s.custom {
		return s.name + "." + s.group
	}
	return s.name
}

// refused reports whether the last request was answered with a refusal.
func (s *stream) refused() bool {
	var access *AccessError
	e := s.lastErr.Load()
	return e != nil && errors.As(*e, &access)
}

var _ cache.TransformingStore = (*stream)(nil)

// Transformer reduces objects where the reflector collects them by itself.
func (s *stream) Transformer() cache.TransformFunc { return s.reduce }

// Add takes a new object.
func (s *stream) Add(o any) error { return s.put(o) }

// Update takes a new version of an object.
func (s *stream) Update(o any) error { return s.put(o) }

func (s *stream) put(o any) error {
	obj, err := s.object(o)
	if err != nil {
		return err
	}
	s.feed.store.put(op{kind: s.kind, key: obj.Key(), obj: obj, at: time.Now()})
	return nil
}

// Delete takes note of the end of an object.
func (s *stream) Delete(o any) error {
	obj, err := s.object(o)
	if err != nil {
		return err
	}
	s.feed.store.put(op{kind: s.kind, key: obj.Key(), at: time.Now()})
	return nil
}

// Replace takes all objects there are: what is not among them is gone.
func (s *stream) Replace(list []any, _ string) error {
	all := make([]object, len(list))
	for i, o := range list {
		var err error
		if all[i], err = s.object(o); err != nil {
			return err
		}
	}
	s.feed.store.put(op{kind: s.kind, all: all, at: time.Now()})
	s.synced.Store(true)
	return nil
}

// Resync has nothing to do: nobody misses a change.
func (s *stream) Resync() error { return nil }

// item lets a reduced object pass through client-go in a list. It is immutable,
// so that it is its own copy.
type item struct{ object }

func (i item) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

func (i item) DeepCopyObject() runtime.Object { return i }

// page is a page of a list whose objects are reduced.
type page struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

func (p *page) DeepCopyObject() runtime.Object { return p }

func (s *stream) page(list runtime.Object) (runtime.Object, error) {
	m, err := meta.ListAccessor(list)
	if err != nil {
		return nil, fmt.Errorf("read a list of %s: %w", s.name, err)
	}
	out := &page{ListMeta: metav1.ListMeta{ResourceVersion: m.GetResourceVersion(), Continue: m.GetContinue()}}
	out.Items = make([]runtime.Object, 0, meta.LenList(list))
	err = meta.EachListItem(list, func(o runtime.Object) error {
		obj, err := s.object(o)
		out.Items = append(out.Items, item{obj})
		return err
	})
	return out, err
}

func (s *stream) reduce(o any) (any, error) { return s.object(o) }

// object reduces what client-go hands over, unless that was done before.
func (s *stream) object(o any) (object, error) {
	var out object
	switch o := o.(type) {
	case item:
		return o.object, nil
	case object:
		return o, nil
	case *corev1.Pod:
		out = reducePod(o)
	case *corev1.Service:
		out = reduceService(o)
	case *discoveryv1.EndpointSlice:
		out = reduceSlice(o)
	case *corev1.Node:
		out = reduceNode(o)
	case *corev1.Namespace:
		out = reduceNamespace(o)
	case *networkingv1.NetworkPolicy:
		out = reducePolicy(o)
	case *networkingv1.ServiceCIDR:
		out = reduceServiceCIDR(o)
	case *metav1.PartialObjectMetadata:
		out = reduceReplicaSetMeta(&o.ObjectMeta)
	case *unstructured.Unstructured:
		return customObject(o)
	default:
		return nil, fmt.Errorf("reduce an object of unexpected type %T", o)
	}
	s.feed.shared.object(out)
	return out, nil
}
