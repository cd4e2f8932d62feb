package node

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseCounters(t *testing.T) {
	got := counters{}
	err := parsePairs(strings.NewReader("Ip: Forwarding DefaultTTL OutNoRoutes ForwDatagrams\nIp: 1 64 3 7\nTcp: MaxConn RetransSegs\nTcp: -1 5\n"), got)
	if err != nil {
		t.Fatal(err)
	}
	if err := parsePairs(strings.NewReader("TcpExt: SyncookiesSent IPReversePathFilter ListenDrops\nTcpExt: 1 2 4\n"), got); err != nil {
		t.Fatal(err)
	}
	if err := parseSNMP6(strings.NewReader("Ip6OutNoRoutes                  \t9\nIcmp6OutType135 1\n"), got); err != nil {
		t.Fatal(err)
	}
	want := counters{"IpOutNoRoutes": 3, "IpForwDatagrams": 7, "TcpRetransSegs": 5, "IPReversePathFilter": 2, "TcpExtListenDrops": 4, "Ip6OutNoRoutes": 9}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"Ip: A B\nIp: 1\n", "Ip: A\nTcp: 1\n"} {
		if err := parsePairs(strings.NewReader(bad), counters{}); err == nil {
			t.Errorf("%q was taken for counters", bad)
		}
	}
}

// Deltas begin at the last reading before a flow, or at the first one. As many as
// are kept, the first is among them.
func TestCountedFrom(t *testing.T) {
	n := &Node{}
	begun := time.Now()
	at := func(s int) time.Time { return begun.Add(time.Duration(s) * time.Second) }
	if r := n.countedFrom(at(1)); !r.at.IsZero() || r.byNetNS[1]["x"] != 0 {
		t.Errorf("without a reading: %+v", r)
	}
	for s := range 3 * keptReadings {
		n.keep(reading{at: at(s), byNetNS: map[uint32]counters{1: {"x": uint64(s)}}})
	}
	const last = 3*keptReadings - 1
	for _, tt := range []struct {
		since time.Time
		want  uint64
	}{
		{at(last + 10), last}, {at(last).Add(time.Millisecond), last}, {at(last), last - 1}, {at(last - keptReadings + 2), 0},
		{at(3), 0}, {at(-5), 0}, {time.Time{}, 0},
	} {
		if got := n.countedFrom(tt.since).byNetNS[1]["x"]; got != tt.want || !n.CountedFrom(tt.since).Equal(at(int(tt.want))) {
			t.Errorf("since %s: counted from %d, want %d", tt.since.Sub(begun), got, tt.want)
		}
	}
	if len(n.base) != keptReadings {
		t.Errorf("%d readings are kept", len(n.base))
	}
}

// What could not be read again is counted from when it was read last, and what never
// was is not counted.
func TestReadingNotComplete(t *testing.T) {
	n := &Node{}
	const pod, host = 7, 1
	now := counters{"IpOutNoRoutes": 110, "conntrack.drop": 1005, "conntrack.insert_failed": 4}
	read := func(c counters, complete bool) *reading {
		r := reading{at: time.Now(), byNetNS: map[uint32]counters{}, partial: map[uint32]bool{}}
		if complete {
			r.byNetNS[host] = c
		} else {
			n.complete(&r, host, c)
		}
		n.keep(r)
		return &r
	}
	for _, step := range []struct {
		what     string
		read     counters
		complete bool
		want     map[string]uint64
	}{
		{"nothing at first", nil, false, map[string]uint64{}},
		{"conntrack still not", counters{"IpOutNoRoutes": 100}, false, map[string]uint64{"IpOutNoRoutes": 10}},
		{"nothing again", nil, false, map[string]uint64{"IpOutNoRoutes": 10}},
		{"all", counters{"IpOutNoRoutes": 105, "conntrack.drop": 1000, "conntrack.insert_failed": 4}, true, map[string]uint64{"IpOutNoRoutes": 5, "conntrack.drop": 5}},
		{"a failed dump", counters{"IpOutNoRoutes": 108}, false, map[string]uint64{"IpOutNoRoutes": 2, "conntrack.drop": 5}},
		{"no descriptor", nil, false, map[string]uint64{"IpOutNoRoutes": 2, "conntrack.drop": 5}},
	} {
		if d := cmp.Diff(step.want, read(step.read, step.complete).until(host, now)); d != "" {
			t.Errorf("%s: %s", step.what, d)
		}
	}
	// A namespace that has appeared since the last reading began with zeros.
	r := read(nil, false)
	n.complete(r, pod, counters{"IpOutNoRoutes": 1})
	if d := cmp.Diff(map[string]uint64{"IpOutNoRoutes": 109, "conntrack.drop": 1005, "conntrack.insert_failed": 4}, r.until(pod, now)); d != "" {
		t.Errorf("a young one: %s", d)
	}
}

func FuzzParseCounters(f *testing.F) {
	f.Add("Ip: Forwarding OutNoRoutes\nIp: 1 3\n")
	f.Add("Ip6OutNoRoutes 9\n")
	f.Fuzz(func(t *testing.T, s string) {
		_ = parsePairs(strings.NewReader(s), counters{})
		_ = parseSNMP6(strings.NewReader(s), counters{})
	})
}

// Conntrack's statistics of any bytes: only the counters that are known, and no
// more than the message has room for.
func FuzzConntrackStats(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 8, 0, 9, 0, 0, 0, 0, 3, 8, 0, 9, 0, 0, 0, 0, 4})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 4, 0})
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 4, 0, 1})
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, m []byte) {
		out := counters{}
		addConntrack(m, out)
		var sum uint64
		for name, n := range out {
			if !slices.Contains(slices.Collect(maps.Values(conntrackNames)), name) {
				t.Errorf("counter %q", name)
			}
			sum += n
		}
		if sum > uint64(len(m)/8)*math.MaxUint32 {
			t.Errorf("%d out of %d bytes", sum, len(m))
		}
	})
}
