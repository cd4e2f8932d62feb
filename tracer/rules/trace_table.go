package rules

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Tables that podpath makes are called "podpath_trace_PID_END" with the second
// since 1970 after which nothing of them matters.
const tracePrefix = "podpath_trace_"

const (
	// nftTableOwner is NFT_TABLE_F_OWNER (linux/netfilter/nf_tables.h, 5.12).
	nftTableOwner = 2
	// tracePriority is before everything that drops or translates; conntrack
	// comes at -200, "raw" at -300.
	tracePriority = -1000
	// traceRate bounds the marked packets of each rule; each gives a message for
	// every rule that matches it.
	traceRate = 200
)

// traceTable is podpath's table in the node's namespace. Its socket is what
// keeps it alive where the kernel knows owners.
type traceTable struct {
	name  string
	owned bool
	nft   *nftables.Conn
	table *nftables.Table
	sets  map[string]*nftables.Set
	chain []*nftables.Chain
}

// newTraceTable makes a table in the calling thread's namespace, whose rules
// match no packet yet.
func newTraceTable(limit time.Duration) (*traceTable, error) {
	var raw *netlink.Conn
	nft, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		raw = c
		return c.SetWriteBuffer(1 << 20)
	}))
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	t := &traceTable{nft: nft, sets: map[string]*nftables.Set{},
		name: fmt.Sprintf("%s%d_%d", tracePrefix, os.Getpid(), time.Now().Add(limit).Unix()+1)}
	t.table = &nftables.Table{Family: traceFamily, Name: t.name}
	if t.owned, err = createTable(raw, t.name); err != nil {
		return nil, errors.Join(fmt.Errorf("make table inet %s: %w", t.name, err), nft.CloseLasting())
	}
	if err := t.build(limit); err != nil {
		return nil, errors.Join(fmt.Errorf("fill table inet %s: %w", t.name, err), t.remove())
	}
	return t, nil
}

// createTable makes a table that ends with the socket, or, on kernels that do
// not know that, one that stays.
func createTable(c *netlink.Conn, name string) (owned bool, err error) {
	for _, flags := range []uint32{nftTableOwner, 0} {
		err = sendTable(c, name, flags)
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
			return flags != 0, err
		}
	}
	return false, err
}

// sendTable sends one batch with NFT_MSG_NEWTABLE. google/nftables cannot give
// a table flags.
func sendTable(c *netlink.Conn, name string, flags uint32) error {
	body, err := netlink.MarshalAttributes([]netlink.Attribute{text(unix.NFTA_TABLE_NAME, name),
		{Type: unix.NFTA_TABLE_FLAGS, Data: binary.BigEndian.AppendUint32(nil, flags)}})
	if err != nil {
		return err
	}
	bound := func(typ uint16) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: netlink.Request},
			Data: []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}}
	}
	_, err = c.SendMessages([]netlink.Message{bound(unix.NFNL_MSG_BATCH_BEGIN), {
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE), Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl},
		Data:   append([]byte{byte(traceFamily), unix.NFNETLINK_V0, 0, 0}, body...),
	}, bound(unix.NFNL_MSG_BATCH_END)})
	if err != nil {
		return err
	}
	_, err = c.Receive()
	return err
}

// build makes the sets and chains. The set "armed" holds the families, and the
// kernel takes them out when the time is over: no rule matches after that,
// whatever became of podpath.
func (t *traceTable) build(limit time.Duration) error {
	armed := &nftables.Set{Table: t.table, Name: "armed", KeyType: nftables.TypeNFProto, HasTimeout: true}
	if err := t.nft.AddSet(armed, []nftables.SetElement{{Key: []byte{unix.NFPROTO_IPV4}, Timeout: limit}, {Key: []byte{unix.NFPROTO_IPV6}, Timeout: limit}}); err != nil {
		return err
	}
	t.sets["armed"] = armed
	for _, name := range []string{"a4", "b4", "a6", "b6"} {
		typ := nftables.TypeIPAddr
		if strings.HasSuffix(name, "6") {
			typ = nftables.TypeIP6Addr
		}
		s := &nftables.Set{Table: t.table, Name: name, KeyType: typ, Interval: true}
		if err := t.nft.AddSet(s, nil); err != nil {
			return err
		}
		t.sets[name] = s
	}
	accept := nftables.ChainPolicyAccept
	for name, hook := range map[string]*nftables.ChainHook{"prerouting": nftables.ChainHookPrerouting, "output": nftables.ChainHookOutput} {
		prio := nftables.ChainPriority(tracePriority)
		t.chain = append(t.chain, t.nft.AddChain(&nftables.Chain{Table: t.table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &prio, Policy: &accept}))
	}
	return t.nft.Flush()
}

// fill makes the rules match the flows, instead of those before.
func (t *traceTable) fill(flows Flows) error {
	for _, name := range []string{"a4", "b4", "a6", "b6"} {
		t.nft.FlushSet(t.sets[name])
	}
	for side, list := range map[string][]netip.Prefix{"a": flows.A, "b": flows.B} {
		for fam, elems := range intervals(list) {
			for chunk := range slices.Chunk(elems, 400) { // pairs of beginning and end
				if err := t.nft.SetAddElements(t.sets[side+fam], chunk); err != nil {
					return err
				}
			}
		}
	}
	for _, c := range t.chain {
		t.nft.FlushChain(c)
		for _, fam := range []string{"4", "6"} {
			for _, way := range [][2]string{{"a", "b"}, {"b", "a"}} {
				t.nft.AddRule(&nftables.Rule{Table: t.table, Chain: c, Exprs: t.rule(flows, fam, way)})
			}
		}
	}
	return t.nft.Flush()
}

// rule marks packets from one side to the other.
func (t *traceTable) rule(flows Flows, fam string, way [2]string) []expr.Any {
	proto, offs, n := byte(unix.NFPROTO_IPV4), [2]uint32{12, 16}, uint32(4)
	if fam == "6" {
		proto, offs, n = unix.NFPROTO_IPV6, [2]uint32{8, 24}, 16
	}
	armed := t.sets["armed"]
	out := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Lookup{SourceRegister: 1, SetName: armed.Name, SetID: armed.ID},
	}
	for i, side := range way {
		if side == "a" && flows.AnyA || side == "b" && flows.AnyB {
			continue
		}
		s := t.sets[side+fam]
		out = append(out, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offs[i], Len: n},
			&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID})
	}
	return append(out, &expr.Limit{Type: expr.LimitTypePkts, Rate: traceRate, Unit: expr.LimitTimeSecond, Burst: traceRate},
		&expr.Immediate{Register: 1, Data: []byte{1}}, &expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1})
}

// intervals are the elements of the sets of both families. Prefixes inside
// others are left out: the kernel takes no intervals that overlap.
func intervals(list []netip.Prefix) map[string][]nftables.SetElement {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	out := map[string][]nftables.SetElement{}
	var last netip.Prefix
	for _, p := range list {
		p = netip.PrefixFrom(p.Addr().WithZone(""), p.Bits()).Masked()
		if last.IsValid() && last.Overlaps(p) {
			continue
		}
		last = p
		fam := "4"
		if p.Addr().Is6() {
			fam = "6"
		}
		out[fam] = append(out[fam], nftables.SetElement{Key: p.Addr().AsSlice()})
		if end := after(p); end != nil {
			out[fam] = append(out[fam], nftables.SetElement{Key: end, IntervalEnd: true})
		}
	}
	return out
}

// after is the first address after a prefix, nil after the last of all.
func after(p netip.Prefix) []byte {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	if next := last.Next(); next.IsValid() {
		return next.AsSlice()
	}
	return nil
}

// remove deletes the table and gives up its socket.
func (t *traceTable) remove() error {
	t.nft.DelTable(t.table)
	err := t.nft.Flush()
	if errors.Is(err, unix.ENOENT) {
		err = nil // somebody else removed it
	}
	if err != nil {
		err = fmt.Errorf("remove table inet %s: %w", t.name, err)
	}
	return errors.Join(err, t.nft.CloseLasting())
}

// sweep removes tables that were left behind by processes that are gone, in the
// calling thread's namespace. Those that have an owner are not to be removed,
// and need not.
func sweep(ctx context.Context, log *slog.Logger, proc string) {
	nft, err := nftables.New()
	if err != nil {
		return
	}
	tables, err := nft.ListTablesOfFamily(traceFamily)
	if err != nil {
		return
	}
	for _, t := range tables {
		if !abandoned(t.Name, proc, time.Now()) {
			continue
		}
		nft.DelTable(&nftables.Table{Family: traceFamily, Name: t.Name})
		err := nft.Flush()
		log.InfoContext(ctx, "removed a table that an earlier trace left behind", slog.String("table", t.Name), slog.Any("error", err))
	}
}

// abandoned: the table is podpath's, and its time is over or its process is gone.
func abandoned(name, proc string, now time.Time) bool {
	rest, ours := strings.CutPrefix(name, tracePrefix)
	pid, end, ok := strings.Cut(rest, "_")
	second, err := strconv.ParseInt(end, 10, 64)
	if _, err2 := strconv.ParseUint(pid, 10, 32); !ours || !ok || err != nil || err2 != nil {
		return false
	}
	if now.Unix() > second {
		return true
	}
	_, err = os.Stat(filepath.Join(proc, pid))
	return errors.Is(err, os.ErrNotExist)
}
