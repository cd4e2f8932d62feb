package node

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/tracer"
	pnetns "github.com/podpath/podpath/tracer/netns"
)

// described are the devices of a view, without who made them.
func described(v *view) map[int]tracer.Device {
	out := map[int]tracer.Device{}
	for _, l := range v.links {
		d := v.device(l)
		slices.SortFunc(d.Addrs, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
		out[l.Attrs().Index] = d
	}
	return out
}

// From outside the same devices and addresses are seen as from inside, and
// nothing else.
func TestOutside(t *testing.T) {
	needRoot(t)
	host, pod := newNS(t, "node"), newNS(t, "pod")
	join(host, "veth0", pod, "eth0")
	pod.addr("eth0", "10.1.0.9/24")
	pod.addr("eth0", "fd00:1::9/64")
	pod.up("lo")
	n := host.node()
	if _, err := n.Inventory(t.Context()); err != nil { // gives the pod its id
		t.Fatal(err)
	}
	inside, err := n.open(t.Context(), pod.inode)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.close()
	var outside *view
	host.in(func() error {
		f, err := os.Open(pod.path())
		if err != nil {
			return err
		}
		if outside, err = peek(f, pod.inode); err != nil {
			return err
		}
		return errors.Join(inside.readLinks(), outside.readLinks())
	})
	defer outside.close()
	a, b := described(inside), described(outside)
	for _, index := range slices.Sorted(maps.Keys(a)) {
		x, y := a[index], b[index]
		if x.Name != y.Name || x.Kind != y.Kind || x.MAC != y.MAC || x.Up != y.Up || x.MTU != y.MTU || !slices.Equal(x.Addrs, y.Addrs) {
			t.Errorf("from inside\n%+v\nfrom outside\n%+v", x, y)
		}
	}
	if len(a) != len(b) || len(a) < 2 {
		t.Errorf("%d devices from inside, %d from outside", len(a), len(b))
	}
	if _, _, err := outside.routes(netlink.FAMILY_V4); !errors.Is(err, pnetns.ErrForbidden) {
		t.Errorf("routes from outside: %v", err)
	}
	if id := outside.idOf(host.node().host.Fd()); id != -1 {
		t.Errorf("id %d from outside", id)
	}
}

func TestParseAddr(t *testing.T) {
	for _, m := range [][]byte{nil, make([]byte, 7), {2, 24, 0, 0, 1, 0, 0, 0, 200, 0, 1, 0}} {
		if _, p, err := parseAddr(m); err == nil || p.IsValid() {
			t.Errorf("%x gives %s, %v", m, p, err)
		}
	}
	// IFA_ADDRESS is the peer's on a point-to-point device, IFA_LOCAL one's own.
	m := []byte{2, 32, 0, 0, 7, 0, 0, 0, 8, 0, 1, 0, 10, 0, 0, 2, 8, 0, 2, 0, 10, 0, 0, 1}
	if index, p, err := parseAddr(m); err != nil || index != 7 || p != netip.MustParsePrefix("10.0.0.1/32") {
		t.Errorf("%d %s %v", index, p, err)
	}
}
