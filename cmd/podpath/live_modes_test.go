package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/probe"
	"github.com/podpath/podpath/tracer/render"
)

// dumpFile writes the lab's cluster to a file for --cluster-dump.
func dumpFile(t *testing.T, l *lab.Lab) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cluster.json")
	if err := os.WriteFile(file, clusterDump(t, l), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// faultTrace starts a trace of a fault with the cluster's state from a dump.
func faultTrace(t *testing.T, l *lab.Lab, sc lab.Scenario, more ...string) *liveTrace {
	t.Helper()
	args := nodeArgs(l, "--cluster-dump", dumpFile(t, l), "--from", sc.From, "--to", sc.To)
	return startTrace(t, append(args, more...)...)
}

// needTCX skips what only TCX can show.
func needTCX(t *testing.T) {
	t.Helper()
	p, err := probe.Open(probe.Config{Tier: probe.TierTCX})
	if errors.Is(err, probe.ErrTier) {
		if os.Getenv("PODPATH_REQUIRE_TCX") == "1" {
			t.Fatal("no TCX, although PODPATH_REQUIRE_TCX is set")
		}
		t.Skip("needs TCX (kernel 6.6)")
	}
	if err == nil {
		err = p.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestLiveHooks: however packets are seen, the verdict is the same.
func TestLiveHooks(t *testing.T) {
	for _, fault := range []string{"healthy-external", "policy-egress", "not-listening", "masquerade-missing"} {
		for _, flags := range [][]string{{"--hook", "tcx"}, {"--hook", "tracepoint"}, {"--wide"}, {"--wide", "--hook", "tracepoint"}} {
			t.Run(fault+" "+strings.Join(flags, " "), func(t *testing.T) {
				t.Parallel()
				if slices.Contains(flags, "tcx") {
					needTCX(t)
				}
				l := newLab(t, lab.Options{Seed: 31})
				sc := breakLab(t, l, fault)
				tr := faultTrace(t, l, sc, append(flags, "--count", "2")...)
				send(t, l)
				tr.wait()
				compare(t, sc, tr.verdicts())
				if n := len(tr.verdicts()); n != 2 {
					t.Errorf("%d verdicts, want 2", n)
				}
			})
		}
	}
}

// TestLiveEnds: --count, --duration and --until-verdict end the trace.
func TestLiveEnds(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Seed: 32})
	sc := breakLab(t, l, "not-listening")
	t.Run("count", func(t *testing.T) {
		tr := faultTrace(t, l, sc, "--count", "3")
		send(t, l)
		if code := tr.wait(); code != exitFault || len(tr.verdicts()) != 3 {
			t.Errorf("exit %d after %d verdicts", code, len(tr.verdicts()))
		}
	})
	t.Run("until verdict", func(t *testing.T) {
		tr := faultTrace(t, l, sc, "--until-verdict")
		send(t, l)
		if code := tr.wait(); code != exitFault || len(tr.verdicts()) != 1 {
			t.Errorf("exit %d after %d verdicts", code, len(tr.verdicts()))
		}
	})
	t.Run("duration", func(t *testing.T) {
		began := time.Now()
		tr := faultTrace(t, l, sc, "--duration", "2s")
		send(t, l)
		if code := tr.wait(); code != exitFault || len(tr.verdicts()) < 2 {
			t.Errorf("exit %d after %d verdicts", code, len(tr.verdicts()))
		}
		if d := time.Since(began); d < 2*time.Second {
			t.Errorf("ended after %v", d)
		}
	})
	t.Run("duration without traffic", func(t *testing.T) {
		tr := faultTrace(t, l, sc, "--duration", "1s")
		if code := tr.wait(); code != exitUndetermined {
			t.Errorf("exit %d\n%s", code, &tr.out)
		}
		if n := len(objects[render.Summary](tr, "Summary")); n != 1 {
			t.Errorf("%d summaries", n)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		tr := faultTrace(t, l, sc)
		send(t, l)
		tr.verdict("a verdict", func(*render.Verdict) bool { return true })
		if code := tr.stop(); code != exitInterrupted {
			t.Errorf("exit %d", code)
		}
		if n := len(objects[render.Summary](tr, "Summary")); n != 1 {
			t.Errorf("%d summaries", n)
		}
	})
}

// TestLiveTwoTraces: two traces on one node, both at the head of TCX, are both
// right, and the end of one leaves the other alone.
func TestLiveTwoTraces(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Seed: 33})
	sc := breakLab(t, l, "policy-ingress")
	other := sc
	other.To = "any"
	one := faultTrace(t, l, sc)
	two := faultTrace(t, l, other, "--count", "6")
	sent := send(t, l)
	one.verdict("of the first", func(*render.Verdict) bool { return true })
	two.verdict("of the second", func(*render.Verdict) bool { return true })
	one.stop()
	<-sent
	send(t, l)
	two.wait()
	compare(t, sc, one.verdicts()[:1]) // the rest was cut short
	compare(t, sc, two.verdicts())
	if n := len(two.verdicts()); n != 6 {
		t.Errorf("%d verdicts after the other trace ended, want 6\n%s", n, &two.err)
	}
}

// TestLiveTwoNodes: two nodes on one kernel with the same addresses; the trace
// of one sees nothing of the other.
func TestLiveTwoNodes(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{"tcx", "tracepoint"} {
		t.Run(hook, func(t *testing.T) {
			o := lab.Options{Seed: 34}
			mine, other := newLab(t, o), newLab(t, o)
			sc := breakLab(t, mine, "not-listening")
			breakLab(t, other, "not-listening")
			tr := faultTrace(t, mine, sc, "--hook", hook)
			<-send(t, other)
			if vs := tr.verdicts(); len(vs) > 0 {
				t.Errorf("the other node's traffic is judged: %s", vs[0].Summary)
			}
			send(t, other)
			done := send(t, mine)
			<-done
			tr.verdict("of its own", func(*render.Verdict) bool { return true })
			tr.stop()
			compare(t, sc, tr.verdicts())
			if n := len(tr.verdicts()); n != 4 {
				t.Errorf("%d verdicts for the 4 attempts of this node", n)
			}
			seen := objects[render.Summary](tr, "Summary")[0]
			t.Logf("%d events, %v", seen.Events, seen.Counters)
		})
	}
}

// TestLiveOtherPrograms: another tool's TCX and clsact programs on the same veth
// keep counting, and are still there after the trace.
func TestLiveOtherPrograms(t *testing.T) {
	t.Parallel()
	l := newLab(t, lab.Options{Seed: 35})
	sc := breakLab(t, l, "healthy-service")
	v := viewLab(t, l)
	links, err := v.node.nl.LinkList()
	v.node.must(err)
	tcx, clsact := counterProgram(t), counterProgram(t)
	for _, x := range links {
		if x.Type() != "veth" {
			continue
		}
		var lnk link.Link
		v.node.must(v.node.do(func() (err error) {
			lnk, err = link.AttachTCX(link.TCXOptions{Program: tcx.prog, Attach: ebpf.AttachTCXIngress, Interface: x.Attrs().Index})
			return err
		}))
		t.Cleanup(func() { _ = lnk.Close() })
		qdisc := &netlink.GenericQdisc{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: x.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
			QdiscType:  "clsact",
		}
		v.node.must(v.node.nl.QdiscAdd(qdisc))
		v.node.must(v.node.nl.FilterAdd(&netlink.BpfFilter{
			FilterAttrs:  netlink.FilterAttrs{LinkIndex: x.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
			Fd:           clsact.prog.FD(),
			Name:         "other",
			DirectAction: true,
		}))
	}
	tr := faultTrace(t, l, sc)
	before := [2]uint64{tcx.count(), clsact.count()}
	<-send(t, l)
	tr.verdict("a verdict", func(*render.Verdict) bool { return true })
	during := [2]uint64{tcx.count(), clsact.count()}
	if during[0] <= before[0] || during[1] <= before[1] {
		t.Errorf("the other programs saw no packet during the trace: %v then %v", before, during)
	}
	tr.stop()
	compare(t, sc, tr.verdicts())
	<-send(t, l)
	if after := [2]uint64{tcx.count(), clsact.count()}; after[0] <= during[0] || after[1] <= during[1] {
		t.Errorf("the other programs saw no packet after the trace: %v then %v", during, after)
	}
}

// countingProgram passes every packet and counts it.
type countingProgram struct {
	t    *testing.T
	prog *ebpf.Program
	hits *ebpf.Map
}

func counterProgram(t *testing.T) *countingProgram {
	t.Helper()
	hits, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hits.Close() })
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "other_tool", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, hits.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("pass"), // TCX_NEXT, TC_ACT_UNSPEC
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = prog.Close() })
	return &countingProgram{t, prog, hits}
}

func (c *countingProgram) count() uint64 {
	c.t.Helper()
	var n uint64
	if err := c.hits.Lookup(uint32(0), &n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// TestLiveMidway: a trace that begins amid healthy traffic calls none of it a
// fault.
func TestLiveMidway(t *testing.T) {
	t.Parallel()
	s := newScene(t, 36)
	for range 4 { // four clients with no pause
		go func() {
			for t.Context().Err() == nil {
				_ = s.from.ask("tcp", s.vip, time.Second)
			}
		}()
	}
	c, err := s.from.dial("tcp", s.serverAddr(), time.Second) // and an idle connection
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 5 {
		tr := s.trace(ref(s.client), "any")
		tr.verdict("a verdict", func(*render.Verdict) bool { return true })
		tr.stop()
		for _, v := range tr.verdicts() {
			if v.Code != "ok" {
				all, _ := json.Marshal(v)
				t.Errorf("%s %s: %s\n%s", v.Code, v.Outcome, v.Summary, all)
			}
		}
	}
	if code := s.trace(ref(s.client), "any", "--duration", "1s").wait(); code != exitHealthy {
		t.Errorf("exit %d after healthy traffic that goes on", code)
	}
}
