package render

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/podpath/podpath/tracer"
)

func TestCapture(t *testing.T) {
	inv := &tracer.Inventory{HostNetNS: 1, Devices: []tracer.Device{{DeviceKey: tracer.DeviceKey{NetNS: 1, IfIndex: 2}, Name: "cni0"}}}
	tuple := func(src, dst string, proto uint8) tracer.Tuple {
		return tracer.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Proto: proto}
	}
	at := time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)
	events := []*tracer.Event{
		{Seq: 1, Time: at, Kind: tracer.EventRX, NetNS: 1, IfIndex: 2, Tuple: tuple("10.0.0.1:4000", "10.0.0.2:80", tracer.ProtoTCP), TCPFlags: tracer.TCPSyn, TCPSeq: 7, TTL: 64, DF: true, Len: 74},
		{Seq: 2, Time: at, Kind: tracer.EventDrop, NetNS: 1, IfIndex: 2, Tuple: tuple("[fd00::1]:4000", "[fd00::2]:53", tracer.ProtoUDP), Len: 90, Drop: &tracer.Drop{Reason: "NETFILTER_DROP", Location: "nft_do_chain"}},
		{Seq: 3, Time: at, Kind: tracer.EventTX, NetNS: 9, IfIndex: 2, ARP: true, Tuple: tuple("10.0.0.1:0", "10.0.0.2:0", 0)},
		{Seq: 4, Time: at, Kind: tracer.EventTX, NetNS: 9, IfIndex: 2, Tuple: tuple("10.0.0.9:0", "10.0.0.1:0", tracer.ProtoICMP), ICMPType: 3, ICMPCode: 1, Len: 88},
	}
	var file bytes.Buffer
	c, err := NewCapture(&file, "n1", inv)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if err := c.Add(ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&file, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !info.Timestamp.Equal(at) {
			t.Errorf("time %v, want %v", info.Timestamp, at)
		}
		p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
		iface, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, iface.Name+": "+p.NetworkLayer().NetworkFlow().String())
		if tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && (!tcp.SYN || tcp.Seq != 7 || tcp.DstPort != 80 || info.Length != 74) {
			t.Errorf("TCP header %+v, length %d", tcp, info.Length)
		}
	}
	want := []string{"n1 cni0 rx: 10.0.0.1->10.0.0.2", "n1 cni0 drop NETFILTER_DROP@nft_do_chain: fd00::1->fd00::2", "netns 9  tx: 10.0.0.9->10.0.0.1"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
