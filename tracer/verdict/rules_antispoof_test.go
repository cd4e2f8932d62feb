package verdict

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/tracer"
)

func TestAntiSpoof(t *testing.T) {
	veth := tracer.DeviceKey{NetNS: 1, IfIndex: 5}
	eth0 := tracer.DeviceKey{NetNS: 2, IfIndex: 2}
	inv := &tracer.Inventory{HostNetNS: 1, Devices: []tracer.Device{
		{DeviceKey: veth, Name: "cali1", Role: tracer.RolePodHost, Peer: eth0},
		{DeviceKey: eth0, Name: "eth0", Role: tracer.RolePod, Peer: veth, Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.5/32"), netip.MustParsePrefix("10.98.0.5/32")}},
	}}
	at := time.Unix(1000, 0)
	input := func(src string, stage tracer.Stage, o tracer.Outcome) *Input {
		flow := tracer.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort("203.0.113.7:443"), Proto: tracer.ProtoTCP}
		j := &tracer.Journey{Flow: flow, Translated: flow, First: at, Last: at.Add(time.Second), Attempts: 2}
		if o != tracer.OutcomeDelivered {
			j.Drops = []tracer.DropSeen{{
				DropSite:  tracer.DropSite{Device: veth, InDevice: veth, Tuple: flow, Drop: tracer.Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stage: stage, Engine: "nftables"}},
				Direction: tracer.DirRequest, Count: 2, First: at, Last: at.Add(time.Second),
			}}
		}
		return &Input{Journey: j, Outcome: o, Inventory: inv, NodeName: "n1", Now: at.Add(2 * time.Second), Node: &tracer.NodeFacts{}, Cluster: &tracer.ClusterFacts{Known: true}}
	}
	// Behind a bridge the drop names the bridge only.
	bridged := input("10.99.0.5:4000", tracer.StagePrerouting, tracer.OutcomeNoAnswer)
	br := tracer.DeviceKey{NetNS: 1, IfIndex: 9}
	bridged.Journey.Drops[0].Device, bridged.Journey.Drops[0].InDevice = br, br
	bridged.Journey.Hops = []tracer.Hop{{Direction: tracer.DirRequest, Kind: tracer.EventRX, Device: veth, Tuple: bridged.Journey.Flow}}
	// The pod has the address too, on a device of its own.
	vpn := input("10.99.0.5:4000", tracer.StagePrerouting, tracer.OutcomeNoAnswer)
	tun := tracer.Device{DeviceKey: tracer.DeviceKey{NetNS: 2, IfIndex: 7}, Name: "tun0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.99.0.5/32")}}
	vpn.Inventory = &tracer.Inventory{HostNetNS: 1, Devices: append([]tracer.Device{tun}, inv.Devices...)}
	// strict: the node's rule says that it looked at the source.
	strict := func(in *Input) *Input {
		in.Node.Rules = []tracer.RuleFact{{Hook: "prerouting", Verdict: "drop", How: "counter", Owner: "calico", Agent: &tracer.AgentRule{Why: tracer.AgentSource}}}
		return in
	}
	second := func() *Input { return input("10.98.0.5:4000", tracer.StagePrerouting, tracer.OutcomeNoAnswer) }
	own := strict(input("10.1.0.5:4000", tracer.StagePrerouting, tracer.OutcomeNoAnswer))
	own.Cluster.SourcePod = &tracer.PodFacts{Namespace: "shop", Name: "web"}
	for name, tt := range map[string]struct {
		in   *Input
		want string
	}{
		"a VPN's address behind a pod's veth":           {input("10.99.0.5:4000", tracer.StagePrerouting, tracer.OutcomeNoAnswer), "cni-antispoof"},
		"the same behind a bridge":                      {bridged, "cni-antispoof"},
		"a VPN's address on the VPN's device":           {vpn, "cni-antispoof"},
		"a second address, refused for its source":      {strict(second()), "cni-antispoof"},
		"a second address, dropped for who knows what":  {second(), ""},
		"the pod's own address, refused for its source": {own, ""},
		"the pod's own address":                         {input("10.1.0.5:4000", tracer.StagePrerouting, tracer.OutcomeNoAnswer), ""},
		"a foreign address, dropped in forward":         {input("10.99.0.5:4000", tracer.StageForward, tracer.OutcomeNoAnswer), ""},
		"a foreign address that gets through":           {input("10.99.0.5:4000", tracer.StagePrerouting, tracer.OutcomeDelivered), ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := NewEngine().Decide(tt.in)
			if got := v.Code == "cni-antispoof"; got != (tt.want != "") {
				t.Errorf("got %s: %s", v.Code, v.Summary)
			}
		})
	}
}
