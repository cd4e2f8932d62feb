package kube

import (
	"hash/maphash"
	"maps"
	"strings"
	"sync"
)

// sharedMost bounds the memory of what may be shared: after that many different
// texts it begins anew, which costs nothing but some duplicates.
const sharedMost = 1 << 16

// shared makes equal texts and label sets of different objects one, because
// each comes off the wire as a copy of its own: label keys, the namespace, the
// node, and everything else that the pods of a workload have in common. That is
// a third of the memory that the objects need. It may be used concurrently.
type shared struct {
	mu    sync.Mutex
	seed  maphash.Seed
	texts map[string]string
	sets  map[uint64]map[string]string
}

func newShared() *shared {
	return &shared{seed: maphash.MakeSeed(), texts: map[string]string{}, sets: map[uint64]map[string]string{}}
}

// object replaces the texts of an object that nobody else has seen yet.
func (s *shared) object(o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := o.meta()
	m.Namespace = s.text(m.Namespace)
	switch o := o.(type) {
	case *Pod:
		o.Labels, o.Node, o.Phase = s.set(o.Labels), s.text(o.Node), s.text(o.Phase)
		o.Controller = OwnerRef{s.text(o.Controller.Kind), s.text(o.Controller.Name)}
		for i := range o.Ports {
			o.Ports[i].Name = s.text(o.Ports[i].Name)
		}
	case *Service:
		o.Labels, o.Selector, o.Type = s.set(o.Labels), s.set(o.Selector), s.text(o.Type)
		for i := range o.Ports {
			o.Ports[i].Name, o.Ports[i].TargetPort = s.text(o.Ports[i].Name), s.text(o.Ports[i].TargetPort)
		}
	case *EndpointSlice:
		s.slice(o)
	case *Node:
		o.Labels = s.set(o.Labels)
	case *ReplicaSet:
		o.Controller = OwnerRef{s.text(o.Controller.Kind), s.text(o.Controller.Name)}
	}
}

func (s *shared) slice(o *EndpointSlice) {
	o.Service = s.text(o.Service)
	for i := range o.Ports {
		o.Ports[i].Name = s.text(o.Ports[i].Name)
	}
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		e.Node, e.Zone, e.Pod.Namespace = s.text(e.Node), s.text(e.Zone), s.text(e.Pod.Namespace)
	}
}

// text returns a text that is equal, and the same for all that are. It is a
// copy, because the decoder may have cut it out of something larger.
func (s *shared) text(t string) string {
	if t == "" {
		return ""
	}
	if have, ok := s.texts[t]; ok {
		return have
	}
	if len(s.texts) >= sharedMost {
		clear(s.texts)
	}
	t = strings.Clone(t)
	s.texts[t] = t
	return t
}

// set returns labels that are equal, and the same for all that are.
func (s *shared) set(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	var sum uint64 // of the entries, in whichever order they come
	for k, v := range labels {
		sum += maphash.String(s.seed, k)*31 + maphash.String(s.seed, v)
	}
	if have, ok := s.sets[sum]; ok && maps.Equal(have, labels) {
		return have
	}
	if len(s.sets) >= sharedMost {
		clear(s.sets)
	}
	out := make(map[string]string, len(labels))
	for k, v := range labels {
		out[s.text(k)] = s.text(v)
	}
	s.sets[sum] = out
	return out
}
