package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// kernelSymbols are shared by the tests, and so is what is found out about the
// kernel: each takes seconds on an emulated machine.
var (
	kernelSymbols = NewSymbols()
	triedDrops    = sync.OnceValue(func() error { return try(Config{Tier: TierTracepoint, DropsOnly: true}) })
	triedTCX      = sync.OnceValue(func() error { return try(Config{Tier: TierTCX}) })
)

func try(c Config) error {
	c.RingBytes, c.Symbols = 4096, kernelSymbols
	p, err := Open(c)
	if err != nil {
		return err
	}
	return p.Close()
}

// needPrivilege skips a test that loads programs where that is not possible.
func needPrivilege(t testing.TB) {
	t.Helper()
	err := triedDrops()
	if err == nil {
		return
	}
	if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
		t.Fatalf("cannot load programs: %v", err)
	}
	t.Skipf("needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN and kernel BTF: %v", err)
}

// needTCX skips what only the TCX tier can show.
func needTCX(t testing.TB) {
	t.Helper()
	err := triedTCX()
	if errors.Is(err, ErrTier) {
		if os.Getenv("PODPATH_REQUIRE_TCX") == "1" {
			t.Fatal("no TCX, although PODPATH_REQUIRE_TCX is set")
		}
		t.Skip("needs TCX (kernel 6.6)")
	}
	if err != nil {
		t.Fatal(err)
	}
}

func eachTier(t *testing.T, f func(t *testing.T, tier Tier)) {
	needPrivilege(t)
	for _, tier := range []Tier{TierTCX, TierTracepoint} {
		t.Run(string(tier), func(t *testing.T) {
			if tier == TierTCX {
				needTCX(t)
			}
			f(t, tier)
		})
	}
}

// space is a network namespace without a name: it ends with its descriptor.
type space struct {
	t     testing.TB
	fd    netns.NsHandle
	inode uint32
	nl    *netlink.Handle
}

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{t: t}
	var err error
	onThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		if s.fd, err = netns.Get(); err != nil {
			return
		}
	})
	if err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(s.fd), &st); err != nil {
		t.Fatal(err)
	}
	s.inode = uint32(st.Ino)
	if s.nl, err = netlink.NewHandleAt(s.fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.nl.Close()
		_ = s.fd.Close()
	})
	// Tests need not wait for duplicate address detection.
	s.sysctl("net/ipv6/conf/default/accept_dad", "0")
	lo, err := s.nl.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	s.must(s.nl.LinkSetUp(lo))
	return s
}

// onThread runs f on a thread of its own that ends with it.
func onThread(f func()) {
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		runtime.LockOSThread()
		f()
	}()
	wg.Wait()
}

func (s *space) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s.fd)) }

// do runs f in the namespace.
func (s *space) do(f func() error) {
	s.t.Helper()
	var err error
	onThread(func() {
		if err = netns.Set(s.fd); err == nil {
			err = f()
		}
	})
	s.must(err)
}

func (s *space) sysctl(path, value string) {
	s.t.Helper()
	s.do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
}

// veth joins two namespaces.
func veth(a *space, nameA string, b *space, nameB string) {
	a.t.Helper()
	a.must(addVeth(a, nameA, int(b.fd), nameB))
	a.up(nameA)
	b.up(nameB)
}

func addVeth(a *space, name string, peer int, peerName string) error {
	la := netlink.NewLinkAttrs()
	la.Name = name
	return a.nl.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: peerName, PeerNamespace: netlink.NsFd(peer)})
}

func (s *space) link(name string) netlink.Link {
	s.t.Helper()
	l, err := s.nl.LinkByName(name)
	s.must(err)
	return l
}

func (s *space) up(name string) {
	s.t.Helper()
	s.must(s.nl.LinkSetUp(s.link(name)))
}

func (s *space) addr(name, cidr string) {
	s.t.Helper()
	a, err := netlink.ParseAddr(cidr)
	s.must(err)
	a.Flags = unix.IFA_F_NODAD
	s.must(s.nl.AddrAdd(s.link(name), a))
}

func (s *space) route(cidr, via string) {
	s.t.Helper()
	_, dst, err := net.ParseCIDR(cidr)
	s.must(err)
	s.must(s.nl.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}))
}

func (s *space) key(name string) tracer.DeviceKey {
	s.t.Helper()
	return tracer.DeviceKey{NetNS: s.inode, IfIndex: uint32(s.link(name).Attrs().Index)}
}

// inventory lists everything in the namespaces; the first is the host's.
func inventory(t testing.TB, spaces ...*space) tracer.Inventory {
	t.Helper()
	inv := tracer.Inventory{HostNetNS: spaces[0].inode}
	for i, s := range spaces {
		inv.NetNS = append(inv.NetNS, tracer.NetNS{Inode: s.inode, Path: s.path(), Host: i == 0})
		links, err := s.nl.LinkList()
		s.must(err)
		for _, l := range links {
			d := tracer.Device{
				DeviceKey: tracer.DeviceKey{NetNS: s.inode, IfIndex: uint32(l.Attrs().Index)},
				Name:      l.Attrs().Name, Kind: l.Type(), Role: tracer.RoleOther,
			}
			if l.Attrs().Flags&net.FlagLoopback != 0 {
				d.Role = tracer.RoleLoopback
			}
			inv.Devices = append(inv.Devices, d)
		}
	}
	return inv
}

// recorder collects the events of a probe.
type recorder struct {
	t      testing.TB
	probe  *Probe
	mu     sync.Mutex
	events []tracer.Event
	stop   func()
}

// record opens a probe and runs it until the test ends.
func record(t testing.TB, c Config, s Selection, spaces ...*space) *recorder {
	t.Helper()
	if c.Symbols == nil {
		c.Symbols = kernelSymbols
	}
	p, err := Open(c)
	if err != nil {
		var v *ebpf.VerifierError
		if errors.As(err, &v) {
			t.Logf("%+v", v)
		}
		t.Fatal(err)
	}
	if err := p.Select(s); err != nil {
		t.Fatal(err)
	}
	if err := p.SetInventory(inventory(t, spaces...)); err != nil {
		t.Fatal(err)
	}
	r := &recorder{t: t, probe: p}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, r.add) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		r.stop()
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

func (r *recorder) add(e tracer.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) all() []tracer.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *recorder) find(match func(tracer.Event) bool) (tracer.Event, bool) {
	for _, e := range r.all() {
		if match(e) {
			return e, true
		}
	}
	return tracer.Event{}, false
}

const patience = 5 * time.Second

// wait polls for an event.
func (r *recorder) wait(what string, match func(tracer.Event) bool) tracer.Event {
	r.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if e, ok := r.find(match); ok {
			return e
		}
	}
	for _, e := range r.all() {
		r.t.Logf("%s", describe(e))
	}
	st, _ := r.probe.Stats()
	r.t.Logf("%+v", st.Hooks)
	r.t.Fatalf("no event: %s", what)
	return tracer.Event{}
}

func describe(e tracer.Event) string {
	s := fmt.Sprintf("%d %s netns=%d if=%d %s len=%d flags=%02x icmp=%d/%d", e.Seq, e.Kind, e.NetNS, e.IfIndex, e.Tuple, e.Len, e.TCPFlags, e.ICMPType, e.ICMPCode)
	if e.CT != nil {
		s += fmt.Sprintf(" ct[%s | %s info=%d]", e.CT.Orig, e.CT.Reply, e.CT.Info)
	}
	if e.Inner != nil {
		s += fmt.Sprintf(" inner[%s %d %s]", e.Inner.Tunnel, e.Inner.VNI, e.Inner.Tuple)
	}
	if e.Quoted != nil {
		s += fmt.Sprintf(" quoted[%s]", e.Quoted)
	}
	if e.Drop != nil {
		s += fmt.Sprintf(" drop[%s@%s stage=%s engine=%s noise=%s %v]", e.Drop.Reason, e.Drop.Location, e.Drop.Stage, e.Drop.Engine, e.Drop.Noise, e.Drop.Stack)
	}
	return s
}

func at(kind tracer.EventKind, key tracer.DeviceKey) func(tracer.Event) bool {
	return func(e tracer.Event) bool {
		return e.Kind == kind && e.NetNS == key.NetNS && e.IfIndex == key.IfIndex
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// topology is client - node - server, dual stack, the node forwarding.
type topology struct{ client, node, server *space }

const (
	client4, client6 = "10.1.0.2", "fd01::2"
	server4, server6 = "10.2.0.2", "fd02::2"
)

func newTopology(t testing.TB) topology {
	t.Helper()
	n := topology{client: newSpace(t), node: newSpace(t), server: newSpace(t)}
	veth(n.node, "toc", n.client, "eth0")
	veth(n.node, "tos", n.server, "eth0")
	n.node.sysctl("net/ipv4/ip_forward", "1")
	n.node.sysctl("net/ipv6/conf/all/forwarding", "1")
	n.node.addr("toc", "10.1.0.1/24")
	n.node.addr("toc", "fd01::1/64")
	n.node.addr("tos", "10.2.0.1/24")
	n.node.addr("tos", "fd02::1/64")
	n.client.addr("eth0", client4+"/24")
	n.client.addr("eth0", client6+"/64")
	n.server.addr("eth0", server4+"/24")
	n.server.addr("eth0", server6+"/64")
	for _, s := range []*space{n.client, n.server} {
		via4, via6 := "10.1.0.1", "fd01::1"
		if s == n.server {
			via4, via6 = "10.2.0.1", "fd02::1"
		}
		s.route("0.0.0.0/0", via4)
		s.route("::/0", via6)
	}
	return n
}

func (n topology) all() []*space { return []*space{n.node, n.client, n.server} }

// listenTCP answers "hello" with "world" until the test ends.
func (s *space) listenTCP(addr string) {
	s.t.Helper()
	var l net.Listener
	s.do(func() error {
		var err error
		l, err = net.Listen("tcp", addr)
		return err
	})
	s.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 64)
				if _, err := c.Read(buf); err == nil {
					_, _ = c.Write([]byte("world"))
				}
			}()
		}
	}()
}

// dialTCP sends "hello" and reads the answer.
func (s *space) dialTCP(addr string) {
	s.t.Helper()
	s.do(func() error {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 64))
		return err
	})
}

// sendUDP sends n datagrams and does not care what becomes of them.
func (s *space) sendUDP(addr string, n int) {
	s.t.Helper()
	s.do(func() error {
		c, err := net.Dial("udp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		for range n {
			// A refused datagram shows as an error of the next one.
			_, _ = c.Write([]byte("ping"))
		}
		return nil
	})
}

func (s *space) listenUDP(addr string) {
	s.t.Helper()
	var c net.PacketConn
	s.do(func() error {
		var err error
		c, err = net.ListenPacket("udp", addr)
		return err
	})
	s.t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte("pong"), from)
		}
	}()
}
