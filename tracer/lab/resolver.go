package lab

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A resolver asks another one this often, and waits that long each time.
const (
	forwardTries = 2
	forwardWait  = time.Second
)

func listenDNS(a listenArgs) (io.Closer, error) {
	answer := func(q []byte) []byte {
		time.Sleep(a.Delay)
		switch {
		case a.RCode != 0:
			return failDNS(q, dnsmessage.RCode(a.RCode))
		case a.Forward.IsValid() && !inZone(q, a.Zone):
			return forwardDNS(q, a.Forward)
		}
		return answerDNS(q, a.Zone)
	}
	byUDP := answer
	if a.Cut {
		byUDP = cutDNS
	}
	udp, err := listenUDP(a.Addr, byUDP)
	if err != nil || a.UDPOnly {
		return udp, err
	}
	tcp, err := listenTCP(a.Addr, func(conn net.Conn) {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		q := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, q); err != nil {
			return
		}
		out := answer(q)
		_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
	})
	if err != nil {
		_ = udp.Close()
		return nil, err
	}
	return closers{udp, tcp}, nil
}

// inZone also says so of what is no question.
func inZone(msg []byte, zone map[string][]netip.Addr) bool {
	var m dnsmessage.Message
	if m.Unpack(msg) != nil || len(m.Questions) == 0 {
		return true
	}
	_, known := zone[strings.ToLower(m.Questions[0].Name.String())]
	return known || strings.HasSuffix(m.Questions[0].Name.String(), dnsName)
}

// forwardDNS asks another resolver, from a new socket each time, and fails if it
// does not answer.
func forwardDNS(q []byte, to netip.AddrPort) []byte {
	for range forwardTries {
		out, err := askUDP(q, to)
		if err == nil {
			return out
		}
		if ne := net.Error(nil); !errors.As(err, &ne) || !ne.Timeout() {
			break // refused
		}
	}
	return failDNS(q, dnsmessage.RCodeServerFailure)
}

func askUDP(q []byte, to netip.AddrPort) ([]byte, error) {
	conn, err := net.DialUDP(network("udp", to.Addr()), nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(forwardWait)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(q); err != nil {
		return nil, err
	}
	buf := make([]byte, 65535)
	n, err := conn.Read(buf)
	return buf[:n], err
}

// cutDNS answers that the answer does not fit.
func cutDNS(msg []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(msg) != nil || m.Response {
		return nil
	}
	m.Response, m.Truncated, m.Additionals = true, true, nil
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

// answerDNS answers one question from the zone, NXDOMAIN for names not in it,
// nil for what is no query.
func answerDNS(msg []byte, zone map[string][]netip.Addr) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(msg)
	if err != nil || head.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	addrs, known := zone[strings.ToLower(q.Name.String())]
	reply := dnsmessage.Header{ID: head.ID, Response: true, Authoritative: true, RecursionDesired: head.RecursionDesired}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, reply)
	if b.StartQuestions() != nil || b.Question(q) != nil || b.StartAnswers() != nil {
		return nil
	}
	rh := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}
	for _, a := range addrs {
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			err = b.AResource(rh, dnsmessage.AResource{A: a.As4()})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			err = b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: a.As16()})
		}
		if err != nil {
			return nil
		}
	}
	out, err := b.Finish()
	if err != nil {
		return nil
	}
	return out
}

// failDNS answers every question with the same code.
func failDNS(msg []byte, code dnsmessage.RCode) []byte {
	var m dnsmessage.Message
	if m.Unpack(msg) != nil || m.Response {
		return nil
	}
	m.Response, m.RCode, m.Additionals = true, code, nil
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}
