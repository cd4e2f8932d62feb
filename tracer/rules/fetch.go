package rules

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// chainsSingly is how many chains are read one by one before all that are left
// are read at once. A packet meets a few dozen, unless where it goes is not known.
const chainsSingly = 256

// tables lists tables and chains. What a chain or a set holds is read when it is
// asked for, through the space.
func (c *conn) tables(s *space) (*ruleset, error) {
	rs := &ruleset{byKey: map[tableKey]*table{}}
	ms, err := c.ask(unix.NFT_MSG_GETTABLE, 0, false)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	for _, m := range ms {
		t := newTable(tableKey{m.family, m.attrs.str(unix.NFTA_TABLE_NAME)})
		t.handle = m.attrs.u64(nftaTableHandle)
		t.dormant = m.attrs.u32(unix.NFTA_TABLE_FLAGS)&unix.NFT_TABLE_F_DORMANT != 0
		t.ipsetName = s.nameOf
		t.findSet = func(name string) *set { return s.findSet(t, name) }
		rs.byKey[t.tableKey] = t
		rs.tables = append(rs.tables, t)
	}
	err = c.raw(unix.NFT_MSG_GETCHAIN, 0, false, func(data []byte) error {
		as, err := parseAttrs(data[4:])
		if t := rs.byKey[tableKey{family(data[0]), as.str(unix.NFTA_CHAIN_TABLE)}]; err == nil && t != nil {
			ch := decodeChain(family(data[0]), &as)
			ch.fetch = s.fetch
			t.addChain(ch)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	for _, t := range rs.tables {
		t.engine = engineOf(t)
	}
	return rs, nil
}

// fetch reads the rules of a chain, or of all of them.
func (s *space) fetch(c *chain) {
	s.nft.fetched++
	var err error
	if s.nft.fetched <= chainsSingly {
		err = s.conn.rulesOf(s.nft, c)
	} else {
		err = s.conn.rulesLeft(s.nft)
	}
	if err != nil {
		s.broken = errors.Join(s.broken, err)
	}
}

// rulesOf reads the rules of one chain.
func (c *conn) rulesOf(rs *ruleset, ch *chain) error {
	ch.fetch = nil
	return c.rules(func(data []byte) error { return rs.addRule(data, func(to *chain) bool { return to == ch }) },
		ch.table.family, text(unix.NFTA_RULE_TABLE, ch.table.name), text(unix.NFTA_RULE_CHAIN, ch.name))
}

// rulesLeft reads those of every chain that was not read yet.
func (c *conn) rulesLeft(rs *ruleset) error {
	err := c.rules(func(data []byte) error { return rs.addRule(data, func(to *chain) bool { return to.fetch != nil }) }, 0)
	for _, t := range rs.tables {
		for _, ch := range t.order {
			ch.fetch = nil
		}
	}
	return err
}

func (c *conn) rules(take func([]byte) error, f family, args ...netlink.Attribute) error {
	if err := c.raw(unix.NFT_MSG_GETRULE, f, false, take, args...); err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	return nil
}

// ruleMessage is one NFT_MSG_NEWRULE, of which there may be very many: nothing is
// copied.
type ruleMessage struct {
	family              family
	table, chain        []byte
	handle              uint64
	expressions, custom []byte
}

func decodeRule(data []byte) (m ruleMessage, err error) {
	m.family = family(data[0])
	err = scan(data[4:], func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_RULE_TABLE:
			m.table = bytes.TrimRight(v, "\x00")
		case unix.NFTA_RULE_CHAIN:
			m.chain = bytes.TrimRight(v, "\x00")
		case unix.NFTA_RULE_HANDLE:
			if len(v) >= 8 {
				m.handle = binary.BigEndian.Uint64(v)
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			m.expressions = v
		case unix.NFTA_RULE_USERDATA:
			m.custom = v
		}
	})
	return m, err
}

// addRule takes one message for a chain that wants it, and copies what is kept.
func (rs *ruleset) addRule(data []byte, wanted func(*chain) bool) error {
	m, err := decodeRule(data)
	if err != nil {
		return err
	}
	t := rs.byKey[tableKey{m.family, string(m.table)}]
	if t == nil {
		return nil
	}
	ch := t.chains[string(m.chain)]
	if ch == nil || !wanted(ch) {
		return nil
	}
	ch.add(&m)
	return nil
}

// add copies what is kept of a rule.
func (c *chain) add(m *ruleMessage) {
	c.rules = append(c.rules, &rule{chain: c, index: len(c.rules) + 1, handle: m.handle,
		comment: udata(m.custom, udataRuleComment), raw: bytes.Clone(m.expressions)})
}

// findSet reads what a set is, nil if there is none of that name.
func (s *space) findSet(t *table, name string) *set {
	ms, err := s.conn.ask(unix.NFT_MSG_GETSET, t.family, true, text(unix.NFTA_SET_TABLE, t.name), text(unix.NFTA_SET_NAME, name))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		s.broken = errors.Join(s.broken, fmt.Errorf("read set %s: %w", name, err))
	}
	if err != nil || len(ms) == 0 {
		return nil
	}
	x := decodeSet(&ms[0].attrs)
	x.load = func() ([]element, error) { return s.conn.elements(t.family, t.name, name) }
	return x
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
