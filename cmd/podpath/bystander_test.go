package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// A flow that a bridge floods is seen in other pods' namespaces, each of which is
// called by its own name; one that no pod is known for has none.
func TestBystanders(t *testing.T) {
	view, _, err := kube.ReadDump(strings.NewReader(`{"kind":"List","apiVersion":"v1","items":[
{"kind":"Pod","apiVersion":"v1","metadata":{"namespace":"shop","name":"other-0","uid":"1",
  "ownerReferences":[{"apiVersion":"apps/v1","kind":"StatefulSet","name":"other","uid":"2","controller":true}]},
 "spec":{"nodeName":"n1","containers":[{"name":"c","image":"x"}]},
 "status":{"phase":"Running","podIP":"10.0.0.3","podIPs":[{"ip":"10.0.0.3"}]}}]}`), "a dump")
	if err != nil {
		t.Fatal(err)
	}
	at := func(netns uint32) tracer.DeviceKey { return tracer.DeviceKey{NetNS: netns, IfIndex: 2} }
	inv := &tracer.Inventory{HostNetNS: 1, Devices: []tracer.Device{
		{DeviceKey: at(1), Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}},
		{DeviceKey: at(12), Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.3/24")}},
		{DeviceKey: at(13), Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.4/24")}},
	}}
	j := &tracer.Journey{SrcDevice: at(10), DstDevice: at(11), Hops: []tracer.Hop{
		{Device: at(10)}, {Device: at(1)}, {Device: at(12)}, {Device: at(11)},
	}, Drops: []tracer.DropSeen{{DropSite: tracer.DropSite{Device: at(12)}}, {DropSite: tracer.DropSite{Device: at(13)}}}}
	known := &tracer.ClusterFacts{SourcePod: &tracer.PodFacts{Namespace: "shop", Name: "web"}, TargetPod: &tracer.PodFacts{Namespace: "shop", Name: "api"}}
	want := []tracer.Bystander{{NetNS: 12, Namespace: "shop", Name: "other-0", Owner: "StatefulSet/other"}}
	if got := bystanders(view, known, j, inv); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// The client sends with an address that no pod has.
	inv.Devices = append(inv.Devices, tracer.Device{DeviceKey: at(10), Addrs: []netip.Prefix{netip.MustParsePrefix("172.31.0.9/32"), netip.MustParsePrefix("10.0.0.3/24")}})
	j.Drops = nil
	want = []tracer.Bystander{{NetNS: 10, Namespace: "shop", Name: "other-0", Owner: "StatefulSet/other"}}
	j.Hops = j.Hops[:1]
	if got := bystanders(view, &tracer.ClusterFacts{}, j, inv); !slices.Equal(got, want) {
		t.Errorf("a second address: got %+v, want %+v", got, want)
	}
}
