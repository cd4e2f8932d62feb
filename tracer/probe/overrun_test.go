package probe

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"github.com/podpath/podpath/tracer"
)

// Rules of the tests that count, by what they match.
const (
	countedPort = 7000 // passes
	droppedPort = 7001 // dropped in the node
)

// countRules counts what comes in, what goes out and what is dropped between, in
// rules that have nothing to do with podpath.
func (s *space) countRules() {
	s.nft(func(c *nftables.Conn) {
		in := chain(c, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
		out := chain(c, nftables.ChainTypeFilter, nftables.ChainHookPostrouting, nftables.ChainPriorityRaw)
		between := chain(c, nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
		rule := func(ch *nftables.Chain, name string, match []expr.Any, more ...expr.Any) {
			exprs := append(append(match, &expr.Counter{}), more...)
			c.AddRule(&nftables.Rule{Table: ch.Table, Chain: ch, UserData: []byte(name), Exprs: exprs})
		}
		for hook, ch := range map[string]*nftables.Chain{"in": in, "out": out} {
			rule(ch, hook+" request", matchUDPPort(countedPort, 2))
			rule(ch, hook+" reply", matchUDPPort(countedPort, 0))
		}
		rule(in, "in dropped", matchUDPPort(droppedPort, 2))
		rule(between, "drop", matchUDPPort(droppedPort, 2), &expr.Verdict{Kind: expr.VerdictDrop})
	})
}

// matchUDPPort matches UDP by the port at an offset of its header: 0 is the
// source's, 2 the destination's.
func matchUDPPort(port uint16, offset uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{tracer.ProtoUDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// ruleCounts reads the packets of every rule that has a name.
func (s *space) ruleCounts() map[string]uint64 {
	s.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(s.fd)))
	s.must(err)
	chains, err := c.ListChains()
	s.must(err)
	out := map[string]uint64{}
	for _, ch := range chains {
		rules, err := c.GetRules(ch.Table, ch)
		s.must(err)
		for _, r := range rules {
			for _, e := range r.Exprs {
				if n, ok := e.(*expr.Counter); ok && len(r.UserData) > 0 {
					out[string(r.UserData)] = n.Packets
				}
			}
		}
	}
	return out
}

// steady reads the kernel's counts and the rules' at a moment when nothing is under
// way: the rules stand still, what came in went out, and every request that went
// out was dropped at the server, or its answer on the way back, or it came back.
func (n topology) steady(p *Probe) (counts []FlowCount, truth map[string]uint64) {
	t := n.node.t
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		truth = n.node.ruleCounts()
		var err error
		if counts, err = p.FlowCounts(); err != nil {
			t.Fatal(err)
		}
		server, back := n.server.key("eth0"), n.node.key("tos")
		requests, _ := count(counts, tracer.EventDrop, &server, dstPort, countedPort)
		replies, _ := count(counts, tracer.EventDrop, &back, srcPort, countedPort)
		if maps.Equal(truth, n.node.ruleCounts()) && truth["in request"] == truth["out request"] &&
			truth["in reply"] == truth["out reply"] && truth["out request"] == truth["in reply"]+requests+replies {
			return counts, truth
		}
	}
	t.Fatalf("not everything is accounted for: rules %v, counts %+v", truth, counts)
	return nil, nil
}

// backlogDrops are the datagrams that the kernel dropped before any rule, because
// a CPU had too many waiting: where one CPU does it all, that happens.
func backlogDrops(t *testing.T, p *Probe, port uint16) uint64 {
	t.Helper()
	counts, err := p.DropCounts()
	if err != nil {
		t.Fatal(err)
	}
	var n uint64
	for _, c := range counts {
		if c.DstPort == port && c.Proto == tracer.ProtoUDP && c.Drop.Stage == tracer.StageDevice {
			n += c.Packets
		}
	}
	return n
}

func dstPort(t tracer.Tuple) uint16 { return t.Dst.Port() }
func srcPort(t tracer.Tuple) uint16 { return t.Src.Port() }

// count adds up the UDP packets that a hook saw, at one device or at all, and how
// many of them were to be events.
func count(counts []FlowCount, kind tracer.EventKind, key *tracer.DeviceKey, end func(tracer.Tuple) uint16, port uint16) (packets, events uint64) {
	for _, c := range counts {
		if c.Kind == kind && c.Tuple.Proto == tracer.ProtoUDP && end(c.Tuple) == port && (key == nil || c.DeviceKey == *key) {
			packets, events = packets+c.Packets, events+c.Events
		}
	}
	return packets, events
}

// flood sends datagrams that pass and datagrams that do not, from several
// sockets at once.
func (n topology) flood(senders, each int) {
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() { n.client.sendUDP(fmt.Sprintf("%s:%d", server4, countedPort), each) })
		wg.Go(func() { n.client.sendUDP(fmt.Sprintf("%s:%d", server4, droppedPort), each) })
	}
	wg.Wait()
}

// A reader that is slow, or stopped, loses events; what it read and what it lost
// are together what rules of somebody else's count.
func TestOverrun(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		for name, slow := range map[string]func(uint64){
			"slow reader": func(n uint64) {
				if n%64 == 0 {
					time.Sleep(time.Millisecond)
				}
			},
			"reader that stops": func(n uint64) {
				if n == 500 {
					time.Sleep(300 * time.Millisecond)
				}
			},
		} {
			t.Run(name, func(t *testing.T) { overrun(t, tier, slow) })
		}
	})
}

func overrun(t *testing.T, tier Tier, slow func(uint64)) {
	n := newTopology(t)
	n.node.countRules()
	n.server.listenUDP(fmt.Sprintf("%s:%d", server4, countedPort))
	p, err := Open(Config{Tier: tier, FirstEvents: 1 << 30, DropEvents: 1 << 30, RingBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Select(selectPair()); err != nil {
		t.Fatal(err)
	}
	if err := p.SetInventory(inventory(t, n.all()...)); err != nil {
		t.Fatal(err)
	}
	read := map[tracer.EventKind]uint64{}
	var events uint64
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, func(e tracer.Event) {
			if e.Seq != events+1 {
				t.Errorf("event %d follows %d", e.Seq, events)
			}
			events++
			read[e.Kind]++
			slow(events)
		})
	}()
	n.flood(4, 2500)
	counts, truth := n.steady(p)
	// Nothing more may happen once the events are counted.
	if err := p.SetInventory(tracer.Inventory{}); err != nil {
		t.Fatal(err)
	}
	st := steadyStats(t, p)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	truth["drop"] += backlogDrops(t, p, droppedPort)
	n.checkCounts(t, counts, truth)
	if events+st.Lost != st.Seen || st.Lost == 0 || events == 0 {
		t.Errorf("read %d, lost %d, seen %d", events, st.Lost, st.Seen)
	}
	for kind, hook := range st.Hooks {
		if read[kind] != hook["events"] || read[kind]+hook["ring_full"] != hook["selected"] {
			t.Errorf("%s: read %d of %v", kind, read[kind], hook)
		}
	}
	if got := st.Hooks[tracer.EventDrop]["selected"]; got < truth["drop"] {
		t.Errorf("%d drops counted, the rule dropped %d", got, truth["drop"])
	}
	t.Logf("read %d, lost %d, seen %d; rules: %v", events, st.Lost, st.Seen, truth)
}

// checkCounts compares the counts of each hook with those of the rules: what was
// lost as an event was counted all the same.
func (n topology) checkCounts(t *testing.T, counts []FlowCount, truth map[string]uint64) {
	t.Helper()
	toc, tos := n.node.key("toc"), n.node.key("tos")
	for _, c := range []struct {
		rule string
		kind tracer.EventKind
		key  *tracer.DeviceKey
		end  func(tracer.Tuple) uint16
		port uint16
	}{
		{"in request", tracer.EventRX, &toc, dstPort, countedPort},
		{"out request", tracer.EventTX, &tos, dstPort, countedPort},
		{"in reply", tracer.EventRX, &tos, srcPort, countedPort},
		{"out reply", tracer.EventTX, &toc, srcPort, countedPort},
		{"in dropped", tracer.EventRX, &toc, dstPort, droppedPort},
		{"drop", tracer.EventDrop, nil, dstPort, droppedPort},
	} {
		packets, events := count(counts, c.kind, c.key, c.end, c.port)
		if packets != truth[c.rule] || packets == 0 {
			t.Errorf("%s: counted %d packets, the rule %d", c.rule, packets, truth[c.rule])
		}
		if events != packets {
			t.Errorf("%s: %d events of %d packets were tried", c.rule, events, packets)
		}
	}
}
