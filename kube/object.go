package kube

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Key names an object of one kind. Namespace is "" for cluster-scoped kinds.
type Key struct{ Namespace, Name string }

// String gives "namespace/name", or the name alone without a namespace.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// Meta is the identity that every reduced object carries.
type Meta struct {
	Namespace, Name string

	// rv is the resourceVersion; client-go's caches ask for it.
	rv string
}

// Key returns the object's name within its kind.
func (m *Meta) Key() Key { return Key{m.Namespace, m.Name} }

// GetObjectMeta lets client-go's caches file the reduced objects, so that the
// full ones need not be kept.
func (m *Meta) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, ResourceVersion: m.rv}
}

func (m *Meta) meta() *Meta { return m }

// object is any reduced object. Once it is in a snapshot it never changes.
type object interface {
	metav1.ObjectMetaAccessor
	Key() Key
	meta() *Meta
}

// same reports whether two versions of an object say the same to podpath. Most
// updates of a busy cluster do, and then no new snapshot is needed.
func same(a, b object) bool {
	rvA, rvB := a.meta().rv, b.meta().rv
	if rvA == rvB && rvA != "" {
		return true
	}
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	if va.Type() != vb.Type() {
		return false
	}
	ca, cb := reflect.New(va.Elem().Type()), reflect.New(vb.Elem().Type())
	ca.Elem().Set(va.Elem())
	cb.Elem().Set(vb.Elem())
	ca.Interface().(object).meta().rv = ""
	cb.Interface().(object).meta().rv = ""
	return reflect.DeepEqual(ca.Interface(), cb.Interface())
}
