package render

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/podpath/podpath/tracer"
)

// eventOf makes an event of any bytes.
func eventOf(b []byte, name string) tracer.Event {
	var w [48]byte
	copy(w[:], b)
	addr := func(at int) netip.Addr {
		switch w[at] % 4 {
		case 0:
			return netip.AddrFrom4([4]byte(w[at:]))
		case 1:
			return netip.Addr{}
		}
		return netip.AddrFrom16([16]byte(w[at:]))
	}
	ev := tracer.Event{
		Seq: uint64(w[0]), Time: time.Unix(int64(binary.LittleEndian.Uint32(w[1:])), int64(w[5])), NetNS: uint32(w[6] % 3), IfIndex: uint32(w[7] % 3),
		Kind: []tracer.EventKind{tracer.EventRX, tracer.EventTX, tracer.EventDrop, tracer.EventKind(name)}[w[8]%4],
		Tuple: tracer.Tuple{
			Src: netip.AddrPortFrom(addr(9), binary.LittleEndian.Uint16(w[25:])), Dst: netip.AddrPortFrom(addr(27), binary.LittleEndian.Uint16(w[43:])),
			Proto: w[45],
		},
		Len: binary.LittleEndian.Uint32(w[44:]), TTL: w[46], TCPFlags: w[47], TCPSeq: binary.LittleEndian.Uint32(w[20:]),
		ICMPType: w[30], ICMPCode: w[31], DF: w[8]&16 != 0, ARP: w[8]&32 != 0,
	}
	if ev.Kind == tracer.EventDrop {
		ev.Drop = &tracer.Drop{Reason: name, Location: name}
	}
	return ev
}

// FuzzCapture exports any events: either they are left out or the file that
// comes out can be read, with the tuples that went in.
func FuzzCapture(f *testing.F) {
	f.Add([]byte{0}, "NETFILTER_DROP")
	f.Add(bytes.Repeat([]byte{4, 6, 8, 17, 1, 58}, 20), "\x1b[2J\n\xff")
	f.Add(bytes.Repeat([]byte{0, 0, 0, 6}, 24), "")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		if len(data) > 48*64 {
			return
		}
		inv := &tracer.Inventory{HostNetNS: 1, Devices: []tracer.Device{{DeviceKey: tracer.DeviceKey{NetNS: 1, IfIndex: 1}, Name: name}}}
		var file bytes.Buffer
		c, err := NewCapture(&file, name, inv)
		if err != nil {
			return // a name that the format has no room for
		}
		var want []tracer.Event
		for at := 0; at < len(data); at += 48 {
			ev := eventOf(data[at:], name)
			if err := c.Add(&ev); err != nil {
				t.Fatalf("%+v: %v", ev, err)
			}
			if !ev.ARP && ev.Tuple.IsValid() && ev.Tuple.Src.Addr().Is4() == ev.Tuple.Dst.Addr().Is4() {
				want = append(want, ev)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		readCapture(t, file.Bytes(), want)
	})
}

func readCapture(t *testing.T, file []byte, want []tracer.Event) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range want {
		data, info, err := r.ReadPacketData()
		if err != nil {
			t.Fatalf("%d packets wanted: %v", len(want), err)
		}
		if !info.Timestamp.Equal(ev.Time) {
			t.Errorf("time %s, want %s", info.Timestamp, ev.Time)
		}
		p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.NoCopy)
		if p.NetworkLayer() == nil {
			t.Fatalf("no network layer in %x of %+v", data, ev)
		}
		src, dst := p.NetworkLayer().NetworkFlow().Endpoints()
		if src.String() != ev.Tuple.Src.Addr().WithZone("").String() || dst.String() != ev.Tuple.Dst.Addr().WithZone("").String() {
			t.Errorf("%s to %s, want %s", src, dst, ev.Tuple)
		}
	}
	if _, _, err := r.ReadPacketData(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last packet: %v", err)
	}
}
