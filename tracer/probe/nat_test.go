package probe

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/tracer"
)

func TestTranslation(t *testing.T) {
	testTranslation(t, func(s *space, service, target netip.AddrPort) {
		s.dnat(service, target, tracer.ProtoTCP)
		s.masquerade(target.Addr())
	})
}

func TestTranslationIPTablesNFT(t *testing.T) {
	testTranslation(t, func(s *space, service, target netip.AddrPort) { s.iptables("nft", service, target) })
}

func TestTranslationIPTablesLegacy(t *testing.T) {
	if _, err := os.Stat("/proc/net/ip_tables_names"); err != nil {
		t.Skip("needs iptables-legacy (module ip_tables)")
	}
	testTranslation(t, func(s *space, service, target netip.AddrPort) { s.iptables("legacy", service, target) })
}

// The director forwards by translation, and keeps conntrack up to date, as
// kube-proxy asks for.
func TestTranslationIPVS(t *testing.T) {
	if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
		t.Skip("needs IPVS (module ip_vs)")
	}
	testTranslation(t, func(s *space, service, target netip.AddrPort) {
		s.must(s.nl.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "kube-ipvs0"}}))
		s.addr("kube-ipvs0", netip.PrefixFrom(service.Addr(), service.Addr().BitLen()).String())
		s.sysctl("net/ipv4/vs/conntrack", "1")
		s.tool("", "ipvsadm", "-A", "-t", service.String(), "-s", "rr")
		s.tool("", "ipvsadm", "-a", "-t", service.String(), "-r", target.String(), "-m")
		s.masquerade(target.Addr())
	})
}

// iptables translates as kube-proxy would, by one of the two backends.
func (s *space) iptables(backend string, service, target netip.AddrPort) {
	s.t.Helper()
	family := "iptables"
	if service.Addr().Is6() {
		family = "ip6tables"
	}
	s.tool(fmt.Sprintf(`*nat
-A PREROUTING -d %s -p tcp -m tcp --dport %d -j DNAT --to-destination %s
-A POSTROUTING -d %s -j MASQUERADE
COMMIT
`, service.Addr(), service.Port(), target, target.Addr()), family+"-"+backend+"-restore")
}

// tool runs a program of Debian's in the namespace.
func (s *space) tool(stdin string, argv ...string) {
	s.t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			s.t.Fatalf("needs %s", argv[0])
		}
		s.t.Skipf("needs %s", argv[0])
	}
	s.do(func() error {
		cmd := exec.Command(path, argv[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
		}
		return nil
	})
}

// One event at egress carries the flow before and after translation, and the
// answer is recognised at the uplink, before conntrack has seen it.
func testTranslation(t *testing.T, translate func(s *space, service, target netip.AddrPort)) {
	cases := []struct {
		name                            string
		client, service, target, uplink string
	}{
		{"v4", client4, "10.96.0.20:80", server4 + ":8080", "10.2.0.1"},
		{"v6", client6, "[fd96::20]:80", "[" + server6 + "]:8080", "fd02::1"},
	}
	eachTier(t, func(t *testing.T, tier Tier) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				n := newTopology(t)
				service, target := netip.MustParseAddrPort(c.service), netip.MustParseAddrPort(c.target)
				translate(n.node, service, target)
				// Only the client and the Service: not what they become.
				r := record(t, Config{Tier: tier}, Selection{
					A: prefixes(c.client), B: prefixes(service.Addr().String()),
				}, n.all()...)
				n.server.listenTCP(target.String())
				n.client.dialTCP(service.String())
				e := r.wait("SYN leaving translated", func(e tracer.Event) bool {
					return at(tracer.EventTX, n.node.key("tos"))(e) && e.TCPFlags == tracer.TCPSyn
				})
				if e.Tuple.Dst != target || e.Tuple.Src.Addr() != netip.MustParseAddr(c.uplink) {
					t.Errorf("header %s", e.Tuple)
				}
				if e.CT == nil || e.CT.Orig.Dst != service || e.CT.Orig.Src.Addr() != netip.MustParseAddr(c.client) ||
					e.CT.Reply != e.Tuple.Reverse() || !e.CT.DNAT() || !e.CT.SNAT() || e.CT.IsReply() {
					t.Errorf("conntrack %+v", e.CT)
				}
				answer := r.wait("answer at the uplink", func(e tracer.Event) bool {
					return at(tracer.EventRX, n.node.key("tos"))(e) && e.TCPFlags == tracer.TCPSyn|tracer.TCPAck
				})
				if answer.Tuple != e.Tuple.Reverse() || answer.CT != nil {
					t.Errorf("%s", describe(answer))
				}
				// By its translated tuple, behind the node.
				r.wait("SYN at the server", func(e tracer.Event) bool {
					return at(tracer.EventRX, n.server.key("eth0"))(e) && e.TCPFlags == tracer.TCPSyn
				})
				back := r.wait("answer to the client", func(e tracer.Event) bool {
					return at(tracer.EventTX, n.node.key("toc"))(e) && e.TCPFlags == tracer.TCPSyn|tracer.TCPAck
				})
				if back.Tuple.Src != service || back.CT == nil || !back.CT.IsReply() {
					t.Errorf("%s", describe(back))
				}
			})
		}
	})
}
