package rules

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	pnetns "github.com/podpath/podpath/tracer/netns"
)

// The tests write rules with google/nftables, so that what the package decodes
// was encoded by somebody else and accepted by the kernel.

type es = []expr.Any

func cat(parts ...es) (out es) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func addr(off, n uint32, p netip.Prefix) es {
	mask := net.CIDRMask(p.Bits(), p.Addr().BitLen())
	return es{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: off, Len: n},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: n, Mask: mask, Xor: make([]byte, n)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()}}
}

func from(cidr string) es { return addr(12, 4, netip.MustParsePrefix(cidr)) }
func to(cidr string) es   { return addr(16, 4, netip.MustParsePrefix(cidr)) }

func l4(p uint8) es {
	return es{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}}}
}

func dport(n uint16) es {
	return es{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: be16(n)}}
}

func udp(n uint16) es { return cat(l4(unix.IPPROTO_UDP), dport(n)) }

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func state(bits uint32) es {
	return es{&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}}
}

func iifname(s string) es {
	return es{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(s), make([]byte, 16-len(s))...)}}
}

func oifname(s string) es {
	return es{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(s), make([]byte, 16-len(s))...)}}
}

// strange is a match that this package does not understand.
func strange() es {
	return es{&expr.Rt{Register: 1, Key: expr.RtClassid}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 0, 0, 0}}}
}

func count() es             { return es{&expr.Counter{}} }
func drop() es              { return es{&expr.Verdict{Kind: expr.VerdictDrop}} }
func accept() es            { return es{&expr.Verdict{Kind: expr.VerdictAccept}} }
func ret() es               { return es{&expr.Verdict{Kind: expr.VerdictReturn}} }
func jump(c string) es      { return es{&expr.Verdict{Kind: expr.VerdictJump, Chain: c}} }
func gotoChain(c string) es { return es{&expr.Verdict{Kind: expr.VerdictGoto, Chain: c}} }
func rejectPort() es        { return es{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}} }
func vmap(s *nftables.Set) es {
	return es{&expr.Lookup{SourceRegister: 1, IsDestRegSet: true, SetName: s.Name, SetID: s.ID}}
}
func inSet(s *nftables.Set) es {
	return es{&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID}}
}

// frontend loads ip daddr . meta l4proto . th dport as kube-proxy does.
func frontend() es {
	return es{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 9},
		&expr.Payload{DestRegister: 10, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
}

func frontendKey(a string, proto byte, port uint16) []byte {
	x := netip.MustParseAddr(a).As4()
	return append(append(x[:], proto, 0, 0, 0), append(be16(port), 0, 0)...)
}

// lab is a client and a server with a node between them that forwards.
type lab struct {
	t                    testing.TB
	client, node, server *os.File
	nft                  *nftables.Conn
	r                    *Reader
}

const (
	clientIP = "10.7.0.2"
	serverIP = "10.8.0.2"
)

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, client: newNS(t, "client"), node: newNS(t, "node"), server: newNS(t, "server")}
	wire(t, l.node, "in0", "10.7.0.1/24", l.client, "eth0", clientIP+"/24")
	wire(t, l.node, "out0", "10.8.0.1/24", l.server, "eth0", serverIP+"/24")
	defaultVia(t, l.client, "10.7.0.1")
	defaultVia(t, l.server, "10.8.0.1")
	must(t, pnetns.Do(int(l.node.Fd()), func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) }))
	c, err := nftables.New(nftables.WithNetNSFd(int(l.node.Fd())))
	must(t, err)
	l.nft = c
	l.r = reader(t, l.node)
	return l
}

func (l *lab) table(f nftables.TableFamily, name string) *nftables.Table {
	return l.nft.AddTable(&nftables.Table{Family: f, Name: name})
}

func (l *lab) base(t *nftables.Table, name string, hook *nftables.ChainHook, prio int32, policy nftables.ChainPolicy) *nftables.Chain {
	p := nftables.ChainPriority(prio)
	return l.nft.AddChain(&nftables.Chain{Table: t, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &p, Policy: &policy})
}

func (l *lab) natBase(t *nftables.Table, name string, hook *nftables.ChainHook, prio int32) *nftables.Chain {
	p := nftables.ChainPriority(prio)
	return l.nft.AddChain(&nftables.Chain{Table: t, Name: name, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: &p})
}

func (l *lab) chain(t *nftables.Table, name string) *nftables.Chain {
	return l.nft.AddChain(&nftables.Chain{Table: t, Name: name})
}

func (l *lab) rule(c *nftables.Chain, comment string, parts ...es) {
	r := &nftables.Rule{Table: c.Table, Chain: c, Exprs: cat(parts...)}
	if comment != "" {
		r.UserData = userdata.AppendString(nil, userdata.TypeComment, comment)
	}
	l.nft.AddRule(r)
}

func (l *lab) flush() { l.t.Helper(); must(l.t, l.nft.Flush()) }

func (l *lab) flow(port uint16) tracer.Tuple {
	return tracer.Tuple{Src: netip.MustParseAddrPort(clientIP + ":40000"), Dst: netip.AddrPortFrom(netip.MustParseAddr(serverIP), port), Proto: tracer.ProtoUDP}
}

// send sends one datagram from the client, and says whether the server got it.
func (l *lab) send(port uint16) bool {
	l.t.Helper()
	got := false
	var in net.PacketConn
	must(l.t, pnetns.Do(int(l.server.Fd()), func() (err error) {
		in, err = net.ListenPacket("udp4", netip.AddrPortFrom(netip.MustParseAddr(serverIP), port).String())
		return err
	}))
	defer in.Close()
	must(l.t, pnetns.Do(int(l.client.Fd()), func() error {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(clientIP), Port: 40000}, &net.UDPAddr{IP: net.ParseIP(serverIP), Port: int(port)})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return err
	}))
	_ = in.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	b := make([]byte, 8)
	if _, _, err := in.ReadFrom(b); err == nil {
		got = true
	}
	return got
}

// warm sends until the path works: links come up and neighbours are found in
// their own time.
func (l *lab) warm(port uint16) {
	l.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !l.send(port); {
		if time.Now().After(deadline) {
			l.t.Fatal("the lab does not forward")
		}
	}
}

// site is the drop as the kernel would show it in the node's FORWARD hook.
func (l *lab) site(port uint16) tracer.DropSite {
	dev := tracer.DeviceKey{NetNS: inodeOf(l.t, l.node), IfIndex: linkIndex(l.t, l.node, "in0")}
	return tracer.DropSite{Device: dev, InDevice: dev, Tuple: l.flow(port),
		Drop: tracer.Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain", Stage: tracer.StageForward, Engine: "nftables"}}
}

func (l *lab) query(port uint16) tracer.Query {
	return tracer.Query{Flow: l.flow(port), Drops: []tracer.DropSite{l.site(port)}}
}

func (l *lab) collect(q tracer.Query) Result {
	l.t.Helper()
	ctx, cancel := testContext()
	defer cancel()
	begun := time.Now()
	res := l.r.Collect(ctx, q)
	l.t.Logf("collected in %v: %+v", time.Since(begun), res.Rules)
	for _, b := range res.Blind {
		l.t.Logf("blind: %+v", b)
	}
	return res
}

// storm sends many datagrams from the client, as fast as it can.
func (l *lab) storm(port uint16, n int) int {
	l.t.Helper()
	must(l.t, pnetns.Do(int(l.client.Fd()), func() error {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(clientIP), Port: 40000}, &net.UDPAddr{IP: net.ParseIP(serverIP), Port: int(port)})
		if err != nil {
			return err
		}
		defer c.Close()
		for range n {
			_, _ = c.Write([]byte("x"))
		}
		return nil
	}))
	return n
}
