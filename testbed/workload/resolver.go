package workload

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// Resolve answers lookups over UDP, of every name with one address of its own,
// or all of them with a failure, until ctx ends.
func Resolve(ctx context.Context, at netip.AddrPort, code dnsmessage.RCode) error {
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
		if out, err := resolve(buf[:n], at.Addr(), code); err == nil {
			_, _ = conn.WriteToUDPAddrPort(out, from)
		}
	}
}

// resolve answers one question.
func resolve(ask []byte, own netip.Addr, code dnsmessage.RCode) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(ask); err != nil {
		return nil, err
	}
	m.Response, m.RecursionAvailable, m.RCode, m.Additionals = true, true, code, nil
	for _, q := range m.Questions {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
		switch {
		case code != dnsmessage.RCodeSuccess:
		case q.Type == dnsmessage.TypeA && own.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AResource{A: own.As4()}})
		case q.Type == dnsmessage.TypeAAAA && own.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AAAAResource{AAAA: own.As16()}})
		}
	}
	return m.Pack()
}
