package rules

import (
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/tracer"
)

// Sets and maps as nft makes them: what the evaluation says of a packet is what
// the kernel does with it.
func TestNamedSets(t *testing.T) {
	ports := []uint16{5999, 6000, 6005, 6011, 60000}
	l := newLab(t)
	l.warm(ports[0])
	defer func() { l.t = t }()
	const begin, end = "table ip t {\n", "\n}\n"
	forward := func(rules string) string {
		return "chain gate { type filter hook forward priority 0;\n" + rules + "\n}"
	}
	for _, tc := range []struct {
		name, rules string
		dropped     []uint16
		// undecided: what the kernel does is not for the evaluation to say.
		undecided bool
	}{
		{"a set", "set s { type inet_service; elements = { 6000, 6011 } }\n" + forward("udp dport @s drop"), []uint16{6000, 6011}, false},
		{"not in a set", "set s { type inet_service; elements = { 6000, 6011 } }\n" + forward("udp dport != @s drop"), []uint16{5999, 6005, 60000}, false},
		{"an empty set", "set s { type inet_service; }\n" + forward("udp dport @s drop"), nil, false},
		{"intervals that touch", "set s { type inet_service; flags interval; elements = { 6000-6004, 6005-6010 } }\n" + forward("udp dport @s drop"), []uint16{6000, 6005}, false},
		{"an interval to the last port", "set s { type inet_service; flags interval; elements = { 60000-65535 } }\n" + forward("udp dport @s drop"), []uint16{60000}, false},
		{"prefixes", "set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/13, 10.8.0.0/30, 11.0.0.0/8 } }\n" + forward("ip daddr @s udp dport 6000 drop"), []uint16{6000}, false},
		{"elements that end by themselves", "set s { type inet_service; flags timeout; elements = { 6000 timeout 1h } }\n" + forward("udp dport @s drop"), []uint16{6000}, false},
		{"concatenation", "set s { type ipv4_addr . inet_proto . inet_service; elements = { 10.8.0.2 . udp . 6000, 10.8.0.2 . tcp . 6005, 10.8.0.3 . udp . 6011 } }\n" +
			forward("ip daddr . meta l4proto . th dport @s drop"), []uint16{6000}, false},
		{"concatenation of intervals", "set s { type ipv4_addr . inet_service; flags interval; elements = { 10.8.0.0/24 . 6000-6010, 10.9.0.0/24 . 1-65535 } }\n" +
			forward("ip daddr . udp dport @s drop"), []uint16{6000, 6005}, false},
		{"with a device", "set s { type ifname . inet_service; elements = { \"in0\" . 6000, \"out0\" . 6005 } }\n" + forward("iifname . udp dport @s drop"), []uint16{6000}, false},
		{"a verdict map", "map m { type inet_service : verdict; elements = { 6000 : drop, 6005 : accept } }\n" + forward("udp dport vmap @m\nudp dport 6005 drop\nudp dport 6011 drop"), []uint16{6000, 6011}, false},
		{"a verdict map of intervals", "chain c { udp dport 6005 return\ndrop\n}\nmap m { type inet_service : verdict; flags interval; elements = { 0-5999 : accept, 6000-6010 : jump c, 6011-6020 : goto c } }\n" +
			forward("udp dport vmap @m\nudp dport 6005-65535 drop"), []uint16{6000, 6005, 6011, 60000}, false},
		{"a verdict map of concatenated intervals", "map m { type ipv4_addr . inet_service : verdict; flags interval; elements = { 10.8.0.0/16 . 6000-6005 : drop, 10.0.0.0/16 . 0-65535 : drop } }\n" +
			forward("ip daddr . udp dport vmap @m"), []uint16{6000, 6005}, false},
		{"an anonymous map of intervals", forward("udp dport vmap { 6000-6004 : drop, 6005 : accept, 6006-65535 : drop }"), []uint16{6000, 6011, 60000}, false},
		{"a map of marks", "map m { type inet_service : mark; elements = { 6000 : 0x10, 6005 : 0x20 } }\n" + forward("meta mark set udp dport map @m\nmeta mark 0x10 drop"), []uint16{6000}, false},
		{"everything else", forward("udp dport vmap { 6000 : accept, 6005 : accept, * : drop }"), []uint16{5999, 6011, 60000}, false},
		{"a state", forward("ct state vmap { established : accept, new : continue, invalid : drop }\nudp dport { 6000, 6011 } drop"), []uint16{6000, 6011}, false},
		{"hardware addresses", "set s { type ether_addr; elements = { 02:00:00:00:00:01 } }\n" + forward("ether saddr != @s udp dport 6000 drop"), []uint16{6000}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l.t = t
			if out, err := l.try("flush ruleset\n"+begin+tc.rules+end, "nft", "-f", "-"); err != nil {
				if strings.Contains(tc.rules, "* :") && strings.Contains(out, "Invalid argument") {
					t.Skip("needs catch-all elements (kernel 5.13)")
				}
				t.Fatalf("nft: %v\n%s", err, out)
			}
			ctx, cancel := testContext()
			defer cancel()
			l.r.mu.Lock()
			defer l.r.mu.Unlock()
			defer l.r.leaveAll()
			s, err := l.r.enter(ctx, l.r.hostNS)
			must(t, err)
			for _, port := range ports {
				want := triNo
				if slices.Contains(tc.dropped, port) {
					want = triYes
					if l.send(port) {
						t.Errorf("port %d was not dropped", port)
					}
				} else {
					l.warm(port)
				}
				got := l.evaluated(s, port)
				if got != want && (!tc.undecided || got != triMaybe) {
					t.Errorf("port %d: %d, and the kernel %d", port, got, want)
				}
				if tc.undecided && want == triYes && got != triMaybe {
					t.Errorf("port %d is decided: %d", port, got)
				}
			}
		})
	}
}

// evaluated is what the rules do with the first packet of the flow.
func (l *lab) evaluated(s *space, port uint16) tri {
	q := l.query(port)
	q.Drops[0].Conn = &tracer.CT{Orig: q.Flow, Reply: q.Flow.Reverse(), Info: 2}
	p := s.packetAt(q, q.Drops[0], hookForward)
	w := &walk{m: newMachine(p, s)}
	for _, c := range s.all().hookChains(famIP, hookForward, nil) {
		if w.run(c) {
			return triYes
		}
	}
	if slices.ContainsFunc(w.hits, func(h hit) bool { return h.drops() }) {
		return triMaybe
	}
	return triNo
}
