package rules

import "time"

// family is an nf_tables family (NFPROTO_*).
type family uint8

const (
	famINet   family = 1
	famIP     family = 2
	famARP    family = 3
	famNetdev family = 5
	famBridge family = 7
	famIP6    family = 10
)

func (f family) String() string {
	switch f {
	case famINet:
		return "inet"
	case famIP:
		return "ip"
	case famARP:
		return "arp"
	case famNetdev:
		return "netdev"
	case famBridge:
		return "bridge"
	case famIP6:
		return "ip6"
	}
	return "unknown"
}

// ruleset is everything read from one namespace by one engine.
type ruleset struct {
	tables []*table
	// byKey has the tables of nf_tables.
	byKey map[tableKey]*table
	// fetched counts the chains whose rules were asked for.
	fetched int
}

type tableKey struct {
	family family
	name   string
}

type table struct {
	tableKey
	handle uint64
	// dormant tables are not hooked: no packet meets them.
	dormant bool
	engine  string // "nftables", "iptables-nft" or "iptables-legacy"
	chains  map[string]*chain
	order   []*chain
	// sum and info are as in xtable, when the rules of iptables-legacy were read.
	sum  uint64
	info xtInfo
	sets map[string]*set // those that were asked for; nil stands for none
	// findSet reads what a set is; nil where all are known.
	findSet func(name string) *set
	// ipsetName finds the name of a set of ipset, "" if it is not known; nil in
	// rules read as text, which have the names.
	ipsetName func(index uint16) string
}

type chain struct {
	table  *table
	name   string
	handle uint64
	base   *base // nil for a chain that is only jumped to
	rules  []*rule
	// fetch reads the rules; nil where they were read.
	fetch func(*chain)
}

// all are the rules, which are read when they are first asked for: of a big rule
// set, a packet meets few chains.
func (c *chain) all() []*rule {
	if c.fetch != nil {
		c.fetch(c)
	}
	return c.rules
}

// base is what hooks a chain to the packet path.
type base struct {
	hook   uint32
	prio   int32
	typ    string // "filter", "nat", "route"
	drop   bool   // the policy is drop
	device string
}

type rule struct {
	chain   *chain
	handle  uint64
	index   int    // from 1, as iptables --line-numbers counts
	raw     []byte // expressions as the kernel sent them
	exprs   []any  // those that were asked for
	left    []byte // of raw, not decoded yet
	begun   bool
	comment string
	// text is set for rules that were read as text, unparsed until they were asked
	// for what it says. Such rules count all that they act on.
	text     string
	unparsed bool
	counted  bool
	count    uint64
}

func (t *table) chain(name string) *chain { return t.chains[name] }

// set finds one by its name, nil if there is none.
func (t *table) set(name string) *set {
	s, known := t.sets[name]
	if !known && t.findSet != nil {
		s = t.findSet(name)
		t.sets[name] = s
	}
	return s
}

func (t *table) addChain(c *chain) {
	c.table = t
	t.chains[c.name] = c
	t.order = append(t.order, c)
}

func newTable(k tableKey) *table {
	return &table{tableKey: k, engine: "nftables", chains: map[string]*chain{}, sets: map[string]*set{}}
}

// set is a set or map; elements are read when first asked for.
type set struct {
	name     string
	id       uint32
	isMap    bool
	interval bool
	dynamic  bool // packets add elements
	timeout  time.Duration
	// opaque: the set says something of itself that is not understood.
	opaque   bool
	size     int  // the most elements it takes, 0 if there is no limit
	verdicts bool // a verdict map
	keyLen   int
	fields   []int // lengths of a concatenation's fields, in bytes
	elems    []element
	load     func() ([]element, error)
	loaded   bool
	err      error
}

type element struct {
	key, keyEnd []byte
	end         bool // end of an interval, exclusive
	catchAll    bool
	data        []byte
	verdict     *verdict
	comment     string
	// doubtful: whether it matches is not for the key alone to say.
	doubtful bool
}

// elements reads them once.
func (s *set) elements() ([]element, error) {
	if !s.loaded {
		s.loaded = true
		if s.load != nil {
			s.elems, s.err = s.load()
		}
	}
	return s.elems, s.err
}

// The expressions. Registers are byte offsets into a file of 64 bytes.
type (
	payload struct {
		base     uint32
		off, len int
		dreg     int
	}
	// rewrite changes bytes of the packet to something that is not known.
	rewrite struct {
		base     uint32
		off, len int
	}
	meta struct {
		key  uint32
		dreg int
		sreg int // -1 unless it sets the packet's value
	}
	ct struct {
		key  uint32
		dir  int // -1 if not given
		dreg int
		sreg int
	}
	cmp struct {
		op   uint32
		sreg int
		data []byte
	}
	bitwise struct {
		sreg, dreg, len int
		mask, xor       []byte
	}
	byteorder struct {
		sreg, dreg, len, size int
	}
	rangeCmp struct {
		op       uint32
		sreg     int
		from, to []byte
	}
	lookup struct {
		set    string
		setID  uint32
		sreg   int
		dreg   int // -1: a plain match; verdictReg: a verdict map
		invert bool
	}
	immediate struct {
		dreg int
		data []byte
	}
	verdict struct {
		kind  int32
		chain string
	}
	fib struct {
		dreg          int
		result, flags uint32
	}
	nat struct {
		dnat bool
		// family is that of the address, 0 if the table has only one; packets of
		// the other pass.
		family                               family
		addrMin, addrMax, protoMin, protoMax int // -1 if not given
		addr                                 []byte
		port                                 uint16
	}
	masq  struct{}
	redir struct{ protoMin int }
	// reject carries nft's type and code.
	reject struct {
		typ  uint32
		code uint8
		text string
	}
	queue   struct{ num uint16 }
	counter struct{ packets uint64 }
	// loads puts an unknowable value into a register (numgen, jhash, rt).
	loads struct {
		dreg, len int
		text      string
		value     []byte // if it can only be this one
		// breaks: the rule does not match where there is no such value.
		breaks bool
	}
	// dynset adds to a set, and does not match where the set is full.
	dynset struct {
		set    string
		always bool // surely matches
		never  bool // cannot be told
	}
	// maybe is a match that packets alone do not decide (limit, quota).
	maybe struct{ text string }
	// stays is a match on who was here before (xt_recent): in it how long ago at
	// most, 0 if that does not matter. Whether it matches, packets alone do not
	// decide.
	stays struct {
		text   string
		within time.Duration
	}
	// effect changes nothing that matters for the verdict (log, notrack).
	effect struct{ text string }
	// test is a match that was understood from an xtables match.
	test struct {
		text string
		run  func(*machine) tri
	}
	// setMark is -j MARK: mark = mark &^ mask ^ value.
	setMark struct{ mask, value uint32 }
	// connmark is -j CONNMARK: it moves marks between packet and connection.
	connmark struct {
		restore        bool
		ctMask, nfMask uint32
		known          bool
	}
	// untrack ends or changes the tracking of the connection.
	untrack struct {
		text string
		// whole: the connection is not tracked at all.
		whole bool
		zone  ctZone
	}
	// unknown is an expression that is not understood.
	unknown struct {
		name string
		// acts: it is no mere match. It may end the walk, drop the packet, or
		// change registers and marks.
		acts bool
	}
)

// verdictReg is the register that ends a rule.
const verdictReg = -2

// Verdict codes (linux/netfilter/nf_tables.h, enum nft_verdicts, and
// linux/netfilter.h).
const (
	vDrop     int32 = 0
	vAccept   int32 = 1
	vStolen   int32 = 2
	vQueue    int32 = 3
	vContinue int32 = -1
	vBreak    int32 = -2
	vJump     int32 = -3
	vGoto     int32 = -4
	vReturn   int32 = -5
)
