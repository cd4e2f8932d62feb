package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

func tcp(src, dst string) tracer.Tuple {
	return tracer.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Proto: tracer.ProtoTCP}
}

func collect(t *testing.T, n *Node, q tracer.Query) tracer.NodeFacts {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	begun := time.Now()
	f := n.Collect(ctx, q)
	t.Logf("collected in %v", time.Since(begun))
	for _, b := range f.Blind {
		t.Errorf("blind: %+v", b)
	}
	return f
}

func routeFor(t *testing.T, f tracer.NodeFacts, question string) tracer.RouteFact {
	t.Helper()
	for _, r := range f.Routes {
		if r.For == question {
			return r
		}
	}
	t.Fatalf("no route %q in %+v", question, f.Routes)
	return tracer.RouteFact{}
}

func TestCollectBetweenPods(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	c.n1.sysctl("net/ipv4/ip_forward", "1")
	n := c.n1.node()
	inventory(t, n)
	q := tracer.Query{Flow: tcp("10.91.1.10:40000", "10.91.1.11:8080"), SrcNetNS: c.p1.inode, DstNetNS: c.p2.inode}
	var l4, l6 net.Listener
	var pc net.PacketConn
	c.p2.in(func() (err error) {
		if l4, err = net.Listen("tcp4", "127.0.0.1:8080"); err != nil {
			return err
		}
		if l6, err = net.Listen("tcp", "[::]:9090"); err != nil {
			return err
		}
		pc, err = net.ListenPacket("udp4", "0.0.0.0:5353")
		return err
	})
	defer l4.Close()
	defer l6.Close()
	defer pc.Close()
	f := collect(t, n, q)

	if f.SrcDevice == nil || f.SrcDevice.NetNS != c.p1.inode || f.SrcPeer == nil || f.SrcPeer.Name != "veth1" {
		t.Errorf("source device %+v, peer %+v", f.SrcDevice, f.SrcPeer)
	}
	if f.DstDevice == nil || f.DstDevice.NetNS != c.p2.inode || f.DstPeer == nil || f.DstPeer.Name != "veth2" {
		t.Errorf("destination device %+v, peer %+v", f.DstDevice, f.DstPeer)
	}
	if r := routeFor(t, f, "forward"); r.Type != "unicast" || r.Dev != "cni0" || r.IIF != "cni0" || r.Prefix != "10.91.1.0/24" || r.Table != "main" || r.Protocol != "kernel" {
		t.Errorf("forward: %+v", r)
	}
	if r := routeFor(t, f, "src-pod"); r.Dev != "eth0" || r.Prefix != "10.91.1.0/24" {
		t.Errorf("src-pod: %+v", r)
	}
	want := map[string]bool{"127.0.0.1:8080": false, "[::]:9090": false, "0.0.0.0:5353": false}
	for _, l := range f.Listeners {
		if _, ok := want[l.Addr.String()]; !ok {
			t.Errorf("unexpected listener %+v", l)
		}
		want[l.Addr.String()] = true
		if l.V6Only {
			t.Errorf("%v is no v6-only socket", l.Addr)
		}
		if l.Proto == tracer.ProtoTCP && l.Backlog == 0 {
			t.Errorf("backlog of %v is 0", l.Addr)
		}
	}
	for a, ok := range want {
		if !ok {
			t.Errorf("listener %s not found", a)
		}
	}
	if !f.ListenersRead {
		t.Error("sockets not read")
	}
	if got := f.Sysctls["net.ipv4.ip_forward"]; got != "1" {
		t.Errorf("ip_forward = %q", got)
	}
	for _, name := range []string{"net.ipv4.conf.cni0.rp_filter", "net.ipv4.conf.veth1.forwarding", fmt.Sprintf("%d:net.ipv4.conf.eth0.rp_filter", c.p2.inode)} {
		if f.Sysctls[name] == "" {
			t.Errorf("%s not read", name)
		}
	}
}

func TestCollectRoutesThatFail(t *testing.T) {
	needRoot(t)
	c := newCluster(t, false, true)
	c.n1.sysctl("net/ipv4/ip_forward", "1")
	c.n1.route("10.91.2.0/24", "", "", unix.RTN_BLACKHOLE)
	c.n1.route("10.95.0.0/16", "", "", unix.RTN_UNREACHABLE)
	c.n1.route("10.96.0.0/16", "", "", unix.RTN_PROHIBIT)
	n := c.n1.node()
	inventory(t, n)
	for dst, want := range map[string][2]string{
		"10.91.2.10:80":  {"blackhole", "10.91.2.0/24"},
		"10.95.1.1:80":   {"unreachable", "10.95.0.0/16"},
		"10.96.1.1:80":   {"prohibit", "10.96.0.0/16"},
		"203.0.113.5:80": {"none", ""},
		"172.31.0.12:80": {"unicast", "172.31.0.0/24"},
		"172.31.0.11:80": {"local", "172.31.0.11/32"},
	} {
		f := collect(t, n, tracer.Query{Flow: tcp("10.91.1.10:40000", dst), SrcNetNS: c.p1.inode})
		if r := routeFor(t, f, "forward"); r.Type != want[0] || r.Prefix != want[1] {
			t.Errorf("%s: %+v, want %v", dst, r, want)
		}
		if r := routeFor(t, f, "src-pod"); r.Type != "unicast" || r.Via != netip.MustParseAddr("10.91.1.1") {
			t.Errorf("src-pod: %+v", r)
		}
	}
	// A pod without a default route cannot answer.
	f := collect(t, n, tracer.Query{Flow: tcp("172.31.0.12:40000", "10.91.1.11:80"), DstNetNS: c.p2.inode})
	if r := routeFor(t, f, "dst-pod"); r.Type != "none" || r.NetNS != c.p2.inode {
		t.Errorf("dst-pod: %+v", r)
	}
	if r := routeFor(t, f, "forward"); r.IIF != "eth0" || r.Dev != "cni0" {
		t.Errorf("forward: %+v", r)
	}
	// With forwarding off the FIB still knows the way.
	c.n1.sysctl("net/ipv4/ip_forward", "0")
	f = collect(t, n, tracer.Query{Flow: tcp("10.91.1.10:40000", "172.31.0.12:80"), SrcNetNS: c.p1.inode})
	if r := routeFor(t, f, "forward"); r.Type != "unicast" || r.Dev != "eth0" || f.Sysctls["net.ipv4.ip_forward"] != "0" {
		t.Errorf("forward with forwarding off: %+v", r)
	}
}

func TestCollectPolicyRouting(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	c.n1.sysctl("net/ipv4/ip_forward", "1")
	r := netlink.NewRule()
	r.Priority, r.Src, r.Type = 100, ipnet(netip.MustParsePrefix("10.91.1.10/32")), frProhibit
	c.n1.must(c.n1.h.RuleAdd(r))
	n := c.n1.node()
	inventory(t, n)
	f := collect(t, n, tracer.Query{Flow: tcp("10.91.1.10:40000", "203.0.113.5:80"), SrcNetNS: c.p1.inode})
	if r := routeFor(t, f, "forward"); r.Type != "prohibit" || r.Table != "rule" {
		t.Errorf("prohibited by rule: %+v", r)
	}
	f = collect(t, n, tracer.Query{Flow: tcp("10.91.1.11:40000", "203.0.113.5:80"), SrcNetNS: c.p2.inode})
	if r := routeFor(t, f, "forward"); r.Type != "unicast" || r.Dev != "eth0" || r.Via != netip.MustParseAddr("172.31.0.1") || r.Prefix != "0.0.0.0/0" {
		t.Errorf("other pod: %+v", r)
	}
}

func TestCollectIPv6(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	c.n1.sysctl("net/ipv6/conf/all/forwarding", "1")
	c.n1.addr("cni0", "fd91:1::1/64")
	c.p1.addr("eth0", "fd91:1::10/64")
	c.p1.route("::/0", "fd91:1::1", "eth0", 0)
	c.n1.route("fd91:2::/64", "", "", unix.RTN_BLACKHOLE)
	n := c.n1.node()
	inventory(t, n)
	for dst, want := range map[string][2]string{"[fd91:2::5]:80": {"blackhole", "fd91:2::/64"}, "[fd91:9::5]:80": {"none", ""}, "[fd91:1::77]:80": {"unicast", "fd91:1::/64"}} {
		f := collect(t, n, tracer.Query{Flow: tcp("[fd91:1::10]:40000", dst), SrcNetNS: c.p1.inode})
		if r := routeFor(t, f, "forward"); r.Type != want[0] || r.Prefix != want[1] {
			t.Errorf("%s: %+v, want %v", dst, r, want)
		}
	}
	f := collect(t, n, tracer.Query{Flow: tcp("[fd91:1::10]:40000", "[fd91:9::5]:80"), SrcNetNS: c.p1.inode})
	if r := routeFor(t, f, "src-pod"); r.Type != "unicast" || r.Prefix != "::/0" {
		t.Errorf("src-pod: %+v", r)
	}
}

func TestCollectCountersAndNeighbours(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	n := c.n1.node()
	inventory(t, n)
	if err := n.Baseline(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.p2.in(func() error {
		// The answer is ENETUNREACH: there is no default route.
		if conn, err := net.Dial("udp4", "203.0.113.9:99"); err == nil {
			_ = conn.Close()
			return fmt.Errorf("a route was found")
		}
		return nil
	})
	c.n1.must(c.n1.h.NeighAdd(&netlink.Neigh{LinkIndex: int(c.n1.index("eth0")), IP: net.ParseIP("172.31.0.1"), State: netlink.NUD_FAILED}))
	f := collect(t, n, tracer.Query{Flow: tcp("10.91.1.10:40000", "203.0.113.9:99"), SrcNetNS: c.p1.inode, DstNetNS: c.p2.inode})
	if got := f.Counters[c.p2.inode]["IpOutNoRoutes"]; got != 1 {
		t.Errorf("IpOutNoRoutes = %d: %v", got, f.Counters)
	}
	if _, ok := f.Counters[c.n1.inode]; !ok {
		t.Error("the node's counters were not read")
	}
	// What a counter did before a flow is not the flow's.
	before := time.Now()
	if err := n.Baseline(context.Background()); err != nil {
		t.Fatal(err)
	}
	for since, want := range map[time.Time]uint64{before: 1, time.Now(): 0, {}: 1} {
		f := collect(t, n, tracer.Query{Flow: tcp("10.91.1.10:40000", "203.0.113.9:99"), SrcNetNS: c.p1.inode, DstNetNS: c.p2.inode, Since: since})
		if got := f.Counters[c.p2.inode]["IpOutNoRoutes"]; got != want {
			t.Errorf("since %s: IpOutNoRoutes = %d, want %d", since, got, want)
		}
	}
	for _, x := range f.Neighbours {
		if x.Dev == "eth0" && x.NetNS == c.n1.inode && x.Addr == netip.MustParseAddr("172.31.0.1") && x.State == "FAILED" {
			return
		}
	}
	t.Errorf("failed neighbour not found: %+v", f.Neighbours)
}

func TestCollectVethDown(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	n := c.n1.node()
	inventory(t, n)
	c.n1.must(c.n1.h.LinkSetDown(c.n1.link("veth2")))
	f := collect(t, n, tracer.Query{Flow: tcp("10.91.1.10:40000", "10.91.1.11:80"), SrcNetNS: c.p1.inode, DstNetNS: c.p2.inode})
	if f.DstPeer == nil || f.DstPeer.Up || f.DstDevice.Carrier {
		t.Errorf("device %+v peer %+v", f.DstDevice, f.DstPeer)
	}
}

func TestCollectStopsWithItsContext(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	n := c.n1.node()
	inventory(t, n)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if f := n.Collect(ctx, tracer.Query{Flow: tcp("10.91.1.10:40000", "10.91.1.11:80")}); len(f.Blind) == 0 {
		t.Error("nothing says that reading stopped early")
	}
}

func TestNewRefusesWhatIsNoNamespace(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "x")
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if n, err := New(Config{HostNetNS: f.Name()}); err == nil {
		_ = n.Close()
		t.Error("a plain file was taken for a namespace")
	}
}
