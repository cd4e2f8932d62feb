package apiserver

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// kept is how many changes of a kind are remembered: who asks for older ones
// has to list again. Real servers keep between 100 and 102,400.
const kept = 20_000

// store holds the objects and their recent changes, by path.
type store struct {
	rv    int
	kinds map[string]*shelf
	pages map[string]page // lists under way, by continue token
	lists int
}

// shelf is the objects of one kind.
type shelf struct {
	objects map[string]runtime.Object // by namespace/name
	sorted  []string                  // keys in order, nil: to be sorted again
	log     []event
	oldest  int           // changes up to this version are forgotten
	grown   chan struct{} // closed and replaced with every change
}

type event struct {
	typ watch.EventType
	obj runtime.Object
	rv  int
}

// page is what is left of a list, and its version.
type page struct {
	objs []runtime.Object
	rv   int
}

func newStore() store {
	st := store{rv: 1, kinds: map[string]*shelf{}, pages: map[string]page{}}
	for _, k := range served() {
		st.kinds[k.path] = &shelf{objects: map[string]runtime.Object{}, grown: make(chan struct{})}
	}
	return st
}

// Put creates or changes objects and tells the watches. What the objects point
// at is kept: the caller must not change it any more.
func (s *Server) Put(objs ...runtime.Object) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, obj := range objs {
		k, err := s.kindOf(obj)
		if err != nil {
			return err
		}
		if err := s.store.put(k, obj); err != nil {
			return err
		}
	}
	return nil
}

// Remove deletes an object and tells the watches.
func (s *Server) Remove(obj runtime.Object) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.kindOf(obj)
	if err != nil {
		return err
	}
	sh, key := s.store.kinds[k.path], keyOf(obj)
	old, ok := sh.objects[key]
	if !ok {
		return fmt.Errorf("there is no %s %s", k.gvk.Kind, key)
	}
	delete(sh.objects, key)
	sh.sorted = nil
	_, err = s.store.tell(k, watch.Deleted, old)
	return err
}

// Tell sends an event to the watches that says something else than what is
// stored: a change that came twice, or too late. The object keeps its version.
func (s *Server) Tell(typ watch.EventType, obj runtime.Object) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.kindOf(obj)
	if err != nil {
		return err
	}
	obj = shallow(obj)
	obj.GetObjectKind().SetGroupVersionKind(k.gvk)
	s.store.rv++
	s.store.kinds[k.path].add(event{typ, obj, s.store.rv})
	return nil
}

// Forget drops the history of changes: a watch from an older version, and the
// rest of a list under way, are answered with 410 Gone.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.store.pages)
	s.store.rv++
	for _, sh := range s.store.kinds {
		sh.log, sh.oldest = nil, s.store.rv
	}
}

// Get returns a copy of an object, false if there is none.
func Get[T runtime.Object](s *Server, namespace, name string) (T, bool) {
	var none T
	k, err := s.kindOf(reflect.New(reflect.TypeOf(none).Elem()).Interface().(runtime.Object))
	if err != nil {
		return none, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	obj, ok := s.store.kinds[k.path].objects[namespace+"/"+name].(T)
	if !ok {
		return none, false
	}
	return obj.DeepCopyObject().(T), true
}

// All returns copies of all objects of a kind, by name.
func All[T runtime.Object](s *Server) []T {
	var none T
	k, err := s.kindOf(reflect.New(reflect.TypeOf(none).Elem()).Interface().(runtime.Object))
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []T
	for _, obj := range s.store.kinds[k.path].all() {
		out = append(out, obj.DeepCopyObject().(T))
	}
	return out
}

func keyOf(obj runtime.Object) string {
	m, err := meta.Accessor(obj)
	if err != nil {
		return ""
	}
	return m.GetNamespace() + "/" + m.GetName()
}

// shallow copies an object without what it points at.
func shallow(obj runtime.Object) runtime.Object {
	v := reflect.New(reflect.TypeOf(obj).Elem())
	v.Elem().Set(reflect.ValueOf(obj).Elem())
	return v.Interface().(runtime.Object)
}

func (st *store) put(k kind, obj runtime.Object) error {
	sh, key := st.kinds[k.path], keyOf(obj)
	typ := watch.Modified
	if _, ok := sh.objects[key]; !ok {
		typ = watch.Added
		sh.sorted = nil
	}
	stored, err := st.tell(k, typ, obj)
	if err != nil {
		return err
	}
	sh.objects[key] = stored
	return nil
}

// tell gives the next version to a copy of an object, and logs the change.
func (st *store) tell(k kind, typ watch.EventType, obj runtime.Object) (runtime.Object, error) {
	obj = shallow(obj)
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("read the metadata of %T: %w", obj, err)
	}
	st.rv++
	m.SetResourceVersion(strconv.Itoa(st.rv))
	obj.GetObjectKind().SetGroupVersionKind(k.gvk)
	st.kinds[k.path].add(event{typ, obj, st.rv})
	return obj, nil
}

func (sh *shelf) add(e event) {
	if len(sh.log) >= 2*kept {
		sh.oldest = sh.log[len(sh.log)-kept-1].rv
		sh.log = slices.Clone(sh.log[len(sh.log)-kept:])
	}
	sh.log = append(sh.log, e)
	close(sh.grown)
	sh.grown = make(chan struct{})
}

// since returns the changes after a version, and a channel that is closed when
// there are more; false if they are forgotten.
func (sh *shelf) since(rv int) (events []event, grown <-chan struct{}, ok bool) {
	if rv < sh.oldest {
		return nil, nil, false
	}
	i, _ := slices.BinarySearchFunc(sh.log, rv, func(e event, rv int) int { return e.rv - rv - 1 })
	return sh.log[i:], sh.grown, true
}

// all returns the objects by namespace and name.
func (sh *shelf) all() []runtime.Object {
	if sh.sorted == nil {
		for key := range sh.objects {
			sh.sorted = append(sh.sorted, key)
		}
		slices.SortFunc(sh.sorted, strings.Compare)
	}
	out := make([]runtime.Object, len(sh.sorted))
	for i, key := range sh.sorted {
		out[i] = sh.objects[key]
	}
	return out
}
