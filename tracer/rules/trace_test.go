package rules

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

func (l *lab) flows() Flows {
	return Flows{A: []netip.Prefix{netip.MustParsePrefix(clientIP + "/32")}, B: []netip.Prefix{netip.MustParsePrefix(serverIP + "/32"), netip.MustParsePrefix("10.96.0.0/16")}}
}

func (l *lab) trace(c TraceConfig, f Flows) *Tracing {
	l.t.Helper()
	ctx, cancel := testContext()
	defer cancel()
	t, err := l.r.Trace(ctx, c, f)
	must(l.t, err)
	l.t.Cleanup(func() { must(l.t, t.Close()) })
	return t
}

func (l *lab) tables() (out []string) {
	l.t.Helper()
	nft, err := nftables.New(nftables.WithNetNSFd(int(l.node.Fd())))
	must(l.t, err)
	ts, err := nft.ListTables()
	must(l.t, err)
	for _, t := range ts {
		out = append(out, t.Name)
	}
	slices.Sort(out)
	return out
}

// The kernel names the rule where neither counters nor evaluation could.
func TestTraceNamesTheRule(t *testing.T) {
	fwd := nftables.ChainHookForward
	for _, tc := range []struct {
		name  string
		build func(l *lab)
		want  want
	}{
		{"one of two alike", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", fwd, 0, acceptAll)
			l.rule(c, "first", strange(), udp(5000), drop())
			l.rule(c, "second", strange(), udp(6000), drop())
			l.rule(c, "third", udp(6000), drop())
		}, want{table: "t", chain: "fwd", verdict: "drop", how: "observed", comment: "second"}},
		{"in a chain that was jumped to", func(l *lab) {
			tb := l.table(nftables.TableFamilyIPv4, "filter")
			c := l.base(tb, "FORWARD", fwd, 0, acceptAll)
			l.chain(tb, "other")
			l.chain(tb, "cali-tw-x")
			l.rule(l.nft.AddChain(&nftables.Chain{Table: tb, Name: "other"}), "", udp(6000), count())
			l.rule(l.nft.AddChain(&nftables.Chain{Table: tb, Name: "cali-tw-x"}), "", udp(6000), rejectPort())
			l.rule(c, "", jump("other"))
			l.rule(c, "", udp(6000), gotoChain("cali-tw-x"))
		}, want{table: "filter", chain: "cali-tw-x", verdict: "reject", how: "observed", owner: "calico"}},
		{"after a chain that was left", func(l *lab) {
			tb := l.table(nftables.TableFamilyIPv4, "filter")
			c := l.base(tb, "FORWARD", fwd, 0, acceptAll)
			l.rule(l.chain(tb, "cali-FORWARD"), "", udp(6000), count())
			l.rule(c, "", jump("cali-FORWARD"))
			l.rule(c, "mine", udp(6000), drop())
		}, want{table: "filter", chain: "FORWARD", verdict: "drop", how: "observed", comment: "mine"}},
		{"the policy of a base chain", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyINet, "guard"), "fwd", fwd, 0, dropAll)
			l.rule(c, "", udp(5000), accept())
		}, want{table: "guard", chain: "fwd", verdict: "drop", how: "observed", base: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			l.warm(6000)
			tc.build(l)
			l.flush()
			l.trace(TraceConfig{For: time.Minute}, l.flows())
			if l.send(6000) {
				t.Fatal("the packet was not dropped")
			}
			res := l.collect(l.query(6000))
			check(t, res, &tc.want)
			if len(res.Blind) != 0 {
				t.Errorf("blind: %+v", res.Blind)
			}
		})
	}
}

// What is not traced is named as without a trace; other flows are not marked.
func TestTraceOnlyTheFlows(t *testing.T) {
	l := newLab(t)
	l.warm(6000)
	c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", nftables.ChainHookForward, 0, acceptAll)
	l.rule(c, "", udp(6000), drop())
	l.flush()
	far := Flows{A: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")}, AnyB: true}
	tr := l.trace(TraceConfig{For: time.Minute}, far)
	l.send(6000)
	check(t, l.collect(l.query(6000)), &want{table: "t", chain: "fwd", verdict: "drop", how: "computed"})
	if n := len(tr.read.found); n != 0 {
		t.Errorf("%d packets of others were traced", n)
	}
	// The flows change, as pods come and go.
	must(t, tr.Select(l.flows()))
	l.send(6000)
	check(t, l.collect(l.query(6000)), &want{table: "t", chain: "fwd", verdict: "drop", how: "observed"})
	must(t, tr.Select(Flows{AnyA: true, AnyB: true}))
	must(t, tr.Select(far))
	before := len(tr.read.found)
	l.send(6000)
	must(t, tr.read.settle(t.Context()))
	if n := len(tr.read.found); n != before {
		t.Errorf("%d packets were traced that were not asked for", n-before)
	}
}

// The trace ends with its time: first in the kernel, then the table.
func TestTraceEndsInTime(t *testing.T) {
	l := newLab(t)
	l.rule(l.base(l.table(nftables.TableFamilyIPv4, "theirs"), "fwd", nftables.ChainHookForward, 0, acceptAll), "", udp(6000), drop())
	l.flush()
	before := l.tables()
	ended := make(chan error, 1)
	tr := l.trace(TraceConfig{For: 700 * time.Millisecond, Ended: func(err error) { ended <- err }}, l.flows())
	if got := l.tables(); !slices.Contains(got, tr.Table()) {
		t.Fatalf("tables %v without %s", got, tr.Table())
	}
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("it did not end")
	}
	if got := l.tables(); !slices.Equal(got, before) {
		t.Errorf("tables %v, want those of before: %v", got, before)
	}
	must(t, tr.Select(l.flows())) // too late, and no error
}

// Without the process, the kernel alone lets the rules match no more.
func TestTraceDisarmsItself(t *testing.T) {
	l := newLab(t)
	l.warm(6000)
	c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", nftables.ChainHookForward, 0, acceptAll)
	l.rule(c, "", udp(6000), drop())
	l.flush()
	tr := l.trace(TraceConfig{For: 300 * time.Millisecond}, l.flows())
	tr.timer.Stop() // as if the process were stopped
	armed := func() int {
		elems, err := tr.table.nft.GetSetElements(tr.table.sets["armed"])
		must(t, err)
		return len(elems)
	}
	for deadline := time.Now().Add(20 * time.Second); armed() > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still armed")
		}
	}
	l.send(6000)
	check(t, l.collect(l.query(6000)), &want{table: "t", chain: "fwd", verdict: "drop", how: "computed"})
}

// A table with an owner ends with its socket, whatever ends the process. One
// without is removed by the next trace once its process is gone, and nobody
// else's table is ever touched.
func TestTraceAfterACrash(t *testing.T) {
	l := newLab(t)
	l.rule(l.base(l.table(nftables.TableFamilyINet, "podpath_trace"), "fwd", nftables.ChainHookForward, 0, acceptAll), "", udp(1), drop())
	l.table(nftables.TableFamilyIPv4, "podpath_trace_1_1") // another family
	l.table(nftables.TableFamilyINet, "podpath_trace_x_1") // no process
	l.table(nftables.TableFamilyINet, "mypodpath_trace_1_1")
	l.flush()
	theirs := l.tables()
	future := time.Now().Add(time.Hour).Unix()
	alive := fmt.Sprintf("%s%d_%d", tracePrefix, os.Getpid(), future)
	l.table(nftables.TableFamilyINet, alive)
	l.table(nftables.TableFamilyINet, fmt.Sprintf("%s%d_%d", tracePrefix, unused(t), future))
	l.table(nftables.TableFamilyINet, fmt.Sprintf("%s%d_1", tracePrefix, os.Getpid()))
	l.flush()
	tr := l.trace(TraceConfig{For: time.Minute}, l.flows())
	name := tr.Table()
	want := append(slices.Clone(theirs), alive, name)
	slices.Sort(want)
	if got := l.tables(); !slices.Equal(got, want) {
		t.Errorf("tables %v, want %v", got, want)
	}
	if !tr.Owned() {
		return // it stays, as one of those above
	}
	must(t, tr.table.nft.CloseLasting()) // what the kernel does for a process that is killed
	for deadline := time.Now().Add(20 * time.Second); slices.Contains(l.tables(), name); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the table outlived its socket")
		}
	}
}

// unused is a process id that nobody has.
func unused(t *testing.T) int {
	t.Helper()
	for pid := 4_000_000; pid > 1000; pid-- {
		if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return pid
		}
	}
	t.Fatal("every process id is taken")
	return 0
}

// Nobody may change the table of a trace, and a flush of all rules by another
// leaves it.
func TestTraceIsOwned(t *testing.T) {
	l := newLab(t)
	tr := l.trace(TraceConfig{For: time.Minute}, l.flows())
	if !tr.Owned() {
		t.Skip("needs owners of nft tables (kernel 5.12)")
	}
	other, err := nftables.New(nftables.WithNetNSFd(int(l.node.Fd())))
	must(t, err)
	other.DelTable(&nftables.Table{Family: traceFamily, Name: tr.Table()})
	if err := other.Flush(); !errors.Is(err, unix.EPERM) {
		t.Errorf("another removed the table: %v", err)
	}
	other.FlushRuleset()
	must(t, other.Flush())
	if got := l.tables(); !slices.Equal(got, []string{tr.Table()}) {
		t.Errorf("tables %v", got)
	}
}

func TestAbandoned(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, want := range map[string]bool{
		"podpath_trace_1_1001": false, "podpath_trace_1_999": true, "podpath_trace_99999999_1001": true,
		"podpath_trace_": false, "podpath_trace_1": false, "podpath_trace_1_": false, "podpath_trace_a_1": false, "podpath_trace_1_b": false,
		"podpath": false, "filter": false, "podpath_trace_1_999_2": false, "podpath_trace_-1_999": false,
	} {
		if got := abandoned(name, "/proc", now); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestIntervals(t *testing.T) {
	var list []netip.Prefix
	for _, s := range strings.Fields("10.0.0.7/32 10.0.0.0/24 10.0.0.0/24 255.255.255.255/32 10.0.1.0/24 fd00::/8 fd00::1/128 ffff::/16 0.0.0.1/32") {
		list = append(list, netip.MustParsePrefix(s))
	}
	got := map[string]string{}
	for fam, elems := range intervals(list) {
		for _, e := range elems {
			a, _ := netip.AddrFromSlice(e.Key)
			got[fam] += map[bool]string{true: "-", false: " "}[e.IntervalEnd] + a.String()
		}
	}
	want := map[string]string{"4": " 0.0.0.1-0.0.0.2 10.0.0.0-10.0.1.0 10.0.1.0-10.0.2.0 255.255.255.255", "6": " fd00::-fe00:: ffff::"}
	if got["4"] != want["4"] || got["6"] != want["6"] {
		t.Errorf("%q, want %q", got, want)
	}
	if len(intervals([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")})["4"]) != 1 {
		t.Error("everything has an end")
	}
}

// Whatever comes over the socket, and however much, is read without a panic and
// within bounds.
func FuzzTraceMessage(f *testing.F) {
	head := nest(attr(unix.NFTA_TRACE_ID, be32(7)), attr(unix.NFTA_TRACE_TABLE, []byte("t\x00")), attr(unix.NFTA_TRACE_CHAIN, []byte("c\x00")),
		attr(unix.NFTA_TRACE_TYPE, be32(unix.NFT_TRACETYPE_RULE)), attr(unix.NFTA_TRACE_NETWORK_HEADER, append([]byte{0x45}, make([]byte, 39)...)),
		attr(unix.NFTA_TRACE_VERDICT, nest(attr(unix.NFTA_VERDICT_CODE, be32(0)))))
	f.Add(head, head)
	f.Add([]byte{}, head[:9])
	f.Fuzz(func(t *testing.T, a, b []byte) {
		r := &traceReader{open: map[uint32]*traceWay{}}
		for range 3 {
			for _, m := range [][]byte{a, b} {
				if as, err := parseAttrs(m); err == nil {
					r.trace(famIP, &as)
				}
			}
		}
		if len(r.found) > maxTraceEnds || len(r.open) > maxTraceOpen {
			t.Errorf("%d drops and %d packets are kept", len(r.found), len(r.open))
		}
		for _, e := range r.found {
			if len(e.path) == 0 {
				t.Error("a drop nowhere")
			}
		}
	})
}

// A storm of packets is bounded by the kernel's limit and by what is kept.
func TestTraceUnderAStorm(t *testing.T) {
	l := newLab(t)
	l.warm(6000)
	c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", nftables.ChainHookForward, 0, acceptAll)
	l.rule(c, "", udp(6000), es{&expr.Counter{}}, drop())
	l.flush()
	tr := l.trace(TraceConfig{For: time.Minute}, l.flows())
	begun := time.Now()
	sent := l.storm(6000, 20000)
	if err := tr.read.settle(context.Background()); err != nil {
		t.Fatal(err)
	}
	most := int(time.Since(begun).Seconds()+2) * traceRate
	if n := len(tr.read.found); n == 0 || n > most || n > maxTraceEnds {
		t.Errorf("%d of %d packets were traced, at most %d may be", n, sent, most)
	}
	q := l.query(6000)
	check(t, l.collect(q), &want{table: "t", chain: "fwd", verdict: "drop", how: "observed"})
	q.Drops[0].Tuple = tracer.Tuple{Src: q.Flow.Src, Dst: netip.MustParseAddrPort(serverIP + ":6001"), Proto: q.Flow.Proto}
	check(t, l.collect(q), nil)
}
