package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// dial makes one attempt and says how it ended. It never fails: an error is an
// outcome.
func dial(a dialArgs) Attempt {
	if a.Lookup != nil {
		if at := dial(*a.Lookup); at.Outcome != OK {
			return at
		}
	}
	start := time.Now()
	var at Attempt
	var err error
	connected := false
	switch a.Kind {
	case dialHTTP, dialTeardown, dialConnect, dialGreet, dialDNSOverTCP:
		at, connected, err = exchangeTCP(a)
	case dialUDP, dialDNS:
		for _, name := range a.Search {
			try := a
			try.Name, try.Search = name, nil
			_, _ = exchangeUDP(try)
		}
		if at, err = exchangeUDP(a); errors.Is(err, errCut) {
			a.Kind = dialDNSOverTCP
			at, connected, err = exchangeTCP(a)
		}
	case dialSCTP:
		at, err = exchangeSCTP(a)
	case dialBrokenTCP, dialBrokenUDP:
		at, err = exchangeBroken(a)
	default:
		err = fmt.Errorf("dial: unknown kind %q", a.Kind)
	}
	at.Remote, at.Took = a.To, time.Since(start)
	at.Outcome = outcomeOf(err, connected)
	if err != nil {
		at.Error = err.Error()
	}
	return at
}

// errCut is a DNS answer that is to be asked for again over TCP.
var errCut = errors.New("dns: truncated")

// errRCode is a DNS answer that is no answer.
type errRCode struct{ code dnsmessage.RCode }

func (e errRCode) Error() string { return "dns: " + e.code.String() }

var errnoOutcome = []struct {
	errno   syscall.Errno
	outcome Outcome
}{
	{syscall.ECONNREFUSED, Refused},
	{syscall.ECONNRESET, Reset},
	{syscall.EPIPE, Reset},
	{syscall.EHOSTUNREACH, HostUnreachable},
	{syscall.ENETUNREACH, NetUnreachable},
	{syscall.EACCES, Prohibited},
	{syscall.EPERM, Prohibited},
	{syscall.EMSGSIZE, TooBig},
	{syscall.ENOPROTOOPT, ProtocolUnreachable},
}

func outcomeOf(err error, connected bool) Outcome {
	if err == nil {
		return OK
	}
	if rc := (errRCode{}); errors.As(err, &rc) {
		return DNSError
	}
	for _, x := range errnoOutcome {
		if errors.Is(err, x.errno) {
			return x.outcome
		}
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		if connected {
			return NoData
		}
		return Timeout
	}
	return Failed
}

func exchangeTCP(a dialArgs) (at Attempt, connected bool, err error) {
	at.Proto = "tcp"
	d := net.Dialer{Timeout: a.Timeout, KeepAlive: -1}
	if a.Local.IsValid() || a.LocalPort != 0 {
		d.LocalAddr = net.TCPAddrFromAddrPort(a.local())
	}
	conn, err := d.Dial(network("tcp", a.To.Addr()), a.To.String())
	if err != nil {
		return at, false, err
	}
	defer conn.Close()
	at.Local = conn.LocalAddr().(*net.TCPAddr).AddrPort()
	if err := conn.SetDeadline(time.Now().Add(a.Timeout)); err != nil {
		return at, true, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok && a.Linger {
		if err := tcp.SetLinger(0); err != nil {
			return at, true, err
		}
	}
	time.Sleep(a.Pause)
	at.Bytes, err = talk(conn, a)
	return at, true, err
}

// talk is what the client does on its connection.
func talk(conn net.Conn, a dialArgs) (int, error) {
	switch a.Kind {
	case dialConnect:
		return 0, nil
	case dialTeardown:
		// One byte is read so that the rest is surely there, unread, at close.
		return conn.Read(make([]byte, 1))
	case dialGreet:
		return greet(conn)
	case dialDNSOverTCP:
		return askTCP(conn, a)
	}
	return roundTrip(conn, a)
}

// greet waits for the server's first line, says goodbye and reads to the end.
func greet(conn net.Conn) (int, error) {
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(conn, "QUIT\r\n"); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, r)
	return int(n), err
}

// askTCP sends a DNS question with its length before it (RFC 1035 §4.2.2).
func askTCP(conn net.Conn, a dialArgs) (int, error) {
	ask, check, err := a.datagram()
	if err != nil {
		return 0, err
	}
	if _, err := conn.Write(append(be16(uint16(len(ask))), ask...)); err != nil {
		return 0, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return 0, err
	}
	answer := make([]byte, int(size[0])<<8|int(size[1]))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return 0, err
	}
	return len(answer), check(answer)
}

func roundTrip(conn net.Conn, a dialArgs) (int, error) {
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", a.To, a.Body)
	if _, err := io.WriteString(conn, head+strings.Repeat("x", a.Body)); err != nil {
		return 0, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok && a.HalfClose {
		if err := tcp.CloseWrite(); err != nil {
			return 0, err
		}
	}
	r := bufio.NewReader(conn)
	status, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if !strings.Contains(status, " 200 ") {
		return 0, fmt.Errorf("answer %s", strconv.Quote(status))
	}
	n, err := io.Copy(io.Discard, r)
	return int(n), err
}

func exchangeUDP(a dialArgs) (Attempt, error) {
	at := Attempt{Proto: "udp"}
	d := net.Dialer{Control: a.control}
	if a.Local.IsValid() || a.LocalPort != 0 {
		d.LocalAddr = net.UDPAddrFromAddrPort(a.local())
	}
	conn, err := d.DialContext(context.Background(), network("udp", a.To.Addr()), a.To.String())
	if err != nil {
		return at, err
	}
	defer conn.Close()
	at.Local = conn.LocalAddr().(*net.UDPAddr).AddrPort()
	ask, check, err := a.datagram()
	if err != nil {
		return at, err
	}
	buf := make([]byte, 65535)
	tries := a.Retries + 1
	for range tries {
		if _, err = conn.Write(ask); err != nil {
			return at, err
		}
		if err = conn.SetReadDeadline(time.Now().Add(a.Timeout / time.Duration(tries))); err != nil {
			return at, err
		}
		if at.Bytes, err = conn.Read(buf); err == nil {
			return at, check(buf[:at.Bytes])
		}
		if !errors.Is(err, unix.EAGAIN) && outcomeOf(err, false) != Timeout {
			return at, err
		}
	}
	return at, err
}

// local is the socket's own end; where only the port matters, any address.
func (a dialArgs) local() netip.AddrPort {
	at := a.Local
	switch {
	case at.IsValid():
	case a.To.Addr().Is4():
		at = netip.IPv4Unspecified()
	default:
		at = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(at, a.LocalPort)
}

// datagram gives the question, and what to make of the answer.
func (a dialArgs) datagram() ([]byte, func([]byte) error, error) {
	if a.Kind != dialDNS && a.Kind != dialDNSOverTCP {
		return make([]byte, max(a.Body, 16)), func([]byte) error { return nil }, nil
	}
	name, err := dnsmessage.NewName(a.Name)
	if err != nil {
		return nil, nil, fmt.Errorf("encode name: %w", err)
	}
	typ := dnsmessage.TypeA
	if a.To.Addr().Is6() {
		typ = dnsmessage.TypeAAAA
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(time.Now().UnixNano()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: typ, Class: dnsmessage.ClassINET}},
	}
	q, err := m.Pack()
	return q, checkDNS, err
}

func checkDNS(b []byte) error {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return err
	}
	if h.RCode != dnsmessage.RCodeSuccess {
		return errRCode{h.RCode}
	}
	if h.Truncated {
		return errCut
	}
	return nil
}

// control sets DF on every datagram and keeps the socket from lowering its size
// when it learns a smaller path MTU (ip(7), IP_PMTUDISC_PROBE).
func (a dialArgs) control(_, _ string, c syscall.RawConn) error {
	if !a.Probe {
		return nil
	}
	var err error
	ctl := c.Control(func(fd uintptr) { err = setProbe(int(fd), a.To.Addr()) })
	return errors.Join(ctl, err)
}

func setProbe(fd int, to netip.Addr) error {
	if to.Is4() {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	}
	return errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1),
	)
}
