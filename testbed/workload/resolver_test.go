package workload

import (
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestResolve(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")
	for name, c := range map[string]struct {
		own     netip.Addr
		kind    dnsmessage.Type
		code    dnsmessage.RCode
		records int
	}{
		"its address":            {four, dnsmessage.TypeA, dnsmessage.RCodeSuccess, 1},
		"its IPv6 address":       {six, dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, 1},
		"an address it has not":  {four, dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, 0},
		"something else":         {four, dnsmessage.TypeHINFO, dnsmessage.RCodeSuccess, 0},
		"any, and it is to fail": {four, dnsmessage.TypeA, dnsmessage.RCodeServerFailure, 0},
	} {
		ask := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("www.example.net."), Type: c.kind, Class: dnsmessage.ClassINET}}}
		packet, err := ask.Pack()
		if err != nil {
			t.Fatal(err)
		}
		out, err := resolve(packet, c.own, c.code)
		if err != nil {
			t.Fatal(err)
		}
		var got dnsmessage.Message
		if err := got.Unpack(out); err != nil {
			t.Fatal(err)
		}
		if !got.Response || got.ID != ask.ID || got.RCode != c.code || len(got.Answers) != c.records || len(got.Questions) != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := resolve([]byte("no question"), four, dnsmessage.RCodeSuccess); err == nil {
		t.Error("answers what is no question")
	}
}
