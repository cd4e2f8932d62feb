package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/podpath/podpath/bpf"
	"github.com/podpath/podpath/tracer"
)

// FlowCount is what the kernel counted of one flow at one device and hook.
type FlowCount struct {
	tracer.DeviceKey
	Kind tracer.EventKind
	// Tuple is the header's, or, if Tunnel is set, that of the packet inside.
	Tuple  tracer.Tuple
	Tunnel string
	ARP    bool

	Packets     uint64
	Bytes       uint64 // as Event.Len counts
	Events      uint64 // of these packets, reported or tried to
	Held        uint64 // of these packets, held back by the budget
	Retransmits uint64
	TCPFlags    uint8 // all seen, ORed
	First       time.Time
	Last        time.Time // to a tick of the kernel's clock, 10 ms at most
	FirstMonoNS uint64
	LastMonoNS  uint64
}

// DropCount is one line of the drop report.
type DropCount struct {
	tracer.DeviceKey
	// Drop is without stack. Stage is judged by the stack of the first packet
	// of this line, or by the place alone if that event was lost.
	Drop  tracer.Drop
	Src   netip.Addr // not valid if the packet had no header and no socket
	Dst   netip.Addr
	Proto uint8
	// DstPort is 0 for ICMP and protocols without ports.
	DstPort uint16
	Packets uint64
	Bytes   uint64
	First   time.Time
	Last    time.Time
	// Example is one packet's tuple, zero if not known.
	Example tracer.Tuple
}

// DropTotal is the exact number of drops by reason and place, whatever became
// of the details.
type DropTotal struct {
	Drop    tracer.Drop
	Packets uint64
	Bytes   uint64
}

// FlowCounts reads the counts of selected flows. The kernel keeps the 65,536
// most recent; the order is not defined.
func (p *Probe) FlowCounts() ([]FlowCount, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	var out []FlowCount
	keys, values := make([]bpf.TraceFlowKey, flowBatch), make([]bpf.TraceFlowValue, flowBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := p.coll.Maps[bpf.TraceMapFlows].BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			out = append(out, flowCount(&keys[i], &values[i], &p.clock))
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) { // that was the last
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("read table %s: %w", bpf.TraceMapFlows, err)
		}
	}
}

// flowBatch is how many flows one system call reads: one by one, a full table
// takes about twice as long.
const flowBatch = 4096

func flowCount(k *bpf.TraceFlowKey, v *bpf.TraceFlowValue, c *clock) FlowCount {
	return FlowCount{
		DeviceKey:   tracer.DeviceKey{NetNS: k.Netns, IfIndex: k.Ifindex},
		Kind:        kindName(k.Kind),
		Tuple:       tuple(&k.Tuple),
		Tunnel:      tunnelName(k.Tunnel),
		ARP:         k.Arp != 0,
		Packets:     v.Packets,
		Bytes:       v.Bytes,
		Events:      v.Events,
		Held:        uint64(v.Held),
		Retransmits: v.Retransmits,
		TCPFlags:    v.TcpFlags,
		First:       c.wall(v.FirstNs),
		Last:        c.wall(v.LastNs),
		FirstMonoNS: v.FirstNs,
		LastMonoNS:  v.LastNs,
	}
}

// DropCounts reads the drop report of the namespaces of this node (with
// Config.DropsAll) or of the selected flows.
func (p *Probe) DropCounts() ([]DropCount, error) {
	var out []DropCount
	err := p.each(bpf.TraceMapDrops, func(it *ebpf.MapIterator) error {
		var k bpf.TraceDropKey
		var v bpf.TraceDropValue
		for it.Next(&k, &v) {
			out = append(out, p.dropCount(&k, &v))
		}
		return it.Err()
	})
	return out, err
}

func (p *Probe) dropCount(k *bpf.TraceDropKey, v *bpf.TraceDropValue) DropCount {
	c := &p.clock
	d := DropCount{
		DeviceKey: tracer.DeviceKey{NetNS: k.Netns, IfIndex: k.Ifindex},
		Proto:     k.Proto,
		DstPort:   k.Dport,
		Packets:   v.Packets,
		Bytes:     v.Bytes,
		First:     c.wall(v.FirstNs),
		Last:      c.wall(v.LastNs),
	}
	if k.Family != 0 {
		d.Src, d.Dst = address(&k.Saddr), address(&k.Daddr)
	}
	if s, ok := p.samples.get(*k); ok {
		d.Drop, d.Example = s.drop, s.tuple
		d.Drop.Stack = nil
	} else {
		d.Drop = Classify(p.place(k.Reason, k.Location, &bpf.TraceTuple{Daddr: k.Daddr, Family: k.Family}))
	}
	return d
}

// DropTotals reads the exact totals. Drop.Stage is judged by the place alone.
func (p *Probe) DropTotals() ([]DropTotal, error) {
	var out []DropTotal
	err := p.each(bpf.TraceMapDropTotals, func(it *ebpf.MapIterator) error {
		var k bpf.TraceDropTotalKey
		var perCPU []bpf.TraceDropTotal
		for it.Next(&k, &perCPU) {
			t := DropTotal{Drop: Classify(p.place(k.Reason, k.Location, &bpf.TraceTuple{}))}
			for _, v := range perCPU {
				t.Packets += v.Packets
				t.Bytes += v.Bytes
			}
			out = append(out, t)
		}
		return it.Err()
	})
	return out, err
}

// each walks a table that the kernel goes on changing: an entry evicted under
// the iterator makes it start over, so that some may be missed or come twice.
func (p *Probe) each(name string, walk func(*ebpf.MapIterator) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	err := walk(p.coll.Maps[name].Iterate())
	if err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read table %s: %w", name, err)
	}
	return nil
}
