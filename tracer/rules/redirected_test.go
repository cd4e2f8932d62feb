package rules

import (
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// destination is "dnat to ADDRESS:PORT".
func destination(a netip.AddrPort) es {
	return es{
		&expr.Immediate{Register: 1, Data: a.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: []byte{byte(a.Port() >> 8), byte(a.Port())}},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}

// A rule that gives the flow another destination is told, unless it is a Service's or
// not certain to.
func TestRedirected(t *testing.T) {
	pre, there := nftables.ChainHookPrerouting, netip.MustParseAddrPort("192.0.2.9:81")
	here := es{&expr.Redir{}}
	for _, tc := range []struct {
		name  string
		build func(l *lab)
		want  string // chain, verdict and endpoint
	}{
		{"to another address", func(l *lab) {
			c := l.natBase(l.table(nftables.TableFamilyIPv4, "forwards"), "first", pre, -110)
			l.rule(c, "", udp(5000), destination(netip.MustParseAddrPort("192.0.2.1:1")))
			l.rule(c, "", udp(6000), destination(there))
		}, "first dnat 192.0.2.9:81"},
		{"to the node", func(l *lab) {
			l.rule(l.natBase(l.table(nftables.TableFamilyINet, "proxy"), "first", pre, -110), "", udp(6000), here)
		}, "first redirect invalid AddrPort"},
		{"by the first of two", func(l *lab) {
			l.rule(l.natBase(l.table(nftables.TableFamilyIPv4, "a"), "early", pre, -120), "", udp(6000), destination(there))
			l.rule(l.natBase(l.table(nftables.TableFamilyIPv4, "b"), "late", pre, -100), "", udp(6000), here)
		}, "early dnat 192.0.2.9:81"},
		{"others", func(l *lab) {
			l.rule(l.natBase(l.table(nftables.TableFamilyIPv4, "forwards"), "first", pre, -110), "", udp(5000), destination(there))
		}, ""},
		{"what the node itself sends", func(l *lab) {
			l.rule(l.natBase(l.table(nftables.TableFamilyIPv4, "forwards"), "out", nftables.ChainHookOutput, -110), "", udp(6000), destination(there))
		}, ""},
		{"whether it matches is not known", func(l *lab) {
			l.rule(l.natBase(l.table(nftables.TableFamilyIPv4, "forwards"), "first", pre, -110), "", udp(6000), strange(), destination(there))
		}, ""},
		{"a Service's", func(l *lab) {
			tb := l.table(nftables.TableFamilyIPv4, "kube-proxy")
			c := l.natBase(tb, "nat-prerouting", pre, -110)
			l.rule(l.chain(tb, "service-AAAAAAAA-shop/web/udp/x"), "", destination(there))
			l.rule(c, "", udp(6000), jump("service-AAAAAAAA-shop/web/udp/x"))
		}, ""},
		{"a Service's comes first", func(l *lab) {
			tb := l.table(nftables.TableFamilyIPv4, "kube-proxy")
			c := l.natBase(tb, "nat-prerouting", pre, -110)
			l.rule(l.chain(tb, "service-AAAAAAAA-shop/web/udp/x"), "", destination(there))
			l.rule(c, "", udp(6000), jump("service-AAAAAAAA-shop/web/udp/x"))
			l.rule(l.natBase(l.table(nftables.TableFamilyIPv4, "late"), "late", pre, -90), "", udp(6000), here)
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			l.warm(6000)
			tc.build(l)
			l.flush()
			got := ""
			for _, f := range l.collect(l.query(6000)).Redirected {
				got += f.Chain + " " + f.Verdict + " " + f.Endpoint.String()
			}
			if got != tc.want {
				t.Errorf("redirected by %q, want %q", got, tc.want)
			}
		})
	}
}

// The facts say what was found.
func TestRedirectedIsAdded(t *testing.T) {
	f, r := tracer.NodeFacts{}, Result{Redirected: []tracer.RuleFact{{Chain: "c"}}}
	if r.AddTo(&f); len(f.Redirected) != 1 {
		t.Errorf("%+v", f.Redirected)
	}
}
