package workload

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Noise is what goes on beside any flow and is nobody's fault. Every kind of it
// makes the kernel drop packets, or send resets.
type Noise struct {
	// Server answers by TCP and by UDP; what is lost on the way there has to be
	// sent again.
	Server netip.AddrPort
	// Closed is a port of it on which nobody listens, Dropped one to which nothing
	// gets through.
	Closed, Dropped uint16
	// Group is a multicast address and port.
	Group netip.AddrPort
}

// Time for each part of a round: a lost segment is sent again after some 0.2 s.
const (
	noiseLimit  = 3 * time.Second
	brief       = 50 * time.Millisecond
	betweenSome = 50 * time.Millisecond
)

// Make goes on until ctx ends, or until the server does not answer.
func (n Noise) Make(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := n.round(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(betweenSome):
		}
	}
	return nil
}

func (n Noise) round(ctx context.Context) error {
	at := func(port uint16) string { return netip.AddrPortFrom(n.Server.Addr(), port).String() }
	for _, network := range []string{"tcp", "udp"} {
		Dial(ctx, network, at(n.Closed), 64, noiseLimit, false)
	}
	Dial(ctx, "tcp", at(n.Dropped), 64, brief, false)
	if t := Dial(ctx, "tcp", n.Server.String(), 64, noiseLimit, false); t.Outcome != OK {
		return fmt.Errorf("what is lost on the way does not get through later: %s", t.Error)
	}
	for _, network := range []string{"tcp", "udp"} {
		if err := leaveUnread(ctx, network, n.Server.String()); err != nil {
			return fmt.Errorf("leave an answer unread, by %s: %w", network, err)
		}
	}
	return n.call(ctx)
}

// call sends one datagram to the group.
func (n Noise) call(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", n.Group.String())
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte("is anybody there?\n"))
	return errors.Join(err, conn.Close())
}

// leaveUnread closes a socket in which an answer waits: the kernel throws that
// away, and resets a connection for it.
func leaveUnread(ctx context.Context, network, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, noiseLimit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello\n")); err != nil {
		return err
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		waiting, err := unread(raw)
		if err != nil || waiting > 0 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return os.ErrDeadlineExceeded
}

// unread is how many bytes wait in a socket.
func unread(c syscall.RawConn) (n int, err error) {
	outer := c.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n, errors.Join(outer, err)
}
