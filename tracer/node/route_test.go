package node

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A route with several next hops is told by its first, with all beside it; one
// with a single next hop has none beside it.
func TestRouteOf(t *testing.T) {
	hop := func(oif int, gw string, flags int) *netlink.NexthopInfo {
		return &netlink.NexthopInfo{LinkIndex: oif, Gw: net.ParseIP(gw), Flags: flags}
	}
	first, second := fibHop{2, netip.MustParseAddr("192.0.2.1")}, fibHop{3, netip.MustParseAddr("198.51.100.1")}
	for _, tc := range []struct {
		name string
		r    netlink.Route
		via  fibHop
		hops []fibHop
		dead bool
	}{
		{"one", netlink.Route{LinkIndex: 2, Gw: net.ParseIP("192.0.2.1")}, first, nil, false},
		{"one of a list", netlink.Route{MultiPath: []*netlink.NexthopInfo{hop(2, "192.0.2.1", 0)}}, first, nil, false},
		{"two", netlink.Route{MultiPath: []*netlink.NexthopInfo{hop(2, "192.0.2.1", 0), hop(3, "198.51.100.1", 0)}}, first, []fibHop{first, second}, false},
		{"one of two is dead", netlink.Route{MultiPath: []*netlink.NexthopInfo{hop(2, "192.0.2.1", unix.RTNH_F_DEAD), hop(3, "198.51.100.1", 0)}}, first, []fibHop{first, second}, false},
		{"both are dead", netlink.Route{MultiPath: []*netlink.NexthopInfo{hop(2, "192.0.2.1", unix.RTNH_F_DEAD), hop(3, "198.51.100.1", unix.RTNH_F_DEAD)}}, first, []fibHop{first, second}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := routeOf(tc.r)
			if (fibHop{got.oif, got.via}) != tc.via || !slices.Equal(got.hops, tc.hops) || got.dead != tc.dead {
				t.Errorf("%+v, want %+v %+v dead %t", got, tc.via, tc.hops, tc.dead)
			}
		})
	}
}
