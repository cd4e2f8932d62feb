package probe

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/bpf"
)

// blast sends n small datagrams from one end of a veth pair to the other,
// where nothing listens and the port is closed silently by a rule of nobody:
// the receiver has a socket that is never read.
func blast(t testing.TB, from *space, to string, n int) {
	t.Helper()
	from.do(func() error {
		c, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		buf := make([]byte, 64)
		for range n {
			_, _ = c.Write(buf)
		}
		return nil
	})
}

// BenchmarkPrograms reports nanoseconds per run of every program, with the
// kernel's own statistics (which include about 50 ns of their own), for
// packets that nobody asked for, that are counted, and that are events.
func BenchmarkPrograms(b *testing.B) {
	needPrivilege(b)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	modes := []struct {
		name string
		c    Config
		s    Selection
	}{
		{"miss", Config{}, Selection{A: prefixes("192.0.2.1"), B: prefixes("192.0.2.2")}},
		{"miss-any-b", Config{}, Selection{A: prefixes("192.0.2.1"), AnyB: true}},
		{"miss-prefix", Config{}, Selection{A: prefixes("192.0.2.0/24"), AnyB: true}},
		{"counted", Config{FirstEvents: 1}, selectPair()},
		{"event", Config{FirstEvents: 1 << 31, RingBytes: 64 << 20}, selectPair()},
	}
	for _, tier := range []Tier{TierTCX, TierTracepoint} {
		for _, m := range modes {
			b.Run(string(tier)+"/"+m.name, func(b *testing.B) {
				n := newTopology(b)
				server := netip.AddrPortFrom(netip.MustParseAddr(server4), 9)
				var sink net.PacketConn
				n.server.do(func() (err error) {
					sink, err = net.ListenPacket("udp", server.String())
					return err
				})
				defer sink.Close()
				blast(b, n.client, server.String(), 10)
				m.c.Tier = tier
				r := record(b, m.c, m.s, n.all()...)
				b.ResetTimer()
				start := time.Now()
				blast(b, n.client, server.String(), b.N)
				b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(b.N), "ns/packet")
				b.StopTimer()
				st, err := r.probe.Stats()
				if err != nil {
					b.Fatal(err)
				}
				for _, p := range st.Programs {
					if p.Runs > 0 {
						b.ReportMetric(float64(p.RunTime.Nanoseconds())/float64(p.Runs), p.Name+"-ns/run")
					}
				}
				b.ReportMetric(float64(st.Lost), "lost")
			})
		}
	}
}

// BenchmarkAttach measures how long 250 pods take to be watched, and to be
// left alone.
func BenchmarkAttach(b *testing.B) {
	needPrivilege(b)
	needTCX(b)
	const pods = 250
	node := newSpace(b)
	spaces := []*space{node}
	for i := range pods {
		s := newSpace(b)
		veth(node, fmt.Sprintf("p%d", i), s, "eth0")
		spaces = append(spaces, s)
	}
	inv := inventory(b, spaces...)
	for range b.N {
		start := time.Now()
		p, err := Open(Config{})
		if err != nil {
			b.Fatal(err)
		}
		opened := time.Now()
		if err := p.SetInventory(inv); err != nil {
			b.Fatal(err)
		}
		attached := time.Now()
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(opened.Sub(start).Milliseconds()), "ms-open")
		b.ReportMetric(float64(attached.Sub(opened).Milliseconds()), "ms-attach")
		b.ReportMetric(float64(time.Since(attached).Milliseconds()), "ms-close")
	}
}

// BenchmarkFlowCounts reads a table that is as full as it gets.
func BenchmarkFlowCounts(b *testing.B) {
	needPrivilege(b)
	p, err := Open(Config{Tier: TierTracepoint})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	flows := p.coll.Maps[bpf.TraceMapFlows]
	for i := range flows.MaxEntries() {
		k := bpf.TraceFlowKey{Tuple: bpf.TraceTuple{Sport: uint16(i), Dport: uint16(i >> 16), Family: 4, Proto: 17}, Netns: 1, Ifindex: 2, Kind: bpf.TraceKindKIND_RX}
		if err := flows.Put(k, bpf.TraceFlowValue{Packets: uint64(i)}); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	n := 0
	for range b.N {
		list, err := p.FlowCounts()
		if err != nil {
			b.Fatal(err)
		}
		n = len(list)
	}
	b.ReportMetric(float64(n), "flows")
}
