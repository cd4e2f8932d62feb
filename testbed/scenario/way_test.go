package scenario

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/testbed/k8s"
	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/verdict"
)

const (
	sent, received   = tracer.EventTX, tracer.EventRX
	own, peer0       = tracer.RolePod, tracer.RolePodHost
	wire, vxlan, br0 = tracer.RoleUplink, tracer.RoleTunnel, tracer.RoleBridge
)

// What packets of healthy flows are seen at, in each flavour.
var (
	outOfPod  = []sight{{sent, own, "eth0", ""}, {received, peer0, "veth1", ""}, {received, br0, "cni0", ""}}
	outOfCali = []sight{{sent, own, "eth0", ""}, {received, peer0, "cali1", ""}}
	byTunnel  = []sight{{sent, vxlan, "flannel.1", ""}, {sent, wire, "eth0", "vxlan"}}
	byRoute   = []sight{{sent, wire, "eth0", ""}}
	intoPod   = []sight{{sent, br0, "cni0", ""}, {sent, peer0, "veth2", ""}, {received, own, "eth0", ""}}
)

func flavour(t *testing.T, name string) wiring {
	t.Helper()
	f, err := k8s.FlavourOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return wiringOf(f)
}

func joined(parts ...[]sight) (all []sight) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// apart is how the packets part from each way of the table, "" if they took one.
func (w wiring) apart(t *testing.T, table map[string]verdict.Network, from, to end, seen []sight) string {
	t.Helper()
	ways, err := w.ways(table, from, to)
	if err != nil {
		t.Fatal(err)
	}
	var wrong []string
	for _, way := range ways {
		parts := apartFrom(way, seen)
		if parts == "" {
			return ""
		}
		wrong = append(wrong, parts)
	}
	return "none of the ways: " + strings.Join(wrong, "; ")
}

func TestWays(t *testing.T) {
	for name, c := range map[string]struct {
		flavour  string
		from, to end
		seen     []sight
		want     string // part of how it parts, "" if it does not
	}{
		"to the other node":               {"flannel", podHere, podElsewhere, joined(outOfPod, byTunnel), ""},
		"to the other node, host-gw":      {"flannel-hostgw", podHere, podElsewhere, joined(outOfPod, byRoute), ""},
		"to the other node, Calico":       {"calico", podHere, podElsewhere, joined(outOfCali, byTunnel), ""},
		"over the bridge":                 {"flannel", podHere, podHere, joined(outOfPod[:2], intoPod[1:]), ""},
		"translated on one node":          {"flannel", podHere, podHere, joined(outOfPod, intoPod), ""},
		"from the node":                   {"flannel", thisNode, podElsewhere, byTunnel, ""},
		"to the outside":                  {"calico", podHere, outsideCluster, joined(outOfCali, byRoute), ""},
		"from the outside":                {"flannel", outsideCluster, podHere, joined([]sight{{received, wire, "eth0", ""}}, intoPod), ""},
		"sent twice":                      {"flannel", podHere, podElsewhere, joined(outOfPod, byTunnel, byTunnel), ""},
		"un-encapsulated":                 {"flannel", podHere, podElsewhere, joined(outOfPod, byRoute), "sent by eth0, which is not on the way"},
		"encapsulated without need":       {"flannel-hostgw", podHere, podElsewhere, joined(outOfPod, byTunnel), "flannel.1, which is not on the way"},
		"past the tunnel's device":        {"flannel", podHere, podElsewhere, joined(outOfPod, byTunnel[1:]), "was not seen before at sent by tunnel"},
		"never on the wire":               {"flannel", podHere, podElsewhere, joined(outOfPod, byTunnel[:1]), "was not seen at sent by uplink"},
		"by another device than Calico's": {"calico", podHere, podElsewhere, joined(outOfPod[:2], byTunnel), "veth1, which is not on the way"},
		"by a bridge, with Calico":        {"calico", podHere, podElsewhere, joined(outOfCali, outOfPod[2:], byTunnel), "cni0, which is not on the way"},
	} {
		got := flavour(t, c.flavour).apart(t, verdict.Networks(), c.from, c.to, c.seen)
		if c.want == "" != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What connects the pods has to be named, as far as there are any.
func TestNetworksNamed(t *testing.T) {
	for _, c := range []struct {
		flavour string
		said    []string
		pods    bool
		want    bool
	}{
		{"flannel", []string{"flannel"}, true, true},
		{"flannel", []string{"bridge"}, true, false},
		{"flannel", nil, true, false},
		{"flannel-hostgw", []string{"bridge"}, true, true},
		{"calico", []string{"flannel", "calico"}, true, true},
		{"calico", []string{"flannel"}, true, false},
		{"calico", []string{"flannel"}, false, true},
		{"calico", []string{"cilium"}, false, false},
		{"calico", nil, false, true},
	} {
		if got := flavour(t, c.flavour).rightly(c.said, c.pods); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

// A table that is wrong in one place does not hold for a healthy flow.
func TestWrongTable(t *testing.T) {
	far := map[string][]sight{
		"flannel": joined(outOfPod, byTunnel), "flannel-hostgw": joined(outOfPod, byRoute), "calico": joined(outOfCali, byTunnel),
	}
	for name, c := range map[string]struct {
		flavour string
		change  func(map[string]verdict.Network)
	}{
		"flannel's bridge":            {"flannel", func(m map[string]verdict.Network) { m["flannel"].Pods[2].Device = "kube-bridge" }},
		"flannel's device":            {"flannel", func(m map[string]verdict.Network) { m["flannel"].Nodes[0].Stops[0].Device = "vxlan.flannel" }},
		"its encapsulation":           {"flannel", func(m map[string]verdict.Network) { m["flannel"].Nodes[0].Stops[1].Inside = "geneve" }},
		"no encapsulation":            {"flannel", func(m map[string]verdict.Network) { m["flannel"].Nodes[0].Stops[1].Inside = "" }},
		"a stop too many":             {"flannel-hostgw", func(m map[string]verdict.Network) { m["flannel"].Pods[0].Role = tracer.RoleOther }},
		"what a route leads to":       {"flannel-hostgw", func(m map[string]verdict.Network) { m["flannel"].Nodes[3].Stops[0].Role = tracer.RoleTunnel }},
		"Calico's devices":            {"calico", func(m map[string]verdict.Network) { m["calico"].Pods[1].Device = "eni*" }},
		"the direction":               {"calico", func(m map[string]verdict.Network) { m["calico"].Pods[1].Kind = tracer.EventTX }},
		"a network that is not there": {"calico", func(m map[string]verdict.Network) { delete(m, "flannel") }},
	} {
		w := flavour(t, c.flavour)
		table := verdict.Networks()
		if got := w.apart(t, table, podHere, podElsewhere, far[c.flavour]); got != "" {
			t.Fatalf("%s: %s", c.flavour, got)
		}
		c.change(table)
		if got := w.apart(t, table, podHere, podElsewhere, far[c.flavour]); got == "" {
			t.Errorf("%s: nobody notices", name)
		}
	}
}
