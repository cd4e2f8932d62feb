package workload

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// echo is a server by TCP and UDP, on one port of the loopback device.
func echo(ctx context.Context, t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"tcp", "udp"} {
		go func() { _ = Serve(ctx, network, at, "server") }()
	}
	for _, network := range []string{"tcp", "udp"} {
		for Dial(ctx, network, at.String(), 64, time.Second, false).Outcome != OK {
			if ctx.Err() != nil {
				t.Fatal("no server")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return at
}

func TestNoiseGoesOn(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	group, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	n := Noise{Server: echo(ctx, t), Closed: 1, Dropped: 1, Group: group.LocalAddr().(*net.UDPAddr).AddrPort()}
	noise, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- n.Make(noise) }()
	for range 2 {
		if err := group.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := group.Read(make([]byte, 100)); err != nil {
			t.Fatalf("no datagram to the group: %v", err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestNoiseEndsWithoutServer(t *testing.T) {
	if err := (Noise{Server: netip.MustParseAddrPort("127.0.0.1:1"), Closed: 1, Dropped: 1}).Make(t.Context()); err == nil {
		t.Error("nobody answers, and that is no error")
	}
}
