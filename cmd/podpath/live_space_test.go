package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer/lab"
	"github.com/podpath/podpath/tracer/node"
)

// place is a network namespace in which a test acts.
type place struct {
	t    *testing.T
	path string
	nl   *netlink.Handle
	stop func() // ends a namespace that the test made
}

// placeAt opens a namespace by its path.
func placeAt(t *testing.T, path string) *place {
	t.Helper()
	ns, err := netns.GetFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nl.Close)
	return &place{t: t, path: path, nl: nl, stop: func() {}}
}

// newPlace makes a namespace that lives as long as a process of its own, as a
// pod's does: the process reads a pipe that ends with this one.
func newPlace(t *testing.T) *place {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop := func() { once.Do(func() { _ = in.Close(); _ = cmd.Wait() }) }
	t.Cleanup(stop)
	p := placeAt(t, "/proc/"+strconv.Itoa(cmd.Process.Pid)+"/ns/net")
	p.stop = stop
	return p
}

// do runs f on a thread inside the namespace, and brings the thread home.
func (p *place) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			home, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return err
			}
			defer home.Close()
			there, err := os.Open(p.path)
			if err != nil {
				return err
			}
			defer there.Close()
			if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			err = f()
			if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
				return back // the thread stays locked
			}
			runtime.UnlockOSThread()
			return err
		}()
	}()
	return <-done
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// dial connects from the namespace; by UDP nothing is sent yet.
func (p *place) dial(network, to string, timeout time.Duration) (net.Conn, error) {
	var c net.Conn
	err := p.do(func() (err error) {
		c, err = net.DialTimeout(network, to, timeout)
		return err
	})
	return c, err
}

// ask sends a line and wants an answer, by TCP or UDP.
func (p *place) ask(network, to string, timeout time.Duration) error {
	c, err := p.dial(network, to, timeout)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 512))
	return err
}

// askUntil repeats questions from the namespace until the context ends.
func (p *place) askUntil(ctx context.Context, network, to string, every time.Duration) (done <-chan struct{}) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			go func() { _ = p.ask(network, to, 5*time.Second) }()
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
	}()
	return ended
}

// answer serves TCP and UDP on a port of the namespace until the test ends.
func (p *place) answer(port uint16) {
	p.t.Helper()
	at := ":" + strconv.Itoa(int(port))
	p.must(p.do(func() error {
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		p.t.Cleanup(func() { _ = l.Close() })
		go serveLines(l)
		u, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		p.t.Cleanup(func() { _ = u.Close() })
		go serveDatagrams(u)
		return nil
	}))
}

func serveLines(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if _, err := c.Read(make([]byte, 512)); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		}()
	}
}

func serveDatagrams(u net.PacketConn) {
	b := make([]byte, 2048)
	for {
		n, from, err := u.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = u.WriteTo(b[:n], from)
	}
}

// addr gives a device addresses and brings it up.
func (p *place) addr(dev string, addrs ...netip.Prefix) {
	p.t.Helper()
	link, err := p.nl.LinkByName(dev)
	p.must(err)
	for _, a := range addrs {
		p.must(p.nl.AddrAdd(link, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}))
	}
	p.must(p.nl.LinkSetUp(link))
}

func ipNet(a netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
}

// route adds a route by a gateway; an invalid prefix is the default route.
func (p *place) route(dst netip.Prefix, via netip.Addr) {
	p.t.Helper()
	r := &netlink.Route{Gw: via.AsSlice()}
	if dst.IsValid() {
		r.Dst = ipNet(dst)
	}
	p.must(p.nl.RouteAdd(r))
}

// labView is what a test needs to know of a lab's node.
type labView struct {
	t       *testing.T
	lab     *lab.Lab
	node    *place
	bridge  string
	gateway netip.Prefix // the bridge's IPv4 address, with the pods' range
	uplink  netip.Prefix // the node's own
	router  netip.Addr
}

func viewLab(t *testing.T, l *lab.Lab) *labView {
	t.Helper()
	v := &labView{t: t, lab: l, node: placeAt(t, l.NodeNetNS())}
	links, err := v.node.nl.LinkList()
	v.node.must(err)
	for _, link := range links {
		addrs, err := v.node.nl.AddrList(link, netlink.FAMILY_V4)
		v.node.must(err)
		if len(addrs) == 0 || link.Attrs().Flags&net.FlagLoopback != 0 {
			continue
		}
		ones, _ := addrs[0].Mask.Size()
		ip, _ := netip.AddrFromSlice(addrs[0].IP.To4())
		if link.Type() == "bridge" {
			v.bridge, v.gateway = link.Attrs().Name, netip.PrefixFrom(ip, ones)
		} else {
			v.uplink = netip.PrefixFrom(ip, ones)
		}
	}
	routes, err := v.node.nl.RouteList(nil, netlink.FAMILY_V4)
	v.node.must(err)
	for _, r := range routes {
		if ones, _ := maskSize(r.Dst); ones == 0 && r.Gw != nil {
			v.router, _ = netip.AddrFromSlice(r.Gw.To4())
		}
	}
	return v
}

func maskSize(n *net.IPNet) (ones, bits int) {
	if n == nil {
		return 0, 0
	}
	return n.Mask.Size()
}

// plug does what a CNI does for a new pod: a veth to the node's bridge, an
// address, a default route.
func (v *labView) plug(p *place, name string, ip netip.Addr) {
	v.t.Helper()
	bridge, err := v.node.nl.LinkByName(v.bridge)
	v.node.must(err)
	ns, err := netns.GetFromPath(p.path)
	v.node.must(err)
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = name, 1500, bridge.Attrs().Index
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerNamespace = "eth0", 1500, netlink.NsFd(int(ns))
	v.node.must(v.node.nl.LinkAdd(veth))
	p.addr("lo")
	p.addr("eth0", netip.PrefixFrom(ip, v.gateway.Bits()))
	v.node.addr(name)
	p.route(netip.Prefix{}, v.gateway.Addr())
}

// free is an address of the pods' range that the lab does not use.
func (v *labView) free(last byte) netip.Addr {
	a := v.gateway.Addr().As4()
	a[3] = last
	return netip.AddrFrom4(a)
}

// at opens the namespace of the node's pod that has an address.
func (v *labView) at(ip netip.Addr) *place {
	v.t.Helper()
	n, err := node.New(node.Config{HostNetNS: v.lab.NodeNetNS()})
	v.node.must(err)
	defer n.Close()
	inv, err := n.Inventory(v.t.Context())
	v.node.must(err)
	d, ok := inv.Owner(ip)
	if !ok {
		v.t.Fatalf("no device has %s", ip)
	}
	for _, ns := range inv.NetNS {
		if ns.Inode == d.NetNS {
			return placeAt(v.t, ns.Path)
		}
	}
	v.t.Fatalf("namespace %d of %s has no path", d.NetNS, ip)
	return nil
}

// rewrite translates a Service's frontend to one endpoint, before kube-proxy's
// rules, in a table of the test's own.
func (v *labView) rewrite(from, to netip.AddrPort) {
	v.t.Helper()
	ns, err := netns.GetFromPath(v.node.path)
	v.node.must(err)
	defer ns.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	v.node.must(err)
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "test-" + strconv.Itoa(int(from.Port()))})
	chain := c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting,
		Priority: nftables.ChainPriorityRef(*nftables.ChainPriorityNATDest - 10),
	})
	port := func(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from.Addr().AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: port(from.Port())},
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: port(to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}})
	v.node.must(c.Flush())
}

// outside opens the namespace of the lab's outside: the child of this process
// that is called so and has the router's address.
func (v *labView) outside() *place {
	v.t.Helper()
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		for _, pid := range strings.Fields(string(b)) {
			name, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if !strings.Contains(string(name), "outside") {
				continue
			}
			p := placeAt(v.t, "/proc/"+pid+"/ns/net")
			addrs, err := p.nl.AddrList(nil, netlink.FAMILY_V4)
			p.must(err)
			if slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.Equal(v.router.AsSlice()) }) {
				return p
			}
		}
	}
	v.t.Fatal("the lab's outside is not found")
	return nil
}

// ping sends echo requests and counts the answers.
func (p *place) ping(to netip.Addr, n int, gap time.Duration) (answers int) {
	p.t.Helper()
	var c net.Conn
	p.must(p.do(func() (err error) {
		c, err = net.Dial("ip4:icmp", to.String())
		return err
	}))
	defer c.Close()
	id := uint16(rand.Uint32())
	for seq := range uint16(n) {
		m := []byte{8, 0, 0, 0, 0, 0, 0, 0, 'p', 'i', 'n', 'g'}
		binary.BigEndian.PutUint16(m[4:], id)
		binary.BigEndian.PutUint16(m[6:], seq)
		binary.BigEndian.PutUint16(m[2:], checksum(m))
		_, _ = c.Write(m)
		_ = c.SetReadDeadline(time.Now().Add(gap))
		b := make([]byte, 128)
		for {
			k, err := c.Read(b)
			if err != nil {
				break
			}
			if k > 20 && b[0]>>4 == 4 { // a raw socket also gives the IP header
				k = copy(b, b[20:k])
			}
			if k >= 8 && b[0] == 0 && binary.BigEndian.Uint16(b[4:]) == id && binary.BigEndian.Uint16(b[6:]) == seq {
				answers++
				break
			}
		}
	}
	return answers
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// sctp makes an SCTP socket in the namespace; the test is skipped where the
// kernel has none.
func (p *place) sctp() int {
	p.t.Helper()
	fd := -1
	err := p.do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		return err
	})
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		p.t.Skip("needs SCTP in the kernel")
	}
	p.must(err)
	p.t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}
