package kube

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// changed is when the API says that an object was written last, to the second, by
// the API server's clock: the newest of its managedFields that is not about the
// status. It is zero without them, as in what kubectl prints unless it is given
// --show-managed-fields: the creationTimestamp says nothing of what came after it.
func changed(m *metav1.ObjectMeta) time.Time {
	var at time.Time
	for i := range m.ManagedFields {
		f := &m.ManagedFields[i]
		if f.Time != nil && f.Subresource == "" && f.Time.After(at) {
			at = f.Time.UTC().Truncate(time.Second)
		}
	}
	return at
}

// restoreChanged writes the moment where changed finds it.
func restoreChanged(at time.Time) []metav1.ManagedFieldsEntry {
	if at.IsZero() {
		return nil
	}
	t := metav1.NewTime(at)
	return []metav1.ManagedFieldsEntry{{Time: &t}}
}

// ServiceChange is that a Service, or one of its endpoints, became what it is while
// podpath watched.
type ServiceChange struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	// Address is the endpoint's that came, went or changed, invalid for the Service.
	Address netip.Addr `json:"address,omitzero"`
	// At is when that was heard, by this machine's clock.
	At time.Time `json:"at"`
}

const (
	// changesAge is how long such changes are remembered, several times as long as a
	// proxy takes to follow them, and maxChanges how many are.
	changesAge = 30 * time.Second
	maxChanges = 4096
)

// Changes are what changed of a Service of late, oldest first.
func (s *Snapshot) Changes(service Key) []ServiceChange {
	var list []ServiceChange
	for _, c := range s.changes {
		if (Key{c.Namespace, c.Service}) == service {
			list = append(list, c)
		}
	}
	return list
}

// date takes note of what is new of a Service or EndpointSlice. The object keeps the
// moment at which the API said that its first version was written, also if nothing is
// new: who writes an object does not always change what podpath keeps of it. What is
// in a list for the first time was there before.
func (b *builder) date(o op) op {
	switch o.kind {
	case kindService:
		old, had := b.services.get(o.key)
		n, _ := o.obj.(*Service)
		if n != nil && had {
			c := *n
			c.Changed = old.Changed
			n, o.obj = &c, &c
		}
		if n != nil && (had && !same(old, n) || !had && !o.listed) {
			b.changedNow(o.key, netip.Addr{}, o.at)
		}
	case kindSlice:
		old, had := b.slices.get(o.key)
		n, _ := o.obj.(*EndpointSlice)
		if n != nil && had {
			c := *n
			c.Changed = old.Changed
			n, o.obj = &c, &c
		}
		if had || !o.listed {
			b.changedEndpoints(old, n, o.at)
		}
	}
	return o
}

// changedEndpoints takes note of the endpoints that differ between two versions of a
// slice, of which one may be nil.
func (b *builder) changedEndpoints(old, now *EndpointSlice, at time.Time) {
	were, are := endpointsOf(old), endpointsOf(now)
	for ip, e := range were {
		if n, ok := are[ip]; !ok || !reflect.DeepEqual(e, n) || !slices.Equal(old.Ports, now.Ports) {
			b.changedNow(old.serviceKey(), ip, at)
		}
	}
	for ip := range are {
		if _, ok := were[ip]; !ok {
			b.changedNow(now.serviceKey(), ip, at)
		}
	}
}

func endpointsOf(s *EndpointSlice) map[netip.Addr]*SliceEndpoint {
	if s == nil {
		return nil
	}
	out := make(map[netip.Addr]*SliceEndpoint, len(s.Endpoints))
	for i := range s.Endpoints {
		if e := &s.Endpoints[i]; len(e.Addrs) > 0 {
			out[e.Addrs[0]] = e
		}
	}
	return out
}

func (b *builder) changedNow(service Key, ip netip.Addr, at time.Time) {
	b.changes = append(b.changes, ServiceChange{service.Namespace, service.Name, ip, at.UTC().Round(0)})
}

// recentChanges are those of before that are not too old yet, and the new ones.
func (b *builder) recentChanges(taken time.Time) []ServiceChange {
	var list []ServiceChange
	for _, c := range slices.Concat(b.next.changes, b.changes) {
		if taken.Sub(c.At) <= changesAge {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(x, y ServiceChange) int {
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Service, y.Service), x.Address.Compare(y.Address))
	})
	return list[max(0, len(list)-maxChanges):]
}
