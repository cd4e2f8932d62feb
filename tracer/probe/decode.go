package probe

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"unsafe"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
)

// errRecord means that a ring buffer record is none of ours.
var errRecord = errors.New("record of unknown size")

// What a record may end with (struct event in bpf/include/types.h).
const (
	plainSize = int(unsafe.Offsetof(bpf.TraceEvent{}.Orig))
	ctSize    = int(unsafe.Offsetof(bpf.TraceEvent{}.Aux))
	eventSize = int(unsafe.Sizeof(bpf.TraceEvent{}))
	dropSize  = int(unsafe.Sizeof(bpf.TraceDropEvent{}))
)

// decode copies a record into the generated type. The length says which of its
// parts it has.
func decode(data []byte) (*bpf.TraceDropEvent, error) {
	if len(data) < plainSize || len(data) > dropSize {
		return nil, errRecord
	}
	var raw bpf.TraceDropEvent
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&raw)), dropSize), data)
	if len(data) != recordSize(&raw.Event, len(data)) {
		return nil, errRecord
	}
	return &raw, nil
}

// recordSize is how long the record of this event is. One that has room for the
// conntrack tuples may lack them: the entry could not be read.
func recordSize(e *bpf.TraceEvent, have int) int {
	switch {
	case e.Kind == bpf.TraceKindKIND_DROP:
		return dropSize
	case e.Flags&(bpf.TraceEventFlagEVENT_INNER|bpf.TraceEventFlagEVENT_QUOTED) != 0:
		return eventSize
	case e.Flags&bpf.TraceEventFlagEVENT_CT != 0 || have == ctSize:
		return ctSize
	}
	return plainSize
}

// event converts all but time, number and drop.
func event(raw *bpf.TraceEvent) tracer.Event {
	has := func(f bpf.TraceEventFlag) bool { return raw.Flags&f != 0 }
	e := tracer.Event{
		MonoNS:     raw.MonoNs,
		Kind:       kindName(raw.Kind),
		NetNS:      raw.Netns,
		IfIndex:    raw.Ifindex,
		InIfIndex:  raw.Iif,
		SKB:        raw.Skb,
		Tuple:      tuple(&raw.Tuple),
		ARP:        has(bpf.TraceEventFlagEVENT_ARP),
		Len:        raw.Len,
		Mark:       raw.Mark,
		TTL:        raw.Ttl,
		IPID:       raw.IpId,
		DF:         has(bpf.TraceEventFlagEVENT_DF),
		Frag:       has(bpf.TraceEventFlagEVENT_FRAG),
		GSOSegs:    raw.GsoSegs,
		TCPFlags:   raw.TcpFlags,
		TCPSeq:     raw.Seq,
		TCPAck:     raw.Ack,
		Payload:    raw.Payload,
		Retransmit: has(bpf.TraceEventFlagEVENT_RETRANSMIT),
		ICMPType:   raw.IcmpType,
		ICMPCode:   raw.IcmpCode,
		ICMPMTU:    raw.IcmpMtu,
	}
	if has(bpf.TraceEventFlagEVENT_DNS) {
		e.TCPSeq, e.TCPAck, e.DNS = 0, 0, dnsOf(raw)
	}
	if has(bpf.TraceEventFlagEVENT_INNER) {
		e.Inner = &tracer.Inner{
			Tunnel:   tunnelName(raw.Tunnel),
			VNI:      raw.Vni,
			Tuple:    tuple(&raw.Aux),
			TCPFlags: raw.InnerTcpFlags,
		}
	}
	if has(bpf.TraceEventFlagEVENT_QUOTED) {
		q := tuple(&raw.Aux)
		e.Quoted = &q
	}
	if has(bpf.TraceEventFlagEVENT_CT) {
		e.CT = &tracer.CT{
			Orig:   tuple(&raw.Orig),
			Reply:  tuple(&raw.Reply),
			Status: raw.CtStatus,
			Info:   raw.CtInfo,
			Zone:   raw.CtZone,
			Mark:   raw.CtMark,
		}
	}
	return e
}

// dnsOf takes the header apart that stands in seq and ack.
func dnsOf(raw *bpf.TraceEvent) *tracer.DNS {
	flags := uint16(raw.Seq)
	return &tracer.DNS{
		ID: uint16(raw.Seq >> 16), Response: flags&0x8000 != 0, Truncated: flags&0x0200 != 0, RCode: uint8(flags & 0xf),
		Questions: uint16(raw.Ack >> 16), Answers: uint16(raw.Ack),
	}
}

func kindName(k bpf.TraceKind) tracer.EventKind {
	switch k {
	case bpf.TraceKindKIND_RX:
		return tracer.EventRX
	case bpf.TraceKindKIND_TX:
		return tracer.EventTX
	case bpf.TraceKindKIND_DROP:
		return tracer.EventDrop
	}
	return ""
}

func tunnelName(t bpf.TraceTunnel) string {
	switch t {
	case bpf.TraceTunnelTUNNEL_VXLAN:
		return "vxlan"
	case bpf.TraceTunnelTUNNEL_GENEVE:
		return "geneve"
	case bpf.TraceTunnelTUNNEL_IPIP:
		return "ipip"
	}
	return ""
}

// tuple is the zero Tuple if the kernel did not set it.
func tuple(t *bpf.TraceTuple) tracer.Tuple {
	if t.Family == 0 {
		return tracer.Tuple{}
	}
	return tracer.Tuple{
		Src:   netip.AddrPortFrom(address(&t.Saddr), t.Sport),
		Dst:   netip.AddrPortFrom(address(&t.Daddr), t.Dport),
		Proto: t.Proto,
	}
}

// address turns network byte order words into an address; v4-mapped is IPv4.
func address(a *bpf.TraceAddr) netip.Addr {
	var b [16]byte
	for i, w := range a.Word {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b).Unmap()
}

func rawAddress(a netip.Addr) bpf.TraceAddr {
	var out bpf.TraceAddr
	b := a.As16()
	for i := range out.Word {
		out.Word[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return out
}
