package kube

import (
	"fmt"
	"iter"
	"maps"
	"testing"
)

// samePods holds the pods by namespace against all that there are.
func samePods(t *testing.T, s *Snapshot) {
	t.Helper()
	want := map[string]map[*Pod]bool{}
	for p := range s.Pods() {
		if want[p.Namespace] == nil {
			want[p.Namespace] = map[*Pod]bool{}
		}
		want[p.Namespace][p] = true
	}
	for ns, pods := range want {
		if got := set(t, s.PodsIn(ns)); !maps.Equal(got, pods) {
			t.Errorf("PodsIn(%q): %d pods, want %d", ns, len(got), len(pods))
		}
		if got := set(t, s.PodsWhere(func(n string) bool { return n == ns })); !maps.Equal(got, pods) {
			t.Errorf("PodsWhere(%q): %d pods, want %d", ns, len(got), len(pods))
		}
	}
	if n := len(set(t, s.PodsWhere(func(string) bool { return true }))); n != s.pods.len() {
		t.Errorf("PodsWhere(all): %d pods, want %d", n, s.pods.len())
	}
	for range s.PodsIn("no-such-namespace") {
		t.Error("a pod in a namespace that has none")
	}
}

// set fails if a pod comes twice.
func set(t *testing.T, pods iter.Seq[*Pod]) map[*Pod]bool {
	t.Helper()
	out := map[*Pod]bool{}
	for p := range pods {
		if out[p] {
			t.Errorf("%s comes twice", p.Key())
		}
		out[p] = true
	}
	return out
}

// TestPodsByNamespace: of several namespaces, each asked for once; what a pod's
// change or its end leaves behind is not found any more, and an older state keeps
// what it had.
func TestPodsByNamespace(t *testing.T) {
	var objs []object
	for i := range 200 {
		objs = append(objs, &Pod{Meta: Meta{Namespace: fmt.Sprint("ns", i%3), Name: fmt.Sprint("pod-", i)}})
	}
	before := newSnapshot(objs, at(0))
	samePods(t, before)
	asked := map[string]int{}
	for range before.PodsWhere(func(ns string) bool { asked[ns]++; return ns == "ns1" }) {
	}
	if want := (map[string]int{"ns0": 1, "ns1": 1, "ns2": 1}); !maps.Equal(asked, want) {
		t.Errorf("asked for %v", asked)
	}
	b := newBuilder(before)
	for i := range 100 {
		p := objs[i].(*Pod)
		o := op{kind: kindPod, key: p.Key(), at: at(1)}
		if i%2 == 0 {
			o.obj = &Pod{Meta: Meta{Namespace: p.Namespace, Name: p.Name, rv: "2"}, Ready: true}
		}
		b.apply(o)
	}
	after := b.done(at(1))
	samePods(t, after)
	samePods(t, before)
	if before.pods.len() != 200 || after.pods.len() != 150 {
		t.Errorf("%d pods before, %d after", before.pods.len(), after.pods.len())
	}
}
