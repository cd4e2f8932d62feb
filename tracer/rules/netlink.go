package rules

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// errUnsupported: this kernel has no nf_tables.
var errUnsupported = errors.New("nf_tables is not available")

// errChanging: the rules changed during every attempt to read them.
var errChanging = errors.New("rules changed while being read")

// readTries bounds how often a rule set that changes is read again.
const readTries = 4

// conn is a socket to nf_tables in one namespace. Close it.
type conn struct{ nl *netlink.Conn }

// dial opens it in the calling thread's namespace.
func dial(ctx context.Context) (*conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	if d, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(d); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("set nfnetlink deadline: %w", err)
		}
	}
	return &conn{c}, nil
}

func (c *conn) close() { _ = c.nl.Close() }

// msg is one answer: the family of its header and its attributes.
type msg struct {
	family family
	attrs  attrs
}

// ask sends one request, a dump unless single.
func (c *conn) ask(typ uint16, f family, single bool, args ...netlink.Attribute) ([]msg, error) {
	body, err := netlink.MarshalAttributes(args)
	if err != nil {
		return nil, err
	}
	flags := netlink.Request | netlink.Dump
	if single {
		flags = netlink.Request
	}
	req := netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | typ), Flags: flags},
		Data: append([]byte{byte(f), unix.NFNETLINK_V0, 0, 0}, body...)}
	answers, err := c.nl.Execute(req)
	if err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("%w: %w", errUnsupported, err)
		}
		return nil, err
	}
	out := make([]msg, 0, len(answers))
	for _, a := range answers {
		if a.Header.Flags&netlink.DumpInterrupted != 0 && !single {
			return nil, unix.EINTR
		}
		if len(a.Data) < 4 {
			continue
		}
		as, err := parseAttrs(a.Data[4:])
		if err != nil {
			return nil, fmt.Errorf("decode nf_tables message: %w", err)
		}
		out = append(out, msg{family(a.Data[0]), as})
	}
	return out, nil
}

func text(t uint16, s string) netlink.Attribute {
	return netlink.Attribute{Type: t, Data: append([]byte(s), 0)}
}

// generation changes with every change to the rules of the namespace.
func (c *conn) generation() (uint32, error) {
	ms, err := c.ask(unix.NFT_MSG_GETGEN, 0, true)
	if err != nil {
		return 0, fmt.Errorf("read rule generation: %w", err)
	}
	if len(ms) == 0 || len(ms[0].attrs[unix.NFTA_GEN_ID]) < 4 {
		return 0, nil
	}
	return binary.BigEndian.Uint32(ms[0].attrs[unix.NFTA_GEN_ID]), nil
}

// read dumps tables, chains, rules and sets, all of one generation. Elements
// of sets are read when they are needed, through reader.
func (c *conn) read(elems func(family, string, string) ([]element, error)) (*ruleset, uint32, error) {
	for range readTries {
		before, err := c.generation()
		if err != nil {
			return nil, 0, err
		}
		rs, err := c.readOnce(elems)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		after, err := c.generation()
		if err != nil {
			return nil, 0, err
		}
		if before == after {
			return rs, after, nil
		}
	}
	return nil, 0, errChanging
}

func (c *conn) readOnce(elems func(family, string, string) ([]element, error)) (*ruleset, error) {
	rs := &ruleset{}
	byKey := map[tableKey]*table{}
	ms, err := c.ask(unix.NFT_MSG_GETTABLE, 0, false)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	for _, m := range ms {
		t := newTable(tableKey{m.family, m.attrs.str(unix.NFTA_TABLE_NAME)})
		t.handle = m.attrs.u64(nftaTableHandle)
		t.dormant = m.attrs.u32(unix.NFTA_TABLE_FLAGS)&unix.NFT_TABLE_F_DORMANT != 0
		byKey[t.tableKey] = t
		rs.tables = append(rs.tables, t)
	}
	if ms, err = c.ask(unix.NFT_MSG_GETCHAIN, 0, false); err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	for _, m := range ms {
		if t := byKey[tableKey{m.family, m.attrs.str(unix.NFTA_CHAIN_TABLE)}]; t != nil {
			t.addChain(decodeChain(m.attrs))
		}
	}
	if ms, err = c.ask(unix.NFT_MSG_GETRULE, 0, false); err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	addRules(byKey, ms)
	if ms, err = c.ask(unix.NFT_MSG_GETSET, 0, false); err != nil {
		return nil, fmt.Errorf("list sets: %w", err)
	}
	for _, m := range ms {
		t := byKey[tableKey{m.family, m.attrs.str(unix.NFTA_SET_TABLE)}]
		if t == nil {
			continue
		}
		s := decodeSet(m.attrs)
		s.load = func() ([]element, error) { return elems(t.family, t.name, s.name) }
		t.sets[s.name] = s
	}
	for _, t := range rs.tables {
		t.engine = engineOf(t)
	}
	return rs, nil
}

func addRules(byKey map[tableKey]*table, ms []msg) {
	for _, m := range ms {
		t := byKey[tableKey{m.family, m.attrs.str(unix.NFTA_RULE_TABLE)}]
		if t == nil {
			continue
		}
		ch := t.chain(m.attrs.str(unix.NFTA_RULE_CHAIN))
		if ch == nil {
			continue
		}
		r := decodeRule(m.attrs)
		r.chain, r.index = ch, len(ch.rules)+1
		ch.rules = append(ch.rules, r)
	}
}

// dump asks again while changes interrupt the answer.
func (c *conn) dump(typ uint16, f family, args ...netlink.Attribute) (ms []msg, err error) {
	for range readTries {
		if ms, err = c.ask(typ, f, false, args...); !errors.Is(err, unix.EINTR) {
			return ms, err
		}
	}
	return nil, errChanging
}

// elements dumps one set.
func (c *conn) elements(f family, table, set string) ([]element, error) {
	ms, err := c.dump(unix.NFT_MSG_GETSETELEM, f, text(unix.NFTA_SET_ELEM_LIST_TABLE, table), text(unix.NFTA_SET_ELEM_LIST_SET, set))
	if err != nil {
		return nil, fmt.Errorf("list elements of %s in table %s: %w", set, table, err)
	}
	var out []element
	for _, m := range ms {
		es, err := decodeElements(m.attrs)
		if err != nil {
			return nil, fmt.Errorf("decode elements of %s in table %s: %w", set, table, err)
		}
		out = append(out, es...)
	}
	return out, nil
}

// counters reads the packet counters of one chain by rule handle.
func (c *conn) counters(ch *chain) (map[uint64]uint64, error) {
	ms, err := c.dump(unix.NFT_MSG_GETRULE, ch.table.family, text(unix.NFTA_RULE_TABLE, ch.table.name), text(unix.NFTA_RULE_CHAIN, ch.name))
	if err != nil {
		return nil, fmt.Errorf("read counters of chain %s: %w", ch.name, err)
	}
	out := map[uint64]uint64{}
	for _, m := range ms {
		r := decodeRule(m.attrs)
		if n, ok := r.packets(); ok {
			out[r.handle] = n
		}
	}
	return out, nil
}

// packets is the rule's counter. A counter that stands before the rule's last
// match counts packets that the rule does not act on, so only one after it
// counts.
func (r *rule) packets() (uint64, bool) {
	n, ok := uint64(0), false
	for _, x := range r.expressions() {
		switch x := x.(type) {
		case counter:
			n, ok = x.packets, true
		case cmp, rangeCmp, test, maybe, unknown, lookup, dynset:
			ok = false
		case loads:
			ok = ok && !x.breaks
		}
	}
	return n, ok
}

// engineOf tells the tables that iptables-nft writes: its fixed names with
// upper-case base chains.
func engineOf(t *table) string {
	switch t.name {
	case "filter", "nat", "mangle", "raw", "security":
	default:
		return "nftables"
	}
	if t.family != famIP && t.family != famIP6 {
		return "nftables"
	}
	for _, c := range t.order {
		switch {
		case c.base == nil:
		case c.name == strings.ToUpper(hookNames[c.base.hook]):
			return "iptables-nft"
		}
	}
	return "nftables"
}
