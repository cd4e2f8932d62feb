package probe

import (
	"net"
	"net/netip"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// eachRead runs f with every way to see devices and to read the kernel.
func eachRead(t *testing.T, f func(t *testing.T, c Config)) {
	eachTier(t, func(t *testing.T, tier Tier) {
		for name, copyReads := range map[string]bool{"direct": false, "copied": true} {
			t.Run(name, func(t *testing.T) { f(t, Config{Tier: tier, copyReads: copyReads}) })
		}
	})
}

// natTopology has a Service on the node, whose clients are masqueraded.
func natTopology(t *testing.T, service, target netip.AddrPort) topology {
	n := newTopology(t)
	n.node.dnat(service, target, tracer.ProtoUDP)
	n.node.masquerade(target.Addr())
	return n
}

// Every packet of a translated flow is counted, at every device and in both
// directions, with a selection that knows the addresses before translation only.
func TestTranslatedCounts(t *testing.T) {
	for _, c := range []struct{ name, client, service, target string }{
		{"v4", client4, "10.96.0.20:80", server4 + ":8080"},
		{"v6", client6, "[fd96::20]:80", "[" + server6 + "]:8080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachRead(t, func(t *testing.T, config Config) {
				service, target := netip.MustParseAddrPort(c.service), netip.MustParseAddrPort(c.target)
				n := natTopology(t, service, target)
				config.FirstEvents = 1
				r := record(t, config, Selection{A: prefixes(c.client), B: prefixes(service.Addr().String())}, n.all()...)
				n.server.listenUDP(target.String())
				// More than the packets after which the tuples are learned again.
				const packets = 600
				n.client.askUDP(service.String(), packets)
				for _, where := range []struct {
					kind tracer.EventKind
					key  tracer.DeviceKey
					port uint16
				}{
					{tracer.EventRX, n.node.key("toc"), service.Port()},
					{tracer.EventTX, n.node.key("tos"), target.Port()},
					{tracer.EventRX, n.server.key("eth0"), target.Port()},
				} {
					forth := func(f FlowCount) bool { return f.Tuple.Dst.Port() == where.port }
					back := func(f FlowCount) bool { return f.Tuple.Src.Port() == where.port }
					opposite := map[tracer.EventKind]tracer.EventKind{tracer.EventRX: tracer.EventTX, tracer.EventTX: tracer.EventRX}
					r.waitFlow(packets, func(f FlowCount) bool {
						return f.DeviceKey == where.key && f.Kind == where.kind && forth(f)
					})
					r.waitFlow(packets, func(f FlowCount) bool {
						return f.DeviceKey == where.key && f.Kind == opposite[where.kind] && back(f)
					})
				}
			})
		})
	}
}

// askUDP sends n datagrams, each after the answer to the one before.
func (s *space) askUDP(addr string, n int) {
	s.t.Helper()
	var c net.Conn
	s.do(func() (err error) {
		c, err = net.Dial("udp", addr)
		return err
	})
	defer c.Close()
	ask(s.t, c, n)
}

// A flow that was found to be selected is not looked up again. It must be once
// the selection has changed, and once its namespace is watched no more.
func TestKnownFlowIsForgotten(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier, FirstEvents: 1}, selectPair(), n.all()...)
		n.server.listenUDP(server4 + ":7000")
		var c net.Conn
		n.client.do(func() (err error) {
			c, err = net.Dial("udp", server4+":7000")
			return err
		})
		defer c.Close()
		counted := uint64(0)
		send := func(what string, selected bool) {
			t.Helper()
			t.Log(what)
			ask(t, c, 10)
			if selected {
				counted += 10
			}
			r.waitFlow(counted, func(f FlowCount) bool {
				return f.DeviceKey == n.node.key("toc") && f.Kind == tracer.EventRX && f.Tuple.Dst.Port() == 7000
			})
			steadyStats(t, r.probe)
		}
		choose := func(s Selection) {
			t.Helper()
			if err := r.probe.Select(s); err != nil {
				t.Fatal(err)
			}
		}
		send("selected", true)
		choose(Selection{A: prefixes(client4), B: prefixes("192.0.2.1")})
		send("other end", false)
		choose(Selection{A: prefixes(client4), AnyB: true})
		send("any end", true)
		choose(Selection{A: prefixes("10.0.0.0/8"), B: prefixes("10.2.0.0/16")})
		send("by prefix", true)
		choose(Selection{A: prefixes("10.0.0.0/8"), B: prefixes("10.3.0.0/16")})
		send("other prefix", false)
		choose(selectPair())
		send("selected again", true)
		if err := r.probe.SetInventory(inventory(t, n.client, n.server)); err != nil {
			t.Fatal(err)
		}
		send("namespace not watched", false)
		if err := r.probe.SetInventory(inventory(t, n.all()...)); err != nil {
			t.Fatal(err)
		}
		send("namespace watched again", true)
	})
}

func ask(t testing.TB, c net.Conn, n int) {
	t.Helper()
	buf := make([]byte, 64)
	for i := range n {
		if _, err := c.Write([]byte("ping")); err != nil {
			t.Fatalf("datagram %d: %v", i, err)
		}
		if _, err := c.Read(buf); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
}

// An IPv6 header may hold an IPv4 address; a prefix of IPv4 then selects it.
func TestMappedAddress(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier}, Selection{A: prefixes("192.0.2.0/24"), B: prefixes(server6)}, n.all()...)
		n.client.inject("eth0", n.node, "toc", frame6("::ffff:192.0.2.7", server6, 17, udpHeader(1, 2, nil)))
		r.wait("mapped address", func(e tracer.Event) bool {
			return at(tracer.EventRX, n.node.key("toc"))(e) && e.Tuple.Dst.Port() == 2
		})
	})
}
