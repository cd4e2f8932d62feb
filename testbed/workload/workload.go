// Package workload is what runs in the testbed's pods: servers that answer,
// clients that try and say exactly how it went.
package workload

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Outcome is how one try went, as the client saw it.
type Outcome string

// The outcomes.
const (
	OK          Outcome = "ok"
	Refused     Outcome = "refused"     // ECONNREFUSED
	Timeout     Outcome = "timeout"     // nothing came
	Unreachable Outcome = "unreachable" // host or network unreachable
	Reset       Outcome = "reset"       // ECONNRESET
	NoData      Outcome = "no-data"     // connected, then nothing came
	NotSent     Outcome = "not-sent"    // the call failed at once
	Prohibited  Outcome = "prohibited"  // administratively prohibited
)

// Try is one attempt of a client.
type Try struct {
	Outcome Outcome       `json:"outcome"`
	Error   string        `json:"error,omitempty"`
	Took    time.Duration `json:"took"`
	// Who is what the server called itself.
	Who string `json:"who,omitempty"`
}

// Serve answers each connection, or datagram, with name and the address of who
// asks, until ctx ends. network is tcp or udp.
func Serve(ctx context.Context, network string, at netip.AddrPort, name string) error {
	if network == "udp" {
		return serveUDP(ctx, at, name)
	}
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go answer(conn, name)
	}
}

// answer says who it is for each line that comes.
func answer(conn net.Conn, name string) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if _, err := fmt.Fprintf(conn, "%s %s %s\n", name, conn.RemoteAddr(), lines.Text()); err != nil {
			return
		}
	}
}

func serveUDP(ctx context.Context, at netip.AddrPort, name string) error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		_, _ = conn.WriteToUDPAddrPort(fmt.Appendf(nil, "%s %s %s", name, from, buf[:n]), from)
	}
}

// Dial is one try. bytes is how much is sent: more than one segment finds out
// what large packets meet. With forget the kernel does not go on sending, for
// minutes, what nobody acknowledged when a try has failed.
func Dial(ctx context.Context, network, addr string, bytes int, limit time.Duration, forget bool) Try {
	begun := time.Now()
	who, connected, err := exchange(ctx, network, addr, bytes, limit, forget)
	t := Try{Outcome: outcomeOf(err, connected && network == "tcp"), Took: time.Since(begun), Who: who}
	if err != nil {
		t.Error = err.Error()
	}
	return t
}

func exchange(ctx context.Context, network, addr string, bytes int, limit time.Duration, forget bool) (who string, connected bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return "", false, err
	}
	defer func() {
		if stream, ok := conn.(*net.TCPConn); ok && forget && err != nil {
			err = errors.Join(err, stream.SetLinger(0))
		}
		err = errors.Join(err, conn.Close())
	}()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", true, err
	}
	line := make([]byte, max(bytes, 2))
	for i := range line {
		line[i] = 'x'
	}
	line[len(line)-1] = '\n'
	if _, err := conn.Write(line); err != nil {
		return "", true, err
	}
	reply := bufio.NewReaderSize(conn, 128<<10)
	word, err := reply.ReadString(' ')
	if err != nil {
		return "", true, err
	}
	return word[:len(word)-1], true, nil
}

// Overlapping begins count tries, one every so often, without waiting for the
// ones before: what is silent is silent for all of them at once. It gives them as
// they end.
func Overlapping(count int, every time.Duration, try func() Try) <-chan Try {
	ended := make(chan Try)
	var all sync.WaitGroup
	go func() {
		defer close(ended)
		for i := range count {
			if i > 0 {
				time.Sleep(every)
			}
			all.Go(func() { ended <- try() })
		}
		all.Wait()
	}()
	return ended
}

func outcomeOf(err error, connected bool) Outcome {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		if connected {
			return NoData
		}
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Unreachable
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return Prohibited
	}
	return NotSent
}
