package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Where the measured packets go.
const (
	podPort      = 5001 // pod to pod
	servicePort  = 80   // pod to Service, translated to externalPort
	externalPort = 8080
	droppedPort  = 9999 // an nft rule of the node drops these
	nodeName     = "bench-node"
)

var (
	serviceIP  = netip.MustParseAddr("10.96.0.10")
	externalIP = netip.MustParseAddr("192.168.77.2")
	nodeIP     = netip.MustParseAddr("192.168.77.1")
	gatewayIP  = netip.MustParseAddr("10.244.1.1")
)

// Fixed hardware addresses, so that neighbours can be permanent and nobody has
// to ask: the device counters then hold the measured packets and nothing else.
var (
	bridgeMAC   = net.HardwareAddr{0x02, 0xbe, 0, 0, 0, 0x01}
	nodeMAC     = net.HardwareAddr{0x02, 0xbe, 0, 0, 0, 0x02}
	externalMAC = net.HardwareAddr{0x02, 0xbe, 0, 0, 0, 0x03}
)

// rules are the node's: a Service map as kube-proxy's nftables mode has one, a
// masquerade, and the drop.
const rules = `
table ip bench {
	counter dropped { }
	chain endpoint {
		meta l4proto { tcp, udp } dnat to 192.168.77.2:8080
	}
	map service-ips {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.0.10 . udp . 80 : goto endpoint, 10.96.0.10 . tcp . 80 : goto endpoint }
	}
	chain services {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr . meta l4proto . th dport vmap @service-ips
	}
	chain masquerading {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "eth0" ip saddr 10.244.0.0/16 masquerade
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		udp dport 9999 counter name "dropped" drop
	}
}
`

// podNet is a pod: its namespace, its address and the node's end of its veth.
type podNet struct {
	space *space
	ip    netip.Addr
	mac   net.HardwareAddr
	veth  string
}

// topology is a node with a bridge, some pods, and the outside. pods[0] sends,
// pods[1] receives; the others are there to be traced instead.
type topology struct {
	spawn          *spawner
	node, external *space
	pods           []*podNet
	all            []*space
}

// newTopology builds a node with n pods.
func newTopology(ctx context.Context, sp *spawner, n int) (*topology, error) {
	t := &topology{spawn: sp}
	if err := t.build(ctx, n); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *topology) build(ctx context.Context, n int) error {
	var err error
	if t.node, err = t.space("node"); err != nil {
		return err
	}
	if t.external, err = t.space("outside"); err != nil {
		return err
	}
	if err := t.buildNode(); err != nil {
		return err
	}
	for i := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.addPod(i); err != nil {
			return fmt.Errorf("add pod %d: %w", i, err)
		}
	}
	if err := t.nft(ctx, rules); err != nil {
		return err
	}
	return t.manyConnections()
}

// nft gives commands to the node's nft.
func (t *topology) nft(ctx context.Context, commands string) error {
	_, err := t.node.command(ctx, t.spawn, commands, "nft", "-f", "-")
	return err
}

// manyConnections lets a thread open and close connections for minutes: nobody
// keeps a closed one for long.
func (t *topology) manyConnections() error {
	for _, s := range []*space{t.pods[0].space, t.pods[1].space, t.external} {
		err := s.sysctl(map[string]string{
			"net/ipv4/ip_local_port_range": "1024 65535",
			"net/ipv4/tcp_tw_reuse":        "1",
			"net/ipv4/tcp_max_tw_buckets":  "262144",
			"net/ipv4/tcp_no_metrics_save": "1", // a window knows nothing of the one before
		})
		if err != nil {
			return err
		}
	}
	return t.node.sysctl(map[string]string{
		"net/netfilter/nf_conntrack_tcp_timeout_time_wait": "1",
		"net/netfilter/nf_conntrack_tcp_timeout_close":     "1",
	})
}

func (t *topology) space(name string) (*space, error) {
	s, err := newSpace(t.spawn, name)
	if err == nil {
		t.all = append(t.all, s)
	}
	return s, err
}

func (t *topology) close() {
	for _, s := range slices.Backward(t.all) {
		s.close()
	}
}

func (t *topology) buildNode() error {
	if err := t.node.sysctl(map[string]string{"net/ipv4/ip_forward": "1"}); err != nil {
		return err
	}
	if err := t.node.sysctl(map[string]string{"net/bridge/bridge-nf-call-iptables": "1"}); err != nil {
		return fmt.Errorf("br_netfilter is needed, try \"modprobe br_netfilter\": %w", err)
	}
	snooping := false
	bridge := &netlink.Bridge{LinkAttrs: attrs("cni0", bridgeMAC), MulticastSnooping: &snooping}
	if err := t.node.nl.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	uplink := netlink.NewVeth(attrs("eth0", nodeMAC))
	uplink.PeerName, uplink.PeerHardwareAddr, uplink.PeerNamespace = "eth0", externalMAC, netlink.NsFd(int(t.external.ns))
	if err := t.node.nl.LinkAdd(uplink); err != nil {
		return fmt.Errorf("add uplink: %w", err)
	}
	return errors.Join(
		t.node.up("lo"),
		t.node.up("cni0", netip.PrefixFrom(gatewayIP, 16)),
		t.node.up("eth0", netip.PrefixFrom(nodeIP, 24)),
		t.external.up("eth0", netip.PrefixFrom(externalIP, 24)),
		t.node.neighbour("eth0", externalIP, externalMAC),
		t.external.neighbour("eth0", nodeIP, nodeMAC),
		t.node.defaultRoute("eth0", externalIP),
	)
}

func (t *topology) addPod(i int) error {
	s, err := t.space(fmt.Sprintf("pod %d", i))
	if err != nil {
		return err
	}
	hi, lo := byte((i+10)>>8), byte(i+10)
	p := &podNet{
		space: s, veth: fmt.Sprintf("veth%d", i),
		ip: netip.AddrFrom4([4]byte{10, 244, 1 + hi, lo}), mac: net.HardwareAddr{0x02, 0xbe, 1, 0, hi, lo},
	}
	bridge, err := t.node.nl.LinkByName("cni0")
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	a := attrs(p.veth, nil)
	a.MasterIndex = bridge.Attrs().Index
	veth := netlink.NewVeth(a)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerNamespace = "eth0", p.mac, netlink.NsFd(int(s.ns))
	if err := t.node.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	t.pods = append(t.pods, p)
	if err := errors.Join(
		s.up("lo"), s.up("eth0", netip.PrefixFrom(p.ip, 16)), t.node.up(p.veth),
		s.defaultRoute("eth0", gatewayIP), s.neighbour("eth0", gatewayIP, bridgeMAC), t.node.neighbour("cni0", p.ip, p.mac),
		t.learn(p),
	); err != nil {
		return err
	}
	if i == 0 {
		return nil
	}
	return errors.Join(
		t.pods[0].space.neighbour("eth0", p.ip, p.mac),
		s.neighbour("eth0", t.pods[0].ip, t.pods[0].mac),
	)
}

// learn tells the bridge where a pod is, since one that only receives would be
// sent to through every port.
func (t *topology) learn(p *podNet) error {
	link, err := t.node.nl.LinkByName(p.veth)
	if err != nil {
		return fmt.Errorf("find %s: %w", p.veth, err)
	}
	err = t.node.nl.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP,
		Flags: netlink.NTF_MASTER, HardwareAddr: p.mac,
	})
	if err != nil {
		return fmt.Errorf("add forwarding entry for %s: %w", p.veth, err)
	}
	return nil
}

// clusterDump is what kubectl would print of this cluster.
func (t *topology) clusterDump() string {
	type object map[string]any
	node := object{
		"apiVersion": "v1", "kind": "Node", "metadata": object{"name": nodeName},
		"spec":   object{"podCIDR": "10.244.0.0/16", "podCIDRs": []string{"10.244.0.0/16"}},
		"status": object{"addresses": []object{{"type": "InternalIP", "address": nodeIP.String()}}},
	}
	items := []object{node, {"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": "bench"}}}
	for i, p := range t.pods {
		items = append(items, object{
			"apiVersion": "v1", "kind": "Pod", "metadata": object{"namespace": "bench", "name": fmt.Sprintf("pod-%d", i), "uid": p.veth},
			"spec": object{"nodeName": nodeName, "containers": []object{{"name": "app", "image": "app"}}},
			"status": object{"phase": "Running", "podIP": p.ip.String(), "podIPs": []object{{"ip": p.ip.String()}},
				"conditions": []object{{"type": "Ready", "status": "True"}}},
		})
	}
	b, err := json.Marshal(object{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		panic(err) // maps of strings always encode
	}
	return string(b)
}

func attrs(name string, mac net.HardwareAddr) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU, a.HardwareAddr = name, 1500, mac
	return a
}

func (s *space) up(name string, addrs ...netip.Prefix) error {
	link, err := s.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", name, s.name, err)
	}
	for _, p := range addrs {
		ip := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		if err := s.nl.AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
			return fmt.Errorf("add %s to %s in %s: %w", p, name, s.name, err)
		}
	}
	if err := s.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up in %s: %w", name, s.name, err)
	}
	return nil
}

func (s *space) defaultRoute(dev string, via netip.Addr) error {
	link, err := s.nl.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", dev, s.name, err)
	}
	if err := s.nl.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("add default route in %s: %w", s.name, err)
	}
	return nil
}

func (s *space) neighbour(dev string, ip netip.Addr, mac net.HardwareAddr) error {
	link, err := s.nl.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", dev, s.name, err)
	}
	n := &netlink.Neigh{LinkIndex: link.Attrs().Index, IP: ip.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT, Family: unix.AF_INET}
	if err := s.nl.NeighSet(n); err != nil {
		return fmt.Errorf("add neighbour %s in %s: %w", ip, s.name, err)
	}
	return nil
}
