package workload

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Outcomes of a look-up that was answered.
const (
	NoSuchName    Outcome = "nxdomain"
	ServerFailure Outcome = "servfail"
	DNSRefused    Outcome = "dns-refused"
)

// Lookup asks a DNS server for the IPv4 addresses of a name, once, by UDP.
func Lookup(ctx context.Context, server, name string, limit time.Duration) Try {
	begun := time.Now()
	code, who, err := query(ctx, server, name, limit)
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
	}
	return t
}

func query(ctx context.Context, server, name string, limit time.Duration) (dnsmessage.RCode, string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	host, err := dnsmessage.NewName(name)
	if err != nil {
		return 0, "", err
	}
	ask := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(time.Now().UnixNano()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: host, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	packet, err := ask.Pack()
	if err != nil {
		return 0, "", err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, "", err
	}
	if _, err := conn.Write(packet); err != nil {
		return 0, "", err
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		return 0, "", err
	}
	var reply dnsmessage.Message
	if err := reply.Unpack(buf[:n]); err != nil {
		return 0, "", err
	}
	if reply.ID != ask.ID {
		return 0, "", fmt.Errorf("answer %d to question %d", reply.ID, ask.ID)
	}
	for _, a := range reply.Answers {
		if a, ok := a.Body.(*dnsmessage.AResource); ok {
			return reply.RCode, net.IP(a.A[:]).String(), nil
		}
	}
	return reply.RCode, "", nil
}
