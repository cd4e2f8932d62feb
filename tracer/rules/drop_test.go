package rules

import (
	"context"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/podpath/podpath/tracer"
)

func testContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 5*time.Second)
}

const (
	acceptAll = nftables.ChainPolicyAccept
	dropAll   = nftables.ChainPolicyDrop
)

// want is what a rule fact must say; empty strings are not looked at.
type want struct {
	table, chain, verdict, how, owner, policy, comment string
	base                                               bool
	packets                                            uint64
}

func check(t *testing.T, res Result, w *want) {
	t.Helper()
	if w == nil {
		if len(res.Rules) != 0 {
			t.Errorf("rules %+v, want none", res.Rules)
		}
		return
	}
	if len(res.Rules) == 0 {
		t.Fatalf("no rule, want %+v", *w)
	}
	r := res.Rules[0]
	got := want{r.Table, r.Chain, r.Verdict, r.How, r.Owner, r.Policy, r.Comment, r.BasePolicy, r.Packets}
	if got != *w {
		t.Errorf("rule\n%+v, want\n%+v", got, *w)
	}
	if r.Text == "" || r.Hook != "forward" {
		t.Errorf("text %q, hook %q", r.Text, r.Hook)
	}
}

func TestDropRules(t *testing.T) {
	fwd := nftables.ChainHookForward
	for _, tc := range []struct {
		name  string
		build func(l *lab)
		want  *want
		blind bool
		mark  uint32 // skb->mark where the packet is dropped
	}{
		{"rule without counter", func(l *lab) {
			tb := l.table(nftables.TableFamilyINet, "guard")
			c := l.base(tb, "fwd", fwd, 0, acceptAll)
			l.rule(c, "", udp(5000), drop())
			l.rule(c, "", udp(6000), drop())
		}, &want{table: "guard", chain: "fwd", verdict: "drop", how: "computed"}, false, 0},

		{"rule with counter", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyIPv4, "guard"), "fwd", fwd, 0, acceptAll)
			l.rule(c, "", udp(5000), count(), drop())
			l.rule(c, "why", udp(6000), count(), drop())
		}, &want{table: "guard", chain: "fwd", verdict: "drop", how: "counter", packets: 1, comment: "why"}, false, 0},

		{"base chain's policy", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyIPv4, "filter"), "FORWARD", fwd, 0, dropAll)
			l.rule(c, "", udp(5000), accept())
		}, &want{table: "filter", chain: "FORWARD", verdict: "drop", how: "computed", base: true}, false, 0},

		{"nested jumps, return and goto", func(l *lab) {
			tb := l.table(nftables.TableFamilyIPv4, "t")
			c := l.base(tb, "fwd", fwd, 0, acceptAll)
			a, b, d := l.chain(tb, "a"), l.chain(tb, "b"), l.chain(tb, "d")
			l.rule(c, "", jump("a"))
			l.rule(c, "after", udp(6000), drop())
			l.rule(a, "", from("10.7.0.0/24"), jump("b"))
			l.rule(a, "", gotoChain("d"))
			l.rule(a, "unreachable", drop())
			l.rule(b, "", to("10.8.0.0/16"), ret())
			l.rule(b, "unreachable", drop())
			l.rule(d, "", udp(1), drop())
		}, &want{table: "t", chain: "fwd", verdict: "drop", how: "computed", comment: "after"}, false, 0},

		{"verdict map as kube-proxy writes it", func(l *lab) {
			tb := l.table(nftables.TableFamilyIPv4, "kube-proxy")
			c := l.base(tb, "filter-forward", fwd, -110, acceptAll)
			check, rej := l.chain(tb, "service-endpoints-check"), l.chain(tb, "reject-chain")
			m := &nftables.Set{Table: tb, Name: "no-endpoint-services", IsMap: true, DataType: nftables.TypeVerdict, Concatenation: true,
				KeyType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)}
			must(l.t, l.nft.AddSet(m, []nftables.SetElement{
				{Key: frontendKey(serverIP, 17, 6000), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: "reject-chain"}},
				{Key: frontendKey(serverIP, 17, 7000), VerdictData: &expr.Verdict{Kind: expr.VerdictDrop}},
			}))
			l.rule(c, "", state(expr.CtStateBitNEW), jump("service-endpoints-check"))
			l.rule(check, "", frontend(), vmap(m))
			l.rule(rej, "", rejectPort())
		}, &want{table: "kube-proxy", chain: "reject-chain", verdict: "reject", how: "computed", owner: "kube-proxy"}, false, 0},

		{"two tables at one hook, by priority", func(l *lab) {
			l.rule(l.base(l.table(nftables.TableFamilyINet, "late"), "fwd", fwd, 10, acceptAll), "", udp(6000), drop())
			l.rule(l.base(l.table(nftables.TableFamilyIPv4, "early"), "fwd", fwd, -10, acceptAll), "", udp(6000), drop())
		}, &want{table: "early", chain: "fwd", verdict: "drop", how: "computed"}, false, 0},

		{"an accept in one table does not save it from another", func(l *lab) {
			l.rule(l.base(l.table(nftables.TableFamilyIPv4, "cni"), "fwd", fwd, -10, acceptAll), "", accept())
			l.rule(l.base(l.table(nftables.TableFamilyIPv4, "other"), "fwd", fwd, 0, acceptAll), "", iifname("in0"), oifname("out0"), drop())
		}, &want{table: "other", chain: "fwd", verdict: "drop", how: "computed"}, false, 0},

		{"policy agent that names its policy", func(l *lab) {
			tb := l.table(nftables.TableFamilyINet, "xyz")
			c := l.base(tb, "fwd", fwd, 0, acceptAll)
			l.rule(c, "", state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
			p := l.chain(tb, "pod-1")
			l.rule(c, "", to("10.8.0.2/32"), jump("pod-1"))
			l.rule(p, "policy shop/web ingress rule 0", udp(5000), ret())
			l.rule(p, "no ingress policy of pod shop/web-1 allows: shop/web", drop())
		}, &want{table: "xyz", chain: "pod-1", verdict: "drop", how: "computed", owner: "cni", policy: "shop/web", comment: "no ingress policy of pod shop/web-1 allows: shop/web"}, false, 0},

		{"an unknown match is never a match", func(l *lab) {
			l.rule(l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", fwd, 0, acceptAll), "", strange(), udp(6000), drop())
		}, nil, true, 0},

		{"an unknown match and another drop: neither is named", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", fwd, 0, acceptAll)
			l.rule(c, "", strange(), drop())
			l.rule(c, "", udp(6000), drop())
		}, nil, true, 0},

		{"an unknown match is no obstacle where the rest surely differs", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", fwd, 0, acceptAll)
			l.rule(c, "", strange(), udp(5000), drop())
			l.rule(c, "", udp(6000), drop())
		}, &want{table: "t", chain: "fwd", verdict: "drop", how: "computed"}, false, 0},

		{"a counter decides what evaluation cannot", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", fwd, 0, acceptAll)
			l.rule(c, "strange", strange(), count(), drop())
			l.rule(c, "", udp(6000), count(), drop())
		}, &want{table: "t", chain: "fwd", verdict: "drop", how: "counter", packets: 1, comment: "strange"}, false, 0},

		{"a moved counter of an undecided rule is no proof beside a sure drop", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", fwd, 0, acceptAll)
			l.rule(c, "", strange(), count(), drop())
			l.rule(c, "", udp(6000), drop())
		}, nil, true, 0},

		{"a set with prefixes", func(l *lab) {
			tb := l.table(nftables.TableFamilyIPv4, "t")
			c := l.base(tb, "fwd", fwd, 0, acceptAll)
			s := &nftables.Set{Table: tb, Name: "bad", KeyType: nftables.TypeIPAddr, Interval: true}
			must(l.t, l.nft.AddSet(s, []nftables.SetElement{{Key: []byte{10, 8, 0, 0}}, {Key: []byte{10, 9, 0, 0}, IntervalEnd: true}, {Key: []byte{192, 168, 0, 0}}, {Key: []byte{192, 169, 0, 0}, IntervalEnd: true}}))
			l.rule(c, "", es{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}}, inSet(s), drop())
			l.rule(c, "dst", es{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}}, inSet(s), drop())
		}, &want{table: "t", chain: "fwd", verdict: "drop", how: "computed", comment: "dst"}, false, 0},

		{"mark set by an earlier rule", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", fwd, 0, acceptAll)
			mark := binary.NativeEndian.AppendUint32(nil, 0x4000)
			l.rule(c, "", es{&expr.Immediate{Register: 1, Data: mark}, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}})
			l.rule(c, "", es{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)}}, drop())
			l.rule(c, "marked", es{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: mark}}, drop())
		}, &want{table: "t", chain: "fwd", verdict: "drop", how: "computed", comment: "marked"}, false, 0x4000},

		{"a mark that the packet did not have at the drop", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", fwd, 0, acceptAll)
			mark := binary.NativeEndian.AppendUint32(nil, 0x4000)
			l.rule(c, "", es{&expr.Immediate{Register: 1, Data: mark}, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}})
			l.rule(c, "", udp(6000), drop())
		}, nil, true, 0x8000},

		{"port range", func(l *lab) {
			c := l.base(l.table(nftables.TableFamilyIPv4, "t"), "fwd", fwd, 0, acceptAll)
			load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
			l.rule(c, "", l4(17), es{load, &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: be16(1), ToData: be16(5999)}}, drop())
			l.rule(c, "in", l4(17), es{load, &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: be16(6000), ToData: be16(6010)}}, drop())
		}, &want{table: "t", chain: "fwd", verdict: "drop", how: "computed", comment: "in"}, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			l.warm(6000)
			tc.build(l)
			l.flush()
			ctx, cancel := testContext()
			defer cancel()
			must(t, l.r.Baseline(ctx))
			if l.send(6000) {
				t.Fatal("the packet was not dropped")
			}
			q := l.query(6000)
			q.Drops[0].Mark = tc.mark
			q.Drops[0].Conn = &tracer.CT{Orig: l.flow(6000), Reply: l.flow(6000).Reverse(), Info: 2}
			res := l.collect(q)
			check(t, res, tc.want)
			if (len(res.Blind) > 0) != tc.blind {
				t.Errorf("blind: %+v", res.Blind)
			}
		})
	}
}

// Two base chains of one priority: which comes first is told by the kernel,
// through counters, and must be what the evaluation says.
func TestSamePriorityOrder(t *testing.T) {
	fwd := nftables.ChainHookForward
	for _, fams := range [][2]nftables.TableFamily{{nftables.TableFamilyIPv4, nftables.TableFamilyIPv4}, {nftables.TableFamilyINet, nftables.TableFamilyIPv4}, {nftables.TableFamilyIPv4, nftables.TableFamilyINet}} {
		l := newLab(t)
		l.warm(6000)
		for i, name := range []string{"first", "second"} {
			l.rule(l.base(l.table(fams[i], name), "fwd", fwd, 0, acceptAll), "", udp(6000), count(), drop())
			l.flush()
		}
		ctx, cancel := testContext()
		must(t, l.r.Baseline(ctx))
		if l.send(6000) {
			t.Fatal("the packet was not dropped")
		}
		byCounter := l.collect(l.query(6000)).Rules
		rs := l.ruleset(ctx)
		order := rs.hookChains(famIP, hookForward, nil)
		cancel()
		if len(byCounter) != 1 || byCounter[0].How != "counter" {
			t.Fatalf("families %v: rules %+v, evaluation begins with %s", fams, byCounter, order[0].table.name)
		}
		if got := order[0].table.name; got != byCounter[0].Table {
			t.Errorf("families %v: evaluation begins with %s, the kernel with %s", fams, got, byCounter[0].Table)
		}
	}
}

func (l *lab) ruleset(ctx context.Context) *ruleset {
	l.t.Helper()
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	defer l.r.leaveAll()
	s, err := l.r.enter(ctx, l.r.hostNS)
	must(l.t, err)
	return s.all()
}

// A drop inside another namespace is explained by that namespace's rules.
func TestDropInAPod(t *testing.T) {
	l := newLab(t)
	c, err := nftables.New(nftables.WithNetNSFd(int(l.server.Fd())))
	must(t, err)
	node := l.nft
	l.nft = c
	in := l.base(l.table(nftables.TableFamilyINet, "inside"), "in", nftables.ChainHookInput, 0, acceptAll)
	l.rule(in, "", udp(6000), drop())
	l.flush()
	l.nft = node

	inode := inodeOf(t, l.server)
	dev := tracer.DeviceKey{NetNS: inode, IfIndex: linkIndex(t, l.server, "eth0")}
	q := l.query(6000)
	q.Drops[0].Device, q.Drops[0].InDevice, q.Drops[0].Drop.Stage = dev, dev, tracer.StageInput
	if res := l.collect(q); len(res.Rules) != 0 || len(res.Blind) == 0 {
		t.Errorf("without a way into the pod: %+v", res)
	}
	l.r.open = func(want uint32) (*os.File, error) {
		if want != inode {
			return nil, os.ErrNotExist
		}
		return os.Open(l.server.Name())
	}
	res := l.collect(q)
	if len(res.Rules) != 1 || res.Rules[0].Table != "inside" || res.Rules[0].Hook != "input" || len(res.Blind) != 0 {
		t.Errorf("%+v", res)
	}
}
