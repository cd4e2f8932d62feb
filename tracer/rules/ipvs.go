package rules

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
	"github.com/podpath/podpath/tracer/netns"
)

// The generic netlink family of IPVS (linux/ip_vs.h). Numbers are in host order,
// ports in network order, addresses take 16 bytes.
const (
	ipvsFamily     = "IPVS"
	ipvsVersion    = 1
	ipvsGetService = 4
	ipvsGetDest    = 8
	ipvsAttrSvc    = 1
	ipvsAttrDest   = 2

	svcFamily   = 1
	svcProto    = 2
	svcAddr     = 3
	svcPort     = 4
	svcMark     = 5
	svcSched    = 6
	svcFlags    = 7
	svcTimeout  = 8
	svcPersists = 1 // a flag

	destAddr   = 1
	destPort   = 2
	destMethod = 3
	destWeight = 4
	destActive = 7
	destInact  = 8
	destFamily = 11
)

// ipvsMethods are IP_VS_CONN_F_FWD_MASK.
var ipvsMethods = []string{tracer.IPVSMasquerade, "local", "tunnel", "direct", "bypass"}

// virtual is one virtual server of IPVS.
type virtual struct {
	family  uint16
	proto   uint8
	addr    netip.AddrPort
	mark    uint32 // it takes packets with this mark, whatever their address
	sched   string
	persist time.Duration
}

var errIPVS = errors.New("an answer of IPVS has an unknown shape")

// ipvsConn asks IPVS in one namespace.
type ipvsConn struct {
	*conn
	id uint16 // of the family
}

// dialIPVS opens it in the calling thread's namespace. Where ip_vs is not loaded
// it asks nothing: to name an unknown family makes the kernel load modules.
func dialIPVS(ctx context.Context) (*ipvsConn, error) {
	if _, err := os.Stat("/proc/thread-self/net/ip_vs"); err != nil {
		return nil, fmt.Errorf("ip_vs is not loaded: %w", err)
	}
	c, err := dial(ctx, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	out := &ipvsConn{conn: c}
	body := append([]byte{unix.CTRL_CMD_GETFAMILY, 1, 0, 0}, nlText(unix.CTRL_ATTR_FAMILY_NAME, ipvsFamily)...)
	err = c.exchange(unix.GENL_ID_CTRL, true, body, func(data []byte) error {
		as, err := parseAttrs(data[4:])
		if id := as.get(unix.CTRL_ATTR_FAMILY_ID); err == nil && len(id) >= 2 {
			out.id = native.Uint16(id)
		}
		return err
	})
	if err == nil && out.id == 0 {
		err = errIPVS
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("find the netlink family of IPVS: %w", err)
	}
	return out, nil
}

// nlText is one attribute with a string.
func nlText(t uint16, s string) []byte {
	b, _ := netlink.MarshalAttributes([]netlink.Attribute{text(t, s)}) // only lengths fail
	return b
}

// ask sends a command about a virtual server, nil for all, and hands on what the
// answers hold under one attribute.
func (c *ipvsConn) ask(cmd uint8, v *virtual, single bool, holds uint16, take func(*attrs) error) error {
	body := []byte{cmd, ipvsVersion, 0, 0}
	if v != nil {
		key, err := v.key()
		if err != nil {
			return err
		}
		body = append(body, key...)
	}
	return c.exchange(c.id, single, body, func(data []byte) error {
		as, err := parseAttrs(data[4:])
		if err != nil {
			return err
		}
		in, err := parseAttrs(as.get(holds))
		if err != nil {
			return err
		}
		return take(&in)
	})
}

// key is what IPVS finds a virtual server by.
func (v *virtual) key() ([]byte, error) {
	var addr [16]byte
	copy(addr[:], v.addr.Addr().AsSlice())
	in, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: svcFamily, Data: native.AppendUint16(nil, v.family)}, {Type: svcProto, Data: native.AppendUint16(nil, uint16(v.proto))},
		{Type: svcAddr, Data: addr[:]}, {Type: svcPort, Data: binary.BigEndian.AppendUint16(nil, v.addr.Port())}})
	if err != nil {
		return nil, err
	}
	return netlink.MarshalAttributes([]netlink.Attribute{{Type: ipvsAttrSvc | unix.NLA_F_NESTED, Data: in}})
}

// service is the virtual server with an address, protocol and port, nil if there
// is none.
func (c *ipvsConn) service(family family, proto uint8, addr netip.AddrPort) (out *virtual, err error) {
	err = c.ask(ipvsGetService, &virtual{family: uint16(family), proto: proto, addr: addr}, true, ipvsAttrSvc, func(as *attrs) error {
		v, err := decodeVirtual(as)
		out = &v
		return err
	})
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask IPVS for %s: %w", addr, err)
	}
	return out, nil
}

// services lists every virtual server.
func (c *ipvsConn) services(take func(virtual)) error {
	err := c.ask(ipvsGetService, nil, false, ipvsAttrSvc, func(as *attrs) error {
		v, err := decodeVirtual(as)
		if err == nil {
			take(v)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("list the virtual servers of IPVS: %w", err)
	}
	return nil
}

// destinations lists those of one virtual server.
func (c *ipvsConn) destinations(v *virtual) (out []tracer.VirtualDestination, err error) {
	err = c.ask(ipvsGetDest, v, false, ipvsAttrDest, func(as *attrs) error {
		d, err := decodeDestination(as, v.family)
		out = append(out, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the destinations of %s: %w", v.addr, err)
	}
	return out, nil
}

// host reads a number in host order, 0 if it is not there.
func (a *attrs) host16(t uint16) uint16 {
	if b := a.get(t); len(b) >= 2 {
		return native.Uint16(b)
	}
	return 0
}

func (a *attrs) host32(t uint16) uint32 {
	if b := a.get(t); len(b) >= 4 {
		return native.Uint32(b)
	}
	return 0
}

// ipvsAddr reads union nf_inet_addr and a port.
func (a *attrs) ipvsAddr(addr, port uint16, f uint16) (netip.AddrPort, error) {
	n := map[uint16]int{unix.AF_INET: 4, unix.AF_INET6: 16}[f]
	if n == 0 || len(a.get(addr)) < n || len(a.get(port)) < 2 {
		return netip.AddrPort{}, errIPVS
	}
	ip, _ := netip.AddrFromSlice(a.get(addr)[:n])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(a.get(port))), nil
}

func decodeVirtual(as *attrs) (v virtual, err error) {
	v = virtual{family: as.host16(svcFamily), proto: uint8(as.host16(svcProto)), mark: as.host32(svcMark), sched: as.str(svcSched)}
	if as.host32(svcFlags)&svcPersists != 0 {
		v.persist = time.Duration(as.host32(svcTimeout)) * time.Second
	}
	if v.mark != 0 {
		return v, nil
	}
	v.addr, err = as.ipvsAddr(svcAddr, svcPort, v.family)
	return v, err
}

// decodeDestination reads a real server; f is its virtual server's family, which
// kernels before 3.18 leave out.
func decodeDestination(as *attrs, f uint16) (d tracer.VirtualDestination, err error) {
	if own := as.host16(destFamily); own != 0 {
		f = own
	}
	if len(as.get(destWeight)) < 4 || len(as.get(destMethod)) < 4 {
		return d, errIPVS
	}
	d = tracer.VirtualDestination{Method: "unknown", Weight: int32(as.host32(destWeight)), Active: as.host32(destActive), Inactive: as.host32(destInact)}
	if m := as.host32(destMethod) & 7; int(m) < len(ipvsMethods) {
		d.Method = ipvsMethods[m]
	}
	d.Addr, err = as.ipvsAddr(destAddr, destPort, f)
	return d, err
}

// readIPVS asks for the virtual server that takes the flow.
func readIPVS(ctx context.Context, s *space, t tracer.Tuple, out *tracer.ServiceRules) {
	err := netns.Do(int(s.file.Fd()), func() error {
		c, err := dialIPVS(ctx)
		if err != nil {
			return err
		}
		defer c.close()
		return c.lookUp(s, t, out)
	})
	if err != nil {
		out.Complete = false
		s.note("ipvs virtual servers", err.Error())
	}
}

// lookUp finds the server as ip_vs_service_find does: by address and port, then
// by address alone.
func (c *ipvsConn) lookUp(s *space, t tracer.Tuple, out *tracer.ServiceRules) error {
	f := (&packet{Tuple: t}).family()
	for _, at := range []netip.AddrPort{t.Dst, netip.AddrPortFrom(t.Dst.Addr(), 0)} {
		v, err := c.service(f, t.Proto, at)
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		ds, err := c.destinations(v)
		if err != nil {
			return err
		}
		out.Any, out.HasFrontend = true, true
		out.IPVS = &tracer.VirtualServer{Scheduler: v.sched, Persistence: v.persist, Destinations: ds}
		takeTargets(out)
		return nil
	}
	marks := 0
	err := c.services(func(v virtual) {
		out.Any = true
		if v.mark != 0 {
			marks++
		}
	})
	if marks > 0 {
		out.Complete = false
		s.note("ipvs virtual servers", fmt.Sprintf("%d take packets by a mark that rules give; whether this flow has it is not known", marks))
	}
	return err
}

// takeTargets lists the destinations that IPVS translates new connections to:
// those of weight 0 keep the connections that they have, and by other methods
// the packet keeps its destination.
func takeTargets(out *tracer.ServiceRules) {
	takes := 0
	for _, d := range out.IPVS.Destinations {
		if d.Weight <= 0 {
			continue
		}
		takes++
		if d.Method == tracer.IPVSMasquerade {
			out.Targets = append(out.Targets, d.Addr)
		}
	}
	out.NoEndpoints = out.NoEndpoints || takes == 0
}
