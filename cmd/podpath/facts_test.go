package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/kube"
	"github.com/podpath/podpath/tracer"
)

// officeDump: db/api lets an address range in, and nobody else.
const officeDump = `{"kind":"List","items":[
 {"kind":"Node","metadata":{"name":"n1"},"status":{"addresses":[{"type":"InternalIP","address":"172.30.0.1"}]}},
 {"kind":"Namespace","metadata":{"name":"db"}},
 {"kind":"Pod","metadata":{"namespace":"db","name":"api","labels":{"app":"api"}},"spec":{"nodeName":"n1","containers":[{}]},"status":{"phase":"Running","podIP":"10.1.0.11"}},
 {"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"namespace":"db","name":"office"},"spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"198.51.100.0/24"}}]}]}}]}`

// TestPolicySeesTranslatedSource: policies judge the source that the dropped
// packet had, and not the one that conntrack began with.
func TestPolicySeesTranslatedSource(t *testing.T) {
	view, _, err := kube.ReadDump(strings.NewReader(officeDump), "test")
	if err != nil {
		t.Fatal(err)
	}
	flow := tracer.Tuple{Src: netip.MustParseAddrPort("198.51.100.7:4000"), Dst: netip.MustParseAddrPort("10.1.0.11:8080"), Proto: tracer.ProtoTCP}
	snat := flow
	snat.Src = netip.MustParseAddrPort("172.30.0.1:61000")
	for name, tt := range map[string]struct {
		drop    tracer.Tuple
		dir     tracer.Direction
		allowed bool
	}{
		"dropped as it came":             {flow, tracer.DirRequest, true},
		"dropped after SNAT":             {snat, tracer.DirRequest, false},
		"the answer was dropped instead": {snat.Reverse(), tracer.DirReply, true},
	} {
		j := &tracer.Journey{Flow: flow, Translated: flow, Drops: []tracer.DropSeen{{DropSite: tracer.DropSite{Tuple: tt.drop}, Direction: tt.dir}}}
		c := clusterFacts(view, j, "n1")
		if c.Ingress == nil || c.Ingress.Allowed != tt.allowed {
			t.Fatalf("%s: %+v", name, c.Ingress)
		}
		if !tt.allowed && c.Ingress.Nearest.Miss != "ip-block" {
			t.Errorf("%s: %+v", name, c.Ingress.Nearest)
		}
	}
}

// shopDump: shop/web has an endpoint on each node, of which one is ready, and keeps
// its clients on their node.
const shopDump = `{"kind":"List","items":[
 {"kind":"Node","metadata":{"name":"n1"},"status":{"addresses":[{"type":"InternalIP","address":"172.30.0.1"}]}},
 {"kind":"Node","metadata":{"name":"n2"},"status":{"addresses":[{"type":"InternalIP","address":"172.30.0.2"}]}},
 {"kind":"Service","metadata":{"namespace":"shop","name":"web"},"spec":{"clusterIP":"10.96.0.20","internalTrafficPolicy":"Local","ports":[{"name":"http","port":80,"targetPort":8080,"protocol":"TCP"}]}},
 {"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4","metadata":{"namespace":"shop","name":"web-1","labels":{"kubernetes.io/service-name":"web"}},
  "ports":[{"name":"http","port":8080,"protocol":"TCP"}],"endpoints":[{"addresses":["10.1.0.11"],"nodeName":"n1","conditions":{"ready":true}},{"addresses":["10.2.0.11"],"nodeName":"n2","conditions":{"ready":true}}]}]}`

// The facts say where the traced node's proxy may send the flow.
func TestExpectedTargets(t *testing.T) {
	view, _, err := kube.ReadDump(strings.NewReader(shopDump), "test")
	if err != nil {
		t.Fatal(err)
	}
	flow := tracer.Tuple{Src: netip.MustParseAddrPort("10.1.0.9:4000"), Dst: netip.MustParseAddrPort("10.96.0.20:80"), Proto: tracer.ProtoTCP}
	c := clusterFacts(view, &tracer.Journey{Flow: flow, Translated: flow}, "n2")
	if c.Service == nil || c.Service.Expected == nil {
		t.Fatalf("%+v", c.Service)
	}
	if x := c.Service.Expected; !x.Local || x.Elsewhere != 1 || len(x.Addrs) != 1 || x.Addrs[0].String() != "10.2.0.11:8080" {
		t.Errorf("%+v", x)
	}
	flow.Dst = netip.MustParseAddrPort("10.1.0.11:8080")
	if c := clusterFacts(view, &tracer.Journey{Flow: flow, Translated: flow}, "n2"); c.Service != nil {
		t.Errorf("a pod's own address: %+v", c.Service)
	}
}

const publishedDump = `{"kind":"List","items":[
 {"kind":"Node","metadata":{"name":"n1"},"status":{"addresses":[{"type":"InternalIP","address":"172.30.0.1"}]}},
 {"kind":"Pod","metadata":{"namespace":"db","name":"api"},"spec":{"nodeName":"n1","containers":[{"ports":[{"containerPort":8080,"hostPort":9000}]}]},"status":{"phase":"Running","podIP":"10.1.0.11"}}]}`

// A port of a node has the pod that wants it beside it, and no other.
func TestPublishedPod(t *testing.T) {
	view, _, err := kube.ReadDump(strings.NewReader(publishedDump), "test")
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]bool{"172.30.0.1:9000": true, "172.30.0.1:8080": false, "172.30.0.9:9000": false, "10.1.0.11:9000": false} {
		flow := tracer.Tuple{Src: netip.MustParseAddrPort("198.51.100.7:4000"), Dst: netip.MustParseAddrPort(to), Proto: tracer.ProtoTCP}
		if c := clusterFacts(view, &tracer.Journey{Flow: flow, Translated: flow}, "n1"); (c.Published != nil) != want {
			t.Errorf("%s: %+v, want a pod: %t", to, c.Published, want)
		}
	}
}

// The facts have the agents that are down on the traced node and on those of both ends,
// and of no other.
func TestAgentsDownFacts(t *testing.T) {
	agent := func(node string) string {
		return `{"kind":"Pod","metadata":{"namespace":"kube-system","name":"cni-` + node + `","ownerReferences":[{"kind":"DaemonSet","name":"cni","controller":true}]},"spec":{"nodeName":"` + node + `","hostNetwork":true},
 "status":{"phase":"Running","conditions":[{"type":"Ready","status":"False","lastTransitionTime":"2026-11-22T10:00:00Z"}]}},`
	}
	view, _, err := kube.ReadDump(strings.NewReader(`{"kind":"List","items":[`+agent("n1")+agent("n2")+agent("n3")+`
 {"kind":"Pod","metadata":{"namespace":"shop","name":"web"},"spec":{"nodeName":"n1"},"status":{"phase":"Running","podIP":"10.1.0.9"}},
 {"kind":"Pod","metadata":{"namespace":"db","name":"api"},"spec":{"nodeName":"n2"},"status":{"phase":"Running","podIP":"10.2.0.11"}}]}`), "test")
	if err != nil {
		t.Fatal(err)
	}
	flow := tracer.Tuple{Src: netip.MustParseAddrPort("10.1.0.9:4000"), Dst: netip.MustParseAddrPort("10.2.0.11:8080"), Proto: tracer.ProtoTCP}
	c := clusterFacts(view, &tracer.Journey{Flow: flow, Translated: flow}, "n1")
	if len(c.AgentsDown) != 2 || len(c.AgentsDown["n1"]) != 1 || len(c.AgentsDown["n2"]) != 1 || c.AgentsDown["n2"][0].Pod != "cni-n2" {
		t.Errorf("%+v", c.AgentsDown)
	}
}
