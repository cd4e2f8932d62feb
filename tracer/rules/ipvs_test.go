package rules

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

func ipvsAP(s string) (netip.AddrPort, []byte) {
	ap := netip.MustParseAddrPort(s)
	b := make([]byte, 16)
	copy(b, ap.Addr().AsSlice())
	return ap, b
}

// ipvsService is a virtual server as the kernel writes it (ip_vs_genl_fill_service).
func ipvsService(f uint16, proto uint8, at string, mark uint32, sched string, flags uint32) []byte {
	ap, addr := ipvsAP(at)
	as := []netlink.Attribute{attr(svcFamily, native.AppendUint16(nil, f))}
	if mark != 0 {
		as = append(as, attr(svcMark, native.AppendUint32(nil, mark)))
	} else {
		as = append(as, attr(svcProto, native.AppendUint16(nil, uint16(proto))), attr(svcAddr, addr), attr(svcPort, binary.BigEndian.AppendUint16(nil, ap.Port())))
	}
	as = append(as, attr(svcSched, append([]byte(sched), 0)), attr(svcFlags, append(native.AppendUint32(nil, flags), 255, 255, 255, 255)),
		attr(svcTimeout, native.AppendUint32(nil, 10800)), attr(9, make([]byte, 4)), attr(10, make([]byte, 80)))
	return nest(as...)
}

// ipvsDestination is a real server (ip_vs_genl_fill_dest).
func ipvsDestination(f uint16, at string, method, weight, active, inactive uint32) []byte {
	ap, addr := ipvsAP(at)
	n := func(t uint16, v uint32) netlink.Attribute { return attr(t, native.AppendUint32(nil, v)) }
	return nest(attr(destAddr, addr), attr(destPort, binary.BigEndian.AppendUint16(nil, ap.Port())), n(destMethod, method), n(destWeight, weight),
		n(5, 0), n(6, 0), n(destActive, active), n(destInact, inactive), n(9, 0), attr(destFamily, native.AppendUint16(nil, f)), attr(10, make([]byte, 80)))
}

func TestDecodeIPVS(t *testing.T) {
	as := func(b []byte) *attrs {
		out, err := parseAttrs(b)
		must(t, err)
		return &out
	}
	for _, tc := range []struct {
		b    []byte
		want virtual
	}{
		{ipvsService(unix.AF_INET, unix.IPPROTO_TCP, "10.96.0.20:80", 0, "rr", 2), virtual{family: unix.AF_INET, proto: 6, addr: netip.MustParseAddrPort("10.96.0.20:80"), sched: "rr"}},
		{ipvsService(unix.AF_INET6, unix.IPPROTO_UDP, "[fd96::20]:53", 0, "sh", 2|svcPersists), virtual{family: unix.AF_INET6, proto: 17, addr: netip.MustParseAddrPort("[fd96::20]:53"), sched: "sh", persist: 3 * time.Hour}},
		{ipvsService(unix.AF_INET, 0, "0.0.0.0:0", 0x77, "wrr", 2), virtual{family: unix.AF_INET, mark: 0x77, sched: "wrr"}},
	} {
		got, err := decodeVirtual(as(tc.b))
		if err != nil || got != tc.want {
			t.Errorf("%+v %v, want %+v", got, err, tc.want)
		}
	}
	for _, tc := range []struct {
		b    []byte
		want tracer.VirtualDestination
	}{
		{ipvsDestination(unix.AF_INET, "10.244.1.9:8080", 0, 1, 3, 4), tracer.VirtualDestination{Addr: netip.MustParseAddrPort("10.244.1.9:8080"), Method: "masquerade", Weight: 1, Active: 3, Inactive: 4}},
		{ipvsDestination(unix.AF_INET6, "[fd00::9]:8080", 0x102, 0, 0, 0), tracer.VirtualDestination{Addr: netip.MustParseAddrPort("[fd00::9]:8080"), Method: "tunnel"}},
		{ipvsDestination(unix.AF_INET, "10.0.0.9:80", 3, 2, 0, 0), tracer.VirtualDestination{Addr: netip.MustParseAddrPort("10.0.0.9:80"), Method: "direct", Weight: 2}},
		{ipvsDestination(unix.AF_INET, "10.0.0.9:80", 7, 2, 0, 0), tracer.VirtualDestination{Addr: netip.MustParseAddrPort("10.0.0.9:80"), Method: "unknown", Weight: 2}},
	} {
		got, err := decodeDestination(as(tc.b), unix.AF_INET)
		if err != nil || got != tc.want {
			t.Errorf("%+v %v, want %+v", got, err, tc.want)
		}
	}
	// What is cut off or of another family says nothing.
	for cut := range ipvsDestination(unix.AF_INET, "10.0.0.9:80", 0, 1, 0, 0)[:60] {
		b := ipvsDestination(unix.AF_INET, "10.0.0.9:80", 0, 1, 0, 0)[:cut]
		if in, err := parseAttrs(b); err == nil {
			if d, err := decodeDestination(&in, unix.AF_INET); err == nil && !d.Addr.IsValid() {
				t.Errorf("%d bytes: %+v", cut, d)
			}
		}
	}
	if v, err := decodeVirtual(as(ipvsService(99, 6, "10.96.0.20:80", 0, "rr", 0))); err == nil {
		t.Errorf("a family that is none: %+v", v)
	}
}

// What kernels answered: see the head of the file.
func TestDecodeCapturedIPVS(t *testing.T) {
	b, err := os.ReadFile("testdata/ipvs.txt")
	must(t, err)
	var services []virtual
	var destinations []tracer.VirtualDestination
	for line := range strings.Lines(string(b)) {
		kind, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind == "#" {
			continue
		}
		raw, err := hex.DecodeString(digits)
		must(t, err)
		as, err := parseAttrs(raw)
		must(t, err)
		if kind == "service" {
			in, err := parseAttrs(as.get(ipvsAttrSvc))
			must(t, err)
			v, err := decodeVirtual(&in)
			must(t, err)
			services = append(services, v)
			continue
		}
		in, err := parseAttrs(as.get(ipvsAttrDest))
		must(t, err)
		d, err := decodeDestination(&in, unix.AF_INET)
		must(t, err)
		destinations = append(destinations, d)
	}
	wantServices := []virtual{
		{family: unix.AF_INET6, proto: 17, addr: netip.MustParseAddrPort("[fd96::20]:53"), sched: "sh", persist: 3 * time.Hour},
		{family: unix.AF_INET, proto: 6, addr: netip.MustParseAddrPort("10.96.0.20:80"), sched: "rr"},
		{family: unix.AF_INET, mark: 119, sched: "wrr"},
	}
	if !slices.Equal(services, wantServices) {
		t.Errorf("services %+v, want %+v", services, wantServices)
	}
	wantDestinations := []tracer.VirtualDestination{
		{Addr: netip.MustParseAddrPort("[fd08::2]:53"), Method: "tunnel", Weight: 7}, // a tunnel keeps the port
		{Addr: netip.MustParseAddrPort("10.244.2.7:8080"), Method: "masquerade"},
		{Addr: netip.MustParseAddrPort("10.244.1.9:8080"), Method: "masquerade", Weight: 1},
	}
	if !slices.Equal(destinations, wantDestinations) {
		t.Errorf("destinations %+v, want %+v", destinations, wantDestinations)
	}
}

// What new connections are translated to.
func TestTargetsOfIPVS(t *testing.T) {
	d := func(at, method string, weight int32) tracer.VirtualDestination {
		return tracer.VirtualDestination{Addr: netip.MustParseAddrPort(at), Method: method, Weight: weight}
	}
	for _, tc := range []struct {
		name  string
		ds    []tracer.VirtualDestination
		want  []netip.AddrPort
		empty bool
	}{
		{"two", []tracer.VirtualDestination{d("10.8.0.2:80", "masquerade", 1), d("10.8.0.3:80", "masquerade", 3)}, []netip.AddrPort{netip.MustParseAddrPort("10.8.0.2:80"), netip.MustParseAddrPort("10.8.0.3:80")}, false},
		{"none", nil, nil, true},
		{"one is drained", []tracer.VirtualDestination{d("10.8.0.2:80", "masquerade", 0), d("10.8.0.3:80", "masquerade", 1)}, []netip.AddrPort{netip.MustParseAddrPort("10.8.0.3:80")}, false},
		{"all are drained", []tracer.VirtualDestination{d("10.8.0.2:80", "masquerade", 0)}, nil, true},
		{"not translated", []tracer.VirtualDestination{d("10.8.0.2:80", "direct", 1)}, nil, false},
	} {
		out := &tracer.ServiceRules{IPVS: &tracer.VirtualServer{Destinations: tc.ds}}
		takeTargets(out)
		if !slices.Equal(out.Targets, tc.want) || out.NoEndpoints != tc.empty {
			t.Errorf("%s: %+v", tc.name, out)
		}
	}
}

// sameServer compares virtual servers, whose destinations the kernel lists in
// any order.
func sameServer(got, want *tracer.VirtualServer) string {
	return gocmp.Diff(want, got, gocmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmpopts.SortSlices(func(a, b tracer.VirtualDestination) bool { return a.Addr.Compare(b.Addr) < 0 }))
}
