package probe

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
)

// parser gives frames to the loaded TCX programs, as if they came by a device.
type parser struct {
	probe  *Probe
	record ringbuf.Record
	before map[tracer.EventKind]map[string]uint64
}

// newParser opens a probe for which every packet is an event.
func newParser(t testing.TB) *parser {
	t.Helper()
	needPrivilege(t)
	needTCX(t)
	p, err := Open(Config{Tier: TierTCX, FirstEvents: math.MaxUint32, ARPEvents: math.MaxUint32, RingBytes: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if err := p.Select(Selection{AnyA: true, AnyB: true}); err != nil {
		t.Fatal(err)
	}
	r := &parser{probe: p}
	r.before = r.stats(t)
	return r
}

func (p *parser) stats(t testing.TB) map[tracer.EventKind]map[string]uint64 {
	t.Helper()
	st, err := p.probe.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return st.Hooks
}

// counted is what a hook's counters moved by since the last call.
func (p *parser) counted(t testing.TB, kind tracer.EventKind) map[string]uint64 {
	t.Helper()
	now := p.stats(t)
	moved := map[string]uint64{}
	for name, n := range now[kind] {
		if d := n - p.before[kind][name]; d > 0 {
			moved[name] = d
		}
	}
	p.before[kind] = now[kind]
	return moved
}

// parse runs one program over a frame of at least 14 bytes. Nil: no event.
func (p *parser) parse(t testing.TB, program string, frame []byte) *bpf.TraceEvent {
	t.Helper()
	if _, err := p.probe.coll.Programs[program].Run(&ebpf.RunOptions{Data: frame}); err != nil {
		t.Fatalf("run %s over %d bytes: %v", program, len(frame), err)
	}
	p.probe.reader.SetDeadline(time.Now())
	var got *bpf.TraceEvent
	for {
		err := p.probe.reader.ReadInto(&p.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := decode(p.record.RawSample)
		if err != nil {
			t.Fatal(err)
		}
		if got != nil {
			t.Fatal("two events of one packet")
		}
		e := raw.Event
		got = &e
	}
}

// headersOnly keeps of an event what the packet's headers say.
func headersOnly(e *bpf.TraceEvent) bpf.TraceEvent {
	const ours = bpf.TraceEventFlagEVENT_RETRANSMIT | bpf.TraceEventFlagEVENT_CT | bpf.TraceEventFlagEVENT_SAMPLE
	return bpf.TraceEvent{
		Tuple: e.Tuple, Aux: e.Aux, Flags: e.Flags &^ ours, Ttl: e.Ttl, IpId: e.IpId, Seq: e.Seq, Ack: e.Ack, Payload: e.Payload,
		TcpFlags: e.TcpFlags, InnerTcpFlags: e.InnerTcpFlags, IcmpType: e.IcmpType, IcmpCode: e.IcmpCode, IcmpMtu: e.IcmpMtu,
		Tunnel: e.Tunnel, Vni: e.Vni,
	}
}

// runnable: kernels from 6.18 on refuse a test run over half an IP header. Such
// frames come by a real device in TestOddPackets.
func runnable(frame []byte) bool {
	const longest = 2048 // more than is parsed
	if len(frame) < 15 || len(frame) > longest {
		return false
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		return len(frame) >= 14+20
	case 0x86dd:
		return len(frame) >= 14+40
	}
	return true
}

// checkFrame runs a frame through both programs and holds what they say to the
// reference and to gopacket.
func (p *parser) checkFrame(t testing.TB, frame []byte) {
	t.Helper()
	want, selected := readFrame(frame, []uint16{8472, 4789}, 6081)
	for program, kind := range map[string]tracer.EventKind{bpf.TraceProgTcxIngress: tracer.EventRX, bpf.TraceProgTcxEgress: tracer.EventTX} {
		e := p.parse(t, program, frame)
		checkCounts(t, p.counted(t, kind), selected, want.e.Flags)
		switch {
		case (e != nil) != selected:
			t.Fatalf("%x\nevent: %v, reference: %v", frame, e != nil, selected)
		case e == nil:
			continue
		}
		if got := headersOnly(e); got != want.e {
			t.Fatalf("%x\n got %+v\nwant %+v", frame, got, want.e)
		}
		if e.Len != uint32(len(frame)) {
			t.Fatalf("%x\nlength %d of %d", frame, e.Len, len(frame))
		}
		agree(t, frame, e)
	}
	if !selected {
		agreeUnreadable(t, frame)
	}
}

// checkCounts holds the counters to the identities of bpf/include/types.h for
// one packet of which every one is selected and an event.
func checkCounts(t testing.TB, moved map[string]uint64, selected bool, flags bpf.TraceEventFlag) {
	t.Helper()
	want := map[string]uint64{"packets": 1}
	if selected {
		want["selected"], want["events"] = 1, 1
	} else {
		want["miss"] = 1
	}
	for name, f := range map[string]bpf.TraceEventFlag{
		"truncated": bpf.TraceEventFlagEVENT_TRUNCATED, "malformed": bpf.TraceEventFlagEVENT_MALFORMED, "beyond": bpf.TraceEventFlagEVENT_BEYOND,
	} {
		if flags&f != 0 {
			want[name] = 1
		}
	}
	if !selected && moved["not_ip"] == 1 {
		want["not_ip"] = 1
	}
	for name, n := range moved {
		if want[name] != n && name != "flow_full" {
			t.Fatalf("%s %d, want %d: %v", name, n, want[name], moved)
		}
	}
	for name := range want {
		if moved[name] == 0 {
			t.Fatalf("%s is not counted: %v", name, moved)
		}
	}
}

// FuzzKernelParser gives any frame to the programs in the kernel: they say what
// two other parsers say of it, count it once, and never make up a tuple.
func FuzzKernelParser(f *testing.F) {
	p := newParser(f)
	for _, c := range oddFrames() {
		f.Add(c.frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if runnable(frame) {
			p.checkFrame(t, frame)
		}
	})
}

// Every odd frame as the programs parse it, with bits of its headers flipped,
// and cut at many lengths.
func TestKernelParser(t *testing.T) {
	p := newParser(t)
	check := func(t *testing.T, frame []byte) {
		if runnable(frame) {
			p.checkFrame(t, frame)
		}
	}
	for _, c := range oddFrames() {
		t.Run(c.name, func(t *testing.T) {
			check(t, c.frame)
			for cut := 14; cut < min(len(c.frame), 160); cut += 3 {
				check(t, c.frame[:cut])
			}
			for bit := 12 * 8; bit < 8*min(len(c.frame), 110); bit += 5 {
				f := append([]byte(nil), c.frame...)
				f[bit/8] ^= 1 << (bit % 8)
				check(t, f)
			}
		})
	}
}
