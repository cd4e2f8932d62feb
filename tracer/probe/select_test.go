package probe

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/podpath/podpath/bpf"
)

const (
	sideA = bpf.TraceSideSIDE_A
	sideB = bpf.TraceSideSIDE_B
)

func TestCompile(t *testing.T) {
	s, err := compile(Selection{
		A: prefixes("10.0.0.1", "10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "::/0"),
		B: prefixes("10.0.0.1", "10.1.2.0/24", "::ffff:192.0.2.1/128"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.hosts[netip.MustParseAddr("10.0.0.1")]; got != sideA|sideB {
		t.Errorf("host in both: %d", got)
	}
	if got := s.hosts[netip.MustParseAddr("192.0.2.1")]; got != sideB {
		t.Errorf("mapped address: %d in %v", got, s.hosts)
	}
	for prefix, want := range map[string]bpf.TraceSide{
		"10.0.0.0/8": sideA, "10.1.2.0/24": sideA | sideB, "fd00::/8": sideA, "::/0": sideA,
		// All of IPv6 is not all of IPv4.
		"0.0.0.0/0": 0,
	} {
		got, ok := s.prefixes[netip.MustParsePrefix(prefix)]
		if !ok || got != want {
			t.Errorf("%s: %d, %v; want %d", prefix, got, ok, want)
		}
	}
	f := s.filter()
	for top, want := range map[int]bool{10 << 8: true, 10<<8 | 255: true, 11 << 8: false, 0: false} {
		if got := f.Prefixes4[top/8]&(1<<(top%8)) != 0; got != want {
			t.Errorf("IPv4 beginning %#x: %v", top, got)
		}
	}
	if f.Prefixes6[0] == 0 || f.Prefixes6[len(f.Prefixes6)-1] == 0 {
		t.Error("::/0 does not cover IPv6")
	}
	if _, err := compile(Selection{A: []netip.Prefix{{}}}); err == nil {
		t.Error("an invalid prefix passed")
	}
}

// A prefix has the sides of all that hold it, whatever their order, among
// thousands of others.
func TestCompileMany(t *testing.T) {
	var s Selection
	seed := uint32(7)
	for i := range 3000 {
		seed = seed*1664525 + 1013904223
		a := netip.AddrFrom4([4]byte{byte(seed>>24) & 0x13, byte(seed >> 16), byte(seed >> 8), 0})
		if i%2 == 0 {
			a = netip.AddrFrom16([16]byte{0xfd, byte(seed>>24) & 1, byte(seed >> 16), byte(seed >> 8), 15: 0})
		}
		p := netip.PrefixFrom(a, int(seed>>5)%28+3).Masked()
		if seed>>12&1 == 0 {
			s.A = append(s.A, p)
		} else {
			s.B = append(s.B, p)
		}
	}
	out, err := compile(s)
	if err != nil {
		t.Fatal(err)
	}
	for p, got := range out.prefixes {
		want := bpf.TraceSide(0)
		for bit, list := range map[bpf.TraceSide][]netip.Prefix{sideA: s.A, sideB: s.B} {
			for _, h := range list {
				if h.Bits() <= p.Bits() && h.Contains(p.Addr()) {
					want |= bit
				}
			}
		}
		if got != want {
			t.Errorf("%s: %d, want %d", p, got, want)
		}
	}
}

// What does not fit is refused as a whole; what barely fits may replace what
// fills the table, and an update that failed half-way is made good.
func TestSelectLimits(t *testing.T) {
	needPrivilege(t)
	p, err := Open(Config{DropsOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var many []netip.Prefix
	for i := range 110000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		many = append(many, netip.PrefixFrom(a, 32))
	}
	if err := p.Select(Selection{A: many}); !errors.Is(err, ErrTooMany) {
		t.Fatalf("got %v", err)
	}
	holds := func(list []netip.Prefix) {
		t.Helper()
		table := p.coll.Maps[bpf.TraceMapHosts]
		var side bpf.TraceSide
		for _, prefix := range list {
			if err := table.Lookup(rawAddress(prefix.Addr()), &side); err != nil {
				t.Fatalf("%s: %v", prefix, err)
			}
		}
		n := 0
		var a bpf.TraceAddr
		for it := table.Iterate(); it.Next(&a, &side); n++ {
		}
		if n != len(list) {
			t.Fatalf("%d entries, want %d", n, len(list))
		}
	}
	for _, list := range [][]netip.Prefix{many[:60000], many[50000:110000], many[:10], nil} {
		if err := p.Select(Selection{A: list}); err != nil {
			t.Fatal(err)
		}
		holds(list)
		p.selected.unsure = true
		if err := p.Select(Selection{A: list}); err != nil {
			t.Fatal(err)
		}
		holds(list)
	}
}
