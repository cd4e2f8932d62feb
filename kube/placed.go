package kube

import (
	"hash/fnv"
	"iter"
)

// bucket is a part of a namespace's pods. A change of one pod copies the list that
// it is in, so that all pods of a large namespace must not be in one.
type bucket struct {
	namespace string
	part      uint8
}

const bucketParts = 16 // of a namespace

func bucketOf(p *Pod) bucket {
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.Name))
	return bucket{p.Namespace, uint8(h.Sum32() % bucketParts)}
}

// PodsIn yields the pods of one namespace, in no order.
func (s *Snapshot) PodsIn(namespace string) iter.Seq[*Pod] {
	return func(yield func(*Pod) bool) {
		for part := range uint8(bucketParts) {
			list, _ := s.placed.get(bucket{namespace, part})
			for _, p := range list {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// PodsWhere yields the pods of the namespaces that are wanted, in no order. Each
// namespace is asked for once, which makes a search that rules most of them out
// cheap in a cluster with many pods.
func (s *Snapshot) PodsWhere(wanted func(namespace string) bool) iter.Seq[*Pod] {
	return func(yield func(*Pod) bool) {
		asked := make(map[string]bool)
		for b, list := range s.placed.all() {
			want, known := asked[b.namespace]
			if !known {
				want = wanted(b.namespace)
				asked[b.namespace] = want
			}
			if !want {
				continue
			}
			for _, p := range list {
				if !yield(p) {
					return
				}
			}
		}
	}
}
