package node

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	pnetns "github.com/podpath/podpath/tracer/netns"
)

// needRoot skips a test that must make namespaces, or fails it where that
// ought to work.
func needRoot(t testing.TB) {
	t.Helper()
	err := pnetns.Do(selfNS(t), func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		return nil
	})
	if err == nil {
		return
	}
	if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
		t.Fatalf("needs CAP_SYS_ADMIN and CAP_NET_ADMIN: %v", err)
	}
	t.Skipf("needs CAP_SYS_ADMIN and CAP_NET_ADMIN: %v", err)
}

func selfNS(t testing.TB) int {
	t.Helper()
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return int(f.Fd())
}

// ns is a namespace made by a test. It has a name, so that it can be found
// without a process in it.
type ns struct {
	t     testing.TB
	name  string
	fd    netns.NsHandle
	inode uint32
	h     *netlink.Handle
}

func newNS(t testing.TB, role string) *ns {
	t.Helper()
	name := fmt.Sprintf("ppt-%d-%d-%s", os.Getpid(), time.Now().UnixNano()%1e9, role)
	done := make(chan *ns)
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		fd, err := netns.NewNamed(name)
		if err != nil {
			t.Errorf("make namespace: %v", err)
			return
		}
		done <- &ns{t: t, name: name, fd: fd}
	}()
	s := <-done
	if s == nil {
		t.FailNow()
	}
	t.Cleanup(func() {
		_ = s.fd.Close()
		_ = netns.DeleteNamed(name)
	})
	var st unix.Stat_t
	if err := unix.Fstat(int(s.fd), &st); err != nil {
		t.Fatal(err)
	}
	s.inode = uint32(st.Ino)
	h, err := netlink.NewHandleAt(s.fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	s.h = h
	s.up("lo")
	return s
}

func (s *ns) path() string { return "/run/netns/" + s.name }

func (s *ns) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", s.name, err)
	}
}

func (s *ns) link(name string) netlink.Link {
	s.t.Helper()
	l, err := s.h.LinkByName(name)
	s.must(err)
	return l
}

func (s *ns) index(name string) uint32 { return uint32(s.link(name).Attrs().Index) }

func (s *ns) up(name string) { s.t.Helper(); s.must(s.h.LinkSetUp(s.link(name))) }

func (s *ns) addr(dev, cidr string) {
	s.t.Helper()
	p := netip.MustParsePrefix(cidr)
	a := &netlink.Addr{IPNet: ipnet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	s.must(s.h.AddrAdd(s.link(dev), a))
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// route adds one; via or dev may be empty, typ 0 is unicast.
func (s *ns) route(dst, via, dev string, typ int) {
	s.t.Helper()
	r := &netlink.Route{Dst: ipnet(netip.MustParsePrefix(dst)), Type: typ}
	if via != "" {
		r.Gw = net.ParseIP(via)
		r.Flags = int(netlink.FLAG_ONLINK)
	}
	if dev != "" {
		r.LinkIndex = int(s.index(dev))
		if via == "" {
			r.Scope = netlink.SCOPE_LINK
		}
	} else if via != "" {
		r.Flags = 0
	}
	s.must(s.h.RouteAdd(r))
}

func (s *ns) bridge(name, cidr string) {
	s.t.Helper()
	s.must(s.h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}))
	s.up(name)
	if cidr != "" {
		s.addr(name, cidr)
	}
}

func (s *ns) enslave(dev, bridge string) {
	s.t.Helper()
	s.must(s.h.LinkSetMaster(s.link(dev), s.link(bridge)))
}

// join makes a veth pair between two namespaces and sets both ends up.
func join(a *ns, aDev string, b *ns, bDev string) {
	a.t.Helper()
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: aDev, MTU: 1500}, PeerName: bDev, PeerNamespace: netlink.NsFd(b.fd)}
	a.must(a.h.LinkAdd(v))
	a.up(aDev)
	b.up(bDev)
}

func (s *ns) node() *Node {
	s.t.Helper()
	n, err := New(Config{HostNetNS: s.path()})
	s.must(err)
	s.t.Cleanup(func() { _ = n.Close() })
	return n
}

// in runs fn inside the namespace.
func (s *ns) in(fn func() error) {
	s.t.Helper()
	s.must(pnetns.Do(int(s.fd), fn))
}

func (s *ns) sysctl(path, value string) {
	s.t.Helper()
	s.in(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0o644) })
}
