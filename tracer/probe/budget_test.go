package probe

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/google/nftables"

	"github.com/podpath/podpath/tracer"
)

// With plain packets only counted, drops, resets and ICMP errors still come, and
// every packet is in the counts.
func TestBudgetCounting(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		n.node.dropAt(nftables.ChainHookForward, tracer.ProtoUDP, 9999)
		r := record(t, Config{Tier: tier}, selectPair(), n.all()...)
		if err := r.probe.SetBudget(Budget{Counting: true}); err != nil {
			t.Fatal(err)
		}
		n.server.listenTCP(server4 + ":8080")
		n.client.dialTCP(server4 + ":8080")
		n.client.sendUDP(server4+":9999", 5)
		n.client.sendUDP(server4+":7001", 1) // nobody listens: an ICMP error
		n.client.refusedTCP(server4 + ":8081")
		r.wait("drop", func(e tracer.Event) bool { return e.Kind == tracer.EventDrop && e.Tuple.Dst.Port() == 9999 })
		r.wait("error", func(e tracer.Event) bool { return e.IsICMPError() && at(tracer.EventRX, n.client.key("eth0"))(e) })
		r.wait("reset", func(e tracer.Event) bool {
			return e.TCPFlags&tracer.TCPRst != 0 && e.Tuple.Src.Port() == 8081 && at(tracer.EventRX, n.client.key("eth0"))(e)
		})
		st := steadyStats(t, r.probe)
		r.stop()
		for _, e := range r.all() {
			if e.Drop == nil && !e.IsICMPError() && e.TCPFlags&tracer.TCPRst == 0 && !e.Retransmit {
				t.Errorf("plain event %s", describe(e))
			}
		}
		if st.Held == 0 || st.Hooks[tracer.EventRX]["held_counting"] == 0 || st.Hooks[tracer.EventDrop]["held_urgent"] != 0 {
			t.Errorf("counters %+v", st.Hooks)
		}
		packets, held := r.counted(t, n.node.key("toc"), tracer.EventRX, 8080)
		if packets < 5 || held < 5 { // SYN, ACK, data, ACK, FIN at least
			t.Errorf("counted %d, held %d", packets, held)
		}
		// The budget may grow again, from one packet to the next.
		again := record(t, Config{Tier: tier}, selectPair(), n.all()...)
		for _, counting := range []bool{true, false} {
			if err := again.probe.SetBudget(Budget{Counting: counting}); err != nil {
				t.Fatal(err)
			}
		}
		n.client.dialTCP(server4 + ":8080")
		again.wait("SYN", func(e tracer.Event) bool { return e.TCPFlags == tracer.TCPSyn })
	})
}

// counted sums what the kernel counted of the flows to a port at one place.
func (r *recorder) counted(t *testing.T, key tracer.DeviceKey, kind tracer.EventKind, port uint16) (packets, held uint64) {
	t.Helper()
	counts, err := r.probe.FlowCounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if c.DeviceKey == key && c.Kind == kind && c.Tuple.Dst.Port() == port {
			packets += c.Packets
			held += c.Held
			if c.Events+c.Held > c.Packets {
				t.Errorf("more events than packets: %+v", c)
			}
		}
	}
	return packets, held
}

// A flow's own limit: the first packets of each second, and the rest counted.
func TestBudgetPerFlow(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier, FirstEvents: 1 << 30}, selectPair(), n.all()...)
		if err := r.probe.SetBudget(Budget{FlowEvents: 2}); err != nil {
			t.Fatal(err)
		}
		n.server.listenUDP(server4 + ":7000")
		const packets = 500
		n.client.sendUDP(server4+":7000", packets)
		r.waitFlow(packets, func(c FlowCount) bool {
			return c.DeviceKey == n.server.key("eth0") && c.Kind == tracer.EventRX && c.Tuple.Dst.Port() == 7000
		})
		st := steadyStats(t, r.probe)
		counts, err := r.probe.FlowCounts()
		if err != nil {
			t.Fatal(err)
		}
		r.stop()
		if held := st.Hooks[tracer.EventRX]["held_flow"]; held == 0 {
			t.Errorf("counters %+v", st.Hooks)
		}
		for _, c := range counts {
			if c.ARP || c.Tuple.Proto != tracer.ProtoUDP || c.Kind == tracer.EventDrop {
				continue // urgent, or with a limit of its own
			}
			if seconds := c.Last.Sub(c.First).Seconds(); c.Events == 0 || float64(c.Events) > 2*(seconds+1) || c.Events+c.Held != c.Packets {
				t.Errorf("in %.3f s %+v", seconds, c)
			}
		}
	})
}

// A storm stays within the budget, drops pass where plain packets are held back,
// and what was handed over, held back and lost is all there was.
func TestBudgetOfAll(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		n.node.dropAt(nftables.ChainHookForward, tracer.ProtoUDP, 9999)
		r := record(t, Config{Tier: tier, FirstEvents: 1 << 30}, selectPair(), n.all()...)
		b := Budget{Events: 600, PlainEvents: 200}
		if err := r.probe.SetBudget(b); err != nil {
			t.Fatal(err)
		}
		n.server.listenUDP(server4 + ":7000")
		n.client.sendUDP(server4+":7000", 2000)
		for range 5 { // flows with a limit of their own each
			n.client.sendUDP(server4+":9999", 100)
		}
		for range 10 {
			n.client.sendUDP(server4+":9999", 100)
		}
		r.waitDropCount(1500, func(c DropCount) bool { return c.DstPort == 9999 })
		if err := r.probe.SetInventory(tracer.Inventory{}); err != nil { // what is in flight ends
			t.Fatal(err)
		}
		st := steadyStats(t, r.probe)
		r.stop()
		all := r.all()
		if st.Lost > 0 || uint64(len(all)) != st.Seen {
			t.Errorf("read %d, seen %d, lost %d", len(all), st.Seen, st.Lost)
		}
		within(t, all, int(b.Events))
		drop, rx := st.Hooks[tracer.EventDrop], st.Hooks[tracer.EventRX]
		if rx["held_plain"] == 0 || drop["held_plain"] != 0 {
			t.Errorf("plain packets held back: rx %d, drop %d", rx["held_plain"], drop["held_plain"])
		}
		urgent := 0
		for _, e := range all {
			if e.Kind == tracer.EventDrop || e.IsICMPError() {
				urgent++
			}
		}
		if urgent < int(b.Events-b.PlainEvents) || drop["held_urgent"] == 0 {
			t.Errorf("%d urgent events, drops: %v", urgent, drop)
		}
	})
}

// within: no second of the kernel's, which begins with an event, holds more than
// the limit and what two CPUs may forget at its beginning.
func within(t *testing.T, events []tracer.Event, limit int) {
	t.Helper()
	const slack = 8
	if len(events) == 0 {
		t.Fatal("no events")
	}
	seconds := int((events[len(events)-1].MonoNS - events[0].MonoNS) / 1e9)
	if most := (limit + slack) * (seconds + 2); len(events) > most {
		t.Errorf("%d events in %d full seconds, %d allowed", len(events), seconds, most)
	}
}

// The examples of drops that nobody selected are within the budget as well.
func TestBudgetOfExamples(t *testing.T) {
	needPrivilege(t)
	n := newTopology(t)
	n.node.dropAt(nftables.ChainHookForward, tracer.ProtoUDP, 9999)
	p, err := Open(Config{DropsOnly: true, DropsAll: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.SetBudget(Budget{Events: 1}); err != nil {
		t.Fatal(err)
	}
	if err := p.SetInventory(inventory(t, n.all()...)); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{server4, server6} { // two lines of the report
		n.client.sendUDP("["+to+"]:9999", 10)
	}
	read := 0
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Run(ctx, func(tracer.Event) { read++ }); err != nil {
		t.Fatal(err)
	}
	st := steadyStats(t, p)
	drop := st.Hooks[tracer.EventDrop]
	if drop["sample_events"]+drop["sample_held"]+drop["sample_none"] != drop["sampled"] || drop["sampled"] < 20 || uint64(read) != drop["sample_events"] {
		t.Errorf("read %d of %v", read, drop)
	}
}

// refusedTCP dials a port on which nobody listens.
func (s *space) refusedTCP(addr string) {
	s.t.Helper()
	s.do(func() error {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err == nil {
			_ = c.Close()
			return errors.New("somebody listens")
		}
		return nil
	})
}
