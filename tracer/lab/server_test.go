package lab

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The servers and clients also work in the namespace that the test runs in.
func TestExchanges(t *testing.T) {
	zone := map[string][]netip.Addr{"known.test.": {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}}
	for _, tt := range []struct {
		name  string
		serve listenArgs
		dial  dialArgs
		want  Outcome
	}{
		{"http", listenArgs{Kind: serveHTTP}, dialArgs{Kind: dialHTTP}, OK},
		{"http with a body", listenArgs{Kind: serveHTTP}, dialArgs{Kind: dialHTTP, Body: 300000}, OK},
		{"udp", listenArgs{Kind: serveEcho}, dialArgs{Kind: dialUDP}, OK},
		{"udp with a body", listenArgs{Kind: serveEcho}, dialArgs{Kind: dialUDP, Body: 4000}, OK},
		{"dns", listenArgs{Kind: serveDNS, Zone: zone}, dialArgs{Kind: dialDNS, Name: "known.test."}, OK},
		{"dns of an unknown name", listenArgs{Kind: serveDNS, Zone: zone}, dialArgs{Kind: dialDNS, Name: "unknown.test."}, DNSError},
		{"teardown", listenArgs{Kind: serveRude}, dialArgs{Kind: dialTeardown}, OK},
		{"a slow answer to half a connection", listenArgs{Kind: serveHTTP, Delay: 50 * time.Millisecond}, dialArgs{Kind: dialHTTP, HalfClose: true}, OK},
		{"a request after a pause, and a reset", listenArgs{Kind: serveHTTP}, dialArgs{Kind: dialHTTP, Pause: 50 * time.Millisecond, Linger: true}, OK},
		{"only a connection", listenArgs{Kind: serveHTTP}, dialArgs{Kind: dialConnect, Linger: true}, OK},
		{"greeting", listenArgs{Kind: serveGreet}, dialArgs{Kind: dialGreet}, OK},
		{"udp to a port of tcp", listenArgs{Kind: serveRude}, dialArgs{Kind: dialUDP}, Refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.serve.Addr = freePort(t)
			s, err := startServer(tt.serve)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			tt.dial.To, tt.dial.Timeout = tt.serve.Addr, 5*time.Second
			if got := dial(tt.dial); got.Outcome != tt.want {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
		})
	}
}

// freePort finds a port of the loopback address that TCP and UDP can have.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := l.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func TestUnknownKinds(t *testing.T) {
	if _, err := startServer(listenArgs{Kind: "no-such"}); err == nil {
		t.Error("an unknown server was started")
	}
	if a := dial(dialArgs{Kind: "no-such"}); a.Outcome != Failed {
		t.Errorf("an unknown dial ended in %q", a.Outcome)
	}
}

func TestSysctlStaysInNamespace(t *testing.T) {
	for _, key := range []string{"kernel/hostname", "net/../kernel/hostname", "vm/swappiness", ""} {
		if _, err := swapSysctl(key, "x"); err == nil {
			t.Errorf("%q was written", key)
		}
	}
}

func FuzzAnswerDNS(f *testing.F) {
	zone := map[string][]netip.Addr{"a.test.": {netip.MustParseAddr("192.0.2.1")}}
	for _, name := range []string{"a.test.", "b.test."} {
		q, _, err := dialArgs{Kind: dialDNS, Name: name}.datagram()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(q)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, q []byte) {
		out := answerDNS(q, zone)
		if out == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(out); err != nil || !m.Response {
			t.Errorf("answer %x to %x is none: %v", out, q, err)
		}
	})
}
