package rules

import (
	"bytes"
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

// readTries bounds how often what changes meanwhile is read again.
const readTries = 4

// conn is a netlink socket in one namespace. Close it.
type conn struct {
	nl  *netlink.Conn
	buf []byte
}

// dial opens it in the calling thread's namespace, for one protocol (NETLINK_*).
func dial(ctx context.Context, protocol int) (*conn, error) {
	c, err := netlink.Dial(protocol, nil)
	if err != nil {
		return nil, fmt.Errorf("open netlink %d: %w", protocol, err)
	}
	if d, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(d); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("set deadline of netlink %d: %w", protocol, err)
		}
	}
	return &conn{nl: c}, nil
}

func (c *conn) close() { _ = c.nl.Close() }

// msg is one answer: the family of its header and its attributes.
type msg struct {
	family family
	attrs  attrs
}

// dumpBuffer is the most that the kernel puts into one part of an answer
// (netlink_recvmsg, 4.4 and later). A dump begins from the front for each part,
// and passes over what it has sent before: with small parts, reading many rules
// takes the square of their number.
const dumpBuffer = 64 << 10

// raw sends one request, a dump unless single, and hands on every answer as it
// comes, header and attributes, which are not to be kept: of a big rule set, no
// more is held than what is copied of it.
func (c *conn) raw(typ uint16, f family, single bool, take func([]byte) error, args ...netlink.Attribute) error {
	body, err := netlink.MarshalAttributes(args)
	if err != nil {
		return err
	}
	err = c.exchange(unix.NFNL_SUBSYS_NFTABLES<<8|typ, single, append([]byte{byte(f), unix.NFNETLINK_V0, 0, 0}, body...), take)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%w: %w", errUnsupported, err)
	}
	return err
}

// exchange sends one request, a dump unless single, and hands on its answers
// without their netlink headers.
func (c *conn) exchange(typ uint16, single bool, body []byte, take func([]byte) error) error {
	flags := netlink.Request | netlink.Dump
	if single {
		flags = netlink.Request | netlink.Acknowledge
	}
	sent, err := c.nl.Send(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: flags}, Data: body})
	if err != nil {
		return err
	}
	return c.receive(sent.Header.Sequence, take)
}

// receive reads the answers to one request to their end, even if they are not
// wanted any more: what is left would stand before the next.
func (c *conn) receive(seq uint32, take func([]byte) error) error {
	raw, err := c.nl.SyscallConn()
	if err != nil {
		return err
	}
	if c.buf == nil {
		c.buf = make([]byte, dumpBuffer)
	}
	var failed error
	for {
		var n int
		var got error
		err := raw.Read(func(fd uintptr) bool {
			n, _, got = unix.Recvfrom(int(fd), c.buf, 0)
			return !errors.Is(got, unix.EAGAIN) && !errors.Is(got, unix.EINTR)
		})
		if err = errors.Join(err, got); err != nil {
			return err
		}
		for rest := c.buf[:n]; len(rest) >= unix.NLMSG_HDRLEN; {
			size := int(native.Uint32(rest))
			if size < unix.NLMSG_HDRLEN || size > len(rest) {
				return errors.New("netlink message is cut off")
			}
			head, data := rest[:unix.NLMSG_HDRLEN], rest[unix.NLMSG_HDRLEN:size]
			rest = rest[min((size+3)&^3, len(rest)):]
			if native.Uint32(head[8:]) != seq {
				continue
			}
			if native.Uint16(head[6:])&unix.NLM_F_DUMP_INTR != 0 {
				failed = errors.Join(failed, unix.EINTR)
			}
			switch native.Uint16(head[4:]) {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				if len(data) >= 4 && int32(native.Uint32(data)) < 0 {
					failed = errors.Join(failed, unix.Errno(-int32(native.Uint32(data))))
				}
				return failed
			}
			if failed == nil && len(data) >= 4 {
				failed = take(data)
			}
		}
	}
}

// ask collects the answers.
func (c *conn) ask(typ uint16, f family, single bool, args ...netlink.Attribute) (out []msg, err error) {
	err = c.raw(typ, f, single, func(data []byte) error {
		as, err := parseAttrs(bytes.Clone(data[4:]))
		if err != nil {
			return fmt.Errorf("decode nf_tables message: %w", err)
		}
		out = append(out, msg{family(data[0]), as})
		return nil
	}, args...)
	return out, err
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
	if len(ms) == 0 || len(ms[0].attrs.get(unix.NFTA_GEN_ID)) < 4 {
		return 0, nil
	}
	return binary.BigEndian.Uint32(ms[0].attrs.get(unix.NFTA_GEN_ID)), nil
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
			t.addChain(decodeChain(&m.attrs))
		}
	}
	if err = c.raw(unix.NFT_MSG_GETRULE, 0, false, func(data []byte) error { return addRule(byKey, data) }); err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	if ms, err = c.ask(unix.NFT_MSG_GETSET, 0, false); err != nil {
		return nil, fmt.Errorf("list sets: %w", err)
	}
	for _, m := range ms {
		t := byKey[tableKey{m.family, m.attrs.str(unix.NFTA_SET_TABLE)}]
		if t == nil {
			continue
		}
		s := decodeSet(&m.attrs)
		s.load = func() ([]element, error) { return elems(t.family, t.name, s.name) }
		t.sets[s.name] = s
	}
	for _, t := range rs.tables {
		t.engine = engineOf(t)
	}
	return rs, nil
}

// addRule takes one NFT_MSG_NEWRULE, of which there may be very many: only what
// is kept is copied.
func addRule(byKey map[tableKey]*table, data []byte) error {
	var table, chain, exprs, user []byte
	var handle uint64
	err := scan(data[4:], func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_RULE_TABLE:
			table = v
		case unix.NFTA_RULE_CHAIN:
			chain = v
		case unix.NFTA_RULE_HANDLE:
			if len(v) >= 8 {
				handle = binary.BigEndian.Uint64(v)
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			exprs = v
		case unix.NFTA_RULE_USERDATA:
			user = v
		}
	})
	if err != nil {
		return err
	}
	t := byKey[tableKey{family(data[0]), string(bytes.TrimRight(table, "\x00"))}]
	if t == nil {
		return nil
	}
	ch := t.chains[string(bytes.TrimRight(chain, "\x00"))]
	if ch == nil {
		return nil
	}
	ch.rules = append(ch.rules, &rule{chain: ch, index: len(ch.rules) + 1, handle: handle,
		comment: udata(user, udataRuleComment), raw: bytes.Clone(exprs)})
	return nil
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
		es, err := decodeElements(&m.attrs)
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
		r := decodeRule(&m.attrs)
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
	if r.counted {
		return r.count, true
	}
	if r.raw != nil { // most rules are asked for nothing else
		return countedIn(r.raw)
	}
	n, ok := uint64(0), false
	for _, x := range r.expressions() {
		switch x := x.(type) {
		case counter:
			n, ok = x.packets, true
		case cmp, rangeCmp, test, setMatch, maybe, unknown, lookup, dynset:
			ok = false
		case loads:
			ok = ok && !x.breaks
		}
	}
	return n, ok
}

// countedIn finds the counter in expressions without decoding the others, for
// rules of which nothing else is asked.
func countedIn(raw []byte) (n uint64, ok bool) {
	err := scan(raw, func(_ uint16, b []byte) {
		var name, data []byte
		if scan(b, func(typ uint16, v []byte) {
			switch typ {
			case unix.NFTA_EXPR_NAME:
				name = bytes.TrimRight(v, "\x00")
			case unix.NFTA_EXPR_DATA:
				data = v
			}
		}) != nil {
			ok = false
			return
		}
		switch string(name) {
		case "payload", "meta", "ct", "bitwise", "byteorder", "immediate", "fib", "nat", "masq", "redir", "reject", "queue",
			"numgen", "hash", "log", "notrack", "dup", "last", "target":
		case "match":
			ok = ok && string(bytes.TrimRight(attrOf(data, unix.NFTA_MATCH_NAME), "\x00")) == "comment"
		case "counter":
			v := attrOf(data, unix.NFTA_COUNTER_PACKETS)
			if ok = len(v) >= 8; ok {
				n = binary.BigEndian.Uint64(v)
			}
		default:
			ok = false
		}
	})
	return n, ok && err == nil
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
