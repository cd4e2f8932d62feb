package probe

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// nft runs f on a connection to the namespace's nf_tables and commits.
func (s *space) nft(f func(c *nftables.Conn)) {
	s.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(s.fd)))
	s.must(err)
	f(c)
	s.must(c.Flush())
}

// chain makes a base chain of family inet, or ip for NAT.
func chain(c *nftables.Conn, kind nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "t"})
	return c.AddChain(&nftables.Chain{Table: t, Name: string(kind) + prioName(prio) + hookName(hook), Type: kind, Hooknum: hook, Priority: prio})
}

func prioName(p *nftables.ChainPriority) string { return string(rune('a' + (int32(*p)+300)%26)) }
func hookName(h *nftables.ChainHook) string     { return string(rune('a' + int(*h))) }

func matchProtoPort(proto uint8, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

func matchFamily(a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(nfFamily(a))}},
	}
}

func matchDst(a netip.Addr) []expr.Any {
	off, n := uint32(16), uint32(4)
	if a.Is6() {
		off, n = 24, 16
	}
	return append(matchFamily(a),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: off, Len: n},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()})
}

func nfFamily(a netip.Addr) uint32 {
	if a.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// dnat translates from to, as a Service would be.
func (s *space) dnat(from, to netip.AddrPort, proto uint8) {
	s.nft(func(c *nftables.Conn) {
		ch := chain(c, nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
		rule := append(matchDst(from.Addr()), matchProtoPort(proto, from.Port())...)
		c.AddRule(&nftables.Rule{Table: ch.Table, Chain: ch, Exprs: append(rule,
			&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: nfFamily(to.Addr()), RegAddrMin: 1, RegProtoMin: 2})})
	})
}

// masquerade translates the source of everything sent to dst.
func (s *space) masquerade(dst netip.Addr) {
	s.nft(func(c *nftables.Conn) {
		ch := chain(c, nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
		c.AddRule(&nftables.Rule{Table: ch.Table, Chain: ch, Exprs: append(matchDst(dst), &expr.Masq{})})
	})
}

// dropAt drops a protocol's port in a hook.
func (s *space) dropAt(hook *nftables.ChainHook, proto uint8, port uint16) {
	s.nft(func(c *nftables.Conn) {
		ch := chain(c, nftables.ChainTypeFilter, hook, nftables.ChainPriorityFilter)
		c.AddRule(&nftables.Rule{Table: ch.Table, Chain: ch, Exprs: append(matchProtoPort(proto, port),
			&expr.Verdict{Kind: expr.VerdictDrop})})
	})
}
