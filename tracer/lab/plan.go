package lab

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// plan is every name, address and port of one lab. Two plans of different seeds
// have none of them in common by design, so that a tool that keys on one of
// them is found out.
type plan struct {
	rng *rand.Rand

	node, peer string // node names
	bridge     string
	agent      string // table of the CNI's policy agent
	guard      string // table of a firewall that belongs to nobody
	hostFW     string // table of a host firewall

	lan4, lan6           netip.Prefix // uplink network
	gw4, gw6             netip.Addr   // the outside's address in it
	dead4, dead6         netip.Addr   // an address in it that nobody has
	node4, node6         netip.Addr
	peer4, peer6         netip.Addr
	side4, side6         netip.Prefix  // second uplink network
	cluster4, cluster6   netip.Prefix  // all pods
	pods4, pods6         netip.Prefix  // pods of the node
	peerPods4, peerPods6 netip.Prefix  // pods of the second node
	svc4, svc6           netip.Prefix  // ClusterIPs
	host4, host6         netip.Addr    // a host on the internet
	quiet4, quiet6       netip.Addr    // a host on the internet behind a firewall
	hostName             string        // its name in the DNS
	web4, web6           [2]netip.Addr // hosts on the internet in other networks
	office4, office6     netip.Addr    // a private address behind the outside's router

	clientNS, serverNS         string
	client, server, far        string // workloads; far runs on the second node
	clientTeam, serverTeam     string // label "team" of the namespaces
	svcPort, podPort, altPort  uint16
	farPort, hostPort, offPort uint16
}

type words struct{ clientNS, client, serverNS, server, far, clientTeam, serverTeam string }

// story is the cast of seed 0; the pools below cast the others.
var story = words{"shop", "checkout", "payments", "api", "ledger", "storefront", "billing"}

func pools() (ns, apps, teams, nodes, tables []string) {
	ns = []string{"alpha", "batch", "crm", "data-plane", "edge", "fleet", "grid", "hr-prod", "infra", "jobs", "kiosk", "lab7"}
	apps = []string{"broker", "cart", "drone", "emailer", "front", "gateway", "hub", "indexer", "joiner", "keeper", "loader", "mixer", "notifier"}
	teams = []string{"amber", "blue", "coral", "delta", "ember", "frost", "green", "hazel"}
	nodes = []string{"ip-10-1-2-3", "kube-a1", "node01.example", "pool-3-x8fz", "rack7-n2", "vm-ubuntu-9", "metal-4", "gke-a-1f"}
	tables = []string{"agent-a", "baseline", "cis", "edge-fw", "hardening", "secops", "sys", "wl-guard"}
	return ns, apps, teams, nodes, tables
}

func pick(r *rand.Rand, from []string, n int) []string {
	out := make([]string, 0, n)
	for _, i := range r.Perm(len(from))[:n] {
		out = append(out, from[i])
	}
	return out
}

func newPlan(seed uint64) *plan {
	p := &plan{rng: rand.New(rand.NewPCG(seed, 0x706f6470617468))}
	w := story
	p.node, p.peer, p.bridge = "worker-1", "worker-2", "cni0"
	p.agent, p.guard, p.hostFW = "netpol-agent", "host-guard", "firewalld"
	p.svcPort, p.podPort, p.altPort, p.farPort, p.hostPort, p.offPort = 80, 8080, 9090, 8443, 443, 8444
	net := nets{lan: [3]byte{192, 168, 50}, side: [3]byte{192, 168, 60}, cluster: 244, node: 1, peer: 2, svc: 96, host: [3]byte{203, 0, 113}}
	if seed != 0 {
		w = p.cast()
		net = p.number()
	}
	p.clientNS, p.client, p.serverNS, p.server, p.far = w.clientNS, w.client, w.serverNS, w.server, w.far
	p.clientTeam, p.serverTeam = w.clientTeam, w.serverTeam
	p.hostName = "www.example.com."
	p.address(net)
	return p
}

// cast picks names and ports for a seed.
func (p *plan) cast() words {
	ns, apps, teams, nodes, tables := pools()
	n, a, t := pick(p.rng, ns, 2), pick(p.rng, apps, 3), pick(p.rng, teams, 2)
	h, f := pick(p.rng, nodes, 2), pick(p.rng, tables, 3)
	p.node, p.peer = h[0], h[1]
	p.bridge = pick(p.rng, []string{"cni0", "cbr0", "br-pods", "kube-bridge"}, 1)[0]
	p.agent, p.guard, p.hostFW = f[0], f[1], f[2]
	ports := p.rng.Perm(60000)
	port := func(i int) uint16 { return uint16(1025 + ports[i]) }
	p.svcPort, p.podPort, p.altPort = port(0), port(1), port(2)
	p.farPort, p.hostPort, p.offPort = port(3), port(4), port(5)
	return words{n[0], a[0], n[1], a[1], a[2], t[0], t[1]}
}

// nets is the numbers that make up the plan's networks.
type nets struct {
	lan, side, host          [3]byte
	cluster, node, peer, svc byte
}

func (p *plan) number() nets {
	o := func(lo, n int) byte { return byte(lo + p.rng.IntN(n)) }
	node := o(1, 100)
	return nets{
		lan: [3]byte{172, o(16, 8), o(0, 256)}, side: [3]byte{172, o(24, 8), o(0, 256)},
		cluster: o(128, 120), node: node, peer: node + 1 + o(0, 100), svc: o(1, 120),
		host: [3]byte{198, 18 + o(0, 2), o(0, 256)},
	}
}

func (p *plan) address(n nets) {
	v4 := func(a, b, c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, c, d}) }
	lan := func(d byte) netip.Addr { return v4(n.lan[0], n.lan[1], n.lan[2], d) }
	lan6 := func(d byte) netip.Addr { return v6(0xfd50, uint16(n.lan[1]), uint16(n.lan[2]), 0, uint16(d)) }
	p.lan4, p.lan6 = netip.PrefixFrom(lan(0), 24), netip.PrefixFrom(lan6(0), 64)
	p.gw4, p.gw6, p.dead4, p.dead6 = lan(1), lan6(1), lan(254), lan6(254)
	p.node4, p.node6, p.peer4, p.peer6 = lan(11), lan6(11), lan(12), lan6(12)
	p.side4 = netip.PrefixFrom(v4(n.side[0], n.side[1], n.side[2], 0), 24)
	p.side6 = netip.PrefixFrom(v6(0xfd50, uint16(n.side[1]), uint16(n.side[2]), 0, 0), 64)
	c := n.cluster
	p.cluster4 = netip.PrefixFrom(v4(10, c, 0, 0), 16)
	p.cluster6 = netip.PrefixFrom(v6(0xfd00, 0x10, uint16(c), 0, 0), 48)
	p.pods4, p.peerPods4 = netip.PrefixFrom(v4(10, c, n.node, 0), 24), netip.PrefixFrom(v4(10, c, n.peer, 0), 24)
	p.pods6 = netip.PrefixFrom(v6(0xfd00, 0x10, uint16(c), uint16(n.node), 0), 64)
	p.peerPods6 = netip.PrefixFrom(v6(0xfd00, 0x10, uint16(c), uint16(n.peer), 0), 64)
	p.svc4 = netip.PrefixFrom(v4(10, n.svc, 0, 0), 16)
	p.svc6 = netip.PrefixFrom(v6(0xfd00, 0x10, uint16(n.svc), 0xffff, 0), 112)
	p.host4, p.quiet4 = v4(n.host[0], n.host[1], n.host[2], 10), v4(n.host[0], n.host[1], n.host[2], 20)
	p.host6 = v6(0x2001, 0xdb8, uint16(n.host[2]), 0, 0x10)
	p.quiet6 = v6(0x2001, 0xdb8, uint16(n.host[2]), 0, 0x20)
	// RFC 5737, RFC 9637: no two of them in one /16, or /32.
	p.web4 = [2]netip.Addr{v4(198, 51, 100, 10+n.host[2]%200), v4(192, 0, 2, 10+n.host[2]%200)}
	p.web6 = [2]netip.Addr{v6(0x3fff, 1, uint16(n.host[2]), 0, 0x10), v6(0x3fff, 2, uint16(n.host[2]), 0, 0x10)}
	p.office4, p.office6 = v4(10, 125, n.host[2], 8), v6(0xfd60, 0, uint16(n.host[2]), 0, 8)
}

// v6 makes an address of its first four groups and the last one.
func v6(a, b, c, d, last uint16) netip.Addr {
	var x [16]byte
	for i, g := range []uint16{a, b, c, d} {
		binary.BigEndian.PutUint16(x[2*i:], g)
	}
	binary.BigEndian.PutUint16(x[14:], last)
	return netip.AddrFrom16(x)
}

// nth is the n-th address of a prefix whose host part is 0.
func nth(p netip.Prefix, n uint16) netip.Addr {
	if p.Addr().Is4() {
		a := p.Addr().As4()
		v := binary.BigEndian.Uint32(a[:]) + uint32(n)
		binary.BigEndian.PutUint32(a[:], v)
		return netip.AddrFrom4(a)
	}
	a := p.Addr().As16()
	binary.BigEndian.PutUint16(a[14:], binary.BigEndian.Uint16(a[14:])+n)
	return netip.AddrFrom16(a)
}

// token is a random name part as Kubernetes makes them: no vowels, no digits
// that look like letters.
func (p *plan) token(n int) string {
	const set = "bcdfghjklmnpqrstvwxz2456789"
	out := make([]byte, n)
	for i := range out {
		out[i] = set[p.rng.IntN(len(set))]
	}
	return string(out)
}

func (p *plan) hex(n int) string {
	const set = "0123456789abcdef"
	out := make([]byte, n)
	for i := range out {
		out[i] = set[p.rng.IntN(len(set))]
	}
	return string(out)
}

func (p *plan) uid() string {
	return fmt.Sprintf("%s-%s-4%s-a%s-%s", p.hex(8), p.hex(4), p.hex(3), p.hex(3), p.hex(12))
}
