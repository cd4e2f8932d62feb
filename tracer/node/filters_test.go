package node

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// encodedFilter is a message about a filter, as the kernel writes it but for the
// counters.
func encodedFilter(kind string, actionsAt int, actions ...netlink.Action) []byte {
	m := nl.TcMsg{Handle: 0x80000800, Info: 10<<16 | 8}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	if err := netlink.EncodeActions(options.AddRtAttr(actionsAt, nil), actions); err != nil {
		panic(err)
	}
	out := append(m.Serialize(), nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind)).Serialize()...)
	return append(out, options.Serialize()...)
}

func TestDecodeFilter(t *testing.T) {
	police := netlink.NewPoliceAction()
	police.Rate, police.Burst, police.ExceedAction = 125_000, 4000, netlink.TC_POLICE_SHOT
	pass := netlink.NewPoliceAction()
	pass.Rate, pass.Burst, pass.ExceedAction = 125_000, 4000, netlink.TC_POLICE_PIPE
	mirror := netlink.NewMirredAction(7)
	mirror.MirredAction, mirror.Action = netlink.TCA_EGRESS_MIRROR, netlink.TC_ACT_PIPE
	shot := netlink.NewSkbEditAction()
	shot.Action = netlink.TC_ACT_SHOT
	for name, tt := range map[string]struct {
		kind    string
		at      int
		action  netlink.Action
		want    tcAction
		mayDrop bool
	}{
		"flower drops":       {"flower", nl.TCA_FLOWER_ACT, &netlink.GenericAction{ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_SHOT}}, tcAction{kind: "gact", drops: true}, true},
		"matchall passes":    {"matchall", nl.TCA_MATCHALL_ACT, &netlink.GenericAction{ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_OK}}, tcAction{kind: "gact"}, false},
		"u32 polices":        {"u32", nl.TCA_U32_ACT, police, tcAction{kind: "police", drops: true, rateBytes: 125_000}, true},
		"a policer of marks": {"u32", nl.TCA_U32_ACT, pass, tcAction{kind: "police", rateBytes: 125_000}, false},
		"basic redirects":    {"basic", 3, netlink.NewMirredAction(7), tcAction{kind: "mirred", redirects: true, to: 7}, true},
		"fw copies":          {"fw", nl.TCA_FW_ACT, mirror, tcAction{kind: "mirred", to: 7}, false},
		"an edit that drops": {"flower", nl.TCA_FLOWER_ACT, shot, tcAction{kind: "skbedit", drops: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := decodeFilter(encodedFilter(tt.kind, tt.at, tt.action))
			if err != nil {
				t.Fatal(err)
			}
			if f.kind != tt.kind || f.priority != 10 || f.handle != 0x80000800 || len(f.actions) != 1 {
				t.Fatalf("%+v", f)
			}
			got := f.actions[0]
			got.index = 0
			if got != tt.want || f.mayDrop() != tt.mayDrop {
				t.Errorf("%+v, may drop: %t; want %+v", got, f.mayDrop(), tt.want)
			}
		})
	}
	if f, err := decodeFilter(encodedFilter("bpf", 1)); err != nil || len(f.actions) != 0 {
		t.Errorf("%+v, %v", f, err)
	}
}

// What an action counts as dropped depends on its kind (net/sched/act_*.c).
func TestLostOf(t *testing.T) {
	count := func(packets, drops, overlimits uint32) []byte {
		basic, queue := make([]byte, 16), make([]byte, 20)
		binary.NativeEndian.PutUint32(basic[8:], packets)
		binary.NativeEndian.PutUint32(queue[8:], drops)
		binary.NativeEndian.PutUint32(queue[16:], overlimits)
		return append(nl.NewRtAttr(tcaStatsBasic, basic).Serialize(), nl.NewRtAttr(tcaStatsQueue, queue).Serialize()...)
	}
	for name, tt := range map[string]struct {
		action tcAction
		count  []byte
		want   uint64
	}{
		"drop":                       {tcAction{kind: "gact", drops: true}, count(9, 9, 0), 9},
		"drop of some":               {tcAction{kind: "gact", drops: true}, count(9, 4, 0), 4},
		"a policer":                  {tcAction{kind: "police", drops: true}, count(9, 2, 2), 2},
		"a policer that only marks":  {tcAction{kind: "police"}, count(9, 0, 2), 0},
		"a copy, and drop":           {tcAction{kind: "mirred", drops: true}, count(9, 0, 0), 9},
		"a redirect that works":      {tcAction{kind: "mirred", redirects: true}, count(9, 0, 0), 0},
		"a redirect that failed":     {tcAction{kind: "mirred", redirects: true}, count(9, 0, 3), 3},
		"a kind that nobody decodes": {tcAction{kind: "gate"}, count(9, 1, 0), 1},
	} {
		c, err := decodeCount(tt.count)
		if got := tt.action.lostOf(c); err != nil || got != tt.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, tt.want)
		}
	}
}

func FuzzDecodeFilter(f *testing.F) {
	f.Add(encodedFilter("flower", nl.TCA_FLOWER_ACT, netlink.NewPoliceAction()))
	f.Add(encodedFilter("u32", nl.TCA_U32_ACT, netlink.NewMirredAction(3)))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = decodeFilter(b) })
}

// sendTo sends datagrams from the first pod to a port of the second. Its socket is not
// connected: it is to send on whatever comes back.
func (c *cluster) sendTo(port, n int) {
	c.p1.in(func() error {
		conn, err := net.ListenUDP("udp4", nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		for range n {
			if _, err := conn.WriteToUDP([]byte("x"), &net.UDPAddr{IP: net.ParseIP("10.91.1.11"), Port: port}); err != nil {
				return err
			}
		}
		return nil
	})
}

// filterFor is a u32 filter for a destination port of IPv4.
func filterFor(link netlink.Link, parent uint32, prio, port uint16, does ...netlink.Action) *netlink.U32 {
	return &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: parent, Priority: prio, Protocol: unix.ETH_P_IP},
		Sel:         &netlink.TcU32Sel{Flags: netlink.TC_U32_TERMINAL, Nkeys: 1, Keys: []netlink.TcU32Key{{Mask: 0xffff, Val: uint32(port), Off: 20}}},
		Actions:     does,
	}
}

func TestCollectFilters(t *testing.T) {
	needRoot(t)
	for _, qdisc := range []string{"clsact", "ingress"} {
		t.Run(qdisc, func(t *testing.T) {
			c := newCluster(t, true, true)
			n := c.n1.node()
			inventory(t, n)
			dev, lo := c.n1.link("veth1"), c.n1.link("veth2")
			attrs := netlink.QdiscAttrs{LinkIndex: dev.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
			c.n1.must(c.n1.h.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: qdisc}))
			for prio, port := range map[uint16]uint16{10: 7010, 11: 7011} {
				m := netlink.NewMirredAction(lo.Attrs().Index)
				m.MirredAction, m.Action = netlink.TCA_EGRESS_MIRROR, netlink.TC_ACT_SHOT
				c.n1.must(c.n1.h.FilterAdd(filterFor(dev, netlink.HANDLE_MIN_INGRESS, prio, port, m)))
			}
			c.sendTo(7010, 2)
			if fs := c.filtersAfter(t, n, 2); len(fs) != 2 || fs[0].Actions[0].Lost != 2 || fs[0].Actions[0].Counted || fs[1].Actions[0].Lost != 0 {
				t.Fatalf("without a baseline: %+v", fs)
			}
			c.n1.must(n.Baseline(t.Context()))
			c.sendTo(7010, 3)
			fs := c.filtersAfter(t, n, 5)
			if len(fs) != 2 {
				t.Fatalf("%+v", fs)
			}
			want := tracer.FilterAction{Kind: "mirred", Drops: true, To: "veth2", Lost: 5, Moved: 3, Counted: true}
			if f := fs[0]; f.Dev != "veth1" || f.Side != "ingress" || f.Kind != "u32" || f.Priority != 10 || f.Actions[0] != want {
				t.Errorf("the one that dropped: %+v", f)
			}
			if a := fs[1].Actions[0]; a.Lost != 0 || a.Moved != 0 || !a.Counted {
				t.Errorf("the one for another port: %+v", a)
			}
			// One that is made anew under the same name counts from zero.
			c.n1.must(c.n1.h.FilterDel(filterFor(dev, netlink.HANDLE_MIN_INGRESS, 10, 7010)))
			m := netlink.NewMirredAction(lo.Attrs().Index)
			m.MirredAction, m.Action = netlink.TCA_EGRESS_MIRROR, netlink.TC_ACT_SHOT
			c.n1.must(c.n1.h.FilterAdd(filterFor(dev, netlink.HANDLE_MIN_INGRESS, 10, 7010, m)))
			c.sendTo(7010, 1)
			if a := c.filtersAfter(t, n, 1)[0].Actions[0]; a.Lost != 1 || a.Moved != 1 {
				t.Errorf("made anew: %+v", a)
			}
		})
	}
}

// filtersAfter are the filters between the pods, by priority, when the first of them
// has dropped so many: the first packets wait for a neighbour's answer.
func (c *cluster) filtersAfter(t *testing.T, n *Node, lost uint64) []tracer.FilterFact {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		f := collect(t, n, tracer.Query{Flow: tcp("10.91.1.10:40000", "10.91.1.11:80"), SrcNetNS: c.p1.inode, DstNetNS: c.p2.inode})
		slices.SortFunc(f.Filters, func(a, b tracer.FilterFact) int { return int(a.Priority) - int(b.Priority) })
		if len(f.Filters) > 0 && f.Filters[0].Actions[0].Lost >= lost || time.Now().After(until) {
			return f.Filters
		}
	}
}

// Actions that not every kernel has.
func TestCollectFiltersOfOtherKinds(t *testing.T) {
	needRoot(t)
	police := netlink.NewPoliceAction()
	police.Rate, police.Burst, police.ExceedAction = 1000, 10, netlink.TC_POLICE_SHOT
	drop := &netlink.GenericAction{ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_SHOT}}
	for name, f := range map[string]func(netlink.FilterAttrs) netlink.Filter{
		"u32, gact": func(a netlink.FilterAttrs) netlink.Filter {
			f := filterFor(&netlink.Dummy{}, a.Parent, a.Priority, 7010, drop)
			f.LinkIndex = a.LinkIndex
			return f
		},
		"flower, gact": func(a netlink.FilterAttrs) netlink.Filter {
			proto := nl.IPProto(unix.IPPROTO_UDP)
			return &netlink.Flower{FilterAttrs: a, EthType: unix.ETH_P_IP, IPProto: &proto, DestPort: 7010, Actions: []netlink.Action{drop}}
		},
		"matchall, police": func(a netlink.FilterAttrs) netlink.Filter {
			return &netlink.MatchAll{FilterAttrs: a, Actions: []netlink.Action{police}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, true, true)
			n := c.n1.node()
			inventory(t, n)
			dev := c.n1.link("veth2")
			attrs := netlink.QdiscAttrs{LinkIndex: dev.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
			c.n1.must(c.n1.h.QdiscAdd(&netlink.Clsact{QdiscAttrs: attrs}))
			err := c.n1.h.FilterAdd(f(netlink.FilterAttrs{LinkIndex: dev.Attrs().Index, Parent: netlink.HANDLE_MIN_EGRESS, Priority: 10, Protocol: unix.ETH_P_IP}))
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
				t.Skipf("needs %s in the kernel: %v", name, err)
			}
			c.n1.must(err)
			c.n1.must(n.Baseline(t.Context()))
			c.sendTo(7010, 4)
			got := c.filtersAfter(t, n, 4)
			if len(got) != 1 || !got[0].Actions[0].Drops || got[0].Actions[0].Moved != 4 || got[0].Side != "egress" {
				t.Errorf("%+v", got)
			}
		})
	}
}
