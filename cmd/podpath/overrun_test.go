package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/render"
	"github.com/podpath/podpath/tracer/session"
)

// TestOverrunIsSaid: a podpath that was kept from reading loses events. What it
// recorded and what it lost is what there was, rules that are not ours agree, and
// a verdict that rests on silence is worth less than without the loss.
func TestOverrunIsSaid(t *testing.T) {
	t.Parallel()
	sure := overrun(t, 0)
	if len(sure.verdicts) == 0 || sure.summary.Lost != 0 {
		t.Fatalf("without pressure: %d verdicts, %d events lost", len(sure.verdicts), sure.summary.Lost)
	}
	const sent = 30_000
	got := overrun(t, sent)
	sum := got.summary
	if sum.Lost == 0 || got.recorded+sum.Lost != sum.Events {
		t.Errorf("recorded %d, lost %d, of %d", got.recorded, sum.Lost, sum.Events)
	}
	if got.passed != sent {
		t.Errorf("%d datagrams passed the node, %d were sent", got.passed, sent)
	}
	// Each is seen at the client's device, the node's end of it, the uplink.
	if sum.Events < 3*got.passed {
		t.Errorf("%d events for %d datagrams that passed three devices", sum.Events, got.passed)
	}
	if !strings.Contains(got.said, "events were lost") {
		t.Errorf("the loss is not said: %s", got.said)
	}
	for _, v := range got.verdicts {
		if v.Code != sure.verdicts[0].Code || v.Confidence == sure.verdicts[0].Confidence || v.LostEvents == 0 {
			t.Errorf("%s %s with %d events lost, without loss %s %s: %s", v.Code, v.Confidence, v.LostEvents, sure.verdicts[0].Code, sure.verdicts[0].Confidence, v.Summary)
		}
		if !slices.ContainsFunc(v.Blind, func(b tracer.Blind) bool { return strings.Contains(b.What, "events were lost") }) {
			t.Errorf("the verdict does not say what the loss hides: %+v", v.Blind)
		}
	}
	t.Logf("%d datagrams, %d events seen, %d recorded, %d lost", got.passed, sum.Events, got.recorded, sum.Lost)
}

// pressed is what a trace under pressure left.
type pressed struct {
	verdicts []render.Verdict
	summary  render.Summary
	said     string
	recorded uint64 // events in the recording
	passed   uint64 // datagrams, as the node's rules count them
}

// overrun traces a silent destination. Before its traffic the client sends so many
// datagrams while podpath stands still.
func overrun(t *testing.T, datagrams int) pressed {
	t.Helper()
	const port = 9999
	l := damagedLab(t, "external-silent", nil)
	v := viewLab(t, l.Lab)
	client := v.at(netip.MustParseAddr(podOf(t, serveAPI(t, clusterDump(t, l.Lab)), l.scenario.From).Status.PodIP))
	silent, _, err := net.SplitHostPort(l.scenario.To)
	if err != nil {
		t.Fatal(err)
	}
	count := v.node.countUDP(port)
	file := filepath.Join(t.TempDir(), "session")
	p := launch(t, append(l.args, "-o", "json", "--first-packets", "1000000", "--max-events", "1000000", "--write", file)...)
	p.ready(t)
	if datagrams > 0 {
		p.signal(t, syscall.SIGSTOP)
		client.datagrams(fmt.Sprintf("%s:%d", silent, port), datagrams)
		p.signal(t, syscall.SIGCONT)
	}
	l.show(t)
	eventually(t, "a verdict", func() bool { return strings.Contains(p.out.String(), `"kind":"Verdict"`) })
	passed := count()
	interrupt(t, p)
	p.code(t)
	r := pressed{said: p.err.String(), recorded: recordedEvents(t, file), passed: passed}
	for _, v := range objectsIn[render.Verdict](t, p.out.String(), "Verdict") {
		if v.Flow.Protocol == "TCP" {
			r.verdicts = append(r.verdicts, v)
		}
	}
	r.summary = objectsIn[render.Summary](t, p.out.String(), "Summary")[0]
	return r
}

func (p *program) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// datagrams sends so many to one address, as fast as the device takes them.
func (p *place) datagrams(to string, n int) {
	p.t.Helper()
	c, err := p.dial("udp", to, time.Second)
	p.must(err)
	defer c.Close()
	for range n {
		for {
			_, err := c.Write([]byte("datagram"))
			if err == nil {
				break
			}
			if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.ECONNREFUSED) {
				p.t.Fatal(err)
			}
		}
	}
}

// countUDP counts datagrams to a port that leave the namespace, in a rule that
// podpath knows nothing of.
func (p *place) countUDP(port uint16) (read func() uint64) {
	p.t.Helper()
	ns, err := netns.GetFromPath(p.path)
	p.must(err)
	p.t.Cleanup(func() { _ = ns.Close() })
	c, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	p.must(err)
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "test-count"})
	chain := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(port >> 8), byte(port)}},
		&expr.Counter{},
	}})
	p.must(c.Flush())
	return func() uint64 {
		p.t.Helper()
		rules, err := c.GetRules(table, chain)
		p.must(err)
		for _, e := range rules[0].Exprs {
			if n, ok := e.(*expr.Counter); ok {
				return n.Packets
			}
		}
		p.t.Fatal("the rule has lost its counter")
		return 0
	}
}

// recordedEvents counts those of a recording.
func recordedEvents(t *testing.T, file string) uint64 {
	t.Helper()
	r, err := session.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var n uint64
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Kind == session.KindEvent {
			n++
		}
	}
}
