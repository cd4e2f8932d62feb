package rules

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
)

// newNS makes a namespace for one test, or skips where that is not possible.
func newNS(t testing.TB, role string) *os.File {
	t.Helper()
	name := fmt.Sprintf("ppr-%d-%d-%s", os.Getpid(), time.Now().UnixNano()%1e9, role)
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		fd, err := netns.NewNamed(name)
		if err == nil {
			_ = fd.Close()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			t.Fatalf("needs CAP_SYS_ADMIN and CAP_NET_ADMIN: %v", err)
		}
		t.Skipf("needs CAP_SYS_ADMIN and CAP_NET_ADMIN: %v", err)
	}
	t.Cleanup(func() { _ = netns.DeleteNamed(name) })
	f, err := os.Open("/run/netns/" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func handle(t testing.TB, ns *os.File) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func inodeOf(t testing.TB, ns *os.File) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Ino)
}

// wire joins two namespaces and gives both ends an address.
func wire(t testing.TB, a *os.File, aDev, aAddr string, b *os.File, bDev, bAddr string) {
	t.Helper()
	ha, hb := handle(t, a), handle(t, b)
	must(t, ha.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: aDev}, PeerName: bDev, PeerNamespace: netlink.NsFd(b.Fd())}))
	for _, e := range []struct {
		h         *netlink.Handle
		dev, addr string
	}{{ha, aDev, aAddr}, {hb, bDev, bAddr}} {
		l, err := e.h.LinkByName(e.dev)
		must(t, err)
		must(t, e.h.LinkSetUp(l))
		p := netip.MustParsePrefix(e.addr)
		must(t, e.h.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}))
	}
}

func defaultVia(t testing.TB, ns *os.File, via string) {
	t.Helper()
	must(t, handle(t, ns).RouteAdd(&netlink.Route{Gw: net.ParseIP(via)}))
}

func linkIndex(t testing.TB, ns *os.File, name string) uint32 {
	t.Helper()
	l, err := handle(t, ns).LinkByName(name)
	must(t, err)
	return uint32(l.Attrs().Index)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func reader(t testing.TB, ns *os.File) *Reader {
	t.Helper()
	r, err := New(Config{HostNetNS: ns.Name()})
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}
