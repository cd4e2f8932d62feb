package rules

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// benchServices is the size of a big cluster: each Service has a chain and two
// endpoints with one each.
const benchServices = 2000

func BenchmarkCollect(b *testing.B) {
	l := newLab(b)
	tb := l.table(nftables.TableFamilyIPv4, "kube-proxy")
	services := l.chain(tb, "services")
	var elems []nftables.SetElement
	for i := range benchServices {
		ip := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
		svc := l.chain(tb, fmt.Sprintf("service-%d-shop/web/tcp/p", i))
		for e := range 2 {
			ep := l.chain(tb, fmt.Sprintf("endpoint-%d-%d", i, e))
			l.rule(ep, "", from("10.0.0.1/32"), accept())
			l.rule(ep, "", l4(6), es{&expr.Immediate{Register: 1, Data: []byte{10, 0, 0, 1}}, &expr.NAT{Type: expr.NATTypeDestNAT, Family: 2, RegAddrMin: 1}})
			l.rule(svc, "", gotoChain(ep.Name))
		}
		elems = append(elems, nftables.SetElement{Key: frontendKey(ip.String(), 6, 80), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: svc.Name}})
		if i%20 == 19 { // a batch must fit the socket buffer
			l.flush()
		}
	}
	m := &nftables.Set{Table: tb, Name: "service-ips", IsMap: true, DataType: nftables.TypeVerdict, Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)}
	must(b, l.nft.AddSet(m, nil))
	l.flush()
	for len(elems) > 0 {
		n := min(len(elems), 200)
		must(b, l.nft.SetAddElements(m, elems[:n]))
		l.flush()
		elems = elems[n:]
	}
	l.rule(services, "", frontend(), vmap(m))
	l.rule(l.natBase(tb, "nat-prerouting", nftables.ChainHookPrerouting, -100), "", jump("services"))
	l.flush()
	q := serviceFlow(80)
	q.Flow.Proto = 6
	q.Flow.Dst = netip.MustParseAddrPort("10.96.7.1:80")
	ctx, cancel := testContext()
	defer cancel()
	b.Run("unchanged rules", func(b *testing.B) {
		for b.Loop() {
			if res := l.r.Collect(ctx, q); !res.Services.HasFrontend {
				b.Fatalf("%+v %+v", res.Services, res.Blind)
			}
		}
	})
	b.Run("changed rules", func(b *testing.B) {
		for b.Loop() {
			delete(l.r.spaces, l.r.hostNS)
			if res := l.r.Collect(ctx, q); !res.Services.HasFrontend {
				b.Fatalf("%+v %+v", res.Services, res.Blind)
			}
		}
	})
}
