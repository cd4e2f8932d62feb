package node

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/tracer"
)

// entryOf is the i-th of many: UDP, from clients of 10.128.0.0/9 to a backend.
func entryOf(i int) (flow, reply tracer.Tuple) {
	src := netip.AddrFrom4([4]byte{10, 128 + byte(i>>24&0x7f), byte(i >> 16), byte(i >> 8)})
	flow = tracer.Tuple{Src: netip.AddrPortFrom(src, uint16(1024+i&255)), Dst: netip.MustParseAddrPort("10.96.0.10:53"), Proto: tracer.ProtoUDP}
	reply = tracer.Tuple{Src: netip.MustParseAddrPort("10.91.1.11:53"), Dst: flow.Src, Proto: tracer.ProtoUDP}
	return flow, reply
}

// fill gives a namespace n entries of conntrack.
func (s *ns) fill(n int) {
	s.t.Helper()
	half := func(t tracer.Tuple) netlink.IPTuple {
		return netlink.IPTuple{SrcIP: net.IP(t.Src.Addr().AsSlice()), DstIP: net.IP(t.Dst.Addr().AsSlice()), SrcPort: t.Src.Port(), DstPort: t.Dst.Port(), Protocol: t.Proto}
	}
	for i := range n {
		flow, reply := entryOf(i)
		s.must(s.h.ConntrackCreate(netlink.ConntrackTable, netlink.InetFamily(2), &netlink.ConntrackFlow{FamilyType: 2, Forward: half(flow), Reverse: half(reply), TimeOut: 600}))
	}
}

// allowed is how many entries this machine lets a namespace have, of n.
func allowed(t testing.TB, n int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		t.Skipf("needs conntrack: %v", err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if most > 0 && n > most-1000 {
		n = most - 1000
		t.Logf("nf_conntrack_max allows %d", n)
	}
	return n
}

// The entry of a flow is found among many without reading them: what is read and
// kept is the same as in a table of one.
func TestTrackedAmongMany(t *testing.T) {
	c := newCluster(t, true, true)
	n := c.n1.node()
	many := allowed(t, 30_000)
	flow, reply := entryOf(many - 1)
	cost := func() (f tracer.TrackedFact, bytes uint64) {
		var before, after runtime.MemStats
		c.n1.in(func() error {
			runtime.ReadMemStats(&before)
			var ok bool
			var err error
			f, ok, err = trackedEntry(flow, 0)
			runtime.ReadMemStats(&after)
			if err == nil && !ok {
				t.Error("no entry was found")
			}
			return err
		})
		return f, after.TotalAlloc - before.TotalAlloc
	}
	c.n1.fill(many)
	if f, bytes := cost(); f.Orig != flow || f.Reply != reply {
		t.Errorf("%+v, want %v", f, flow)
	} else if bytes > 256<<10 { // a dump of so many is some 10 MB
		t.Errorf("%d bytes were allocated for one entry of %d", bytes, many)
	}
	facts := collect(t, n, tracer.Query{Flow: flow, Translated: reply.Reverse()})
	if len(facts.Tracked) != 1 || facts.Tracked[0].Orig != flow || !facts.TrackedRead {
		t.Errorf("tracked %+v", facts.Tracked)
	}
	other := flow
	other.Dst = netip.MustParseAddrPort("10.96.0.11:53")
	if facts := collect(t, n, tracer.Query{Flow: other}); len(facts.Tracked) != 0 || !facts.TrackedRead {
		t.Errorf("a flow that has none: %+v", facts.Tracked)
	}
}

// BenchmarkTracked looks up one entry among 250,000.
func BenchmarkTracked(b *testing.B) {
	needRoot(b)
	s := newNS(b, "many")
	n := allowed(b, 250_000)
	s.fill(n)
	flow, _ := entryOf(n - 1)
	b.ReportAllocs()
	s.in(func() error {
		for b.Loop() {
			if _, ok, err := trackedEntry(flow, 0); err != nil || !ok {
				b.Fatal("not found: ", err)
			}
		}
		return nil
	})
}
