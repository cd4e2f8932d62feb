package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ruleBuffer is the size of nf_tables sockets' buffers in bytes.
const ruleBuffer = 4 << 20

// exprs is a piece of a rule.
type exprs []expr.Any

// ruleset writes tables into one namespace, as one transaction.
type ruleset struct {
	conn *nftables.Conn
	sets uint32
	errs []error
}

func (s *space) ruleset() (*ruleset, error) {
	// The kernel answers every message of a batch; with the default buffer a
	// batch of some hundred overruns it (ENOBUFS).
	roomy := func(c *mdnetlink.Conn) error {
		return errors.Join(c.SetReadBuffer(ruleBuffer), c.SetWriteBuffer(ruleBuffer))
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(s.ns)), nftables.WithSockOptions(roomy))
	if err != nil {
		return nil, fmt.Errorf("open nf_tables in %s: %w", s.name, err)
	}
	return &ruleset{conn: conn}, nil
}

// write collects the changes that f makes and commits them.
func (s *space) write(f func(*ruleset)) error {
	r, err := s.ruleset()
	if err != nil {
		return err
	}
	f(r)
	if err := errors.Join(r.errs...); err != nil {
		return err
	}
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("commit rules in %s: %w", s.name, err)
	}
	return nil
}

// replace starts a table anew, whether or not it exists.
func (r *ruleset) replace(family nftables.TableFamily, name string) *table {
	t := &nftables.Table{Family: family, Name: name}
	r.conn.AddTable(t)
	r.conn.DelTable(t)
	return &table{r: r, t: r.conn.AddTable(t)}
}

// remove deletes a table, whether or not it exists.
func (r *ruleset) remove(family nftables.TableFamily, name string) {
	t := &nftables.Table{Family: family, Name: name}
	r.conn.AddTable(t)
	r.conn.DelTable(t)
}

// table is one table under construction.
type table struct {
	r *ruleset
	t *nftables.Table
}

func (t *table) six() bool  { return t.t.Family == nftables.TableFamilyIPv6 }
func (t *table) inet() bool { return t.t.Family == nftables.TableFamilyINet }

func (t *table) chain(name string) *nftables.Chain {
	return t.r.conn.AddChain(&nftables.Chain{Table: t.t, Name: name})
}

func (t *table) base(name string, typ nftables.ChainType, hook *nftables.ChainHook, prio nftables.ChainPriority, pol nftables.ChainPolicy) *nftables.Chain {
	return t.r.conn.AddChain(&nftables.Chain{
		Table: t.t, Name: name, Type: typ, Hooknum: hook, Priority: &prio, Policy: &pol,
	})
}

func (t *table) filter(name string, hook *nftables.ChainHook, prio nftables.ChainPriority) *nftables.Chain {
	return t.base(name, nftables.ChainTypeFilter, hook, prio, nftables.ChainPolicyAccept)
}

func (t *table) nat(name string, hook *nftables.ChainHook, prio nftables.ChainPriority) *nftables.Chain {
	return t.base(name, nftables.ChainTypeNAT, hook, prio, nftables.ChainPolicyAccept)
}

func (t *table) rule(c *nftables.Chain, comment string, parts ...exprs) {
	rule := &nftables.Rule{Table: t.t, Chain: c}
	for _, p := range parts {
		rule.Exprs = append(rule.Exprs, p...)
	}
	if comment != "" {
		rule.UserData = userdata.AppendString(nil, userdata.TypeComment, comment)
	}
	t.r.conn.AddRule(rule)
}

func (t *table) set(s *nftables.Set, elems []nftables.SetElement) *nftables.Set {
	s.Table = t.t
	// An id is needed that is unique in the transaction. The library (v0.3.0)
	// counts in a variable that all its connections share without a lock, so two
	// labs at once could get one id twice.
	t.r.sets++
	s.ID = t.r.sets
	if s.Anonymous {
		s.Name = "__map%d"
	}
	if err := t.r.conn.AddSet(s, elems); err != nil {
		t.r.errs = append(t.r.errs, fmt.Errorf("add set %s: %w", s.Name, err))
	}
	return s
}

// The pieces below are laid out as nft(8) writes them, since readers of rules
// know that layout.

const reg = 1

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

func native32(v uint32) []byte { return binaryutil.NativeEndian.PutUint32(v) }

func meta(k expr.MetaKey, op expr.CmpOp, data []byte) exprs {
	return exprs{&expr.Meta{Key: k, Register: reg}, &expr.Cmp{Op: op, Register: reg, Data: data}}
}

func (t *table) family(six bool) exprs {
	if !t.inet() {
		return nil
	}
	proto := byte(unix.NFPROTO_IPV4)
	if six {
		proto = unix.NFPROTO_IPV6
	}
	return meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{proto})
}

type field int

const (
	saddr field = iota
	daddr
)

func (f field) load(six bool) *expr.Payload {
	off, size := uint32(12), uint32(4)
	if six {
		off, size = 8, 16
	}
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: off + uint32(f)*size, Len: size}
}

// is matches an address or prefix: "ip daddr 10.0.0.1", "ip6 saddr fd00::/64".
func (t *table) is(f field, p netip.Prefix) exprs { return t.match(f, p, expr.CmpOpEq) }

func (t *table) not(f field, p netip.Prefix) exprs { return t.match(f, p, expr.CmpOpNeq) }

func (t *table) match(f field, p netip.Prefix, op expr.CmpOp) exprs {
	six := p.Addr().Is6()
	out := append(t.family(six), f.load(six))
	if p.Bits() < p.Addr().BitLen() {
		out = append(out, &expr.Bitwise{
			SourceRegister: reg, DestRegister: reg, Len: uint32(p.Addr().BitLen() / 8),
			Mask: ipNet(p).Mask, Xor: make([]byte, p.Addr().BitLen()/8),
		})
	}
	return append(out, &expr.Cmp{Op: op, Register: reg, Data: p.Masked().Addr().AsSlice()})
}

func l4proto(proto string) byte {
	if proto == "UDP" || proto == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}

func l4(proto string) exprs { return meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{l4proto(proto)}) }

// port matches "tcp dport 80" (offset 2) or "tcp sport 80" (offset 0).
func port(proto string, offset uint32, n uint16) exprs {
	return append(l4(proto),
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: be16(n)},
	)
}

func dport(proto string, n uint16) exprs { return port(proto, 2, n) }
func sport(proto string, n uint16) exprs { return port(proto, 0, n) }

// ctZone has conntrack look for the connection in another zone.
func ctZone(n uint16) exprs {
	return exprs{
		&expr.Immediate{Register: reg, Data: binary.NativeEndian.AppendUint16(nil, n)},
		&expr.Ct{Key: expr.CtKeyZONE, Register: reg, SourceRegister: true},
	}
}

func ctState(bits uint32) exprs {
	return exprs{
		&expr.Ct{Key: expr.CtKeySTATE, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: native32(bits), Xor: native32(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: native32(0)},
	}
}

// markSet matches a mark bit that is set (or not).
func markBit(bit uint32, set bool) exprs {
	op := expr.CmpOpEq
	if set {
		op = expr.CmpOpNeq
	}
	return exprs{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: native32(bit), Xor: native32(0)},
		&expr.Cmp{Op: op, Register: reg, Data: native32(0)},
	}
}

// changeMark does "meta mark set (mark & mask) ^ xor".
func changeMark(mask, xor uint32) exprs {
	return exprs{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: native32(mask), Xor: native32(xor)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true},
	}
}

func counter() exprs { return exprs{&expr.Counter{}} }

func verdict(k expr.VerdictKind) exprs { return exprs{&expr.Verdict{Kind: k}} }

func drop() exprs   { return append(counter(), verdict(expr.VerdictDrop)...) }
func accept() exprs { return verdict(expr.VerdictAccept) }
func ret() exprs    { return verdict(expr.VerdictReturn) }

func jump(c *nftables.Chain) exprs {
	return exprs{&expr.Verdict{Kind: expr.VerdictJump, Chain: c.Name}}
}

// reject answers with ICMP port unreachable, as "reject" alone does.
func (t *table) reject() exprs {
	switch {
	case t.inet():
		return exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
	case t.six():
		return exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 4}}
	}
	return exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}}
}

// dnat translates the destination. port 0 keeps the port.
func dnat(to netip.AddrPort) exprs {
	fam := uint32(unix.NFPROTO_IPV4)
	if to.Addr().Is6() {
		fam = unix.NFPROTO_IPV6
	}
	return exprs{
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: be16(to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: fam, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}

func masquerade() exprs { return exprs{&expr.Masq{FullyRandom: true}} }

// snat is "meta l4proto tcp snat to ADDRESS:PORT".
func snat(proto string, to netip.AddrPort) exprs {
	x := dnat(to)
	if nat, ok := x[len(x)-1].(*expr.NAT); ok {
		nat.Type = expr.NATTypeSourceNAT
	}
	return append(l4(proto), x...)
}

// firstOnly matches one packet a day: the first.
func firstOnly() exprs {
	return exprs{&expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeDay, Burst: 1}}
}
