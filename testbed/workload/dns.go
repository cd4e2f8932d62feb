package workload

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Outcomes of a look-up that was answered.
const (
	NoSuchName    Outcome = "nxdomain"
	ServerFailure Outcome = "servfail"
	DNSRefused    Outcome = "dns-refused"
	NoAddress     Outcome = "no-address" // the name has none of this family
)

// Lookup asks a DNS server for the addresses of a name, once, by udp or tcp: for
// the IPv4 ones, or for the IPv6 ones.
func Lookup(ctx context.Context, network, server, name string, six bool, limit time.Duration) Try {
	begun := time.Now()
	kind := dnsmessage.TypeA
	if six {
		kind = dnsmessage.TypeAAAA
	}
	code, who, err := query(ctx, network, server, name, kind, limit)
	t := Try{Outcome: outcomeOf(err, false), Took: time.Since(begun), Who: who}
	switch {
	case err != nil:
		t.Error = err.Error()
	case code == dnsmessage.RCodeNameError:
		t.Outcome = NoSuchName
	case code == dnsmessage.RCodeServerFailure:
		t.Outcome = ServerFailure
	case code == dnsmessage.RCodeRefused:
		t.Outcome = DNSRefused
	case code != dnsmessage.RCodeSuccess:
		t.Outcome, t.Error = ServerFailure, code.String()
	case who == "":
		t.Outcome = NoAddress
	}
	return t
}

func query(ctx context.Context, network, server, name string, kind dnsmessage.Type, limit time.Duration) (dnsmessage.RCode, string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	host, err := dnsmessage.NewName(name)
	if err != nil {
		return 0, "", err
	}
	ask := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(time.Now().UnixNano()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: host, Type: kind, Class: dnsmessage.ClassINET}},
	}
	packet, err := ask.Pack()
	if err != nil {
		return 0, "", err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, "", err
	}
	answer, err := converse(conn, packet, network == "tcp")
	if err != nil {
		return 0, "", err
	}
	var reply dnsmessage.Message
	if err := reply.Unpack(answer); err != nil {
		return 0, "", err
	}
	if reply.ID != ask.ID {
		return 0, "", fmt.Errorf("answer %d to question %d", reply.ID, ask.ID)
	}
	for _, a := range reply.Answers {
		switch a := a.Body.(type) {
		case *dnsmessage.AResource:
			return reply.RCode, net.IP(a.A[:]).String(), nil
		case *dnsmessage.AAAAResource:
			return reply.RCode, net.IP(a.AAAA[:]).String(), nil
		}
	}
	return reply.RCode, "", nil
}

// converse sends a message and reads one; on a stream each has its length before
// it (RFC 1035 §4.2.2).
func converse(conn net.Conn, ask []byte, stream bool) ([]byte, error) {
	buf := make([]byte, 64<<10)
	if !stream {
		if _, err := conn.Write(ask); err != nil {
			return nil, err
		}
		n, err := conn.Read(buf)
		return buf[:n], err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(ask))), ask...)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(conn, buf[:2]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(buf)
	_, err := io.ReadFull(conn, buf[:n])
	return buf[:n], err
}
