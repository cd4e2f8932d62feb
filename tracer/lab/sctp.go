package lab

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"
)

// SCTP by hand, on raw sockets: most kernels that this runs on lack the module,
// which is what one of the faults is about.
const (
	sctp4      = "ip4:132"
	sctpHeader = 12
)

// exchangeSCTP sends a packet with SCTP's header and a chunk, and waits for any
// answer to its ports.
func exchangeSCTP(a dialArgs) (Attempt, error) {
	at := Attempt{Proto: "sctp"}
	conn, err := net.DialIP(sctp4, nil, &net.IPAddr{IP: a.To.Addr().AsSlice()})
	if err != nil {
		return at, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(a.Timeout)); err != nil {
		return at, err
	}
	own := uint16(32768 + time.Now().UnixNano()%28000)
	local, _ := netip.AddrFromSlice(conn.LocalAddr().(*net.IPAddr).IP.To4())
	at.Local = netip.AddrPortFrom(local, own)
	ask := make([]byte, sctpHeader+20)
	binary.BigEndian.PutUint16(ask, own)
	binary.BigEndian.PutUint16(ask[2:], a.To.Port())
	ask[sctpHeader], ask[sctpHeader+3] = 1, 20 // INIT, length
	if _, err := conn.Write(ask); err != nil {
		return at, err
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFromIP(buf) // Read would not take the IP header away
		if err != nil {
			return at, err
		}
		if n >= sctpHeader && binary.BigEndian.Uint16(buf[2:]) == own {
			at.Bytes = n
			return at, nil
		}
	}
}

// listenSCTP sends packets to its port back, with the ports turned round.
func listenSCTP(at netip.AddrPort) (io.Closer, error) {
	conn, err := net.ListenIP(sctp4, &net.IPAddr{IP: at.Addr().AsSlice()})
	if err != nil {
		return nil, err
	}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromIP(buf)
			if err != nil {
				return
			}
			if n < sctpHeader || binary.BigEndian.Uint16(buf[2:]) != at.Port() {
				continue
			}
			buf[0], buf[1], buf[2], buf[3] = buf[2], buf[3], buf[0], buf[1]
			_, _ = conn.WriteToIP(buf[:n], from)
		}
	}()
	return conn, nil
}
