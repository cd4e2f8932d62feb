package kube

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/tracer"
)

// workloadKinds are the owners' kinds as the API writes them.
var workloadKinds = map[SpecKind]string{
	SpecDeployment: "Deployment", SpecStatefulSet: "StatefulSet", SpecDaemonSet: "DaemonSet",
}

// pods resolves pod/, deploy/, sts/, ds/ and ns/.
func (r *resolver) pods() error {
	spec := r.out.Spec
	if err := r.checkNamespace(); err != nil {
		return err
	}
	switch spec.Kind {
	case SpecPod:
		p, ok := r.s.Pod(spec.Namespace, spec.Name)
		if !ok {
			return &NotFoundError{What: r.what(), Near: r.nearObjects()}
		}
		if !r.matches(p) {
			return &SelectionError{What: r.what(), Reason: fmt.Sprintf("the pod does not match %s", r.opt.Selector)}
		}
		return r.take([]*Pod{p}, "pod "+p.Key().String())
	case SpecNamespace:
		in := func(p *Pod) bool { return p.Namespace == spec.Name }
		return r.take(r.filter(in), "pods of namespace "+spec.Name)
	}
	owner := OwnerRef{workloadKinds[spec.Kind], spec.Name}
	of := func(p *Pod) bool { return p.Namespace == spec.Namespace && r.s.Owner(p) == owner }
	if !slices.ContainsFunc(slices.Collect(r.s.Pods()), of) {
		return &NotFoundError{What: r.what(), Why: "no pod of it exists", Near: r.nearObjects()}
	}
	return r.take(r.filter(of), "pods of "+r.what())
}

// filter returns the living pods that match the selector too.
func (r *resolver) filter(keep func(*Pod) bool) []*Pod {
	var out []*Pod
	for p := range r.s.Pods() {
		if !p.Finished() && keep(p) && r.matches(p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *Pod) int { return compareKeys(a.Key(), b.Key()) })
	return out
}

// take makes pods the endpoint: as source only those on the traced node count.
// One pod without an address is an error; of several, the others are used.
func (r *resolver) take(pods []*Pod, description string) error {
	if len(pods) == 0 {
		why := "no running pod is left"
		if r.opt.Selector != nil {
			why = fmt.Sprintf("no running pod matches %s", r.opt.Selector)
		}
		return &SelectionError{What: r.what(), Reason: why}
	}
	here, elsewhere := r.onNode(pods)
	if len(here) == 0 {
		if noneHasIP(pods) { // on its node there is nothing to be seen of it either
			return noIP(pods...)
		}
		return &WrongNodeError{What: r.what(), Here: r.opt.Node, Nodes: elsewhere}
	}
	var without []*Pod
	for _, p := range here {
		if len(p.IPs) == 0 || p.Finished() {
			without = append(without, p)
			continue
		}
		if err := r.pod(p); err != nil {
			return err
		}
	}
	if len(without) == len(here) {
		return noIP(without...)
	}
	for _, p := range without {
		r.note("%v", noIP(p))
	}
	r.out.Description = describePods(description, r.out.Pods)
	if len(elsewhere) > 0 {
		r.note("more of %s on %s: their traffic is not followed from here", description, strings.Join(elsewhere, ", "))
	}
	return nil
}

// onNode splits off the pods of other nodes, if that matters.
func (r *resolver) onNode(pods []*Pod) (here []*Pod, elsewhere []string) {
	if !r.opt.Source || r.opt.Node == "" {
		return pods, nil
	}
	for _, p := range pods {
		switch {
		case p.Node == r.opt.Node:
			here = append(here, p)
		case p.Node != "" && !slices.Contains(elsewhere, p.Node):
			elsewhere = append(elsewhere, p.Node)
		}
	}
	slices.Sort(elsewhere)
	return here, elsewhere
}

func noneHasIP(pods []*Pod) bool {
	return !slices.ContainsFunc(pods, func(p *Pod) bool { return len(p.IPs) > 0 || p.Finished() })
}

// noIP is the error for pods without an address, which names the first.
func noIP(pods ...*Pod) error {
	p := pods[0]
	e := &NoIPError{What: "pod " + p.Key().String(), Phase: p.Phase, Reason: p.Waiting, Pods: pods}
	if p.Finished() {
		return &SelectionError{What: e.What, Reason: "it has ended (" + p.Phase + "), its address may be another pod's now"}
	}
	return e
}

func describePods(description string, pods []*Pod) string {
	if len(pods) == 1 {
		p := pods[0]
		ips := make([]string, len(p.IPs))
		for i, ip := range p.IPs {
			ips[i] = ip.String()
		}
		text := fmt.Sprintf("pod %s (%s)", p.Key(), strings.Join(ips, ", "))
		if p.Node != "" {
			text += " on " + p.Node
		}
		return text
	}
	return fmt.Sprintf("%s (%d pods)", description, len(pods))
}

// pod adds one pod's addresses.
func (r *resolver) pod(p *Pod) error {
	port, proto := r.out.Spec.Port, uint8(0)
	if name := r.out.Spec.PortName; name != "" {
		i := slices.IndexFunc(p.Ports, func(c tracer.ContainerPort) bool { return c.Name == name })
		if i < 0 {
			return &SelectionError{
				What:   "pod " + p.Key().String(),
				Reason: fmt.Sprintf("it declares no port named %q%s", name, portNames(p)),
			}
		}
		port, proto = p.Ports[i].Port, p.Ports[i].Proto
	}
	for _, ip := range p.IPs {
		r.addAddr(ip, port, proto, RolePod)
	}
	r.out.Pods = append(r.out.Pods, p)
	if p.HostNetwork {
		r.note("pod %s uses the network of node %s: its addresses are the node's, and all of the node's own traffic has them too", p.Key(), p.Node)
	}
	if d := r.sharers(p); len(d) > 0 {
		r.note("pod %s shares its address with %s according to the API", p.Key(), strings.Join(d, ", "))
	}
	return nil
}

// sharers are other pods that claim an address of this one.
func (r *resolver) sharers(p *Pod) []string {
	if !p.ownsIPs() {
		return nil
	}
	var out []string
	for _, ip := range p.IPs {
		for _, other := range r.s.PodsByIP(ip) {
			if other != p && !slices.Contains(out, other.Key().String()) {
				out = append(out, other.Key().String())
			}
		}
	}
	return out
}

func portNames(p *Pod) string {
	var names []string
	for _, c := range p.Ports {
		if c.Name != "" {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; it has " + strings.Join(names, ", ")
}

// checkNamespace names a wrong namespace as the error, rather than the object
// in it. A namespace is known by its object or by what is in it.
func (r *resolver) checkNamespace() error {
	spec := r.out.Spec
	want := spec.Namespace
	if spec.Kind == SpecNamespace {
		want = spec.Name
	}
	known := r.s.namespaceNames()
	if _, ok := known[Key{Name: want}]; ok {
		return nil
	}
	var have []Key
	for k := range known {
		have = append(have, k)
	}
	e := &NotFoundError{What: "ns/" + want}
	for _, k := range nearest(Key{Name: want}, have) {
		e.Near = append(e.Near, "ns/"+k.Name)
	}
	if spec.Kind != SpecNamespace && len(e.Near) == 0 {
		e.Near = r.nearObjects()
	}
	return e
}

func (s *Snapshot) namespaceNames() map[Key]bool {
	out := make(map[Key]bool)
	for _, n := range s.namespaces.all() {
		out[Key{Name: n.Name}] = true
	}
	for k := range s.pods.all() {
		out[Key{Name: k.Namespace}] = true
	}
	for k := range s.services.all() {
		out[Key{Name: k.Namespace}] = true
	}
	return out
}

// nearObjects proposes endpoints instead of the one that does not exist: the
// same name as another kind first.
func (r *resolver) nearObjects() []string {
	spec := r.out.Spec
	want := Key{spec.Namespace, spec.Name}
	var out []string
	for _, k := range []SpecKind{SpecPod, SpecService, SpecDeployment, SpecStatefulSet, SpecDaemonSet} {
		if k != spec.Kind && slices.Contains(r.s.names(k), want) {
			out = append(out, EndpointSpec{Kind: k, Namespace: want.Namespace, Name: want.Name}.String())
		}
	}
	for _, k := range nearest(want, r.s.names(spec.Kind)) {
		out = append(out, EndpointSpec{Kind: spec.Kind, Namespace: k.Namespace, Name: k.Name}.String())
	}
	return out[:min(len(out), mostNear)]
}

// names lists every object of a kind; workloads are known by their pods.
func (s *Snapshot) names(kind SpecKind) []Key {
	var out []Key
	switch kind {
	case SpecPod:
		for k := range s.pods.all() {
			out = append(out, k)
		}
	case SpecService:
		for k := range s.services.all() {
			out = append(out, k)
		}
	default:
		seen := make(map[Key]bool)
		for p := range s.Pods() {
			if o := s.Owner(p); o.Kind == workloadKinds[kind] {
				seen[Key{p.Namespace, o.Name}] = true
			}
		}
		for k := range seen {
			out = append(out, k)
		}
	}
	return out
}
