package node

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	mdl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// How the devices on the way are set up is read, and of no others.
func TestPathFacts(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	n := c.n1.node()
	inventory(t, n)
	c.n1.must(c.n1.h.LinkSetHairpin(c.n1.link("veth1"), true))
	c.n1.must(c.n1.h.LinkSetIsolated(c.n1.link("veth2"), true))
	tbf := &netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: int(c.n1.index("veth2")), Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}, Rate: 12500, Limit: 3000, Buffer: 15000}
	c.n1.must(c.n1.h.QdiscAdd(tbf))
	q := tracer.Query{Flow: tcp("10.91.1.10:40000", "10.91.1.11:8080"), SrcNetNS: c.p1.inode, DstNetNS: c.p2.inode}
	f := collect(t, n, q)
	ports := map[string]tracer.BridgePort{}
	for _, p := range f.Ports {
		p.Device = tracer.DeviceKey{}
		ports[p.Dev] = p
	}
	want := map[string]tracer.BridgePort{
		"veth1": {Dev: "veth1", Bridge: "cni0", Hairpin: true, Learning: true, Flood: true},
		"veth2": {Dev: "veth2", Bridge: "cni0", Isolated: true, Learning: true, Flood: true},
	}
	if len(ports) != 2 || ports["veth1"] != want["veth1"] || ports["veth2"] != want["veth2"] {
		t.Errorf("ports %+v, want %+v", ports, want)
	}
	if len(f.Queues) != 1 || f.Queues[0].Dev != "veth2" || f.Queues[0].Kind != "tbf" || f.Queues[0].RateBytes != 12500 {
		t.Errorf("queues %+v", f.Queues)
	}
	mtu := map[string]int{}
	for _, m := range f.MTUs {
		mtu[m.Dev] = m.MTU
	}
	if mtu["veth1"] != 1500 || mtu["cni0"] != 1500 || mtu["eth0"] != 1500 {
		t.Errorf("mtus %+v", f.MTUs)
	}
	if !f.ForwardingRead || !slices.ContainsFunc(f.Forwarding, func(e tracer.ForwardingFact) bool {
		return e.Dev == "veth2" && e.Bridge == "cni0" && e.MAC == f.DstPeer.MAC || e.MAC == f.DstDevice.MAC
	}) && f.DstDevice == nil {
		t.Errorf("forwarding %+v", f.Forwarding)
	}
	if len(f.Tunnels) != 0 {
		t.Errorf("tunnels %+v", f.Tunnels)
	}
}

// A tunnel on the way is described with the entry that leads to the other node,
// and its absence is told.
func TestTunnelFacts(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	n := c.n1.node()
	c.n1.must(c.n1.h.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "flannel.1", MTU: 1450}, VxlanId: 1, Port: 8472, SrcAddr: net.ParseIP("10.91.9.1"), Learning: false}))
	c.n1.up("flannel.1")
	c.n1.addr("flannel.1", "10.92.0.1/32")
	c.n1.route("10.92.3.0/24", "10.92.3.0", "flannel.1", 0)
	mac, err := net.ParseMAC("02:00:00:00:03:00")
	c.n1.must(err)
	dev := int(c.n1.index("flannel.1"))
	c.n1.must(c.n1.h.NeighSet(&netlink.Neigh{LinkIndex: dev, IP: net.ParseIP("10.92.3.0"), HardwareAddr: mac, State: netlink.NUD_PERMANENT}))
	inventory(t, n)
	q := tracer.Query{Flow: tcp("10.91.1.10:40000", "10.92.3.7:80"), SrcNetNS: c.p1.inode}
	f := collect(t, n, q)
	if len(f.Tunnels) != 1 || f.Tunnels[0].Dev != "flannel.1" || f.Tunnels[0].VNI != 1 || f.Tunnels[0].Port != 8472 || f.Tunnels[0].Local.String() != "10.91.9.1" || f.Tunnels[0].Learning {
		t.Fatalf("tunnels %+v", f.Tunnels)
	}
	if there := onTunnel(f); len(there) != 0 || !f.ForwardingRead {
		t.Errorf("forwarding %+v read %v, before there is an entry", f.Forwarding, f.ForwardingRead)
	}
	for i := range 500 { // those of other nodes
		other := net.HardwareAddr{2, 0, 0, 1, byte(i >> 8), byte(i)}
		c.n1.must(c.n1.h.NeighAppend(&netlink.Neigh{LinkIndex: dev, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT, HardwareAddr: other, IP: net.IPv4(192, 0, 2, 1)}))
	}
	c.n1.must(c.n1.h.NeighAppend(&netlink.Neigh{LinkIndex: dev, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT, HardwareAddr: mac, IP: net.ParseIP("10.91.9.3")}))
	f = collect(t, n, q)
	want := tracer.ForwardingFact{NetNS: c.n1.inode, Dev: "flannel.1", MAC: mac.String(), Remote: netip.MustParseAddr("10.91.9.3"), Permanent: true}
	if !slices.Equal(onTunnel(f), []tracer.ForwardingFact{want}) {
		t.Errorf("forwarding %+v, want %+v", f.Forwarding, want)
	}
}

// onTunnel leaves out what the bridge has learned.
func onTunnel(f tracer.NodeFacts) (out []tracer.ForwardingFact) {
	for _, e := range f.Forwarding {
		if e.Bridge == "" {
			out = append(out, e)
		}
	}
	return out
}

// What an ICMP error taught the kernel is told beside the device's MTU.
func TestPathMTU(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	n := c.n1.node()
	c.n1.must(c.n1.h.RouteAdd(&netlink.Route{Dst: ipnet(netip.MustParsePrefix("10.93.0.0/24")), LinkIndex: int(c.n1.index("cni0")), Scope: netlink.SCOPE_LINK, MTU: 1400}))
	inventory(t, n)
	f := collect(t, n, tracer.Query{Flow: tcp("10.91.1.10:40000", "10.93.0.7:80"), SrcNetNS: c.p1.inode})
	if r := routeFor(t, f, "forward"); r.PathMTU != 1400 || r.MTU != 1500 {
		t.Errorf("forward: %+v", r)
	}
	if r := routeFor(t, f, "reverse"); r.PathMTU != 0 && r.PathMTU != r.MTU {
		t.Errorf("reverse: %+v", r)
	}
}

// The entry of the flow is asked for, whoever else is in the table.
func TestTracked(t *testing.T) {
	needRoot(t)
	c := newCluster(t, true, true)
	n := c.n1.node()
	inventory(t, n)
	flow := tcp("10.91.1.10:40000", "10.96.0.10:80")
	q := tracer.Query{Flow: flow, Translated: tcp("10.91.1.10:40000", "10.91.1.11:8080"), SrcNetNS: c.p1.inode}
	if f := collect(t, n, q); len(f.Tracked) != 0 || !f.TrackedRead {
		t.Errorf("tracked %+v read %v in an empty table", f.Tracked, f.TrackedRead)
	}
	c.n1.in(func() error { return track(flow, tcp("10.91.1.11:8080", "10.91.1.10:40000")) })
	f := collect(t, n, q)
	if len(f.Tracked) != 1 || !f.TrackedRead {
		t.Fatalf("tracked %+v", f.Tracked)
	}
	got := f.Tracked[0]
	if got.Orig != flow || got.Reply != tcp("10.91.1.11:8080", "10.91.1.10:40000") || got.State != "ESTABLISHED" || got.Timeout <= 50*time.Second || got.Timeout > 100*time.Second || got.NetNS != c.n1.inode {
		t.Errorf("tracked %+v", got)
	}
	first := q
	q.Flow.Src = netip.MustParseAddrPort("10.91.1.10:40001")
	q.Translated = tracer.Tuple{}
	if f := collect(t, n, q); len(f.Tracked) != 0 {
		t.Errorf("another flow's entry: %+v", f.Tracked)
	}
	// What was collected for the one is taken for the other, but for the entry.
	if o := n.Retracked(q, &f); len(o.Tracked) != 0 || !o.TrackedRead || len(o.Routes) != len(f.Routes) || o.At.Before(f.At) {
		t.Errorf("taken for another flow: %+v", o)
	}
	if len(f.Tracked) != 1 {
		t.Error("what was collected for the first flow is not left as it was")
	}
	f.Tracked, f.TrackedRead, f.Blind = nil, false, append(f.Blind, tracer.Blind{What: blindTracked})
	if o := n.Retracked(first, &f); len(o.Tracked) != 1 || o.Tracked[0].Orig != flow || !o.TrackedRead || len(o.Blind) != len(f.Blind)-1 {
		t.Errorf("asked for again: %+v", o)
	}
}

// track makes an entry in the calling thread's namespace, as conntrack -I does.
func track(orig, reply tracer.Tuple) error {
	o, err := encodeTuple(orig)
	if err != nil {
		return err
	}
	r, err := encodeTuple(reply)
	if err != nil {
		return err
	}
	nest := func(as ...mdl.Attribute) []byte {
		b, _ := mdl.MarshalAttributes(as)
		return b
	}
	be := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	const confirmed, seenReply, assured = 8, 2, 4
	body := nest(mdl.Attribute{Type: ctaTupleOrig | unix.NLA_F_NESTED, Data: o}, mdl.Attribute{Type: ctaTupleReply | unix.NLA_F_NESTED, Data: r},
		mdl.Attribute{Type: ctaStatus, Data: be(confirmed | seenReply | assured)}, mdl.Attribute{Type: ctaTimeout, Data: be(100)},
		mdl.Attribute{Type: ctaProtoinfo | unix.NLA_F_NESTED, Data: nest(mdl.Attribute{Type: 1 | unix.NLA_F_NESTED, Data: nest(mdl.Attribute{Type: 1, Data: []byte{3}})})})
	conn, err := mdl.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Execute(mdl.Message{Header: mdl.Header{Type: mdl.HeaderType(unix.NFNL_SUBSYS_CTNETLINK << 8), Flags: mdl.Request | mdl.Acknowledge | mdl.Create | mdl.Excl},
		Data: append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, body...)})
	return err
}

// Whatever conntrack answers is decoded without a panic.
func FuzzTracked(f *testing.F) {
	tuple, err := encodeTuple(tcp("10.0.0.1:1", "10.0.0.2:2"))
	if err != nil {
		f.Fatal(err)
	}
	b, err := mdl.MarshalAttributes([]mdl.Attribute{{Type: ctaTupleOrig, Data: tuple}, {Type: ctaTupleReply, Data: tuple}, {Type: ctaTimestamp, Data: tuple}, {Type: ctaProtoinfo, Data: tuple}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeTracked(b, time.Now())
		if err == nil && (!e.Orig.IsValid() || !e.Reply.IsValid() || e.Age < 0) {
			t.Errorf("%+v", e)
		}
	})
}

// The groups of a process are those from the root to its own.
func TestCgroupsOf(t *testing.T) {
	dir := t.TempDir()
	n := &Node{proc: dir, paths: map[uint32]string{7: dir + "/123/ns/net", 8: "/run/netns/x", 9: dir + "/124/ns/net"}}
	for pid, text := range map[string]string{"123": "12:cpu:/other\n0::/kubepods/pod1/c\n", "124": "0::/../../up\n"} {
		if err := os.MkdirAll(dir+"/"+pid, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+pid+"/cgroup", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for inode, want := range map[uint32]string{7: "/ /kubepods /kubepods/pod1 /kubepods/pod1/c", 8: "/", 9: "/"} {
		if got := strings.Join(n.cgroupsOf(inode), " "); got != want {
			t.Errorf("netns %d: %q, want %q", inode, got, want)
		}
	}
}
