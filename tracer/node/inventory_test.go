package node

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/podpath/podpath/tracer"
)

// cluster is two nodes on one kernel, joined by a fabric namespace that is
// switch and gateway, each with pods on a bridge.
type cluster struct {
	fabric, n1, n2 *ns
	p1, p2, far    *ns
}

func newCluster(t testing.TB, nodeDefault, fabricAddr bool) *cluster {
	t.Helper()
	c := &cluster{fabric: newNS(t, "fab"), n1: newNS(t, "n1"), n2: newNS(t, "n2"),
		p1: newNS(t, "p1"), p2: newNS(t, "p2"), far: newNS(t, "far")}
	gw := ""
	if fabricAddr {
		gw = "172.31.0.1/24"
	}
	c.fabric.bridge("br0", gw)
	for i, n := range []*ns{c.n1, c.n2} {
		join(n, "eth0", c.fabric, []string{"w1", "w2"}[i])
		c.fabric.enslave([]string{"w1", "w2"}[i], "br0")
		n.addr("eth0", []string{"172.31.0.11/24", "172.31.0.12/24"}[i])
		if nodeDefault {
			n.route("0.0.0.0/0", "172.31.0.1", "eth0", 0)
		}
		n.bridge("cni0", []string{"10.91.1.1/24", "10.91.2.1/24"}[i])
	}
	plug(c.n1, "veth1", c.p1, "10.91.1.10/24", "10.91.1.1")
	plug(c.n1, "veth2", c.p2, "10.91.1.11/24", "")
	plug(c.n2, "veth1", c.far, "10.91.2.10/24", "10.91.2.1")
	return c
}

// plug joins a pod to the bridge of a node.
func plug(n *ns, dev string, pod *ns, cidr, gw string) {
	n.t.Helper()
	join(n, dev, pod, "eth0")
	n.enslave(dev, "cni0")
	pod.addr("eth0", cidr)
	if gw != "" {
		pod.route("0.0.0.0/0", gw, "eth0", 0)
	}
}

func inventory(t *testing.T, n *Node, hints ...netip.Addr) tracer.Inventory {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	inv, err := n.Inventory(ctx, hints...)
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func wantNetNS(t *testing.T, inv tracer.Inventory, want ...*ns) {
	t.Helper()
	have := map[uint32]bool{}
	for _, s := range inv.NetNS {
		have[s.Inode] = true
	}
	for _, s := range want {
		if !have[s.inode] {
			t.Errorf("namespace %s is missing", s.name)
		}
		delete(have, s.inode)
	}
	for i := range have {
		t.Errorf("namespace %d does not belong to this node", i)
	}
}

func wantRole(t *testing.T, inv tracer.Inventory, s *ns, dev string, role tracer.DeviceRole) tracer.Device {
	t.Helper()
	d, ok := inv.Device(tracer.DeviceKey{NetNS: s.inode, IfIndex: s.index(dev)})
	if !ok {
		t.Fatalf("%s in %s is missing", dev, s.name)
	}
	if d.Role != role {
		t.Errorf("%s in %s: role %q, want %q", dev, s.name, d.Role, role)
	}
	return d
}

func TestInventoryOfTwoNodesOnOneKernel(t *testing.T) {
	needRoot(t)
	for _, tc := range []struct {
		name                    string
		nodeDefault, fabricAddr bool
	}{
		{"gateway in the fabric", true, true},
		{"gateway beyond the fabric", true, false},
		{"nodes without default route", false, true},
		{"no default route, plain switch", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, tc.nodeDefault, tc.fabricAddr)
			inv := inventory(t, c.n1.node())
			wantNetNS(t, inv, c.n1, c.p1, c.p2)
			wantRole(t, inv, c.n1, "eth0", tracer.RoleUplink)
			wantRole(t, inv, c.n1, "cni0", tracer.RoleBridge)
			wantRole(t, inv, c.n1, "lo", tracer.RoleLoopback)
			near := wantRole(t, inv, c.n1, "veth1", tracer.RolePodHost)
			far := wantRole(t, inv, c.p1, "eth0", tracer.RolePod)
			if near.Peer != far.DeviceKey || far.Peer != near.DeviceKey {
				t.Errorf("peers %v and %v do not name each other", near.Peer, far.Peer)
			}
			wantNetNS(t, inventory(t, c.n2.node()), c.n2, c.far)
		})
	}
}

func TestInventoryOfRoutedPods(t *testing.T) {
	needRoot(t)
	n, ext := newNS(t, "n"), newNS(t, "ext")
	join(n, "eth0", ext, "up")
	n.addr("eth0", "172.31.1.1/24")
	ext.addr("up", "172.31.1.2/24")
	n.route("0.0.0.0/0", "172.31.1.2", "eth0", 0)
	// The outside may well have its own way back as default route.
	ext.route("0.0.0.0/0", "172.31.1.1", "up", 0)

	calico, broken, hostRoute := newNS(t, "cali"), newNS(t, "broken"), newNS(t, "noroute")
	for i, p := range []*ns{calico, broken, hostRoute} {
		dev := []string{"cali1", "cali2", "cali3"}[i]
		join(n, dev, p, "eth0")
		p.addr("eth0", []string{"10.92.0.5/32", "10.92.0.6/32", "10.92.0.7/32"}[i])
	}
	calico.route("169.254.1.1/32", "", "eth0", 0)
	calico.route("0.0.0.0/0", "169.254.1.1", "eth0", 0)
	n.route("10.92.0.5/32", "", "cali1", 0)
	n.route("10.92.0.6/32", "", "cali2", 0)

	// A /24 on both ends without a bridge: a pod only because its default route
	// leads here while ours leads elsewhere.
	p2p := newNS(t, "p2p")
	join(n, "p2p0", p2p, "eth0")
	n.addr("p2p0", "10.93.0.1/24")
	p2p.addr("eth0", "10.93.0.2/24")
	p2p.route("0.0.0.0/0", "10.93.0.1", "eth0", 0)

	// Another host on a link of its own.
	peer := newNS(t, "peer")
	join(n, "eth1", peer, "eth0")
	n.addr("eth1", "10.94.0.1/24")
	peer.addr("eth0", "10.94.0.2/24")

	node := n.node()
	inv := inventory(t, node)
	wantNetNS(t, inv, n, calico, broken, hostRoute, p2p)
	wantRole(t, inv, n, "eth1", tracer.RoleUplink)
	if d, ok := inv.Owner(netip.MustParseAddr("10.92.0.7")); !ok || d.NetNS != hostRoute.inode {
		t.Errorf("owner of 10.92.0.7: %+v %v", d, ok)
	}

	// What the cluster calls a pod is one.
	inv = inventory(t, node, netip.MustParseAddr("10.94.0.2"))
	wantNetNS(t, inv, n, calico, broken, hostRoute, p2p, peer)
	wantRole(t, inv, n, "eth1", tracer.RolePodHost)
}

func TestInventoryMacvlanPod(t *testing.T) {
	needRoot(t)
	n, ext, pod := newNS(t, "n"), newNS(t, "ext"), newNS(t, "pod")
	join(n, "eth0", ext, "up")
	n.addr("eth0", "172.31.2.1/24")
	n.route("0.0.0.0/0", "172.31.2.254", "eth0", 0)
	mv := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "mv0", ParentIndex: int(n.index("eth0"))}, Mode: netlink.MACVLAN_MODE_BRIDGE}
	if err := n.h.LinkAdd(mv); err != nil {
		if os.Getenv("PODPATH_REQUIRE_PRIVILEGED") == "1" {
			t.Fatalf("needs macvlan: %v", err)
		}
		t.Skipf("needs macvlan: %v", err)
	}
	n.must(n.h.LinkSetNsFd(n.link("mv0"), int(pod.fd)))
	pod.up("mv0")
	pod.addr("mv0", "172.31.2.50/24")
	inv := inventory(t, n.node())
	wantNetNS(t, inv, n, pod)
	wantRole(t, inv, n, "eth0", tracer.RoleUplink)
	wantRole(t, inv, pod, "mv0", tracer.RolePod)
}

func TestInventoryDoesNotPinNamespaces(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	n := c.n1.node()
	inventory(t, n)
	_ = c.p2.fd.Close()
	c.p2.h.Close()
	if err := netns.DeleteNamed(c.p2.name); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { _, err := c.n1.h.LinkByName("veth2"); return err != nil }, "the veth of a deleted pod to go")
	if _, err := n.OpenNetNS(c.p2.inode); err == nil {
		t.Error("a deleted namespace could be opened")
	}
	wantNetNS(t, inventory(t, n), c.n1, c.p1)
}

func waitFor(t *testing.T, ok func() bool, what string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestWatchSeesANewPod(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	n := c.n1.node()
	inventory(t, n)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := make(chan time.Time, 1)
	ready := make(chan struct{})
	late := newNS(t, "late")
	ended := make(chan error, 1)
	go func() {
		close(ready)
		ended <- n.Watch(ctx, func() {
			inv, err := n.Inventory(ctx)
			if err != nil {
				return
			}
			if _, ok := inv.Owner(netip.MustParseAddr("10.91.1.99")); ok {
				select {
				case seen <- time.Now():
				default:
				}
			}
		})
	}()
	<-ready
	// The address comes into the pod with no notification in the node.
	begun := time.Now()
	join(c.n1, "veth9", late, "eth0")
	c.n1.enslave("veth9", "cni0")
	late.addr("eth0", "10.91.1.99/24")
	select {
	case at := <-seen:
		t.Logf("seen after %v", at.Sub(begun))
	case <-time.After(10 * time.Second):
		t.Fatal("a new pod was not seen")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
