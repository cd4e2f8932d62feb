package kube

import (
	"maps"
	"slices"
)

// NamespacesOf lists the namespaces that have an object of the spec's kind and
// name, sorted: what "all namespaces" means for a name without one. Kinds that
// are in no namespace have none.
func (s *Snapshot) NamespacesOf(spec EndpointSpec) []string {
	found := map[string]bool{}
	kind := map[SpecKind]string{SpecDeployment: "Deployment", SpecStatefulSet: "StatefulSet", SpecDaemonSet: "DaemonSet"}[spec.Kind]
	switch {
	case spec.Kind == SpecService:
		for v := range s.Services() {
			found[v.Namespace] = found[v.Namespace] || v.Name == spec.Name
		}
	case spec.Kind == SpecPod:
		for p := range s.Pods() {
			found[p.Namespace] = found[p.Namespace] || p.Name == spec.Name
		}
	case kind != "":
		want := OwnerRef{Kind: kind, Name: spec.Name}
		for p := range s.Pods() {
			found[p.Namespace] = found[p.Namespace] || s.Owner(p) == want
		}
	}
	maps.DeleteFunc(found, func(_ string, ok bool) bool { return !ok })
	return slices.Sorted(maps.Keys(found))
}
