package cluster

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
)

func small() Size {
	return Size{Pods: 300, Services: 120, Policies: 60, Nodes: 10, Namespaces: 8, Local: 60, Dual: 0.3, Seed: 7}
}

func TestSizesAreExact(t *testing.T) {
	for name, s := range map[string]Size{"large": Large(), "small": small()} {
		c := Generate(s)
		for what, n := range map[string][2]int{
			"pods": {len(c.Pods), s.Pods}, "services": {len(c.Services), s.Services}, "policies": {len(c.Policies), s.Policies},
			"nodes": {len(c.Nodes), s.Nodes}, "namespaces": {len(c.Namespaces), s.Namespaces}, "local pods": {len(c.LocalPods()), s.Local},
		} {
			if n[0] != n[1] {
				t.Errorf("%s: %d %s, want %d", name, n[0], what, n[1])
			}
		}
		if len(c.Slices) < s.Services {
			t.Errorf("%s: %d EndpointSlices for %d Services", name, len(c.Slices), s.Services)
		}
	}
}

func TestSameSeedSameObjects(t *testing.T) {
	if !reflect.DeepEqual(Generate(small()), Generate(small())) {
		t.Error("two runs differ")
	}
	other := small()
	other.Seed++
	if reflect.DeepEqual(Generate(small()), Generate(other)) {
		t.Error("the seed makes no difference")
	}
}

// TestNothingIsTwice: names and pod addresses are unique.
func TestNothingIsTwice(t *testing.T) {
	s := Large()
	s.LocalIPs = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	s.LocalNode, s.LocalNodeIP = "here", netip.MustParseAddr("192.0.2.200")
	c := Generate(s)
	seen := map[string]bool{}
	once := func(what string) {
		if seen[what] {
			t.Errorf("%s is there twice", what)
		}
		seen[what] = true
	}
	for _, o := range c.Objects() {
		m, err := meta.Accessor(o)
		if err != nil {
			t.Fatal(err)
		}
		once(reflect.TypeOf(o).String() + " " + m.GetNamespace() + "/" + m.GetName())
		once(string(m.GetUID()))
	}
	for _, p := range c.Pods {
		if p.Spec.HostNetwork {
			continue
		}
		for _, ip := range p.Status.PodIPs {
			once(ip.IP)
		}
	}
	for _, svc := range c.Services {
		if svc.Spec.ClusterIP != corev1.ClusterIPNone {
			once(svc.Spec.ClusterIP)
		}
	}
	if !seen["192.0.2.1"] || !seen["192.0.2.2"] || c.Nodes[0].Name != "here" {
		t.Error("the given addresses are not in use")
	}
}

func TestDumpIsJSON(t *testing.T) {
	var b bytes.Buffer
	c := Generate(small())
	if err := c.WriteDump(&b); err != nil {
		t.Fatal(err)
	}
	var list struct {
		Kind  string
		Items []struct{ Kind, APIVersion string }
	}
	if err := json.Unmarshal(b.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	want := len(c.Objects()) - len(c.ReplicaSets) - len(c.CIDRs)
	if list.Kind != "List" || len(list.Items) != want || list.Items[0].Kind != "Pod" {
		t.Errorf("got a %s of %d, want %d objects", list.Kind, len(list.Items), want)
	}
}
