package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	vocabulary "github.com/podpath/podpath/tracer"
)

// benchEntries is how many connections a busy node tracks.
const benchEntries = 250_000

// track gives a namespace n entries of conntrack, or as many as this machine
// allows. The last is that of the flow that is asked for.
func (s *space) track(n int) (int, error) {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		return 0, fmt.Errorf("read the limit of conntrack: %w", err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("read the limit of conntrack: %w", err)
	}
	if most > 0 {
		n = min(n, most-1000)
	}
	h, err := netlink.NewHandleAt(s.ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("open nfnetlink: %w", err)
	}
	defer h.Close()
	asked := askedFlow()
	for i := range n {
		flow := asked
		if i < n-1 {
			flow.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 129 + byte(i>>24), byte(i >> 16), byte(i >> 8)}), uint16(1024+i&255))
		}
		if err := addEntry(h, flow); err != nil {
			return i, fmt.Errorf("add entry %d of conntrack: %w", i, err)
		}
	}
	return n, nil
}

func addEntry(h *netlink.Handle, flow vocabulary.Tuple) error {
	half := func(src, dst netip.AddrPort) netlink.IPTuple {
		return netlink.IPTuple{SrcIP: net.IP(src.Addr().AsSlice()), DstIP: net.IP(dst.Addr().AsSlice()), SrcPort: src.Port(), DstPort: dst.Port(), Protocol: flow.Proto}
	}
	return h.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, &netlink.ConntrackFlow{
		FamilyType: unix.AF_INET, Forward: half(flow.Src, flow.Dst), Reverse: half(flow.Dst, flow.Src), TimeOut: 600,
		ProtoInfo: &netlink.ProtoInfoTCP{State: nl.TCP_CONNTRACK_ESTABLISHED},
	})
}
