package render

import (
	"fmt"
	"io"
	"net"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/podpath/podpath/tracer"
)

// Capture writes events as a pcapng file for Wireshark and tshark: one interface
// for each device, hook and kind of sighting ("n1 cni0 tx", "n1 cni0 drop
// NETFILTER_DROP"). Packets are rebuilt from what an event records: headers
// without options, payload and checksums, behind an Ethernet header of zeros. The original length is kept.
type Capture struct {
	w     *pcapgo.NgWriter
	inv   *tracer.Inventory
	node  string
	names map[string]int
}

// NewCapture starts a file. The inventory, which names devices, may change
// between calls of Add.
func NewCapture(w io.Writer, node string, inv *tracer.Inventory) (*Capture, error) {
	ng, err := pcapgo.NewNgWriterInterface(w, pcapgo.NgInterface{Name: node, LinkType: layers.LinkTypeEthernet},
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "podpath", Comment: "headers rebuilt from events; payload was never recorded"}})
	if err != nil {
		return nil, fmt.Errorf("start pcapng file: %w", err)
	}
	return &Capture{w: ng, inv: inv, node: node, names: map[string]int{}}, nil
}

// Add writes one event. Events that are no IP packets are left out.
func (c *Capture) Add(ev *tracer.Event) error {
	src, dst := ev.Tuple.Src.Addr(), ev.Tuple.Dst.Addr()
	if ev.ARP || !ev.Tuple.IsValid() || src.Is4() != dst.Is4() {
		return nil
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, headers(ev)...); err != nil {
		return fmt.Errorf("rebuild packet of event %d: %w", ev.Seq, err)
	}
	id, err := c.device(ev)
	if err != nil {
		return err
	}
	data := b.Bytes()
	info := gopacket.CaptureInfo{
		Timestamp: ev.Time, CaptureLength: len(data), Length: max(len(data), int(ev.Len)), InterfaceIndex: id,
	}
	if err := c.w.WritePacket(info, data); err != nil {
		return fmt.Errorf("write packet: %w", err)
	}
	return nil
}

// Close writes what is buffered; the file stays the caller's.
func (c *Capture) Close() error { return c.w.Flush() }

func (c *Capture) device(ev *tracer.Event) (int, error) {
	d, _ := c.inv.Device(tracer.DeviceKey{NetNS: ev.NetNS, IfIndex: ev.IfIndex})
	where := d.Name
	if ev.NetNS == c.inv.HostNetNS {
		where = c.node + " " + where
	} else {
		where = fmt.Sprintf("netns %d %s", ev.NetNS, where)
	}
	name := where + " " + string(ev.Kind)
	if ev.Drop != nil {
		name += " " + ev.Drop.Reason + "@" + ev.Drop.Location
	}
	if id, ok := c.names[name]; ok {
		return id, nil
	}
	id, err := c.w.AddInterface(pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeEthernet})
	if err != nil {
		return 0, fmt.Errorf("add interface %s: %w", name, err)
	}
	c.names[name] = id
	return id, nil
}

// headers rebuilds what the event says of the packet.
func headers(ev *tracer.Event) []gopacket.SerializableLayer {
	src, dst := net.IP(ev.Tuple.Src.Addr().AsSlice()), net.IP(ev.Tuple.Dst.Addr().AsSlice())
	// tcpdump (libpcap 1.10) refuses several interfaces of type RAW.
	eth := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}
	out := []gopacket.SerializableLayer{eth}
	if ev.Tuple.Src.Addr().Is4() {
		ip := &layers.IPv4{Version: 4, SrcIP: src, DstIP: dst, TTL: ev.TTL, Id: ev.IPID, Protocol: layers.IPProtocol(ev.Tuple.Proto)}
		if ev.DF {
			ip.Flags = layers.IPv4DontFragment
		}
		out = append(out, ip)
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		out = append(out, &layers.IPv6{Version: 6, SrcIP: src, DstIP: dst, HopLimit: ev.TTL, NextHeader: layers.IPProtocol(ev.Tuple.Proto)})
	}
	if l := transport(ev); l != nil {
		out = append(out, l)
	}
	return out
}

func transport(ev *tracer.Event) gopacket.SerializableLayer {
	sport, dport := ev.Tuple.Src.Port(), ev.Tuple.Dst.Port()
	flag := func(f uint8) bool { return ev.TCPFlags&f != 0 }
	switch ev.Tuple.Proto {
	case tracer.ProtoTCP:
		return &layers.TCP{
			SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Seq: ev.TCPSeq, Ack: ev.TCPAck, DataOffset: 5,
			SYN: flag(tracer.TCPSyn), ACK: flag(tracer.TCPAck), FIN: flag(tracer.TCPFin), RST: flag(tracer.TCPRst), PSH: flag(tracer.TCPPsh),
		}
	case tracer.ProtoUDP:
		return &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	case tracer.ProtoICMP:
		return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(ev.ICMPType, ev.ICMPCode), Id: sport}
	case tracer.ProtoICMPv6:
		return &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(ev.ICMPType, ev.ICMPCode)}
	}
	return nil
}
