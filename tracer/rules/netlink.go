package rules

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// errUnsupported: this kernel has no nf_tables.
var errUnsupported = errors.New("nf_tables is not available")

// errChanging: the rules changed during every attempt to read them.
var errChanging = errors.New("rules changed while being read")

// readTries bounds how often what changes meanwhile is read again.
const readTries = 4

// conn is a netlink socket in one namespace. Close it.
type conn struct {
	nl   *netlink.Conn
	buf  []byte
	stop func() bool // no longer ends it with its context
}

// dial opens it in the calling thread's namespace, for one protocol (NETLINK_*).
func dial(ctx context.Context, protocol int) (*conn, error) {
	c, err := netlink.Dial(protocol, nil)
	if err != nil {
		return nil, fmt.Errorf("open netlink %d: %w", protocol, err)
	}
	if d, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(d); err != nil {
			_ = c.Close()
			return nil, fmt.Errorf("set deadline of netlink %d: %w", protocol, err)
		}
	}
	// What was called off earlier ends as if its time were up.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return &conn{nl: c, stop: stop}, nil
}

func (c *conn) close() {
	if c.stop != nil {
		c.stop()
	}
	_ = c.nl.Close()
}

// msg is one answer: the family of its header and its attributes.
type msg struct {
	family family
	attrs  attrs
}

// dumpBuffer is the most that the kernel puts into one part of an answer
// (netlink_recvmsg, 4.4 and later). A dump begins from the front for each part,
// and passes over what it has sent before: with small parts, reading many rules
// takes the square of their number.
const dumpBuffer = 64 << 10

// raw sends one request, a dump unless single, and hands on every answer as it
// comes, header and attributes, which are not to be kept: of a big rule set, no
// more is held than what is copied of it.
func (c *conn) raw(typ uint16, f family, single bool, take func([]byte) error, args ...netlink.Attribute) error {
	body, err := netlink.MarshalAttributes(args)
	if err != nil {
		return err
	}
	err = c.exchange(unix.NFNL_SUBSYS_NFTABLES<<8|typ, single, append([]byte{byte(f), unix.NFNETLINK_V0, 0, 0}, body...), take)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%w: %w", errUnsupported, err)
	}
	return err
}

// exchange sends one request, a dump unless single, and hands on its answers
// without their netlink headers.
func (c *conn) exchange(typ uint16, single bool, body []byte, take func([]byte) error) error {
	flags := netlink.Request | netlink.Dump
	if single {
		flags = netlink.Request | netlink.Acknowledge
	}
	sent, err := c.nl.Send(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(typ), Flags: flags}, Data: body})
	if err != nil {
		return err
	}
	return c.receive(sent.Header.Sequence, take)
}

// receive reads the answers to one request to their end, even if they are not
// wanted any more: what is left would stand before the next.
func (c *conn) receive(seq uint32, take func([]byte) error) error {
	raw, err := c.nl.SyscallConn()
	if err != nil {
		return err
	}
	if c.buf == nil {
		c.buf = make([]byte, dumpBuffer)
	}
	var failed error
	for {
		var n int
		var got error
		err := raw.Read(func(fd uintptr) bool {
			n, _, got = unix.Recvfrom(int(fd), c.buf, 0)
			return !errors.Is(got, unix.EAGAIN) && !errors.Is(got, unix.EINTR)
		})
		if err = errors.Join(err, got); err != nil {
			return err
		}
		for rest := c.buf[:n]; len(rest) >= unix.NLMSG_HDRLEN; {
			size := int(native.Uint32(rest))
			if size < unix.NLMSG_HDRLEN || size > len(rest) {
				return errors.New("netlink message is cut off")
			}
			head, data := rest[:unix.NLMSG_HDRLEN], rest[unix.NLMSG_HDRLEN:size]
			rest = rest[min((size+3)&^3, len(rest)):]
			if native.Uint32(head[8:]) != seq {
				continue
			}
			if native.Uint16(head[6:])&unix.NLM_F_DUMP_INTR != 0 {
				failed = errors.Join(failed, unix.EINTR)
			}
			switch native.Uint16(head[4:]) {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				if len(data) >= 4 && int32(native.Uint32(data)) < 0 {
					failed = errors.Join(failed, unix.Errno(-int32(native.Uint32(data))))
				}
				return failed
			}
			if failed == nil && len(data) >= 4 {
				failed = take(data)
			}
		}
	}
}

// ask collects the answers.
func (c *conn) ask(typ uint16, f family, single bool, args ...netlink.Attribute) (out []msg, err error) {
	err = c.raw(typ, f, single, func(data []byte) error {
		as, err := parseAttrs(bytes.Clone(data[4:]))
		if err != nil {
			return fmt.Errorf("decode nf_tables message: %w", err)
		}
		out = append(out, msg{family(data[0]), as})
		return nil
	}, args...)
	return out, err
}

func text(t uint16, s string) netlink.Attribute {
	return netlink.Attribute{Type: t, Data: append([]byte(s), 0)}
}

// generation changes with every change to the rules of the namespace.
func (c *conn) generation() (uint32, error) {
	ms, err := c.ask(unix.NFT_MSG_GETGEN, 0, true)
	if err != nil {
		return 0, fmt.Errorf("read rule generation: %w", err)
	}
	if len(ms) == 0 || len(ms[0].attrs.get(unix.NFTA_GEN_ID)) < 4 {
		return 0, nil
	}
	return binary.BigEndian.Uint32(ms[0].attrs.get(unix.NFTA_GEN_ID)), nil
}

// engineOf tells the tables that iptables-nft writes: its fixed names with
// upper-case base chains.
func engineOf(t *table) string {
	switch t.name {
	case "filter", "nat", "mangle", "raw", "security":
	default:
		return "nftables"
	}
	if t.family != famIP && t.family != famIP6 {
		return "nftables"
	}
	for _, c := range t.order {
		switch {
		case c.base == nil:
		case c.name == strings.ToUpper(hookNames[c.base.hook]):
			return "iptables-nft"
		}
	}
	return "nftables"
}
