package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// serveHangConn takes the request and never answers, not even to a client that
// has hung up.
func serveHangConn(conn net.Conn) {
	_, _ = io.Copy(io.Discard, conn)
	time.Sleep(serverIdle)
}

// serveResetConn takes the first bytes and ends the connection with a RST.
func serveResetConn(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1))
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
}

// serveGreetConn talks first, and answers one line.
func serveGreetConn(conn net.Conn) {
	if _, err := io.WriteString(conn, "220 ready\r\n"); err != nil {
		return
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
		_, _ = io.WriteString(conn, "221 bye\r\n")
	}
}

// listenFull listens with the shortest accept queue, fills it, and accepts
// nothing.
func listenFull(at netip.AddrPort) (io.Closer, error) {
	l, err := net.ListenTCP(network("tcp", at.Addr()), net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	filler, err := fill(l, at)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return closers{l, filler}, nil
}

func fill(l *net.TCPListener, at netip.AddrPort) (io.Closer, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	// listen(2) again only changes the backlog; 0 holds one connection.
	var shrink error
	if err := raw.Control(func(fd uintptr) { shrink = unix.Listen(int(fd), 0) }); err != nil || shrink != nil {
		return nil, fmt.Errorf("shorten the accept queue: %w", errors.Join(err, shrink))
	}
	own := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if at.Addr().Is6() {
		own = netip.IPv6Loopback()
	}
	return net.DialTimeout("tcp", netip.AddrPortFrom(own, at.Port()).String(), time.Second)
}

// listenDeaf binds a UDP socket with the smallest buffer and never reads.
func listenDeaf(at netip.AddrPort) (io.Closer, error) {
	conn, err := net.ListenUDP(network("udp", at.Addr()), net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadBuffer(1); err != nil { // the kernel raises it to its minimum
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
