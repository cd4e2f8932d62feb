package probe

import (
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
	if _, err := compile(Selection{A: []netip.Prefix{{}}}); err == nil {
		t.Error("an invalid prefix passed")
	}
}
