package lab

import (
	"context"
	"net"
	"time"

	"github.com/google/nftables"
)

// overlayFarFaults are traced on the node that receives what the tunnel carries.
func overlayFarFaults() []Fault {
	f := func(component, code, name, title, desc string, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: component, Code: code, Protocols: bothProtocols, Visible: silence, arrange: arrange}
	}
	healthy := control("healthy-overlay-far", "VXLAN, seen from the receiver", "A pod of another node reaches a pod of the traced one over VXLAN.", bothProtocols,
		onOverlay(nil, func(_ context.Context, l *Lab, _ *overlay) (*scene, error) { return l.toFarHere(), nil }))
	healthy.Visible = 2 * time.Second
	return []Fault{
		healthy,
		f("cni", "cni-overlay-vni-mismatch", "overlay-vni-mismatch", "a VNI that no device has", "Traced on the receiver: VXLAN packets come with a VNI that no device of the node has.",
			onOverlay(func(_ *Lab, o *overlay) { o.farVNI = 2 }, arrangeFarNode)),
		f("cni", "cni-overlay-stale-vtep-mac", "overlay-stale-vtep-mac", "a stale VTEP MAC address", "Traced on the receiver: its VXLAN device has another MAC address than the sender was told.",
			onOverlay(func(_ *Lab, o *overlay) { o.farMAC = net.HardwareAddr{2, 0x10, 0, 0, 0, 0x22} }, arrangeFarNode)),
		f("cni", "cni-overlay-port-mismatch", "overlay-port-mismatch", "another VXLAN port", "Traced on the receiver: its VXLAN device listens on another port than the sender uses.",
			onOverlay(func(_ *Lab, o *overlay) { o.farPort = 4789 }, arrangeFarNode)),
		f("node", "node-input-blocked", "overlay-input-blocked", "the receiver's firewall drops VXLAN", "Traced on the receiver: its input firewall drops the tunnel's packets.",
			onOverlay(nil, arrangeFarInput)),
		f("node", "node-forward-drop", "overlay-far-foreign-drop", "the receiver's firewall drops behind the tunnel", "Traced on the receiver: a foreign rule drops what the tunnel has delivered.",
			onOverlay(nil, arrangeFarForward)),
	}
}

// toFarHere is toFarPod, traced where it arrives.
func (l *Lab) toFarHere() *scene {
	with(l, &l.fromPeer, true)
	s, c, far := l.toFarPod(), l.client(), l.far()
	s.From, s.To = c.ip(l.opts.IPv6).String(), podRef(far, l.p.farPort)
	return s
}

func arrangeFarNode(_ context.Context, l *Lab, _ *overlay) (*scene, error) {
	return l.toFarHere().blames("Node", "", l.p.peer).shows(Timeout), nil
}

func arrangeFarInput(_ context.Context, l *Lab, _ *overlay) (*scene, error) {
	return l.toFarHere().blamesRule(l.p.hostFW, "input").shows(Timeout), l.atPeer(l.p.hostFW, func(t *table) {
		in := t.filter("input", nftables.ChainHookInput, *nftables.ChainPriorityFilter)
		t.rule(in, "", dport("UDP", tunnelPort), drop())
	})
}

func arrangeFarForward(_ context.Context, l *Lab, _ *overlay) (*scene, error) {
	return l.toFarHere().blamesRule(l.p.guard, "forward").shows(Timeout), l.atPeer(l.p.guard, func(t *table) {
		fwd := t.filter("forward", nftables.ChainHookForward, *nftables.ChainPriorityFilter)
		t.rule(fwd, "", dport(l.opts.Protocol, l.p.farPort), drop())
	})
}
