package verdict

import (
	"testing"

	"github.com/podpath/podpath/tracer"
)

// Kernels before 5.17 give no reason with a drop: the place has several, and
// only what the node says besides picks one.
func TestDropsWithoutReason(t *testing.T) {
	at := func(location string, stage tracer.Stage, with ...dropChange) change {
		return dropOf("", location, stage, "", with...)
	}
	wrongMAC := func(s *scene) {
		s.n.DstDevice = &tracer.Device{DeviceKey: on(apiNS, eth0), Name: "eth0", MAC: "0a:00:00:00:00:01"}
		s.n.Neighbours = append(s.n.Neighbours, tracer.NeighbourFact{
			NetNS: hostNS, Addr: s.j.Translated.Dst.Addr(), Dev: "br0", MAC: "0a:00:00:00:00:99", State: "permanent",
		})
	}
	for _, tc := range []struct {
		name string
		with []change
		code string
	}{
		{"forwarding off", []change{at("ip_error", tracer.StageRouting), sysctl("net.ipv4.ip_forward", "0")}, "node-ip-forward-off"},
		{"forwarding on", []change{at("ip_error", tracer.StageRouting), sysctl("net.ipv4.ip_forward", "1")}, "unknown"},
		{"blackhole route", []change{toFar, at("ip_error", tracer.StageRouting), routeIs("forward", "blackhole", "10.2.0.0/16")}, "cni-route-blackhole"},
		{"reverse path", []change{at("ip_rcv_finish_core", tracer.StageRouting), counted(hostNS, "IPReversePathFilter", 3)}, "node-rp-filter"},
		{"martian, perhaps", []change{at("ip_rcv_finish_core", tracer.StageRouting)}, "unknown"},
		{"full buffer", []change{proto(tracer.ProtoUDP), reached, at("udp_queue_rcv_one_skb", tracer.StageSocket, at3(on(apiNS, eth0)), times(3)), counted(apiNS, "UdpRcvbufErrors", 3)}, "app-udp-rcvbuf"},
		{"socket filter, perhaps", []change{proto(tracer.ProtoUDP), reached, at("udp_queue_rcv_one_skb", tracer.StageSocket, at3(on(apiNS, eth0)), times(3))}, "unknown"},
		{"wrong checksum", []change{reached, at("tcp_v4_rcv", tracer.StageSocket, at3(on(apiNS, eth0))), counted(apiNS, "TcpInCsumErrors", 3)}, "node-csum"},
		{"wrong checksum, perhaps", []change{reached, at("tcp_v4_rcv", tracer.StageSocket, at3(on(apiNS, eth0)))}, "unknown"},
		{"wrong checksum of one, perhaps", []change{reached, at("tcp_v4_rcv", tracer.StageSocket, at3(on(apiNS, eth0))), counted(apiNS, "TcpInCsumErrors", 1)}, "unknown"},
		{"no socket, and wrong checksums of others", []change{reached, at("tcp_v4_rcv", tracer.StageSocket, at3(on(apiNS, eth0))), counted(apiNS, "TcpInCsumErrors", 3), refusedByTarget}, "app-no-listener"},
		{"a tunnel's port that nobody has, and one wrong checksum", []change{overlayCNI, at("__udp4_lib_rcv", tracer.StageSocket, outerPacket), counted(hostNS, "UdpInCsumErrors", 1)}, "cni-overlay-port-mismatch"},
		{"too big, and told so", []change{toWorld, at("ip_forward", tracer.StageForward), icmpFromNode(3, 4, arrivedAt)}, "cni-mtu-pod-too-big"},
		{"dropped in forwarding", []change{toWorld, at("ip_forward", tracer.StageForward)}, "unknown"},
		{"another's MAC", []change{at("ip_rcv_core", tracer.StagePrerouting, at3(on(apiNS, eth0))), wrongMAC}, "cni-stale-neigh"},
		{"broken header, perhaps", []change{at("ip_rcv_core", tracer.StagePrerouting, at3(on(apiNS, eth0)))}, "unknown"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := NewEngine().Decide(given(tc.with...))
			if v == nil || v.Code != tc.code {
				t.Errorf("got %+v, want %s", v, tc.code)
			}
		})
	}
}
