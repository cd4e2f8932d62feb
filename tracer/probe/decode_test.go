package probe

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
)

func bytesOf[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

func rawTuple(src, dst string, sport, dport uint16, proto uint8) bpf.TraceTuple {
	s := netip.MustParseAddr(src)
	family := uint8(4)
	if s.Is6() {
		family = 6
	}
	return bpf.TraceTuple{
		Saddr: rawAddress(s), Daddr: rawAddress(netip.MustParseAddr(dst)),
		Sport: sport, Dport: dport, Proto: proto, Family: family,
	}
}

func TestDecode(t *testing.T) {
	in := bpf.TraceEvent{
		MonoNs: 1, Kind: bpf.TraceKindKIND_TX, Netns: 2, Ifindex: 3,
		Flags:  bpf.TraceEventFlagEVENT_INNER | bpf.TraceEventFlagEVENT_CT | bpf.TraceEventFlagEVENT_DF,
		Tunnel: bpf.TraceTunnelTUNNEL_VXLAN, Vni: 42,
		Tuple: rawTuple("10.0.0.1", "10.0.0.2", 1, 2, 17),
		Aux:   rawTuple("fd00::1", "fd00::2", 3, 4, 6),
		Orig:  rawTuple("10.0.0.1", "10.0.0.2", 1, 2, 17),
		Reply: rawTuple("10.0.0.2", "10.0.0.1", 2, 1, 17),
	}
	raw, err := decode(bytesOf(&in))
	if err != nil {
		t.Fatal(err)
	}
	e := event(&raw.Event)
	if e.Kind != tracer.EventTX || e.NetNS != 2 || e.IfIndex != 3 || !e.DF || e.Frag || e.Quoted != nil {
		t.Errorf("%+v", e)
	}
	if want := netip.MustParseAddrPort("10.0.0.1:1"); e.Tuple.Src != want {
		t.Errorf("source %s, want %s", e.Tuple.Src, want)
	}
	if e.Inner == nil || e.Inner.Tunnel != "vxlan" || e.Inner.VNI != 42 || e.Inner.Tuple.Dst != netip.MustParseAddrPort("[fd00::2]:4") {
		t.Errorf("inner %+v", e.Inner)
	}
	if e.CT == nil || e.CT.SNAT() || e.CT.DNAT() {
		t.Errorf("conntrack %+v", e.CT)
	}
}

// A record is as long as what is set in it.
func TestDecodeLengths(t *testing.T) {
	const ct, quoted = bpf.TraceEventFlagEVENT_CT, bpf.TraceEventFlagEVENT_QUOTED
	for name, c := range map[string]struct {
		flags bpf.TraceEventFlag
		size  int
		ok    bool
	}{
		"plain":                             {0, plainSize, true},
		"plain, too long":                   {0, eventSize, false},
		"conntrack":                         {ct, ctSize, true},
		"conntrack, too short":              {ct, plainSize, false},
		"conntrack entry that had no tuple": {0, ctSize, true},
		"quoted":                            {quoted, eventSize, true},
		"quoted, too short":                 {quoted | ct, ctSize, false},
	} {
		in := bpf.TraceEvent{Kind: bpf.TraceKindKIND_RX, Flags: c.flags, Tuple: rawTuple("10.0.0.1", "10.0.0.2", 1, 2, 17)}
		raw, err := decode(bytesOf(&in)[:c.size])
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && raw.Event.Tuple != in.Tuple {
			t.Errorf("%s: tuple %+v", name, raw.Event.Tuple)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	drop := bpf.TraceEvent{Kind: bpf.TraceKindKIND_DROP}
	path := bpf.TraceDropEvent{Event: bpf.TraceEvent{Kind: bpf.TraceKindKIND_RX}}
	for name, data := range map[string][]byte{
		"empty": nil, "short": make([]byte, eventSize-1), "between": make([]byte, eventSize+8),
		"long": make([]byte, dropSize+1), "drop without its tail": bytesOf(&drop), "path with a tail": bytesOf(&path),
	} {
		if _, err := decode(data); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	e := bpf.TraceEvent{Kind: bpf.TraceKindKIND_RX, Flags: 0xffff, Tuple: rawTuple("10.0.0.1", "10.0.0.2", 1, 2, 6)}
	d := bpf.TraceDropEvent{Event: bpf.TraceEvent{Kind: bpf.TraceKindKIND_DROP}, StackLen: 1 << 30}
	f.Add(bytesOf(&e))
	e.Flags = 0
	f.Add(bytesOf(&e)[:plainSize])
	e.Flags = bpf.TraceEventFlagEVENT_CT
	f.Add(bytesOf(&e)[:ctSize])
	f.Add(bytesOf(&d))
	f.Add([]byte{})
	p := &Probe{symbols: newSymbols("/nonexistent", "")}
	f.Fuzz(func(t *testing.T, data []byte) {
		raw, err := decode(data)
		if err != nil {
			return
		}
		out := event(&raw.Event)
		if raw.Event.Kind == bpf.TraceKindKIND_DROP {
			out.Drop = p.drop(raw)
		}
		_ = out.Tuple.String()
	})
}
