package verdict

import (
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// wrapped is a hop inside a tunnel packet to a node.
func wrapped(kind tracer.EventKind, at tracer.DeviceKey, tunnel, to string) change {
	return func(s *scene) {
		hop(kind, at)(s)
		h := &s.j.Hops[len(s.j.Hops)-1]
		h.Inner = &tracer.Inner{Tunnel: tunnel, Tuple: h.Tuple}
		h.Tuple = tracer.Tuple{Src: ap(nodeIP, 40001), Dst: ap(to, 8472), Proto: tracer.ProtoUDP}
	}
}

// asFlannel: the bridge and the tunnel are flannel's.
func asFlannel(s *scene) {
	rename(bridge, "cni0")(s)
	overlayCNI(s)
}

func viaAnswers(hops ...change) change {
	return func(s *scene) {
		from := len(s.j.Hops)
		for _, h := range hops {
			h(s)
		}
		for i := from; i < len(s.j.Hops); i++ {
			h := &s.j.Hops[i]
			h.Direction = tracer.DirReply
			if h.Inner == nil {
				h.Tuple = s.j.Flow.Reverse()
			}
		}
	}
}

func TestAstray(t *testing.T) {
	tunnel, wire, br := on(hostNS, vxlan), on(hostNS, uplink), on(hostNS, bridge)
	out, in := tracer.EventTX, tracer.EventRX
	calicoVXLAN := hostDevice(more, "vxlan.calico", "vxlan", tracer.RoleTunnel)
	direct := "flannel.1 next, by flannel's VXLAN; it left by ens3 un-encapsulated"
	for name, c := range map[string]struct {
		with []change
		want string // "" for nothing
	}{
		"leaves by the default route":            {[]change{asFlannel, toFar, defaultRoute, hop(in, br), hop(out, wire)}, direct},
		"the same, Calico":                       {[]change{asCalico, calicoVXLAN, toFar, defaultRoute, hop(out, wire)}, "vxlan.calico next, by Calico's VXLAN; it left by ens3 un-encapsulated"},
		"without tunnels, by the default route":  {[]change{rename(bridge, "cni0"), rule("flannel", "masquerade"), toFar, defaultRoute, hop(out, wire)}, "leave by a route of flannel's; it left by ens3 by the default route"},
		"into the tunnel to another node":        {[]change{asFlannel, threeNodes, toFar, hop(in, br), hop(out, tunnel), wrapped(out, wire, "vxlan", "192.0.2.3")}, "to node n3, which is not the target's"},
		"out of the node, to a pod of it":        {[]change{asCalico, hop(out, wire)}, "end of the pod's veth pair next; it left by ens3"},
		"a Service's address on the wire":        {[]change{asFlannel, toService, hop(out, wire)}, "Service's address"},
		"an answer that leaves un-encapsulated":  {[]change{asFlannel, fromFar, viaAnswers(hop(out, on(apiNS, eth0)), hop(out, wire))}, ""}, // flannel has direct routes too
		"an answer by a VPN":                     {[]change{asFlannel, fromFar, hostDevice(more, "wg0", "wireguard", tracer.RoleTunnel), viaAnswers(hop(out, on(apiNS, eth0)), hop(out, on(hostNS, more)))}, "it left by wg0"},
		"flannel, as it should":                  {[]change{asFlannel, toFar, tunnelRoute, hop(in, br), hop(out, tunnel), wrapped(out, wire, "vxlan", node2IP)}, ""},
		"flannel, the tunnel not watched":        {[]change{asFlannel, toFar, tunnelRoute, wrapped(out, wire, "vxlan", node2IP)}, ""},
		"flannel, a route of its own":            {[]change{asFlannel, toFar, hop(in, br), hop(out, wire)}, ""},
		"calico, the fabric knows the pods":      {[]change{asCalico, toFar, defaultRoute, hop(out, wire)}, ""},
		"aws, by the default route":              {[]change{rename(vethWeb, "eni1"), toFar, defaultRoute, hop(out, wire)}, ""},
		"cilium passes its devices by":           {[]change{hostDevice(more, "cilium_vxlan", "vxlan", tracer.RoleTunnel), toFar, defaultRoute, wrapped(out, wire, "vxlan", node2IP)}, ""},
		"canal":                                  {[]change{asCalico, asFlannel, toFar, tunnelRoute, hop(out, tunnel), wrapped(out, wire, "vxlan", node2IP)}, ""},
		"two uplinks, one upon the other":        {[]change{asFlannel, toFar, hostDevice(more, "bond0", "bond", tracer.RoleUplink), hop(out, on(hostNS, more)), hop(out, wire)}, ""},
		"the same packet again":                  {[]change{asFlannel, toFar, hop(out, wire), hop(out, on(webNS, eth0)), hop(in, on(hostNS, vethWeb)), hop(out, wire)}, ""},
		"copies to ports of the bridge":          {[]change{asFlannel, toFar, hop(out, on(hostNS, vethAPI)), hop(out, wire)}, ""},
		"a network that nobody knows":            {[]change{overlayless, toFar, defaultRoute, hop(out, wire)}, ""},
		"without cluster data":                   {[]change{asFlannel, toFar, noCluster, defaultRoute, hop(out, wire)}, ""},
		"a target that is a node":                {[]change{asFlannel, toFar, defaultRoute, func(s *scene) { s.c.Target.Kind = tracer.KindNode }, hop(out, wire)}, ""},
		"events were lost":                       {[]change{asFlannel, toFar, defaultRoute, hop(out, wire), lost}, ""},
		"a Service that a socket would address":  {[]change{asFlannel, toService, proxies("cilium"), hop(out, wire)}, ""},
		"the world, by a VPN's tunnel":           {[]change{asFlannel, toWorld, hostDevice(more, "wg0", "wireguard", tracer.RoleTunnel), hop(out, on(hostNS, more)), hop(out, wire)}, ""},
		"the world, with whatever address":       {[]change{asFlannel, toWorld, hop(out, wire)}, ""},
		"an answer on the way that it should go": {[]change{asFlannel, fromFar, viaAnswers(hop(out, on(apiNS, eth0)), hop(out, tunnel), wrapped(out, wire, "vxlan", node2IP))}, ""},
	} {
		got := given(c.with...).astray()
		switch {
		case c.want == "" && len(got) > 0, c.want != "" && len(got) != 1:
			t.Errorf("%s: %v, want %q", name, got, c.want)
		case c.want != "" && !strings.Contains(got[0].What, c.want):
			t.Errorf("%s: %q, want %q", name, got[0].What, c.want)
		}
	}
}

// fromFar: the client is a pod of node n2, and its packets came as they should.
func fromFar(s *scene) {
	s.j.Hops, s.j.SrcDevice = nil, tracer.DeviceKey{}
	s.n.SrcDevice, s.n.SrcPeer = nil, nil
	s.c.SourcePod.Node, s.c.Source.Node = "n2", "n2"
	s.j.Flow.Src = ap(farIP, 40000)
	s.j.Translated = s.j.Flow
	wrapped(tracer.EventRX, on(hostNS, uplink), "vxlan", nodeIP)(s)
	hop(tracer.EventRX, on(hostNS, vxlan))(s)
	hop(tracer.EventRX, on(apiNS, eth0))(s)
}

func threeNodes(s *scene) {
	s.c.Nodes = append(s.c.Nodes, tracer.NodeInfo{Name: "n3", IPs: slices.Clone(s.c.Nodes[0].IPs)})
	s.c.Nodes[2].IPs[0] = addr("192.0.2.3")
}

func tunnelRoute(s *scene) { s.n.Routes[0].Dev, s.n.Routes[0].OIF = "flannel.1", vxlan }

func overlayless(s *scene) { rename(bridge, "br7")(s) }

// A packet that was seen nowhere after a place: the next is named, if it is known.
func TestEndOfTheWay(t *testing.T) {
	for name, c := range map[string]struct {
		with []change
		want string
	}{
		"in the bridge":         {[]change{asFlannel, toFar, tunnelRoute, hop(tracer.EventRX, on(hostNS, bridge))}, "next hop would have been flannel.1, by flannel's VXLAN"},
		"before the pod":        {[]change{asCalico}, "next hop would have been the node's end of the pod's veth pair"},
		"a network not known":   {[]change{toFar, tunnelRoute}, ""},
		"packets were not seen": {[]change{asCalico, lost}, ""},
	} {
		v := NewEngine().Decide(given(c.with...))
		if v.Code != tracer.CodeUnknown {
			t.Errorf("%s: %s", name, v.Code)
		}
		i := slices.IndexFunc(v.Evidence, func(e tracer.Evidence) bool { return strings.Contains(e.What, "next hop") })
		if got := i >= 0; got != (c.want != "") || got && !strings.Contains(v.Evidence[i].What, c.want) {
			t.Errorf("%s: %v, want %q", name, v.Evidence, c.want)
		}
	}
}

// The default route is to blame only where the network of the pods has a way of
// its own; somebody else's tunnel does not make it wrong.
func TestDefaultRouteToPods(t *testing.T) {
	vpn := hostDevice(more, "wg0", "wireguard", tracer.RoleTunnel)
	leak := func(with ...change) []change { return append(with, toFar, defaultRoute, left(webIP)) }
	for name, c := range map[string]struct {
		with       []change
		code       string
		confidence tracer.Confidence
		also       bool
	}{
		"flannel's tunnel":           {leak(asFlannel), "cni-route-missing", tracer.Confirmed, false},
		"flannel's tunnel and a VPN": {leak(asFlannel, vpn), "cni-route-missing", tracer.Confirmed, false},
		"a tunnel, CNI not known":    {leak(vpn), "cni-route-missing", tracer.Confirmed, false},
		"AWS and a VPN":              {leak(rename(vethWeb, "eni1"), vpn), tracer.CodeBeyondNode, tracer.Probable, false},
		"Calico and a VPN":           {leak(asCalico, vpn), tracer.CodeBeyondNode, tracer.Probable, true},
		"CNI not known, no tunnel":   {leak(), tracer.CodeBeyondNode, tracer.Probable, true},
	} {
		v := NewEngine().Decide(given(c.with...))
		also := slices.ContainsFunc(v.AlsoSeen, func(a tracer.AlsoSeen) bool { return a.Code == "cni-route-missing" })
		if v.Code != c.code || v.Confidence != c.confidence || also != c.also {
			t.Errorf("%s: %s, %s, guessed %v; want %s, %s, %v", name, v.Code, v.Confidence, also, c.code, c.confidence, c.also)
		}
	}
}
