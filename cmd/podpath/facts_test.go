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
