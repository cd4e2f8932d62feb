package render

import (
	"testing"

	"github.com/podpath/podpath/tracer"
)

// A pod that a flow only passes is called by its own name.
func TestBystanderIsNamed(t *testing.T) {
	inv := inventory()
	stranger := device("stranger")
	inv.Devices = append(inv.Devices, tracer.Device{DeviceKey: stranger, Name: "eth0", Role: tracer.RolePod})
	j := &tracer.Journey{Flow: after(), Translated: after(), SrcDevice: device("client"), DstDevice: device("server"),
		Hops: []tracer.Hop{{Device: stranger, Direction: tracer.DirRequest, Tuple: after()}}}
	c := &tracer.ClusterFacts{Bystanders: []tracer.Bystander{{NetNS: stranger.NetNS, Namespace: "shop", Name: "other-0", Owner: "StatefulSet/other"}}}
	if l := Path(j, c, inv, "n1")[0]; l.Pod != "shop/other-0" || l.Owner != "StatefulSet/other" || l.Where != "shop/other-0 eth0" {
		t.Errorf("%+v", l)
	}
	if l := Path(j, &tracer.ClusterFacts{}, inv, "n1")[0]; l.Pod != "" || l.Owner != "" {
		t.Errorf("named without knowing: %+v", l)
	}
}
