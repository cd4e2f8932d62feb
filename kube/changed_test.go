package kube

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const changedDump = `{"kind":"List","items":[
 {"kind":"Service","metadata":{"name":"api","namespace":"db","creationTimestamp":"2026-11-23T10:00:00Z","managedFields":[
  {"manager":"kubectl","time":"2026-11-23T10:05:00Z"},{"manager":"helm","time":"2026-11-23T10:01:00Z"},{"manager":"lb","subresource":"status","time":"2026-11-23T10:09:00Z"}]},
  "spec":{"ports":[{"port":80}]}},
 {"kind":"EndpointSlice","addressType":"IPv4","metadata":{"name":"api-x","namespace":"db","managedFields":[{"time":"2026-11-23T10:02:00Z"}],"labels":{"kubernetes.io/service-name":"api"}}},
 {"kind":"EndpointSlice","addressType":"IPv4","metadata":{"name":"old","namespace":"db","creationTimestamp":"2026-11-23T10:02:00Z","labels":{"kubernetes.io/service-name":"api"}}}
]}`

// When an object was written is what the API says of those who wrote it, but for its
// status; a dump keeps it. That it was made is not that it was not changed since.
func TestChanged(t *testing.T) {
	s, _, err := ReadDump(strings.NewReader(changedDump), "test")
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := ReadDump(strings.NewReader(dumpText(t, s)), "again")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Snapshot{s, again} {
		svc, _ := s.services.get(Key{"db", "api"})
		slice, _ := s.slices.get(Key{"db", "api-x"})
		if a, b := svc.Changed.Format(time.TimeOnly), slice.Changed.Format(time.TimeOnly); a != "10:05:00" || b != "10:02:00" {
			t.Errorf("changed at %s and %s", a, b)
		}
		if old, _ := s.slices.get(Key{"db", "old"}); !old.Changed.IsZero() {
			t.Errorf("nobody says when: %s", old.Changed)
		}
	}
}

// What changes while podpath watches has the moment at which that was heard: the
// Service, and of its endpoints those that came, went or became others. What says
// nothing new, and what is listed for the first time, has none; a dump keeps them, and
// they are forgotten in time.
func TestChanges(t *testing.T) {
	api := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return api.Add(time.Hour + time.Duration(s)*time.Second) }
	svc := func(name, rv, target string) *Service {
		return &Service{Meta: Meta{Namespace: "db", Name: name, rv: rv}, Type: "ClusterIP", Ports: []ServicePort{{Port: 80, TargetPort: target}}, Changed: api}
	}
	slice := func(rv string, port uint16, ready bool, ips ...string) *EndpointSlice {
		s := &EndpointSlice{Meta: Meta{Namespace: "db", Name: "api-x", rv: rv}, Service: "api", Ports: []SlicePort{{Number: port}}, Changed: api}
		for _, ip := range ips {
			s.Endpoints = append(s.Endpoints, SliceEndpoint{Addrs: []netip.Addr{netip.MustParseAddr(ip)}, Ready: ready})
		}
		return s
	}
	st := newStore(newSnapshot([]object{svc("api", "1", "8080"), slice("1", 8080, true, "10.0.0.1", "10.0.0.2")}, at(0)), 0)
	after := func(s int, objs ...object) string {
		for _, o := range objs {
			st.put(op{kind: kindOf(o), key: o.Key(), obj: o, at: at(s)})
		}
		st.flush()
		again, _, err := ReadDump(strings.NewReader(dumpText(t, st.Current())), "again")
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for i, s := range []*Snapshot{st.Current(), again} {
			var list []string
			for _, c := range s.Changes(Key{"db", "api"}) {
				list = append(list, fmt.Sprintf("%s+%.0f", c.Address, c.At.Sub(at(0)).Seconds()))
			}
			if out = append(out, strings.Join(list, " ")); out[i] != out[0] {
				t.Errorf("the dump has %q, not %q", out[i], out[0])
			}
			if x, ok := s.services.get(Key{"db", "api"}); !ok || !x.Changed.Equal(api) {
				t.Errorf("the Service is written at %s", x.Changed)
			}
		}
		return out[0]
	}
	for i, step := range []struct {
		at   int
		objs []object
		want string
	}{
		{0, nil, ""},
		{1, []object{svc("api", "2", "8080"), slice("2", 8080, true, "10.0.0.1", "10.0.0.2")}, ""},
		{2, []object{slice("3", 8080, true, "10.0.0.1", "10.0.0.3")}, "10.0.0.2+2 10.0.0.3+2"},
		{3, []object{svc("api", "3", "9090")}, "10.0.0.2+2 10.0.0.3+2 invalid IP+3"},
		{4, []object{svc("other", "3", "9090")}, "10.0.0.2+2 10.0.0.3+2 invalid IP+3"},
		{5, []object{slice("4", 9090, true, "10.0.0.1", "10.0.0.3")}, "10.0.0.2+2 10.0.0.3+2 invalid IP+3 10.0.0.1+5 10.0.0.3+5"},
		{33, []object{slice("5", 9090, false, "10.0.0.1")}, "invalid IP+3 10.0.0.1+5 10.0.0.3+5 10.0.0.1+33 10.0.0.3+33"},
		{90, []object{svc("other", "4", "1")}, ""},
	} {
		if got := after(step.at, step.objs...); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
	st.put(op{kind: kindSlice, all: []object{slice("6", 9090, false, "10.0.0.9")}, at: at(91)})
	if got := after(91); got != "10.0.0.1+91 10.0.0.9+91" {
		t.Errorf("listed anew: %q", got)
	}
	for i := range maxChanges + 5 {
		st.put(op{kind: kindService, key: Key{"db", "x"}, obj: svc("x", fmt.Sprint("r", i), fmt.Sprint(i)), at: at(92)})
	}
	st.flush()
	if n := len(st.Current().changes); n != maxChanges {
		t.Errorf("%d are kept", n)
	}
}

// Of what the API server has when the watch begins, it alone knows when it changed;
// what comes after is heard, with the new endpoint and the one that went.
func TestWatchHearsChanges(t *testing.T) {
	wrote := metav1.NewTime(time.Now().Add(-time.Minute).Truncate(time.Second))
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "api-x", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}, ManagedFields: []metav1.ManagedFieldsEntry{{Time: &wrote}}}
	slice := func(ip string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}}}}
	}
	client := fake.NewClientset(slice("10.0.0.1"))
	st, err := watch(t.Context(), clients{core: client}, "fake", WatchOptions{Debounce: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	service := Key{"shop", "api"}
	if list := st.Current().Changes(service); len(list) > 0 || len(st.Current().Slices(service)) != 1 || !st.Current().Slices(service)[0].Changed.Equal(wrote.Time) {
		t.Errorf("what was there before has changes: %v, %+v", list, st.Current().Slices(service))
	}
	before := time.Now()
	if _, err := client.DiscoveryV1().EndpointSlices("shop").Update(t.Context(), slice("10.0.0.2"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the change", func() bool { return len(st.Current().Changes(service)) == 2 })
	for i, c := range st.Current().Changes(service) {
		if want := []string{"10.0.0.1", "10.0.0.2"}[i]; c.Address.String() != want || c.At.Before(before) || c.At.After(time.Now()) {
			t.Errorf("heard %+v, want %s", c, want)
		}
	}
}
