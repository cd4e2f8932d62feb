package rules

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A counter is told apart by its chain and the rule's handle. A table that was
// made anew under the same name counts handles from the start, and has a handle of
// its own.
type counterKey struct {
	netns       uint32
	table       tableKey
	tableHandle uint64
	legacy      bool
	chain       string
}

// counted is a rule's counter when the trace began.
type counted struct{ handle, packets uint64 }

func keyOf(netns uint32, c *chain) counterKey {
	return counterKey{netns, c.table.tableKey, c.table.handle, c.table.engine == "iptables-legacy", c.name}
}

// Baseline remembers the counters of the node's own rules, so that Collect can
// tell which of them moved during the trace.
func (r *Reader) Baseline(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.leaveAll()
	s, err := r.enter(ctx, r.hostNS)
	if err != nil {
		return err
	}
	if s.failed {
		return fmt.Errorf("read rules: %s", s.blind[0].Effect)
	}
	base := map[counterKey][]counted{}
	if err := s.countAll(base); err != nil {
		return err
	}
	if s.legacy != nil {
		s.legacy.count(s.inode, base)
	}
	r.base, r.based = base, map[uint32]bool{r.hostNS: true}
	return nil
}

// count takes the counters of rules that were read as text.
func (rs *ruleset) count(netns uint32, base map[counterKey][]counted) {
	for _, t := range rs.tables {
		for _, c := range t.order {
			var list []counted
			for _, rl := range c.rules {
				list = append(list, counted{rl.handle, rl.count})
			}
			if len(list) > 0 {
				base[keyOf(netns, c)] = list
			}
		}
	}
}

// keptRules is how many rules are kept of those that a baseline reads.
const keptRules = 50_000

// countAll reads the counter of every rule of nf_tables. Of the rules it keeps those
// of the chains of hooks, which the next verdict will ask for: long ones take long to
// read.
func (s *space) countAll(base map[counterKey][]counted) error {
	if len(s.nft.tables) == 0 {
		return nil
	}
	for range readTries {
		t := tally{s: s, base: base, kept: map[*chain]bool{}}
		err := s.conn.rules(t.take, 0)
		t.close()
		t.keep(err == nil && s.settled() == nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
		clear(base)
	}
	return fmt.Errorf("read counters: %w", errChanging)
}

// tally takes the rules of every chain, one chain after the other.
type tally struct {
	s     *space
	base  map[counterKey][]counted
	chain *chain
	list  []counted
	kept  map[*chain]bool // whose rules are kept
	rules int
}

func (t *tally) take(data []byte) error {
	m, err := decodeRule(data)
	if err != nil {
		return err
	}
	if c := t.chain; c == nil || c.table.family != m.family || c.name != string(m.chain) || c.table.name != string(m.table) {
		t.close()
		if t.chain = t.s.nft.chainOf(&m); t.chain == nil {
			return nil // it is new
		}
		if t.chain.base != nil && t.chain.fetch != nil {
			t.kept[t.chain] = true
		}
	}
	if n, ok := countedIn(m.expressions); ok {
		t.list = append(t.list, counted{m.handle, n})
	}
	if t.kept[t.chain] && t.rules < keptRules {
		t.rules++
		t.chain.add(&m)
	} else if t.kept[t.chain] {
		t.kept[t.chain], t.chain.rules = false, nil
	}
	return nil
}

// close ends a chain.
func (t *tally) close() {
	if len(t.list) > 0 {
		t.base[keyOf(t.s.inode, t.chain)] = slices.Clone(t.list)
	}
	t.list = t.list[:0]
}

// keep says that what was read of chains is all of it, or that it is not.
func (t *tally) keep(whole bool) {
	for c, kept := range t.kept {
		if whole && kept {
			c.fetch = nil
		} else {
			c.rules = nil
		}
	}
}

// chainOf is the chain that a message is of, nil if it is not known.
func (rs *ruleset) chainOf(m *ruleMessage) *chain {
	if t := rs.byKey[tableKey{m.family, string(m.table)}]; t != nil {
		return t.chains[string(m.chain)]
	}
	return nil
}

// countersSingly is how many counters of a chain are read one by one.
const countersSingly = 16

// fresh are the counters of rules as they are now, by rule. Those that are not
// there have none, or the rule is gone.
func (s *space) fresh(hits []hit) map[*rule]uint64 {
	out := map[*rule]uint64{}
	byChain := map[*chain][]*rule{}
	for _, h := range hits {
		if h.rule == nil {
			continue
		}
		if n, ok := h.rule.packets(); ok {
			out[h.rule] = n
			if h.rule.chain.table.engine != "iptables-legacy" { // those were all read just now
				byChain[h.rule.chain] = append(byChain[h.rule.chain], h.rule)
			}
		}
	}
	for c, rules := range byChain {
		now, err := s.conn.counters(c, rules)
		if err != nil {
			s.broken = errors.Join(s.broken, err)
		}
		for _, r := range rules {
			if n, ok := now[r.handle]; ok {
				out[r] = n
			} else {
				delete(out, r)
			}
		}
	}
	return out
}

// counters reads the packet counters of rules of one chain by their handles.
func (c *conn) counters(ch *chain, rules []*rule) (map[uint64]uint64, error) {
	out := map[uint64]uint64{}
	take := func(data []byte) error {
		m, err := decodeRule(data)
		if n, ok := countedIn(m.expressions); ok && err == nil {
			out[m.handle] = n
		}
		return err
	}
	at := []netlink.Attribute{text(unix.NFTA_RULE_TABLE, ch.table.name), text(unix.NFTA_RULE_CHAIN, ch.name)}
	if len(rules) > countersSingly {
		return out, c.rules(take, ch.table.family, at...)
	}
	for _, r := range rules {
		handle := netlink.Attribute{Type: unix.NFTA_RULE_HANDLE, Data: binary.BigEndian.AppendUint64(nil, r.handle)}
		err := c.raw(unix.NFT_MSG_GETRULE, ch.table.family, true, take, append(at[:2:2], handle)...)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return out, fmt.Errorf("read the counter of a rule in chain %s: %w", ch.name, err)
		}
	}
	return out, nil
}

// moved is how far a rule's counter went since the baseline; false if there is no
// baseline.
func (r *Reader) moved(s *space, rl *rule, now uint64) (uint64, bool) {
	if !r.based[s.inode] {
		return 0, false
	}
	for _, c := range r.base[keyOf(s.inode, rl.chain)] {
		if c.handle == rl.handle && c.packets <= now {
			return now - c.packets, true
		}
	}
	return now, true // it is new, or its counter was reset
}

// packets is the rule's counter. A counter that stands before the rule's last
// match counts packets that the rule does not act on, so only one after it
// counts.
func (r *rule) packets() (uint64, bool) {
	if r.counted {
		return r.count, true
	}
	if r.raw != nil {
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
