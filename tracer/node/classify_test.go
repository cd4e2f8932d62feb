package node

import "testing"

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    pairing
		want bool
	}{
		{"bridge CNI", pairing{NodeHasDefault: true, NodeEndBridged: true, DefaultToNode: true}, true},
		{"bridge CNI, pod and node without default route", pairing{NodeEndBridged: true}, true},
		{"routed CNI", pairing{NodeHasDefault: true, HostRoute: true, DefaultToNode: true}, true},
		{"routed CNI, host route and default route missing", pairing{NodeHasDefault: true}, true},
		{"uplink of a test node", pairing{NodeHasDefault: true, NodeDefaultHere: true, SharedSubnet: true, DefaultToNode: true}, false},
		{"uplink of a node that lost its default route", pairing{SharedSubnet: true, DefaultToNode: true}, false},
		{"switch", pairing{FarEndBridged: true}, false},
		{"gateway on the pods' bridge", pairing{NodeHasDefault: true, HoldsGateway: true, NodeEndBridged: true}, false},
		{"node behind this one", pairing{NodeHasDefault: true, SharedSubnet: true, LeadsFurther: true, DefaultToNode: true}, false},
		{"pod with a subnet of its own", pairing{NodeHasDefault: true, SharedSubnet: true, DefaultToNode: true}, true},
		{"link to a storage host", pairing{NodeHasDefault: true, SharedSubnet: true}, false},
		{"known pod on any link", pairing{PodIP: true, NodeDefaultHere: true, SharedSubnet: true}, true},
		{"pod that is plugged in just now", pairing{NodeHasDefault: true}, true},
		{"virtual machine pod with a bridge inside", pairing{NodeHasDefault: true, NodeEndBridged: true, FarEndBridged: true, PodIP: true}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, why := classify(tc.p); got != tc.want {
				t.Errorf("pod = %v (%s), want %v", got, why, tc.want)
			}
		})
	}
}
