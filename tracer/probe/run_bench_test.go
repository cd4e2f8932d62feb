package probe

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
)

// frame4 is Ethernet, IPv4 and a transport header.
func frame4(src, dst string, proto uint8, l4 []byte) []byte {
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	b := make([]byte, 14, 64)
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	b = append(b, 0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, proto, 0, 0)
	b = append(b, s[:]...)
	b = append(b, d[:]...)
	b = append(b, l4...)
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
	return b
}

func udpHeader(sport, dport uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(b, 0, 0)
	return append(b, payload...)
}

// BenchmarkTCXRun measures the TCX program alone (BPF_PROG_TEST_RUN), without
// the network stack and without the cost of statistics.
func BenchmarkTCXRun(b *testing.B) {
	needPrivilege(b)
	needTCX(b)
	packet := frame4(client4, server4, 17, udpHeader(1234, 80, make([]byte, 64)))
	for _, m := range []struct {
		name string
		c    Config
		s    Selection
		// An event needs room: no more at once than the ring buffer holds.
		repeat int
	}{
		{"miss", Config{}, Selection{A: prefixes("192.0.2.1"), B: prefixes("192.0.2.2")}, 1 << 20},
		{"miss-any-b", Config{}, Selection{A: prefixes("192.0.2.1"), AnyB: true}, 1 << 20},
		{"miss-prefix", Config{}, Selection{A: prefixes("192.0.2.0/24"), AnyB: true}, 1 << 20},
		{"counted", Config{FirstEvents: 1}, selectPair(), 1 << 20},
		{"event", Config{FirstEvents: 1 << 31, RingBytes: 16 << 20}, selectPair(), 1 << 15},
	} {
		b.Run(m.name, func(b *testing.B) {
			m.c.Tier = TierTCX
			p, err := Open(m.c)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			if err := p.Select(m.s); err != nil {
				b.Fatal(err)
			}
			prog := p.coll.Programs[bpf.TraceProgTcxIngress]
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error)
			go func() { done <- p.Run(ctx, func(tracer.Event) {}) }()
			b.ResetTimer()
			var sum time.Duration
			for range b.N {
				_, d, err := prog.Benchmark(packet, m.repeat, nil)
				if err != nil {
					b.Fatal(err)
				}
				sum += d
			}
			b.ReportMetric(float64(sum.Nanoseconds())/float64(b.N), "ns/run")
			b.StopTimer()
			cancel()
			if err := <-done; err != nil {
				b.Error(err)
			}
			st, _ := p.Stats()
			b.ReportMetric(float64(st.Lost), "lost")
		})
	}
}
