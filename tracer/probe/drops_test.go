package probe

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/tracer"
)

// A rule's drop names reason, function, hook and engine, and is counted.
func TestDropByRule(t *testing.T) {
	hooks := []struct {
		stage tracer.Stage
		hook  *nftables.ChainHook
		where func(topology) *space
	}{
		{tracer.StagePrerouting, nftables.ChainHookPrerouting, func(n topology) *space { return n.node }},
		{tracer.StageForward, nftables.ChainHookForward, func(n topology) *space { return n.node }},
		{tracer.StagePostrouting, nftables.ChainHookPostrouting, func(n topology) *space { return n.node }},
		{tracer.StageOutput, nftables.ChainHookOutput, func(n topology) *space { return n.client }},
		{tracer.StageInput, nftables.ChainHookInput, func(n topology) *space { return n.server }},
	}
	eachTier(t, func(t *testing.T, tier Tier) {
		for name, to := range map[string]string{"v4": server4, "v6": server6} {
			for _, h := range hooks {
				t.Run(name+"/"+string(h.stage), func(t *testing.T) {
					n := newTopology(t)
					where := h.where(n)
					where.dropAt(h.hook, tracer.ProtoUDP, 9999)
					r := record(t, Config{Tier: tier}, selectPair(), n.all()...)
					dst := netip.AddrPortFrom(netip.MustParseAddr(to), 9999)
					n.client.sendUDP(dst.String(), 3)
					e := r.wait("drop", func(e tracer.Event) bool {
						return e.Kind == tracer.EventDrop && e.Tuple.Dst == dst
					})
					if e.NetNS != where.inode || e.Tuple.Proto != tracer.ProtoUDP {
						t.Errorf("%s", describe(e))
					}
					d := e.Drop
					location, engine := r.nftDrop()
					if d.Stage != h.stage || d.Engine != engine || d.Location != location ||
						d.Reason != "NETFILTER_DROP" || d.Noise != "" {
						t.Errorf("drop %+v", d)
					}
					r.waitDropCount(3, func(c DropCount) bool {
						return c.Dst == dst.Addr() && c.DstPort == 9999 && c.Drop.Stage == h.stage
					})
				})
			}
		}
	})
}

// nftDrop is where this kernel frees what nf_tables drops, and who is named.
func (r *recorder) nftDrop() (location, engine string) {
	if r.probe.reasons == nil {
		return "nf_hook_slow", ""
	}
	return "nft_do_chain", "nftables"
}

// waitDropCount polls until the lines that match add up to n packets.
func (r *recorder) waitDropCount(n uint64, match func(DropCount) bool) []DropCount {
	r.t.Helper()
	var list []DropCount
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		counts, err := r.probe.DropCounts()
		if err != nil {
			r.t.Fatal(err)
		}
		var sum uint64
		list = nil
		for _, c := range counts {
			if match(c) {
				sum += c.Packets
				list = append(list, c)
			}
		}
		if sum == n {
			return list
		}
	}
	counts, _ := r.probe.DropCounts()
	r.t.Fatalf("no %d drops in %+v", n, counts)
	return nil
}

// Drops of others are counted and exemplified, in the node's namespaces only.
func TestDropsAll(t *testing.T) {
	needPrivilege(t)
	n, foreign := newTopology(t), newTopology(t)
	for _, x := range []topology{n, foreign} {
		x.node.dropAt(nftables.ChainHookForward, tracer.ProtoUDP, 9999)
	}
	r := record(t, Config{DropsOnly: true, DropsAll: true}, Selection{}, n.all()...)
	dst := netip.AddrPortFrom(netip.MustParseAddr(server4), 9999)
	const packets = 5000
	foreign.client.sendUDP(dst.String(), 10)
	n.client.sendUDP(dst.String(), packets)
	lines := r.waitDropCount(packets, func(c DropCount) bool {
		return c.Drop.Reason == "NETFILTER_DROP" && c.DstPort == 9999
	})
	if len(lines) != 1 {
		t.Fatalf("lines %+v", lines)
	}
	e := r.wait("example", func(e tracer.Event) bool { return e.Kind == tracer.EventDrop && e.Tuple.Dst == dst })
	lines = r.waitDropCount(packets, func(c DropCount) bool { return c.DstPort == 9999 })
	location, engine := r.nftDrop()
	if l := lines[0]; l.Drop.Stage != tracer.StageForward || l.Drop.Engine != engine || l.Example != e.Tuple || l.NetNS != n.node.inode {
		t.Errorf("line %+v", l)
	}
	totals, err := r.probe.DropTotals()
	if err != nil {
		t.Fatal(err)
	}
	var sum uint64
	for _, total := range totals {
		if total.Drop.Location == location {
			sum += total.Packets
		}
	}
	if sum != packets {
		t.Errorf("total %d in %+v", sum, totals)
	}
	steadyStats(t, r.probe)
}

// steadyStats reads the counters when they add up as enum stat promises: a
// packet may be half counted while they are read.
func steadyStats(t *testing.T, p *Probe) Stats {
	t.Helper()
	var st Stats
	var wrong []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		if st, err = p.Stats(); err != nil {
			t.Fatal(err)
		}
		if wrong = identities(st); len(wrong) == 0 {
			return st
		}
	}
	t.Errorf("counters do not add up: %v", wrong)
	return st
}

func identities(st Stats) []string {
	var wrong []string
	check := func(kind tracer.EventKind, whole string, parts ...string) {
		c, sum := st.Hooks[kind], uint64(0)
		for _, part := range parts {
			sum += c[part]
		}
		if sum != c[whole] {
			wrong = append(wrong, fmt.Sprintf("%s: %s is %d, its parts %d: %v", kind, whole, c[whole], sum, c))
		}
	}
	for kind := range st.Hooks {
		check(kind, "packets", "other_netns", "no_netns", "loopback", "miss", "selected", "sampled")
		check(kind, "selected", "events", "aggregated", "rate_limited", "held_flow", "held_plain", "held_counting", "held_urgent", "ring_full")
		check(kind, "sampled", "sample_events", "sample_none", "sample_limited", "sample_held", "sample_ring_full")
	}
	return wrong
}

// A socket that loses its route drops packets without an IP header: the tuple
// is the socket's.
func TestDropWithoutHeader(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		for name, addrs := range map[string][2]string{"v4": {server4, "0.0.0.0/0"}, "v6": {server6, "::/0"}} {
			t.Run(name, func(t *testing.T) {
				n := newTopology(t)
				r := record(t, Config{Tier: tier}, selectPair(), n.all()...)
				server := netip.AddrPortFrom(netip.MustParseAddr(addrs[0]), 8080)
				n.server.listenTCP(server.String())
				var c net.Conn
				n.client.do(func() (err error) {
					c, err = net.DialTimeout("tcp", server.String(), patience)
					return err
				})
				defer c.Close()
				_, dst, _ := net.ParseCIDR(addrs[1])
				n.client.must(n.client.nl.RouteDel(&netlink.Route{Dst: dst}))
				_, _ = c.Write([]byte("hello"))
				e := r.wait("drop of the socket", func(e tracer.Event) bool {
					return e.Kind == tracer.EventDrop && e.NetNS == n.client.inode && e.Tuple.Dst == server
				})
				if e.Tuple.Proto != tracer.ProtoTCP || e.Tuple.Src != c.LocalAddr().(*net.TCPAddr).AddrPort() {
					t.Errorf("%s", describe(e))
				}
				if e.Drop.Stage != tracer.StageRouting {
					t.Errorf("%s", describe(e))
				}
			})
		}
	})
}
