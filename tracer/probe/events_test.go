package probe

import (
	"net/netip"
	"testing"

	"github.com/podpath/podpath/tracer"
)

func selectPair() Selection {
	return Selection{A: prefixes(client4, client6), B: prefixes(server4, server6)}
}

// A handshake is seen at all four devices it passes, in both directions.
func TestTCPAtEveryDevice(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		for name, addrs := range map[string][2]string{"v4": {client4, server4}, "v6": {client6, server6}} {
			t.Run(name, func(t *testing.T) {
				n := newTopology(t)
				r := record(t, Config{Tier: tier}, selectPair(), n.all()...)
				server := netip.AddrPortFrom(netip.MustParseAddr(addrs[1]), 8080)
				n.server.listenTCP(server.String())
				n.client.dialTCP(server.String())
				hops := []struct {
					kind tracer.EventKind
					key  tracer.DeviceKey
				}{
					{tracer.EventTX, n.client.key("eth0")},
					{tracer.EventRX, n.node.key("toc")},
					{tracer.EventTX, n.node.key("tos")},
					{tracer.EventRX, n.server.key("eth0")},
				}
				var last uint64
				for _, h := range hops {
					syn := r.wait("SYN", func(e tracer.Event) bool {
						return at(h.kind, h.key)(e) && e.TCPFlags == tracer.TCPSyn && e.Tuple.Dst == server
					})
					if syn.MonoNS < last {
						t.Errorf("%s before its predecessor", describe(syn))
					}
					last = syn.MonoNS
					if syn.Tuple.Src.Addr() != netip.MustParseAddr(addrs[0]) || syn.Tuple.Proto != tracer.ProtoTCP {
						t.Errorf("tuple %s", syn.Tuple)
					}
					if syn.TTL == 0 || syn.Retransmit || syn.Payload != 0 || syn.Len < 54 {
						t.Errorf("event %+v", syn)
					}
				}
				r.wait("SYN-ACK at the client", func(e tracer.Event) bool {
					return at(tracer.EventRX, n.client.key("eth0"))(e) &&
						e.TCPFlags == tracer.TCPSyn|tracer.TCPAck && e.Tuple.Src == server
				})
				data := r.wait("data", func(e tracer.Event) bool {
					return at(tracer.EventRX, n.server.key("eth0"))(e) && e.Payload == 5
				})
				if data.TCPSeq == 0 || data.TCPAck == 0 {
					t.Errorf("no sequence numbers in %+v", data)
				}
			})
		}
	})
}
