package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Both ends of a connection are held by one thread: what one end sends has
// arrived when the call returns, so nobody has to be woken, the scheduler adds
// no noise, and the thread's CPU time is what the way there and back costs.

// tcpPath is a listener, and the address under which a sender reaches it.
type tcpPath struct {
	from, at   *space
	listen, to netip.AddrPort
}

const (
	tcpWait   = 5 * time.Second // for what should have arrived already
	bulkBytes = 256 << 10       // a call
	// bufferBytes are of a socket, instead of what the kernel would learn: how
	// much is under way decides what the caches hold.
	bufferBytes = 512 << 10
)

// pingPong sends 64 bytes there and back on one connection.
func (p tcpPath) pingPong(ctx context.Context, d time.Duration) (rate, error) {
	return p.connected(ctx, d, func(c *connection, until func() bool) (done uint64, err error) {
		buf := make([]byte, payloadBytes)
		for more := true; more && err == nil; more = until() {
			err = errors.Join(c.pass(c.client, c.server, buf), c.pass(c.server, c.client, buf))
			done++
		}
		return done, err
	})
}

// bulk sends as much as there is room for on one connection, and reads it.
func (p tcpPath) bulk(ctx context.Context, d time.Duration) (rate, error) {
	return p.connected(ctx, d, func(c *connection, until func() bool) (done uint64, err error) {
		out, in := make([]byte, bulkBytes), make([]byte, bulkBytes)
		for more := true; more && err == nil; more = until() {
			if _, err = retry(func() (int, error) { return send(c.client, out) }); err != nil && !errors.Is(err, unix.EAGAIN) {
				return done, fmt.Errorf("send: %w", err)
			}
			var n int
			n, err = c.read(c.server, in)
			done += uint64(n)
		}
		return done, err
	})
}

func send(fd int, p []byte) (int, error) {
	return unix.SendmsgN(fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// connected measures what f does with one connection.
func (p tcpPath) connected(ctx context.Context, d time.Duration, f func(*connection, func() bool) (uint64, error)) (rate, error) {
	l, err := p.listener()
	if err != nil {
		return rate{}, err
	}
	defer unix.Close(l)
	var done uint64
	took, err := onLastCPU(p.from, func(start time.Time) error {
		c, err := p.connect(l)
		if err != nil {
			return err
		}
		done, err = f(c, func() bool { return ctx.Err() == nil && time.Since(start) < d })
		return errors.Join(err, c.close(make([]byte, bulkBytes)), ctx.Err())
	})
	return rate{done, took}, p.judge(done, err)
}

// connections connects, sends 64 bytes and closes, again and again.
func (p tcpPath) connections(ctx context.Context, d time.Duration) (rate, error) {
	l, err := p.listener()
	if err != nil {
		return rate{}, err
	}
	defer unix.Close(l)
	var done uint64
	took, err := onLastCPU(p.from, func(start time.Time) error {
		buf := make([]byte, payloadBytes)
		for more := true; more && ctx.Err() == nil; more = time.Since(start) < d {
			c, err := p.connect(l)
			if err != nil {
				return err
			}
			if err := errors.Join(c.pass(c.client, c.server, buf), c.close(buf)); err != nil {
				return err
			}
			done++
		}
		return ctx.Err()
	})
	return rate{done, took}, p.judge(done, err)
}

func (p tcpPath) judge(done uint64, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("to %s: %w", p.to, err)
	case done == 0:
		return fmt.Errorf("to %s: nothing came to its end", p.to)
	}
	return nil
}

func (p tcpPath) listener() (fd int, err error) {
	err = p.at.inside(func() error {
		if fd, err = tcpSocket(); err != nil {
			return err
		}
		err := errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.Bind(fd, &unix.SockaddrInet4{Port: int(p.listen.Port()), Addr: p.listen.Addr().As4()}),
			unix.Listen(fd, 16),
		)
		if err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("listen on %s: %w", p.listen, err)
		}
		return nil
	})
	return fd, err
}

// tcpSocket blocks, but not for ever.
func tcpSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", err)
	}
	if err := waitAtMost(fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func waitAtMost(fd int) error {
	tv := unix.NsecToTimeval(tcpWait.Nanoseconds())
	err := errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferBytes),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferBytes),
	)
	if err != nil {
		return fmt.Errorf("set up socket: %w", err)
	}
	return nil
}

// connection has both of its ends.
type connection struct{ client, server int }

// connect must run where the client is.
func (p tcpPath) connect(listener int) (*connection, error) {
	client, err := tcpSocket()
	if err != nil {
		return nil, err
	}
	err = again(func() error {
		return unix.Connect(client, &unix.SockaddrInet4{Port: int(p.to.Port()), Addr: p.to.Addr().As4()})
	})
	if err != nil && !errors.Is(err, unix.EISCONN) { // connected meanwhile, after a signal
		_ = unix.Close(client)
		return nil, fmt.Errorf("connect: %w", err)
	}
	server, err := retry(func() (int, error) {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		return fd, err
	})
	if err == nil {
		err = waitAtMost(server)
	}
	if err != nil {
		_ = unix.Close(client)
		return nil, fmt.Errorf("accept: %w", err)
	}
	return &connection{client, server}, nil
}

// pass sends from one end and reads all of it at the other.
func (c *connection) pass(from, to int, buf []byte) error {
	if _, err := retry(func() (int, error) { return unix.Write(from, buf) }); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	for got := 0; got < len(buf); {
		n, err := c.read(to, buf[got:])
		if err != nil {
			return err
		}
		got += n
	}
	return nil
}

func (c *connection) read(fd int, buf []byte) (int, error) {
	n, err := retry(func() (int, error) { return unix.Read(fd, buf) })
	switch {
	case err != nil:
		return 0, fmt.Errorf("read: %w", err)
	case n == 0:
		return 0, errors.New("read: the other end has closed")
	}
	return n, nil
}

// close ends the connection from the client's side, as most clients do, and
// reads until that has arrived.
func (c *connection) close(buf []byte) error {
	err := unix.Shutdown(c.client, unix.SHUT_WR)
	for n := 1; err == nil && n > 0; {
		n, err = retry(func() (int, error) { return unix.Read(c.server, buf) })
	}
	return errors.Join(err, unix.Close(c.server), unix.Close(c.client))
}

// retry repeats what a signal has interrupted; Go sends itself some.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func again(f func() error) error {
	_, err := retry(func() (int, error) { return 0, f() })
	return err
}
