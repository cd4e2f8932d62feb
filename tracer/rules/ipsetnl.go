package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What package nl does not name (linux/netfilter/ipset/ip_set.h, ip_set_bitmap.h).
const (
	ipsetProtocol   = 7 // kernel 4.19: sets by index
	ipsetByIndex    = 15
	ipsetAttrIndex  = 11
	ipsetOutOfRange = 4352 // of a bitmap
)

// errNoSet: the namespace has no such set.
var errNoSet = errors.New("no such set")

// ipset speaks to ip_set. It asks with the protocol that knows indexes.
func (c *conn) ipset(cmd uint16, single bool, take func(*attrs) error, args ...netlink.Attribute) error {
	body, err := netlink.MarshalAttributes(append([]netlink.Attribute{{Type: nl.IPSET_ATTR_PROTOCOL, Data: []byte{ipsetProtocol}}}, args...))
	if err != nil {
		return err
	}
	err = c.exchange(unix.NFNL_SUBSYS_IPSET<<8|cmd, single, append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, body...), func(data []byte) error {
		as, err := parseAttrs(data[4:])
		if err != nil {
			return fmt.Errorf("decode ipset message: %w", err)
		}
		return take(&as)
	})
	if errors.Is(err, unix.ENOENT) {
		return errNoSet
	}
	return err
}

// setName finds the name of a set by the index that rules hold.
func (c *conn) setName(index uint16) (name string, err error) {
	err = c.ipset(ipsetByIndex, true, func(as *attrs) error {
		name = as.str(nl.IPSET_ATTR_SETNAME)
		return nil
	}, netlink.Attribute{Type: ipsetAttrIndex, Data: binary.BigEndian.AppendUint16(nil, index)})
	if err == nil && name == "" {
		err = errNoSet
	}
	if err != nil {
		return "", fmt.Errorf("find the set of index %d: %w", index, err)
	}
	return name, nil
}

// setHeader reads what a set is, and the members of a list.
func (c *conn) setHeader(name string) (*ipset, error) {
	s := &ipset{name: name}
	err := c.ipset(nl.IPSET_CMD_HEADER, true, func(as *attrs) error {
		s.typ = as.str(nl.IPSET_ATTR_TYPENAME)
		if f := as.get(nl.IPSET_ATTR_FAMILY); len(f) > 0 {
			s.family = f[0]
		}
		return nil
	}, text(nl.IPSET_ATTR_SETNAME, name))
	if err == nil && s.typ == "" {
		err = errors.New("it has no type")
	}
	if err == nil && s.typ == listSet {
		s.members, err = c.setMembers(name)
	}
	if err != nil {
		return nil, fmt.Errorf("read set %s: %w", name, err)
	}
	return s, nil
}

// setMembers lists the sets of a list:set.
func (c *conn) setMembers(name string) (out []string, err error) {
	for range readTries {
		out = nil
		err = c.ipset(nl.IPSET_CMD_LIST, false, func(as *attrs) error {
			more, err := decodeMembers(as.get(nl.IPSET_ATTR_ADT))
			out = append(out, more...)
			return err
		}, text(nl.IPSET_ATTR_SETNAME, name))
		if !errors.Is(err, unix.EINTR) {
			return out, err
		}
	}
	return nil, errChanging
}

func decodeMembers(b []byte) (out []string, err error) {
	err = list(b, func(one []byte) error {
		as, err := parseAttrs(one)
		if err != nil {
			return err
		}
		name := strings.TrimRight(string(as.get(nl.IPSET_ATTR_NAME)), "\x00")
		if name == "" {
			return errors.New("a member of a list has no name")
		}
		out = append(out, name)
		return nil
	})
	return out, err
}

// hasElement asks the kernel whether a set holds an element, networks and
// exceptions (nomatch) included. It changes neither the set nor its counters.
func (c *conn) hasElement(s *ipset, e setElement) (bool, error) {
	data, err := encodeElement(s.typ, e)
	if err != nil {
		return false, err
	}
	err = c.ipset(nl.IPSET_CMD_TEST, true, func(*attrs) error { return nil },
		text(nl.IPSET_ATTR_SETNAME, s.name), netlink.Attribute{Type: nl.IPSET_ATTR_DATA | unix.NLA_F_NESTED, Data: data})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.Errno(nl.IPSET_ERR_EXIST)):
		return false, nil
	case errors.Is(err, unix.Errno(ipsetOutOfRange)) && strings.HasPrefix(s.typ, "bitmap:"):
		return false, nil
	}
	return false, fmt.Errorf("look up an element of set %s: %w", s.name, err)
}

func encodeElement(typ string, e setElement) ([]byte, error) {
	var as []netlink.Attribute
	addr := func(t uint16, a netip.Addr) error {
		kind := uint16(nl.IPSET_ATTR_IPADDR_IPV4)
		if a.Is6() {
			kind = nl.IPSET_ATTR_IPADDR_IPV6
		}
		inner, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: kind | unix.NLA_F_NET_BYTEORDER, Data: a.AsSlice()}})
		as = append(as, netlink.Attribute{Type: t | unix.NLA_F_NESTED, Data: inner})
		return err
	}
	if e.addr.IsValid() {
		if err := addr(nl.IPSET_ATTR_IP, e.addr); err != nil {
			return nil, err
		}
	}
	if e.addr2.IsValid() {
		if err := addr(nl.IPSET_ATTR_IP2, e.addr2); err != nil {
			return nil, err
		}
	}
	if strings.Contains(typ, "port") {
		as = append(as, netlink.Attribute{Type: nl.IPSET_ATTR_PORT | unix.NLA_F_NET_BYTEORDER, Data: binary.BigEndian.AppendUint16(nil, e.port)})
		if typ != "bitmap:port" {
			as = append(as, netlink.Attribute{Type: nl.IPSET_ATTR_PROTO, Data: []byte{e.proto}})
		}
	}
	return netlink.MarshalAttributes(as)
}

// ipset is the set of a rule, by name or else by index. Headers are read once in
// a call.
func (s *space) ipset(name string, index uint16) (*ipset, error) {
	if name == "" {
		var err error
		if name, err = s.ipsetName(index); err != nil {
			return nil, err
		}
	}
	if x := s.ipsets[name]; x != nil {
		return x, nil
	}
	x, err := s.conn.setHeader(name)
	if err != nil {
		return nil, err
	}
	s.ipsets[name] = x
	return x, nil
}

func (s *space) ipsetName(index uint16) (string, error) {
	if name, ok := s.ipsetNames[index]; ok {
		return name, nil
	}
	name, err := s.conn.setName(index)
	if err != nil {
		return "", err
	}
	s.ipsetNames[index] = name
	return name, nil
}

func (s *space) inIPSet(x *ipset, e setElement) (bool, error) { return s.conn.hasElement(x, e) }
