package node

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestFibLookup(t *testing.T) {
	standard := []fibRule{
		{priority: 0, action: frToTable, table: unix.RT_TABLE_LOCAL, suppress: -1},
		{priority: 32766, action: frToTable, table: unix.RT_TABLE_MAIN, suppress: -1},
		{priority: 32767, action: frToTable, table: unix.RT_TABLE_DEFAULT, suppress: -1},
	}
	routes := []fibRoute{
		{dst: prefix("10.0.0.1/32"), typ: "local", table: unix.RT_TABLE_LOCAL},
		{dst: prefix("0.0.0.0/0"), typ: "unicast", table: unix.RT_TABLE_MAIN, oif: 1, priority: 100},
		{dst: prefix("0.0.0.0/0"), typ: "unicast", table: unix.RT_TABLE_MAIN, oif: 2, priority: 50},
		{dst: prefix("10.1.0.0/16"), typ: "blackhole", table: unix.RT_TABLE_MAIN},
		{dst: prefix("10.1.2.0/24"), typ: "unicast", table: unix.RT_TABLE_MAIN, oif: 3},
		{dst: prefix("10.1.3.0/24"), typ: "unicast", table: unix.RT_TABLE_MAIN, oif: 4, dead: true},
		{dst: prefix("10.1.2.0/24"), typ: "throw", table: 100},
		{dst: prefix("0.0.0.0/0"), typ: "unicast", table: 100, oif: 9},
	}
	with := func(r ...fibRule) []fibRule { return append(r, standard...) }
	key := func(dst string) fibKey {
		return fibKey{src: netip.MustParseAddr("10.5.0.1"), dst: netip.MustParseAddr(dst), iif: "cni0", mark: 0x80, proto: 6, sport: 40000, dport: 80}
	}
	for _, tc := range []struct {
		name  string
		rules []fibRule
		dst   string
		typ   string
		oif   int
		known bool
	}{
		{"local table first", standard, "10.0.0.1", "local", 0, true},
		{"longest prefix", standard, "10.1.2.5", "unicast", 3, true},
		{"blackhole", standard, "10.1.9.9", "blackhole", 0, true},
		{"dead next hop falls back to the shorter prefix", standard, "10.1.3.1", "blackhole", 0, true},
		{"lowest metric", standard, "8.8.8.8", "unicast", 2, true},
		{"nothing", standard[:1], "8.8.8.8", "none", 0, true},
		{"mark chooses a table", with(fibRule{priority: 10, action: frToTable, table: 100, mark: 0x80, mask: 0xff, suppress: -1}), "8.8.8.8", "unicast", 9, true},
		{"throw goes on with the next rule", with(fibRule{priority: 10, action: frToTable, table: 100, suppress: -1}), "10.1.2.5", "unicast", 3, true},
		{"source prohibited", with(fibRule{priority: 10, action: frProhibit, src: prefix("10.5.0.0/16"), suppress: -1}), "8.8.8.8", "prohibit", 0, true},
		{"inverted selector", with(fibRule{priority: 10, action: frUnreachable, src: prefix("10.5.0.0/16"), invert: true, suppress: -1}), "8.8.8.8", "unicast", 2, true},
		{"other input device", with(fibRule{priority: 10, action: frBlackhole, iif: "eth9", suppress: -1}), "8.8.8.8", "unicast", 2, true},
		{"suppressed default route", with(fibRule{priority: 10, action: frToTable, table: 100, suppress: 0}), "8.8.8.8", "unicast", 2, true},
		{"goto", with(fibRule{priority: 10, action: frGoto, gotoPrio: 32767, suppress: -1}), "8.8.8.8", "none", 0, true},
		{"port range", with(fibRule{priority: 10, action: frBlackhole, proto: 6, dport: [2]uint16{80, 81}, suppress: -1}), "8.8.8.8", "blackhole", 0, true},
		{"a rule that is not understood", with(fibRule{priority: 10, opaque: true}), "8.8.8.8", "", 0, false},
		{"an answer before such a rule stands", with(fibRule{priority: 10, opaque: true}), "10.0.0.1", "local", 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, known := fibLookup(tc.rules, routes, key(tc.dst))
			if r.typ != tc.typ || r.oif != tc.oif || known != tc.known {
				t.Errorf("%+v known %v, want %s oif %d known %v", r, known, tc.typ, tc.oif, tc.known)
			}
		})
	}
}

func FuzzParseRule(f *testing.F) {
	f.Add([]byte{2, 0, 32, 0, 254, 0, 0, 1, 0, 0, 0, 0, 8, 0, 2, 0, 10, 0, 0, 1, 8, 0, 6, 0, 100, 0, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 255, 0, 0, 1, 2, 0, 0, 0, 8, 0, 23, 0, 80, 0, 81, 0, 9, 0, 3, 0, 'e', 't', 'h', '0', 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRule(b)
		if err != nil {
			return
		}
		r.matches(fibKey{src: netip.MustParseAddr("10.0.0.1"), dst: netip.MustParseAddr("10.0.0.2")})
	})
}

func FuzzParseDiag(f *testing.F) {
	b := make([]byte, 80)
	b[0], b[1] = unix.AF_INET6, stateListen
	b[4], b[5] = 0x1f, 0x90
	b[72], b[74], b[76] = 5, diagV6Only, 1
	f.Add(b)
	f.Add(b[:72])
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, ok := parseDiag(b); ok && !l.Addr.Addr().IsValid() {
			t.Error("a socket without an address")
		}
	})
}
