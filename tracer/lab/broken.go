package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// Packets with a wrong checksum, as a faulty offload sends them. The kernel computes
// right ones for sockets of TCP and UDP, so these come from raw ones.
const (
	tcpHeader, udpHeader = 20, 8
	wrongChecksum        = 0xdead
	brokenGap            = 700 * time.Millisecond
)

// exchangeBroken sends the first packet of an exchange, again and again as a client
// would, and waits for any answer to its port.
func exchangeBroken(a dialArgs) (Attempt, error) {
	at := Attempt{Proto: "tcp"}
	number := "6"
	if a.Kind == dialBrokenUDP {
		at.Proto, number = "udp", "17"
	}
	family := "ip4:"
	if a.To.Addr().Is6() {
		family = "ip6:"
	}
	conn, err := net.DialIP(family+number, nil, &net.IPAddr{IP: a.To.Addr().AsSlice()})
	if err != nil {
		return at, err
	}
	defer conn.Close()
	own := uint16(32768 + time.Now().UnixNano()%28000)
	local, _ := netip.AddrFromSlice(conn.LocalAddr().(*net.IPAddr).IP)
	at.Local = netip.AddrPortFrom(local.Unmap(), own)
	ask, buf := brokenPacket(a, own), make([]byte, 1500)
	for end := time.Now().Add(a.Timeout); ; {
		if _, err := conn.Write(ask); err != nil {
			return at, err
		}
		next := time.Now().Add(brokenGap)
		if next.After(end) {
			next = end
		}
		if err := conn.SetReadDeadline(next); err != nil {
			return at, err
		}
		for err == nil {
			var n int
			n, _, err = conn.ReadFromIP(buf) // Read would not take the IP header away
			if err == nil && n >= udpHeader && binary.BigEndian.Uint16(buf[2:]) == own {
				at.Bytes = n
				return at, nil
			}
		}
		if outcomeOf(err, false) != Timeout || !time.Now().Before(end) {
			return at, err
		}
		err = nil
	}
}

// brokenPacket is a SYN or a short datagram, without the IP header.
func brokenPacket(a dialArgs, own uint16) []byte {
	be := binary.BigEndian
	var b []byte
	if a.Kind == dialBrokenUDP {
		b = make([]byte, udpHeader+16)
		be.PutUint16(b[4:], uint16(len(b)))
		be.PutUint16(b[6:], wrongChecksum)
	} else {
		b = make([]byte, tcpHeader)
		be.PutUint32(b[4:], uint32(own)) // the sequence number
		b[12], b[13] = tcpHeader/4<<4, 2 // the header's words, SYN
		be.PutUint16(b[14:], 64240)
		be.PutUint16(b[16:], wrongChecksum)
	}
	be.PutUint16(b, own)
	be.PutUint16(b[2:], a.To.Port())
	return b
}
