package rules

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/tracer"
	pnetns "github.com/podpath/podpath/tracer/netns"
)

const clusterIP = "10.96.0.20"

func (l *lab) kubeProxy() {
	tb := l.table(nftables.TableFamilyIPv4, "kube-proxy")
	services, mark := l.chain(tb, "services"), l.chain(tb, "mark-for-masquerade")
	reject := l.chain(tb, "reject-chain")
	check := l.chain(tb, "service-endpoints-check")
	l.rule(mark, "", es{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native32(^uint32(0x4000)), Xor: native32(0x4000)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}})
	l.rule(reject, "", rejectPort())
	svc := l.chain(tb, "service-ABC-shop/web/udp/p")
	var eps []nftables.SetElement
	for i, ip := range []string{"10.8.0.2", "10.8.0.3"} {
		ep := l.chain(tb, "endpoint-"+ip)
		a := netip.MustParseAddr(ip).As4()
		l.rule(ep, "", from(ip+"/32"), jump("mark-for-masquerade"))
		l.rule(ep, "", l4(17), es{&expr.Immediate{Register: 1, Data: a[:]}, &expr.Immediate{Register: 2, Data: be16(8080)},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: 2, RegAddrMin: 1, RegProtoMin: 2, Specified: true}})
		eps = append(eps, nftables.SetElement{Key: native32(uint32(i)), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: ep.Name}})
	}
	spread := &nftables.Set{Table: tb, Anonymous: true, Constant: true, IsMap: true, KeyType: nftables.TypeInteger, DataType: nftables.TypeVerdict}
	spread.KeyType.Bytes = 4
	must(l.t, l.nft.AddSet(spread, eps))
	l.rule(svc, "", es{&expr.Numgen{Register: 1, Modulus: 2, Type: 1}}, vmap(spread))
	frontends := func(name string, es ...nftables.SetElement) *nftables.Set {
		m := &nftables.Set{Table: tb, Name: name, IsMap: true, DataType: nftables.TypeVerdict, Concatenation: true,
			KeyType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)}
		must(l.t, l.nft.AddSet(m, es))
		return m
	}
	ips := frontends("service-ips", nftables.SetElement{Key: frontendKey(clusterIP, 17, 53), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: svc.Name}})
	empty := frontends("no-endpoint-services", nftables.SetElement{Key: frontendKey(clusterIP, 17, 54), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: "reject-chain"}},
		nftables.SetElement{Key: frontendKey(clusterIP, 17, 56), VerdictData: &expr.Verdict{Kind: expr.VerdictDrop}}) // no local ones
	l.rule(services, "", frontend(), vmap(ips))
	l.rule(check, "", frontend(), vmap(empty))
	l.rule(l.natBase(tb, "nat-prerouting", nftables.ChainHookPrerouting, -100), "", jump("services"))
	l.rule(l.base(tb, "filter-forward", nftables.ChainHookForward, -110, acceptAll), "", state(expr.CtStateBitNEW), jump("service-endpoints-check"))
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func serviceFlow(port uint16) tracer.Query {
	return tracer.Query{Flow: tracer.Tuple{Src: netip.MustParseAddrPort(clientIP + ":40000"), Dst: netip.AddrPortFrom(netip.MustParseAddr(clusterIP), port), Proto: tracer.ProtoUDP}}
}

func TestServices(t *testing.T) {
	l := newLab(t)
	res := l.collect(serviceFlow(53))
	if s := res.Services; s.Any || s.HasFrontend || !s.Complete || len(s.Implementations) != 0 {
		t.Errorf("without rules: %+v", s)
	}
	l.kubeProxy()
	l.flush()
	want := []netip.AddrPort{netip.MustParseAddrPort("10.8.0.2:8080"), netip.MustParseAddrPort("10.8.0.3:8080")}
	for port, exp := range map[uint16]tracer.ServiceRules{
		53: {Any: true, HasFrontend: true, Complete: true, Targets: want},
		54: {Any: true, HasFrontend: true, NoEndpoints: true, Complete: true},
		55: {Any: true, Complete: true},
		56: {Any: true, HasFrontend: true, NoLocal: true, Complete: true},
	} {
		s := l.collect(serviceFlow(port)).Services
		if s.Any != exp.Any || s.HasFrontend != exp.HasFrontend || s.NoEndpoints != exp.NoEndpoints || s.NoLocal != exp.NoLocal || s.Complete != exp.Complete || !slices.Equal(s.Targets, exp.Targets) {
			t.Errorf("port %d: %+v, want %+v", port, *s, exp)
		}
		if !slices.Equal(s.Implementations, []string{"kube-proxy-nftables"}) {
			t.Errorf("implementations %v", s.Implementations)
		}
	}
	// The cached rule set is read again when it changes.
	l.nft.DelTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "kube-proxy"})
	l.flush()
	if s := l.collect(serviceFlow(53)).Services; s.Any || s.HasFrontend {
		t.Errorf("after the rules went: %+v", s)
	}
}

func TestServicesThatAreNotUnderstood(t *testing.T) {
	l := newLab(t)
	tb := l.table(nftables.TableFamilyIPv4, "lb")
	c := l.natBase(tb, "pre", nftables.ChainHookPrerouting, -100)
	a := netip.MustParseAddr("10.8.0.9").As4()
	l.rule(c, "", strange(), es{&expr.Immediate{Register: 1, Data: a[:]}, &expr.NAT{Type: expr.NATTypeDestNAT, Family: 2, RegAddrMin: 1}})
	l.flush()
	s := l.collect(serviceFlow(53)).Services
	if s.HasFrontend || s.Complete || len(s.Targets) != 0 {
		t.Errorf("an undecided translation was taken for one: %+v", s)
	}
}

func TestServicesOfIPTables(t *testing.T) {
	l := newLab(t)
	l.shell("iptables-nft", `
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC - [0:0]
:KUBE-SEP-1 - [0:0]
:KUBE-SEP-2 - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 10.96.0.20/32 -p udp -m comment --comment "shop/web:p cluster IP" -m udp --dport 53 -j KUBE-SVC-ABC
-A KUBE-SVC-ABC ! -s 10.244.0.0/16 -d 10.96.0.20/32 -p udp -m udp --dport 53 -j KUBE-MARK-MASQ
-A KUBE-SVC-ABC -m statistic --mode random --probability 0.5 -j KUBE-SEP-1
-A KUBE-SVC-ABC -j KUBE-SEP-2
-A KUBE-SEP-1 -p udp -m udp -j DNAT --to-destination 10.8.0.2:8080
-A KUBE-SEP-2 -p udp -m udp -j DNAT --to-destination 10.8.0.3:8080
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.20/32 -p udp -m comment --comment "shop/dns has no endpoints" -m udp --dport 54 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-SERVICES -d 10.96.0.20/32 -p udp -m comment --comment "shop/near has no local endpoints" -m udp --dport 56 -j DROP
COMMIT
`)
	want := []netip.AddrPort{netip.MustParseAddrPort("10.8.0.2:8080"), netip.MustParseAddrPort("10.8.0.3:8080")}
	q := serviceFlow(53)
	q.Translated = l.flow(8080)
	res := l.collect(q)
	s := res.Services
	if !s.Any || !s.HasFrontend || s.NoEndpoints || !s.Complete || !slices.Equal(s.Targets, want) || !slices.Equal(s.Implementations, []string{"kube-proxy-iptables"}) {
		t.Errorf("frontend: %+v", s)
	}
	// The client is no pod of 10.244/16, so kube-proxy masquerades.
	if len(res.Masquerade) != 1 || res.Masquerade[0].Owner != "kube-proxy" || !res.MasqueradeRead {
		t.Errorf("masquerade %+v read %v", res.Masquerade, res.MasqueradeRead)
	}
	if s := l.collect(serviceFlow(54)).Services; !s.NoEndpoints || s.NoLocal || !s.HasFrontend {
		t.Errorf("no endpoints: %+v", s)
	}
	if s := l.collect(serviceFlow(56)).Services; s.NoEndpoints || !s.NoLocal || !s.HasFrontend {
		t.Errorf("no local endpoints: %+v", s)
	}
	if s := l.collect(serviceFlow(55)).Services; s.HasFrontend || !s.Any {
		t.Errorf("other port: %+v", s)
	}
}

// The kernel's own list of virtual servers, as kube-proxy makes them.
func TestServicesOfIPVS(t *testing.T) {
	if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
		t.Skip("needs IPVS (module ip_vs)")
	}
	l := newLab(t)
	must(t, handle(t, l.node).LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "kube-ipvs0"}}))
	l.tool("", "ipvsadm", "-A", "-u", "10.96.0.20:53", "-s", "rr")
	l.tool("", "ipvsadm", "-a", "-u", "10.96.0.20:53", "-r", "10.8.0.2:8080", "-m")
	l.tool("", "ipvsadm", "-a", "-u", "10.96.0.20:53", "-r", "10.8.0.3:8080", "-m")
	l.tool("", "ipvsadm", "-a", "-u", "10.96.0.20:53", "-r", "10.8.0.4:8080", "-m", "-w", "0")
	l.tool("", "ipvsadm", "-A", "-u", "10.96.0.20:54", "-s", "rr")
	l.tool("", "ipvsadm", "-A", "-u", "10.96.0.20:56", "-s", "wrr", "-p", "7200")
	l.tool("", "ipvsadm", "-a", "-u", "10.96.0.20:56", "-r", "10.8.0.2:56", "-g", "-w", "7")
	l.tool("", "ipvsadm", "-A", "-u", "10.96.0.20:57", "-s", "rr")
	l.tool("", "ipvsadm", "-a", "-u", "10.96.0.20:57", "-r", "10.8.0.4:8080", "-m", "-w", "0")
	l.tool("", "ipvsadm", "-A", "-u", "[fd96::20]:53", "-s", "rr")
	l.tool("", "ipvsadm", "-a", "-u", "[fd96::20]:53", "-r", "[fd08::2]:8080", "-m")
	want := []netip.AddrPort{netip.MustParseAddrPort("10.8.0.2:8080"), netip.MustParseAddrPort("10.8.0.3:8080")}
	s := l.collect(serviceFlow(53)).Services
	slices.SortFunc(s.Targets, netip.AddrPort.Compare) // the kernel lists the newest first
	if !s.Any || !s.HasFrontend || s.NoEndpoints || !s.Complete || !slices.Equal(s.Targets, want) || !slices.Equal(s.Implementations, []string{"ipvs"}) {
		t.Errorf("frontend: %+v", s)
	}
	dest := func(at, method string, weight int32) tracer.VirtualDestination {
		return tracer.VirtualDestination{Addr: netip.MustParseAddrPort(at), Method: method, Weight: weight}
	}
	if diff := sameServer(s.IPVS, &tracer.VirtualServer{Scheduler: "rr", Destinations: []tracer.VirtualDestination{
		dest("10.8.0.2:8080", "masquerade", 1), dest("10.8.0.3:8080", "masquerade", 1), dest("10.8.0.4:8080", "masquerade", 0)}}); diff != "" {
		t.Errorf("virtual server: %s", diff)
	}
	for _, port := range []uint16{54, 57} {
		if s := l.collect(serviceFlow(port)).Services; !s.NoEndpoints || !s.HasFrontend || !s.Complete {
			t.Errorf("no endpoints, or all drained, port %d: %+v", port, s)
		}
	}
	s = l.collect(serviceFlow(56)).Services
	if diff := sameServer(s.IPVS, &tracer.VirtualServer{Scheduler: "wrr", Persistence: 2 * time.Hour, Destinations: []tracer.VirtualDestination{dest("10.8.0.2:56", "direct", 7)}}); diff != "" || s.NoEndpoints || len(s.Targets) != 0 {
		t.Errorf("direct routing: %+v %s", s, diff)
	}
	if s := l.collect(serviceFlow(55)).Services; s.HasFrontend || !s.Any || !s.Complete || s.IPVS != nil {
		t.Errorf("other port: %+v", s)
	}
	six := serviceFlow(53)
	six.Flow.Src, six.Flow.Dst = netip.MustParseAddrPort("[fd07::2]:40000"), netip.MustParseAddrPort("[fd96::20]:53")
	if s := l.collect(six).Services; !slices.Equal(s.Targets, []netip.AddrPort{netip.MustParseAddrPort("[fd08::2]:8080")}) {
		t.Errorf("IPv6: %+v", s)
	}
	// A server by mark may take any packet, but one that has a server of its own.
	l.tool("", "ipvsadm", "-A", "-f", "77", "-s", "rr")
	if s := l.collect(serviceFlow(55)).Services; s.HasFrontend || s.Complete {
		t.Errorf("a server by mark: %+v", s)
	}
	if s := l.collect(serviceFlow(53)).Services; !s.HasFrontend || !s.Complete {
		t.Errorf("a server by address beside one by mark: %+v", s)
	}
}

// shell restores rules with a tool of iptables, if it is there.
func (l *lab) shell(tool, rules string) {
	l.t.Helper()
	l.tool(rules, tool+"-restore")
}

// tool runs a program of Debian's on the node.
func (l *lab) tool(stdin string, argv ...string) {
	l.t.Helper()
	if out, err := l.try(stdin, argv...); err != nil {
		l.t.Fatalf("%s: %v\n%s", argv[0], err, out)
	}
}

// try is tool for what the kernel may refuse.
func (l *lab) try(stdin string, argv ...string) (out string, err error) {
	l.t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			l.t.Fatalf("needs %s", argv[0])
		}
		l.t.Skipf("needs %s", argv[0])
	}
	err = pnetns.Do(int(l.node.Fd()), func() error {
		cmd := exec.Command(path, argv[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		b, err := cmd.CombinedOutput()
		out = string(b)
		return err
	})
	return out, err
}

func TestMasquerade(t *testing.T) {
	l := newLab(t)
	outside := tracer.Query{Flow: l.flow(443)}
	if res := l.collect(outside); len(res.Masquerade) != 0 || !res.MasqueradeRead {
		t.Errorf("without rules: %+v %v", res.Masquerade, res.MasqueradeRead)
	}
	tb := l.table(nftables.TableFamilyIPv4, "flannel-ipv4")
	c := l.natBase(tb, "postrtg", nftables.ChainHookPostrouting, 100)
	l.rule(c, "flanneld masq", from("10.7.0.0/16"), to("10.7.0.0/16"), ret())
	l.rule(c, "flanneld masq", from("10.7.0.0/16"), oifname("out0"), es{&expr.Masq{}})
	l.flush()
	res := l.collect(outside)
	if len(res.Masquerade) != 1 || res.Masquerade[0].Verdict != "masquerade" || res.Masquerade[0].Owner != "flannel" || !res.MasqueradeRead {
		t.Errorf("masquerade %+v read %v", res.Masquerade, res.MasqueradeRead)
	}
	inside := tracer.Query{Flow: l.flow(443)}
	inside.Flow.Dst = netip.MustParseAddrPort("10.7.0.9:443")
	if res := l.collect(inside); len(res.Masquerade) != 0 || !res.MasqueradeRead {
		t.Errorf("inside: %+v read %v", res.Masquerade, res.MasqueradeRead)
	}
	// A rule that cannot be decided proves neither.
	l.nft.FlushChain(c)
	l.rule(c, "", strange(), ret())
	l.rule(c, "", es{&expr.Masq{}})
	l.flush()
	if res := l.collect(outside); len(res.Masquerade) != 0 || res.MasqueradeRead {
		t.Errorf("undecided: %+v read %v", res.Masquerade, res.MasqueradeRead)
	}
}

func TestLegacyRules(t *testing.T) {
	l := newLab(t)
	l.warm(6000)
	l.shell("iptables-legacy", `
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:cali-tw-x - [0:0]
-A FORWARD -p udp -m udp --dport 5000 -j DROP
-A FORWARD -i in+ -d 10.8.0.2/32 -g cali-tw-x
-A cali-tw-x -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-x -m comment --comment "cali:abc" -m comment --comment "Drop if no policies passed packet" -j DROP
COMMIT
`)
	ctx, cancel := testContext()
	defer cancel()
	must(t, l.r.Baseline(ctx))
	if l.send(6000) {
		t.Fatal("the packet was not dropped")
	}
	q := l.query(6000)
	q.Drops[0].Drop.Engine, q.Drops[0].Drop.Location = "xtables", "nf_hook_slow"
	res := l.collect(q)
	if len(res.Rules) != 1 || res.Rules[0].Engine != "iptables-legacy" || res.Rules[0].Chain != "cali-tw-x" || res.Rules[0].Owner != "calico" || res.Rules[0].How != "counter" {
		t.Errorf("rules %+v", res.Rules)
	}
}

// A client that is on an endpoint's list goes there, and nowhere else; the others'
// endpoints are named all the same.
func TestAffinity(t *testing.T) {
	l := newLab(t)
	l.tool(`table ip kube-proxy {
	set affinity-A-shop/web/udp/p__10.8.0.2/8080 { type ipv4_addr; flags dynamic,timeout; timeout 3h; }
	set affinity-B-shop/web/udp/p__10.8.0.3/8080 { type ipv4_addr; flags dynamic,timeout; timeout 3h; }
	chain endpoint-A { update @affinity-A-shop/web/udp/p__10.8.0.2/8080 { ip saddr }; meta l4proto udp dnat to 10.8.0.2:8080; }
	chain endpoint-B { update @affinity-B-shop/web/udp/p__10.8.0.3/8080 { ip saddr }; meta l4proto udp dnat to 10.8.0.3:8080; }
	chain service-ABC-shop/web/udp/p {
		ip saddr @affinity-A-shop/web/udp/p__10.8.0.2/8080 goto endpoint-A
		ip saddr @affinity-B-shop/web/udp/p__10.8.0.3/8080 goto endpoint-B
		numgen random mod 2 vmap { 0 : goto endpoint-A, 1 : goto endpoint-B }
	}
	chain services { ip daddr 10.96.0.20 udp dport 53 goto service-ABC-shop/web/udp/p; }
	chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
}
`, "nft", "-f", "-")
	both := []netip.AddrPort{netip.MustParseAddrPort("10.8.0.2:8080"), netip.MustParseAddrPort("10.8.0.3:8080")}
	s := l.collect(serviceFlow(53)).Services
	if s.Affinity != 3*time.Hour || s.Pinned.IsValid() || !slices.Equal(s.Targets, both) || !s.Complete {
		t.Errorf("a new client: %+v", s)
	}
	l.tool("add element ip kube-proxy affinity-B-shop/web/udp/p__10.8.0.3/8080 { "+clientIP+" }\n", "nft", "-f", "-")
	s = l.collect(serviceFlow(53)).Services
	if s.Affinity != 3*time.Hour || s.Pinned != both[1] || !slices.Equal(s.Targets, both) || !s.Complete {
		t.Errorf("a client that stays: %+v", s)
	}
}

// Of iptables' list of clients only for how long they stay is read.
func TestAffinityOfIPTables(t *testing.T) {
	const save = `*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC - [0:0]
:KUBE-SEP-1 - [0:0]
:KUBE-SEP-2 - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.20/32 -p udp -m udp --dport 53 -j KUBE-SVC-ABC
-A KUBE-SVC-ABC -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-1 --mask 255.255.255.255 --rsource -j KUBE-SEP-1
-A KUBE-SVC-ABC -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-2 --mask 255.255.255.255 --rsource -j KUBE-SEP-2
-A KUBE-SVC-ABC -m statistic --mode random --probability 0.5 -j KUBE-SEP-1
-A KUBE-SVC-ABC -j KUBE-SEP-2
-A KUBE-SEP-1 -p udp -m recent --set --name KUBE-SEP-1 --mask 255.255.255.255 --rsource -m udp -j DNAT --to-destination 10.8.0.2:8080
-A KUBE-SEP-2 -p udp -m recent --set --name KUBE-SEP-2 --mask 255.255.255.255 --rsource -m udp -j DNAT --to-destination 10.8.0.3:8080
COMMIT
`
	rs := &ruleset{}
	parseSave(rs, save, famIP)
	p := &packet{Tuple: serviceFlow(53).Flow, orig: serviceFlow(53).Flow, markKnown: true, state: stNew, reply: triNo, iif: device{index: 9}, oif: device{none: true}}
	w := &walk{m: newMachine(p, fakeEnv{})}
	for _, c := range rs.hookChains(famIP, hookPrerouting, nil) {
		w.run(c)
	}
	var longest time.Duration
	for _, h := range w.hits {
		longest = max(longest, affinity(h.path))
	}
	if longest != 3*time.Hour {
		t.Errorf("clients stay for %s", longest)
	}
	if got := recentMatch(append([]byte{0x30, 0x2a, 0, 0, 0, 0, 0, 0, 1 | 32, 0}, make([]byte, 200)...)); got.(stays).within != 3*time.Hour {
		t.Errorf("xt_recent: %+v", got)
	}
	if got := recentMatch(append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 2, 0}, make([]byte, 200)...)); got.(stays).within != 0 {
		t.Errorf("xt_recent, --set: %+v", got)
	}
}
