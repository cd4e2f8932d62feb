package redact

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func drawn(t testing.TB) *addresses {
	t.Helper()
	a, err := newAddresses()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func shared(a, b netip.Addr) int {
	x, y := a.AsSlice(), b.AsSlice()
	for i := range a.BitLen() {
		if (x[i/8]^y[i/8])&(0x80>>(i%8)) != 0 {
			return i
		}
	}
	return a.BitLen()
}

// some draws addresses that are near each other, in ranges of all kinds.
func some(n int) []netip.Addr {
	bases := []string{
		"10.244.1.0", "10.96.0.0", "172.16.5.0", "172.32.0.0", "192.168.50.0", "192.169.0.1", "100.64.0.1", "100.128.0.0", "8.8.8.8", "11.0.0.0", "9.255.0.0",
		"126.0.0.1", "128.0.0.1", "169.253.0.1", "169.255.0.1", "223.255.255.0", "1.0.0.0", "203.0.113.0",
		"fd00:10:f4:1::", "fd50::", "fc00::1", "fe80::1", "fe80:0:0:1::", "fec0::1", "2001:db8::", "2a00:1450::", "2000::", "4000::1", "ff02::1:ff00:1", "ff02::1:fe00:1", "ff0e::1", "::2", "100::1",
	}
	out := make([]netip.Addr, 0, n)
	for range n {
		raw := netip.MustParseAddr(bases[rand.IntN(len(bases))]).AsSlice()
		for range rand.IntN(4) {
			raw[len(raw)-1-rand.IntN(len(raw))] ^= byte(rand.Uint32())
		}
		raw[len(raw)-1] ^= byte(rand.Uint32())
		a, _ := netip.AddrFromSlice(raw)
		out = append(out, a)
	}
	return out
}

func whole(a netip.Addr) bool {
	for _, p := range embedded {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

func TestPrefixesArePreserved(t *testing.T) {
	for range 4 {
		a := drawn(t)
		list := some(400)
		for i, x := range list {
			for _, y := range list[:i] {
				if x.BitLen() != y.BitLen() || !whole(x) || !whole(y) {
					continue
				}
				if before, after := shared(x, y), shared(a.addr(x), a.addr(y)); before != after {
					t.Fatalf("%s and %s share %d bits, %s and %s share %d", x, y, before, a.addr(x), a.addr(y), after)
				}
			}
		}
	}
}

func TestPlacesStayThemselves(t *testing.T) {
	a := drawn(t)
	for _, x := range some(4000) {
		y := a.addr(x)
		for _, p := range places {
			if p.Contains(x) != p.Contains(y) {
				t.Fatalf("%s became %s: one is in %s", x, y, p)
			}
			if p.same && p.Contains(x) && x != y {
				t.Fatalf("%s became %s", x, y)
			}
		}
		if x.IsPrivate() != y.IsPrivate() || x.IsMulticast() != y.IsMulticast() || x.IsLinkLocalUnicast() != y.IsLinkLocalUnicast() || x.IsLoopback() != y.IsLoopback() {
			t.Fatalf("%s became %s", x, y)
		}
	}
	for _, s := range []string{
		"127.0.0.1", "0.0.0.0", "255.255.255.255", "169.254.169.254", "169.254.20.10", "169.254.1.1", "224.0.0.251", "239.1.2.3",
		"::", "::1", "ff02::1", "ff02::2", "ff02::fb",
	} {
		if x := netip.MustParseAddr(s); a.addr(x) != x {
			t.Errorf("%s became %s", x, a.addr(x))
		}
	}
}

// Every address of a small network has its own, and all of the network.
func TestNetworksArePermuted(t *testing.T) {
	a := drawn(t)
	in := netip.MustParsePrefix("10.244.1.0/24")
	out := a.network(in)
	seen := map[netip.Addr]bool{}
	for x := in.Addr(); in.Contains(x); x = x.Next() {
		y := a.addr(x)
		if !out.Contains(y) || seen[y] {
			t.Fatalf("%s became %s, the network %s", x, y, out)
		}
		seen[y] = true
	}
	if len(seen) != 256 || out != out.Masked() || out.Bits() != 24 {
		t.Errorf("%d addresses in %s", len(seen), out)
	}
	for _, all := range []string{"0.0.0.0/0", "::/0", "127.0.0.0/8", "169.254.0.0/16", "fe80::/10"} {
		if p := netip.MustParsePrefix(all); a.network(p) != p {
			t.Errorf("%s became %s", p, a.network(p))
		}
	}
}

// What holds an IPv4 address holds its pseudonym.
func TestEmbedded(t *testing.T) {
	a := drawn(t)
	four := netip.MustParseAddr("203.0.113.7")
	b := a.addr(four).As4()
	for _, p := range []string{"::ffff:203.0.113.7", "64:ff9b::203.0.113.7"} {
		x := netip.MustParseAddr(p)
		got := a.addr(x).As16()
		if [4]byte(got[12:]) != b || shared(x, a.addr(x)) < 96 {
			t.Errorf("%s became %s, %s became %s", x, a.addr(x), four, a.addr(four))
		}
	}
}

// Two recordings have nothing in common.
func TestMappingsDiffer(t *testing.T) {
	one, other := drawn(t), drawn(t)
	same := 0
	for i := range 64 {
		x := netip.AddrFrom4([4]byte{10, byte(i * 4), 1, 1})
		if one.addr(x) == other.addr(x) {
			same++
		}
	}
	if same > 3 { // each by chance in 2^24
		t.Errorf("%d of 64 addresses are the same", same)
	}
}

func FuzzAddresses(f *testing.F) {
	for _, x := range some(64) {
		f.Add(x.AsSlice(), uint8(24))
	}
	a := drawn(f)
	f.Fuzz(func(t *testing.T, raw []byte, bits uint8) {
		x, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		y := a.addr(x)
		if y.BitLen() != x.BitLen() || a.addr(x) != y {
			t.Fatalf("%s became %s", x, y)
		}
		p, err := x.Prefix(int(bits))
		if err != nil || !whole(x) {
			return
		}
		if !a.network(p).Contains(y) {
			t.Fatalf("%s is in %s, %s is not in %s", x, p, y, a.network(p))
		}
	})
}
