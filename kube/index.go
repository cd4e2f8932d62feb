package kube

import (
	"hash/maphash"
	"iter"
)

// indexShards is a trade between the cost of one change (a copied shard holds
// entries/256) and the fixed cost of a snapshot (256 pointers per index).
const indexShards = 256

// index is a persistent map: an editor makes a changed copy that shares every
// shard it did not touch. That is what lets the Store keep many snapshots of a
// large cluster: each costs only what changed. The zero index is empty.
type index[K comparable, V any] struct {
	seed   maphash.Seed
	shards []map[K]V
	n      int
}

func (ix index[K, V]) get(k K) (V, bool) {
	if ix.shards == nil {
		var none V
		return none, false
	}
	v, ok := ix.shards[ix.shard(k)][k]
	return v, ok
}

func (ix index[K, V]) shard(k K) uint64 {
	return maphash.Comparable(ix.seed, k) % indexShards
}

func (ix index[K, V]) len() int { return ix.n }

// all yields every entry, in no order.
func (ix index[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, m := range ix.shards {
			for k, v := range m {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

func (ix index[K, V]) keys() []K {
	out := make([]K, 0, ix.n)
	for k := range ix.all() {
		out = append(out, k)
	}
	return out
}

// editor changes a copy of an index. It must not be used after done.
type editor[K comparable, V any] struct {
	ix    index[K, V]
	owned [indexShards]bool
	dirty bool
}

func (ix index[K, V]) edit() *editor[K, V] { return &editor[K, V]{ix: ix} }

// done returns the changed index; the original is as it was.
func (e *editor[K, V]) done() index[K, V] { return e.ix }

func (e *editor[K, V]) get(k K) (V, bool) { return e.ix.get(k) }

func (e *editor[K, V]) set(k K, v V) {
	m := e.own(k)
	if _, ok := m[k]; !ok {
		e.ix.n++
	}
	m[k] = v
}

func (e *editor[K, V]) del(k K) {
	if _, ok := e.ix.get(k); !ok {
		return
	}
	delete(e.own(k), k)
	e.ix.n--
}

// own returns the shard of k as a map that only this editor knows.
func (e *editor[K, V]) own(k K) map[K]V {
	if !e.dirty {
		shards := make([]map[K]V, indexShards)
		copy(shards, e.ix.shards)
		if e.ix.shards == nil {
			e.ix.seed = maphash.MakeSeed()
		}
		e.ix.shards = shards
		e.dirty = true
	}
	i := e.ix.shard(k)
	if e.owned[i] {
		return e.ix.shards[i]
	}
	m := make(map[K]V, len(e.ix.shards[i])+1)
	for k, v := range e.ix.shards[i] {
		m[k] = v
	}
	e.ix.shards[i] = m
	e.owned[i] = true
	return m
}

// addTo and removeFrom keep lists in an index. The lists are replaced, never
// changed in place, because older snapshots hold them too.
func addTo[K, V comparable](e *editor[K, []V], k K, v V) {
	old, _ := e.get(k)
	for _, o := range old {
		if o == v {
			return
		}
	}
	e.set(k, append(old[:len(old):len(old)], v))
}

func removeFrom[K, V comparable](e *editor[K, []V], k K, v V) {
	old, ok := e.get(k)
	if !ok {
		return
	}
	kept := make([]V, 0, len(old))
	for _, o := range old {
		if o != v {
			kept = append(kept, o)
		}
	}
	if len(kept) == 0 {
		e.del(k)
		return
	}
	e.set(k, kept)
}
