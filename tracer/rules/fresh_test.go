package rules

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/podpath/podpath/tracer"
)

// Rules that changed since the last verdict are not the ones that are named.
func TestRulesChangedBetweenVerdicts(t *testing.T) {
	l := newLab(t)
	l.warm(6000)
	tb := l.table(nftables.TableFamilyIPv4, "guard")
	c := l.base(tb, "fwd", nftables.ChainHookForward, 0, acceptAll)
	blocked := &nftables.Set{Table: tb, Name: "blocked", KeyType: nftables.TypeIPAddr}
	must(t, l.nft.AddSet(blocked, []nftables.SetElement{{Key: []byte{10, 9, 0, 1}}}))
	l.rule(c, "one", udp(6000), count(), drop())
	l.flush()
	named := func() string {
		t.Helper()
		if l.send(6000) {
			t.Error("the packet was not dropped")
		}
		if res := l.collect(l.query(6000)); len(res.Rules) == 1 && len(res.Blind) == 0 {
			return res.Rules[0].Comment
		}
		return "not one rule"
	}
	if got := named(); got != "one" {
		t.Errorf("at first: %s", got)
	}
	l.nft.FlushChain(c)
	l.rule(c, "two", udp(6000), count(), drop())
	l.flush()
	if got := named(); got != "two" {
		t.Errorf("the rule was replaced: %s", got)
	}
	l.nft.FlushChain(c)
	l.rule(c, "by set", es{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}}, inSet(blocked), count(), drop())
	l.flush()
	if !l.send(6000) {
		t.Error("the packet was dropped")
	}
	if res := l.collect(l.query(6000)); len(res.Rules) != 0 {
		t.Errorf("no rule drops: %+v", res.Rules)
	}
	must(t, l.nft.SetAddElements(blocked, []nftables.SetElement{{Key: []byte{10, 7, 0, 2}}}))
	l.flush()
	if got := named(); got != "by set" {
		t.Errorf("an element was added: %s", got)
	}
	other := l.chain(tb, "other")
	l.nft.FlushChain(c)
	l.rule(c, "", jump("other"))
	l.rule(other, "in another chain", udp(6000), count(), drop())
	l.flush()
	if got := named(); got != "in another chain" {
		t.Errorf("a chain was added: %s", got)
	}
}

// Rules that change while they are evaluated are evaluated again, and if they do
// not come to rest, nothing is said of them.
func TestRulesChangedMeanwhile(t *testing.T) {
	l := newLab(t)
	tb := l.table(nftables.TableFamilyIPv4, "guard")
	c := l.base(tb, "fwd", nftables.ChainHookForward, 0, acceptAll)
	l.rule(c, "one", udp(6000), drop())
	l.flush()
	q := l.query(6000)
	inside := q.Drops[0]
	inside.Device = tracer.DeviceKey{NetNS: inodeOf(t, l.server), IfIndex: 1}
	q.Drops = append(q.Drops, inside)
	times, asked := 0, 0
	// It is asked for after the node's own rules were evaluated.
	l.r.open = func(uint32) (*os.File, error) {
		asked++
		if asked <= times {
			l.nft.FlushChain(c)
			l.rule(c, fmt.Sprintf("change %d", asked), udp(6000), drop())
			l.flush()
		}
		return nil, errors.New("no way in")
	}
	for _, tc := range []struct {
		times int
		want  string
	}{{0, "one"}, {1, "change 1"}, {readTries - 1, fmt.Sprintf("change %d", readTries-1)}, {100, ""}, {0, "change " + fmt.Sprint(readTries+1)}} {
		times, asked = tc.times, 0
		res := l.collect(q)
		var got []string
		for _, r := range res.Rules {
			got = append(got, r.Comment)
		}
		unread := slices.ContainsFunc(res.Blind, func(b tracer.Blind) bool { return b.What == "nf_tables rules" })
		if tc.want == "" {
			if len(got) != 0 || !unread || res.Services.Complete || res.MasqueradeRead {
				t.Errorf("%d changes: %v, blind %+v", tc.times, got, res.Blind)
			}
			continue
		}
		if len(got) != 1 || got[0] != tc.want || unread || !res.Services.Complete {
			t.Errorf("%d changes: %v, want %s; blind %+v", tc.times, got, tc.want, res.Blind)
		}
	}
}

// A table that is made anew has other counters, whatever their handles.
func TestTableMadeAnew(t *testing.T) {
	l := newLab(t)
	l.warm(6000)
	build := func() {
		tb := l.table(nftables.TableFamilyIPv4, "guard")
		l.rule(l.base(tb, "fwd", nftables.ChainHookForward, 0, acceptAll), "", udp(6000), count(), drop())
		l.flush()
	}
	build()
	l.send(6000)
	ctx, cancel := testContext()
	defer cancel()
	must(t, l.r.Baseline(ctx))
	l.nft.DelTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "guard"})
	l.flush()
	build()
	if l.send(6000) {
		t.Fatal("the packet was not dropped")
	}
	check(t, l.collect(l.query(6000)), &want{table: "guard", chain: "fwd", verdict: "drop", how: "counter", packets: 1})
}

// However many chains a packet may meet, and however many rules of one chain may
// have dropped it, all are read.
func TestManyChains(t *testing.T) {
	l := newLab(t)
	l.warm(6000)
	tb := l.table(nftables.TableFamilyIPv4, "guard")
	c := l.base(tb, "fwd", nftables.ChainHookForward, 0, acceptAll)
	for i := range chainsSingly + 20 {
		to := l.chain(tb, fmt.Sprintf("c%d", i))
		l.rule(to, "", udp(5000), drop())
		if i == 3 || i == chainsSingly+15 {
			l.rule(to, to.Name, udp(6000), count(), drop())
		}
		if i == 3 {
			l.rule(c, "", from("10.9.0.0/16"), jump(to.Name))
		} else {
			l.rule(c, "", jump(to.Name))
		}
		if i%50 == 49 {
			l.flush()
		}
	}
	l.flush()
	if l.send(6000) {
		t.Fatal("the packet was not dropped")
	}
	at := fmt.Sprintf("c%d", chainsSingly+15)
	check(t, l.collect(l.query(6000)), &want{table: "guard", chain: at, verdict: "drop", how: "computed", comment: at})
	// Each of these may or may not have; the counter of one moved.
	l.nft.FlushChain(c)
	for i := range countersSingly + 4 {
		port := uint16(5000)
		if i == countersSingly+2 {
			port = 6000
		}
		l.rule(c, fmt.Sprint(i), strange(), udp(port), count(), drop())
	}
	l.rule(c, "that one", udp(6000), count(), drop())
	l.flush()
	ctx, cancel := testContext()
	defer cancel()
	must(t, l.r.Baseline(ctx))
	l.send(6000)
	res := l.collect(l.query(6000))
	if len(res.Rules) > 1 || len(res.Rules) == 1 && res.Rules[0].Packets != 1 {
		t.Errorf("%+v", res.Rules)
	}
}

// The tool of iptables-legacy runs for what changed, and for nothing else; counters
// are those of now.
func TestLegacyReadOnce(t *testing.T) {
	l := newLab(t)
	l.warm(6000)
	l.shell("iptables-legacy", "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:A - [0:0]\n-A FORWARD -p udp -m comment --comment one -j A\n-A A -p udp -m udp --dport 6000 -j DROP\nCOMMIT\n"+
		"*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -s 10.9.0.0/16 -j MASQUERADE\nCOMMIT\n")
	runs := standIn(t)
	ran := func() string {
		b, err := os.ReadFile(runs)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		must(t, os.WriteFile(runs, nil, 0o644))
		words := strings.Fields(string(b))
		slices.Sort(words)
		return strings.Join(words, " ")
	}
	ctx, cancel := testContext()
	defer cancel()
	must(t, l.r.Baseline(ctx))
	if got := ran(); got != "-t -t filter nat" {
		t.Errorf("at first it read %q", got)
	}
	q := l.query(6000)
	q.Drops[0].Drop.Engine, q.Drops[0].Drop.Location = "xtables", "nf_hook_slow"
	named := func(chain string, packets uint64) {
		t.Helper()
		if l.send(6000) {
			t.Error("the packet was not dropped")
		}
		res := l.collect(q)
		if len(res.Rules) != 1 || res.Rules[0].Chain != chain || res.Rules[0].How != "counter" || res.Rules[0].Packets != packets {
			t.Errorf("%+v %+v", res.Rules, res.Blind)
		}
	}
	named("A", 1)
	named("A", 2)
	if got := ran(); got != "" {
		t.Errorf("nothing changed, and it read %q", got)
	}
	l.tool("", "iptables-legacy", "-I", "FORWARD", "-p", "udp", "--dport", "6000", "-j", "DROP")
	named("FORWARD", 1)
	if got := ran(); got != "-t filter" {
		t.Errorf("a table changed, and it read %q", got)
	}
	l.tool("", "iptables-legacy", "-R", "FORWARD", "1", "-p", "udp", "--dport", "5000", "-j", "DROP")
	named("A", 3)
	if got := ran(); got != "-t filter" {
		t.Errorf("a rule changed, and it read %q", got)
	}
}
