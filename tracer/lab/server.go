package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"time"
)

// serverIdle ends connections that nobody uses any more.
const serverIdle = 2 * longPause

func startServer(a listenArgs) (io.Closer, error) {
	switch a.Kind {
	case serveHTTP:
		return listenTCP(a.Addr, func(conn net.Conn) { serveHTTPConn(conn, a.Delay) })
	case serveGreet:
		return listenTCP(a.Addr, serveGreetConn)
	case serveRude:
		return listenTCP(a.Addr, serveRudeConn)
	case serveEcho:
		return listenUDP(a.Addr, func(q []byte) []byte { return q })
	case serveDNS:
		return listenDNS(a)
	case serveHang:
		return listenTCP(a.Addr, serveHangConn)
	case serveReset:
		return listenTCP(a.Addr, serveResetConn)
	case serveFull:
		return listenFull(a.Addr)
	case serveDeaf:
		return listenDeaf(a.Addr)
	case serveSCTP:
		return listenSCTP(a.Addr)
	}
	return nil, fmt.Errorf("listen: unknown kind %q", a.Kind)
}

// network names the family outright: "tcp" on [::] would listen on both.
func network(proto string, a netip.Addr) string {
	if a.Is4() {
		return proto + "4"
	}
	return proto + "6"
}

func listenTCP(at netip.AddrPort, serve func(net.Conn)) (io.Closer, error) {
	// No keepalive: where a connection is to be quiet, it has to be.
	quiet := net.ListenConfig{KeepAlive: -1}
	l, err := quiet.Listen(context.Background(), network("tcp", at.Addr()), at.String())
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(serverIdle))
				serve(conn)
			}()
		}
	}()
	return l, nil
}

func listenUDP(at netip.AddrPort, answer func([]byte) []byte) (io.Closer, error) {
	conn, err := net.ListenUDP(network("udp", at.Addr()), net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	go func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			ask := slices.Clone(buf[:n])
			go func() {
				if out := answer(ask); out != nil {
					_, _ = conn.WriteToUDPAddrPort(out, from)
				}
			}()
		}
	}()
	return conn, nil
}

// serveHTTPConn reads one request with its body and answers it. The body is
// read to its end, so that the client's bytes have all crossed the network
// before it gets an answer.
func serveHTTPConn(conn net.Conn, delay time.Duration) {
	r := textproto.NewReader(bufio.NewReader(conn))
	if _, err := r.ReadLine(); err != nil {
		return
	}
	head, err := r.ReadMIMEHeader()
	if err != nil {
		return
	}
	size, _ := strconv.ParseInt(head.Get("Content-Length"), 10, 64)
	if _, err := io.CopyN(io.Discard, r.R, size); err != nil {
		return
	}
	time.Sleep(delay)
	body := "hello from " + conn.LocalAddr().String() + "\n"
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// serveRudeConn talks first, to a client that hangs up without listening.
func serveRudeConn(conn net.Conn) {
	_, _ = conn.Write(make([]byte, 4096))
	_, _ = io.Copy(io.Discard, conn)
}

type closers []io.Closer

func (c closers) Close() error {
	var first error
	for _, x := range c {
		if err := x.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
