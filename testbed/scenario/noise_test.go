package scenario

import (
	"slices"
	"testing"
)

func TestParseCounters(t *testing.T) {
	got := parseCounters("Ip: Forwarding TTL\nIp: 1 64\nTcp: MaxConn RetransSegs\nTcp: -1 12\nTcpExt: TCPAbortOnClose\nTcpExt: 3\nUdp6NoPorts                     \t7\n")
	for name, want := range map[string]uint64{"IpTTL": 64, "TcpRetransSegs": 12, "TcpExtTCPAbortOnClose": 3, "Udp6NoPorts": 7} {
		if got[name] != want {
			t.Errorf("%s: got %d, want %d", name, got[name], want)
		}
	}
}

func TestRulePackets(t *testing.T) {
	list := `table ip bocida {
	chain forward {
		type filter hook forward priority 5; policy accept;
		ip daddr 10.244.1.7 tcp dport 3001 counter packets 14 bytes 840 drop
		ip daddr 10.244.1.7 tcp dport 3000 tcp flags psh numgen inc mod 2 0 counter packets 0 bytes 0 drop
	}
}`
	if got := rulePackets(list); !slices.Equal(got, []uint64{14, 0}) {
		t.Errorf("got %d", got)
	}
}

// A noise that is none has to be found out.
func TestNotRisen(t *testing.T) {
	before := map[string]uint64{"a": 1, "b": 0, "c": 5}
	if got := notRisen(before, map[string]uint64{"a": 2, "b": 0, "c": 6}); !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %q", got)
	}
	if got := notRisen(before, map[string]uint64{"a": 2, "b": 1, "c": 6}); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

func TestEveryControlIsNoisy(t *testing.T) {
	for _, s := range controls() {
		if !s.Noisy {
			t.Errorf("%s has no noise around it", s.Name)
		}
	}
}
