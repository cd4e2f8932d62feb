package probe

import (
	"net/netip"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// One event at egress carries the flow before and after translation, and the
// answer is recognised at the uplink, before conntrack has seen it.
func TestTranslation(t *testing.T) {
	cases := []struct {
		name                            string
		client, service, target, uplink string
	}{
		{"v4", client4, "10.96.0.20:80", server4 + ":8080", "10.2.0.1"},
		{"v6", client6, "[fd96::20]:80", "[" + server6 + "]:8080", "fd02::1"},
	}
	eachTier(t, func(t *testing.T, tier Tier) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				n := newTopology(t)
				service, target := netip.MustParseAddrPort(c.service), netip.MustParseAddrPort(c.target)
				n.node.dnat(service, target, tracer.ProtoTCP)
				n.node.masquerade(target.Addr())
				// Only the client and the Service: not what they become.
				r := record(t, Config{Tier: tier}, Selection{
					A: prefixes(c.client), B: prefixes(service.Addr().String()),
				}, n.all()...)
				n.server.listenTCP(target.String())
				n.client.dialTCP(service.String())
				e := r.wait("SYN leaving translated", func(e tracer.Event) bool {
					return at(tracer.EventTX, n.node.key("tos"))(e) && e.TCPFlags == tracer.TCPSyn
				})
				if e.Tuple.Dst != target || e.Tuple.Src.Addr() != netip.MustParseAddr(c.uplink) {
					t.Errorf("header %s", e.Tuple)
				}
				if e.CT == nil || e.CT.Orig.Dst != service || e.CT.Orig.Src.Addr() != netip.MustParseAddr(c.client) ||
					e.CT.Reply != e.Tuple.Reverse() || !e.CT.DNAT() || !e.CT.SNAT() || e.CT.IsReply() {
					t.Errorf("conntrack %+v", e.CT)
				}
				answer := r.wait("answer at the uplink", func(e tracer.Event) bool {
					return at(tracer.EventRX, n.node.key("tos"))(e) && e.TCPFlags == tracer.TCPSyn|tracer.TCPAck
				})
				if answer.Tuple != e.Tuple.Reverse() || answer.CT != nil {
					t.Errorf("%s", describe(answer))
				}
				// By its translated tuple, behind the node.
				r.wait("SYN at the server", func(e tracer.Event) bool {
					return at(tracer.EventRX, n.server.key("eth0"))(e) && e.TCPFlags == tracer.TCPSyn
				})
				back := r.wait("answer to the client", func(e tracer.Event) bool {
					return at(tracer.EventTX, n.node.key("toc"))(e) && e.TCPFlags == tracer.TCPSyn|tracer.TCPAck
				})
				if back.Tuple.Src != service || back.CT == nil || !back.CT.IsReply() {
					t.Errorf("%s", describe(back))
				}
			})
		}
	})
}
