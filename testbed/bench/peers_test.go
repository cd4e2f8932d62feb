package main

import (
	"io"
	"strings"
	"testing"
)

func TestParseTCPDump(t *testing.T) {
	said := []string{
		"tcpdump: data link type LINUX_SLL2",
		"tcpdump: listening on any, link-type LINUX_SLL2 (Linux cooked v2), snapshot length 262144 bytes",
		"374656 packets captured", "374700 packets received by filter", "12 packets dropped by kernel",
	}
	f, err := parseTCPDump(said)
	if err != nil {
		t.Fatal(err)
	}
	if f.captured != 374656 || f.dropped != 12 {
		t.Errorf("captured %d, dropped %d", f.captured, f.dropped)
	}
	if f, err := parseTCPDump([]string{"1 packet captured", "0 packets dropped by kernel"}); err != nil || f.captured != 1 {
		t.Errorf("one packet: %+v, %v", f, err)
	}
	if _, err := parseTCPDump(said[:3]); err == nil {
		t.Error("half of the counts were enough")
	}
}

// What each tool prints, and how much of it was the rule's.
func TestParsePeers(t *testing.T) {
	rule := func(parse func(io.Reader, string) (*found, error)) func(io.Reader) (*found, error) {
		return func(in io.Reader) (*found, error) { return parse(in, "12") }
	}
	for what, tc := range map[string]struct {
		parse             func(io.Reader) (*found, error)
		said              string
		captured, dropped uint64
	}{
		"bpftrace, count": {rule(parseBPFTraceCount), "Attaching 1 probe...\n\n\n@[2]: 5\n@[12]: 5126\n@[120]: 7\n", 5126, 0},
		"bpftrace, printf": {rule(parseBPFTracePrintf), "Attaching 1 probe...\n12 nft_do_chain\n2 ip_rcv_finish_core.isra.0\n" +
			"Lost 64 events\n12 nft_do_chain\nLost 3 events\n", 2, 67},
		"perf": {parsePerfScript, "skbaddr=0xffff888100c14f00 rx_sk=(nil) protocol=2048 location=nft_do_chain+0x3e8 reason: NETFILTER_DROP\n" +
			"skbaddr=0xffff888100c14f00 rx_sk=(nil) protocol=2048 location=ip_rcv_finish_core.isra.0+0x25b reason: NOT_SPECIFIED\n" +
			"perf     0 PERF_RECORD_LOST lost 118\n", 1, 118},
		"nft": {parseNFTTrace, "trace id 5d1cd5ab ip bench-trace pre packet: iif \"cni0\" ip saddr 10.244.1.10 ip daddr 10.96.0.10 \n" +
			"trace id 5d1cd5ab ip bench-trace pre rule ip saddr 10.244.1.10 counter name \"traced\" meta nftrace set 1 (verdict continue)\n" +
			"trace id 5d1cd5ab ip bench services packet: iif \"cni0\" ip saddr 10.244.1.10 \n", 1, 0},
	} {
		f, err := tc.parse(strings.NewReader(tc.said))
		if err != nil || f.captured != tc.captured || f.dropped != tc.dropped {
			t.Errorf("%s: %+v, %v, want %d captured and %d lost", what, f, err, tc.captured, tc.dropped)
		}
	}
}
