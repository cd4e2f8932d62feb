package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// machineFaults exhaust what all namespaces of a machine share.
func machineFaults() []Fault {
	f := func(code, name, title, desc string, protocols []string, arrange arrangement) Fault {
		return Fault{Name: name, Title: title, Description: desc, Component: "node", Code: code, Protocols: protocols, Visible: silence, Machine: true, arrange: arrange}
	}
	tcp := []string{"tcp"}
	neighbours := f("node-neigh-overflow", "neighbours-full", "the neighbour table is full", "As many neighbours are known as the kernel keeps, all in use; the client's own gateway gets no entry.", tcp, arrangeNeighboursFull)
	neighbours.IPv4Only = true // that of IPv6 has entries of multicast groups, which make room
	return []Fault{
		f("node-conntrack-full", "conntrack-full", "conntrack's table is full", "As many connections are tracked as conntrack keeps, all in use; new ones are dropped.", bothProtocols, arrangeConntrackFull),
		neighbours,
		f("node-memory", "datagrams-no-memory", "no memory left for datagrams", "Datagrams that nobody reads take up what the kernel has for UDP; those for the server are dropped.", []string{"udp"}, arrangeNoMemory),
		f("node-softnet-drops", "backlog-overflow", "a CPU's backlog overflows", "Each packet for the server is mirrored many times, and the CPU's backlog has room for less.", tcp, arrangeBacklog),
	}
}

// machine writes a setting of the whole machine for the time of the fault, which ends
// with the lab at the latest: no namespace takes it along.
func (l *Lab) machine(key, value string) error {
	old, err := swapSysctl(key, value)
	if err != nil {
		return fmt.Errorf("change the machine: %w", err)
	}
	back := sync.OnceValue(func() error {
		_, err := swapSysctl(key, old)
		return err
	})
	l.mu.Lock()
	l.restore = append(l.restore, back)
	l.mu.Unlock()
	l.undo = append(l.undo, back)
	return nil
}

// filled is how many entries fill a table.
const filled = 16

// hold keeps connections of a pod to the host outside open.
func (l *Lab) hold(ctx context.Context, from *space, n int) error {
	for range n {
		res, err := from.call(ctx, request{Hold: &holdArgs{Proto: "tcp", To: addrPort(l.p.host4, l.p.hostPort)}})
		if err != nil {
			return fmt.Errorf("hold a connection: %w", err)
		}
		l.undo = append(l.undo, func() error {
			_, err := from.call(l.ctx, request{Close: res.Listener})
			return err
		})
	}
	return nil
}

// arrangeConntrackFull holds connections, which conntrack gives up for nobody, and
// lets it have no more.
func arrangeConntrackFull(ctx context.Context, l *Lab) (*scene, error) {
	flush := func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }
	if err := errors.Join(l.node.inside(flush), l.hold(ctx, l.server(1).space, filled)); err != nil {
		return nil, err
	}
	return l.blamesNode(l.toService()).shows(Timeout), l.machine("net/netfilter/nf_conntrack_max", fmt.Sprint(filled))
}

// arrangeNeighboursFull fills the table, which all namespaces share, with entries in
// use: those that are not make room.
func arrangeNeighboursFull(ctx context.Context, l *Lab) (*scene, error) {
	bridge, err := l.node.nl.LinkByName(l.p.bridge)
	if err != nil {
		return nil, fmt.Errorf("find bridge: %w", err)
	}
	if err := errors.Join(l.forgetAllNeighbours(), l.set(l.node, "net/ipv4/neigh/"+l.p.bridge+"/base_reachable_time_ms", "600000")); err != nil {
		return nil, err
	}
	for i := range filled {
		n := &netlink.Neigh{
			LinkIndex: bridge.Attrs().Index, State: netlink.NUD_REACHABLE, IP: nth(l.p.pods4, uint16(100+i)).AsSlice(),
			HardwareAddr: net.HardwareAddr{0x0a, 0x58, 0, 0, 1, byte(i)},
		}
		if err := l.do(func() error { return l.node.nl.NeighSet(n) }, func() error { return l.node.nl.NeighDel(n) }); err != nil {
			return nil, fmt.Errorf("set neighbour: %w", err)
		}
	}
	for _, limit := range []string{"1", "2", "3"} {
		if err := l.machine("net/ipv4/neigh/default/gc_thresh"+limit, fmt.Sprint(filled)); err != nil {
			return nil, err
		}
	}
	return l.blamesNode(l.toServiceTCP()).shows(Timeout), ctx.Err()
}

// forgetAllNeighbours empties the table of IPv4, as far as the lab fills it.
func (l *Lab) forgetAllNeighbours() error {
	var errs []error
	for _, s := range l.spaces {
		all, err := s.nl.NeighList(0, unix.AF_INET)
		errs = append(errs, err)
		for i := range all {
			if err := s.nl.NeighDel(&all[i]); !errors.Is(err, unix.ENOENT) { // meanwhile
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Sockets that nobody reads: how many there are, and how large the datagrams are that
// each gets. A CPU keeps 1 MiB for itself before it is counted (sk_memory_allocated_add,
// include/net/sock.h, 6.12), so that it has to be more.
const (
	deafSockets  = 40
	deafDatagram = 60000
	deafPort     = 20000
)

func arrangeNoMemory(ctx context.Context, l *Lab) (*scene, error) {
	home, s := netip.AddrFrom4([4]byte{127, 0, 0, 1}), l.server(1).space
	for i := range deafSockets {
		at := addrPort(home, uint16(deafPort+i))
		h, err := s.listen(ctx, listenArgs{Kind: serveDeaf, Addr: at})
		if err != nil {
			return nil, err
		}
		l.undo = append(l.undo, func() error {
			_, err := s.call(l.ctx, request{Close: h})
			return err
		})
		fill := dialArgs{Kind: dialUDP, To: at, Timeout: 40 * time.Millisecond, Body: deafDatagram}
		if _, err := s.call(ctx, request{Dial: &fill}); err != nil {
			return nil, err
		}
	}
	x := l.toService()
	x.dial.Kind, x.dial.Retries = dialUDP, 3
	return l.blamesNode(x).shows(Timeout), l.machine("net/ipv4/udp_mem", "0 0 0")
}

const (
	backlog = 8
	copies  = backlog + 2
)

// arrangeBacklog mirrors what goes to the server's pod into another one, as for a
// packet analyser. All of it is queued at once, on the CPU that forwards.
func arrangeBacklog(_ context.Context, l *Lab) (*scene, error) {
	if err := l.oneEndpoint(); err != nil {
		return nil, err
	}
	to, err := l.port(l.server(0))
	if err != nil {
		return nil, err
	}
	into, err := l.port(l.server(1))
	if err != nil {
		return nil, err
	}
	at := netlink.QdiscAttrs{LinkIndex: to.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
	clsact := &netlink.Clsact{QdiscAttrs: at}
	mirror := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: at.LinkIndex, Parent: netlink.HANDLE_MIN_EGRESS, Priority: 1, Protocol: unix.ETH_P_IP},
		Sel:         tcpOnly(8, 16),
	}
	if l.opts.IPv6 {
		mirror.Protocol, mirror.Sel = unix.ETH_P_IPV6, tcpOnly(4, 8)
	}
	for range copies {
		m := netlink.NewMirredAction(into.Attrs().Index)
		m.MirredAction = netlink.TCA_EGRESS_MIRROR
		m.Action = netlink.TC_ACT_PIPE
		mirror.Actions = append(mirror.Actions, m)
	}
	err = l.do(
		func() error { return errors.Join(l.node.nl.QdiscAdd(clsact), l.node.nl.FilterAdd(mirror)) },
		func() error { return l.node.nl.QdiscDel(clsact) },
	)
	if err != nil {
		return nil, fmt.Errorf("mirror the server's packets: %w", err)
	}
	return l.blamesNode(l.toServiceTCP()).shows(Timeout), l.machine("net/core/netdev_max_backlog", fmt.Sprint(backlog))
}

// tcpOnly matches the protocol in the word of the IP header at an offset.
func tcpOnly(word int32, shift int) *netlink.TcU32Sel {
	return &netlink.TcU32Sel{
		Flags: netlink.TC_U32_TERMINAL, Nkeys: 1,
		Keys: []netlink.TcU32Key{{Mask: 0xff << shift, Val: unix.IPPROTO_TCP << shift, Off: word}},
	}
}
