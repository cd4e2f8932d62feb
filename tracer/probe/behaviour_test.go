package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/tracer"
)

// The same range again is a retransmission; what fills a gap is not.
func TestRetransmission(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier, FirstEvents: 100}, selectPair(), n.all()...)
		data := make([]byte, 10)
		type segment struct {
			name    string
			seq     uint32
			flags   uint8
			payload []byte
			want    bool
		}
		segments := []segment{
			{"SYN", 1000, tracer.TCPSyn, nil, false},
			{"SYN again", 1000, tracer.TCPSyn, nil, true},
			{"data", 1001, tracer.TCPAck, data, false},
			{"ACK only", 1011, tracer.TCPAck, nil, false},
			{"data again", 1001, tracer.TCPAck, data, true},
			{"after a gap", 1031, tracer.TCPAck, data, false},
			{"fills the gap", 1011, tracer.TCPAck, data, false},
			{"fills the rest", 1021, tracer.TCPAck, data, false},
			{"in the filled gap", 1011, tracer.TCPAck, data, true},
			{"FIN", 1041, tracer.TCPFin | tracer.TCPAck, nil, false},
			{"FIN again", 1041, tracer.TCPFin | tracer.TCPAck, nil, true},
			{"new connection, same ports", 0xfffffff0, tracer.TCPSyn, nil, false},
			{"data over the wrap", 0xfffffff1, tracer.TCPAck, append(data, data...), false},
			{"again", 0xfffffff1, tracer.TCPAck, data, true},
			{"reset", 5, tracer.TCPRst, nil, false},
		}
		for _, s := range segments {
			mark := len(r.all())
			n.client.inject("eth0", n.node, "toc", frame4(client4, server4, 6, tcpHeader(333, 444, s.seq, s.flags, s.payload)))
			e := r.wait(s.name, func(e tracer.Event) bool {
				return e.Seq > uint64(mark) && at(tracer.EventRX, n.node.key("toc"))(e) && e.TCPSeq == s.seq && e.TCPFlags == s.flags
			})
			if e.Retransmit != s.want {
				t.Errorf("%s: retransmit %v", s.name, e.Retransmit)
			}
		}
		counts, err := r.probe.FlowCounts()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			if c.Tuple.Src.Port() == 333 && c.DeviceKey == n.node.key("toc") && c.Kind == tracer.EventRX {
				if c.Packets != uint64(len(segments)) || c.Retransmits != 5 || c.Events != c.Packets {
					t.Errorf("counts %+v", c)
				}
				return
			}
		}
		t.Errorf("flow is not among %+v", counts)
	})
}

// Beyond the first packets only numbers are kept, and they are exact.
func TestAggregation(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier, FirstEvents: 3}, selectPair(), n.all()...)
		n.server.listenUDP(server4 + ":7000")
		const packets = 2000
		n.client.sendUDP(server4+":7000", packets)
		r.waitFlow(packets, func(c FlowCount) bool {
			return c.DeviceKey == n.node.key("toc") && c.Kind == tracer.EventRX && c.Tuple.Dst.Port() == 7000
		})
		steadyStats(t, r.probe)
		counts, err := r.probe.FlowCounts()
		if err != nil {
			t.Fatal(err)
		}
		r.stop() // hands over what is still in the ring buffer
		events := 0
		for _, e := range r.all() {
			if at(tracer.EventRX, n.node.key("toc"))(e) && e.Tuple.Dst.Port() == 7000 {
				events++
			}
		}
		if events != 3 {
			t.Errorf("%d events", events)
		}
		for _, c := range counts {
			if c.Tuple.Dst.Port() == 7000 && c.DeviceKey == n.node.key("toc") && c.Bytes != packets*(14+20+8+4) {
				t.Errorf("bytes %+v", c)
			}
		}
	})
}

func (r *recorder) waitFlow(n uint64, match func(FlowCount) bool) {
	r.t.Helper()
	var last []FlowCount
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		counts, err := r.probe.FlowCounts()
		if err != nil {
			r.t.Fatal(err)
		}
		last = counts
		for _, c := range counts {
			if match(c) && c.Packets == n {
				return
			}
		}
	}
	r.t.Fatalf("no flow with %d packets in %+v", n, last)
}

// With a ring buffer far too small, what was read and what was lost add up.
func TestLossIsCounted(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		p, err := Open(Config{Tier: tier, FirstEvents: 1 << 30, RingBytes: 4096})
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
		n.server.listenUDP(server4 + ":7000")
		n.client.sendUDP(server4+":7000", 1000)
		n.client.sendUDP(server4+":7001", 1000)
		// Stop the source of events before counting: what is in flight ends
		// up on one side or the other only then.
		if err := p.SetInventory(tracer.Inventory{}); err != nil {
			t.Fatal(err)
		}
		var read uint64
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := p.Run(ctx, func(tracer.Event) { read++ }); err != nil {
			t.Fatal(err)
		}
		st := steadyStats(t, p)
		if st.Lost == 0 || read == 0 || read+st.Lost != st.Seen {
			t.Errorf("read %d, lost %d, seen %d", read, st.Lost, st.Seen)
		}
		var flows uint64
		counts, err := p.FlowCounts()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			flows += c.Events
		}
		if flows > st.Seen {
			t.Errorf("flows claim %d events of %d", flows, st.Seen)
		}
	})
}

// The clock that judges silence ends where reading ended: not before what was asked
// to end, and not at a later moment, of which nothing was read.
func TestCaughtUpAtTheEnd(t *testing.T) {
	n := newTopology(t)
	p, err := Open(Config{})
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
	n.server.listenUDP(server4 + ":7000")
	n.client.sendUDP(server4+":7000", 10)
	asked, read, last := p.Now(), 0, time.Time{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Run(ctx, func(e tracer.Event) { read, last = read+1, e.Time }); err != nil {
		t.Fatal(err)
	}
	ended := p.Now()
	if at := p.CaughtUp(); read == 0 || at.Before(asked) || at.Before(last) || at.After(ended) {
		t.Errorf("caught up until %v, with %d events until %v; asked to end at %v, ended at %v", at, read, last, asked, ended)
	}
}

// A selection may change while traffic flows; who stays misses nothing.
func TestSelectionChanges(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier, FirstEvents: 1}, selectPair(), n.all()...)
		n.server.listenUDP(server4 + ":7000")
		const packets = 3000
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 200 {
				s := Selection{A: prefixes(client4), B: prefixes("10.2.0.0/24", server6)}
				if i%2 == 0 {
					s = Selection{A: prefixes(client4, fmt.Sprintf("192.0.2.%d", i)), B: prefixes(server4, "198.51.100.0/24")}
				}
				if err := r.probe.Select(s); err != nil {
					t.Error(err)
				}
			}
		}()
		n.client.sendUDP(server4+":7000", packets)
		wg.Wait()
		r.waitFlow(packets, func(c FlowCount) bool {
			return c.DeviceKey == n.node.key("toc") && c.Kind == tracer.EventRX && c.Tuple.Dst.Port() == 7000
		})
		// Neither end alone is enough.
		for name, s := range map[string]Selection{
			"one end":   {A: prefixes(client4), B: prefixes("192.0.2.1")},
			"no end":    {},
			"same side": {A: prefixes(client4, server4)},
		} {
			if err := r.probe.Select(s); err != nil {
				t.Fatal(err)
			}
			before, _ := r.probe.Stats()
			n.client.sendUDP(server4+":7100", 20)
			after, _ := r.probe.Stats()
			if after.Hooks[tracer.EventRX]["selected"] != before.Hooks[tracer.EventRX]["selected"] {
				t.Errorf("%s: selected", name)
			}
		}
		// By prefix, and from the other side.
		if err := r.probe.Select(Selection{A: prefixes("10.2.0.0/16"), AnyB: true}); err != nil {
			t.Fatal(err)
		}
		n.client.sendUDP(server4+":7200", 1)
		r.wait("by prefix", func(e tracer.Event) bool { return e.Tuple.Dst.Port() == 7200 })
	})
}

// ARP and neighbour discovery of a selected address are seen.
func TestAddressResolution(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier}, Selection{A: prefixes("10.1.0.77", "fd01::77"), B: prefixes(client4, client6)}, n.all()...)
		n.client.sendUDP("10.1.0.77:1", 1)
		n.client.sendUDP("[fd01::77]:1", 1)
		for _, want := range []string{"10.1.0.77", "fd01::77"} {
			e := r.wait("question for "+want, func(e tracer.Event) bool {
				return e.ARP && at(tracer.EventRX, n.node.key("toc"))(e) && e.Tuple.Dst.Addr() == netip.MustParseAddr(want)
			})
			if src := e.Tuple.Src.Addr(); !src.Is4() && !src.IsGlobalUnicast() || src.Is4() && src != netip.MustParseAddr(client4) {
				t.Errorf("asked by %s", describe(e))
			}
		}
		// Nobody answers: the packet is dropped as such.
		e := r.wait("neighbour failure", func(e tracer.Event) bool {
			return e.Kind == tracer.EventDrop && !e.ARP && e.Tuple.Dst.Addr() == netip.MustParseAddr("10.1.0.77")
		})
		if e.Drop.Stage != tracer.StageNeighbour {
			t.Errorf("%s", describe(e))
		}
	})
}

// An ICMP error about a selected flow is recognised by what it quotes.
func TestICMPErrorFromRouter(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier}, Selection{A: prefixes(client4), B: prefixes("192.0.2.9")}, n.all()...)
		n.client.sendUDP("192.0.2.9:53", 1)
		e := r.wait("unreachable", func(e tracer.Event) bool {
			return at(tracer.EventRX, n.client.key("eth0"))(e) && e.IsICMPError()
		})
		if e.Tuple.Src.Addr() != netip.MustParseAddr("10.1.0.1") || e.Quoted == nil || e.Quoted.Dst != netip.MustParseAddrPort("192.0.2.9:53") {
			t.Errorf("%s", describe(e))
		}
		drop := r.wait("no route", func(e tracer.Event) bool { return e.Kind == tracer.EventDrop && e.Tuple.Dst.Port() == 53 })
		if drop.Drop.Stage != tracer.StageRouting || drop.NetNS != n.node.inode {
			t.Errorf("%s", describe(drop))
		}
	})
}

// A device that appears is watched, one that goes is forgotten, a namespace
// that is gone is no error.
func TestInventoryChanges(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier}, Selection{A: prefixes("10.3.0.2"), B: prefixes("10.3.0.1")}, n.all()...)
		late := newSpace(t)
		veth(n.node, "late", late, "eth0")
		n.node.addr("late", "10.3.0.1/24")
		late.addr("eth0", "10.3.0.2/24")
		inv := inventory(t, append(n.all(), late)...)
		inv.NetNS = append(inv.NetNS, tracer.NetNS{Inode: 1, Path: "/proc/0/ns/net"}, tracer.NetNS{Inode: 2, Path: n.node.path()})
		inv.Devices = append(inv.Devices,
			tracer.Device{DeviceKey: tracer.DeviceKey{NetNS: 1, IfIndex: 2}, Name: "x"},
			tracer.Device{DeviceKey: tracer.DeviceKey{NetNS: 2, IfIndex: 2}, Name: "y"},
			tracer.Device{DeviceKey: tracer.DeviceKey{NetNS: n.node.inode, IfIndex: 9999}, Name: "z"})
		if err := r.probe.SetInventory(inv); err != nil {
			t.Fatal(err)
		}
		late.sendUDP("10.3.0.1:99", 1)
		r.wait("packet at the new device", func(e tracer.Event) bool {
			return at(tracer.EventRX, n.node.key("late"))(e) && e.Tuple.Dst.Port() == 99
		})
		n.node.must(n.node.nl.LinkDel(n.node.link("late")))
		if err := r.probe.SetInventory(inventory(t, n.all()...)); err != nil {
			t.Fatal(err)
		}
		if err := r.probe.SetInventory(inv); err != nil {
			t.Errorf("stale inventory: %v", err)
		}
	})
}

// What others attached goes on working, and runs after ours.
func TestOthersGoOnWorking(t *testing.T) {
	needPrivilege(t)
	needTCX(t)
	n := newTopology(t)
	// The other program drops address resolution too.
	node := n.node.link("toc").Attrs()
	n.client.must(n.client.nl.NeighSet(&netlink.Neigh{
		LinkIndex: n.client.link("eth0").Attrs().Index, IP: net.ParseIP("10.1.0.1"),
		HardwareAddr: node.HardwareAddr, State: netlink.NUD_PERMANENT,
	}))
	drop, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, // TCX_DROP
	})
	if err != nil {
		t.Fatal(err)
	}
	defer drop.Close()
	var other link.Link
	n.node.do(func() error {
		other, err = link.AttachTCX(link.TCXOptions{Interface: int(n.node.key("toc").IfIndex), Program: drop, Attach: ebpf.AttachTCXIngress})
		return err
	})
	defer other.Close()
	r := record(t, Config{Tier: TierTCX}, selectPair(), n.all()...)
	n.client.sendUDP(server4+":9", 1)
	r.wait("packet before the other program", func(e tracer.Event) bool {
		return at(tracer.EventRX, n.node.key("toc"))(e) && e.Tuple.Dst.Port() == 9
	})
	e := r.wait("drop by the other program", func(e tracer.Event) bool { return e.Kind == tracer.EventDrop && e.Tuple.Dst.Port() == 9 })
	if e.Drop.Engine != "tc" || e.Drop.Stage != tracer.StageIngress {
		t.Errorf("%s", describe(e))
	}
	r.stop()
	if err := r.probe.Close(); err != nil {
		t.Fatal(err)
	}
	var left *link.QueryResult
	n.node.do(func() error {
		left, err = link.QueryPrograms(link.QueryOptions{Target: int(n.node.key("toc").IfIndex), Attach: ebpf.AttachTCXIngress})
		return err
	})
	if len(left.Programs) != 1 {
		t.Errorf("%d programs left on the device, want the other one", len(left.Programs))
	}
}

// programs lists the ids of loaded programs with our names.
func programs(t *testing.T) map[ebpf.ProgramID]string {
	t.Helper()
	ours := map[string]bool{}
	for _, tier := range []Tier{TierTCX, TierTracepoint} {
		for name := range programsFor(tier, false) {
			ours[name] = true
			ours[name[:min(len(name), 15)]] = true // as the kernel cuts it
		}
	}
	found := map[ebpf.ProgramID]string{}
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue
		}
		if info, err := p.Info(); err == nil && ours[info.Name] {
			found[id] = info.Name
		}
		_ = p.Close()
	}
	return found
}

// waitGone polls until none of the programs is loaded: the kernel frees them
// some time after the last reference goes.
func waitGone(t *testing.T, ids []ebpf.ProgramID) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left := 0
		for _, id := range ids {
			p, err := ebpf.NewProgramFromID(id)
			if err == nil {
				left++
				_ = p.Close()
			} else if !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d programs left", left)
		}
	}
}

func ids(p *Probe) []ebpf.ProgramID {
	var out []ebpf.ProgramID
	for _, prog := range p.programs() {
		if info, err := prog.Info(); err == nil {
			if id, ok := info.ID(); ok {
				out = append(out, id)
			}
		}
	}
	return out
}

func TestCloseLeavesNothing(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		r := record(t, Config{Tier: tier}, selectPair(), n.all()...)
		list := ids(r.probe)
		if len(list) != 3 {
			t.Fatalf("%d programs", len(list))
		}
		loaded := programs(t)
		for _, id := range list {
			if loaded[id] == "" {
				t.Errorf("program %d is not found by its name in %v", id, loaded)
			}
		}
		r.stop()
		if err := r.probe.Close(); err != nil {
			t.Fatal(err)
		}
		waitGone(t, list)
		if err := r.probe.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		if err := r.probe.Select(Selection{}); !errors.Is(err, errClosed) {
			t.Errorf("select after close: %v", err)
		}
	})
}

// TestKilledChild is the child of TestKillLeavesNothing.
func TestKilledChild(t *testing.T) {
	tier := os.Getenv("PROBE_TEST_CHILD")
	if tier == "" {
		t.Skip("only as a child")
	}
	n := newTopology(t)
	r := record(t, Config{Tier: Tier(tier)}, selectPair(), n.all()...)
	for _, id := range ids(r.probe) {
		fmt.Printf("id %d\n", id)
	}
	fmt.Println("ready")
	time.Sleep(time.Minute)
}

func TestKillLeavesNothing(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledChild$")
		cmd.Env = append(os.Environ(), "PROBE_TEST_CHILD="+string(tier))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var list []ebpf.ProgramID
		for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
			var id ebpf.ProgramID
			if _, err := fmt.Sscanf(lines.Text(), "id %d", &id); err == nil {
				list = append(list, id)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if len(list) != 3 {
			t.Fatalf("child loaded %d programs", len(list))
		}
		waitGone(t, list)
	})
}

// A real tunnel between two nodes: the flow is seen inside it on the uplink.
func TestVXLANDevice(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		for _, s := range []*space{n.client, n.server} {
			own, peer, inner := client4, server4, "10.244.1.1/16"
			if s == n.server {
				own, peer, inner = server4, client4, "10.244.2.1/16"
			}
			la := netlink.NewLinkAttrs()
			la.Name = "vx"
			s.must(s.nl.LinkAdd(&netlink.Vxlan{
				LinkAttrs: la, VxlanId: 7, Port: 8472, SrcAddr: net.ParseIP(own), Group: net.ParseIP(peer),
				VtepDevIndex: s.link("eth0").Attrs().Index, Learning: true,
			}))
			s.addr("vx", inner)
			s.up("vx")
		}
		r := record(t, Config{Tier: tier}, Selection{A: prefixes("10.244.1.1"), B: prefixes("10.244.2.1")}, n.all()...)
		n.server.listenTCP("10.244.2.1:80")
		n.client.dialTCP("10.244.2.1:80")
		e := r.wait("SYN inside the tunnel, on the router", func(e tracer.Event) bool {
			return at(tracer.EventTX, n.node.key("tos"))(e) && e.Inner != nil && e.Inner.TCPFlags == tracer.TCPSyn
		})
		if e.Inner.VNI != 7 || e.Inner.Tuple.Dst != netip.MustParseAddrPort("10.244.2.1:80") || e.Tuple.Dst.Addr() != netip.MustParseAddr(server4) {
			t.Errorf("%s", describe(e))
		}
		r.wait("SYN out of the tunnel", func(e tracer.Event) bool {
			return at(tracer.EventRX, n.server.key("vx"))(e) && e.TCPFlags == tracer.TCPSyn && e.Inner == nil
		})
	})
}

// A learned tuple in use survives that others are forgotten.
func TestLearnedGenerations(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		n := newTopology(t)
		service, target := netip.MustParseAddrPort("10.96.0.20:80"), netip.MustParseAddrPort(server4+":8080")
		n.node.dnat(service, target, tracer.ProtoTCP)
		n.node.masquerade(target.Addr())
		r := record(t, Config{Tier: tier, FirstEvents: 1000}, Selection{A: prefixes(client4), B: prefixes("10.96.0.20")}, n.all()...)
		n.server.listenTCP(target.String())
		var c net.Conn
		n.client.do(func() (err error) {
			c, err = net.DialTimeout("tcp", service.String(), patience)
			return err
		})
		defer c.Close()
		r.wait("answer learned", func(e tracer.Event) bool {
			return at(tracer.EventRX, n.node.key("tos"))(e) && e.TCPFlags == tracer.TCPSyn|tracer.TCPAck
		})
		for range 3 {
			r.probe.mu.Lock()
			err := r.probe.nextGenerationLocked()
			r.probe.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		r.wait("answer learned again", func(e tracer.Event) bool {
			return at(tracer.EventRX, n.node.key("tos"))(e) && e.Payload == 5
		})
	})
}

// Many devices are watched by tracepoints: attaching to each takes long.
func TestManyDevices(t *testing.T) {
	needPrivilege(t)
	needTCX(t)
	n := newTopology(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r := record(t, Config{MaxTCXDevices: 2, Logger: log}, selectPair(), n.all()...)
	if tier := r.probe.Tier(); tier != TierTracepoint {
		t.Fatalf("tier %q", tier)
	}
	n.client.sendUDP(server4+":9", 1)
	for _, s := range []*space{n.client, n.server} {
		r.wait("packet", func(e tracer.Event) bool {
			return e.Kind != tracer.EventDrop && e.NetNS == s.inode && e.Tuple.Dst.Port() == 9
		})
	}
	steadyStats(t, r.probe)
	few := record(t, Config{}, selectPair(), n.all()...)
	if tier := few.probe.Tier(); tier != TierTCX {
		t.Errorf("tier %q for few devices", tier)
	}
	list := ids(r.probe)
	r.stop()
	if err := r.probe.Close(); err != nil {
		t.Fatal(err)
	}
	waitGone(t, list)
}
