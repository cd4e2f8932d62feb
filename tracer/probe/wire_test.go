package probe

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/tracer"
)

// silentPair is two namespaces and a veth, on which nothing is ever sent but by
// the test.
func silentPair(t *testing.T) (from, to *space) {
	t.Helper()
	from, to = newSpace(t), newSpace(t)
	for _, s := range []*space{from, to} {
		s.sysctl("net/ipv6/conf/all/disable_ipv6", "1")
		s.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	}
	veth(from, "eth0", to, "eth0")
	return from, to
}

// oddWire is every odd frame, cut at some lengths and with some bits flipped, as
// it goes over the wire: with real addresses of the link.
func oddWire() []oddFrame {
	var all []oddFrame
	for _, c := range oddFrames() {
		all = append(all, c)
		for cut := 14; cut < min(len(c.frame), 90); cut += 17 {
			all = append(all, oddFrame{fmt.Sprintf("%s, cut to %d", c.name, cut), slices.Clone(c.frame[:cut])})
		}
		for bit := 12 * 8; bit < 8*min(len(c.frame), 80); bit += 67 {
			f := slices.Clone(c.frame)
			f[bit/8] ^= 1 << (bit % 8)
			all = append(all, oddFrame{fmt.Sprintf("%s, bit %d", c.name, bit), f})
		}
	}
	return all
}

// mark ends what one frame gave: the packets of a device stay in order on one
// CPU, and so do their events.
func mark(n int) []byte {
	return frame4("192.0.2.77", "192.0.2.78", 17, udpHeader(uint16(n>>12)+60000, uint16(n&0xfff)+1, nil))
}

func marked(e *tracer.Event) bool { return e.Tuple.Src.Addr().String() == "192.0.2.77" }

// onWire is what a hook finds. On transmission the kernel has stepped over all
// tags, however many. TCX on receipt comes after it took off one, or threw the
// frame away because half of it was missing.
func onWire(frame []byte, tier Tier, kind tracer.EventKind) (seen []byte, reaches bool) {
	switch {
	case kind == tracer.EventTX:
		for hasTag(frame) && len(frame) >= 14+4 {
			frame = slices.Concat(frame[:12], frame[16:])
		}
	case tier == TierTCX && hasTag(frame):
		if len(frame) < 14+6 {
			return nil, false
		}
		frame = slices.Concat(frame[:12], frame[16:])
	}
	return frame, true
}

func hasTag(frame []byte) bool {
	kind := binary.BigEndian.Uint16(frame[12:])
	return kind == 0x8100 || kind == 0x88a8
}

// headersOf keeps of an event what the reference knows too.
func headersOf(e *tracer.Event) string {
	s := fmt.Sprintf("%s ttl=%d id=%d df=%t frag=%t arp=%t flags=%x seq=%d ack=%d payload=%d icmp=%d/%d/%d",
		e.Tuple, e.TTL, e.IPID, e.DF, e.Frag, e.ARP, e.TCPFlags, e.TCPSeq, e.TCPAck, e.Payload, e.ICMPType, e.ICMPCode, e.ICMPMTU)
	if e.Inner != nil {
		s += fmt.Sprintf(" inner %+v", *e.Inner)
	}
	if e.Quoted != nil {
		s += " quotes " + e.Quoted.String()
	}
	return s
}

// Odd frames through the real hooks, sent and received: each gives the event
// that the reference and gopacket expect, or none, and the counters know every
// packet.
func TestOddPackets(t *testing.T) {
	eachTier(t, func(t *testing.T, tier Tier) {
		from, to := silentPair(t)
		r := record(t, Config{Tier: tier, FirstEvents: math.MaxUint32, ARPEvents: math.MaxUint32, DropEvents: math.MaxUint32},
			Selection{AnyA: true, AnyB: true}, from, to)
		odd := oddWire()
		var frames [][]byte
		for i, c := range odd {
			frames = append(frames, c.frame, mark(i))
		}
		from.inject("eth0", to, "eth0", frames...)
		last := fmt.Sprint(uint16((len(odd)-1)&0xfff) + 1)
		lastFrom := uint16((len(odd)-1)>>12) + 60000
		r.wait("the last mark", func(e tracer.Event) bool {
			return e.Kind == tracer.EventRX && marked(&e) && e.Tuple.Src.Port() == lastFrom && fmt.Sprint(e.Tuple.Dst.Port()) == last
		})
		st := steadyStats(t, r.probe)
		for kind, key := range map[tracer.EventKind]tracer.DeviceKey{tracer.EventTX: from.key("eth0"), tracer.EventRX: to.key("eth0")} {
			want := compareWire(t, r, tier, kind, key, odd)
			counts := st.Hooks[kind]
			if counts["selected"] != want.readable || counts["events"] != want.readable || counts["ring_full"] != 0 {
				t.Errorf("%s: %d are readable: %v", kind, want.readable, counts)
			}
			if tier == TierTCX && counts["packets"] != want.packets {
				t.Errorf("%s: %d packets, sent %d", kind, counts["packets"], want.packets)
			}
		}
		compareDrops(t, r, to, odd)
	})
}

type wireCounts struct{ packets, readable uint64 }

// compareWire holds the events of one hook to the reference, frame by frame.
func compareWire(t *testing.T, r *recorder, tier Tier, kind tracer.EventKind, key tracer.DeviceKey, odd []oddFrame) wireCounts {
	t.Helper()
	var got [][]tracer.Event
	var here []tracer.Event
	for _, e := range r.all() {
		switch {
		case !at(kind, key)(e):
		case marked(&e):
			got, here = append(got, here), nil
		default:
			here = append(here, e)
		}
	}
	if len(got) != len(odd) {
		t.Fatalf("%s: %d marks of %d", kind, len(got), len(odd))
	}
	n := wireCounts{uint64(len(odd)), uint64(len(odd))} // the marks
	for i, c := range odd {
		seen, reaches := onWire(c.frame, tier, kind)
		if !reaches {
			if len(got[i]) != 0 {
				t.Errorf("%s %s: %s", kind, c.name, describe(got[i][0]))
			}
			continue
		}
		n.packets++
		want, readable := readFrame(seen, []uint16{8472, 4789}, 6081)
		if !readable {
			if len(got[i]) != 0 {
				t.Errorf("%s %s: %s", kind, c.name, describe(got[i][0]))
			}
			continue
		}
		n.readable++
		if len(got[i]) != 1 {
			t.Errorf("%s %s: %d events", kind, c.name, len(got[i]))
			continue
		}
		expected := event(&want.e)
		if g, w := headersOf(&got[i][0]), headersOf(&expected); g != w {
			t.Errorf("%s %s\n got %s\nwant %s", kind, c.name, g, w)
		}
	}
	return n
}

// compareDrops: what the receiver throws away is told with the tuple that it
// had when it came, or with none.
func compareDrops(t *testing.T, r *recorder, to *space, odd []oddFrame) {
	t.Helper()
	known := map[tracer.Tuple]bool{{}: true}
	for _, c := range odd {
		seen, _ := onWire(c.frame, TierAuto, tracer.EventTX)
		if want, ok := readFrame(seen, nil, 0); ok {
			known[tuple(&want.e.Tuple)] = true
		}
	}
	drops := 0
	for _, e := range r.all() {
		if e.Kind != tracer.EventDrop || e.NetNS != to.inode || marked(&e) {
			continue
		}
		drops++
		if !known[e.Tuple] {
			t.Errorf("a tuple that nobody sent: %s", describe(e))
		}
	}
	if drops == 0 {
		t.Error("no drop")
	}
}

// Super-packets whose data lies in pages, as sendfile and MSG_ZEROCOPY make
// them: every byte is counted once, at every device.
func TestPagedPackets(t *testing.T) {
	const size = 4 << 20
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	send := map[string]func(*net.TCPConn) error{
		"sendfile": func(c *net.TCPConn) error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(c, f)
			return err
		},
		"zerocopy": func(c *net.TCPConn) error { return sendZeroCopy(c, size) },
	}
	eachTier(t, func(t *testing.T, tier Tier) {
		for name, how := range send {
			t.Run(name, func(t *testing.T) {
				n := newTopology(t)
				r := record(t, Config{Tier: tier, FirstEvents: math.MaxUint32}, selectPair(), n.all()...)
				received := n.server.sink(server4 + ":9000")
				n.client.do(func() error {
					c, err := net.DialTimeout("tcp", server4+":9000", patience)
					if err != nil {
						return err
					}
					defer c.Close()
					return how(c.(*net.TCPConn))
				})
				if got := <-received; got != size {
					t.Fatalf("%d bytes arrived", got)
				}
				steadyStats(t, r.probe)
				for _, h := range []struct {
					kind tracer.EventKind
					key  tracer.DeviceKey
				}{{tracer.EventTX, n.client.key("eth0")}, {tracer.EventRX, n.node.key("toc")}, {tracer.EventTX, n.node.key("tos")}, {tracer.EventRX, n.server.key("eth0")}} {
					bytesAt(t, r, at(h.kind, h.key), size)
				}
			})
		}
	})
}

// bytesAt waits until one device was seen to pass all of the data, and in packets
// that are longer than any link takes.
func bytesAt(t *testing.T, r *recorder, here func(tracer.Event) bool, size uint64) {
	t.Helper()
	var sum uint64
	var segments uint16
	for end := time.Now().Add(patience); time.Now().Before(end) && sum < size; time.Sleep(5 * time.Millisecond) {
		sum, segments = 0, 0
		for _, e := range r.all() {
			if !here(e) || e.Tuple.Dst.Port() != 9000 {
				continue
			}
			if e.Tuple.Dst.Addr().String() != server4 || e.Tuple.Proto != tracer.ProtoTCP {
				t.Fatalf("tuple %s", e.Tuple)
			}
			segments = max(segments, e.GSOSegs)
			if !e.Retransmit {
				sum += uint64(e.Payload)
			}
		}
	}
	if sum != size || segments < 2 {
		t.Errorf("%d bytes of %d, at most %d segments", sum, size, segments)
	}
}

// sink reads one connection to its end and tells how much came.
func (s *space) sink(addr string) <-chan int64 {
	s.t.Helper()
	var l net.Listener
	s.do(func() error {
		var err error
		l, err = net.Listen("tcp", addr)
		return err
	})
	s.t.Cleanup(func() { _ = l.Close() })
	got := make(chan int64, 1)
	go func() {
		defer close(got)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(6 * patience))
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	return got
}

func sendZeroCopy(c *net.TCPConn, size int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	data, left := make([]byte, 1<<16), size
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		if sendErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1); sendErr != nil {
			return true
		}
		for left > 0 {
			n, err := unix.SendmsgN(int(fd), data[:min(left, len(data))], nil, nil, unix.MSG_ZEROCOPY)
			left -= max(0, n)
			if err == unix.EAGAIN || err == unix.ENOBUFS {
				return false
			}
			if sendErr = err; err != nil {
				return true
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	return sendErr
}
