package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// load is one kind of traffic.
type load struct {
	bit   int
	name  string
	short string  // heads a column
	unit  string  // what its rate counts, "k packets/s"
	scale float64 // how much of what is counted is one unit
	// paced: at a fixed rate, which says nothing; what a packet costs does.
	paced bool
	// send makes traffic for a time and counts what came to its end: by a
	// device's counter, a rule's, or at the receiver, never by a tracer's.
	send func(context.Context, time.Duration) (rate, error)
}

const (
	settleTime  = 5 * time.Second
	pacedPerSec = 100_000
)

// The loads, each a bit so that a tracer can name some.
const (
	onPodToPod = 1 << iota
	onService
	onStorm
	onPacedStorm
	onPingPong
	onServicePingPong
	onConnect
	onServiceConnect
	onBulk
	onServiceBulk

	onUDP      = onPodToPod | onService
	onDrops    = onStorm | onPacedStorm
	onPods     = onPodToPod | onPingPong | onConnect | onBulk
	onServices = onService | onServicePingPong | onServiceConnect | onServiceBulk
	onAll      = onPods | onServices | onDrops
)

const (
	pathPods    = "pod to pod, one bridge"
	pathService = "pod to Service to external, DNAT and masquerade"
)

// loads are what is measured, each at the index of its bit.
func (t *topology) loads() []*load {
	receiver := t.pods[1]
	podUDP := udpPath{netip.AddrPortFrom(receiver.ip, podPort), received(receiver.space)}
	service := udpPath{netip.AddrPortFrom(serviceIP, servicePort), received(t.external)}
	storm := udpPath{netip.AddrPortFrom(externalIP, droppedPort), t.ruleCount}
	podTCP := tcpPath{t.pods[0].space, receiver.space, netip.AddrPortFrom(receiver.ip, podPort), podUDP.to}
	serviceTCP := tcpPath{t.pods[0].space, t.external, netip.AddrPortFrom(externalIP, externalPort), service.to}
	all := []*load{
		{name: "UDP, 64 bytes: " + pathPods, short: "UDP", unit: "k packets/s", scale: 1e3, send: t.flood(podUDP, 0)},
		{name: "UDP, 64 bytes: " + pathService, short: "UDP, NAT", unit: "k packets/s", scale: 1e3, send: t.flood(service, 0)},
		{name: "Storm of drops, nft rule", short: "drops", unit: "k packets/s", scale: 1e3, send: t.flood(storm, 0)},
		{name: "Storm of drops, nft rule, 100,000/s", short: "drops, 100k/s", unit: "k packets/s", scale: 1e3, paced: true, send: t.flood(storm, pacedPerSec)},
		{name: "TCP, 64 bytes there and back: " + pathPods, short: "TCP", unit: "k round trips/s", scale: 1e3, send: podTCP.pingPong},
		{name: "TCP, 64 bytes there and back: " + pathService, short: "TCP, NAT", unit: "k round trips/s", scale: 1e3, send: serviceTCP.pingPong},
		{name: "TCP, connect, 64 bytes, close: " + pathPods, short: "connect", unit: "k connections/s", scale: 1e3, send: podTCP.connections},
		{name: "TCP, connect, 64 bytes, close: " + pathService, short: "connect, NAT", unit: "k connections/s", scale: 1e3, send: serviceTCP.connections},
		{name: "TCP, bulk: " + pathPods, short: "bulk", unit: "MB/s", scale: 1e6, send: podTCP.bulk},
		{name: "TCP, bulk: " + pathService, short: "bulk, NAT", unit: "MB/s", scale: 1e6, send: serviceTCP.bulk},
	}
	for i, l := range all {
		l.bit = 1 << i
	}
	return all
}

// flood sends UDP as fast as it goes or, if pps is not 0, at that rate.
func (t *topology) flood(p udpPath, pps float64) func(context.Context, time.Duration) (rate, error) {
	return func(ctx context.Context, d time.Duration) (rate, error) { return t.blast(ctx, p, d, pps, 1) }
}

// udpPath is a destination, and the counter of what comes to its end there.
type udpPath struct {
	to    netip.AddrPort
	count func(context.Context) (uint64, error)
}

// received counts what a namespace gets through its only device.
func received(s *space) func(context.Context) (uint64, error) {
	return func(context.Context) (uint64, error) {
		c, err := s.device("eth0")
		return c.rx, err
	}
}

// deviceCount is what a device counted.
type deviceCount struct{ rx, tx, refused uint64 }

// device reads the counters of a device. refused are packets that the other end
// of a veth had no room for: they were sent, did not arrive, and are drops.
func (s *space) device(name string) (deviceCount, error) {
	link, err := s.nl.LinkByName(name)
	if err != nil {
		return deviceCount{}, fmt.Errorf("read counters of %s in %s: %w", name, s.name, err)
	}
	st := link.Attrs().Statistics
	if st == nil {
		return deviceCount{}, fmt.Errorf("read counters of %s in %s: none", name, s.name)
	}
	return deviceCount{rx: st.RxPackets, tx: st.TxPackets, refused: st.TxDropped}, nil
}

// ruleCount is how many packets the dropping rule has met.
func (t *topology) ruleCount(ctx context.Context) (uint64, error) {
	return t.counter(ctx, "bench", "dropped")
}

// refused adds up the packets that any device on the way had no room for.
func (t *topology) refused() (uint64, error) {
	var sum uint64
	add := func(s *space, name string) error {
		c, err := s.device(name)
		sum += c.refused
		return err
	}
	for _, p := range t.pods[:2] {
		if err := add(p.space, "eth0"); err != nil {
			return 0, err
		}
		if err := add(t.node, p.veth); err != nil {
			return 0, err
		}
	}
	return sum, add(t.node, "eth0")
}

// resent adds up the segments that TCP sent again, at both ends of any load.
func (t *topology) resent() (uint64, error) {
	var sum uint64
	for _, s := range []*space{t.pods[0].space, t.pods[1].space, t.external} {
		n, err := s.tcpCounter("RetransSegs")
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// tcpCounter reads one of the namespace's counters of TCP (RFC 4022).
func (s *space) tcpCounter(name string) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", s.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read TCP counters of %s: %w", s.name, err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "Tcp: ")
		switch {
		case ok && names == nil:
			names = strings.Fields(rest)
		case ok:
			values := strings.Fields(rest)
			if i := slices.Index(names, name); i >= 0 && i < len(values) {
				return strconv.ParseUint(values[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("read TCP counters of %s: no %s", s.name, name)
}

// rate is what one window of traffic gave.
type rate struct {
	done uint64 // packets, round trips, connections or bytes that came to their end
	spent
}

func (r rate) perSecond() float64 { return float64(r.done) / r.wall.Seconds() }

// cpuShare is how much of the time that the sender had a CPU is on its account.
func (r rate) cpuShare() float64 { return r.cpu.Seconds() / (r.wall - r.waited).Seconds() }

func (r rate) cpuNS() float64 { return float64(r.cpu.Nanoseconds()) / float64(r.done) }

// blast sends UDP for a time and counts what arrives.
func (t *topology) blast(ctx context.Context, p udpPath, d time.Duration, pps float64, flows int) (rate, error) {
	b, err := newBlaster(t.pods[0].space, p.to, flows)
	if err != nil {
		return rate{}, err
	}
	defer b.close()
	before, err := p.count(ctx)
	if err != nil {
		return rate{}, err
	}
	took, err := b.run(ctx, d, pps)
	if err != nil {
		return rate{}, err
	}
	after, err := settled(ctx, p.count)
	if err != nil {
		return rate{}, err
	}
	if after == before {
		return rate{}, fmt.Errorf("to %s: no packet came to its end", p.to)
	}
	return rate{after - before, took}, nil
}

// each is how many of what is counted cost is told of: one, or a MB.
func (l *load) each() float64 {
	if l.scale == 1e6 {
		return l.scale
	}
	return 1
}

// settled reads a counter until it stands still: a packet may still wait in a
// queue when its sender is done.
func settled(ctx context.Context, count func(context.Context) (uint64, error)) (uint64, error) {
	last, err := count(ctx)
	for deadline := time.Now().Add(settleTime); err == nil; {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		var now uint64
		if now, err = count(ctx); err == nil && now == last {
			return now, nil
		}
		last = now
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("packets still arrive %s after the last was sent", settleTime)
		}
	}
	return 0, err
}
