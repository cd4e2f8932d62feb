package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	mdl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

// Attributes of ctnetlink (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctGet           = 1
	ctaTupleOrig    = 1
	ctaTupleReply   = 2
	ctaStatus       = 3
	ctaProtoinfo    = 4
	ctaTimeout      = 7
	ctaMark         = 8
	ctaZone         = 18
	ctaTimestamp    = 20
	ctaTupleIP      = 1
	ctaTupleProto   = 2
	ctaIPv4Src      = 1
	ctaIPv6Src      = 3
	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoICMPID  = 4
	ctaProtoICMP6ID = 7
)

// tcpStates are enum tcp_conntrack (linux/netfilter/nf_conntrack_tcp.h).
var tcpStates = []string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}

// tracked asks conntrack for the flow's entry. It asks for one tuple and never
// for the table, which may have a quarter of a million entries.
func (c *collector) tracked() {
	if v := c.inside(c.n.hostInode); v != nil {
		c.trackedIn(v.file)
	}
}

// blindTracked is what is not known if that fails.
const blindTracked = "the flow's conntrack entry"

// Retracked is what was collected for another flow between the same ends, with
// conntrack's entry for this one, as it is now. The facts given are left as they are.
func (n *Node) Retracked(q tracer.Query, facts *tracer.NodeFacts) *tracer.NodeFacts {
	c := &collector{n: n, q: q, fwd: q.Translated, facts: *facts}
	if !c.fwd.IsValid() {
		c.fwd = q.Flow
	}
	c.facts.At, c.facts.Tracked, c.facts.TrackedRead = time.Now(), nil, false
	c.facts.Blind = slices.DeleteFunc(slices.Clone(facts.Blind), func(b tracer.Blind) bool { return b.What == blindTracked })
	f, err := n.OpenNetNS(n.hostInode)
	if err != nil {
		c.blind(blindTracked, err)
		return &c.facts
	}
	defer f.Close()
	c.trackedIn(f)
	return &c.facts
}

// trackedIn asks in the node's own namespace.
func (c *collector) trackedIn(host *os.File) {
	zone := uint16(0)
	for i := range c.q.Drops {
		if ct := c.q.Drops[i].Conn; ct != nil && ct.Zone != 0 {
			zone = ct.Zone
		}
	}
	err := netns.Do(int(host.Fd()), func() error {
		for _, t := range []tracer.Tuple{c.q.Flow, c.fwd.Reverse()} {
			f, ok, err := trackedEntry(t, zone)
			if err != nil {
				return err
			}
			if ok && (len(c.facts.Tracked) == 0 || c.facts.Tracked[0].Orig != f.Orig) {
				f.NetNS = c.n.hostInode
				c.facts.Tracked = append(c.facts.Tracked, f)
			}
		}
		c.facts.TrackedRead = true
		return nil
	})
	if err != nil {
		c.blind(blindTracked, err)
	}
}

// trackedEntry looks up the entry that has a tuple in either direction.
func trackedEntry(t tracer.Tuple, zone uint16) (f tracer.TrackedFact, ok bool, err error) {
	tuple, err := encodeTuple(t)
	if err != nil {
		return f, false, err
	}
	as := []mdl.Attribute{{Type: ctaTupleOrig | unix.NLA_F_NESTED, Data: tuple}}
	if zone != 0 {
		as = append(as, mdl.Attribute{Type: ctaZone, Data: binary.BigEndian.AppendUint16(nil, zone)})
	}
	body, err := mdl.MarshalAttributes(as)
	if err != nil {
		return f, false, err
	}
	conn, err := mdl.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return f, false, fmt.Errorf("open nfnetlink: %w", err)
	}
	defer conn.Close()
	ms, err := conn.Execute(mdl.Message{Header: mdl.Header{Type: mdl.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | ctGet), Flags: mdl.Request | mdl.Acknowledge},
		Data: append([]byte{familyOf(t), unix.NFNETLINK_V0, 0, 0}, body...)})
	if errors.Is(err, unix.ENOENT) {
		return f, false, nil
	}
	if err != nil {
		return f, false, fmt.Errorf("ask conntrack for %s: %w", t, err)
	}
	for _, m := range ms {
		if len(m.Data) >= 4 {
			f, err = decodeTracked(m.Data[4:], time.Now())
			return f, err == nil, err
		}
	}
	return f, false, nil
}

func familyOf(t tracer.Tuple) byte {
	if t.Src.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func encodeTuple(t tracer.Tuple) ([]byte, error) {
	ip := uint16(ctaIPv4Src)
	if t.Src.Addr().Is6() {
		ip = ctaIPv6Src
	}
	ips, err := mdl.MarshalAttributes([]mdl.Attribute{{Type: ip, Data: t.Src.Addr().AsSlice()}, {Type: ip + 1, Data: t.Dst.Addr().AsSlice()}})
	if err != nil {
		return nil, err
	}
	be := func(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
	ps := []mdl.Attribute{{Type: ctaProtoNum, Data: []byte{t.Proto}}}
	switch t.Proto {
	case tracer.ProtoICMP: // id, type and code of an echo request
		ps = append(ps, mdl.Attribute{Type: ctaProtoICMPID, Data: be(t.Src.Port())}, mdl.Attribute{Type: ctaProtoICMPID + 1, Data: []byte{8}}, mdl.Attribute{Type: ctaProtoICMPID + 2, Data: []byte{0}})
	case tracer.ProtoICMPv6:
		ps = append(ps, mdl.Attribute{Type: ctaProtoICMP6ID, Data: be(t.Src.Port())}, mdl.Attribute{Type: ctaProtoICMP6ID + 1, Data: []byte{128}}, mdl.Attribute{Type: ctaProtoICMP6ID + 2, Data: []byte{0}})
	default:
		ps = append(ps, mdl.Attribute{Type: ctaProtoSrcPort, Data: be(t.Src.Port())}, mdl.Attribute{Type: ctaProtoSrcPort + 1, Data: be(t.Dst.Port())})
	}
	protos, err := mdl.MarshalAttributes(ps)
	if err != nil {
		return nil, err
	}
	return mdl.MarshalAttributes([]mdl.Attribute{{Type: ctaTupleIP | unix.NLA_F_NESTED, Data: ips}, {Type: ctaTupleProto | unix.NLA_F_NESTED, Data: protos}})
}

var errTracked = errors.New("conntrack's answer has an unknown shape")

// decodeTracked decodes one entry without its header.
func decodeTracked(b []byte, now time.Time) (f tracer.TrackedFact, err error) {
	as, err := parseAttrs(b)
	if err != nil {
		return f, err
	}
	for _, a := range as {
		switch {
		case a.typ == ctaTupleOrig:
			f.Orig, err = decodeTuple(a.value)
		case a.typ == ctaTupleReply:
			f.Reply, err = decodeTuple(a.value)
		case a.typ == ctaStatus && len(a.value) >= 4:
			f.Status = be32(a.value)
		case a.typ == ctaMark && len(a.value) >= 4:
			f.Mark = be32(a.value)
		case a.typ == ctaTimeout && len(a.value) >= 4:
			f.Timeout = time.Duration(be32(a.value)) * time.Second
		case a.typ == ctaZone && len(a.value) >= 2:
			f.Zone = binary.BigEndian.Uint16(a.value)
		case a.typ == ctaProtoinfo:
			f.State = tcpState(a.value)
		case a.typ == ctaTimestamp:
			f.Age = age(a.value, now)
		}
		if err != nil {
			return f, err
		}
	}
	if !f.Orig.IsValid() || !f.Reply.IsValid() {
		return f, errTracked
	}
	return f, nil
}

// inner finds one attribute of a nested one.
func inner(b []byte, typ uint16) []byte {
	as, err := parseAttrs(b)
	if err != nil {
		return nil
	}
	for _, a := range as {
		if a.typ == typ {
			return a.value
		}
	}
	return nil
}

func tcpState(b []byte) string {
	const tcp, state = 1, 1
	s := inner(inner(b, tcp), state)
	if len(s) == 0 || int(s[0]) >= len(tcpStates) {
		return ""
	}
	return tcpStates[s[0]]
}

// age reads CTA_TIMESTAMP_START, nanoseconds of the wall clock.
func age(b []byte, now time.Time) time.Duration {
	s := inner(b, 1)
	if len(s) < 8 {
		return 0
	}
	return max(now.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(s)))), 0)
}

func decodeTuple(b []byte) (t tracer.Tuple, err error) {
	ip, proto := inner(b, ctaTupleIP), inner(b, ctaTupleProto)
	addr := func(v4, v6 uint16) netip.Addr {
		a, ok := netip.AddrFromSlice(inner(ip, v4))
		if !ok {
			a, _ = netip.AddrFromSlice(inner(ip, v6))
		}
		return a
	}
	src, dst := addr(ctaIPv4Src, ctaIPv6Src), addr(ctaIPv4Src+1, ctaIPv6Src+1)
	n := inner(proto, ctaProtoNum)
	if !src.IsValid() || !dst.IsValid() || len(n) == 0 {
		return t, errTracked
	}
	port := func(typ uint16) uint16 {
		if p := inner(proto, typ); len(p) >= 2 {
			return binary.BigEndian.Uint16(p)
		}
		return 0
	}
	t.Proto = n[0]
	sport, dport := port(ctaProtoSrcPort), port(ctaProtoSrcPort+1)
	switch t.Proto {
	case tracer.ProtoICMP:
		sport = port(ctaProtoICMPID)
		dport = sport
	case tracer.ProtoICMPv6:
		sport = port(ctaProtoICMP6ID)
		dport = sport
	}
	t.Src, t.Dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	return t, nil
}
