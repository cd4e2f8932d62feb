package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

const (
	sockDiagByFamily = 20 // linux/sock_diag.h SOCK_DIAG_BY_FAMILY
	diagV6Only       = 11 // linux/inet_diag.h INET_DIAG_SKV6ONLY
	stateClose       = 7  // include/net/tcp_states.h: a bound, unconnected UDP socket
	stateListen      = 10
)

// diagRequest is struct inet_diag_req_v2 with an empty socket id.
type diagRequest struct {
	family, proto uint8
	states        uint32
}

// Len is the size of struct inet_diag_req_v2 in bytes.
func (r *diagRequest) Len() int { return 56 }

// Serialize gives the bytes for the kernel.
func (r *diagRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1] = r.family, r.proto
	nl.NativeEndian().PutUint32(b[4:], r.states)
	return b
}

// listeners dumps the listening (TCP, SCTP) or bound and unconnected (UDP)
// sockets of the calling thread's namespace.
func listeners(inode uint32, proto uint8) (out []tracer.Listener, complete bool, err error) {
	states := uint32(1 << stateListen)
	if proto == tracer.ProtoUDP {
		states = 1 << stateClose
	}
	complete = true
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		msgs, ok, err := dumped(func() ([][]byte, error) {
			req := nl.NewNetlinkRequest(sockDiagByFamily, unix.NLM_F_DUMP)
			req.AddData(&diagRequest{family: family, proto: proto, states: states})
			return req.Execute(unix.NETLINK_INET_DIAG, 0)
		})
		if errors.Is(err, unix.ENOENT) && family == unix.AF_INET6 {
			continue // no IPv6 in this kernel
		}
		if err != nil {
			return nil, false, fmt.Errorf("list %s sockets: %w", tracer.ProtoName(proto), err)
		}
		complete = complete && ok
		for _, m := range msgs {
			l, ok := parseDiag(m)
			if !ok {
				complete = false
				continue
			}
			// An unbound UDP socket (port 0) receives nothing.
			if l.Addr.Port() == 0 {
				continue
			}
			l.NetNS, l.Proto = inode, proto
			out = append(out, l)
		}
	}
	return out, complete, nil
}

// parseDiag decodes struct inet_diag_msg (linux/inet_diag.h) and its
// attributes.
func parseDiag(m []byte) (tracer.Listener, bool) {
	const size = 72
	if len(m) < size {
		return tracer.Listener{}, false
	}
	port := binary.BigEndian.Uint16(m[4:])
	var a netip.Addr
	switch m[0] {
	case unix.AF_INET:
		a = netip.AddrFrom4([4]byte(m[8:12]))
	case unix.AF_INET6:
		a = netip.AddrFrom16([16]byte(m[8:24]))
	default:
		return tracer.Listener{}, false
	}
	l := tracer.Listener{Addr: netip.AddrPortFrom(a, port),
		Queue: nl.NativeEndian().Uint32(m[56:]), Backlog: nl.NativeEndian().Uint32(m[60:])}
	attrs, err := parseAttrs(m[size:])
	if err != nil {
		return tracer.Listener{}, false
	}
	for _, at := range attrs {
		if at.typ == diagV6Only && len(at.value) > 0 {
			l.V6Only = at.value[0] != 0
		}
	}
	return l, true
}

// neighState is the NUD state as iproute2 prints it.
func neighState(s int) string {
	switch {
	case s == 0:
		return "NONE"
	case s&netlink.NUD_PERMANENT != 0:
		return "PERMANENT"
	case s&netlink.NUD_NOARP != 0:
		return "NOARP"
	case s&netlink.NUD_REACHABLE != 0:
		return "REACHABLE"
	case s&netlink.NUD_STALE != 0:
		return "STALE"
	case s&netlink.NUD_DELAY != 0:
		return "DELAY"
	case s&netlink.NUD_PROBE != 0:
		return "PROBE"
	case s&netlink.NUD_FAILED != 0:
		return "FAILED"
	case s&netlink.NUD_INCOMPLETE != 0:
		return "INCOMPLETE"
	}
	return fmt.Sprintf("%#x", s)
}
